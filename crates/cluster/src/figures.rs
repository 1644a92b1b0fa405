//! The node's own numbers, for `/metrics`.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::health::SILENT;
use tricast_core::counters::Counter;

/// What a node counts.
#[derive(Default)]
pub struct Figures {
    /// Entries of the log that were applied.
    pub applied: Counter,
    /// Entries that this node wrote as the elected one.
    pub appended: Counter,
    /// Groups of batches that were handed in.
    pub enqueued: Counter,
    /// Times that this node was elected.
    pub elections: Counter,
    /// Times that all was loaded anew.
    pub loads: Counter,
    /// Times that Redis did not do what it was asked.
    pub failures: Counter,
    /// Times that this node could not lead and let others.
    pub surrenders: Counter,
    /// Groups of batches that could not be read, as a whole or in part.
    pub unreadable: Counter,
    /// Entries of the log that were there and not applied yet at the last beat.
    pub behind: AtomicI64,
    heard: Mutex<Option<Instant>>,
}

impl Figures {
    /// Redis answered.
    pub(super) fn heard(&self, now: Instant) {
        *self.heard.lock() = Some(now);
    }

    /// Seconds since Redis answered; `None` when it never did.
    pub fn silent_for(&self) -> Option<f64> {
        self.heard.lock().map(|heard| heard.elapsed().as_secs_f64())
    }

    /// Entries that are there and were not applied yet. `None` while Redis is silent: nobody knows how many there are then.
    pub fn entries_behind(&self) -> Option<i64> {
        let heard = self.silent_for()? < SILENT.as_secs_f64();
        heard.then(|| self.behind.load(Ordering::Relaxed))
    }
}
