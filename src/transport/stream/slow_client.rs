//! Slow clients: handling of clients that read, but not as fast as data are sent.
//!
//! | level | the client receives |
//! |---|---|
//! | `conflated` | the newest values only, which needs no action; it is notified from here on |
//! | `interval_stretched` | states at most every `slow_after` |
//! | `snapshot_only` | states at most every five times that; events wait in the log |
//! | `closed` | the end of its stream (4413, `bye`); it resumes by its cursor |
//!
//! A client is slow if it takes data later than `slow_after` after the data was due. The level rises at most once per
//! `slow_step` and falls after [`CALM_STEPS`] such steps, plus the interval of the level, without a slow
//! moment. A client that takes nothing at all cannot be notified: the kernel closes its connection
//! (`limits.stall_timeout`). Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use tricast_core::{counters::BackpressureLevel, reader::Pace, settings::Limits};

/// Factor between the intervals of the levels `interval_stretched` and `snapshot_only`.
const SNAPSHOT_FACTOR: u32 = 5;

/// Steps without a slow moment after which the level falls by one.
const CALM_STEPS: u32 = 2;

/// Backpressure level of one client.
#[derive(Debug, Default)]
pub(in crate::transport) struct SlowClient {
    /// `None` at the normal level. Boxed, because few clients are slow.
    reduced: Option<Box<Reduced>>,
}

#[derive(Debug)]
struct Reduced {
    level: BackpressureLevel,
    since: Instant,
    last_slow: Instant,
}

/// Change of the level that the client is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum LevelChange {
    /// One level up, to this one.
    Raised(BackpressureLevel),
    /// One level down, to this one; `None` is the normal level.
    Lowered(Option<BackpressureLevel>),
}

impl SlowClient {
    /// Returns whether data that was due `since` and is taken at `now` has no effect on a level.
    #[inline]
    pub(in crate::transport) fn is_unaffected(&self, limits: &Limits, since: Option<Instant>, now: Instant) -> bool {
        self.reduced.is_none() && since.is_none_or(|since| now < since + limits.slow_after.0)
    }

    /// Records that the client took data at `now` which had been due for `waited`; returns the change of level that
    /// follows, if any.
    pub(in crate::transport) fn record(
        &mut self,
        limits: &Limits,
        waited: Duration,
        now: Instant,
    ) -> Option<LevelChange> {
        // On a higher level data is due later.
        let late = waited.saturating_sub(self.pace(limits).interval);
        let calm = self.calm(limits);
        let slow = !limits.slow_after.is_zero() && late >= limits.slow_after.0;
        let Some(reduced) = &mut self.reduced else {
            if slow {
                let level = BackpressureLevel::Conflated;
                self.reduced = Some(Box::new(Reduced { level, since: now, last_slow: now }));
                return Some(LevelChange::Raised(level));
            }
            return None;
        };
        if slow {
            reduced.last_slow = now;
            if now.duration_since(reduced.since) < limits.slow_step.0 {
                return None;
            }
            reduced.since = now;
            reduced.level = match reduced.level {
                BackpressureLevel::Conflated => BackpressureLevel::Stretched,
                BackpressureLevel::Stretched => BackpressureLevel::SnapshotOnly,
                BackpressureLevel::SnapshotOnly | BackpressureLevel::Closed => BackpressureLevel::Closed,
            };
            return Some(LevelChange::Raised(reduced.level));
        }
        if now.duration_since(reduced.last_slow) < calm {
            return None;
        }
        // The next level down takes as long again.
        reduced.last_slow = now;
        reduced.since = now;
        let below = match reduced.level {
            BackpressureLevel::Closed | BackpressureLevel::SnapshotOnly => Some(BackpressureLevel::Stretched),
            BackpressureLevel::Stretched => Some(BackpressureLevel::Conflated),
            BackpressureLevel::Conflated => None,
        };
        match below {
            Some(level) => reduced.level = level,
            None => self.reduced = None,
        }
        Some(LevelChange::Lowered(below))
    }

    /// Postpones the next decision, because this server was slow itself at `now`.
    pub(in crate::transport) fn postpone(&mut self, now: Instant) {
        if let Some(reduced) = &mut self.reduced {
            reduced.last_slow = now;
        }
    }

    /// Pace at which the client receives its subscriptions.
    pub(in crate::transport) fn pace(&self, limits: &Limits) -> Pace {
        match self.reduced.as_ref().map(|reduced| reduced.level) {
            None | Some(BackpressureLevel::Conflated) => Pace::FULL,
            Some(BackpressureLevel::Stretched) => Pace { interval: limits.slow_after.0, events: true },
            Some(BackpressureLevel::SnapshotOnly | BackpressureLevel::Closed) => {
                Pace { interval: limits.slow_after.0 * SNAPSHOT_FACTOR, events: false }
            }
        }
    }

