//! Clock of this node, compared with that of Redis at each heartbeat.
//!
//! Times on which several nodes have to agree, such as those of the log, of samples and of "today", come from the clock
//! of Redis: each node corrects its time by it. So a node with a wrong clock uses the right time nevertheless, and
//! reports that its clock is off.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use tricast_core::clock::ClockSetter;

/// Difference beyond which a clock is off; within half of it the clock is right again.
pub const TOLERANCE: Duration = Duration::from_secs(2);

/// Number of comparisons of which the best one counts.
const RECENT: usize = 8;

/// Difference, in addition to the uncertainty of the comparison, beyond which the time is corrected again.
const JITTER: Duration = Duration::from_millis(50);

/// Time of the cluster.
pub(super) struct Timekeeper {
    setter: ClockSetter,
    recent: Mutex<VecDeque<Comparison>>,
    /// Lead of this node's clock, while it is off.
    off: watch::Sender<Option<SignedDuration>>,
}

/// Comparison of the clocks.
#[derive(Clone, Copy)]
struct Comparison {
    /// Lead of this node's clock.
    ahead: SignedDuration,
    /// Uncertainty of the lead: Redis read its clock at some moment between request and reply.
    error: Duration,
}

impl Comparison {
    /// Returns the minimum difference of the clocks.
    fn surely(self) -> Duration {
        self.ahead.unsigned_abs().saturating_sub(self.error)
    }

    fn agrees_with(self, other: Self) -> bool {
        let apart = self.ahead.saturating_sub(other.ahead).unsigned_abs();
        apart <= self.error + other.error + JITTER
    }
}

impl Timekeeper {
    pub(super) fn new(setter: ClockSetter) -> Self {
        Self { setter, recent: Mutex::default(), off: watch::Sender::new(None) }
    }

    /// Adds a reply of Redis that arrived now: the request was sent at `asked`, when this node's own clock showed
    /// `shown`, and the time of Redis is `time`.
    pub(super) fn compare(&self, asked: Instant, shown: Timestamp, time: Timestamp) {
        self.compare_over(asked, asked.elapsed(), shown, time);
    }

    fn compare_over(&self, asked: Instant, took: Duration, shown: Timestamp, time: Timestamp) {
        let error = took / 2;
        let middle = asked + error;
        let Ok(half) = SignedDuration::try_from(error) else { return };
        let drift = self.setter.shown_at(middle).map(|shown| shown.duration_since(time).unsigned_abs());
        if drift.is_none_or(|drift| drift > error + JITTER) {
            self.setter.set(middle, time);
        }
        let comparison = Comparison { ahead: shown.duration_since(time).saturating_add(half), error };
        let best = {
            let recent = &mut *self.recent.lock();
            if recent.back().is_some_and(|last| !comparison.agrees_with(*last)) {
                // One of the clocks was set.
                recent.clear();
            }
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(comparison);
            recent.iter().copied().min_by_key(|comparison| comparison.error).unwrap_or(comparison)
        };
        self.off.send_if_modified(|off| {
            let was = off.is_some();
            let limit = if was { TOLERANCE / 2 } else { TOLERANCE };
            *off = (best.surely() > limit).then_some(best.ahead);
            off.is_some() != was
        });
    }

    /// Returns the lead of this node's clock over that of Redis. `None` while it is unknown.
    pub(super) fn ahead(&self) -> Option<SignedDuration> {
        let recent = self.recent.lock();
        recent.iter().min_by_key(|comparison| comparison.error).map(|best| best.ahead)
    }

    /// Returns a watch of the lead of this node's clock while it is off.
    pub(super) fn off(&self) -> watch::Receiver<Option<SignedDuration>> {
        self.off.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tricast_core::clock::Clock;

    const MS: Duration = Duration::from_millis(1);

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_clock_that_is_an_hour_ahead_is_off_and_the_time_is_that_of_redis() {
        let (clock, setter) = Clock::from_fn(|| second(10_000)).settable();
        let keeper = Timekeeper::new(setter.clone());
        let asked = Instant::now();
        keeper.compare_over(asked, MS, second(3_600), second(0));
        assert!((keeper.ahead().unwrap().as_secs_f64() - 3_600.0).abs() < 0.01);
        assert_eq!(keeper.off.borrow().unwrap().as_secs(), 3_600);
        assert_eq!(setter.shown_at(asked + MS / 2), Some(second(0)));
        assert!(clock.now() < second(3_600));
        // The clock is corrected while the node runs.
        keeper.compare_over(asked + 1_000 * MS, MS, second(1), second(1));
        assert_eq!(*keeper.off.borrow(), None);
    }

    #[test]
    fn a_slow_reply_does_not_change_the_time() {
        let keeper = Timekeeper::new(ClockSetter::default());
        let start = Instant::now();
        keeper.compare_over(start, MS, second(0), second(0));
        // Redis read its clock at the end of the 6 s, or at their start.
        keeper.compare_over(start, 6_000 * MS, second(0), second(6));
        keeper.compare_over(start, 6_000 * MS, second(0), second(0));
        assert_eq!(*keeper.off.borrow(), None);
        assert!(keeper.ahead().unwrap().as_secs_f64().abs() < 0.01, "the best comparison counts");
        assert_eq!(
            keeper.setter.shown_at(start),
            Some(second(0).checked_sub(SignedDuration::from_micros(500)).unwrap())
        );
    }

    #[test]
    fn a_slow_reply_alone_does_not_show_that_a_clock_is_off() {
        let keeper = Timekeeper::new(ClockSetter::default());
        keeper.compare_over(Instant::now(), 6_000 * MS, second(0), second(5));
        assert_eq!(keeper.ahead().unwrap().as_secs(), -2, "the best estimate");
        assert_eq!(*keeper.off.borrow(), None, "the clock may be right");
    }

    #[test]
    fn watchers_are_notified_when_a_clock_is_off_and_when_it_is_right_again() {
        let keeper = Timekeeper::new(ClockSetter::default());
        let mut off = keeper.off();
        let mut notified = |ahead: i64| {
            keeper.compare_over(Instant::now(), Duration::ZERO, second(ahead), second(0));
            let notified = off.has_changed().unwrap();
            (notified, off.borrow_and_update().is_some())
        };
        assert_eq!(
            [0, 0, 9, 9, 0, 0].map(&mut notified),
            [(false, false), (false, false), (true, true), (false, true), (true, false), (false, false)]
        );
    }

    #[test]
    fn a_clock_is_off_beyond_the_tolerance_and_right_again_within_half_of_it() {
        let keeper = Timekeeper::new(ClockSetter::default());
        let start = Instant::now();
        let off = |ahead_ms: i64| {
            keeper.compare_over(start, Duration::ZERO, Timestamp::from_millisecond(ahead_ms).unwrap(), second(0));
            keeper.off.borrow().is_some()
        };
        assert_eq!(
            [1_900, -2_000, 2_001, 1_500, 1_001, 900, 1_500].map(off),
            [false, false, true, true, true, false, false]
        );
        assert!(off(-2_001));
    }
}
