//! Handle of one tenant's history: queries of the store and of the points that are not stored yet.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    Bucket, Calendar, HistoryConfig, HistoryError, HistoryStore, Level, Query, QueryResult, Question, Track,
    bucket::fold_by,
    config::ms,
    query::{AUTO, MAX_BUCKETS, MAX_FIELDS},
    recorder::Recorder,
    restored,
    shared::Shared,
    write_buffer::WriteBuffer,
};
use crate::service::{ServiceError, in_time};
use tricast_core::{
    channel::{Channel, ChannelKind},
    clock::Clock,
    counters::Counters,
    log::Log,
    reading::Restored,
    snapshot::SNAPSHOT,
};

/// Longest time that the start of a tenant waits for its last values.
const RESTORE_DEADLINE: Duration = Duration::from_secs(2);

/// Longest time that the end of a channel waits for the store.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Longest time that a query, or the end of the recorder, may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest number of queries of one tenant that run at once; more wait.
const AT_ONCE: usize = 8;

/// Time after the end of a bucket within which it may still get a point.
const SETTLING: Duration = Duration::from_secs(60);

/// Number of fields from which on they are read in two parts.
const MANY_FIELDS: usize = 32;

/// Number of rows from which on folding does not run on a worker.
const MANY: usize = 5_000;

/// Recorded history of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
}

impl History {
    /// Creates the history that `store` has of `tenant`. Nothing is recorded until the caller runs the returned
    /// [`Recorder`].
    pub fn new(
        tenant: &str,
        config: HistoryConfig,
        store: Arc<dyn HistoryStore>,
        log: Arc<Log>,
        clock: Clock,
        zone: TimeZone,
        counters: Arc<Counters>,
    ) -> (Self, Recorder) {
        let shared = Arc::new(Shared {
            tenant: tenant.into(),
            buffer: Mutex::new(WriteBuffer::new(&config)),
            config,
            store,
            log,
            clock,
            calendar: Calendar::new(zone),
            counters,
            wake: Notify::new(),
            flush: Notify::new(),
            ends_stored: watch::Sender::new(0),
            ending: watch::Sender::new(false),
            ended: watch::Sender::new(!config.enabled),
            lag_ms: 0.into(),
            bytes: 0.into(),
            raw_kept_s: config.raw.0.as_secs().into(),
            queries: Semaphore::new(AT_ONCE),
        });
        (Self { shared: Arc::clone(&shared) }, Recorder::new(shared))
    }

    /// Records the last values of the log, writes all points, and ends the recorder; gives up after some seconds.
    pub async fn finish(&self) {
        let mut ended = self.shared.ended.subscribe();
        self.shared.ending.send_replace(true);
        if tokio::time::timeout(DEADLINE, ended.wait_for(|ended| *ended)).await.is_err() {
            let points = self.shared.buffer.lock().len();
            tracing::error!(
                tenant = &*self.shared.tenant,
                points,
                "the store did not accept the last points in time: they are lost"
            );
        }
    }

    /// Runs a query.
    ///
    /// # Errors
    /// [`HistoryError::Invalid`], [`HistoryError::NotFound`], [`HistoryError::Disabled`], [`HistoryError::Store`], and
    /// [`HistoryError::Service`] when the store does not answer in time.
    pub async fn ask(&self, question: Question) -> Result<QueryResult, HistoryError> {
        in_time(DEADLINE, self.answer(question)).await
    }

