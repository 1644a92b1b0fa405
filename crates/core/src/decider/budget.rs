//! What all deciders of a process may keep together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of the pushed values of all tenants of this process, and of what their series of samples keep. Clones share one count.
///
/// The deciders of a process are driven by one thread, so nobody takes room between a look and a change.
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

    /// The limit in bytes; 0 for none.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `after` bytes in place of `before`.
    pub(super) fn replace(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            // Whatever was given back was taken before.
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}
