//! Settings of the Socket.IO endpoint.

use std::time::Duration;

use super::conformance::Echo;
use tricast_core::settings::Heartbeat;

/// Settings of the Socket.IO endpoint.
#[derive(Clone, Copy, Debug)]
pub struct SocketIoConfig {
    /// Interval of the server's pings, and time from one ping within which the client has to reply to the next one.
    pub heartbeat: Heartbeat,
    /// Echo for the official protocol suites, in place of the namespaces. Only `examples/conformance` sets it.
    pub echo: Option<Echo>,
}

/// Least time that a client has to reply to a ping.
const MIN_PING_TIMEOUT: Duration = Duration::from_millis(200);

impl SocketIoConfig {
    /// Returns the time that a client has to reply to a ping.
    pub(super) fn ping_timeout(&self) -> Duration {
        self.heartbeat.timeout.0.saturating_sub(self.heartbeat.interval.0).max(MIN_PING_TIMEOUT)
    }
}

/// Packets that one POST may have.
pub(super) const MAX_PACKETS: usize = 100;

/// Attachments that one packet may have.
pub(super) const MAX_ATTACHMENTS: usize = 10;

/// Time that an upgrade may take from its first frame.
pub(super) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