    /// Returns the history of several channels: for each the given time span, up to but not including the time at which
    /// its live values begin. A channel without history is left out.
    ///
    /// # Errors
    /// Those of [`History::ask`].
    pub async fn backfill(&self, channels: Vec<(Channel, Duration, i64)>) -> Result<Vec<QueryResult>, HistoryError> {
        let now = self.shared.clock.now().as_millisecond();
        in_time(DEADLINE, async {
            let mut results = Vec::with_capacity(channels.len());
            for (channel, span, to) in channels {
                // A value that is older than the span has no history to send.
                let from = now.saturating_sub(ms(span)).min(to.saturating_sub(1));
                let question = Question { channel, fields: None, from, to, level: None, fixed: false };
                match self.answer(question).await {
                    Ok(result) => results.push(result),
                    Err(HistoryError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(results)
        })
        .await
    }

    /// Returns the numeric fields of the last value of each channel, oldest first. Empty if nothing is recorded.
    ///
    /// # Errors
    /// [`HistoryError::Service`] when the store does not answer within 2 s, [`HistoryError::Store`].
    pub async fn last_values(&self) -> Result<Vec<Restored>, HistoryError> {
        let Shared { config, store, tenant, .. } = &*self.shared;
        if !config.enabled {
            return Ok(Vec::new());
        }
        let most = if config.max_series == 0 { usize::MAX } else { config.max_series };
        let newest = tokio::time::timeout(RESTORE_DEADLINE, store.newest(tenant, most)).await;
        Ok(restored::values(newest.map_err(|_| ServiceError::TimedOut)??))
    }

    /// Waits until the store has all ends of channels up to `offset` of the log, so that no restart restores these channels.
    /// Returns false if the store does not accept them within 2 s; they are stored later.
    pub async fn has_stored_ends(&self, offset: u64) -> bool {
        let Shared { config, flush, ends_stored, .. } = &*self.shared;
        if !config.enabled {
            return true;
        }
        let mut stored = ends_stored.subscribe();
        flush.notify_one();
        tokio::time::timeout(END_DEADLINE, stored.wait_for(|stored| *stored >= offset)).await.is_ok_and(|to| to.is_ok())
    }

    /// Returns the number of points that wait for the store.
    pub fn waiting(&self) -> usize {
        self.shared.buffer.lock().len()
    }

    /// Returns the size of the store in bytes, for all tenants, when it was last measured.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Returns the current retention of points; zero means for ever.
    pub fn points_kept(&self) -> Duration {
        Duration::from_secs(self.shared.raw_kept_s.load(Ordering::Relaxed))
    }

    /// Returns the number of series that this process has recorded.
    pub fn series(&self) -> usize {
        self.shared.buffer.lock().series()
    }

    /// Returns the delay of the roll-up by minute; some seconds are normal.
    pub fn lag(&self) -> Duration {
        let ms = self.shared.lag_ms.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    async fn answer(&self, question: Question) -> Result<QueryResult, HistoryError> {
        let shared = &self.shared;
        if !shared.config.enabled {
            return Err(HistoryError::Disabled);
        }
        let Question { channel, .. } = &question;
        let kind = shared.log.kind(channel);
        if channel.as_str() == SNAPSHOT {
            let detail = "channel: the snapshot is recorded by its sections: query metrics.api and the others";
            return Err(HistoryError::Invalid(detail.into()));
        }
        if kind == Some(ChannelKind::Event) {
            return Err(HistoryError::Invalid(format!("channel: {channel} is an event channel, which has no history")));
        }
        let levels = question.levels(&shared.calendar)?;
        // The semaphore is never closed.
        let _permit = shared.queries.acquire().await.map_err(|_| ServiceError::Stopped)?;
        let (fields, question) = match &question.fields {
            Some(fields) => (fields.len(), question.clone()),
            None => {
                let fields = self.fields_of(channel).await?;
                let count = fields.len();
                // By name, so that a long response can be read in parts.
                let named = (count >= MANY_FIELDS).then_some(fields);
                (count, Question { fields: named, ..question.clone() })
            }
        };
        let channel = &question.channel;
        if fields > MAX_FIELDS {
            return Err(HistoryError::Invalid(format!("field: {channel} has {fields}, name at most {MAX_FIELDS}")));
        }
        if fields == 0 && kind.is_none() {
            return Err(HistoryError::NotFound(channel.to_string()));
        }
        let coarsest = levels.last().copied();
        for level in levels {
            match self.query_level(&question, level, fields).await? {
                Some(result) if kind.is_none() && result.fields.is_empty() => {
                    return Err(HistoryError::NotFound(result.channel.to_string()));
                }
                Some(result) if question.level.is_some() || result.fields.iter().all(|(_, b)| b.len() <= AUTO) => {
                    return Ok(result);
                }
                // No coarser level is left.
                Some(result) if Some(level) == coarsest => return Ok(result),
                _ => {}
            }
        }
        Err(HistoryError::Invalid(format!("the response would have more than {MAX_BUCKETS} buckets: query less")))
    }

    /// Returns the known fields of `channel`.
    async fn fields_of(&self, channel: &Channel) -> Result<Vec<Box<str>>, HistoryError> {
        let recorded = self.shared.buffer.lock().of_channel(channel, i64::MAX);
        let query =
            Query { channel: channel.clone(), fields: None, level: Level::Raw, from: 0, ends: [0; 4], limit: 0 };
        let stored = self.shared.store.read(&self.shared.tenant, query).await?;
        let mut fields: Vec<_> = stored.into_iter().map(|track| track.field).chain(recorded.into_keys()).collect();
        fields.sort_unstable();
        fields.dedup();
        Ok(fields)
    }

    /// Returns the result by one level; `None` if it has too many rows.
    async fn query_level(
        &self,
        question: &Question,
        level: Level,
        fields: usize,
    ) -> Result<Option<QueryResult>, HistoryError> {
        let Shared { calendar, buffer, store, tenant, clock, .. } = &*self.shared;
        let (from, to) = (calendar.start(level, question.from), question.to);
        // The buffer is read first, then the store: a point that moves from the one to the other in between is seen
        // twice and returned once.
        let recorded = buffer.lock().of_channel(&question.channel, to);
        let limit = match (level, question.level) {
            (Level::Raw, None) => AUTO,
            _ => MAX_BUCKETS / fields.max(1),
        };
        let ends = Level::ALL.map(|level| if level == Level::Raw { to } else { calendar.start(level, to) });
        let channel = question.channel.clone();
        let query = Query { channel, fields: question.fields.clone(), level, from, ends, limit };
        let tracks = read_by_parts(&**store, tenant, query).await?;
        if tracks.iter().any(|track| track.cut) {
            return Ok(None);
        }
        let wanted = |field: &str| question.fields.as_ref().is_none_or(|fields| fields.iter().any(|f| **f == *field));
        let recorded = recorded.into_iter().filter(|(field, _)| wanted(field)).collect();
        let rows: usize = tracks.iter().map(|track| track.rows.len()).sum();
        let rules = calendar.clone();
        let merge = move || merge(tracks, recorded, from, level, &rules);
        let fields = if rows > MANY {
            tokio::task::spawn_blocking(merge).await.map_err(|_| ServiceError::Stopped)?
        } else {
            merge()
        };
        let now = clock.now().as_millisecond();
        let closed = question.fixed && calendar.bucket(level, to - 1).end.saturating_add(ms(SETTLING)) <= now;
        Ok(Some(QueryResult { channel: question.channel.clone(), level, from, to, fields, closed }))
    }
}

/// Reads tracks; with many fields in two parts at the same time, because most of the work is the reader's. Each series
/// is consistent by itself, so the parts need not be of one moment.
async fn read_by_parts(store: &dyn HistoryStore, tenant: &str, query: Query) -> Result<Vec<Track>, HistoryError> {
    let Some(fields) = query.fields.as_ref().filter(|fields| fields.len() >= MANY_FIELDS) else {
        return store.read(tenant, query).await;
    };
    let (one, other) = fields.split_at(fields.len() / 2);
    let part = |fields: &[Box<str>]| Query { fields: Some(fields.to_vec()), ..query.clone() };
    let (one, other) = tokio::try_join!(store.read(tenant, part(one)), store.read(tenant, part(other)))?;
    Ok(one.into_iter().chain(other).collect())
}

/// Merges stored rows and buffered points into the buckets of each field, in the order of names.
fn merge(
    tracks: Vec<Track>,
    mut recorded: HashMap<Box<str>, Vec<Bucket>>,
    from: i64,
    level: Level,
    calendar: &Calendar,
) -> Vec<(Box<str>, Vec<Bucket>)> {
    let mut fields: Vec<(Box<str>, Vec<Bucket>)> = Vec::with_capacity(tracks.len());
    // Rolled-up rows of all fields have the same times, and the start of an hour or a day is a lookup in the zone.
    let mut spans = HashMap::new();
    let mut span = |at: i64| match level {
        Level::Raw | Level::Minute => calendar.bucket(level, at),
        Level::Hour | Level::Day => *spans.entry(at).or_insert_with(|| calendar.bucket(level, at)),
    };
    for Track { field, mut rows, points_from, .. } in tracks {
        if let Some(points) = recorded.remove(&field) {
            // Earlier points are in rolled-up rows by now.
            rows.extend(points.into_iter().filter(|point| point.at >= points_from));
            in_order(&mut rows);
        }
        fields.push((field, fold_by(rows, &mut span)));
    }
    for (field, mut points) in recorded {
        points.retain(|point| point.at >= from);
        in_order(&mut points);
        fields.push((field, fold_by(points, &mut span)));
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// Sorts by time; of two points of one time the later one stays.
fn in_order(rows: &mut Vec<Bucket>) {
    rows.sort_by_key(|row| row.at);
    rows.dedup_by(|later, earlier| {
        let same = later.at == earlier.at && (later.count, earlier.count) == (1, 1);
        if same {
            *earlier = *later;
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: &[(i64, f64)]) -> Vec<Bucket> {
        points.iter().map(|(at, value)| Bucket::of_point(*at, *value)).collect()
    }

    fn merged(tracks: Vec<Track>, recorded: &[(&str, &[(i64, f64)])]) -> Vec<(Box<str>, Vec<Bucket>)> {
        let recorded = recorded.iter().map(|(field, of)| ((*field).into(), points(of))).collect();
        merge(tracks, recorded, 100, Level::Raw, &Calendar::new(TimeZone::UTC))
    }

    fn track(field: &str, of: &[(i64, f64)], points_from: i64) -> Track {
        Track { field: field.into(), rows: points(of), points_from, cut: false }
    }

    #[test]
    fn stored_and_recorded_points_are_returned_once_and_in_order() {
        let stored = track("b", &[(100, 1.0), (110, 2.0), (130, 3.0)], 0);
        let fields = merged(vec![stored], &[("b", &[(130, 4.0), (120, 5.0)]), ("a", &[(99, 6.0), (100, 7.0)])]);
        let expected = [("a", points(&[(100, 7.0)])), ("b", points(&[(100, 1.0), (110, 2.0), (120, 5.0), (130, 4.0)]))];
        assert_eq!(fields, expected.map(|(field, points)| (field.into(), points)), "by name; the later value counts");
    }

    #[test]
    fn a_recorded_point_that_is_in_a_rolled_row_is_not_counted_again() {
        let fields = merged(vec![track("a", &[(100, 1.0)], 120)], &[("a", &[(119, 2.0), (120, 3.0)])]);
        assert_eq!(fields, [("a".into(), points(&[(100, 1.0), (120, 3.0)]))]);
    }
}
