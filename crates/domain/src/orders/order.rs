//! An order, and the requests that create and change an order.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::{Money, OrderError};
use crate::relay::NewEvent;
use tricast_core::{clock::rfc3339, version::Version};

/// Channel of the events about orders.
const CHANNEL: &str = "orders";

/// Largest length of a text of an order, in bytes.
const MAX_TEXT: usize = 200;

/// Largest number of items of one order.
const MAX_ITEMS: u32 = 1_000_000;

/// Status of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = OrderStatus))]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.2")]
pub enum Status {
    #[default]
    Pending,
    Processing,
    Shipped,
    Completed,
    Cancelled,
}

impl Status {
    /// All statuses, in the order of an order's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Processing, Self::Shipped, Self::Completed, Self::Cancelled];

    /// Returns the value as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Shipped => "SHIPPED",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Parses the name of a status, as in JSON; `None` for any other text.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Returns whether an order with this status still needs work.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Processing)
    }
}

/// Priority of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = OrderPriority))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.2")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

impl Priority {
    /// All priorities, from the lowest to the highest.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// Returns the value as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// Parses the name of a priority, as in JSON; `None` for any other text.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == word)
    }
}

/// ID of an order: `ord-00000042` is the tenant's 42nd. Later orders have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^ord-[0-9]{8,19}$", example = "ord-00000042"))]
pub struct OrderId(u64);

impl OrderId {
    /// Creates the id of the order with this number, counted from 1.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of the order in its tenant, from 1.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Parses an id; returns `None` for a text that this server never assigns.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("ord-")?;
        let id = Self(digits.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number))?);
        // One order has one id: no sign, no other number of zeros.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ord-{:08}", self.0)
    }
}

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An order, as the API returns it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"orderId": "ord-00000001", "status": "PENDING", "items": 2,
    "total": 19.9, "customerName": "Ada", "priority": "normal", "createdAt": "2024-07-15T14:00:05.120Z",
    "updatedAt": "2024-07-15T14:00:05.120Z"})))]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.2")]
pub struct Order {
    pub order_id: OrderId,
    pub status: Status,
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
    pub items: u32,
    pub total: Money,
    pub customer_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub customer_id: Option<String>,
    pub priority: Priority,
    /// Time of creation, in whole milliseconds.
    #[serde(serialize_with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::Time))]
    pub created_at: Timestamp,
    /// Time of the last change, in whole milliseconds.
    #[serde(serialize_with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::Time))]
    pub updated_at: Timestamp,
    /// Version: 1 for a new order; clients see it in the entity tag.
    #[serde(skip)]
    pub version: u64,
}

impl Order {
    /// Creates an order that was just accepted.
    pub fn begin(id: OrderId, new: NewOrder, at: Timestamp) -> Self {
        let NewOrder { items, total, customer_name, customer_id, status, priority } = new;
        Self {
            order_id: id,
            status,
            items,
            total,
            customer_name,
            customer_id,
            priority,
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }

    /// Returns the version, which is compared with `If-Match`.
    pub fn version(&self) -> Version {
        Version { number: self.version, made: self.created_at }
    }

    /// Returns the event for a new order.
    pub fn created(&self) -> NewEvent {
        NewEvent::new(CHANNEL, "order_created", self)
    }

    /// Applies `changes` and returns those with a new value. If there are none, the order stays unchanged, version
    /// included.
    pub fn apply(&mut self, changes: Changes, at: Timestamp) -> Changes {
        let real = Changes {
            status: changes.status.filter(|status| *status != self.status),
            priority: changes.priority.filter(|priority| *priority != self.priority),
        };
        if !real.is_empty() {
            self.status = real.status.unwrap_or(self.status);
            self.priority = real.priority.unwrap_or(self.priority);
            // A clock that was set back does not make an order older than it is.
            self.updated_at = at.max(self.updated_at);
            self.version += 1;
        }
        real
    }
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// Body of a request that creates an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"items": 2, "total": 19.9, "customerName": "Ada"})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.2")]
pub struct NewOrder {
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
    pub items: u32,
    pub total: Money,
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Text))]
    pub customer_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Text>))]
    pub customer_id: Option<String>,
    /// Status of the new order. Default `PENDING`.
    #[serde(default)]
    pub status: Status,
    /// Priority of the new order. Default `normal`.
    #[serde(default)]
    pub priority: Priority,
}

/// Changes of an order; an empty set is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = OrderFields, example = json!({"status": "SHIPPED"})))]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.2")]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

