//! Points, roll-ups and their series in PostgreSQL.
//!
//! Writing points of a series, rolling it up and deleting from it lock its row first, so that nodes do this one after
//! the other; several rows are locked in the order of their ids. A roll-up that another node has made finds nothing to
//! do.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use deadpool_postgres::{Client, Transaction};
use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::{IsolationLevel, Row};

use super::{Abort, PostgresStore, lock_tenant, tenant, tenant_or_new};
use crate::activity::Kind;
use tricast_core::channel::Channel;
use tricast_domain::history::{
    Bucket, Calendar, Choice, Forget, HistoryError, HistoryStore, Level, Newest, Point, Portion, Progress, Query,
    RollUp, RolledUp, SeriesId, SeriesName, StoreFuture, Track,
};

/// Largest number of series in one step: their rows are locked meanwhile.
const SERIES_OF_A_STEP: usize = 100;

/// Days for which the row of an empty series is kept: nodes that still know its id may write a point.
const KEPT_EMPTY_DAYS: i64 = 30;

impl HistoryStore for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn series(&self, tenant: &str, names: Vec<SeriesName>, max: usize) -> StoreFuture<Vec<Option<SeriesId>>> {
        self.change_history(tenant, move |client, tenant| Box::pin(series(client, tenant, names, max)))
    }

    fn write(&self, tenant: &str, points: Vec<Point>, calendar: &Calendar) -> StoreFuture<()> {
        let calendar = calendar.clone();
        self.change_history(tenant, move |client, tenant| Box::pin(write(client, tenant, points, calendar)))
    }

    fn read(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Track>> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| Box::pin(read(client, tenant, query)))
    }

    fn bytes(&self) -> StoreFuture<Option<u64>> {
        self.read_on_pool(Kind::Read, |client| Box::pin(bytes(client)))
    }

    fn end(&self, tenant: &str, ends: Vec<(Channel, i64)>) -> StoreFuture<()> {
        self.change_history(tenant, move |client, tenant| Box::pin(end(client, tenant, ends)))
    }

    fn newest(&self, tenant: &str, max: usize) -> StoreFuture<Vec<Newest>> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| Box::pin(newest(client, tenant, max)))
    }

    fn roll_up(&self, tenant: &str, step: RollUp) -> StoreFuture<Progress> {
        self.change_history(tenant, move |client, tenant| Box::pin(roll_up(client, tenant, step)))
    }

    fn forget(&self, tenant: &str, step: Forget) -> StoreFuture<Progress> {
        self.change_history(tenant, move |client, tenant| Box::pin(forget(client, tenant, step)))
    }
}

/// Estimated from the live rows: tables do not shrink when rows are deleted, but their space is used again.
async fn bytes(client: &mut Client) -> Result<Option<u64>, Abort<HistoryError>> {
    let select = client
        .prepare_cached(
            "SELECT sum(CASE relname WHEN 'tricast_history_points' THEN 90 ELSE 150 END * n_live_tup)::bigint \
             FROM pg_stat_user_tables WHERE relid IN (to_regclass('tricast_history_points'), \
             to_regclass('tricast_history_rollups'))",
        )
        .await?;
    let bytes: Option<i64> = client.query_one(&select, &[]).await?.get(0);
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()))
}

async fn end(client: &mut Client, tenant: String, ends: Vec<(Channel, i64)>) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(()) };
    let update = client
        .prepare_cached(
            "UPDATE tricast_history_series SET ended_ms = ended.at \
             FROM unnest($2::text[], $3::bigint[]) AS ended (channel, at) \
             WHERE tenant = $1 AND tricast_history_series.channel = ended.channel",
        )
        .await?;
    let (channels, times): (Vec<_>, Vec<_>) = ends.iter().map(|(channel, at)| (channel.as_str(), *at)).unzip();
    client.execute(&update, &[&tenant, &channels, &times]).await?;
    Ok(())
}

