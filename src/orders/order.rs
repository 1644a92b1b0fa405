//! An order, and what may be asked of one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::Money;
use crate::core::clock::rfc3339;

/// Longest text of an order, in bytes.
const MAX_TEXT: usize = 200;

/// Where an order stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the words of the contract, section 6")]
pub enum Status {
    #[default]
    Pending,
    Processing,
    Shipped,
    Completed,
    Cancelled,
}

/// How urgent an order is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the contract, section 2")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

/// An order, as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the contract documents each field by its name")]
pub struct Order {
    pub order_id: String,
    pub status: Status,
    pub items: u32,
    pub total: Money,
    pub customer_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    pub priority: Priority,
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A new order.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract documents each field by its name")]
pub struct NewOrder {
    pub items: u32,
    pub total: Money,
    pub customer_name: String,
    pub customer_id: Option<String>,
    #[serde(default)]
    pub status: Status,
    #[serde(default)]
    pub priority: Priority,
}

/// What changes of an order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract documents each field by its name")]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Why something about an order can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// No order of that id.
    #[error("there is no such order")]
    NotFound,
    /// As many orders as fit.
    #[error("this server keeps {0} orders, which is all it can")]
    Full(usize),
    /// The server is going away.
    #[error("the server is going away")]
    Stopped,
}

impl NewOrder {
    /// Checks what types can't.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] that names the field.
    pub fn check(&self) -> Result<(), OrderError> {
        let text = |text: &str| !text.trim().is_empty() && text.len() <= MAX_TEXT;
        if self.items == 0 {
            return Err(OrderError::Invalid("items: at least 1"));
        }
        if !text(&self.customer_name) {
            return Err(OrderError::Invalid("customerName: 1 to 200 bytes"));
        }
        if self.customer_id.as_deref().is_some_and(|id| !text(id)) {
            return Err(OrderError::Invalid("customerId: 1 to 200 bytes"));
        }
        Ok(())
    }
}
