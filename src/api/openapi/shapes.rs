//! Schemas of values that the code writes or reads without a type of its own. Other types are described where they are
//! defined.

#![expect(dead_code, missing_docs, reason = "read by the derive macro alone; docs/protocol.md documents the fields")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use tricast_core::{
    protocol::error::Code,
    sample::{MAX_LABEL_BYTES, MAX_LABELS},
};
use tricast_domain::sources::host::FIELDS;

/// Any JSON object.
#[derive(ToSchema)]
#[schema(value_type = Object)]
pub struct Anything(Value);

/// Format of the response to a poll.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Text,
}

/// Kind of a channel: a current value, or a list of events.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    State,
    Event,
}

/// An error (RFC 9457). `code` is stable; `title` and `detail` are for people. `instance` is the ID of the request, which
/// is also in the log and in `X-Request-Id`.
#[derive(ToSchema)]
#[schema(example = json!({"type": "about:blank", "title": "Not Found", "status": 404,
    "detail": "there is no channel \"metrics.nothing\"", "code": "RESOURCE_NOT_FOUND", "instance": "72babca893-1"}))]
pub struct Problem {
    #[schema(example = "about:blank")]
    r#type: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    detail: String,
    code: Code,
    #[schema(nullable = false)]
    instance: Option<String>,
    /// Value of `Retry-After` in seconds.
    #[schema(rename = "retryAfter", minimum = 1, nullable = false)]
    retry_after: Option<u64>,
}

/// This host, measured.
pub struct Infrastructure;

impl ToSchema for Infrastructure {}

impl PartialSchema for Infrastructure {
    fn schema() -> RefOr<Schema> {
        let number = |description: &str| {
            let types = SchemaType::from_iter([Type::Number, Type::Null]);
            ObjectBuilder::new().schema_type(types).description(Some(description)).build()
        };
        let object = FIELDS.iter().fold(ObjectBuilder::new(), |object, field| {
            object.property(field.name, number(field.description)).required(field.name)
        });
        object.description(Some("This host, measured; `null` where a value is unknown.")).into()
    }
}

/// HTTP requests of this server in the last 60 s; times in ms, `error_rate` from 0 to 1.
#[derive(ToSchema)]
pub struct Api {
    #[schema(required = true)]
    requests_per_second: Option<f64>,
    #[schema(required = true)]
    avg_response_time: Option<f64>,
    #[schema(required = true)]
    error_rate: Option<f64>,
    #[schema(required = true)]
    active_users: Option<f64>,
}

/// The store in use; fields without a meaning for it are `null`.
#[derive(ToSchema)]
pub struct Database {
    #[schema(required = true)]
    connections: Option<f64>,
    #[schema(required = true)]
    queries_per_second: Option<f64>,
    #[schema(required = true)]
    slow_queries: Option<f64>,
    #[schema(required = true)]
    cache_hit_ratio: Option<f64>,
}

/// Figures of today's business, in the configured time zone.
#[derive(ToSchema)]
pub struct Business {
    #[schema(required = true)]
    orders_today: Option<f64>,
    #[schema(required = true)]
    revenue_today: Option<f64>,
    #[schema(required = true)]
    new_users_today: Option<f64>,
    #[schema(required = true)]
    conversion_rate: Option<f64>,
}

/// Snapshot of all metrics: the value of the channel `metrics`.
#[derive(ToSchema)]
#[schema(example = json!({
    "database": {"connections": 3, "queries_per_second": 120.5, "slow_queries": 0, "cache_hit_ratio": 0.98},
    "api": {"requests_per_second": 41.2, "avg_response_time": 1.8, "error_rate": 0.002, "active_users": 12},
    "infrastructure": {"cpu_usage": 45.1, "memory_usage": 60.2, "disk_usage": 40.0, "network_in": 1000000,
        "network_out": 500000},
    "business": {"orders_today": 1250, "revenue_today": 45000.00, "new_users_today": 150, "conversion_rate": 0.035},
    "custom": {"checkout": {"latency_p95": 180}},
    "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub struct Snapshot {
    database: Database,
    api: Api,
    infrastructure: Infrastructure,
    /// `null` without the permission `read:orders`.
    #[schema(required = true)]
    business: Option<Business>,
    /// Pushed values, by the name of their channel without `metrics.`.
    custom: BTreeMap<String, BTreeMap<String, Value>>,
    cursor: Cursor,
    timestamp: Time,
}

