//! Customers and visits to record.

use serde::Deserialize;

use super::{OrderError, order::is_text};

/// Largest number of visits that are counted at once.
const MAX_VISITS: u32 = 10_000;

/// Customer to record; all fields are optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"customerId": "ada-1", "name": "Ada"})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewCustomer {
    /// ID that the shop uses for the customer. Without one the server assigns an ID, and the customer is new.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Text>))]
    pub customer_id: Option<String>,
    /// Name for people to read.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Text>))]
    pub name: Option<String>,
}

/// Visits to count; all fields are optional.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"count": 1})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewVisits {
    /// ID of the visitor. It is checked but not stored: visits are counted, not visitors.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Text>))]
    pub visitor_id: Option<String>,
    /// Number of visits, 1 to 10,000.
    #[serde(default = "one")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000, default = 1))]
    pub count: u32,
}

impl Default for NewVisits {
    fn default() -> Self {
        Self { visitor_id: None, count: one() }
    }
}

const fn one() -> u32 {
    1
}

impl NewCustomer {
    /// Checks the bounds that types don't express.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), OrderError> {
        if self.customer_id.as_deref().is_some_and(|id| !is_text(id)) {
            return Err(OrderError::Invalid("customerId: 1 to 200 bytes without control characters"));
        }
        if self.name.as_deref().is_some_and(|name| !is_text(name)) {
            return Err(OrderError::Invalid("name: 1 to 200 bytes without control characters"));
        }
        Ok(())
    }
}

impl NewVisits {
    /// Checks the bounds that types don't express.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), OrderError> {
        if self.count == 0 || self.count > MAX_VISITS {
            return Err(OrderError::Invalid("count: 1 to 10,000"));
        }
        if self.visitor_id.as_deref().is_some_and(|id| !is_text(id)) {
            return Err(OrderError::Invalid("visitorId: 1 to 200 bytes without control characters"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_customers_and_visits_are_inclusive() {
        let customer = |id: Option<&str>, name: Option<&str>| {
            NewCustomer { customer_id: id.map(Into::into), name: name.map(Into::into) }.check().is_ok()
        };
        assert!(customer(None, None) && customer(Some("c"), Some("Ada")));
        assert!(!customer(Some(" "), None) && !customer(None, Some("")));
        let visits = |id: Option<&str>, count| NewVisits { visitor_id: id.map(Into::into), count }.check().is_ok();
        assert!(visits(None, 1) && visits(Some("v"), MAX_VISITS));
        assert!(!visits(None, 0) && !visits(None, MAX_VISITS + 1) && !visits(Some(""), 1));
    }
}
