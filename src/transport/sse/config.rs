//! Settings of the event streams.

use std::time::Duration;

use crate::transport::SlowClientConfig;

/// Settings of the event streams; made by `config`, never read from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SseConfig {
    /// What `retry:` says at the beginning. Default 2 s.
    pub retry: Duration,
    /// How often a comment keeps proxies from cutting the stream. Default 15 s.
    pub comment_interval: Duration,
    /// How often a named `ping` shows scripts that the stream lives. Default 25 s.
    pub ping_interval: Duration,
    /// Most channels of one stream. Default 100; 0 means no limit.
    pub max_subscriptions: usize,
    /// When a client counts as slow.
    pub slow_client: SlowClientConfig,
}

impl SseConfig {
    /// The defaults, with these limits.
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
