//! OpenAPI schemas of alerts and rules.

#![expect(dead_code, missing_docs, reason = "read by the derive macro alone; docs/protocol.md documents the fields")]

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use super::{
    business::{FieldName, Words},
    shapes::Time,
};

/// Severity of an alert.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// Filter of alerts by state.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    Open,
    Resolved,
    All,
}

/// Target of notifications, besides the channel `alerts`.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertTarget {
    Email,
    Webhook,
}

/// An alert.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "alt-0190b6a1f0c85d1e9a3f", "ruleId": "slow", "type": "critical",
    "metric": "metrics.api.avg_response_time", "message": "Slow answers: metrics.api.avg_response_time is 300, above 250",
    "value": 300.0, "threshold": 250.0, "raisedAt": "2024-07-15T14:00:05.120Z"}))]
pub struct Alert {
    #[schema(pattern = "^alt-[0-9a-f]{20}$")]
    id: String,
    rule_id: String,
    #[schema(rename = "type")]
    r#type: Severity,
    /// Channel and field.
    metric: String,
    message: String,
    /// Value that raised the alert; `null` for an absence.
    #[schema(required = true)]
    value: Option<f64>,
    /// Threshold of the condition; seconds for an absence.
    threshold: f64,
    raised_at: Time,
    #[schema(nullable = false)]
    resolved_at: Option<Time>,
    #[schema(nullable = false)]
    acknowledged_by: Option<String>,
    #[schema(nullable = false)]
    acknowledged_at: Option<Time>,
}

/// A page of alerts, the newest first.
#[derive(ToSchema)]
pub struct AlertPage {
    alerts: Vec<Alert>,
    /// The `after` of the next page; `null` on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// Duration, such as `30s`, `5m`, `1h`, `7d`.
pub struct Period;

impl PartialSchema for Period {
    fn schema() -> RefOr<Schema> {
        period("").into()
    }
}

impl ToSchema for Period {}

fn period(description: &str) -> ObjectBuilder {
    let text = if description.is_empty() { "A duration: `30s`, `5m`, `1h`, `7d`." } else { description };
    let kind = SchemaType::Type(Type::String);
    ObjectBuilder::new().schema_type(kind).pattern(Some("^[0-9]{1,9}(ms|s|m|h|d)?$")).description(Some(text))
}

/// Condition that raises an alert.
pub struct Condition;

impl PartialSchema for Condition {
    fn schema() -> RefOr<Schema> {
        let number =
            |text: &str| ObjectBuilder::new().schema_type(SchemaType::Type(Type::Number)).description(Some(text));
        let closed =
            || ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
        let clear = "Threshold that resolves the alert. Default: the one that raises it.";
        let above = closed().property("above", number("Raises an alert above this value.")).required("above");
        let above = above.property("clear", number(clear));
        let below = closed().property("below", number("Raises an alert below this value.")).required("below");
        let below = below.property("clear", number(clear));
        let drop = closed()
            .property(
                "dropsBelowRatio",
                number("Raises an alert below this share of the earlier value: above 0, at most 1."),
            )
            .required("dropsBelowRatio")
            .property("comparedTo", period("Age of the earlier value: `1s` to `7d`."))
            .required("comparedTo")
            .property("clear", number("Share that resolves the alert."));
        let absent = closed()
            .property(
                "absentFor",
                period("Raises an alert when the field was not written for this time: `1s` to `7d`."),
            )
            .required("absentFor")
            .property(
                "clear",
                period("Time that the field has to be written before the alert is resolved. Default: at once."),
            );
        let one = OneOfBuilder::new().item(above).item(below).item(drop).item(absent);
        one.description(Some("Condition that raises an alert; `clear` is the one that resolves it.")).into()
    }
}

impl ToSchema for Condition {}

/// A rule.
#[derive(ToSchema)]
#[schema(example = json!({"id": "slow", "name": "Slow answers", "channel": "metrics.api", "field": "avg_response_time",
    "condition": {"above": 250.0, "clear": 200.0}, "for": "2m", "severity": "critical", "version": 1}))]
pub struct Rule {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: String,
    name: String,
    channel: String,
    field: String,
    condition: Condition,
    #[schema(nullable = false)]
    r#for: Option<Period>,
    severity: Severity,
    #[schema(nullable = false)]
    message: Option<String>,
    #[schema(nullable = false)]
    notify: Option<Vec<AlertTarget>>,
    /// 1 for a new rule; grows with each change.
    version: u64,
}

/// All rules, ordered by ID.
#[derive(ToSchema)]
pub struct RuleList {
    rules: Vec<Rule>,
}

/// A new rule.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Slow answers", "channel": "metrics.api", "field": "avg_response_time",
    "condition": {"above": 250, "clear": 200}, "for": "2m", "severity": "critical"}))]
pub struct NewRule {
    /// ID of the rule. Default: an ID made by the server.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    name: Words,
    /// A state channel; it need not exist yet.
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: String,
    /// Field of the channel's value; a dot leads into an object.
    field: FieldName,
    condition: Condition,
    /// Time for which the condition has to hold without a break, at most `1d`. Default: 0, an alert is raised at once.
    r#for: Option<Period>,
    severity: Severity,
    /// Message of alerts, at most 1000 bytes. Default: a text with the measured value.
    message: Option<Words>,
    /// Targets of notifications. Default: all configured targets for critical alerts, none for others.
    notify: Option<Vec<AlertTarget>>,
    /// On replacement: the version that the client has seen; 412 if it is another. Ignored on creation.
    #[schema(minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64")]
    version: Option<u64>,
}
