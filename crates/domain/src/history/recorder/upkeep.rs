//! Upkeep of the store: roll-ups, deletion of old rows, and the store's size.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::notices::Notices;
use crate::history::{
    Forget, HistoryConfig, HistoryError, Level, RollUp, SeriesId, config::ms, pressure::Pressure, shared::Shared,
};

/// Rows of one step of rolling up or deleting. The same thread writes orders: this takes some milliseconds.
const STEP: usize = 2_000;

/// Time after the end of a minute within which it may still get a point.
const SETTLING: Duration = Duration::from_secs(2);

/// Rolls up and deletes.
pub(super) struct Upkeep {
    shared: Arc<Shared>,
    /// Retention of each level.
    pressure: Pressure,
    /// Times up to which the levels are rolled up.
    rolled: [i64; 3],
}

impl Upkeep {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let pressure = Pressure::new(shared.config.keep());
        Self { shared, pressure, rolled: [i64::MIN; 3] }
    }

    /// Returns whether rows are deleted early because the store is larger than it may be.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.pressure.is_on()
    }

    /// Rolls up every level. A failed step is repeated at the next call, from where it stopped.
    pub(super) async fn roll_up(&mut self, notices: &mut Notices) {
        if self.roll_up_levels(notices).await.is_err() {
            self.rolled = [i64::MIN; 3];
        }
    }

    async fn roll_up_levels(&mut self, notices: &mut Notices) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now().as_millisecond();
        let settled = now.saturating_sub(ms(SETTLING));
        let settled = shared.buffer.lock().oldest().map_or(settled, |oldest| oldest.min(settled));
        for (level, rolled) in Level::ROLLED.into_iter().zip(&mut self.rolled) {
            let through = shared.calendar.start(level, settled);
            // Also back, by a clock that was set: late points are rolled up again.
            if through == *rolled {
                continue;
            }
            let mut after = SeriesId::default();
            loop {
                let step = RollUp { level, through, calendar: shared.calendar.clone(), after, rows: STEP };
                let begun = Instant::now();
                let progress = notices.with_degraded_notice(shared.store.roll_up(&shared.tenant, step)).await?;
                shared.counters.history.roll_up_latency.observe(begun.elapsed(), 1);
                match progress.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            *rolled = through;
            if level == Level::Minute {
                shared.lag_ms.store(now - through, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Deletes the rows beyond the retention of their level.
    pub(super) async fn forget(&self, notices: &mut Notices) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let before = self.forget_before();
        let mut after = SeriesId::default();
        loop {
            let step = Forget { before, after, rows: STEP };
            let progress = notices.with_degraded_notice(shared.store.forget(&shared.tenant, step)).await?;
            if progress.gone > 0 {
                shared.buffer.lock().forget_ids();
            }
            match progress.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Returns for each level the time before which rows are deleted.
    pub(super) fn forget_before(&self) -> [i64; 4] {
        let now = self.shared.clock.now().as_millisecond();
        HistoryConfig::forget_before(self.pressure.keep(), now, &self.shared.calendar)
    }

    /// Keeps the store within its size, by one step per check.
    pub(super) async fn limit_size(&mut self) {
        let shared = &self.shared;
        // An unknown size is known at the next check.
        let Ok(Some(bytes)) = shared.store.bytes().await else { return };
        shared.bytes.store(bytes, Ordering::Relaxed);
        let was_on = self.pressure.is_on();
        self.pressure.adapt(bytes, shared.config.max_bytes.0 as u64);
        let kept = self.pressure.keep()[Level::Raw as usize];
        shared.raw_kept_s.store(kept.as_secs(), Ordering::Relaxed);
        if self.pressure.is_on() && !was_on {
            let (tenant, max_bytes) = (&*shared.tenant, shared.config.max_bytes.0 as u64);
            tracing::warn!(
                tenant,
                bytes,
                max_bytes,
                "history.max_bytes is reached: the oldest points are deleted early"
            );
        } else if was_on && !self.pressure.is_on() {
            tracing::info!(tenant = &*shared.tenant, bytes, "history is kept for the configured time again");
        }
    }
}
