//! Plans of roll-ups, reads and retention: pure functions of how far a series is rolled up. Stores carry them out.

use std::ops::Range;

use super::{Bucket, Calendar, Forget, Level, Query, RollUp, fold};

/// Times up to which the levels of a series are rolled up, in milliseconds since 1970.
///
/// Below its time a level is complete; from there on the next finer level has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledUp([i64; 4]);

impl RolledUp {
    /// Creates the times of the levels minute, hour and day.
    pub const fn new(minutes: i64, hours: i64, days: i64) -> Self {
        // Points are always complete.
        Self([i64::MAX, minutes, hours, days])
    }

    /// Returns the time up to which `level` is complete.
    pub const fn through(self, level: Level) -> i64 {
        self.0[level as usize]
    }

    /// Returns whether a point at the time `at` is late: a level was rolled up beyond it.
    pub fn is_late(self, at: i64) -> bool {
        Level::ROLLED.into_iter().any(|level| at < self.through(level))
    }

    /// Returns the times after a late point at `at`, for the levels of [`Level::ROLLED`]: each goes back to the start of
    /// the bucket that holds the point, which is then rolled up again.
    pub fn back_to(self, at: i64, calendar: &Calendar) -> [i64; 3] {
        Level::ROLLED.map(|level| self.through(level).min(calendar.start(level, at)))
    }

    /// Plans the read of a series: the spans of each level in the order of time, coarse ones first, and points last.
    pub fn spans(self, query: &Query) -> Vec<(Level, Range<i64>)> {
        let mut spans = Vec::with_capacity(Level::ALL.len());
        let mut from = query.from;
        for level in Level::ROLLED.into_iter().rev().filter(|level| *level <= query.level) {
            let end = self.through(level).min(query.ends[level as usize]);
            if end > from {
                spans.push((level, from..end));
                from = end;
            }
        }
        spans.push((Level::Raw, from..query.ends[Level::Raw as usize]));
        spans
    }
}

/// Part of a series that a step rolls up.
#[derive(Clone, Debug, PartialEq)]
pub struct Portion {
    /// Rows of the finer level, which make whole buckets.
    pub rows: Vec<Bucket>,
    /// Time up to which the series is rolled up afterwards.
    pub through: i64,
    /// Whether the series has more rows to roll up.
    pub more: bool,
}

/// Choice of the rows that a step rolls up.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// These rows, which make whole buckets.
    Rows(Portion),
    /// The first bucket alone has more rows than a step should have: all rows of this span have to be read.
    Bucket(Range<i64>),
}

impl RollUp {
    /// Returns the span of the finer level that can be rolled up now; empty if it does not end after its start.
    pub fn span(&self, rolled: RolledUp, finer: Level) -> Range<i64> {
        let mut through = self.through.min(rolled.through(finer));
        if through < self.through {
            through = self.calendar.start(self.level, through);
        }
        rolled.through(self.level)..through
    }

    /// Chooses what to roll up, where `rows` are the first rows of the finer level in `span`: all of them, or more than
    /// `most`.
    pub fn choose(&self, span: Range<i64>, mut rows: Vec<Bucket>, most: usize) -> Choice {
        let ends = rows.first().copied().zip(rows.last().copied());
        let Some((first, last)) = ends.filter(|_| rows.len() > most) else {
            return Choice::Rows(Portion { rows, through: span.end, more: false });
        };
        let unfinished = self.calendar.bucket(self.level, last.at);
        if first.at >= unfinished.start {
            return Choice::Bucket(span.start..unfinished.end);
        }
        rows.retain(|row| row.at < unfinished.start);
        Choice::Rows(Portion { rows, through: unfinished.start, more: true })
    }

    /// Folds `portion` into the buckets to store; `None` if nothing is to be stored, not even the new time up to which
    /// the series is rolled up.
    pub fn fold(&self, rolled: RolledUp, portion: Vec<Bucket>, through: i64) -> Option<Vec<Bucket>> {
        let changes = !portion.is_empty() || self.moves_on(rolled.through(self.level), through);
        changes.then(|| fold(portion, self.level, &self.calendar))
    }
}

