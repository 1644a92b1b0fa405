//! Alert rules: the watched field and the condition (docs/protocol.md, section 9).
//!
//! ```json
//! {"id": "slow", "name": "Slow responses", "channel": "metrics.api", "field": "avg_response_time",
//!  "condition": {"above": 250, "clear": 200}, "for": "2m", "severity": "critical", "notify": ["webhook"]}
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AlertError, Condition, condition::RawCondition};
#[cfg(feature = "openapi")]
use crate::openapi::{FieldName, Id, Message, Text};
use tricast_core::{
    built_in,
    channel::Channel,
    ids::random_u64,
    span::Span,
    version::{IfMatch, Version},
};

/// Largest length of a name, in bytes.
const MAX_NAME: usize = 200;

/// Largest length of the name of a field, in bytes.
const MAX_FIELD: usize = 256;

/// Largest length of a message, in bytes.
const MAX_MESSAGE: usize = 1_000;

/// Longest time for which a condition may have to be met: a day.
const MAX_FOR: Span = Span::from_secs(86_400);

/// Severity of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Notice that requires no action.
    Info,
    /// Should be looked at.
    Warning,
    /// Requires action: sent to all configured targets by default.
    Critical,
}

impl Severity {
    /// All severities, from the lowest to the highest.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// Returns the value as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Parses the name of a severity, as in JSON; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == name)
    }
}

/// Target of notifications, besides the channel `alerts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = NotificationTarget))]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Mail, sent by SMTP.
    Email,
    /// HTTP request to a webhook, with a signature.
    Webhook,
}

impl Target {
    /// All targets of notifications.
    pub const ALL: [Self; 2] = [Self::Email, Self::Webhook];

    /// Returns the value as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }

    /// Parses the name of a target, as in JSON; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.as_str() == name)
    }
}

/// A rule. Its JSON can be sent back to replace it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"id": "slow", "name": "Slow responses", "channel": "metrics.api",
    "field": "avg_response_time", "condition": {"above": 250.0, "clear": 200.0}, "for": "2m", "severity": "critical",
    "version": 1})))]
pub struct Rule {
    /// ID of the rule, `[A-Za-z0-9_-]{1,64}`, unique in its tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = Id))]
    pub id: String,
    /// Name for people to read.
    #[cfg_attr(feature = "openapi", schema(value_type = Text))]
    pub name: String,
    /// State channel that is watched.
    #[serde(deserialize_with = "channel")]
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::ChannelName))]
    pub channel: Channel,
    /// Field of its value; dots lead into objects.
    #[cfg_attr(feature = "openapi", schema(value_type = FieldName))]
    pub field: String,
    /// Condition under which the value is bad.
    pub condition: Condition,
    /// Time for which the condition has to be met without interruption; zero: at once.
    #[serde(rename = "for", default, skip_serializing_if = "Span::is_zero")]
    pub hold: Span,
    /// Severity of the alerts.
    pub severity: Severity,
    /// Message of the alerts; without one they state the measured value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<Message>))]
    pub message: Option<String>,
    /// Targets of the alerts; without a list, critical alerts are sent to all configured targets and others to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub notify: Option<Vec<Target>>,
    /// Version: 1 for a new rule; grows by one with each change.
    pub version: u64,
    /// Time of creation, in whole milliseconds.
    #[serde(skip)]
    pub made: Timestamp,
}

