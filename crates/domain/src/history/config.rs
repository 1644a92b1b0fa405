//! Settings of recording, rolling up and deleting history.

use std::{ops::RangeInclusive, time::Duration};

use super::{Calendar, Level, SeriesLimits};
use tricast_core::{
    section,
    settings::{OrZero, Size},
    span::Span,
};

/// Range of retention times. Points that are kept for less than an hour could not be rolled up.
const fn retention() -> OrZero<RangeInclusive<Span>> {
    OrZero(Span::from_secs(3_600)..=Span::from_days(36_500))
}

section! {
    /// Recording of history, and the time that it is kept.
    #[derive(Copy)]
    pub struct HistoryConfig {
        /// Record the numbers of state channels, for `/api/history` and `backfill`.
        enabled: bool = true,
        /// Span in which a channel makes at most one point of each field, the last; 0 means one for every version that the recorder
        /// reads.
        #[range(Span::ZERO..=Span::from_secs(60))]
        resolution: Span = Span::from_secs(1),
        /// Points of one tenant that wait in memory while the store is unavailable; beyond it the oldest are dropped.
        #[range(1_000..)]
        buffer: usize = 200_000,
        /// Recorded series of one tenant, one per numeric field; 0 means no limit.
        max_series: usize = 10_000,
        /// Recorded series of one channel, so that one value with many fields leaves room for other channels; 0 means no limit.
        max_channel_series: usize = 2_500,
        /// Points of one tenant that are recorded per second, on average over ten seconds; those beyond it are dropped, counted
        /// and reported on `system` (`history_limit`). A point takes about 20 bytes in SQLite. 0 means no limit.
        max_points_per_second: usize = 5_000,
        /// Size of the SQLite file, or of the history tables in PostgreSQL, beyond which history is kept for less time: points are
        /// deleted first, then roll-ups by minute, by hour and by day, the oldest first. Checked every ten minutes, and every
        /// minute while it is exceeded. 0 means no limit.
        max_bytes: Size = Size::mebibytes(8 << 10),
        /// Time that points are kept; 0 means for ever. Without `data_dir` at most 1 h, minutes 1 d, hours 31 d, days 366 d.
        #[range(retention())]
        raw: Span = Span::from_days(2),
        /// Time that roll-ups by minute are kept; 0 means for ever.
        #[range(retention())]
        minute: Span = Span::from_days(30),
        /// Time that roll-ups by hour are kept; 0 means for ever.
        #[range(retention())]
        hour: Span = Span::from_days(730),
        /// Time that roll-ups by day are kept; 0 means for ever.
        #[range(retention())]
        day: Span = Span::ZERO,
    }
}

/// Longest time that history in memory is kept: points, minutes, hours, days.
const KEPT_IN_MEMORY: [Span; 4] =
    [Span::from_secs(3_600), Span::from_days(1), Span::from_days(31), Span::from_days(366)];

/// Largest history in memory: less than the store holds, so that the store is never full.
const MAX_BYTES_IN_MEMORY: Size = Size::mebibytes(200);

impl HistoryConfig {
    /// Returns the limits of series.
    pub(super) fn series_limits(&self) -> SeriesLimits {
        SeriesLimits { tenant: self.max_series, channel: self.max_channel_series }
    }

    /// Returns the time for which each level is kept, by its index in [`Level::ALL`]; zero means for ever.
    pub fn keep(&self) -> [Duration; 4] {
        [self.raw, self.minute, self.hour, self.day].map(|span| span.0)
    }

    /// Returns the settings of history that is kept in memory: for less time, and in less space.
    #[must_use]
    pub fn in_memory(self) -> Self {
        // Zero means no limit.
        let within = |span: Span, most: Span| if span.is_zero() { most } else { span.min(most) };
        let [raw, minute, hour, day] = KEPT_IN_MEMORY;
        Self {
            raw: within(self.raw, raw),
            minute: within(self.minute, minute),
            hour: within(self.hour, hour),
            day: within(self.day, day),
            max_bytes: if self.max_bytes.0 == 0 {
                MAX_BYTES_IN_MEMORY
            } else {
                self.max_bytes.min(MAX_BYTES_IN_MEMORY)
            },
            ..self
        }
    }

    /// Returns for each level the time before which its rows may be deleted, when each is kept for `keep`, zero meaning
    /// for ever. Buckets of the next level stay complete: points are deleted by hours, everything else by days.
    pub(super) fn forget_before(keep: &[Duration; 4], now: i64, calendar: &Calendar) -> [i64; 4] {
        Level::ALL.map(|level| {
            let keep = keep[level as usize];
            if keep.is_zero() {
                return i64::MIN;
            }
            let unit = if level == Level::Raw { Level::Hour } else { Level::Day };
            calendar.start(unit, now.saturating_sub(ms(keep)))
        })
    }
}

/// Returns the duration in whole milliseconds.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn history_in_memory_is_kept_for_less_time_and_in_less_space() {
        let config = HistoryConfig { raw: Span::from_secs(60), max_bytes: Size(0), ..HistoryConfig::default() };
        let kept = config.in_memory();
        let [_, minute, hour, day] = KEPT_IN_MEMORY;
        assert_eq!((kept.raw, kept.minute, kept.hour, kept.day), (config.raw, minute, hour, day));
        assert_eq!(kept.max_bytes, MAX_BYTES_IN_MEMORY);
        assert_eq!(HistoryConfig { max_bytes: Size(5), ..config }.in_memory().max_bytes, Size(5));
    }

    #[test]
    fn points_are_deleted_by_whole_hours_and_roll_ups_by_whole_days() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let keep = [1, 2, 3, 0].map(|days| Span::from_days(days).0);
        let calendar = Calendar::new(TimeZone::UTC);
        let before = HistoryConfig::forget_before(&keep, at("2026-06-10T12:34:56Z"), &calendar);
        let days = ["2026-06-08T00:00:00Z", "2026-06-07T00:00:00Z"].map(at);
        assert_eq!(before, [at("2026-06-09T12:00:00Z"), days[0], days[1], i64::MIN]);
    }
}