impl Forget {
    /// Returns the time before which rows of `level` are deleted: rows that are not rolled up yet stay.
    pub fn limit(&self, rolled: RolledUp, level: Level) -> i64 {
        let needed = level.coarser().map_or(i64::MAX, |coarser| rolled.through(coarser));
        self.before[level as usize].min(needed)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::history::SeriesId;
    use tricast_core::channel::Channel;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    fn calendar() -> Calendar {
        Calendar::new(TimeZone::UTC)
    }

    fn step(level: Level, through: i64) -> RollUp {
        RollUp { level, through, calendar: calendar(), after: SeriesId::default(), rows: 10 }
    }

    fn points(times: &[i64]) -> Vec<Bucket> {
        times.iter().map(|at| Bucket::of_point(*at, 1.0)).collect()
    }

    #[test]
    fn a_late_point_sets_each_level_back_to_its_bucket() {
        let rolled = RolledUp::new(3 * HOUR, 2 * HOUR, 0);
        assert!(!rolled.is_late(3 * HOUR) && rolled.is_late(3 * HOUR - 1));
        assert_eq!(rolled.back_to(2 * HOUR + 90_000, &calendar()), [2 * HOUR + MINUTE, 2 * HOUR, 0]);
        assert_eq!(rolled.back_to(HOUR + 1, &calendar()), [HOUR, HOUR, 0]);
    }

    #[test]
    fn a_read_uses_coarse_rows_as_far_as_they_are_complete() {
        let query = Query {
            channel: Channel::parse("a").unwrap(),
            fields: None,
            level: Level::Hour,
            from: HOUR,
            ends: [5 * HOUR + 7, 5 * HOUR, 5 * HOUR, 0],
            limit: 9,
        };
        let spans = RolledUp::new(4 * HOUR + MINUTE, 3 * HOUR, DAY).spans(&query);
        let (hours, minutes) = (HOUR..3 * HOUR, 3 * HOUR..4 * HOUR + MINUTE);
        let rest = 4 * HOUR + MINUTE..5 * HOUR + 7;
        assert_eq!(spans, [(Level::Hour, hours), (Level::Minute, minutes), (Level::Raw, rest)]);
        let none = RolledUp::new(0, 0, 0).spans(&query);
        assert_eq!(none, [(Level::Raw, HOUR..5 * HOUR + 7)]);
    }

    #[test]
    fn a_step_rolls_up_no_further_than_the_finer_level() {
        let rolled = RolledUp::new(2 * HOUR + MINUTE, HOUR, 0);
        assert_eq!(step(Level::Hour, 3 * HOUR).span(rolled, Level::Minute), HOUR..2 * HOUR);
        assert_eq!(step(Level::Hour, 2 * HOUR).span(rolled, Level::Minute), HOUR..2 * HOUR);
        assert_eq!(step(Level::Minute, 3 * HOUR).span(rolled, Level::Raw), 2 * HOUR + MINUTE..3 * HOUR);
    }

    #[test]
    fn a_step_ends_with_a_whole_bucket() {
        let step = step(Level::Minute, HOUR);
        let rows = |rows: &[i64], through, more| Choice::Rows(Portion { rows: points(rows), through, more });
        assert_eq!(step.choose(0..HOUR, points(&[1, 2, MINUTE]), 3), rows(&[1, 2, MINUTE], HOUR, false));
        assert_eq!(step.choose(0..HOUR, points(&[1, 2, MINUTE]), 2), rows(&[1, 2], MINUTE, true));
        assert_eq!(
            step.choose(0..HOUR, points(&[1, 2, 3]), 2),
            Choice::Bucket(0..MINUTE),
            "a single bucket exceeds the step"
        );
        assert_eq!(step.choose(0..HOUR, Vec::new(), 0), rows(&[], HOUR, false));
    }

    #[test]
    fn a_series_without_new_rows_is_left_alone_within_a_coarser_bucket() {
        let (step, rolled) = (step(Level::Minute, 2 * HOUR), RolledUp::new(HOUR + MINUTE, 0, 0));
        assert_eq!(step.fold(rolled, Vec::new(), 2 * HOUR - MINUTE), None);
        assert_eq!(step.fold(RolledUp::new(HOUR, 0, 0), Vec::new(), 2 * HOUR - MINUTE), None, "from its start on");
        assert_eq!(step.fold(rolled, Vec::new(), 2 * HOUR), Some(Vec::new()));
        let minute = step.fold(rolled, points(&[HOUR + MINUTE + 1]), HOUR + 2 * MINUTE).unwrap();
        assert_eq!(minute[0].at, HOUR + MINUTE);
    }

    #[test]
    fn rows_are_kept_until_they_are_rolled_up() {
        let forget = Forget { before: [DAY, DAY, DAY, i64::MIN], after: SeriesId::default(), rows: 9 };
        let rolled = RolledUp::new(2 * HOUR, HOUR, 2 * DAY);
        let limits = Level::ALL.map(|level| forget.limit(rolled, level));
        assert_eq!(limits, [2 * HOUR, HOUR, DAY, i64::MIN]);
    }
}
