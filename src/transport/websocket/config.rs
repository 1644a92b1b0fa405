//! Settings of the WebSocket endpoint.

use std::time::Duration;

use tricast_core::settings::Heartbeat;

/// Settings of the WebSocket endpoint.
#[derive(Clone, Copy, Debug)]
pub struct WebSocketConfig {
    /// Interval of the server's pings, and time without any frame after which the connection is closed (4408).
    pub heartbeat: Heartbeat,
    /// Whether permessage-deflate is accepted when it is offered. Default off.
    pub compression: bool,
}

/// Range of the interval in `configure`.
pub(super) const HEARTBEAT_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Range of the timeout in `configure`; it is also never below the interval.
pub(super) const HEARTBEAT_TIMEOUT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(900));