async fn newest(client: &mut Client, tenant: String, max: usize) -> Result<Vec<Newest>, Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(Vec::new()) };
    let select = client
        .prepare_cached(
            "SELECT channel, field, coalesce(point.at, minute.at), coalesce(point.value, minute.last) \
             FROM tricast_history_series series \
             LEFT JOIN LATERAL (SELECT at, value FROM tricast_history_points WHERE series = series.id \
                                ORDER BY at DESC LIMIT 1) point ON true \
             LEFT JOIN LATERAL (SELECT at, last FROM tricast_history_rollups WHERE level = 1 AND series = series.id \
                                AND point.at IS NULL ORDER BY at DESC LIMIT 1) minute ON true \
             WHERE tenant = $1 AND coalesce(point.at, minute.at) IS NOT NULL \
             AND (ended_ms IS NULL OR coalesce(point.at, minute.at) > ended_ms) LIMIT $2",
        )
        .await?;
    let rows = client.query(&select, &[&tenant, &i64::try_from(max).unwrap_or(i64::MAX)]).await?;
    let of_row = |row: &Row| {
        let channel: &str = row.get(0);
        let field: &str = row.get(1);
        // Skips names that an older version accepted and this one does not.
        let name = SeriesName { channel: Channel::parse(channel).ok()?, field: field.into() };
        Some(Newest { name, at: row.get(2), value: row.get(3) })
    };
    Ok(rows.iter().filter_map(of_row).collect())
}

impl PostgresStore {
    fn change_history<T: Send + 'static>(
        &self,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a mut Client, String) -> BoxFuture<'a, Result<T, Abort<HistoryError>>> + Send + 'static,
    ) -> StoreFuture<T> {
        let name = tenant.to_owned();
        self.change("history", tenant, move |client| work(client, name))
    }
}

async fn begin(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await
}

async fn series(
    client: &mut Client,
    tenant: String,
    names: Vec<SeriesName>,
    max: usize,
) -> Result<Vec<Option<SeriesId>>, Abort<HistoryError>> {
    let tenant = tenant_or_new(client, &tenant).await?;
    let channels: Vec<&str> = names.iter().map(|name| name.channel.as_str()).collect();
    let fields: Vec<&str> = names.iter().map(|name| &*name.field).collect();
    let mut known = known_series(client, tenant, &channels, &fields).await?;
    let answer = |known: &HashMap<(String, String), i64>| {
        let id = |(channel, field): (&&str, &&str)| known.get(&((*channel).to_owned(), (*field).to_owned()));
        channels.iter().zip(&fields).map(id).map(|id| id.copied().map(SeriesId)).collect::<Vec<_>>()
    };
    if answer(&known).iter().all(Option::is_some) {
        return Ok(answer(&known));
    }
    let transaction = begin(client).await?;
    // Otherwise two nodes would both take the last free place.
    lock_tenant(&transaction, tenant).await?;
    known = known_series(&transaction, tenant, &channels, &fields).await?;
    let count = transaction
        .prepare_cached("SELECT count(*) FROM tricast_history_series WHERE tenant = $1 AND gone_ms IS NULL")
        .await?;
    let there: i64 = transaction.query_one(&count, &[&tenant]).await?.get(0);
    let room = if max == 0 { usize::MAX } else { max.saturating_sub(there as usize) };
    let mut new: Vec<(&str, &str)> = Vec::new();
    for name in channels.iter().copied().zip(fields.iter().copied()) {
        let missing = !known.contains_key(&(name.0.to_owned(), name.1.to_owned())) && !new.contains(&name);
        if missing && new.len() < room {
            new.push(name);
        }
    }
    if !new.is_empty() {
        let insert = transaction
            .prepare_cached(
                "INSERT INTO tricast_history_series (tenant, channel, field) \
                 SELECT $1, channel, field FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (channel, field, n) \
                 ORDER BY n ON CONFLICT (tenant, channel, field) DO UPDATE SET gone_ms = NULL \
                 RETURNING channel, field, id",
            )
            .await?;
        let (channels, fields): (Vec<&str>, Vec<&str>) = new.into_iter().unzip();
        for row in transaction.query(&insert, &[&tenant, &channels, &fields]).await? {
            known.insert((row.get(0), row.get(1)), row.get(2));
        }
    }
    transaction.commit().await?;
    Ok(answer(&known))
}

