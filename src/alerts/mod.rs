//! Alerts: rules over any field of any state channel, raised once and resolved once.

#[allow(dead_code, reason = "the engine comes next")]
mod alert;
#[allow(dead_code, reason = "the engine comes next")]
mod condition;
mod error;
mod period;
mod rule;
mod store;

pub use alert::{Alert, News, is_alert_id};
pub use condition::Condition;
pub use error::AlertError;
pub use period::Period;
pub use rule::{NewRule, Rule, Severity, Target};
pub use store::{
    Acknowledged, AlertStore, Anew, Answer, Delivery, NewDelivery, Outgoing, Query, Raised, Resolution, Resolved,
    Sample, Settlement, Standing, Waiting,
};
