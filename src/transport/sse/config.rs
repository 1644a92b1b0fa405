//! Settings of the event streams.

use std::time::Duration;

/// Settings of the event streams.
#[derive(Clone, Copy, Debug)]
pub struct SseConfig {
    /// Reconnection time in `retry:` at the start. Default 2 s.
    pub retry: Duration,
    /// Interval of comments that keep proxies from cutting the stream. Default 15 s.
    pub comment_interval: Duration,
    /// Interval of the event `ping`, by which scripts see that the stream is alive. Default 25 s.
    pub ping_interval: Duration,
}

impl Default for SseConfig {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(2),
            comment_interval: Duration::from_secs(15),
            ping_interval: Duration::from_secs(25),
        }
    }
}
