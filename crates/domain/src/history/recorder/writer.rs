//! Half of the recorder that writes the points of the buffer into the store.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{GROUP, RETRY, notices::Notices, upkeep::Upkeep};
use crate::{
    history::{
        HistoryError, Point,
        config::ms,
        shared::Shared,
        write_buffer::{Ends, Waiting},
    },
    service::StoreError,
};
use tricast_core::aggregator::AggregatorHandle;

/// Time for which points are gathered before they are written. A series' points of that time lie side by side in a
/// file, so a longer time means less writing; a crash loses that much history.
const GATHER: Duration = Duration::from_secs(5);

/// Points of one transaction. The same thread writes orders: this takes some milliseconds.
const BATCH: usize = 2_000;

/// Time between two steps of rolling up.
const ROLL_UP: Duration = Duration::from_secs(5);

/// Interval of releasing names of series.
const RELEASE: Duration = Duration::from_secs(60);

/// Time without a point after which the name of a series is released. Asking the store for its id again costs little.
const IDLE: Duration = Duration::from_secs(3_600);

/// Interval of deleting old rows.
const FORGET: Duration = Duration::from_secs(600);

/// Interval of deleting while the store is larger than it may be.
const FORGET_UNDER_PRESSURE: Duration = Duration::from_secs(60);

/// Time for which a node keeps points that another node writes, until it surely has.
const OVERLAP: Duration = Duration::from_secs(60);

