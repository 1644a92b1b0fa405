//! Settings of the WebSocket endpoint.

use std::time::Duration;

/// Settings of the WebSocket endpoint; made by `config`, never read from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct WebSocketConfig {
    /// How often the server pings. Default 25 s: common proxies cut at 60.
    pub heartbeat_interval: Duration,
    /// Without any frame for this long the connection is closed (4408). Default 60 s.
    pub heartbeat_timeout: Duration,
    /// Largest message of a client, in bytes. Default 64 KiB; 0 means no limit.
    pub max_message: usize,
    /// Most subscriptions of a connection. Default 100; 0 means no limit.
    pub max_subscriptions: usize,
    /// Bad messages within a minute that close the connection (4500). Default 20; 0 means no limit.
    pub max_bad_messages: usize,
    /// Whether permessage-deflate is accepted when it is offered. Default off.
    pub compression: bool,
}

/// Bounds of what `configure` may ask for.
pub(super) const HEARTBEAT_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Bounds of the time-out that `configure` may ask for; it is also never below the interval.
pub(super) const HEARTBEAT_TIMEOUT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(900));
