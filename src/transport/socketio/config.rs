//! Settings of the Socket.IO endpoint.

use std::time::Duration;

use super::conformance::Echo;
use crate::transport::SlowClientConfig;

/// Settings of the Socket.IO endpoint; created by `config`, never read from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SocketIoConfig {
    /// Interval of the server's pings. Default 25 s.
    pub ping_interval: Duration,
    /// Time that a client has to reply to a ping. Default 35 s: together 60 s, as on the other transports.
    pub ping_timeout: Duration,
    /// Largest message or payload of a client, in bytes. Default 64 KiB; 0 means no limit.
    pub max_payload: usize,
    /// Most subscriptions of a namespace. Default 100; 0 means no limit.
    pub max_subscriptions: usize,
    /// Messages that a client may send per second, on average. Default 20; 0 means no limit.
    pub messages_per_second: u32,
    /// Messages that it may send at once. Default 40.
    pub message_burst: u32,
    /// Requests that may wait for their answers. Default 32; 0 means no limit.
    pub max_requests: usize,
    /// Time that a client has to join a namespace. Default 10 s, as a WebSocket has for its token; 0 means no limit.
    pub connect_timeout: Duration,
    /// When a client counts as slow.
    pub slow_client: SlowClientConfig,
    /// Bad messages within a minute that close the connection. Default 20; 0 means no limit.
    pub max_bad_messages: usize,
    /// Echo for the official protocol suites, in place of the namespaces. Only `examples/conformance` sets it.
    pub echo: Option<Echo>,
}

/// Packets that one POST may have.
pub(super) const MAX_PACKETS: usize = 100;

/// Attachments that one packet may have.
pub(super) const MAX_ATTACHMENTS: usize = 10;

/// Time that an upgrade may take from its first frame.
pub(super) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
