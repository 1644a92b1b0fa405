//! Counters of the alerts of all tenants, for the metrics page.

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Target, Waiting};
use tricast_core::counters::Counter;

/// Result of a delivery, as the metrics page labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The receiver has accepted it.
    Delivered,
    /// An attempt failed; it is repeated.
    Failed,
    /// The receiver refused it for good, or all attempts failed.
    GivenUp,
    /// There was no room for it in the outbox.
    Dropped,
}

impl Sent {
    /// All results, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::GivenUp, Self::Dropped];

    /// Returns the value of the label `result` in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Dropped => "dropped",
        }
    }
}

/// Counters and gauges of the alerts of all tenants.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Number of evaluations of all rules of a tenant.
    pub evaluations: Counter,
    /// Number of alerts raised.
    pub raised: Counter,
    /// Number of alerts resolved.
    pub resolved: Counter,
    /// Number of failed attempts to store decisions, which are repeated.
    pub store_failures: Counter,
    sent: [[Counter; Sent::ALL.len()]; Target::ALL.len()],
    waiting: Mutex<Vec<Waiting>>,
}

impl Metrics {
    /// Returns the counter of deliveries to `target` with this result.
    pub fn sent(&self, target: Target, result: Sent) -> &Counter {
        &self.sent[target as usize][result as usize]
    }

    /// Sets the numbers of waiting deliveries.
    pub(super) fn set_waiting(&self, waiting: Vec<Waiting>) {
        *self.waiting.lock() = waiting;
    }

    /// Returns the number of deliveries that wait for `target`, and the age of the oldest in seconds, as counted a few
    /// seconds ago.
    pub fn waiting(&self, target: Target, now: Timestamp) -> (u64, f64) {
        let waiting = self.waiting.lock().iter().find(|waiting| waiting.target == target).copied();
        let age = waiting.and_then(|waiting| waiting.oldest).map(|oldest| now.duration_since(oldest).as_secs_f64());
        (waiting.map_or(0, |waiting| waiting.count), age.unwrap_or(0.0).max(0.0))
    }
}
