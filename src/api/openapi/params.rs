//! Parameters in the OpenAPI document: headers that several paths use, and queries with their bounds.
//!
//! The bounds repeat those of the code that reads the parameters; tests compare the two.

#![expect(dead_code, reason = "read by the derive macro alone")]

use utoipa::IntoParams;

/// Headers of a conditional request (RFC 9110, section 13).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Conditional {
    /// Tags that the client holds, from `ETag`. If one is current, the response is 304.
    #[param(nullable = false, rename = "If-None-Match", example = "W/\"402-133606024087959372935779717377397319945\"")]
    if_none_match: Option<String>,
}

/// Headers of a conditional request for a resource with a date.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Dated {
    /// Date of a `Last-Modified`. Ignored if it is not a date, or if `If-None-Match` is present.
    #[param(nullable = false, rename = "If-Modified-Since", example = "Sat, 21 Nov 2026 06:02:05 GMT")]
    if_modified_since: Option<String>,
}

/// Longest wait of a poll.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Waiting {
    /// `wait=SECONDS` (RFC 7240): hold the request until there is new data. Other preferences are ignored.
    #[param(nullable = false, rename = "Prefer", example = "wait=20")]
    prefer: Option<String>,
}

/// Query of a poll.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Poll {
    /// Resume from here: the `cursor` of an earlier response. Only later changes are returned. If the log no longer
    /// reaches back that far, all values are, with `"gap": true`.
    #[param(pattern = r"^[A-Za-z0-9_-]{1,32}:[0-9]{1,19}(\.[0-9]{1,19})?$", example = "k3f9x2ab:10482")]
    since: Option<String>,
    /// Hold the request up to this many seconds until there is new data, limited by the server's `long_poll_max`.
    /// Requires a tag (`If-None-Match`) or `since`: a first request is answered at once.
    #[param(nullable = false, minimum = 0, maximum = 4_294_967_295_u64, example = 20)]
    wait: Option<u64>,
    /// Shortest time between the request and a response with new data: `500ms`, `5s`, `1m`, or a number of milliseconds;
    /// at most an hour.
    #[param(
        nullable = false,
        pattern = r"^0*(([0-2]?[0-9]{1,6}|3[0-5][0-9]{5}|3600000)(ms)?|([0-2]?[0-9]{1,3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$",
        example = "500ms"
    )]
    interval: Option<String>,
    /// `text`: aligned `name value` lines for people. `Accept: text/plain` has the same effect.
    #[param(nullable = false, inline)]
    format: Option<super::shapes::Format>,
}

/// Selection of channels.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Channels {
    /// Names separated by commas; `metrics.*` selects all channels below a prefix. The parameter may be repeated, and may
    /// be called `channels[]`.
    #[param(
        nullable = false,
        pattern = r"^[A-Za-z0-9_.:-]{1,128}(\.\*)?(,[A-Za-z0-9_.:-]{1,128}(\.\*)?)*$",
        example = "metrics.orders,alerts"
    )]
    channels: Option<String>,
}

/// Query of an event stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Stream {
    /// Shortest time between two updates of a channel: `500ms`, `5s`, `1m`, or a number of milliseconds; at most an hour.
    #[param(
        nullable = false,
        pattern = r"^0*(([0-2]?[0-9]{1,6}|3[0-5][0-9]{5}|3600000)(ms)?|([0-2]?[0-9]{1,3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$",
        example = "500ms"
    )]
    interval: Option<String>,
    /// Resume from this cursor. An unknown cursor causes the event `gap` and all current values.
    #[param(nullable = false, example = "k3f9x2ab:10482")]
    since: Option<String>,
    /// Last received event, for clients that cannot send the header `Last-Event-ID`. The header takes precedence over it,
    /// and it over `since`. `lastEventID`, `last-event-id`, `Last-Event-ID` and `last_event_id` are the same.
    #[param(nullable = false, rename = "lastEventId", example = "k3f9x2ab:10482")]
    last_event_id: Option<String>,
    /// `1`: refusals have their own status. Otherwise a temporary refusal is a stream with status 200, the event `error`
    /// and a reconnection time, because an EventSource does not reconnect after any other status.
    #[param(nullable = false, example = "1")]
    strict: Option<String>,
}

/// Query of a stream of timed events for the path doctor. Needs no token; five minutes at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Probe {
    /// Number of events `probe`, which are sent at known times in place of all others.
    #[param(nullable = false, minimum = 1, maximum = 40, example = 12)]
    probe: Option<u32>,
    /// Milliseconds between two of them; default 250.
    #[param(nullable = false, minimum = 0, maximum = 300_000, example = 250)]
    every: Option<u64>,
    /// Padding of each event, in bytes.
    #[param(nullable = false, minimum = 0, maximum = 2_048, example = 512)]
    bytes: Option<u64>,
}

/// ID of the last event that a browser received.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct LastEventId {
    /// Cursor to resume from, as an EventSource sends it; takes precedence over `since`.
    #[param(nullable = false, rename = "Last-Event-ID", example = "k3f9x2ab:10482")]
    last_event_id: Option<String>,
}