    /// Returns the time of the next decision if no data become due before it; `None` at the normal level.
    pub(in crate::transport) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        self.reduced.as_ref().map(|reduced| reduced.last_slow + self.calm(limits))
    }

    /// Returns the time without a slow moment after which the level falls. Before the next state is due there is nothing
    /// that the client could take too late.
    fn calm(&self, limits: &Limits) -> Duration {
        limits.slow_step.0 * CALM_STEPS + self.pace(limits).interval
    }
}

/// Returns the event of the channel `system` that notifies a client of `change`: its name and data.
pub(super) fn event(change: LevelChange, pace: Pace) -> (&'static str, serde_json::Value) {
    match change {
        LevelChange::Raised(level) | LevelChange::Lowered(Some(level)) => {
            let message = match level {
                BackpressureLevel::Conflated => "you read slower than values change: you receive only the newest ones",
                BackpressureLevel::Stretched => "you still read too slowly: values come less often",
                BackpressureLevel::SnapshotOnly => "you still read too slowly: values come rarely, and events wait",
                BackpressureLevel::Closed => "you read too slowly: reconnect and resume from your cursor",
            };
            let mut data = serde_json::json!({"reason": "slow_client", "step": level.as_str(), "message": message});
            if matches!(level, BackpressureLevel::Stretched | BackpressureLevel::SnapshotOnly) {
                data["interval"] = (pace.interval.as_millis() as u64).into();
            }
            ("degraded", data)
        }
        LevelChange::Lowered(None) => ("recovered", serde_json::json!({"reason": "slow_client"})),
    }
}

#[cfg(test)]
mod tests {
    use tricast_core::span::Span;

    use super::*;

    /// Returns limits with these times, in seconds.
    fn limits(slow_after: u64, slow_step: u64) -> Limits {
        Limits { slow_after: Span::from_secs(slow_after), slow_step: Span::from_secs(slow_step), ..Limits::default() }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_stays_slow_rises_level_by_level_and_is_closed() {
        let limits = limits(1, 5);
        let start = Instant::now();
        let mut client = SlowClient::default();
        let mut changes = Vec::new();
        for second in 0..30 {
            changes.extend(client.record(&limits, s(60), start + s(second)).map(|change| (second, change)));
        }
        let levels = [
            (0, BackpressureLevel::Conflated),
            (5, BackpressureLevel::Stretched),
            (10, BackpressureLevel::SnapshotOnly),
            (15, BackpressureLevel::Closed),
        ];
        assert_eq!(changes[..4], levels.map(|(second, level)| (second, LevelChange::Raised(level))));
    }

    #[test]
    fn a_client_that_recovers_returns_to_the_normal_level() {
        let limits = limits(1, 5);
        let start = Instant::now();
        let mut client = SlowClient::default();
        let raised = |level| Some(LevelChange::Raised(level));
        assert_eq!(client.record(&limits, s(1), start), raised(BackpressureLevel::Conflated));
        assert_eq!(client.record(&limits, s(1), start + s(6)), raised(BackpressureLevel::Stretched));
        assert_eq!(client.pace(&limits).interval, s(1));
        assert_eq!(client.record(&limits, s(1), start + s(9)), None, "values are due later on this level");
        assert_eq!(client.record(&limits, s(0), start + s(10)), None, "too early");
        let lowered = Some(LevelChange::Lowered(Some(BackpressureLevel::Conflated)));
        assert_eq!(client.record(&limits, s(0), start + s(16)), None, "a value may not have been due");
        assert_eq!(client.record(&limits, s(0), start + s(17)), lowered);
        assert_eq!(client.pace(&limits), Pace::FULL);
        assert_eq!(client.record(&limits, s(0), start + s(27)), Some(LevelChange::Lowered(None)));
        assert_eq!(client.deadline(&limits), None);
    }

    #[test]
    fn the_level_does_not_fall_before_the_next_value_is_due() {
        // Values come every 5 s on the third level, and two steps are 2 s.
        let limits = limits(1, 1);
        let start = Instant::now();
        let mut client = SlowClient::default();
        for second in [0, 1, 2] {
            assert!(matches!(client.record(&limits, s(60), start + s(second)), Some(LevelChange::Raised(_))));
        }
        assert_eq!(client.pace(&limits).interval, s(5));
        assert_eq!(client.deadline(&limits), Some(start + s(2 + 5 + 2)));
        assert_eq!(client.record(&limits, s(0), start + s(6)), None);
        let closed = Some(LevelChange::Raised(BackpressureLevel::Closed));
        assert_eq!(client.record(&limits, s(6), start + s(8)), closed);
    }

    #[test]
    fn no_client_is_slow_where_it_is_switched_off() {
        let mut client = SlowClient::default();
        let off = limits(0, 5);
        assert_eq!(client.record(&off, s(1_000), Instant::now()), None);
    }
}
