//! Settings of recording and deleting history.

use std::time::Duration;

use super::{
    Config, Size, Span,
    setting::{OrZero, section},
};
use tricast_domain::history::HistoryConfig;

/// Range of retention times. Points that are kept for less than an hour could not be rolled up.
const fn retention() -> OrZero<std::ops::RangeInclusive<Span>> {
    OrZero(Span::from_secs(3_600)..=Span::from_days(36_500))
}

section! {
    /// Recording of history, and the time that it is kept.
    pub struct History {
        /// Record the numbers of state channels, for `/api/history` and `backfill`.
        enabled: bool = HistoryConfig::default().enabled,
        /// Span in which a channel makes at most one point of each field, the last; 0 means one for every version that the recorder
        /// reads.
        #[range(Span::ZERO..=Span::from_secs(60))]
        resolution: Span = Span(HistoryConfig::default().resolution),
        /// Points of one tenant that wait in memory while the store is unavailable; beyond it the oldest are dropped.
        #[range(1_000..)]
        buffer: usize = HistoryConfig::default().buffer,
        /// Recorded series of one tenant, one per numeric field; 0 means no limit.
        max_series: usize = HistoryConfig::default().max_series,
        /// Points of one tenant that are recorded per second, on average over ten seconds; those beyond it are dropped, counted
        /// and reported on `system` (`history_limit`). A point takes about 20 bytes in SQLite. 0 means no limit.
        max_points_per_second: usize = HistoryConfig::default().max_points_per_second,
        /// Size of the SQLite file, or of the history tables in PostgreSQL, beyond which history is kept for less time: points are
        /// deleted first, then roll-ups by minute, by hour and by day, the oldest first. Checked every ten minutes, and every
        /// minute while it is exceeded. 0 means no limit.
        max_bytes: Size = Size(usize::try_from(HistoryConfig::default().max_bytes).unwrap_or(usize::MAX)),
        /// Time that points are kept; 0 means for ever. Without `data_dir` at most 1 h, minutes 1 d, hours 31 d, days 366 d.
        #[range(retention())]
        raw: Span = Span(HistoryConfig::default().keep[0]),
        /// Time that roll-ups by minute are kept; 0 means for ever.
        #[range(retention())]
        minute: Span = Span(HistoryConfig::default().keep[1]),
        /// Time that roll-ups by hour are kept; 0 means for ever.
        #[range(retention())]
        hour: Span = Span(HistoryConfig::default().keep[2]),
        /// Time that roll-ups by day are kept; 0 means for ever.
        #[range(retention())]
        day: Span = Span(HistoryConfig::default().keep[3]),
    }
}

/// Longest time that history in memory is kept: points, minutes, hours, days.
const KEPT_IN_MEMORY: [Span; 4] =
    [Span::from_secs(3_600), Span::from_days(1), Span::from_days(31), Span::from_days(366)];

/// Largest history in memory, in bytes: less than the store holds, so that the store is never full.
const MAX_BYTES_IN_MEMORY: u64 = 200 << 20;

impl History {
    /// Returns the configuration of history. Without `data_dir` and `database_url` it is in memory and kept for less time.
    pub(super) fn recording(&self, config: &Config) -> HistoryConfig {
        let Self { enabled, resolution, buffer, max_series, max_points_per_second, max_bytes, .. } = self.clone();
        let mut keep: [Duration; 4] = [self.raw, self.minute, self.hour, self.day].map(|span| span.0);
        let mut max_bytes = max_bytes.0 as u64;
        if config.data_dir.is_none() && config.database_url.is_empty() {
            // Zero means no limit.
            for (keep, Span(most)) in keep.iter_mut().zip(KEPT_IN_MEMORY) {
                *keep = if keep.is_zero() { most } else { most.min(*keep) };
            }
            max_bytes = if max_bytes == 0 { MAX_BYTES_IN_MEMORY } else { max_bytes.min(MAX_BYTES_IN_MEMORY) };
        }
        HistoryConfig { enabled, resolution: resolution.0, buffer, max_series, max_points_per_second, max_bytes, keep }
    }
}
