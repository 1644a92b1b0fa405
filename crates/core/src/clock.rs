//! Wall-clock time as a dependency, so that tests can control it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use tokio::time::Instant;

/// Source of the current time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the clock of this machine.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Returns a clock that a test moves.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns this clock until the setter sets it; from then on a clock that shows that time and runs on by the
    /// monotonic clock of the process, independent of the clock of the machine.
    pub fn settable(&self) -> (Self, ClockSetter) {
        let setter = ClockSetter::default();
        let (own, set) = (self.clone(), setter.clone());
        (Self::from_fn(move || set.now().unwrap_or_else(|| own.now())), setter)
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Returns the current time without the part below a millisecond, as stores keep it.
    pub fn now_ms(&self) -> Timestamp {
        let now = self.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// Returns the current time of the wall clock in `zone`; its date is "today".
    pub fn now_in(&self, zone: &TimeZone) -> Zoned {
        self.now().to_zoned(zone.clone())
    }
}

/// Sets a clock by a better one, such as that of a server that several processes share. Cheap to clone.
#[derive(Clone, Default)]
pub struct ClockSetter(Arc<ArcSwapOption<(Instant, Timestamp)>>);

impl ClockSetter {
    /// Sets the clock: it showed `time` at `instant`.
    pub fn set(&self, instant: Instant, time: Timestamp) {
        self.0.store(Some(Arc::new((instant, time))));
    }

    /// Returns the time of the clock at `instant`; `None` while it was never set.
    pub fn shown_at(&self, instant: Instant) -> Option<Timestamp> {
        let set = self.0.load();
        let (at, time) = **set.as_ref()?;
        let passed = match instant.checked_duration_since(at) {
            Some(later) => SignedDuration::try_from(later).ok()?,
            None => -SignedDuration::try_from(at.duration_since(instant)).ok()?,
        };
        time.checked_add(passed).ok()
    }

    fn now(&self) -> Option<Timestamp> {
        self.shown_at(Instant::now())
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Returns `time` in whole milliseconds, rounded down.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a time as on every transport: RFC 3339, UTC, milliseconds, `Z` (`2024-07-15T14:00:05.120Z`).
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_runs_on_independent_of_the_machine() {
        let hour_ahead = Clock::from_fn(|| Timestamp::from_second(3_600).unwrap());
        let (clock, setter) = hour_ahead.settable();
        assert_eq!(clock.now(), Timestamp::from_second(3_600).unwrap());
        let set = Instant::now();
        setter.set(set, Timestamp::UNIX_EPOCH);
        let later = set + std::time::Duration::from_secs(5);
        assert_eq!(setter.shown_at(later), Some(Timestamp::from_second(5).unwrap()));
        assert!(clock.now() >= Timestamp::UNIX_EPOCH && clock.now() < Timestamp::from_second(3_600).unwrap());
        setter.set(later, Timestamp::from_second(100).unwrap());
        assert_eq!(setter.shown_at(set), Some(Timestamp::from_second(95).unwrap()));
    }

    #[test]
    fn times_have_milliseconds_and_a_z() {
        assert_eq!(rfc3339(Timestamp::from_millisecond(1_721_052_005_120).unwrap()), "2024-07-15T14:00:05.120Z");
        assert_eq!(rfc3339(Timestamp::from_second(0).unwrap()), "1970-01-01T00:00:00.000Z");
    }
}
