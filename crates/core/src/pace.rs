//! Pace of a channel: the usual time between writes, which distinguishes a source that stopped from a slow one.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// Writes that are closer together count as one burst: a source may write several fields in a row.
const BEAT_MS: i64 = 1_000;
/// Value for an unmeasured pace.
const UNKNOWN: i64 = -1;

/// Longest time between two bursts, reduced by a tenth with each shorter one.
///
/// It is the longest and not the mean, so that a source that writes ten values every minute has a pace of a minute.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct Beats {
    /// Start of the last burst, in milliseconds since 1970.
    beat_ms: i64,
    /// Time in milliseconds, or [`UNKNOWN`].
    gap_ms: i64,
}

impl From<(i64, i64)> for Beats {
    fn from((beat_ms, gap_ms): (i64, i64)) -> Self {
        Self { beat_ms, gap_ms }
    }
}

impl From<Beats> for (i64, i64) {
    fn from(Beats { beat_ms, gap_ms }: Beats) -> Self {
        (beat_ms, gap_ms)
    }
}

impl Beats {
    /// The beats after a first write.
    pub fn new(at_ms: i64) -> Self {
        Self { beat_ms: at_ms, gap_ms: UNKNOWN }
    }

    /// The beats with a write at `at_ms`.
    #[must_use]
    pub fn beat(self, at_ms: i64) -> Self {
        let gap = at_ms.saturating_sub(self.beat_ms);
        if gap < BEAT_MS {
            return self;
        }
        Self { beat_ms: at_ms, gap_ms: gap.max(self.gap_ms - self.gap_ms / 10) }
    }

    /// Milliseconds between two writes; `None` before the second.
    pub fn gap_ms(self) -> Option<u64> {
        u64::try_from(self.gap_ms).ok()
    }
}

/// [`Beats`] that change while they are shared.
#[derive(Debug)]
pub struct Pace {
    beat_ms: AtomicI64,
    gap_ms: AtomicI64,
}

impl Pace {
    /// Creates the pace after a first write.
    pub fn new(at_ms: i64) -> Self {
        let Beats { beat_ms, gap_ms } = Beats::new(at_ms);
        Self { beat_ms: AtomicI64::new(beat_ms), gap_ms: AtomicI64::new(gap_ms) }
    }

    /// Continues `before` with the write that this pace was made for.
    pub fn follow(&self, before: &Self) {
        self.set(before.beats().beat(self.beats().beat_ms));
    }

    /// Records a write at `at_ms`.
    pub fn beat(&self, at_ms: i64) {
        self.set(self.beats().beat(at_ms));
    }

    /// Returns the present beats.
    pub fn beats(&self) -> Beats {
        Beats { beat_ms: self.beat_ms.load(Ordering::Relaxed), gap_ms: self.gap_ms.load(Ordering::Relaxed) }
    }

    /// Replaces the beats by those of another copy of the log.
    pub fn set(&self, Beats { beat_ms, gap_ms }: Beats) {
        self.gap_ms.store(gap_ms, Ordering::Relaxed);
        self.beat_ms.store(beat_ms, Ordering::Relaxed);
    }

    /// Returns the milliseconds between two writes; `None` before the second.
    pub fn gap_ms(&self) -> Option<u64> {
        self.beats().gap_ms()
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
        assert_eq!(pace.gap_ms(), None, "still the first burst");
        pace.beat(12_000);
        assert_eq!(pace.gap_ms(), Some(2_000));
        let next = Pace::new(17_000);
        next.follow(&pace);
        assert_eq!(next.gap_ms(), Some(5_000));
        let sooner = Pace::new(18_000);
        sooner.follow(&next);
        assert_eq!(sooner.gap_ms(), Some(4_500), "a longer one is reduced by a tenth");
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
    fn the_effect_of_an_outage_fades() {
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
