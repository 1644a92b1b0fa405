//! Messages, commands, error codes and close codes that the transports share.

pub mod close;
pub mod command;
pub mod error;
pub mod message;
pub mod nul;
pub mod remedy;

/// WebSocket subprotocol, accepted if a client offers it.
pub const SUBPROTOCOL: &str = "tricast.v1";

/// Version of this server, as in `connected` and `/healthz`.
pub const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names with a meaning in the event stream; events of channels cannot use them.
pub const RESERVED_EVENTS: [&str; 13] = [
    "connected",
    "metrics",
    "metric",
    "alert",
    "system",
    "gap",
    "history",
    "auth_expiring",
    "bye",
    "ping",
    "error",
    "open",
    "message",
];

/// Slots of [`crate::publication::Publication::encoded`], one for each shared encoding.
pub mod slot {
    /// A whole WebSocket text frame.
    pub const WEBSOCKET: usize = 0;
    /// A whole WebSocket text frame, compressed (RFC 7692).
    pub const WEBSOCKET_DEFLATED: usize = 1;
    /// A whole block of an event stream, as one chunk of the response.
    pub const SSE: usize = 2;
    /// An event as an item of a poll.
    pub const POLL_EVENT: usize = 3;
    /// A Socket.IO event of the namespace `/tricast`, as a WebSocket frame.
    pub const SOCKET_IO_TRICAST: usize = 4;
    /// A Socket.IO event of the one other namespace that the channel belongs to.
    pub const SOCKET_IO_EVENT: usize = 5;
    /// The snapshot as `metrics-update`.
    pub const SOCKET_IO_METRICS: usize = 6;
}