async fn known_series(
    client: &impl deadpool_postgres::GenericClient,
    tenant: i64,
    channels: &[&str],
    fields: &[&str],
) -> Result<HashMap<(String, String), i64>, tokio_postgres::Error> {
    let find = client
        .prepare_cached(
            "SELECT channel, field, id FROM tricast_history_series \
             JOIN unnest($2::text[], $3::text[]) AS asked (channel, field) USING (channel, field) \
             WHERE tenant = $1 AND gone_ms IS NULL",
        )
        .await?;
    let rows = client.query(&find, &[&tenant, &channels, &fields]).await?;
    Ok(rows.into_iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

/// Reads a series and how far it is rolled up.
fn series_of(row: &Row) -> (SeriesId, RolledUp) {
    (SeriesId(row.get(0)), RolledUp::new(row.get(1), row.get(2), row.get(3)))
}

async fn write(
    client: &mut Client,
    tenant: String,
    points: Vec<Point>,
    calendar: Calendar,
) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(()) };
    // Of two points of one time the later stays: one statement must not touch a row twice.
    let points: BTreeMap<(i64, i64), f64> =
        points.into_iter().map(|point| ((point.series.0, point.at), point.value)).collect();
    let mut first: BTreeMap<i64, i64> = BTreeMap::new();
    for (series, at) in points.keys() {
        first.entry(*series).or_insert(*at);
    }
    let transaction = begin(client).await?;
    let lock = transaction
        .prepare_cached(
            "SELECT id, minutes_to, hours_to, days_to, gone_ms IS NOT NULL FROM tricast_history_series \
             WHERE id = ANY($1::bigint[]) AND tenant = $2 ORDER BY id FOR NO KEY UPDATE",
        )
        .await?;
    let rows = transaction.query(&lock, &[&first.keys().copied().collect::<Vec<_>>(), &tenant]).await?;
    let mut set_back: (Vec<i64>, [Vec<i64>; 3]) = Default::default();
    let mut ours = Vec::with_capacity(rows.len());
    for row in &rows {
        let (SeriesId(id), rolled) = series_of(row);
        let Some(first) = first.get(&id) else { continue };
        ours.push(id);
        // Whether it was empty, and is now used again.
        let revived: bool = row.get(4);
        if revived || rolled.is_late(*first) {
            set_back.0.push(id);
            let times = rolled.back_to(*first, &calendar);
            set_back.1.iter_mut().zip(times).for_each(|(column, time)| column.push(time));
        }
    }
    let mut columns: (Vec<i64>, Vec<i64>, Vec<f64>) = Default::default();
    for ((series, at), value) in points {
        if ours.binary_search(&series).is_ok() {
            columns.0.push(series);
            columns.1.push(at);
            columns.2.push(value);
        }
    }
    if columns.0.is_empty() {
        return Ok(());
    }
    let insert = transaction
        .prepare_cached(
            "INSERT INTO tricast_history_points (series, at, value) \
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::double precision[]) \
             ON CONFLICT (series, at) DO UPDATE SET value = excluded.value",
        )
        .await?;
    transaction.execute(&insert, &[&columns.0, &columns.1, &columns.2]).await?;
    if !set_back.0.is_empty() {
        let update = transaction
            .prepare_cached(
                "UPDATE tricast_history_series AS s SET minutes_to = n.minutes, hours_to = n.hours, days_to = n.days, \
                 gone_ms = NULL FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) \
                 AS n (id, minutes, hours, days) WHERE s.id = n.id",
            )
            .await?;
        let (ids, [minutes, hours, days]) = &set_back;
        transaction.execute(&update, &[ids, minutes, hours, days]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn read(client: &mut Client, tenant: String, query: Query) -> Result<Vec<Track>, Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(Vec::new()) };
    // One snapshot for all statements, whatever is written meanwhile.
    let snapshot =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let find = snapshot
        .prepare_cached(
            "SELECT id, minutes_to, hours_to, days_to, field FROM tricast_history_series \
             WHERE tenant = $1 AND channel = $2 AND gone_ms IS NULL ORDER BY field",
        )
        .await?;
    let found = snapshot.query(&find, &[&tenant, &query.channel.as_str()]).await?;
    let tracks = found.iter().filter_map(|row| {
        let field: Box<str> = row.get::<_, &str>(4).into();
        let asked = query.fields.as_ref().is_none_or(|fields| fields.contains(&field));
        asked.then(|| track(&snapshot, field, series_of(row), &query))
    });
    // The statements of different series are sent together.
    let tracks = try_join_all(tracks).await?;
    snapshot.commit().await?;
    Ok(tracks)
}

async fn track(
    client: &Transaction<'_>,
    field: Box<str>,
    (id, rolled): (SeriesId, RolledUp),
    query: &Query,
) -> Result<Track, tokio_postgres::Error> {
    // One more than the limit shows whether there are more.
    let most = query.limit.saturating_add(1);
    let (mut rows, mut points_from) = (Vec::new(), query.from);
    for (level, span) in rolled.spans(query) {
        points_from = span.start;
        read_rows(client, id, level, span, most - rows.len(), &mut rows).await?;
    }
    Ok(Track::new(field, rows, points_from, query.limit))
}

/// Appends the rows of a series in `span`, at most `most`.
async fn read_rows(
    client: &Transaction<'_>,
    SeriesId(series): SeriesId,
    level: Level,
    span: Range<i64>,
    most: usize,
    into: &mut Vec<Bucket>,
) -> Result<(), tokio_postgres::Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    if level == Level::Raw {
        let select = client
            .prepare_cached(
                "SELECT at, value FROM tricast_history_points WHERE series = $1 AND at >= $2 AND at < $3 \
                 ORDER BY at LIMIT $4",
            )
            .await?;
        let rows = client.query(&select, &[&series, &span.start, &span.end, &most]).await?;
        into.extend(rows.iter().map(|row| Bucket::of_point(row.get(0), row.get(1))));
        return Ok(());
    }
    let select = client
        .prepare_cached(
            "SELECT at, count, total, min, max, last FROM tricast_history_rollups \
             WHERE level = $1 AND series = $2 AND at >= $3 AND at < $4 ORDER BY at LIMIT $5",
        )
        .await?;
    let rows = client.query(&select, &[&(level as i16), &series, &span.start, &span.end, &most]).await?;
    into.extend(rows.iter().map(|row| Bucket {
        at: row.get(0),
        count: row.get::<_, i64>(1) as u64,
        total: row.get(2),
        min: row.get(3),
        max: row.get(4),
        last: row.get(5),
    }));
    Ok(())
}

