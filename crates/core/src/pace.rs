//! How often a value is written, so that a source that stopped can be told from one that is slow.

use std::sync::atomic::{AtomicI64, Ordering};

/// Writes that are closer together than this are one beat: a source may write several fields in a row.
const BEAT_MS: i64 = 1_000;
/// No pace was measured yet.
const UNKNOWN: i64 = -1;

/// The longest time between two beats, forgotten by a tenth with each beat that comes sooner.
///
/// The longest, and not the mean: a source that writes ten values at once every minute has a pace of a minute.
#[derive(Debug)]
pub struct Pace {
    /// When the last beat began, in milliseconds since 1970.
    beat_ms: AtomicI64,
    /// In milliseconds, or [`UNKNOWN`].
    gap_ms: AtomicI64,
}

impl Pace {
    /// The pace after a first write.
    pub fn new(at_ms: i64) -> Self {
        Self { beat_ms: AtomicI64::new(at_ms), gap_ms: AtomicI64::new(UNKNOWN) }
    }

    /// Continues `before` with the write that this pace was made for.
    pub fn follow(&self, before: &Self) {
        let at = self.beat_ms.load(Ordering::Relaxed);
        self.beat_ms.store(before.beat_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        self.gap_ms.store(before.gap_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        self.beat(at);
    }

    /// Notes a write at `at_ms`.
    pub fn beat(&self, at_ms: i64) {
        let gap = at_ms.saturating_sub(self.beat_ms.load(Ordering::Relaxed));
        if gap < BEAT_MS {
            return;
        }
        let before = self.gap_ms.load(Ordering::Relaxed);
        self.gap_ms.store(gap.max(before - before / 10), Ordering::Relaxed);
        self.beat_ms.store(at_ms, Ordering::Relaxed);
    }

    /// Milliseconds between two writes; `None` before the second.
    pub fn gap_ms(&self) -> Option<u64> {
        u64::try_from(self.gap_ms.load(Ordering::Relaxed)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_known_from_the_second_write() {
        let pace = Pace::new(10_000);
        assert_eq!(pace.gap_ms(), None);
        pace.beat(10_999);
        assert_eq!(pace.gap_ms(), None, "still the first beat");
        pace.beat(12_000);
        assert_eq!(pace.gap_ms(), Some(2_000));
        let next = Pace::new(17_000);
        next.follow(&pace);
        assert_eq!(next.gap_ms(), Some(5_000));
        let sooner = Pace::new(18_000);
        sooner.follow(&next);
        assert_eq!(sooner.gap_ms(), Some(4_500), "a longer one is forgotten by a tenth");
    }

    #[test]
    fn a_burst_every_minute_has_a_pace_of_about_a_minute() {
        let pace = Pace::new(0);
        for minute in 1..5 {
            for write in 0..10 {
                pace.beat(minute * 60_000 + write * 100);
            }
        }
        assert!(pace.gap_ms().is_some_and(|gap| gap >= 54_000), "{pace:?}");
    }

    #[test]
    fn an_outage_is_forgotten() {
        let pace = Pace::new(0);
        pace.beat(600_000);
        for second in 1..=60 {
            pace.beat(600_000 + second * 1_000);
        }
        assert!(pace.gap_ms().is_some_and(|gap| (1_000..2_000).contains(&gap)), "{pace:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_beat() {
        let pace = Pace::new(10_000);
        pace.beat(12_000);
        pace.beat(3_000);
        assert_eq!(pace.gap_ms(), Some(2_000));
    }
}