/// Position in the log. Opaque to clients.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_-]{1,32}:[0-9]{1,19}(\.[0-9]{1,19})?$", example = "k3f9x2ab:10482")]
pub struct Cursor(String);

/// Time of the last change, in UTC.
#[derive(ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2024-07-15T14:00:05.120Z")]
pub struct Time(String);

/// Values of several channels, or the changes since a cursor.
#[derive(ToSchema)]
#[schema(example = json!({"channels": {"metrics.orders": {"ordersToday": 12, "ordersLastHour": 3, "pendingOrders": 2,
    "trend": "+12%"}}, "events": [], "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub struct Several {
    /// Values of state channels, by name.
    channels: BTreeMap<String, BTreeMap<String, Value>>,
    /// Channels that ended since the cursor, by name; left out if there are none.
    #[schema(nullable = false)]
    gone: Option<BTreeMap<String, Gone>>,
    /// Events since the cursor, in order.
    events: Vec<Event>,
    /// Events were lost because the log no longer reaches back to the cursor; the response has all current values.
    #[schema(nullable = false)]
    gap: Option<bool>,
    cursor: Cursor,
    timestamp: Time,
}

/// Reason for the end of a channel.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gone {
    Deleted,
    Expired,
}

/// An event.
#[derive(ToSchema)]
pub struct Event {
    channel: String,
    event: String,
    data: BTreeMap<String, Value>,
    timestamp: Time,
    cursor: Cursor,
}

/// The snapshot for a request without channels, otherwise the named channels.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Polled {
    Snapshot(Box<Snapshot>),
    Several(Several),
}

/// A state channel.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "kind": "state", "data": {"latency": 12.5},
    "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub struct StateChannel {
    channel: String,
    #[schema(inline)]
    kind: StateKind,
    data: BTreeMap<String, Value>,
    #[schema(nullable = false)]
    gap: Option<bool>,
    cursor: Cursor,
    timestamp: Time,
}

/// An event channel.
#[derive(ToSchema)]
pub struct EventChannel {
    channel: String,
    #[schema(inline)]
    kind: EventKind,
    events: Vec<Event>,
    #[schema(nullable = false)]
    gap: Option<bool>,
    cursor: Cursor,
    timestamp: Time,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    State,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Event,
}

/// A channel: its value, or its events.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum OneChannel {
    State(StateChannel),
    Event(EventChannel),
}

/// The channels that the caller may read.
#[derive(ToSchema)]
pub struct ChannelList {
    channels: Vec<ChannelLine>,
    cursor: Cursor,
}

/// A channel of the list.
#[derive(ToSchema)]
pub struct ChannelLine {
    channel: String,
    kind: Kind,
    /// Offset of its newest publication.
    version: u64,
    /// Age of that publication (ISO 8601); `null` before the first one.
    #[schema(required = true, example = "PT30S")]
    age: Option<String>,
    /// Time since its value was last written, even unchanged (ISO 8601); `null` for event channels and built-in channels.
    #[schema(required = true, example = "PT2S")]
    idle: Option<String>,
    /// Usual time between two writes (ISO 8601); `null` before the second. A source that is silent for many times as long
    /// has probably stopped.
    #[schema(required = true, example = "PT1S")]
    pace: Option<String>,
    /// `true` as long as the value is the one that was restored from history at the start; left out otherwise.
    restored: Option<bool>,
    /// Only with the parameter `channels`: the fields whose times differ from those of the channel, because they are not
    /// written with the rest of it. Not there when there are none.
    fields: Option<BTreeMap<String, FieldLine>>,
}

/// One field of a channel in the list.
#[derive(ToSchema)]
pub struct FieldLine {
    /// Time since the field was last written, also with the same value (ISO 8601).
    #[schema(example = "PT4M")]
    idle: String,
    /// Usual time between two writes of the field (ISO 8601); `null` before the second.
    #[schema(required = true, example = "PT10S")]
    pace: Option<String>,
    /// `true` while the value is the one that history had when the server started; not there otherwise.
    restored: Option<bool>,
}

/// A value, an event or a sample.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Line {
    Value(PushedValue),
    Event(PushedEvent),
    Gauge(PushedGauge),
    Sample(PushedSample),
    Set(PushedMember),
    End(PushedEnd),
}