/// Locks the series of a step and returns them in the order of their ids, and the one after which the next step begins;
/// `None` if these are the last ones.
async fn series_of_step(
    client: &Transaction<'_>,
    tenant: i64,
    after: SeriesId,
) -> Result<(Vec<(SeriesId, RolledUp)>, Option<SeriesId>), tokio_postgres::Error> {
    let select = client
        .prepare_cached(
            "SELECT id, minutes_to, hours_to, days_to FROM tricast_history_series \
             WHERE tenant = $1 AND id > $2 AND gone_ms IS NULL ORDER BY id LIMIT $3 FOR NO KEY UPDATE",
        )
        .await?;
    let rows = client.query(&select, &[&tenant, &after.0, &(SERIES_OF_A_STEP as i64)]).await?;
    let found: Vec<_> = rows.iter().map(series_of).collect();
    let last = found.last().map(|(id, _)| *id).filter(|_| found.len() == SERIES_OF_A_STEP);
    Ok((found, last))
}

async fn roll_up(client: &mut Client, tenant: String, step: RollUp) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let Some(finer) = step.level.finer() else { return Ok(progress) };
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(progress) };
    let transaction = begin(client).await?;
    let (found, last) = series_of_step(&transaction, tenant, step.after).await?;
    let due = due(&transaction, &found, &step, finer).await?;
    progress.next = last;
    let moves_on = |rolled: RolledUp| step.moves_on(rolled.through(step.level), step.through);
    for (id, rolled) in found.into_iter().filter(|(id, rolled)| due.contains(&id.0) || moves_on(*rolled)) {
        if progress.rows >= step.rows {
            progress.next = Some(id.before());
            break;
        }
        let span = step.span(rolled, finer);
        let portion = portion(&transaction, id, span, &step, finer, step.rows - progress.rows).await?;
        progress.rows += portion.rows.len();
        let Some(buckets) = step.fold(rolled, portion.rows, portion.through) else { continue };
        put_rollups(&transaction, step.level, id.0, &buckets, portion.through).await?;
        if portion.more {
            progress.next = Some(id.before());
            break;
        }
    }
    transaction.commit().await?;
    Ok(progress)
}

