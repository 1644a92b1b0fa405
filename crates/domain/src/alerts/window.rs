//! Earlier values of one field, thinned out, for rules that compare with them.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use tricast_core::span::Span;

/// Number of values that are kept of the time span.
const POINTS: u32 = 360;

/// Shortest time between two values.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);

/// Values of the time span, about [`POINTS`] of them at most.
#[derive(Debug)]
pub(super) struct Window {
    reach: SignedDuration,
    step: SignedDuration,
    points: VecDeque<(Timestamp, f64)>,
}

impl Window {
    /// Creates an empty window that reaches `back`.
    pub(super) fn new(back: Span) -> Self {
        let reach = SignedDuration::from_millis(back.as_millis());
        let step = SignedDuration::from_millis(back.as_millis() / i64::from(POINTS)).max(SHORTEST);
        Self { reach, step, points: VecDeque::new() }
    }

    /// Adds the value at `now`, if one is due. Returns whether it was added.
    pub(super) fn add(&mut self, now: Timestamp, value: f64) -> bool {
        // The clock was set back: values of the time after that are not as old as they seem.
        while self.points.back().is_some_and(|(at, _)| *at > now) {
            self.points.pop_back();
        }
        if self.points.back().is_some_and(|(at, _)| now.duration_since(*at) < self.step) {
            return false;
        }
        let oldest = self.oldest(now);
        while self.points.front().is_some_and(|(at, _)| *at < oldest) {
            self.points.pop_front();
        }
        self.points.push_back((now, value));
        true
    }

    /// Returns the newest value that is old enough, if it is not more than two steps older than that.
    pub(super) fn earlier(&self, now: Timestamp) -> Option<f64> {
        let then = now.saturating_sub(self.reach).ok()?;
        let behind = self.points.partition_point(|(at, _)| *at <= then);
        let (at, value) = *self.points.get(behind.checked_sub(1)?)?;
        (at >= self.oldest(now)).then_some(value)
    }

    /// Returns the time before which no value is needed.
    pub(super) fn oldest(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.reach + self.step * 2).unwrap_or(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn an_hour_has_some_hundred_points() {
        let mut window = Window::new(Span::from_secs(3_600));
        let mut kept = 0;
        for second in 0..10_000 {
            kept += usize::from(window.add(at(second), second as f64));
            assert!(window.points.len() <= POINTS as usize + 4);
            let earlier = window.earlier(at(second));
            assert_eq!(earlier, (second >= 3_600).then(|| ((second - 3_600) / 10 * 10) as f64), "{second}");
        }
        assert_eq!(kept, 1_000);
    }

    #[test]
    fn missing_values_are_not_interpolated() {
        let mut window = Window::new(Span::from_secs(60));
        window.add(at(0), 1.0);
        assert_eq!(
            (window.earlier(at(59)), window.earlier(at(60)), window.earlier(at(62))),
            (None, Some(1.0), Some(1.0))
        );
        assert_eq!(window.earlier(at(63)), None, "there is no sample at 3");
        window.add(at(100), 2.0);
        assert_eq!(window.earlier(at(160)), Some(2.0));
        assert!(!window.add(at(100), 2.5), "one value at a time");
        assert!(window.add(at(50), 3.0), "a clock that was set back");
        assert_eq!((window.earlier(at(110)), window.earlier(at(160))), (Some(3.0), None));
    }

    #[test]
    fn the_oldest_value_that_is_needed_is_kept() {
        let mut window = Window::new(Span::from_secs(60));
        window.add(at(0), 1.0);
        assert_eq!(window.oldest(at(62)), at(0));
        window.add(at(62), 2.0);
        assert_eq!((window.earlier(at(62)), window.points.len()), (Some(1.0), 2));
        window.add(at(63), 3.0);
        assert_eq!((window.earlier(at(63)), window.points.len()), (None, 2));
    }
}
