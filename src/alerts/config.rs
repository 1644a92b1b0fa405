//! Settings of alerts.

use std::time::Duration;

/// Bounds of alerts, and what is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct AlertConfig {
    /// Most rules of one tenant. Default 200.
    pub max_rules: usize,
    /// How long a resolved alert is kept. Default 30 days.
    pub retention: Duration,
    /// Most resolved alerts of one tenant that are kept. Default 10,000.
    pub max_kept: usize,
    /// Most deliveries of one tenant that may wait; an alert beyond is raised, but not sent. Default 1,000.
    pub max_outbox: usize,
    /// How long a delivery is tried. Default 24 h.
    pub give_up_after: Duration,
}

impl Default for AlertConfig {
    fn default() -> Self {
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        Self { max_rules: 200, retention: day * 30, max_kept: 10_000, max_outbox: 1_000, give_up_after: hour * 24 }
    }
}
