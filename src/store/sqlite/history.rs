//! Points, their rollups and the series they belong to in SQLite.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Abort, SqliteStore, tenant, tenant_or_new};
use crate::{
    core::channel::Channel,
    history::{
        Answer, Bucket, Calendar, Forget, HistoryError, HistoryStore, Level, Newest, Point, Progress, Query, RollUp,
        SeriesId, SeriesName, Track, fold,
    },
};

/// Series that one step looks at, at most: also looking takes time.
const SERIES_OF_A_STEP: usize = 500;

impl HistoryStore for SqliteStore {
    fn series(&self, tenant: &str, names: Vec<SeriesName>, max: usize) -> Answer<Vec<Option<SeriesId>>> {
        let tenant = tenant.to_owned();
        self.write(move |connection| series(connection, &tenant, &names, max))
    }

    fn write(&self, tenant: &str, points: Vec<Point>, calendar: &Calendar) -> Answer<()> {
        let (tenant, calendar) = (tenant.to_owned(), calendar.clone());
        self.write(move |connection| write(connection, &tenant, points, &calendar))
    }

    fn read(&self, tenant: &str, query: Query) -> Answer<Vec<Track>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            // One moment for all statements, also while the other thread writes.
            let snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
            let tracks = read(connection, &tenant, &query)?;
            drop(snapshot);
            Ok(tracks)
        })
    }

    fn bytes(&self) -> Answer<Option<u64>> {
        self.read(|connection| {
            let ask = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
            let pages = ask("PRAGMA page_count")? - ask("PRAGMA freelist_count")?;
            Ok(u64::try_from(pages * ask("PRAGMA page_size")?).ok())
        })
    }

    fn end(&self, tenant: &str, ends: Vec<(Channel, i64)>) -> Answer<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| end(connection, &tenant, &ends))
    }

    fn newest(&self, tenant: &str, max: usize) -> Answer<Vec<Newest>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| newest(connection, &tenant, max))
    }

    fn roll_up(&self, tenant: &str, step: RollUp) -> Answer<Progress> {
        let tenant = tenant.to_owned();
        self.write(move |connection| roll_up(connection, &tenant, &step))
    }

    fn forget(&self, tenant: &str, step: Forget) -> Answer<Progress> {
        let tenant = tenant.to_owned();
        self.write(move |connection| forget(connection, &tenant, step))
    }
}

fn series(
    connection: &Connection,
    tenant: &str,
    names: &[SeriesName],
    max: usize,
) -> Result<Vec<Option<SeriesId>>, Abort<HistoryError>> {
    let tenant = tenant_or_new(connection, tenant)?;
    let mut find =
        connection.prepare_cached("SELECT id FROM history_series WHERE tenant = ?1 AND channel = ?2 AND field = ?3")?;
    let mut insert =
        connection.prepare_cached("INSERT INTO history_series (tenant, channel, field) VALUES (?1, ?2, ?3)")?;
    let mut count = connection.prepare_cached("SELECT count(*) FROM history_series WHERE tenant = ?1")?;
    let mut room = None;
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
                none.insert(if max == 0 { usize::MAX } else { max.saturating_sub(there as usize) })
            }
        };
        if *room == 0 {
            ids.push(None);
            continue;
        }
        *room -= 1;
        insert.execute((tenant, channel.as_str(), field))?;
        ids.push(Some(SeriesId(connection.last_insert_rowid())));
    }
    Ok(ids)
}

/// A series, and for each level but the first up to when it is rolled up.
struct Rolled {
    id: i64,
    to: [i64; 4],
}

impl Rolled {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, to: [i64::MAX, row.get(1)?, row.get(2)?, row.get(3)?] })
    }
}

fn write(
    connection: &Connection,
    tenant: &str,
    mut points: Vec<Point>,
    calendar: &Calendar,
) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(connection, tenant)? else { return Ok(()) };
    // Neighbours in the file one after the other; of two of one time the later stays the later.
    points.sort_by_key(|point| (point.series, point.at));
    let mut find = connection
        .prepare_cached("SELECT id, minutes_to, hours_to, days_to FROM history_series WHERE id = ?1 AND tenant = ?2")?;
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO history_points (series, at, value) VALUES (?1, ?2, ?3)")?;
    let mut take_back = connection
        .prepare_cached("UPDATE history_series SET minutes_to = ?2, hours_to = ?3, days_to = ?4 WHERE id = ?1")?;
    for points in points.chunk_by(|a, b| a.series == b.series) {
        let Some(first) = points.first() else { continue };
        let Some(rolled) = find.query_row((first.series.0, tenant), Rolled::of).optional()? else { continue };
        for Point { at, value, .. } in points {
            insert.execute((rolled.id, at, value))?;
        }
        if Level::ROLLED.into_iter().any(|level| first.at < rolled.to[level as usize]) {
            let back = Level::ROLLED.map(|level| rolled.to[level as usize].min(calendar.start(level, first.at)));
            take_back.execute((rolled.id, back[0], back[1], back[2]))?;
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
            tracks.push(track(connection, field, &Rolled::of(row)?, query)?);
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
        // A name that an older version took, and this one does not.
        let Ok(channel) = Channel::parse(&channel) else { continue };
        found.push(Newest { name: SeriesName { channel, field: row.get(1)? }, at: row.get(2)?, value: row.get(3)? });
    }
    Ok(found)
}

