//! Counters of a store, updated by its threads.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tricast_core::counters::{Counter, Histogram};

/// Duration above which a query counts as slow.
pub(super) const SLOW: Duration = Duration::from_millis(100);

/// Counters of one store.
#[derive(Debug, Default)]
pub struct Activity {
    /// Time from queueing a read to its result.
    pub reads: Histogram,
    /// Time from queueing a change to its commit.
    pub writes: Histogram,
    /// Number of reads and changes that took longer than 100 ms.
    pub slow: Counter,
}

/// Kind of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

impl Activity {
    /// Counts a query that was queued at `start` and is completed.
    pub(super) fn record(&self, kind: Kind, start: Instant) {
        let elapsed = start.elapsed();
        match kind {
            Kind::Read => self.reads.observe(elapsed, 1),
            Kind::Write => self.writes.observe(elapsed, 1),
        }
        if elapsed > SLOW {
            self.slow.inc();
        }
    }

    /// Returns the number of reads and changes so far.
    pub fn queries(&self) -> u64 {
        self.reads.read().1 + self.writes.read().1
    }
}

/// Queued query, which is counted when it is completed.
pub(super) struct PendingQuery {
    activity: Arc<Activity>,
    kind: Kind,
    start: Instant,
}

impl PendingQuery {
    pub(super) fn begin(activity: &Arc<Activity>, kind: Kind) -> Self {
        Self { activity: Arc::clone(activity), kind, start: Instant::now() }
    }

    /// Counts the query as completed. A query that is dropped before it starts is not counted.
    pub(super) fn done(self) {
        self.activity.record(self.kind, self.start);
    }
}

/// Current state of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Number of changes and reads that wait.
    pub waiting: usize,
    /// Number of open connections.
    pub connections: usize,
    /// Number of connections in use.
    pub in_use: usize,
}

impl Gauges {
    /// Returns the sum of both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            connections: self.connections + other.connections,
            in_use: self.in_use + other.in_use,
        }
    }
}