/// The opening handshake (RFC 6455, section 4).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Handshake {
    /// `websocket`; `Connection` has to be `Upgrade`.
    #[param(nullable = false, rename = "Upgrade", example = "websocket")]
    upgrade: String,
    /// Version of the protocol: `13`.
    #[param(nullable = false, rename = "Sec-WebSocket-Version", example = "13")]
    version: String,
    /// 16 random bytes as Base64.
    #[param(nullable = false, rename = "Sec-WebSocket-Key", example = "dHJpY2FzdCByZWFkeXogPw==")]
    key: String,
    /// Subprotocol: `tricast.v1` is accepted if offered.
    #[param(nullable = false, rename = "Sec-WebSocket-Protocol", example = "tricast.v1")]
    protocol: Option<String>,
}

/// Query of the Socket.IO endpoint; clients may add parameters of their own.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EngineIo {
    /// Protocol of Engine.IO: `4`.
    #[param(nullable = false, rename = "EIO", example = "4")]
    protocol: String,
    /// `polling` or `websocket`.
    #[param(nullable = false, example = "polling")]
    transport: String,
    /// ID of the session, once it is open.
    #[param(nullable = false)]
    sid: Option<String>,
}

/// Query of the list of orders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Orders {
    /// Filter by status.
    #[param(nullable = false)]
    status: Option<super::business::Status>,
    /// Orders on a page, 1 to 200. Default 50; out-of-range values are clamped.
    #[param(nullable = false, minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64", example = 50)]
    limit: Option<u64>,
    /// Start after this order: `next` of the previous page.
    #[param(
        nullable = false,
        pattern = "^ord-(0{7}[1-9]|0{6}[1-9][0-9]|0{5}[1-9][0-9]{2}|0{4}[1-9][0-9]{3}|000[1-9][0-9]{4}|00[1-9][0-9]{5}|0[1-9][0-9]{6}|[1-9][0-9]{7,17})$",
        example = "ord-00000001"
    )]
    after: Option<String>,
}

/// Query of the list of alerts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Alerts {
    /// Filter by state.
    #[param(nullable = false)]
    status: Option<super::alerts::AlertStatus>,
    /// Filter by severity.
    #[param(nullable = false)]
    severity: Option<super::alerts::Severity>,
    /// Filter by rule.
    #[param(nullable = false, example = "slow")]
    rule: Option<String>,
    /// Alerts on a page, 1 to 200. Default 50; out-of-range values are clamped.
    #[param(nullable = false, minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64", example = 50)]
    limit: Option<u64>,
    /// Start after this alert: `next` of the previous page.
    #[param(nullable = false, pattern = "^alt-[0-9a-f]{20}$", example = "alt-0190b6a1f0c85d1e9a3f")]
    after: Option<String>,
}

/// Header of a change that must not overwrite another one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Guarded {
    /// Tags from `ETag`, or `*`: 412 if the resource has another version.
    #[param(
        rename = "If-Match",
        nullable = false,
        pattern = r#"^(\*|("[!#-~]*"|W/"[!#-~]*")(, *("[!#-~]*"|W/"[!#-~]*"))*)?$"#,
        example = "*"
    )]
    if_match: Option<String>,
}

/// Header of a request that can be repeated safely.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Repeatable {
    /// 1 to 255 visible characters. For a day the same key with the same order gets the first
    /// response again; with another order it is refused.
    #[param(rename = "Idempotency-Key", nullable = false, pattern = "^[!-~]{1,255}$", example = "7f9c24e8")]
    idempotency_key: Option<String>,
}

/// Query of history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct History {
    /// A state channel. The snapshot `metrics` is recorded by its sections.
    #[param(pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.api")]
    channel: String,
    /// Path of a numeric field (`latency.p95`), or several with commas; may be repeated. Default: all fields.
    #[param(nullable = false, pattern = "^[^,{}\"]{1,250}$", example = "requests_per_second")]
    field: Option<String>,
    /// Start: RFC 3339, or relative to now as `-15m`, `-2h`, `-7d`. Default: an hour ago.
    #[param(nullable = false, pattern = "^-[0-9]{1,4}[smhd]$", example = "-1h")]
    from: Option<String>,
    /// End, exclusive: RFC 3339, relative to now, or `now`. Default: now.
    #[param(nullable = false, pattern = "^now$", example = "now")]
    to: Option<String>,
    /// Default: `auto`, the finest interval with at most 600 buckets per field.
    #[param(nullable = false, inline)]
    interval: Option<super::shapes::Interval>,
}

/// History before the live values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Backfill {
    /// Start with the history of this time span, up to the live values: `90s`, `15m`, `2h`, `7d`; at most 31 days.
    #[param(nullable = false, pattern = "^([1-9][0-9]{0,2}[smh]|[1-9]d)$", example = "15m")]
    backfill: Option<String>,
}

/// Selection of old orders or customers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Before {
    /// Time in RFC 3339 that is at least 24 h ago: what was created before it is deleted.
    #[param(
        pattern = "^(19[7-9][0-9]|20[01][0-9])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        example = "2019-01-31T00:00:00Z"
    )]
    before: String,
}
