//! Points, roll-ups and their series in SQLite.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Abort, SqliteStore, tenant, tenant_or_new};
use tricast_core::channel::Channel;
use tricast_domain::history::{
    Bucket, Calendar, Choice, Forget, HistoryError, HistoryStore, Level, Newest, Point, Portion, Progress, Query,
    RollUp, RolledUp, SeriesId, SeriesLimits, SeriesName, StoreFuture, Track,
};

/// Largest number of series in one step: reading them takes time as well.
const SERIES_OF_A_STEP: usize = 500;

impl HistoryStore for SqliteStore {
    fn series(&self, tenant: &str, names: Vec<SeriesName>, limits: SeriesLimits) -> StoreFuture<Vec<Option<SeriesId>>> {
        let tenant = tenant.to_owned();
        self.write(move |connection| series(connection, &tenant, &names, limits))
    }

    fn write(&self, tenant: &str, points: Vec<Point>, calendar: &Calendar) -> StoreFuture<()> {
        let (tenant, calendar) = (tenant.to_owned(), calendar.clone());
        self.write(move |connection| write(connection, &tenant, points, &calendar))
    }

    fn read(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Track>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            // One snapshot for all statements, even while the other thread writes.
            let snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
            let tracks = read(connection, &tenant, &query)?;
            drop(snapshot);
            Ok(tracks)
        })
    }

    fn bytes(&self) -> StoreFuture<Option<u64>> {
        self.read(|connection| {
            let ask = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
            let pages = ask("PRAGMA page_count")? - ask("PRAGMA freelist_count")?;
            Ok(u64::try_from(pages * ask("PRAGMA page_size")?).ok())
        })
    }

    fn end(&self, tenant: &str, ends: Vec<(Channel, i64)>) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| end(connection, &tenant, &ends))
    }

    fn newest(&self, tenant: &str, max: usize) -> StoreFuture<Vec<Newest>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| newest(connection, &tenant, max))
    }

    fn roll_up(&self, tenant: &str, step: RollUp) -> StoreFuture<Progress> {
        let tenant = tenant.to_owned();
        self.write(move |connection| roll_up(connection, &tenant, &step))
    }

    fn forget(&self, tenant: &str, step: Forget) -> StoreFuture<Progress> {
        let tenant = tenant.to_owned();
        self.write(move |connection| forget(connection, &tenant, step))
    }
}

fn series(
    connection: &Connection,
    tenant: &str,
    names: &[SeriesName],
    limits: SeriesLimits,
) -> Result<Vec<Option<SeriesId>>, Abort<HistoryError>> {
    let tenant = tenant_or_new(connection, tenant)?;
    let mut find =
        connection.prepare_cached("SELECT id FROM history_series WHERE tenant = ?1 AND channel = ?2 AND field = ?3")?;
    let mut insert =
        connection.prepare_cached("INSERT INTO history_series (tenant, channel, field) VALUES (?1, ?2, ?3)")?;
    let mut count = connection.prepare_cached("SELECT count(*) FROM history_series WHERE tenant = ?1")?;
    let mut count_of_channel =
        connection.prepare_cached("SELECT count(*) FROM history_series WHERE tenant = ?1 AND channel = ?2")?;
    let mut room = None;
    let mut room_of = HashMap::<&Channel, usize>::new();
    let mut ids = Vec::with_capacity(names.len());
    for SeriesName { channel, field } in names {
        let known = find.query_row((tenant, channel.as_str(), field), |row| row.get(0)).optional()?;
        if known.is_some() {
            ids.push(known.map(SeriesId));
            continue;
        }
        let room = match &mut room {
            Some(room) => room,
            none => {
                let there: i64 = count.query_row([tenant], |row| row.get(0))?;
                none.insert(limits.room(there as usize))
            }
        };
        let room_of_channel = match room_of.entry(channel) {
            Entry::Occupied(room) => room.into_mut(),
            Entry::Vacant(none) => {
                let there: i64 = count_of_channel.query_row((tenant, channel.as_str()), |row| row.get(0))?;
                none.insert(limits.room_of_channel(there as usize))
            }
        };
        if *room == 0 || *room_of_channel == 0 {
            ids.push(None);
            continue;
        }
        *room -= 1;
        *room_of_channel -= 1;
        insert.execute((tenant, channel.as_str(), field))?;
        ids.push(Some(SeriesId(connection.last_insert_rowid())));
    }
    Ok(ids)
}

/// Reads a series and how far it is rolled up.
fn series_of(row: &Row<'_>) -> rusqlite::Result<(SeriesId, RolledUp)> {
    Ok((SeriesId(row.get(0)?), RolledUp::new(row.get(1)?, row.get(2)?, row.get(3)?)))
}

