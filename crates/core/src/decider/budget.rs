//! Memory budget that all deciders of a process share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of the pushed values of all tenants of this process, and of the data of their series of samples. Clones share
/// one count.
///
/// The deciders of a process run on one thread, so no room is taken between a check and a change.
#[derive(Clone, Debug, Default)]
pub struct StateBudget {
    used: Arc<AtomicUsize>,
    /// 0 means no limit.
    limit: usize,
}

impl StateBudget {
    /// A budget of `limit` bytes; 0 means no limit.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Returns the limit in bytes; 0 for none.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the used bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `after` bytes in place of `before`.
    pub(super) fn replace(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            // Released bytes were taken before.
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}
