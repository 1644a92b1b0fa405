//! OpenAPI descriptions of the query, which [`super::Query`] reads, and of the messages that control a stream, which
//! `tricast_core::protocol::command` parses.

#![expect(dead_code, reason = "read by the derive macro alone")]

use utoipa::{IntoParams, ToSchema};

use tricast_core::openapi::{Selector, UpdateInterval};

/// Query of an event stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Stream {
    /// Resume from this cursor. An unknown cursor causes the event `gap` and all current values.
    #[param(example = "k3f9x2ab:10482")]
    since: Option<String>,
    /// Last received event, for clients that cannot send the header `Last-Event-ID`. The header takes precedence over it,
    /// and it over `since`. `lastEventID`, `last-event-id`, `Last-Event-ID` and `last_event_id` are the same.
    #[param(rename = "lastEventId", example = "k3f9x2ab:10482")]
    last_event_id: Option<String>,
    /// `1`: refusals have their own status. Otherwise a temporary refusal is a stream with status 200, the event `error`
    /// and a reconnection time, because an EventSource does not reconnect after any other status.
    #[param(example = "1")]
    strict: Option<String>,
}

/// Query of a stream of timed events for the path doctor. Needs no token; five minutes at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Probe {
    /// Number of events `probe`, which are sent at known times in place of all others.
    #[param(minimum = 1, maximum = 40, example = 12)]
    probe: Option<u32>,
    /// Milliseconds between two of them; default 250.
    #[param(minimum = 0, maximum = 300_000, example = 250)]
    every: Option<u64>,
    /// Padding of each event, in bytes.
    #[param(minimum = 0, maximum = 2_048, example = 512)]
    bytes: Option<u64>,
}

/// ID of the last event that a browser received (WHATWG HTML, section 9.2.4).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct LastEventId {
    /// Cursor to resume from, as an EventSource sends it; takes precedence over `since`.
    #[param(nullable = false, rename = "Last-Event-ID", example = "k3f9x2ab:10482")]
    last_event_id: Option<String>,
}

/// A message of the WebSocket protocol, for an event stream.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum StreamCommand {
    Subscribe(Subscribe),
    Change(ChangeSubscriptions),
    RefreshToken(RefreshToken),
}

/// Starts or changes subscriptions.
#[derive(ToSchema)]
#[schema(example = json!({"type": "subscribe", "requestId": "1", "channels": ["metrics.*", {"name": "orders"}]}))]
pub(super) struct Subscribe {
    #[schema(inline)]
    r#type: SubscribeType,
    /// ID of the message, returned in the reply.
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    #[schema(min_items = 1, max_items = 1000)]
    channels: Vec<SubscribedChannel>,
    /// Cursor to start from.
    #[schema(nullable = false)]
    since: Option<String>,
}

/// Value of `type` of a subscription.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum SubscribeType {
    Subscribe,
}

/// A channel to subscribe to, as a name or with an interval.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum SubscribedChannel {
    Name(Selector),
    WithInterval(ChannelWithInterval),
}

/// A channel to subscribe to, with the shortest time between two updates.
#[derive(ToSchema)]
pub(super) struct ChannelWithInterval {
    name: Selector,
    #[schema(inline, nullable = false)]
    interval: Option<UpdateInterval>,
}

/// Ends, pauses or resumes subscriptions.
#[derive(ToSchema)]
#[schema(example = json!({"type": "pause", "requestId": "2", "channels": ["orders"]}))]
pub(super) struct ChangeSubscriptions {
    #[schema(inline)]
    r#type: ChangeType,
    /// ID of the message, returned in the reply.
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    #[schema(min_items = 1, max_items = 1000)]
    channels: Vec<Selector>,
}

/// Values of `type` of a change of subscriptions.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum ChangeType {
    Unsubscribe,
    Pause,
    Resume,
}

/// Replaces the token by a newer one of the same user.
#[derive(ToSchema)]
#[schema(example = json!({"type": "refresh_token", "token": "eyJhbGciOi..."}))]
pub(super) struct RefreshToken {
    #[schema(inline)]
    r#type: RefreshTokenType,
    /// ID of the message, returned in the reply.
    #[schema(rename = "requestId", max_length = 128, nullable = false)]
    request_id: Option<String>,
    token: String,
}

/// Value of `type` of a new token.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum RefreshTokenType {
    RefreshToken,
}