fn channel<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Channel, D::Error> {
    Channel::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// A new rule, or the replacement of one.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Slow responses", "channel": "metrics.api",
    "field": "avg_response_time", "condition": {"above": 250, "clear": 200}, "for": "2m", "severity": "critical"})))]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// ID. Without one the server assigns an ID.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Id>))]
    pub id: Option<String>,
    /// Name for people to read.
    #[cfg_attr(feature = "openapi", schema(value_type = Text))]
    pub name: String,
    /// State channel that is watched. It need not exist yet.
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::ChannelName))]
    pub channel: String,
    /// Field of its value; dots lead into objects.
    #[cfg_attr(feature = "openapi", schema(value_type = FieldName))]
    pub field: String,
    /// Condition under which the value is bad.
    #[cfg_attr(feature = "openapi", schema(value_type = Condition))]
    pub(super) condition: RawCondition,
    /// Time for which the condition has to be met without interruption, at most `1d`. Default: 0, an alert is raised at once.
    #[serde(rename = "for")]
    pub hold: Option<Span>,
    /// Severity of the alerts.
    pub severity: Severity,
    /// Message of the alerts, at most 1,000 bytes. Default: a text with the measured value.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Message>))]
    pub message: Option<String>,
    /// Targets of the alerts. Default: all configured targets for critical alerts, none for others.
    pub notify: Option<Vec<Target>>,
    /// Version that a replacement requires: 412 if the rule has another one. Ignored on creation.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64"))]
    pub version: Option<u64>,
}

impl NewRule {
    /// Creates a rule.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], which names the field.
    pub fn build(self, made: Timestamp) -> Result<Rule, AlertError> {
        let id = self.id.clone().unwrap_or_else(|| format!("rule-{:012x}", random_u64() >> 16));
        self.build_at(id, 1, made)
    }

    /// Creates the next version of `rule`; the same version if nothing changes.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], which names the field; [`AlertError::Moved`] if the client has seen another version.
    pub fn replace(self, rule: &Rule, if_match: Option<&IfMatch>) -> Result<Rule, AlertError> {
        if self.id.as_ref().is_some_and(|id| *id != rule.id) {
            return Err(AlertError::invalid("id: the ID of a rule cannot change"));
        }
        let moved = self.version.is_some_and(|version| version != rule.version)
            || if_match.is_some_and(|if_match| !if_match.holds(rule.version()));
        // An invalid request is refused as invalid (RFC 9110, section 13.2.1).
        let mut next = self.build_at(rule.id.clone(), rule.version, rule.made)?;
        if moved {
            return Err(AlertError::Moved);
        }
        if next != *rule {
            next.version += 1;
        }
        Ok(next)
    }

    fn build_at(self, id: String, version: u64, made: Timestamp) -> Result<Rule, AlertError> {
        let fault = |condition: bool, text: &str| if condition { Err(AlertError::invalid(text)) } else { Ok(()) };
        fault(!is_id(&id), "id: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")?;
        fault(!is_text(&self.name, MAX_NAME), "name: 1 to 200 bytes without control characters")?;
        let channel =
            Channel::parse(&self.channel).map_err(|error| AlertError::invalid(format!("channel: {error}")))?;
        if built_in::is_event_channel(&channel) {
            return Err(AlertError::invalid(format!(
                "channel: {channel:?} is an event channel, which has no current value"
            )));
        }
        fault(!is_text(&self.field, MAX_FIELD), "field: 1 to 256 bytes without control characters")?;
        let condition = self.condition.build()?;
        let hold = self.hold.unwrap_or_default();
        fault(hold > MAX_FOR, "for: at most 1d")?;
        if let Some(message) = &self.message {
            fault(!is_text(message, MAX_MESSAGE), "message: 1 to 1000 bytes without control characters")?;
        }
        let notify = self.notify.map(|mut targets| {
            targets.sort();
            targets.dedup();
            targets
        });
        Ok(Rule {
            id,
            name: self.name,
            channel,
            field: self.field,
            condition,
            hold,
            severity: self.severity,
            message: self.message,
            notify,
            version,
            made,
        })
    }
}

impl Rule {
    /// Checks whether the rule can be added where the tenant has `count` rules; `taken`: one of them has its id.
    ///
    /// # Errors
    /// [`AlertError::Taken`] before [`AlertError::TooMany`].
    pub fn check_room(&self, taken: bool, count: i64, max: usize) -> Result<(), AlertError> {
        if taken {
            return Err(AlertError::Taken(self.id.clone()));
        }
        let full = usize::try_from(count).is_ok_and(|count| count >= max);
        if full { Err(AlertError::TooMany(max)) } else { Ok(()) }
    }