fn write(
    connection: &Connection,
    tenant: &str,
    mut points: Vec<Point>,
    calendar: &Calendar,
) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(()) };
    // Sorted by their order in the file; the sort is stable, so of two points of one time the later stays the later.
    points.sort_by_key(|point| (point.series, point.at));
    let mut find = connection
        .prepare_cached("SELECT id, minutes_to, hours_to, days_to FROM history_series WHERE id = ?1 AND tenant = ?2")?;
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO history_points (series, at, value) VALUES (?1, ?2, ?3)")?;
    let mut set_back = connection
        .prepare_cached("UPDATE history_series SET minutes_to = ?2, hours_to = ?3, days_to = ?4 WHERE id = ?1")?;
    for points in points.chunk_by(|a, b| a.series == b.series) {
        let Some(first) = points.first() else { continue };
        let found = find.query_row((first.series.0, tenant), series_of).optional()?;
        let Some((id, rolled)) = found else { continue };
        for Point { at, value, .. } in points {
            insert.execute((id.0, at, value))?;
        }
        if rolled.is_late(first.at) {
            let [minutes, hours, days] = rolled.back_to(first.at, calendar);
            set_back.execute((id.0, minutes, hours, days))?;
        }
    }
    Ok(())
}

fn read(connection: &Connection, tenant: &str, query: &Query) -> Result<Vec<Track>, Abort<HistoryError>> {
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(Vec::new()) };
    let mut find = connection.prepare_cached(
        "SELECT id, minutes_to, hours_to, days_to, field FROM history_series \
         WHERE tenant = ?1 AND channel = ?2 ORDER BY field",
    )?;
    let mut found = find.query((tenant, query.channel.as_str()))?;
    let mut tracks = Vec::new();
    while let Some(row) = found.next()? {
        let field: Box<str> = row.get(4)?;
        if query.fields.as_ref().is_none_or(|fields| fields.contains(&field)) {
            tracks.push(track(connection, field, series_of(row)?, query)?);
        }
    }
    Ok(tracks)
}

fn end(connection: &Connection, tenant: &str, ends: &[(Channel, i64)]) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(()) };
    let mut update =
        connection.prepare_cached("UPDATE history_series SET ended_ms = ?3 WHERE tenant = ?1 AND channel = ?2")?;
    for (channel, at) in ends {
        update.execute((tenant, channel.as_str(), at))?;
    }
    Ok(())
}

fn newest(connection: &Connection, tenant: &str, max: usize) -> Result<Vec<Newest>, Abort<HistoryError>> {
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(Vec::new()) };
    let mut select = connection.prepare_cached(
        "SELECT channel, field, at, value FROM history_series JOIN history_points ON series = id \
         WHERE tenant = ?1 AND (ended_ms IS NULL OR at > ended_ms) \
         AND at = (SELECT max(at) FROM history_points WHERE series = id) \
         UNION ALL \
         SELECT channel, field, at, last FROM history_series JOIN history_rollups ON series = id AND level = 1 \
         WHERE tenant = ?1 AND (ended_ms IS NULL OR at > ended_ms) AND NOT EXISTS (SELECT 1 FROM history_points WHERE series = id) \
         AND at = (SELECT max(at) FROM history_rollups WHERE level = 1 AND series = id) \
         LIMIT ?2",
    )?;
    let mut rows = select.query((tenant, i64::try_from(max).unwrap_or(i64::MAX)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let channel: String = row.get(0)?;
        // Skips names that an older version accepted and this one does not.
        let Ok(channel) = Channel::parse(&channel) else { continue };
        found.push(Newest { name: SeriesName { channel, field: row.get(1)? }, at: row.get(2)?, value: row.get(3)? });
    }
    Ok(found)
}

fn track(
    connection: &Connection,
    field: Box<str>,
    (id, rolled): (SeriesId, RolledUp),
    query: &Query,
) -> rusqlite::Result<Track> {
    // One more than the limit shows whether there are more.
    let most = query.limit.saturating_add(1);
    let (mut rows, mut points_from) = (Vec::new(), query.from);
    for (level, span) in rolled.spans(query) {
        points_from = span.start;
        read_rows(connection, id, level, span, most - rows.len(), &mut rows)?;
    }
    Ok(Track::new(field, rows, points_from, query.limit))
}

/// Appends the rows of a series in `span`, at most `most`.
fn read_rows(
    connection: &Connection,
    SeriesId(series): SeriesId,
    level: Level,
    Range { start: from, end }: Range<i64>,
    most: usize,
    into: &mut Vec<Bucket>,
) -> rusqlite::Result<()> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    if level == Level::Raw {
        let mut select = connection.prepare_cached(
            "SELECT at, value FROM history_points WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at LIMIT ?4",
        )?;
        let mut rows = select.query((series, from, end, most))?;
        while let Some(row) = rows.next()? {
            into.push(Bucket::of_point(row.get(0)?, row.get(1)?));
        }
        return Ok(());
    }
    let mut select = connection.prepare_cached(
        "SELECT at, count, total, min, max, last FROM history_rollups \
         WHERE level = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at LIMIT ?5",
    )?;
    let mut rows = select.query((level as i64, series, from, end, most))?;
    while let Some(row) = rows.next()? {
        into.push(Bucket {
            at: row.get(0)?,
            count: row.get::<_, i64>(1)? as u64,
            total: row.get(2)?,
            min: row.get(3)?,
            max: row.get(4)?,
            last: row.get(5)?,
        });
    }
    Ok(())
}

