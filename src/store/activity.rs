//! What a store has done: plain atomics that its threads count with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::counters::{Count, Latency};

/// A query that takes longer is slow.
pub(super) const SLOW: Duration = Duration::from_millis(100);

/// Counts of one store.
#[derive(Debug, Default)]
pub struct Activity {
    /// From the hand-in of a read until its answer.
    pub reads: Latency,
    /// From the hand-in of a change until it is committed.
    pub writes: Latency,
    /// Those of both that took longer than 100 ms.
    pub slow: Count,
}

/// What kind of work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

impl Activity {
    /// Something that was handed in at `begun` is done.
    pub(super) fn note(&self, kind: Kind, begun: Instant) {
        let elapsed = begun.elapsed();
        match kind {
            Kind::Read => self.reads.observe(elapsed, 1),
            Kind::Write => self.writes.observe(elapsed, 1),
        }
        if elapsed > SLOW {
            self.slow.inc();
        }
    }

    /// Reads and changes so far.
    pub fn queries(&self) -> u64 {
        self.reads.read().1 + self.writes.read().1
    }
}

/// Work that was handed in, until it is done.
pub(super) struct Note {
    activity: Arc<Activity>,
    kind: Kind,
    begun: Instant,
}

impl Note {
    pub(super) fn begin(activity: &Arc<Activity>, kind: Kind) -> Self {
        Self { activity: Arc::clone(activity), kind, begun: Instant::now() }
    }

    /// It is done. Work that was never begun is not counted.
    pub(super) fn done(self) {
        self.activity.note(self.kind, self.begun);
    }
}

/// How a store is right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Changes and reads that wait.
    pub waiting: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Those of them that are in use.
    pub in_use: usize,
}

impl Gauges {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            connections: self.connections + other.connections,
            in_use: self.in_use + other.in_use,
        }
    }
}
