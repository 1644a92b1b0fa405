//! OpenAPI descriptions of the lines of a push, which `line` parses.

#![expect(dead_code, reason = "read by the derive macro alone")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, Schema, Type, schema::SchemaType},
};

use tricast_core::openapi::{ChannelName, Labels};

/// One line, or several. Each invalid line among several has a result of its own in the response.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Push {
    One(Line),
    /// Several lines, each a `PushedLine`.
    Several(Vec<Value>),
}

/// A value, an event, a sample, or the end of a channel.
#[derive(ToSchema)]
#[schema(as = PushedLine)]
#[serde(untagged)]
pub(super) enum Line {
    Value(PushedValue),
    Event(PushedEvent),
    Gauge(PushedGauge),
    Sample(PushedSample),
    Set(PushedMember),
    End(PushedEnd),
}

/// A value of a state channel: replaces the previous one, or with `merge` the named fields only.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "data": {"latency": 12.5}}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedValue {
    channel: ChannelName,
    data: BTreeMap<String, Value>,
    /// Replace only the fields of `data`.
    #[schema(nullable = false)]
    merge: Option<bool>,
    #[schema(nullable = false)]
    ttl: Option<TimeToLive>,
}

/// Time to live: the channel ends if it is not written for this time, 1 s to 366 d: `30s`, `5m`, `2h`, `7d`, or a number of
/// milliseconds.
#[derive(ToSchema)]
#[schema(example = "5m")]
#[serde(untagged)]
pub(super) enum TimeToLive {
    Text(String),
    Milliseconds(u64),
}

/// The end of a channel.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "delete": true}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedEnd {
    channel: ChannelName,
    #[schema(schema_with = only_true)]
    delete: bool,
}

fn only_true() -> Schema {
    let boolean = SchemaType::Type(Type::Boolean);
    ObjectBuilder::new().schema_type(boolean).enum_values(Some([true])).description(Some("Always `true`.")).into()
}

/// An event of an event channel.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2.3"}}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedEvent {
    channel: ChannelName,
    /// Name of the event. Names that the event stream itself uses are refused.
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    event: String,
    #[schema(nullable = false)]
    data: Option<BTreeMap<String, Value>>,
    #[schema(nullable = false)]
    ttl: Option<TimeToLive>,
}

/// Channel without `metrics.`, a dot and a field: `checkout.load` is the field `load` of `metrics.checkout`.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_.:-]{1,58}\.[A-Za-z0-9_:-]{1,60}$", example = "checkout.latency")]
pub(super) struct MetricName(String);

/// Value of `type` of a gauge.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum GaugeType {
    Gauge,
}

/// Value of `type` of a counter increment or a timing.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum SampleType {
    Counter,
    Timing,
}

/// Value of `type` of a member of a set.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum SetType {
    Set,
}

/// A gauge; the server computes last, min, max and average.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.load", "type": "gauge", "value": 0.7}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedGauge {
    metric: MetricName,
    #[schema(inline)]
    r#type: GaugeType,
    #[schema(minimum = -1e21, maximum = 1e21)]
    value: f64,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<TimeToLive>,
}

/// A counter increment or a timing; the server computes total and rate, or average and percentiles.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.latency", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedSample {
    metric: MetricName,
    #[schema(inline)]
    r#type: SampleType,
    #[schema(minimum = 0, maximum = 1e21)]
    value: f64,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<TimeToLive>,
}

/// A member of a set, whose distinct members are counted.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.visitors", "type": "set", "value": "ada"}))]
#[serde(deny_unknown_fields)]
pub(super) struct PushedMember {
    metric: MetricName,
    #[schema(inline)]
    r#type: SetType,
    value: SetMember,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<TimeToLive>,
}

/// A member: a name or a number.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum SetMember {
    Name(String),
    Number(f64),
}
