//! OpenAPI descriptions of the query and of the responses, whose JSON `answer` and `representation` write.

#![expect(dead_code, reason = "read by the derive macro alone")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::snapshot_schema::Snapshot;
use tricast_core::{
    channel::Gone,
    openapi::{ChannelName, Cursor, Time},
};
use tricast_domain::history::BackfillSchema;

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
    /// Time at which the server accepted the value.
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
