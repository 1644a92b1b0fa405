//! Dashboards in SQLite: a row each, the tiles as JSON.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{SqliteStore, events, row, tenant, tenant_or_new};
use tricast_core::version::Version;
use tricast_domain::{
    dashboards::{Board, DashboardError, DashboardStore, StoreFuture},
    relay::NewEvent,
};

impl DashboardStore for SqliteStore {
    fn seed(&self, tenant: &str, board: Board) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = tenant_or_new(connection, &tenant)?;
            let mut first =
                connection.prepare_cached("UPDATE tenants SET has_boards = 1 WHERE id = ?1 AND has_boards = 0")?;
            if first.execute([tenant])? > 0 {
                insert(connection, tenant, &board)?;
            }
            Ok(())
        })
    }

    fn boards(&self, tenant: &str) -> StoreFuture<Vec<Board>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Vec::new()) };
            let mut select = connection.prepare_cached(
                "SELECT id, name, tiles, version, created_ms FROM dashboards WHERE tenant = ?1 ORDER BY id",
            )?;
            Ok(select.query_map([tenant], board_of)?.collect::<Result<_, _>>()?)
        })
    }

    fn board(&self, tenant: &str, id: &str) -> StoreFuture<Board> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(DashboardError::NotFound)?;
            let mut select = connection.prepare_cached(
                "SELECT id, name, tiles, version, created_ms FROM dashboards WHERE tenant = ?1 AND id = ?2",
            )?;
            select.query_row((tenant, id), board_of).optional()?.ok_or(DashboardError::NotFound.into())
        })
    }

    fn insert(&self, tenant: &str, board: Board, max: usize, event: NewEvent) -> StoreFuture<u64> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = tenant_or_new(connection, &tenant)?;
            let mut count = connection
                .prepare_cached("SELECT count(*), count(*) FILTER (WHERE id = ?2) FROM dashboards WHERE tenant = ?1")?;
            let (boards, same): (i64, i64) =
                count.query_row((tenant, &board.id), |row| Ok((row.get(0)?, row.get(1)?)))?;
            board.check_room(same > 0, boards, max)?;
            self::insert(connection, tenant, &board)?;
            Ok(events::add(connection, tenant, &event)?)
        })
    }

    fn replace(&self, tenant: &str, board: Board, seen: Version, event: NewEvent) -> StoreFuture<u64> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(DashboardError::Moved)?;
            let mut update = connection.prepare_cached(
                "UPDATE dashboards SET name = ?5, tiles = ?6, version = ?7 \
                 WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND created_ms = ?4",
            )?;
            let (number, made) = (seen.number as i64, seen.made.as_millisecond());
            let changed = update.execute((
                tenant,
                &board.id,
                number,
                made,
                &board.name,
                row::to_json(&board.tiles)?,
                board.version as i64,
            ))?;
            if changed > 0 { Ok(events::add(connection, tenant, &event)?) } else { Err(DashboardError::Moved.into()) }
        })
    }

    fn delete(&self, tenant: &str, id: &str, seen: Version, event: NewEvent) -> StoreFuture<u64> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(DashboardError::Moved)?;
            let mut delete = connection.prepare_cached(
                "DELETE FROM dashboards WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND created_ms = ?4",
            )?;
            let deleted = delete.execute((tenant, id, seen.number as i64, seen.made.as_millisecond()))?;
            if deleted > 0 { Ok(events::add(connection, tenant, &event)?) } else { Err(DashboardError::Moved.into()) }
        })
    }
}

fn insert(connection: &Connection, tenant: i64, board: &Board) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO dashboards (tenant, id, name, tiles, version, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let (version, made) = (board.version as i64, board.made.as_millisecond());
    insert.execute((tenant, &board.id, &board.name, row::to_json(&board.tiles)?, version, made)).map(drop)
}

fn board_of(row: &Row<'_>) -> rusqlite::Result<Board> {
    Ok(Board {
        id: row.get(0)?,
        name: row.get(1)?,
        tiles: row::json(row, 2)?,
        version: row.get::<_, i64>(3)? as u64,
        made: row::time(row, 4)?,
    })
}
