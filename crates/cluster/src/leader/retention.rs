//! Retention of the log in Redis, and the intervals at which series are stored.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Most entries of the log, and most bytes. A node that was down for longer loads everything.
const ENTRIES: (usize, usize) = (10_000, 32 << 20);

/// Number of decided groups after which series are stored early: the inbox is bounded, and releases groups only then.
const GROUPS: usize = 2_000;

/// Interval at which series and cached snapshots are stored.
const EVERY: Duration = Duration::from_secs(5);

/// Retention of the log.
pub(super) struct Retention {
    /// Size of each entry in bytes, oldest first.
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Retention {
    /// Creates the retention of a log with the entries `oldest` to `newest`, of `bytes` bytes together.
    pub(super) fn of(oldest: u64, newest: u64, bytes: usize) -> Self {
        let count = usize::try_from((newest + 1).saturating_sub(oldest)).unwrap_or(0).min(ENTRIES.0);
        let sizes = VecDeque::from(vec![bytes / count.max(1); count]);
        Self { bytes: sizes.iter().sum(), sizes }
    }

    /// Adds the entry `seq`. Returns the oldest entry to keep, and the size of the kept ones.
    pub(super) fn add(&mut self, seq: u64, bytes: usize) -> (u64, usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
        while self.sizes.len() > ENTRIES.0 || (self.bytes > ENTRIES.1 && self.sizes.len() > 1) {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        ((seq + 1).saturating_sub(self.sizes.len() as u64), self.bytes)
    }
}

/// Schedule of storing series: at an interval, and earlier if many groups would stay in the inbox.
pub(super) struct Pace {
    due: Instant,
    /// Groups decided since series were last stored. They occupy the inbox until then.
    groups: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + EVERY, groups: 0 }
    }

    /// Adds the number of groups that were decided since the last call.
    pub(super) fn decided(&mut self, groups: usize) {
        self.groups += groups;
    }

    /// Makes the next storing due at once.
    pub(super) fn write_now(&mut self) {
        self.due = Instant::now();
    }

    pub(super) fn is_due(&self) -> bool {
        self.groups >= GROUPS || self.left().is_zero()
    }

    /// Returns the time until it is due.
    pub(super) fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Records that series were stored.
    pub(super) fn written(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_in_entries_and_bytes() {
        let mut few = Retention::of(1, 0, 0);
        assert_eq!((1..=10_000).map(|seq| few.add(seq, 10).0).max(), Some(1));
        assert_eq!(few.add(10_001, 10), (2, 100_000));
        assert_eq!(few.add(10_002, 10), (3, 100_000));
        let mut large = Retention::of(1, 0, 0);
        for seq in 1..=32 {
            assert_eq!(large.add(seq, 1 << 20).0, 1);
        }
        assert_eq!(large.add(33, 1), (2, (31 << 20) + 1));
        assert_eq!(large.add(34, 64 << 20), (34, 64 << 20), "the newest is kept, however large");
    }

    #[test]
    fn entries_of_earlier_terms_count() {
        let mut resumed = Retention::of(101, 132, 32 << 20);
        assert_eq!(resumed.add(133, 1).0, 102);
        // Stored by a version that did not record the size.
        let mut unknown = Retention::of(0, 50_000, 0);
        assert_eq!(unknown.add(50_001, 1).0, 40_002);
    }

    #[tokio::test(start_paused = true)]
    async fn series_are_stored_at_an_interval_and_earlier_when_the_inbox_fills() {
        let mut pace = Pace::new();
        pace.decided(GROUPS - 1);
        assert!(!pace.is_due());
        pace.decided(1);
        assert!(pace.is_due());
        pace.written();
        assert!(!pace.is_due());
        tokio::time::advance(EVERY - Duration::from_millis(1)).await;
        assert!(!pace.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(pace.is_due());
        pace.written();
        pace.write_now();
        assert!(pace.is_due());
    }
}