/// One line, or several. Each invalid line among several has a verdict of its own in the response.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Lines {
    One(Line),
    Several(Vec<Value>),
}

/// A value of a state channel: replaces the previous one, or with `merge` the named fields only.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "data": {"latency": 12.5}}))]
#[serde(deny_unknown_fields)]
pub struct PushedValue {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: String,
    data: BTreeMap<String, Value>,
    #[schema(nullable = false)]
    merge: Option<bool>,
    #[schema(nullable = false)]
    ttl: Option<Ttl>,
}

/// The channel ends if it is not written for this time, 1 s to 366 d: `30s`, `5m`, `2h`, `7d`, or a number of milliseconds.
#[derive(ToSchema)]
#[schema(example = "5m")]
#[serde(untagged)]
pub enum Ttl {
    Text(String),
    Milliseconds(u64),
}

/// End of a channel.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "delete": true}))]
#[serde(deny_unknown_fields)]
pub struct PushedEnd {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: String,
    #[schema(schema_with = only_true)]
    delete: bool,
}

fn only_true() -> Schema {
    let boolean = SchemaType::Type(Type::Boolean);
    ObjectBuilder::new().schema_type(boolean).enum_values(Some([true])).description(Some("`true`.")).into()
}

/// An event of an event channel.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2.3"}}))]
#[serde(deny_unknown_fields)]
pub struct PushedEvent {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: String,
    /// Name of the event; names with a meaning in the event stream are refused.
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    event: String,
    #[schema(nullable = false)]
    data: Option<BTreeMap<String, Value>>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GaugeKind {
    Gauge,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AmountKind {
    Counter,
    Timing,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SetKind {
    Set,
}

/// A gauge; the server computes last, min, max and average. `checkout.load` is the field `load` of `metrics.checkout`.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.load", "type": "gauge", "value": 0.7}))]
#[serde(deny_unknown_fields)]
pub struct PushedGauge {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,58}\.[A-Za-z0-9_:-]{1,60}$")]
    metric: String,
    #[schema(inline)]
    r#type: GaugeKind,
    #[schema(minimum = -1e21, maximum = 1e21)]
    value: f64,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<Ttl>,
}

/// A counter increment or a timing; the server computes total and rate, or average and percentiles.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.latency", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}))]
#[serde(deny_unknown_fields)]
pub struct PushedSample {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,58}\.[A-Za-z0-9_:-]{1,60}$")]
    metric: String,
    #[schema(inline)]
    r#type: AmountKind,
    #[schema(minimum = 0, maximum = 1e21)]
    value: f64,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<Ttl>,
}

/// A member of a set, whose distinct members are counted.
#[derive(ToSchema)]
#[schema(example = json!({"metric": "checkout.visitors", "type": "set", "value": "ada"}))]
#[serde(deny_unknown_fields)]
pub struct PushedMember {
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,58}\.[A-Za-z0-9_:-]{1,60}$")]
    metric: String,
    #[schema(inline)]
    r#type: SetKind,
    value: Member,
    #[schema(nullable = false)]
    labels: Option<Labels>,
    #[schema(nullable = false)]
    ttl: Option<Ttl>,
}

/// A name or a number.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Member {
    Name(String),
    Number(f64),
}

/// Labels of a sample: at most 8, named like variables, each value at most 64 bytes long.
pub struct Labels;

impl PartialSchema for Labels {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: Option<&str>, most: usize| {
            ObjectBuilder::new().schema_type(Type::String).pattern(pattern).max_length(Some(most))
        };
        let names = text(Some("^[A-Za-z_][A-Za-z0-9_]{0,31}$"), 32).build();
        ObjectBuilder::new()
            .property_names(Some(names))
            .additional_properties(Some(text(None, MAX_LABEL_BYTES)))
            .max_properties(Some(MAX_LABELS))
            .examples([serde_json::json!({"region": "eu"})])
            .into()
    }
}

impl ToSchema for Labels {}

/// All lines are in the log, before `cursor`.
#[derive(ToSchema)]
#[schema(example = json!({"accepted": 1, "cursor": "k3f9x2ab:10482"}))]
pub struct Accepted {
    accepted: u64,
    cursor: Cursor,
    /// `false` if channels have ended whose ends are not stored yet: until then a crash may bring them back. Not there otherwise.
    stored: Option<bool>,
}

