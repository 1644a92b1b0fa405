//! The slow-client ladder: what happens to a client that reads, but not as fast as it is sent.
//!
//! 1. **conflated**: it is given the newest values only. That happens by itself; from here on the client knows.
//! 2. **interval_stretched**: states come at most every `slow_after`.
//! 3. **snapshot_only**: states come at most every five times that; events wait in the log.
//! 4. **closed**: it is sent away (4413, `bye`) and resumes by its cursor.
//!
//! Slow is who takes what is due later than `slow_after` after it should have come. A step up takes [`LadderConfig::step`] since the
//! last one, a step down [`CALM`] steps without a slow moment, and the time in which none is possible, since states come so
//! rarely. A client that takes nothing at all can't be told
//! anything either: the kernel cuts it (`limits.stall_timeout`). Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::{core::reader::Pace, counters::Step};

/// By so much rarer than on the second step come states on the third.
const RARER: u32 = 5;

/// Steps without a slow moment after which a client is taken one step down.
const CALM: u32 = 2;

/// When a client is slow.
#[derive(Clone, Copy, Debug)]
pub struct LadderConfig {
    /// What is due has to be taken within this. Zero: nobody is slow.
    pub slow_after: Duration,
    /// Shortest time between two steps.
    pub step: Duration,
}

/// Where one client stands.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    on: Option<Box<Climb>>,
}

#[derive(Debug)]
struct Climb {
    step: Step,
    since: Instant,
    last_slow: Instant,
}

/// What has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// One step up, to this one.
    Up(Step),
    /// One step down, to this one; `None` is the ground.
    Down(Option<Step>),
}

impl Ladder {
    /// Something that was due for `waited` is taken at `now`. Answers the move that follows, if one does.
    pub(super) fn taken(&mut self, config: LadderConfig, waited: Duration, now: Instant) -> Option<Move> {
        // On a higher step it is not owed so soon.
        let late = waited.saturating_sub(self.pace(config).interval);
        let calm = self.calm(config);
        let slow = !config.slow_after.is_zero() && late >= config.slow_after;
        let Some(climb) = &mut self.on else {
            if slow {
                self.on = Some(Box::new(Climb { step: Step::Conflated, since: now, last_slow: now }));
                return Some(Move::Up(Step::Conflated));
            }
            return None;
        };
        if slow {
            climb.last_slow = now;
            if now.duration_since(climb.since) < config.step {
                return None;
            }
            climb.since = now;
            climb.step = match climb.step {
                Step::Conflated => Step::Stretched,
                Step::Stretched => Step::SnapshotOnly,
                Step::SnapshotOnly | Step::Closed => Step::Closed,
            };
            return Some(Move::Up(climb.step));
        }
        if now.duration_since(climb.last_slow) < calm {
            return None;
        }
        // The next step down takes as long again.
        climb.last_slow = now;
        climb.since = now;
        let below = match climb.step {
            Step::Closed | Step::SnapshotOnly => Some(Step::Stretched),
            Step::Stretched => Some(Step::Conflated),
            Step::Conflated => None,
        };
        match below {
            Some(step) => climb.step = step,
            None => self.on = None,
        }
        Some(Move::Down(below))
    }

    /// Nothing can be said of the client at `now`: it is looked at later.
    pub(super) fn put_off(&mut self, now: Instant) {
        if let Some(climb) = &mut self.on {
            climb.last_slow = now;
        }
    }

    /// How fast the client is given what it asked for.
    pub(super) fn pace(&self, config: LadderConfig) -> Pace {
        match self.on.as_ref().map(|climb| climb.step) {
            None | Some(Step::Conflated) => Pace::FULL,
            Some(Step::Stretched) => Pace { interval: config.slow_after, events: true },
            Some(Step::SnapshotOnly | Step::Closed) => Pace { interval: config.slow_after * RARER, events: false },
        }
    }

    /// Whether the client has to be looked at again although nothing is due, and when.
    pub(super) fn deadline(&self, config: LadderConfig) -> Option<Instant> {
        self.on.as_ref().map(|climb| climb.last_slow + self.calm(config))
    }