fn track(
    connection: &Connection,
    field: Box<str>,
    rolled: &Rolled,
    query: &Query,
) -> Result<Track, Abort<HistoryError>> {
    let mut rows = Vec::new();
    let mut from = query.from;
    // One more than the limit says whether there are more.
    let most = query.limit.saturating_add(1);
    for level in Level::ROLLED.into_iter().rev().filter(|level| *level <= query.level) {
        let end = rolled.to[level as usize].min(query.ends[level as usize]);
        if end > from {
            read_rows(connection, rolled.id, level, from, end, most - rows.len(), &mut rows)?;
            from = end;
        }
    }
    read_rows(connection, rolled.id, Level::Raw, from, query.ends[0], most - rows.len(), &mut rows)?;
    let cut = rows.len() > query.limit;
    rows.truncate(query.limit);
    Ok(Track { field, rows, points_from: from, cut })
}

/// Appends the rows of a series in `from..end`, at most so many.
fn read_rows(
    connection: &Connection,
    series: i64,
    level: Level,
    from: i64,
    end: i64,
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

/// Some series of a tenant, by their ids.
fn some(connection: &Connection, tenant: i64, after: SeriesId) -> rusqlite::Result<Vec<Rolled>> {
    let mut select = connection.prepare_cached(
        "SELECT id, minutes_to, hours_to, days_to FROM history_series WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let found = select.query_map((tenant, after.0, SERIES_OF_A_STEP as i64), Rolled::of)?;
    found.collect()
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
    let found = some(connection, tenant, step.after)?;
    let last = found.last().map(|series| SeriesId(series.id)).filter(|_| found.len() == SERIES_OF_A_STEP);
    for series in found {
        if progress.rows >= step.rows {
            progress.next = Some(SeriesId(series.id - 1));
            return Ok(progress);
        }
        let whole = whole_buckets(connection, &series, step, finer, step.rows - progress.rows)?;
        progress.rows += whole.rows.len();
        if whole.rows.is_empty() && !step.moves_on(series.to[step.level as usize], whole.through) {
            continue;
        }
        for Bucket { at, count, total, min, max, last } in fold(whole.rows, step.level, &step.calendar) {
            insert.execute((step.level as i64, series.id, at, count as i64, total, min, max, last))?;
        }
        set.execute((series.id, whole.through))?;
        if whole.more {
            progress.next = Some(SeriesId(series.id - 1));
            return Ok(progress);
        }
    }
    progress.next = last;
    Ok(progress)
}

/// Rows of the finer level that make whole buckets.
struct Whole {
    rows: Vec<Bucket>,
    /// Up to here.
    through: i64,
    /// There are more to roll up.
    more: bool,
}

/// About `most` rows of a series that are to be rolled up, but all of a bucket's if there are any.
fn whole_buckets(
    connection: &Connection,
    series: &Rolled,
    step: &RollUp,
    finer: Level,
    most: usize,
) -> rusqlite::Result<Whole> {
    let from = series.to[step.level as usize];
    let mut through = step.through.min(series.to[finer as usize]);
    if through < step.through {
        through = step.calendar.start(step.level, through);
    }
    let mut rows = Vec::new();
    if from < through {
        read_rows(connection, series.id, finer, from, through, most.saturating_add(1), &mut rows)?;
    }
    if rows.len() <= most {
        return Ok(Whole { rows, through, more: false });
    }
    let (Some(first), Some(last)) = (rows.first().copied(), rows.last().copied()) else {
        return Ok(Whole { rows, through, more: false });
    };
    let unfinished = step.calendar.bucket(step.level, last.at);
    if first.at < unfinished.start {
        rows.retain(|row| row.at < unfinished.start);
        return Ok(Whole { rows, through: unfinished.start, more: true });
    }
    rows.clear();
    read_rows(connection, series.id, finer, from, unfinished.end, usize::MAX, &mut rows)?;
    Ok(Whole { rows, through: unfinished.end, more: true })
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
    let found = some(connection, tenant, step.after)?;
    let last = found.last().map(|series| SeriesId(series.id)).filter(|_| found.len() == SERIES_OF_A_STEP);
    for series in found {
        for level in Level::ALL {
            let room = step.rows - progress.rows;
            if room == 0 {
                progress.next = Some(SeriesId(series.id - 1));
                return Ok(progress);
            }
            // What the next level is made from stays until it is.
            let made = series.to.get(level as usize + 1).copied().unwrap_or(i64::MAX);
            let before = step.before[level as usize].min(made);
            if before > i64::MIN {
                progress.rows += match level {
                    Level::Raw => points.execute((series.id, before, room as i64))?,
                    _ => rollups.execute((level as i64, series.id, before, room as i64))?,
                };
            }
        }
        if !anything.query_row([series.id], |row| row.get::<_, bool>(0))? {
            delete.execute([series.id])?;
            progress.gone += 1;
        }
    }
    progress.next = last;
    Ok(progress)
}