/// A channel has ended, and its end is not stored yet.
#[derive(ToSchema)]
#[schema(example = json!({"stored": false}))]
pub struct NotStored {
    stored: bool,
}

/// Some lines are in the log, others were refused.
#[derive(ToSchema)]
#[schema(example = json!({"accepted": 1, "cursor": "k3f9x2ab:10482", "results": [{"index": 0, "status": 202},
    {"index": 1, "status": 403, "code": "FORBIDDEN", "detail": "metrics.api is a channel of the server's own"}]}))]
pub struct Mixed {
    accepted: u64,
    refused: u64,
    cursor: Cursor,
    /// As in `Accepted`.
    stored: Option<bool>,
    /// Verdict on each accepted line and on at most 100 refused ones; all other lines were refused.
    results: Vec<Verdict>,
}

/// Verdict on a line; lines are counted from 0.
#[derive(ToSchema)]
#[schema(example = json!({"index": 1, "status": 403, "code": "FORBIDDEN", "detail": "metrics.api is a channel of the server's own"}))]
pub struct Verdict {
    index: u64,
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    #[schema(nullable = false)]
    code: Option<Code>,
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// The current user.
#[derive(ToSchema)]
#[schema(example = json!({"user": "ada", "tenant": "shop", "permissions": ["read:metrics"], "capabilities": ["metrics",
    "system"], "anonymous": false, "expiresAt": "2024-07-15T15:00:00Z", "demo": false}))]
pub struct Me {
    user: String,
    tenant: String,
    permissions: Vec<String>,
    /// Families of channels that the user may read.
    capabilities: Vec<String>,
    anonymous: bool,
    #[schema(rename = "expiresAt", required = true)]
    expires_at: Option<Time>,
    /// Whether the server runs the simulated shop (`--demo`), whose data are made up.
    demo: bool,
}

/// A token for signing in.
#[derive(ToSchema)]
pub struct SignIn {
    /// A JSON Web Token that this server accepts.
    token: String,
}

/// A credential for one stream, valid for `expiresIn` seconds.
#[derive(ToSchema)]
pub struct Ticket {
    #[schema(pattern = "^[0-9a-f]{48}$")]
    ticket: String,
    #[schema(rename = "expiresIn")]
    expires_in: u64,
}

/// Facts for client libraries.
#[derive(ToSchema)]
pub struct Protocol {
    version: String,
    subprotocol: String,
    #[schema(rename = "closeCodes")]
    close_codes: Vec<CloseCode>,
}

/// A close code of the WebSocket.
#[derive(ToSchema)]
pub struct CloseCode {
    #[schema(minimum = 1000, maximum = 4999)]
    code: u16,
    reason: String,
    /// Whether the client should reconnect.
    #[schema(rename = "comeBack")]
    reconnect: bool,
}

/// The process is alive.
#[derive(ToSchema)]
pub struct Live {
    #[schema(example = "ok")]
    status: String,
    version: String,
}

/// The request as it arrived, and fixes for faults of the path.
#[derive(ToSchema)]
pub struct Doctor {
    version: String,
    /// Version of HTTP that the nearest proxy speaks: `1.0` or `1.1`.
    http: String,
    /// `Host` as it arrived.
    #[schema(required = true)]
    host: Option<String>,
    /// Whether a proxy sent the client's address, and whether the server trusts it: `absent`, `ignored` or `believed`.
    forwarded: String,
    /// Range of the address by which the client is counted: `loopback`, `private` or `public`.
    #[schema(required = true)]
    range: Option<String>,
    /// That address, unless it may belong to the internal network.
    #[schema(required = true)]
    address: Option<String>,
    /// Largest body, in bytes.
    #[schema(rename = "maxBody", minimum = 0)]
    max_body: u64,
    /// Fixes by name.
    remedies: BTreeMap<String, Remedy>,
}

/// Fix of a fault: a directive of nginx or a setting of the server, and an explanation.
#[derive(ToSchema)]
pub struct Remedy {
    #[schema(example = "buffering")]
    id: String,
    #[schema(example = "proxy_buffering off;")]
    nginx: String,
    setting: String,
    advice: String,
}

