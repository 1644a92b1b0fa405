//! Settings of the polls.

use std::time::Duration;

/// Settings of the polls.
#[derive(Clone, Copy, Debug)]
pub struct PollConfig {
    /// Longest time for which a request is held. Default 25 s: common proxies cut at 60.
    pub long_poll_max: Duration,
}