/// Returns the series that have rows to roll up. Most often these are few, and the others cost no round trip.
async fn due(
    client: &Transaction<'_>,
    found: &[(SeriesId, RolledUp)],
    step: &RollUp,
    finer: Level,
) -> Result<Vec<i64>, tokio_postgres::Error> {
    let sql = if finer == Level::Raw {
        "SELECT s.id FROM unnest($1::bigint[], $2::bigint[]) AS s (id, rolled_to) WHERE $4::smallint = 0 AND EXISTS \
         (SELECT FROM tricast_history_points AS p WHERE p.series = s.id AND p.at >= s.rolled_to AND p.at < $3)"
    } else {
        "SELECT s.id FROM unnest($1::bigint[], $2::bigint[]) AS s (id, rolled_to) WHERE EXISTS \
         (SELECT FROM tricast_history_rollups AS r WHERE r.level = $4::smallint AND r.series = s.id \
         AND r.at >= s.rolled_to AND r.at < $3)"
    };
    let select = client.prepare_cached(sql).await?;
    let ids: Vec<i64> = found.iter().map(|(id, _)| id.0).collect();
    let rolled_to: Vec<i64> = found.iter().map(|(_, rolled)| rolled.through(step.level)).collect();
    let rows = client.query(&select, &[&ids, &rolled_to, &step.through, &(finer as i16)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn put_rollups(
    client: &Transaction<'_>,
    level: Level,
    series: i64,
    buckets: &[Bucket],
    through: i64,
) -> Result<(), tokio_postgres::Error> {
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_history_rollups (level, series, at, count, total, min, max, last) \
             SELECT $1, $2, * FROM unnest($3::bigint[], $4::bigint[], $5::double precision[], $6::double precision[], \
             $7::double precision[], $8::double precision[]) ON CONFLICT (level, series, at) DO UPDATE SET \
             count = excluded.count, total = excluded.total, min = excluded.min, max = excluded.max, \
             last = excluded.last",
        )
        .await?;
    let set = client
        .prepare_cached(match level {
            Level::Raw | Level::Minute => "UPDATE tricast_history_series SET minutes_to = $2 WHERE id = $1",
            Level::Hour => "UPDATE tricast_history_series SET hours_to = $2 WHERE id = $1",
            Level::Day => "UPDATE tricast_history_series SET days_to = $2 WHERE id = $1",
        })
        .await?;
    let at: Vec<i64> = buckets.iter().map(|bucket| bucket.at).collect();
    let counts: Vec<i64> = buckets.iter().map(|bucket| bucket.count as i64).collect();
    let column = |read: fn(&Bucket) -> f64| buckets.iter().map(read).collect::<Vec<_>>();
    let (total, min) = (column(|bucket| bucket.total), column(|bucket| bucket.min));
    let (max, last) = (column(|bucket| bucket.max), column(|bucket| bucket.last));
    client.execute(&insert, &[&(level as i16), &series, &at, &counts, &total, &min, &max, &last]).await?;
    client.execute(&set, &[&series, &through]).await?;
    Ok(())
}

/// Reads about `most` rows of a series that are to be rolled up, but at least those of one bucket if there are any.
async fn portion(
    client: &Transaction<'_>,
    id: SeriesId,
    span: Range<i64>,
    step: &RollUp,
    finer: Level,
    most: usize,
) -> Result<Portion, tokio_postgres::Error> {
    let mut rows = Vec::new();
    if !span.is_empty() {
        read_rows(client, id, finer, span.clone(), most.saturating_add(1), &mut rows).await?;
    }
    Ok(match step.choose(span, rows, most) {
        Choice::Rows(portion) => portion,
        Choice::Bucket(span) => {
            let (mut rows, through) = (Vec::new(), span.end);
            read_rows(client, id, finer, span, usize::MAX, &mut rows).await?;
            Portion { rows, through, more: true }
        }
    })
}

async fn forget(client: &mut Client, tenant: String, step: Forget) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(progress) };
    let transaction = begin(client).await?;
    let (found, last) = series_of_step(&transaction, tenant, step.after).await?;
    let old = old(&transaction, &found, step).await?;
    let points = transaction
        .prepare_cached(
            "DELETE FROM tricast_history_points WHERE series = $1 AND at IN \
             (SELECT at FROM tricast_history_points WHERE series = $1 AND at < $2 ORDER BY at LIMIT $3)",
        )
        .await?;
    let rollups = transaction
        .prepare_cached(
            "DELETE FROM tricast_history_rollups WHERE level = $1 AND series = $2 AND at IN \
             (SELECT at FROM tricast_history_rollups WHERE level = $1 AND series = $2 AND at < $3 ORDER BY at LIMIT $4)",
        )
        .await?;
    progress.next = last;
    let mut visited = Vec::new();
    'series: for &(id, rolled) in &found {
        for level in Level::ALL {
            if !old.contains(&(id.0, level as i16)) {
                continue;
            }
            let room = step.rows - progress.rows;
            if room == 0 {
                progress.next = Some(id.before());
                break 'series;
            }
            let (before, room) = (step.limit(rolled, level), room as i64);
            let deleted = match level {
                Level::Raw => transaction.execute(&points, &[&id.0, &before, &room]).await?,
                _ => transaction.execute(&rollups, &[&(level as i16), &id.0, &before, &room]).await?,
            };
            progress.rows += deleted as usize;
            if deleted as i64 == room {
                // The series may have more of them.
                progress.next = Some(id.before());
                break 'series;
            }
        }
        visited.push(id.0);
    }
    progress.gone = mark_empty(&transaction, tenant, &visited).await?;
    transaction.commit().await?;
    Ok(progress)
}