/// Size of a body on arrival.
#[derive(ToSchema)]
pub struct Counted {
    #[schema(minimum = 0)]
    bytes: u64,
}

/// Whether the server can serve, with the results of its checks.
#[derive(ToSchema)]
#[schema(example = json!({"status": "ready", "checks": {"aggregator": "ok", "store": "ok", "orders": "ok", "websocket": "ok"}}))]
pub struct Ready {
    status: String,
    checks: BTreeMap<String, String>,
    /// Explanations of failed checks for people, if known.
    #[schema(required = false)]
    reasons: Option<BTreeMap<String, String>>,
}

/// A message of the WebSocket protocol, for an event stream.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum SessionMessage {
    Subscribe(Subscribe),
    Others(Subscriptions),
    RefreshToken(RefreshToken),
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscribeType {
    Subscribe,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionsType {
    Unsubscribe,
    Pause,
    Resume,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokenType {
    RefreshToken,
}

/// Start or change subscriptions.
#[derive(ToSchema)]
#[schema(example = json!({"type": "subscribe", "requestId": "1", "channels": ["metrics.*", {"name": "orders"}]}))]
pub struct Subscribe {
    #[schema(inline)]
    r#type: SubscribeType,
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    #[schema(min_items = 1, max_items = 1000)]
    channels: Vec<Wanted>,
    #[schema(nullable = false)]
    since: Option<String>,
}

/// Name of a channel; `metrics.*` selects all channels below a prefix.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_.:-]{1,128}(\.\*)?$", example = "metrics.*")]
pub struct Selector(String);

/// A channel, as a name or with an interval.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Wanted {
    Name(Selector),
    WithInterval(WantedChannel),
}

#[derive(ToSchema)]
pub struct WantedChannel {
    name: Selector,
    #[schema(
        example = "5s",
        nullable = false,
        pattern = r"^0*(([0-2]?[0-9]{1,6}|3[0-5][0-9]{5}|3600000)(ms)?|([0-2]?[0-9]{1,3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$"
    )]
    interval: Option<String>,
}

/// End, pause or resume subscriptions.
#[derive(ToSchema)]
#[schema(example = json!({"type": "pause", "requestId": "2", "channels": ["orders"]}))]
pub struct Subscriptions {
    #[schema(inline)]
    r#type: SubscriptionsType,
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    #[schema(min_items = 1, max_items = 1000)]
    channels: Vec<Selector>,
}

/// A newer token of the same user.
#[derive(ToSchema)]
#[schema(example = json!({"type": "refresh_token", "token": "eyJhbGciOi..."}))]
pub struct RefreshToken {
    #[schema(inline)]
    r#type: RefreshTokenType,
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    token: String,
}

/// Length of the buckets of a response.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    Raw,
    Minute,
    Hour,
    Day,
    Auto,
}

/// Summary of the points of a time span; with the interval `raw`, one point.
#[derive(ToSchema)]
pub struct Bucket {
    /// Start of the time span.
    period: Time,
    #[schema(minimum = 1)]
    count: u64,
    total: f64,
    average: f64,
    min: f64,
    max: f64,
    last: f64,
}

/// History of the fields of a channel. Time spans without points have no bucket.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.api", "field": "requests_per_second", "interval": "minute",
    "from": "2024-07-15T14:00:00.000Z", "to": "2024-07-15T14:01:00.000Z", "buckets": [{"period": "2024-07-15T14:00:00.000Z",
    "count": 60, "total": 3090, "average": 51.5, "min": 50, "max": 53, "last": 53}]}))]
pub struct Past {
    channel: String,
    /// Name of the field, if the request names one.
    #[schema(nullable = false)]
    field: Option<String>,
    interval: Interval,
    from: Time,
    /// End, exclusive.
    to: Time,
    /// Buckets of that field.
    #[schema(nullable = false)]
    buckets: Option<Vec<Bucket>>,
    /// Buckets by field, if the request does not name a single one.
    #[schema(nullable = false)]
    fields: Option<BTreeMap<String, Vec<Bucket>>>,
}

/// History of a channel before its live values.
#[derive(ToSchema)]
pub struct Backfilled {
    interval: Interval,
    from: Time,
    /// End, exclusive: the live values start here.
    to: Time,
    fields: BTreeMap<String, Vec<Bucket>>,
}
