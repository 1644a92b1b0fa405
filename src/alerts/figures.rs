//! The numbers of alerts, of all tenants, for the metrics page.

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Target, Waiting};
use crate::counters::Count;

/// What came of deliveries, as the metrics page labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The receiver has it.
    Delivered,
    /// An attempt failed; there will be another.
    Failed,
    /// It was refused for good, or tried for too long.
    GivenUp,
    /// There was no room for it.
    Dropped,
}

impl Sent {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::GivenUp, Self::Dropped];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Dropped => "dropped",
        }
    }
}

/// The numbers. Whoever does something counts it; the metrics page reads.
#[derive(Debug, Default)]
pub struct Figures {
    /// Times that all rules of a tenant were looked at.
    pub evaluations: Count,
    /// Alerts raised.
    pub raised: Count,
    /// Alerts resolved.
    pub resolved: Count,
    /// Times that the store did not take what was decided; it is tried again.
    pub store_failures: Count,
    sent: [[Count; Sent::ALL.len()]; Target::ALL.len()],
    waiting: Mutex<Vec<Waiting>>,
}

impl Figures {
    /// Deliveries to `target` with this result.
    pub fn sent(&self, target: Target, result: Sent) -> &Count {
        &self.sent[target as usize][result as usize]
    }

    /// Notes what waits.
    pub(super) fn set_waiting(&self, waiting: Vec<Waiting>) {
        *self.waiting.lock() = waiting;
    }

    /// How many deliveries wait for `target`, and for how many seconds the oldest does; as of the last look, a few
    /// seconds ago.
    pub fn waiting(&self, target: Target, now: Timestamp) -> (u64, f64) {
        let waiting = self.waiting.lock().iter().find(|waiting| waiting.target == target).copied();
        let age = waiting.and_then(|waiting| waiting.oldest).map(|oldest| now.duration_since(oldest).as_secs_f64());
        (waiting.map_or(0, |waiting| waiting.count), age.unwrap_or(0.0).max(0.0))
    }
}