    /// Returns the version, which is compared with `If-Match`.
    pub fn version(&self) -> Version {
        Version { number: self.version, made: self.made }
    }

    /// Returns whether `other` watches the same field for the same condition, so that an open alert stays open.
    pub fn watches_the_same(&self, other: &Self) -> bool {
        self.channel == other.channel && self.field == other.field && self.condition == other.condition
    }

    /// Returns what is watched, as alerts name it: `metrics.api.error_rate`.
    pub fn metric(&self) -> String {
        format!("{}.{}", self.channel, self.field)
    }

    /// Returns the targets of its alerts, among the configured ones.
    pub fn targets(&self, configured: &[Target]) -> Vec<Target> {
        let wanted = |target: &Target| match &self.notify {
            Some(named) => named.contains(target),
            None => self.severity == Severity::Critical,
        };
        configured.iter().copied().filter(wanted).collect()
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Returns whether `text` is 1 to `max` bytes long, not blank, and fits in a line.
fn is_text(text: &str, max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn with(name: &str, value: Value) -> Value {
        let mut rule = json!({"id": "r", "name": "R", "channel": "metrics.a", "field": "x", "condition": {"above": 1},
            "severity": "info"});
        rule[name] = value;
        rule
    }

    fn build(rule: &Value) -> Result<Rule, String> {
        let rule: NewRule = serde_json::from_value(rule.clone()).map_err(|error| error.to_string())?;
        rule.build(Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
    }

    #[test]
    fn a_written_rule_is_read_back_unchanged() {
        let rule = build(&with("for", json!("90s"))).unwrap();
        let written = serde_json::to_value(&rule).unwrap();
        assert_eq!((&written["for"], &written["version"]), (&json!("90s"), &json!(1)));
        assert!(written.get("message").is_none() && written.get("notify").is_none());
        assert_eq!(json!(build(&with("for", json!(90_000))).unwrap())["for"], json!("90s"), "in milliseconds");
        assert_eq!(serde_json::from_value::<Rule>(written).unwrap(), rule);
        assert!(
            build(&json!({"name": "R", "channel": "a", "field": "x", "condition": {"below": 0}, "severity": "info"}))
                .unwrap()
                .id
                .starts_with("rule-")
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (name, value, part) in [
            ("id", json!("a/b"), "id: 1 to 64"),
            ("id", json!(""), "id: 1 to 64"),
            ("name", json!(""), "name: 1 to 200"),
            ("name", json!("  "), "name: 1 to 200"),
            ("name", json!("a\r\nBcc: x"), "name: 1 to 200"),
            ("channel", json!("a b"), "channel: "),
            ("channel", json!("alerts"), "channel: \"alerts\" is an event channel"),
            ("id", json!("x".repeat(65)), "id: 1 to 64"),
            ("name", json!("x".repeat(201)), "name: 1 to 200"),
            ("message", json!("x".repeat(1_001)), "message: 1 to 1000"),
            ("field", json!("x".repeat(257)), "field: 1 to 256"),
            ("for", json!(86_400_001), "for: at most 1d"),
            ("for", json!("soon"), "write a duration"),
            ("severity", json!("bad"), "unknown variant `bad`"),
            ("message", json!("\u{7}"), "message: 1 to 1000"),
            ("notify", json!(["fax"]), "unknown variant `fax`"),
            ("colour", json!(1), "unknown field `colour`"),
            ("condition", json!({}), "condition: one of above"),
        ] {
            let error = build(&with(name, value.clone())).unwrap_err();
            assert!(error.contains(part), "{name} {value}: {error}");
        }
    }

    #[test]
    fn limits_of_a_rule_are_inclusive() {
        for (name, value) in [
            ("id", json!("x".repeat(64))),
            ("name", json!("x".repeat(200))),
            ("message", json!("x".repeat(1_000))),
            ("field", json!("x".repeat(256))),
            ("for", json!("1d")),
        ] {
            let rule = build(&with(name, value.clone())).unwrap();
            assert_eq!(json!(rule)[name], value);
        }
    }

    #[test]
    fn a_rule_is_written_without_what_it_does_not_need() {
        let rule = build(&with("for", json!("0s"))).unwrap();
        assert_eq!(json!(rule).get("for"), None);
        let rule = build(&with("notify", json!(["webhook", "email", "webhook"]))).unwrap();
        assert_eq!(json!(rule)["notify"], json!(["email", "webhook"]), "each target once, in a fixed order");
    }

    #[test]
    fn a_rule_watches_the_same_if_channel_field_and_condition_are_equal() {
        let rule = build(&with("name", json!("R"))).unwrap();
        for (name, value, same) in [
            ("name", json!("S"), true),
            ("for", json!("1m"), true),
            ("severity", json!("critical"), true),
            ("channel", json!("metrics.b"), false),
            ("field", json!("y"), false),
            ("condition", json!({"above": 2}), false),
        ] {
            let other = build(&with(name, value)).unwrap();
            assert_eq!(rule.watches_the_same(&other), same, "{name}");
        }
    }

    #[test]
    fn a_replacement_counts_unless_it_changes_nothing() {
        let rule = build(&with("for", json!("1m"))).unwrap();
        let new = |value: Value| serde_json::from_value::<NewRule>(value).unwrap();
        assert_eq!(new(with("for", json!("60s"))).replace(&rule, None), Ok(rule.clone()));
        assert_eq!(new(with("for", json!("2m"))).replace(&rule, None).unwrap().version, 2);
        assert_eq!(new(with("version", json!(2))).replace(&rule, None), Err(AlertError::Moved));
        assert_eq!(new(with("name", json!("S"))).replace(&rule, Some(&IfMatch::OneOf(vec![]))), Err(AlertError::Moved));
        assert!(matches!(new(with("id", json!("s"))).replace(&rule, None), Err(AlertError::Invalid(_))));
    }

    #[test]
    fn a_tenant_has_at_most_as_many_rules_as_are_allowed() {
        let rule = build(&with("name", json!("R"))).unwrap();
        assert_eq!(rule.check_room(false, 2, 3), Ok(()));
        assert_eq!(rule.check_room(false, 3, 3), Err(AlertError::TooMany(3)));
        assert_eq!(rule.check_room(true, 3, 3), Err(AlertError::Taken("r".into())));
    }

    #[test]
    fn severities_and_targets_are_read_as_they_are_written() {
        assert_eq!(Severity::ALL.map(|severity| Severity::parse(severity.as_str())), Severity::ALL.map(Some));
        assert_eq!(Target::ALL.map(|target| Target::parse(target.as_str())), Target::ALL.map(Some));
        assert_eq!((Severity::parse("bad"), Target::parse("fax")), (None, None));
    }

    #[test]
    fn critical_alerts_go_to_all_targets_unless_the_rule_names_some() {
        let targets = |severity: &str, notify: Value| {
            let mut rule = with("severity", json!(severity));
            rule["notify"] = notify;
            build(&rule).unwrap().targets(&Target::ALL)
        };
        assert_eq!(targets("critical", Value::Null), Target::ALL);
        assert_eq!(targets("critical", json!(["webhook", "webhook"])), [Target::Webhook]);
        assert_eq!(targets("critical", json!([])), []);
        assert_eq!(targets("warning", Value::Null), []);
        assert_eq!(targets("warning", json!(["email"])), [Target::Email]);
        assert_eq!(build(&with("severity", json!("critical"))).unwrap().targets(&[]), []);
    }
}