    /// Time without a slow moment after which a client is taken one step down. Until the next state comes there is nothing
    /// that the client could take too late.
    fn calm(&self, config: LadderConfig) -> Duration {
        config.step * CALM + self.pace(config).interval
    }
}

/// The event of `system` that tells a client of a move: its name and data.
pub(super) fn event(moved: Move, pace: Pace) -> (&'static str, serde_json::Value) {
    match moved {
        Move::Up(step) | Move::Down(Some(step)) => {
            let message = match step {
                Step::Conflated => "you read slower than values change: you are given the newest ones",
                Step::Stretched => "you still read too slowly: values come less often",
                Step::SnapshotOnly => "you still read too slowly: values come rarely, and events wait",
                Step::Closed => "you read too slowly: come back and go on from your cursor",
            };
            let mut data = serde_json::json!({"reason": "slow_client", "step": step.as_str(), "message": message});
            if matches!(step, Step::Stretched | Step::SnapshotOnly) {
                data["interval"] = (pace.interval.as_millis() as u64).into();
            }
            ("degraded", data)
        }
        Move::Down(None) => ("recovered", serde_json::json!({"reason": "slow_client"})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: LadderConfig = LadderConfig { slow_after: Duration::from_secs(1), step: Duration::from_secs(5) };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_stays_slow_climbs_step_by_step_and_is_closed() {
        let start = Instant::now();
        let mut ladder = Ladder::default();
        let mut told = Vec::new();
        for second in 0..30 {
            told.extend(ladder.taken(CONFIG, s(60), start + s(second)).map(|moved| (second, moved)));
        }
        let steps = [(0, Step::Conflated), (5, Step::Stretched), (10, Step::SnapshotOnly), (15, Step::Closed)];
        assert_eq!(told[..4], steps.map(|(second, step)| (second, Move::Up(step))));
    }

    #[test]
    fn who_recovers_is_taken_down_again() {
        let start = Instant::now();
        let mut ladder = Ladder::default();
        assert_eq!(ladder.taken(CONFIG, s(1), start), Some(Move::Up(Step::Conflated)));
        assert_eq!(ladder.taken(CONFIG, s(1), start + s(6)), Some(Move::Up(Step::Stretched)));
        assert_eq!(ladder.pace(CONFIG).interval, CONFIG.slow_after);
        assert_eq!(ladder.taken(CONFIG, s(1), start + s(9)), None, "values are not owed so soon now");
        assert_eq!(ladder.taken(CONFIG, s(0), start + s(10)), None, "too early");
        assert_eq!(ladder.taken(CONFIG, s(0), start + s(16)), None, "a value may not have been due");
        assert_eq!(ladder.taken(CONFIG, s(0), start + s(17)), Some(Move::Down(Some(Step::Conflated))));
        assert_eq!(ladder.pace(CONFIG), Pace::FULL);
        assert_eq!(ladder.taken(CONFIG, s(0), start + s(27)), Some(Move::Down(None)));
        assert_eq!(ladder.deadline(CONFIG), None);
    }

    #[test]
    fn a_client_is_not_taken_down_before_the_next_value_is_due() {
        // Values come every 5 s on the third step, and two steps of the ladder are 2 s.
        let config = LadderConfig { step: s(1), ..CONFIG };
        let start = Instant::now();
        let mut ladder = Ladder::default();
        for second in [0, 1, 2] {
            assert!(matches!(ladder.taken(config, s(60), start + s(second)), Some(Move::Up(_))));
        }
        assert_eq!(ladder.pace(config).interval, s(5));
        assert_eq!(ladder.deadline(config), Some(start + s(2 + 5 + 2)));
        assert_eq!(ladder.taken(config, s(0), start + s(6)), None);
        assert_eq!(ladder.taken(config, s(6), start + s(8)), Some(Move::Up(Step::Closed)));
    }

    #[test]
    fn nobody_is_slow_where_it_is_switched_off() {
        let mut ladder = Ladder::default();
        let off = LadderConfig { slow_after: Duration::ZERO, ..CONFIG };
        assert_eq!(ladder.taken(off, s(1_000), Instant::now()), None);
    }
}
