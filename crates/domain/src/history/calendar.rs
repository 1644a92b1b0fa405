//! Start and end of buckets by the wall clock of the configured time zone. Pure.
//!
//! | level | a bucket is |
//! |---|---|
//! | minute | 60 s: every zone of today is whole minutes away from UTC |
//! | hour | from one full hour of the wall clock to the next, cut where the clock is set in the middle of one |
//! | day | from midnight to midnight: mostly 23, 24 or 25 hours |
//!
//! Buckets of a level neither overlap nor leave gaps, and each consists of whole buckets of the finer level. An hour
//! that the clock shows twice is two buckets; where it is set by half an hour (Lord Howe Island), one bucket is that
//! short.

use jiff::{Timestamp, tz::TimeZone};

use super::Level;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Time zone that determines the buckets. Cheap to clone. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

/// Span from one time up to but not including another, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First millisecond of the span, since 1970.
    pub start: i64,
    /// First millisecond after the span.
    pub end: i64,
}

impl Calendar {
    /// Creates the buckets of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// Returns the bucket of `level` that holds the time `at`. A raw point has a bucket of one millisecond.
    pub fn bucket(&self, level: Level, at: i64) -> Span {
        match level {
            Level::Raw => Span { start: at, end: at.saturating_add(1) },
            Level::Minute => {
                let start = at - at.rem_euclid(MINUTE_MS);
                Span { start, end: start + MINUTE_MS }
            }
            Level::Hour => self.hour(at),
            Level::Day => self.day(at),
        }
    }

    /// Returns the start of the bucket of `level` that holds the time `at`.
    pub fn start(&self, level: Level, at: i64) -> i64 {
        self.bucket(level, at).start
    }

    fn hour(&self, at: i64) -> Span {
        let offset = self.offset_ms(at);
        let floor = at - (at + offset).rem_euclid(HOUR_MS);
        let ceiling = floor + HOUR_MS;
        let start = if self.offset_ms(floor) == offset { floor } else { self.clock_set_after(floor, ceiling) };
        let end = if self.offset_ms(ceiling - 1) == offset { ceiling } else { self.clock_set_after(at, ceiling) };
        Span { start, end }
    }

    fn day(&self, at: i64) -> Span {
        let utc = || {
            let start = at - at.rem_euclid(DAY_MS);
            Span { start, end: start + DAY_MS }
        };
        let day = || -> Result<Span, jiff::Error> {
            let today = time(at).to_zoned(self.zone.clone());
            let (start, end) = (today.start_of_day()?, today.tomorrow()?.start_of_day()?);
            Ok(Span { start: start.timestamp().as_millisecond(), end: end.timestamp().as_millisecond() })
        };
        // Fails only at the ends of the range of times.
        day().unwrap_or_else(|_| utc())
    }

    /// Returns the first time after `at` at which the clock is set; `or` if it is not.
    fn clock_set_after(&self, at: i64, or: i64) -> i64 {
        let before = self.offset_ms(at);
        let mut set = self.zone.following(time(at)).map(|set| set.timestamp().as_millisecond());
        // Some transitions change only the name of the zone.
        set.find(|set| *set >= or || self.offset_ms(*set) != before).map_or(or, |set| set.min(or))
    }

    fn offset_ms(&self, at: i64) -> i64 {
        i64::from(self.zone.to_offset(time(at)).seconds()) * 1_000
    }
}

