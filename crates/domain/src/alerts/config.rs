//! Limits of alerts, and retry times of notifications.

use std::time::Duration;

/// Limits and retention of alerts.
#[derive(Clone, Copy, Debug)]
pub struct AlertConfig {
    /// Largest number of rules of one tenant. Default 200.
    pub max_rules: usize,
    /// Time for which a resolved alert is kept. Default 30 days.
    pub retention: Duration,
    /// Largest number of resolved alerts of one tenant that are kept. Default 10,000.
    pub max_kept: usize,
    /// Largest number of deliveries of one tenant that may wait; further alerts are raised, but not sent. Default
    /// 1,000.
    pub max_outbox: usize,
    /// Time after which a delivery is given up. Default 24 h.
    pub give_up_after: Duration,
}

impl Default for AlertConfig {
    fn default() -> Self {
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        Self { max_rules: 200, retention: day * 30, max_kept: 10_000, max_outbox: 1_000, give_up_after: hour * 24 }
    }
}