/// Half of the recorder that writes, rolls up and deletes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    aggregator: AggregatorHandle,
    notices: Notices,
    upkeep: Upkeep,
    /// Whether this process wrote, as of the last check.
    pub(super) wrote: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, aggregator: AggregatorHandle) -> Self {
        let notices = Notices::new(Arc::clone(&shared), aggregator.clone());
        let upkeep = Upkeep::new(Arc::clone(&shared));
        Self { shared, aggregator, notices, upkeep, wrote: true }
    }

    /// Writes, rolls up and deletes until the future is dropped.
    pub(super) async fn run(&mut self) {
        let (mut roll_up, mut forget, mut release) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let wake = Arc::clone(&self.shared);
            tokio::select! {
                () = sleep(GATHER.min(ROLL_UP)) => {}
                () = wake.wake.notified() => {}
            }
            self.notices.report_rate().await;
            if Instant::now() >= release {
                let before = self.shared.clock.now().as_millisecond().saturating_sub(ms(IDLE));
                self.shared.buffer.lock().release_series(before);
                release = Instant::now() + RELEASE;
            }
            if !self.writes() {
                // Another node writes the same points. Should it stop, this one has those that it had not written.
                let before = self.shared.clock.now().as_millisecond().saturating_sub(ms(OVERLAP));
                let mut buffer = self.shared.buffer.lock();
                buffer.discard_before(before);
                drop(buffer.take_ends());
                continue;
            }
            if self.write_all().await.is_err() {
                sleep(RETRY).await;
                continue;
            }
            let now = Instant::now();
            if now >= roll_up {
                self.upkeep.roll_up(&mut self.notices).await;
                roll_up = now + ROLL_UP;
            }
            if now >= forget {
                self.upkeep.limit_size().await;
                drop(self.upkeep.forget(&mut self.notices).await);
                forget = now + if self.upkeep.is_under_pressure() { FORGET_UNDER_PRESSURE } else { FORGET };
            }
        }
    }

    /// Returns whether this process writes: of several that share the store, one does.
    fn writes(&mut self) -> bool {
        let writes = !self.shared.store.is_shared() || self.aggregator.leads() || !self.aggregator.is_clustered();
        self.wrote = writes;
        writes
    }

    /// Writes all points that wait now.
    async fn write_all(&mut self) -> Result<(), HistoryError> {
        // Taken before the points, so that all points that precede these ends are written first.
        let ends = self.shared.buffer.lock().take_ends();
        let mut written = self.write_points().await;
        if written.is_ok() {
            written = self.write_ends(&ends).await;
        }
        if written.is_err() {
            self.shared.buffer.lock().put_ends(ends.channels);
        }
        written
    }

    pub(super) async fn write_ends(&mut self, ends: &Ends) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        for channels in ends.channels.chunks(BATCH) {
            self.notices.with_degraded_notice(shared.store.end(&shared.tenant, channels.to_vec())).await?;
        }
        shared.ends_stored.send_replace(ends.read_to);
        Ok(())
    }

    async fn write_points(&mut self) -> Result<(), HistoryError> {
        let mut waiting = self.shared.buffer.lock().len();
        while waiting > 0 {
            let written = self.write_some().await?;
            if written == 0 {
                return Ok(());
            }
            waiting = waiting.saturating_sub(written);
        }
        Ok(())
    }

    /// Writes a group of points and returns their number.
    pub(super) async fn write_some(&mut self) -> Result<usize, HistoryError> {
        let group = self.shared.buffer.lock().begin_writing(GROUP);
        let result = self.write(&group).await;
        self.shared.buffer.lock().end_writing(result.is_ok());
        match &result {
            Ok(()) => self.notices.recovered().await,
            Err(_) => self.notices.degraded().await,
        }
        result.map(|()| group.len())
    }

    async fn write(&mut self, group: &[Waiting]) -> Result<(), HistoryError> {
        self.resolve_series(group).await?;
        let oldest = self.upkeep.forget_before()[0];
        let mut points: Vec<Point> = {
            let buffer = self.shared.buffer.lock();
            let kept = group.iter().filter(|waiting| waiting.at >= oldest);
            kept.filter_map(|waiting| {
                let series = buffer.id_of(waiting)?;
                Some(Point { series, at: waiting.at, value: waiting.value })
            })
            .collect()
        };
        // Sorted by series; the sort is stable, so of two points of one time the later stays the later.
        points.sort_by_key(|point| (point.series, point.at));
        self.write_sorted(&points).await
    }

    /// Asks the store for the ids of the series in `group` that have none.
    async fn resolve_series(&mut self, group: &[Waiting]) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let unresolved = shared.buffer.lock().unresolved_series(group);
        let mut parts: Vec<_> = unresolved.chunks(BATCH).collect();
        while let Some(names) = parts.pop() {
            let asked = names.iter().map(|(_, name)| name.clone()).collect();
            let ids = self
                .notices
                .with_degraded_notice(shared.store.series(&shared.tenant, asked, shared.config.series_limits()))
                .await;
            let ids = match ids {
                Err(HistoryError::Store(StoreError::Refused)) if names.len() > 1 => {
                    parts.extend(halves(names));
                    continue;
                }
                Err(HistoryError::Store(StoreError::Refused)) => {
                    tracing::warn!(tenant = &*shared.tenant, name = ?names[0].1, "the store refuses a series; its points are lost");
                    vec![None]
                }
                ids => ids?,
            };
            let mut buffer = shared.buffer.lock();
            names.iter().zip(ids).for_each(|((series, _), id)| buffer.set_id(*series, id));
        }
        Ok(())
    }

    /// Writes points, sorted by series, in batches.
    async fn write_sorted(&mut self, points: &[Point]) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let mut parts: Vec<_> = points.chunks(BATCH).collect();
        while let Some(batch) = parts.pop() {
            let begun = Instant::now();
            match self
                .notices
                .with_degraded_notice(shared.store.write(&shared.tenant, batch.to_vec(), &shared.calendar))
                .await
            {
                Err(HistoryError::Store(StoreError::Refused)) if batch.len() > 1 => {
                    parts.extend(halves(batch));
                    continue;
                }
                Err(HistoryError::Store(StoreError::Refused)) => {
                    tracing::warn!(tenant = &*shared.tenant, point = ?batch[0], "the store refuses a point; it is lost");
                    shared.counters.history.refused_by_store.inc();
                    continue;
                }
                result => result?,
            }
            shared.counters.history.write_latency.observe(begun.elapsed(), 1);
            shared.counters.history.written.add(batch.len() as u64);
        }
        Ok(())
    }
}

/// Splits a batch that the store refused, so that only the items which it does not accept are lost.
fn halves<T>(all: &[T]) -> [&[T]; 2] {
    let (left, right) = all.split_at(all.len() / 2);
    [right, left]
}
