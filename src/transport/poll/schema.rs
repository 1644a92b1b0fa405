//! OpenAPI descriptions of the query and of the responses, whose JSON `answer` and `representation` write.

#![expect(dead_code, reason = "read by the derive macro alone")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use tricast_core::{
    channel::Gone,
    openapi::{ChannelName, Cursor, Time},
};
use tricast_domain::{history::BackfillSchema, sources::host::FIELDS};

/// Header by which a client asks to wait (RFC 7240).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct Prefer {
    /// `wait=SECONDS`: hold the request until there is new data. Other preferences are ignored.
    #[param(nullable = false, rename = "Prefer", example = "wait=20")]
    prefer: Option<String>,
}

/// Query of a poll.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Resume from here: the `cursor` of an earlier response. Only later changes are returned. If the log no longer
    /// reaches back that far, the response has all values and `"gap": true`.
    #[param(inline)]
    since: Option<Cursor>,
    /// Hold the request up to this many seconds until there is new data, limited by the server's `long_poll_max`.
    /// Requires a tag (`If-None-Match`) or `since`; the response to a first request is immediate.
    #[param(minimum = 0, maximum = 4_294_967_295_u64, example = 20)]
    wait: Option<u64>,
    /// `text`: aligned `name value` lines for people. `Accept: text/plain` has the same effect.
    #[param(inline)]
    format: Option<Format>,
}

/// Format of the response to a poll.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Text,
}

/// Metrics of this host.
pub(super) struct Infrastructure;

impl PartialSchema for Infrastructure {
    fn schema() -> RefOr<Schema> {
        let number = |description: &str| {
            let types = SchemaType::from_iter([Type::Number, Type::Null]);
            ObjectBuilder::new().schema_type(types).description(Some(description)).build()
        };
        let object = FIELDS.iter().fold(ObjectBuilder::new(), |object, field| {
            object.property(field.name, number(field.description)).required(field.name)
        });
        object.description(Some("Metrics of this host; `null` where a value is unknown.")).into()
    }
}

impl ToSchema for Infrastructure {}

/// HTTP requests of this server in the last 60 s.
#[derive(ToSchema)]
pub(super) struct Api {
    /// Requests per second.
    #[schema(required = true)]
    requests_per_second: Option<f64>,
    /// Mean duration of a request in milliseconds.
    #[schema(required = true)]
    avg_response_time: Option<f64>,
    /// Share of requests with a status of 500 or more, 0 to 1.
    #[schema(required = true)]
    error_rate: Option<f64>,
    /// Users who are online.
    #[schema(required = true)]
    active_users: Option<f64>,
}

/// Metrics of the store in use; `null` where the store has no such figure.
#[derive(ToSchema)]
pub(super) struct Database {
    /// Connections to the database, of all its clients.
    #[schema(required = true)]
    connections: Option<f64>,
    /// Queries per second.
    #[schema(required = true)]
    queries_per_second: Option<f64>,
    /// Slow queries.
    #[schema(required = true)]
    slow_queries: Option<f64>,
    /// Share of page reads that the cache served, 0 to 1.
    #[schema(required = true)]
    cache_hit_ratio: Option<f64>,
}

/// Figures of today's business, in the configured time zone.
#[derive(ToSchema)]
pub(super) struct Business {
    /// Orders of today.
    #[schema(required = true)]
    orders_today: Option<f64>,
    /// Revenue of today in the currency of the server.
    #[schema(required = true)]
    revenue_today: Option<f64>,
    /// New customers of today.
    #[schema(required = true)]
    new_users_today: Option<f64>,
    /// Orders per visit, 0 to 1.
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
pub(super) struct Snapshot {
    database: Database,
    api: Api,
    infrastructure: Infrastructure,
    /// `null` without the permission `read:orders`.
    #[schema(required = true)]
    business: Option<Business>,
    /// Pushed values, by the name of their channel without `metrics.`.
    custom: BTreeMap<String, BTreeMap<String, Value>>,
    /// History by channel, if the request has `backfill`.
    #[schema(nullable = false)]
    history: Option<BTreeMap<String, BackfillSchema>>,
    cursor: Cursor,
    /// Time of the last change.
    timestamp: Time,
}

/// Values of several channels, or the changes since a cursor.
#[derive(ToSchema)]
#[schema(example = json!({"channels": {"metrics.orders": {"ordersToday": 12, "ordersLastHour": 3, "pendingOrders": 2,
    "trend": "+12%"}}, "events": [], "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub(super) struct SeveralChannels {
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
    /// History by channel, if the request has `backfill`.
    #[schema(nullable = false)]
    history: Option<BTreeMap<String, BackfillSchema>>,
    cursor: Cursor,
    /// Time of the last change.
    timestamp: Time,
}

/// An event of a channel.
#[derive(ToSchema)]
pub(super) struct Event {
    channel: ChannelName,
    /// Name of the event.
    event: String,
    data: BTreeMap<String, Value>,
    /// Time of acceptance.
    timestamp: Time,
    cursor: Cursor,
}

/// The snapshot for a request without channels, otherwise the named channels.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Metrics {
    Snapshot(Box<Snapshot>),
    Several(SeveralChannels),
}

/// A state channel with its value.
#[derive(ToSchema)]
#[schema(example = json!({"channel": "metrics.checkout", "kind": "state", "data": {"latency": 12.5},
    "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub(super) struct StateChannel {
    channel: ChannelName,
    #[schema(inline)]
    kind: StateKind,
    data: BTreeMap<String, Value>,
    /// History by channel, if the request has `backfill`.
    #[schema(nullable = false)]
    history: Option<BTreeMap<String, BackfillSchema>>,
    cursor: Cursor,
    /// Time of the last change.
    timestamp: Time,
}

/// An event channel with its events.
#[derive(ToSchema)]
pub(super) struct EventChannel {
    channel: ChannelName,
    #[schema(inline)]
    kind: EventKind,
    /// Events since the cursor, or those that the log still has; in order.
    events: Vec<Event>,
    /// Events were lost because the log no longer reaches back to the cursor.
    #[schema(nullable = false)]
    gap: Option<bool>,
    /// History by channel, if the request has `backfill`.
    #[schema(nullable = false)]
    history: Option<BTreeMap<String, BackfillSchema>>,
    cursor: Cursor,
    /// Time of the last change.
    timestamp: Time,
}

/// Kind of a state channel.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum StateKind {
    State,
}

/// Kind of an event channel.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum EventKind {
    Event,
}

/// A channel: its value, or its events.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum OneChannel {
    State(StateChannel),
    Event(EventChannel),
}
