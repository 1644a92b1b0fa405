//! Metrics of the node, for `/metrics`.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::health::SILENT;
use tricast_core::counters::Counter;

/// Counters of the node.
#[derive(Default)]
pub struct Metrics {
    /// Entries of the log that were applied.
    pub applied: Counter,
    /// Entries that this node wrote as leader.
    pub appended: Counter,
    /// Groups of batches that were sent to the inbox.
    pub enqueued: Counter,
    /// Elections of this node.
    pub elections: Counter,
    /// Loads of the whole log.
    pub loads: Counter,
    /// Failed requests to Redis.
    pub failures: Counter,
    /// Terms that this node gave up because it could not lead.
    pub surrenders: Counter,
    /// Groups of batches that could not be parsed, as a whole or in part.
    pub unreadable: Counter,
    /// Entries of the log that were not applied at the last heartbeat.
    pub behind: AtomicI64,
    last_reply: Mutex<Option<Instant>>,
}

impl Metrics {
    /// Records a reply of Redis.
    pub(super) fn record_reply(&self, now: Instant) {
        *self.last_reply.lock() = Some(now);
    }

    /// Returns the seconds since the last reply of Redis; `None` if there was none.
    pub fn silent_for(&self) -> Option<f64> {
        self.last_reply.lock().map(|last_reply| last_reply.elapsed().as_secs_f64())
    }

    /// Returns the number of entries that are not applied. `None` while Redis does not respond, because the number is
    /// unknown then.
    pub fn entries_behind(&self) -> Option<i64> {
        let last_reply = self.silent_for()? < SILENT.as_secs_f64();
        last_reply.then(|| self.behind.load(Ordering::Relaxed))
    }
}