/// Returns the series and levels with rows that are too old; most often these are few.
async fn old(
    client: &Transaction<'_>,
    found: &[(SeriesId, RolledUp)],
    step: Forget,
) -> Result<Vec<(i64, i16)>, tokio_postgres::Error> {
    let select = client
        .prepare_cached(
            "SELECT s.id, s.level FROM unnest($1::bigint[], $2::smallint[], $3::bigint[]) AS s (id, level, before) \
             WHERE CASE s.level WHEN 0 \
             THEN EXISTS (SELECT FROM tricast_history_points AS p WHERE p.series = s.id AND p.at < s.before) \
             ELSE EXISTS (SELECT FROM tricast_history_rollups AS r \
                          WHERE r.level = s.level AND r.series = s.id AND r.at < s.before) END",
        )
        .await?;
    let each = || found.iter().flat_map(|(id, rolled)| Level::ALL.map(|level| (id.0, *rolled, level)));
    let ids: Vec<i64> = each().map(|(id, ..)| id).collect();
    let levels: Vec<i16> = each().map(|(_, _, level)| level as i16).collect();
    let before: Vec<i64> = each().map(|(_, rolled, level)| step.limit(rolled, level)).collect();
    let rows = client.query(&select, &[&ids, &levels, &before]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Marks the series among `ids` that have no rows left as gone, and returns their number. Their own rows are deleted after
/// [`KEPT_EMPTY_DAYS`], because another node may still use the id.
async fn mark_empty(client: &Transaction<'_>, tenant: i64, ids: &[i64]) -> Result<usize, tokio_postgres::Error> {
    let mark = client
        .prepare_cached(
            "UPDATE tricast_history_series AS s SET gone_ms = (extract(epoch FROM now()) * 1000)::bigint \
             WHERE s.id = ANY($1::bigint[]) \
             AND NOT EXISTS (SELECT FROM tricast_history_points AS p WHERE p.series = s.id) \
             AND NOT EXISTS (SELECT FROM tricast_history_rollups AS r WHERE r.level IN (1, 2, 3) AND r.series = s.id)",
        )
        .await?;
    let gone = client.execute(&mark, &[&ids]).await?;
    let delete = client
        .prepare_cached(
            "DELETE FROM tricast_history_series WHERE id IN (SELECT id FROM tricast_history_series WHERE tenant = $1 \
             AND gone_ms < (extract(epoch FROM now()) * 1000)::bigint - $2::bigint * 86400000 LIMIT 100 FOR UPDATE SKIP LOCKED)",
        )
        .await?;
    client.execute(&delete, &[&tenant, &KEPT_EMPTY_DAYS]).await?;
    Ok(gone as usize)
}