/// Series with how far each is rolled up, and the one after which the next step begins.
type SeriesOfStep = (Vec<(SeriesId, RolledUp)>, Option<SeriesId>);

/// Returns the series of a step, in the order of their ids, and the one after which the next step begins; `None` if these
/// are the last ones.
fn series_of_step(connection: &Connection, tenant: i64, after: SeriesId) -> rusqlite::Result<SeriesOfStep> {
    let mut select = connection.prepare_cached(
        "SELECT id, minutes_to, hours_to, days_to FROM history_series WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let found = select.query_map((tenant, after.0, SERIES_OF_A_STEP as i64), series_of)?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let last = found.last().map(|(id, _)| *id).filter(|_| found.len() == SERIES_OF_A_STEP);
    Ok((found, last))
}

fn roll_up(connection: &Connection, tenant: &str, step: &RollUp) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let (Some(tenant), Some(finer)) = (self::tenant(connection, tenant)?, step.level.finer()) else {
        return Ok(progress);
    };
    let set = match step.level {
        Level::Raw | Level::Minute => "UPDATE history_series SET minutes_to = ?2 WHERE id = ?1",
        Level::Hour => "UPDATE history_series SET hours_to = ?2 WHERE id = ?1",
        Level::Day => "UPDATE history_series SET days_to = ?2 WHERE id = ?1",
    };
    let mut set = connection.prepare_cached(set)?;
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO history_rollups (level, series, at, count, total, min, max, last) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let (found, last) = series_of_step(connection, tenant, step.after)?;
    for (id, rolled) in found {
        if progress.rows >= step.rows {
            progress.next = Some(id.before());
            return Ok(progress);
        }
        let portion = portion(connection, id, step.span(rolled, finer), step, finer, step.rows - progress.rows)?;
        progress.rows += portion.rows.len();
        let Some(buckets) = step.fold(rolled, portion.rows, portion.through) else { continue };
        for Bucket { at, count, total, min, max, last } in buckets {
            insert.execute((step.level as i64, id.0, at, count as i64, total, min, max, last))?;
        }
        set.execute((id.0, portion.through))?;
        if portion.more {
            progress.next = Some(id.before());
            return Ok(progress);
        }
    }
    progress.next = last;
    Ok(progress)
}

/// Reads about `most` rows of a series that are to be rolled up, but at least those of one bucket if there are any.
fn portion(
    connection: &Connection,
    id: SeriesId,
    span: Range<i64>,
    step: &RollUp,
    finer: Level,
    most: usize,
) -> rusqlite::Result<Portion> {
    let mut rows = Vec::new();
    if !span.is_empty() {
        read_rows(connection, id, finer, span.clone(), most.saturating_add(1), &mut rows)?;
    }
    Ok(match step.choose(span, rows, most) {
        Choice::Rows(portion) => portion,
        Choice::Bucket(span) => {
            let (mut rows, through) = (Vec::new(), span.end);
            read_rows(connection, id, finer, span, usize::MAX, &mut rows)?;
            Portion { rows, through, more: true }
        }
    })
}

fn forget(connection: &Connection, tenant: &str, step: Forget) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(progress) };
    let mut points = connection.prepare_cached(
        "DELETE FROM history_points WHERE series = ?1 AND at IN \
         (SELECT at FROM history_points WHERE series = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
    )?;
    let mut rollups = connection.prepare_cached(
        "DELETE FROM history_rollups WHERE level = ?1 AND series = ?2 AND at IN \
         (SELECT at FROM history_rollups WHERE level = ?1 AND series = ?2 AND at < ?3 ORDER BY at LIMIT ?4)",
    )?;
    let mut anything = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM history_points WHERE series = ?1) \
         OR EXISTS (SELECT 1 FROM history_rollups WHERE level IN (1, 2, 3) AND series = ?1)",
    )?;
    let mut delete = connection.prepare_cached("DELETE FROM history_series WHERE id = ?1")?;
    let (found, last) = series_of_step(connection, tenant, step.after)?;
    for (id, rolled) in found {
        for level in Level::ALL {
            let room = step.rows - progress.rows;
            if room == 0 {
                progress.next = Some(id.before());
                return Ok(progress);
            }
            let before = step.limit(rolled, level);
            if before > i64::MIN {
                progress.rows += match level {
                    Level::Raw => points.execute((id.0, before, room as i64))?,
                    _ => rollups.execute((level as i64, id.0, before, room as i64))?,
                };
            }
        }
        if !anything.query_row([id.0], |row| row.get::<_, bool>(0))? {
            delete.execute([id.0])?;
            progress.gone += 1;
        }
    }
    progress.next = last;
    Ok(progress)
}
