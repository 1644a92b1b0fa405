//! Settings of recording, rolling up and deleting history.

use std::time::Duration;

use super::{Calendar, Level};

/// Settings of history, which `config` creates.
#[derive(Clone, Copy, Debug)]
pub struct HistoryConfig {
    /// Whether values are recorded and can be queried. Default yes.
    pub enabled: bool,
    /// Span of time in which a channel makes at most one point of each field: the last. Default 1 s; zero means every
    /// version that the recorder sees.
    pub resolution: Duration,
    /// Largest number of points of one tenant that wait for the store; beyond it the oldest are dropped. Default
    /// 200,000 (24 bytes each).
    pub buffer: usize,
    /// Largest number of series of one tenant; further fields are not recorded. Default 10,000; 0 means no limit.
    pub max_series: usize,
    /// Largest number of points of one tenant per second, on average over ten seconds; further points are not recorded.
    /// Default 5,000; 0 means no limit.
    pub max_points_per_second: usize,
    /// Size of the store in bytes from which on points, then roll-ups, are deleted early, the oldest first. Default 8
    /// GiB; 0 means no limit.
    pub max_bytes: u64,
    /// Time for which each level is kept, by its index in [`Level::ALL`]. Defaults 2 days, 30 days, 2 years, for ever;
    /// zero means for ever.
    pub keep: [Duration; 4],
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Default for HistoryConfig {
    fn default() -> Self {
        let keep = [DAY * 2, DAY * 30, DAY * 730, Duration::ZERO];
        Self {
            enabled: true,
            resolution: Duration::from_secs(1),
            buffer: 200_000,
            max_series: 10_000,
            max_points_per_second: 5_000,
            max_bytes: 8 << 30,
            keep,
        }
    }
}

impl HistoryConfig {
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
    fn points_are_deleted_by_whole_hours_and_roll_ups_by_whole_days() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let keep = [DAY, DAY * 2, DAY * 3, Duration::ZERO];
        let calendar = Calendar::new(TimeZone::UTC);
        let before = HistoryConfig::forget_before(&keep, at("2026-06-10T12:34:56Z"), &calendar);
        let days = ["2026-06-08T00:00:00Z", "2026-06-07T00:00:00Z"].map(at);
        assert_eq!(before, [at("2026-06-09T12:00:00Z"), days[0], days[1], i64::MIN]);
    }
}
