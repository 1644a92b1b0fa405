//! Settings of the event streams.

use std::time::Duration;

use crate::transport::SlowClientConfig;

/// Settings of the event streams; made by `config`, never read from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SseConfig {
    /// Reconnection time in `retry:` at the start. Default 2 s.
    pub retry: Duration,
    /// Interval of comments that keep proxies from cutting the stream. Default 15 s.
    pub comment_interval: Duration,
    /// Interval of the event `ping`, by which scripts see that the stream is alive. Default 25 s.
    pub ping_interval: Duration,
    /// Most channels of one stream. Default 100; 0 means no limit.
    pub max_subscriptions: usize,
    /// Settings of slow clients.
    pub slow_client: SlowClientConfig,
}

impl SseConfig {
    /// Returns the defaults with these limits.
    pub fn new(max_subscriptions: usize, slow_client: SlowClientConfig) -> Self {
        Self {
            retry: Duration::from_secs(2),
            comment_interval: Duration::from_secs(15),
            ping_interval: Duration::from_secs(25),
            max_subscriptions,
            slow_client,
        }
    }
}
