//! Recorder: a reader of one tenant's log that writes points into the store.
//!
//! It has two halves: the listener reads the log and never waits for the store; the writer writes. Between them is the
//! [`WriteBuffer`](super::write_buffer::WriteBuffer), which is bounded. When the store hangs, `degraded` is published
//! on `system` once, and `recovered` at the end, with the number of points that did not fit.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Forget, HistoryConfig, HistoryError, Level, Point, RollUp, SeriesId, StoreFuture,
    config::ms,
    pressure::Pressure,
    shared::Shared,
    write_buffer::{Ends, Lost},
};
use crate::{service::StoreError, sources};
use tricast_core::{
    aggregator::AggregatorHandle,
    publication::Publication,
    snapshot::{SNAPSHOT, View},
};

/// Number of channels that are taken under one lock.
const CHUNK: usize = 256;

/// Time for which points are gathered before they are written. A series' points of that time lie side by side in a
/// file, so a longer time means less writing; a crash loses that much history.
const GATHER: Duration = Duration::from_secs(5);

/// Number of points that are written at once, and from which on the writer does not wait.
const GROUP: usize = 20_000;

/// Points of one transaction. The same thread writes orders: this takes some milliseconds.
const BATCH: usize = 2_000;

/// Rows of one step of rolling up or deleting, for the same reason.
const STEP: usize = 2_000;

/// Interval of roll-ups.
const ROLL_UP: Duration = Duration::from_secs(5);

/// Interval of releasing names of series.
const RELEASE: Duration = Duration::from_secs(60);

/// Time without a point after which the name of a series is released. Asking the store for its id again costs little.
const IDLE: Duration = Duration::from_secs(3_600);

/// Interval of deleting old rows.
const FORGET: Duration = Duration::from_secs(600);

/// Interval of deleting while the store is larger than it may be.
const FORGET_UNDER_PRESSURE: Duration = Duration::from_secs(60);

/// Time without a point beyond the rate after which `recovered` is published.
const CALM: Duration = Duration::from_secs(60);

/// Time after the end of a minute within which it may still get a point.
const SETTLING: Duration = Duration::from_secs(2);

/// Time for one batch after which the store is considered to hang.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Time for which a node keeps points that another node writes, until it surely has.
const OVERLAP: Duration = Duration::from_secs(60);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Task that records one tenant's history.
pub struct Recorder {
    shared: Arc<Shared>,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads the log and writes the store until [`History::finish`](super::History::finish) is called. Returns at once if
    /// history is disabled.
    pub async fn run(self, aggregator: AggregatorHandle) {
        let Self { shared } = self;
        if !shared.config.enabled {
            return;
        }
        let mut ending = shared.ending.subscribe();
        let mut listener = Listener { shared: Arc::clone(&shared), seen: 0, lost: Lost::default() };
        let mut writer = Writer::new(Arc::clone(&shared), aggregator);
        tokio::select! {
            () = listener.run() => {}
            () = writer.run() => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        // A write that was interrupted is repeated: the result is the same.
        shared.buffer.lock().end_writing(false);
        listener.take();
        shared.buffer.lock().close_all();
        if !writer.wrote {
            shared.buffer.lock().discard_before(i64::MAX);
        }
        while shared.buffer.lock().len() > 0 {
            if writer.write_some().await.is_err() {
                sleep(RETRY).await;
            }
        }
        if writer.wrote {
            let ends = shared.buffer.lock().take_ends();
            if writer.write_ends(&ends).await.is_err() {
                tracing::warn!(
                    tenant = &*shared.tenant,
                    "cannot store the ends of channels: the last ended ones may exist again after a restart"
                );
            }
        }
        shared.ended.send_replace(true);
    }
}

/// Half of the recorder that reads the log.
struct Listener {
    shared: Arc<Shared>,
    /// Offset up to which the log is read.
    seen: u64,
    /// Lost points that are counted already.
    lost: Lost,
}

impl Listener {
    async fn run(&mut self) {
        let mut changed = self.shared.log.watch();
        let resolution = self.shared.config.resolution;
        // Within its span only the last version counts: not every one has to be read.
        let rest = (resolution / 20).min(Duration::from_millis(50));
        let mut is_asked = false;
        loop {
            self.take();
            if is_asked || self.shared.buffer.lock().len() >= GROUP {
                self.shared.wake.notify_one();
            }
            let flush = self.shared.flush.notified();
            tokio::pin!(flush);
            is_asked = tokio::select! {
                result = changed.changed() => {
                    if result.is_err() {
                        return std::future::pending().await;
                    }
                    timeout(rest, &mut flush).await.is_ok()
                }
                // Wakes up for the last version of a span that no other follows.
                () = sleep(resolution.max(Duration::from_millis(100))) => false,
                () = &mut flush => true,
            };
            changed.borrow_and_update();
        }
    }

