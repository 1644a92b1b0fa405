//! Alerts: that a rule's condition held, and since when.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Severity, Target};
use crate::{core::clock::rfc3339, ids::random_u64, relay::NewEvent};

/// One alert, as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `alt-` and 20 hexadecimal digits, the first 12 of them the time: later alerts have greater ids.
    pub id: String,
    /// The rule that raised it, which may be gone.
    pub rule_id: String,
    /// The rule's severity when it was raised.
    #[serde(rename = "type")]
    pub severity: Severity,
    /// Channel and field: `metrics.api.error_rate`.
    pub metric: String,
    /// For people.
    pub message: String,
    /// What was measured when it was raised; `null` when nothing was.
    pub value: Option<f64>,
    /// What that passed: in units of the value, or seconds for an absence.
    pub threshold: f64,
    /// When.
    #[serde(serialize_with = "time")]
    pub raised_at: Timestamp,
    /// When it was over.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Who first said that they look after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// Where it went, so that its end goes there, too.
    #[serde(skip)]
    pub targets: Vec<Target>,
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

fn maybe_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

impl Alert {
    /// The event that tells of it.
    pub fn event(&self, news: News) -> NewEvent {
        NewEvent::new("alerts", news.event(), self)
    }
}

/// What readers are told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum News {
    /// It began.
    Raised,
    /// It is over.
    Resolved,
    /// Somebody looks after it.
    Acknowledged,
}

impl News {
    /// The event of the channel `alerts`.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Raised => "alert_raised",
            Self::Resolved => "alert_resolved",
            Self::Acknowledged => "alert_acknowledged",
        }
    }
}

/// The id of an alert that is raised at `at`.
pub(super) fn new_id(at: Timestamp) -> String {
    format!("alt-{:012x}{:08x}", at.as_millisecond().max(0), random_u64() >> 32)
}

/// Whether `text` has the form of an alert's id.
pub fn is_alert_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("alt-").is_some_and(|digits| digits.len() == 20 && digits.bytes().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time() {
        let at = |ms| new_id(Timestamp::from_millisecond(ms).unwrap());
        assert!(at(0) < at(1) && at(1_800_000_000_000) < at(1_800_000_000_001) && at(15) < at(16));
        assert!(is_alert_id(&at(1_800_000_000_000)) && is_alert_id(&at(-5)));
        for bad in ["", "alt-", "alt-xyz", "alt-0000000000000000000G", "alt-000000000000000000000"] {
            assert!(!is_alert_id(bad), "{bad}");
        }
    }
}
