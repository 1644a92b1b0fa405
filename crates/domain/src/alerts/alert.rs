//! Alerts: records that the condition of a rule was met.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Severity, Target};
use crate::relay::NewEvent;
use tricast_core::{clock::rfc3339, ids::random_u64};

/// A record that the condition of a rule was met, from being raised to being resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"id": "alt-0190b6a1f0c85d1e9a3f", "ruleId": "slow", "type": "critical",
    "metric": "metrics.api.avg_response_time", "message": "Slow responses: metrics.api.avg_response_time is 300, above 250",
    "value": 300.0, "threshold": 250.0, "raisedAt": "2024-07-15T14:00:05.120Z"})))]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// ID: `alt-` and 20 hexadecimal digits, the first 12 of them the time, so that later alerts have greater IDs.
    #[cfg_attr(feature = "openapi", schema(pattern = "^alt-[0-9a-f]{20}$"))]
    pub id: String,
    /// ID of the rule that raised it, which may have been deleted since.
    pub rule_id: String,
    /// Severity of the rule when the alert was raised.
    #[serde(rename = "type")]
    pub severity: Severity,
    /// Channel and field: `metrics.api.error_rate`.
    pub metric: String,
    /// Message for people to read.
    pub message: String,
    /// Value when the alert was raised; `null` if there was none.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub value: Option<f64>,
    /// Threshold that the value passed, in units of the value; for an absence in seconds.
    pub threshold: f64,
    /// Time at which it was raised.
    #[serde(serialize_with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::Time))]
    pub raised_at: Timestamp,
    /// Time at which it was resolved.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<tricast_core::openapi::Time>))]
    pub resolved_at: Option<Timestamp>,
    /// First user who acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub acknowledged_by: Option<String>,
    /// Time of the acknowledgement.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<tricast_core::openapi::Time>))]
    pub acknowledged_at: Option<Timestamp>,
    /// Targets that it was sent to; its end is sent to the same ones.
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
    /// Returns the event for a change of the alert.
    pub fn event(&self, news: News) -> NewEvent {
        NewEvent::new("alerts", news.event(), self)
    }
}

/// Kind of change of an alert, which is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum News {
    /// The alert was raised.
    Raised,
    /// The alert was resolved.
    Resolved,
    /// The alert was acknowledged.
    Acknowledged,
}

impl News {
    /// Returns the name of the event on the channel `alerts`.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Raised => "alert_raised",
            Self::Resolved => "alert_resolved",
            Self::Acknowledged => "alert_acknowledged",
        }
    }
}

/// Creates the id of an alert that is raised at `at`.
pub(super) fn new_id(at: Timestamp) -> String {
    format!("alt-{:012x}{:08x}", at.as_millisecond().max(0), random_u64() >> 32)
}

/// Returns whether `text` has the form of an alert's id.
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