    fn take(&mut self) {
        let Shared { log, clock, buffer, .. } = &*self.shared;
        let head = log.head();
        let states = log.states_after(self.seen, self.seen, View::Full, |channel| channel.as_str() != SNAPSHOT);
        self.seen = states.last().map_or(self.seen, |newest| newest.offset);
        // In chunks, so that queries can read the buffer in between.
        for states in states.chunks(CHUNK) {
            let mut buffer = buffer.lock();
            // Restored values are in the store already.
            let new = |state: &&Arc<Publication>| state.timestamp.as_millisecond() >= 0 && !state.is_restored();
            for state in states.iter().filter(new) {
                match state.gone {
                    Some(_) => buffer.end(&state.channel, state.timestamp.as_millisecond()),
                    None => buffer.take(Arc::clone(state)),
                }
            }
        }
        buffer.lock().read_to(head);
        if states.iter().any(|state| state.gone.is_some()) {
            // Otherwise a restart in between would restore the channels.
            self.shared.wake.notify_one();
        }
        let now = clock.now().as_millisecond();
        while buffer.lock().close_spans(now, CHUNK) {}
        let lost = buffer.lock().lost();
        let counters = &self.shared.counters.history;
        counters.dropped.add(lost.dropped - self.lost.dropped);
        counters.refused.add(lost.refused - self.lost.refused);
        counters.beyond.add(lost.beyond - self.lost.beyond);
        self.lost = lost;
    }
}

/// Half of the recorder that writes, rolls up and deletes.
struct Writer {
    shared: Arc<Shared>,
    aggregator: AggregatorHandle,
    /// Whether `degraded` was published.
    trouble: bool,
    /// Number of dropped points when it was published.
    lost_before: u64,
    /// Retention of each level.
    pressure: Pressure,
    /// Points beyond the rate, as of the last check.
    beyond: u64,
    /// While a rate limit is announced: number of points beyond the rate before, and when it ends.
    limited: Option<(u64, Instant)>,
    /// Whether this process wrote, as of the last check.
    wrote: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>, aggregator: AggregatorHandle) -> Self {
        let pressure = Pressure::new(shared.config.keep);
        Self { shared, aggregator, trouble: false, lost_before: 0, pressure, beyond: 0, limited: None, wrote: true }
    }