impl Changes {
    /// Returns whether no field changes.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.priority.is_none()
    }

    /// Returns the event for these changes, which the user `by` made; `order` is the order after them.
    pub fn event(&self, order: &Order, by: &str) -> NewEvent {
        let data = json!({"orderId": order.order_id, "version": order.version, "changes": self, "updatedBy": by});
        NewEvent::new(CHANNEL, "order_updated", &data)
    }
}

/// Returns whether `text` is a valid name or ID: not blank, without control characters, at most 200 bytes.
pub(super) fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

impl NewOrder {
    /// Checks the bounds that types don't express.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), OrderError> {
        if self.items == 0 || self.items > MAX_ITEMS {
            return Err(OrderError::Invalid("items: 1 to 1,000,000"));
        }
        if !is_text(&self.customer_name) {
            return Err(OrderError::Invalid("customerName: 1 to 200 bytes without control characters"));
        }
        if self.customer_id.as_deref().is_some_and(|id| !is_text(id)) {
            return Err(OrderError::Invalid("customerId: 1 to 200 bytes without control characters"));
        }
        Ok(())
    }

    /// Returns a digest that is equal for equal orders, independent of their JSON text. It distinguishes a repeated
    /// request from another one.
    pub fn digest(&self) -> [u8; 32] {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        digest.as_ref().try_into().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_one_id() {
        for number in [1, 99_999_999, 100_000_000, i64::MAX as u64] {
            assert_eq!(OrderId::parse(&OrderId::new(number).to_string()), Some(OrderId::new(number)));
        }
        for bad in ["", "ord-", "ord-1", "ord-000000001", "ord-+0000001", "ord-00000000", "ord-99999999999999999999"] {
            assert_eq!(OrderId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_change_to_the_current_value_makes_no_version() {
        let new: NewOrder = serde_json::from_str(r#"{"items":1,"total":1,"customerName":"Ada"}"#).unwrap();
        let mut order = Order::begin(OrderId::new(1), new, Timestamp::UNIX_EPOCH);
        let same = Changes { status: Some(Status::Pending), priority: Some(Priority::Normal) };
        let before = order.clone();
        assert!(order.apply(same, Timestamp::MAX).is_empty());
        assert_eq!(order, before);
        let half = Changes { status: Some(Status::Pending), priority: Some(Priority::High) };
        assert_eq!(order.apply(half, Timestamp::MAX), Changes { status: None, priority: Some(Priority::High) });
        assert_eq!((order.version, order.updated_at), (2, Timestamp::MAX));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        assert_eq!(Status::ALL.map(|status| Status::parse(status.as_str())), Status::ALL.map(Some));
        assert_eq!(Priority::ALL.map(|priority| Priority::parse(priority.as_str())), Priority::ALL.map(Some));
        assert_eq!((Status::parse("LOST"), Priority::parse("NORMAL")), (None, None));
    }

    #[test]
    fn the_limits_of_an_order_are_inclusive() {
        let order = |items: u32, name: &str, id: Option<&str>| NewOrder {
            items,
            total: Money { cents: 100 },
            customer_name: name.into(),
            customer_id: id.map(Into::into),
            status: Status::Pending,
            priority: Priority::Normal,
        };
        let (longest, longer) = ("x".repeat(MAX_TEXT), "x".repeat(MAX_TEXT + 1));
        for good in [order(1, "A", None), order(MAX_ITEMS, &longest, Some(&longest))] {
            assert!(good.check().is_ok(), "{good:?}");
        }
        for (bad, field) in [
            (order(0, "A", None), "items"),
            (order(MAX_ITEMS + 1, "A", None), "items"),
            (order(1, " ", None), "customerName"),
            (order(1, "A\n", None), "customerName"),
            (order(1, &longer, None), "customerName"),
            (order(1, "A", Some("")), "customerId"),
        ] {
            assert!(matches!(bad.check(), Err(OrderError::Invalid(text)) if text.starts_with(field)), "{bad:?}");
        }
    }

    #[test]
    fn the_digest_depends_on_the_order_not_on_its_text() {
        let digest = |text: &str| serde_json::from_str::<NewOrder>(text).unwrap().digest();
        let one = digest(r#"{"items":1,"total":1.50,"customerName":"Ada"}"#);
        assert_eq!(one, digest(r#"{ "customerName":"Ada", "total":1.5, "items":1, "status":"PENDING" }"#));
        assert_ne!(one, digest(r#"{"items":1,"total":1.51,"customerName":"Ada"}"#));
    }
}