/// Returns the time `at`, or the nearest end of the range of times.
fn time(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(zone: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap())
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// Returns the hours of the day that holds `moment`, and the minutes of each that is not 60.
    fn hours(zone: &str, moment: &str) -> (usize, Vec<i64>) {
        let calendar = calendar(zone);
        let day = calendar.bucket(Level::Day, at(moment));
        let (mut next, mut count, mut odd) = (day.start, 0, Vec::new());
        while next < day.end {
            let hour = calendar.bucket(Level::Hour, next);
            assert_eq!(hour.start, next, "{zone}: no gap and no overlap");
            odd.extend(Some((hour.end - hour.start) / MINUTE_MS).filter(|minutes| *minutes != 60));
            (next, count) = (hour.end, count + 1);
        }
        assert_eq!(next, day.end, "{zone}: a day is whole hours");
        (count, odd)
    }

    #[test]
    fn days_have_as_many_hours_as_the_clock_shows() {
        for (zone, moment, expected, odd) in [
            ("UTC", "2026-03-29T12:00:00Z", 24, vec![]),
            ("Europe/Berlin", "2026-03-28T12:00:00Z", 24, vec![]),
            ("Europe/Berlin", "2026-03-29T12:00:00Z", 23, vec![]),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", 25, vec![]),
            ("America/New_York", "2026-03-08T17:00:00Z", 23, vec![]),
            ("America/New_York", "2026-11-01T17:00:00Z", 25, vec![]),
            ("Asia/Kolkata", "2026-06-01T12:00:00Z", 24, vec![]),
            // By half an hour: from 02:00 to 02:30, and from 02:00 back to 01:30.
            ("Australia/Lord_Howe", "2026-10-04T02:00:00Z", 24, vec![30]),
            ("Australia/Lord_Howe", "2026-04-05T02:00:00Z", 25, vec![30]),
            // One minute after midnight, until 2011: from 00:01 to 01:01.
            ("America/St_Johns", "2010-03-14T15:00:00Z", 24, vec![1, 59]),
            // At midnight: there is no 00:00, or 23:00 occurs twice.
            ("America/Havana", "2026-03-08T16:00:00Z", 23, vec![]),
            ("America/Sao_Paulo", "2018-02-17T16:00:00Z", 25, vec![]),
            // A whole day that was skipped: the day before is as long as any.
            ("Pacific/Apia", "2011-12-30T09:59:00Z", 24, vec![]),
        ] {
            assert_eq!(hours(zone, moment), (expected, odd), "{zone} {moment}");
        }
    }

    #[test]
    fn an_hour_follows_the_wall_clock() {
        let hour = calendar("Asia/Kolkata").bucket(Level::Hour, at("2026-06-01T12:10:00Z"));
        assert_eq!(hour.start, at("2026-06-01T11:30:00Z"));
        let day = calendar("Asia/Kolkata").bucket(Level::Day, at("2026-06-01T18:29:59.999Z"));
        assert_eq!((day.start, day.end), (at("2026-05-31T18:30:00Z"), at("2026-06-01T18:30:00Z")));
        let twice = calendar("Europe/Berlin");
        let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
        assert_eq!(twice.bucket(Level::Hour, first).end, twice.bucket(Level::Hour, second).start);
    }

    #[test]
    fn the_ends_of_the_range_of_times_have_buckets() {
        for moment in [i64::MIN / 4, -1, 0, i64::MAX / 4] {
            for level in Level::ALL {
                let Span { start, end } = calendar("Europe/Berlin").bucket(level, moment);
                assert!(start <= moment && moment < end, "{level:?} {moment}");
            }
        }
    }

    proptest! {
        #[test]
        fn buckets_cover_time_once(
            zone in prop::sample::select(&["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                "Asia/Kolkata", "America/Havana", "Asia/Kathmandu"]),
            moment in 0_i64..2_000_000_000_000,
        ) {
            let calendar = calendar(zone);
            for level in Level::ALL {
                let Span { start, end } = calendar.bucket(level, moment);
                prop_assert!(start <= moment && moment < end);
                prop_assert_eq!(calendar.bucket(level, start), Span { start, end });
                prop_assert_eq!(calendar.bucket(level, end - 1), Span { start, end });
                prop_assert_eq!(calendar.start(level, end), end);
                if let Some(finer) = level.finer() {
                    prop_assert_eq!(calendar.start(finer, start), start);
                    prop_assert_eq!(calendar.bucket(finer, end - 1).end, end);
                }
            }
        }
    }
}