    async fn run(&mut self) {
        let (mut roll_up, mut forget, mut release) = (Instant::now(), Instant::now(), Instant::now());
        let mut rolled = [i64::MIN; 3];
        loop {
            let wake = Arc::clone(&self.shared);
            tokio::select! {
                () = sleep(GATHER.min(ROLL_UP)) => {}
                () = wake.wake.notified() => {}
            }
            self.report_rate().await;
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
                // A failed step is repeated in the next turn, from where it stopped.
                if self.roll_up(&mut rolled).await.is_err() {
                    rolled = [i64::MIN; 3];
                }
                roll_up = now + ROLL_UP;
            }
            if now >= forget {
                self.limit_size().await;
                drop(self.forget().await);
                forget = now + if self.pressure.is_on() { FORGET_UNDER_PRESSURE } else { FORGET };
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

    async fn write_ends(&mut self, ends: &Ends) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        for channels in ends.channels.chunks(BATCH) {
            self.with_degraded_notice(shared.store.end(&shared.tenant, channels.to_vec())).await?;
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
    async fn write_some(&mut self) -> Result<usize, HistoryError> {
        let group = self.shared.buffer.lock().begin_writing(GROUP);
        let result = self.write(&group).await;
        self.shared.buffer.lock().end_writing(result.is_ok());
        match &result {
            Ok(()) => self.recovered().await,
            Err(_) => self.degraded().await,
        }
        result.map(|()| group.len())
    }

    async fn write(&mut self, group: &[super::write_buffer::Waiting]) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let unresolved = shared.buffer.lock().unresolved_series(group);
        let mut parts: Vec<_> = unresolved.chunks(BATCH).collect();
        while let Some(names) = parts.pop() {
            let asked = names.iter().map(|(_, name)| name.clone()).collect();
            let ids =
                self.with_degraded_notice(shared.store.series(&shared.tenant, asked, shared.config.max_series)).await;
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
        let oldest = self.forget_before()[0];
        let mut points: Vec<Point> = {
            let buffer = shared.buffer.lock();
            let kept = group.iter().filter(|waiting| waiting.at >= oldest);
            kept.filter_map(|waiting| {
                let series = buffer.id_of(waiting)?;
                Some(Point { series, at: waiting.at, value: waiting.value })
            })
            .collect()
        };
        // Sorted by series; the sort is stable, so of two points of one time the later stays the later.
        points.sort_by_key(|point| (point.series, point.at));
        let mut parts: Vec<_> = points.chunks(BATCH).collect();
        while let Some(batch) = parts.pop() {
            let begun = Instant::now();
            match self.with_degraded_notice(shared.store.write(&shared.tenant, batch.to_vec(), &shared.calendar)).await
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

    /// Waits for the store, and publishes `degraded` when that takes long.
    async fn with_degraded_notice<T>(&mut self, mut answer: StoreFuture<T>) -> Result<T, HistoryError> {
        if let Ok(result) = timeout(STANDSTILL, &mut answer).await {
            return result;
        }
        self.degraded().await;
        answer.await
    }

    async fn roll_up(&mut self, rolled: &mut [i64; 3]) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now().as_millisecond();
        let settled = now.saturating_sub(ms(SETTLING));
        let settled = shared.buffer.lock().oldest().map_or(settled, |oldest| oldest.min(settled));
        for (level, rolled) in Level::ROLLED.into_iter().zip(rolled) {
            let through = shared.calendar.start(level, settled);
            // Also back, by a clock that was set: late points are rolled up again.
            if through == *rolled {
                continue;
            }
            let mut after = SeriesId::default();
            loop {
                let step = RollUp { level, through, calendar: shared.calendar.clone(), after, rows: STEP };
                let begun = Instant::now();
                let progress = self.with_degraded_notice(shared.store.roll_up(&shared.tenant, step)).await?;
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

    async fn forget(&mut self) -> Result<(), HistoryError> {
        let shared = Arc::clone(&self.shared);
        let before = self.forget_before();
        let mut after = SeriesId::default();
        loop {
            let step = Forget { before, after, rows: STEP };
            let progress = self.with_degraded_notice(shared.store.forget(&shared.tenant, step)).await?;
            if progress.gone > 0 {
                shared.buffer.lock().forget_ids();
            }
            match progress.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    fn forget_before(&self) -> [i64; 4] {
        let now = self.shared.clock.now().as_millisecond();
        HistoryConfig::forget_before(self.pressure.keep(), now, &self.shared.calendar)
    }

    /// Keeps the store within its size, by one step per check.
    async fn limit_size(&mut self) {
        let shared = &self.shared;
        // An unknown size is known at the next check.
        let Ok(Some(bytes)) = shared.store.bytes().await else { return };
        shared.bytes.store(bytes, Ordering::Relaxed);
        let was_on = self.pressure.is_on();
        self.pressure.adapt(bytes, shared.config.max_bytes);
        let kept = self.pressure.keep()[Level::Raw as usize];
        shared.raw_kept_s.store(kept.as_secs(), Ordering::Relaxed);
        if self.pressure.is_on() && !was_on {
            let (tenant, max_bytes) = (&*shared.tenant, shared.config.max_bytes);
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

    /// Publishes when points are not recorded because there are too many per second, and when that is over.
    async fn report_rate(&mut self) {
        let beyond = self.shared.buffer.lock().lost().beyond;
        let before = std::mem::replace(&mut self.beyond, beyond);
        let (now, tenant) = (Instant::now(), &*self.shared.tenant);
        match self.limited {
            None if beyond > before => {
                tracing::warn!(tenant, "history.max_points_per_second is reached: some points are not recorded");
                self.limited = Some((before, now + CALM));
                let details = json!({"reason": "history_limit", "setting": "history.max_points_per_second"});
                // Fails when the server is shutting down.
                let _ = sources::announce(&self.aggregator, "degraded", details).await;
            }
            Some((first, _)) if beyond > before => self.limited = Some((first, now + CALM)),
            Some((first, until)) if now >= until => {
                let dropped = beyond - first;
                tracing::info!(tenant, dropped, "all points are recorded again");
                self.limited = None;
                let _ = sources::announce(
                    &self.aggregator,
                    "recovered",
                    json!({"reason": "history_limit", "dropped": dropped}),
                )
                .await;
            }
            _ => {}
        }
    }

    async fn degraded(&mut self) {
        if !std::mem::replace(&mut self.trouble, true) {
            self.lost_before = self.shared.buffer.lock().lost().dropped;
            tracing::error!(tenant = &*self.shared.tenant, "the store does not accept points: they are kept in memory");
            // Fails when the server is shutting down.
            let _ = sources::announce(&self.aggregator, "degraded", json!({"reason": "history"})).await;
        }
    }

    async fn recovered(&mut self) {
        if std::mem::take(&mut self.trouble) {
            let dropped = self.shared.buffer.lock().lost().dropped - self.lost_before;
            tracing::info!(tenant = &*self.shared.tenant, dropped, "the store accepts points again");
            let details = json!({"reason": "history", "dropped": dropped});
            let _ = sources::announce(&self.aggregator, "recovered", details).await;
        }
    }
}

/// Splits a batch that the store refused, so that only the items which it does not accept are lost.
fn halves<T>(all: &[T]) -> [&[T]; 2] {
    let (left, right) = all.split_at(all.len() / 2);
    [right, left]
}
