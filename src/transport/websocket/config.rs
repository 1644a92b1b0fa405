//! Settings of the WebSocket endpoint.

use std::time::Duration;

use crate::transport::SlowClientConfig;

/// Settings of the WebSocket endpoint; made by `config`, never read from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct WebSocketConfig {
    /// Interval of the server's pings. Default 25 s: common proxies cut at 60.
    pub heartbeat_interval: Duration,
    /// Time without any frame after which the connection is closed (4408). Default 60 s.
    pub heartbeat_timeout: Duration,
    /// Largest message of a client, in bytes. Default 64 KiB; 0 means no limit.
    pub max_message: usize,
    /// Most subscriptions of a connection. Default 100; 0 means no limit.
    pub max_subscriptions: usize,
    /// Messages that a client may send per second, on average. Default 20; 0 means no limit.
    pub messages_per_second: u32,
    /// Messages that it may send at once. Default 40.
    pub message_burst: u32,
    /// Requests that may wait for their answers. Default 32; 0 means no limit.
    pub max_requests: usize,
    /// Time within which a client has to send a token, if one is required. Default 10 s; zero means no limit.
    pub auth_timeout: Duration,
    /// Settings of slow clients.
    pub slow_client: SlowClientConfig,
    /// Bad messages within a minute that close the connection (4500). Default 20; 0 means no limit.
    pub max_bad_messages: usize,
    /// Whether permessage-deflate is accepted when it is offered. Default off.
    pub compression: bool,
}

/// Range of the interval in `configure`.
pub(super) const HEARTBEAT_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Range of the timeout in `configure`; it is also never below the interval.
pub(super) const HEARTBEAT_TIMEOUT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(900));
