//! Dashboards in PostgreSQL: a row each, the tiles as JSON.

use deadpool_postgres::Client;
use tokio_postgres::Row;

use super::{Abort, Failure, PostgresStore, events, row, tenant};
use crate::activity::Kind;
use tricast_core::version::Version;
use tricast_domain::{
    dashboards::{Board, DashboardError, DashboardStore, StoreFuture},
    relay::NewEvent,
};

const COLUMNS: &str = "id, name, tiles, version, created_ms";

impl DashboardStore for PostgresStore {
    fn seed(&self, tenant: &str, board: Board) -> StoreFuture<()> {
        self.transact("dashboards", tenant, move |client, tenant| {
            Box::pin(async move {
                // Of several nodes that start together, only one inserts the board.
                let first = client
                    .prepare_cached("UPDATE tricast_tenants SET has_boards = true WHERE id = $1 AND NOT has_boards")
                    .await?;
                if client.execute(&first, &[&tenant]).await? > 0 {
                    insert(client, tenant, &board).await?;
                }
                Ok(())
            })
        })
    }

    fn boards(&self, tenant: &str) -> StoreFuture<Vec<Board>> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(Vec::new()) };
                let sql = format!("SELECT {COLUMNS} FROM tricast_dashboards WHERE tenant = $1 ORDER BY id");
                let select = client.prepare_cached(&sql).await?;
                let rows = client.query(&select, &[&tenant]).await?;
                Ok(rows.iter().map(board_of).collect::<Result<_, _>>()?)
            })
        })
    }

    fn board(&self, tenant: &str, id: &str) -> StoreFuture<Board> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let tenant = self::tenant(client, &tenant).await?.ok_or(DashboardError::NotFound)?;
                let sql = format!("SELECT {COLUMNS} FROM tricast_dashboards WHERE tenant = $1 AND id = $2");
                let select = client.prepare_cached(&sql).await?;
                let row = client.query_opt(&select, &[&tenant, &id]).await?;
                Ok(board_of(&row.ok_or(DashboardError::NotFound)?)?)
            })
        })
    }

    fn insert(&self, tenant: &str, board: Board, max: usize, event: NewEvent) -> StoreFuture<u64> {
        let stream = self.stream();
        self.transact("dashboards", tenant, move |client, tenant| {
            Box::pin(async move {
                let count = client
                    .prepare_cached(
                        "SELECT count(*), count(*) FILTER (WHERE id = $2) FROM tricast_dashboards WHERE tenant = $1",
                    )
                    .await?;
                let row = client.query_one(&count, &[&tenant, &board.id]).await?;
                let (boards, same): (i64, i64) = (row.get(0), row.get(1));
                board.check_room(same > 0, boards, max)?;
                insert(client, tenant, &board).await?;
                Ok(events::add(client, tenant, &stream, &event).await?)
            })
        })
    }

    fn replace(&self, tenant: &str, board: Board, seen: Version, event: NewEvent) -> StoreFuture<u64> {
        let stream = self.stream();
        self.transact("dashboards", tenant, move |client, tenant| {
            Box::pin(async move {
                let update = client
                    .prepare_cached(
                        "UPDATE tricast_dashboards SET name = $5, tiles = $6, version = $7 \
                         WHERE tenant = $1 AND id = $2 AND version = $3 AND created_ms = $4",
                    )
                    .await?;
                let (number, made, version) = (seen.number as i64, seen.made.as_millisecond(), board.version as i64);
                let tiles = row::to_json(&board.tiles)?;
                let changed = client
                    .execute(&update, &[&tenant, &board.id, &number, &made, &board.name, &tiles, &version])
                    .await?;
                if changed == 0 {
                    return Err(DashboardError::Moved.into());
                }
                Ok(events::add(client, tenant, &stream, &event).await?)
            })
        })
    }

    fn delete(&self, tenant: &str, id: &str, seen: Version, event: NewEvent) -> StoreFuture<u64> {
        let (id, stream) = (id.to_owned(), self.stream());
        self.transact("dashboards", tenant, move |client, tenant| {
            Box::pin(async move {
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_dashboards \
                         WHERE tenant = $1 AND id = $2 AND version = $3 AND created_ms = $4",
                    )
                    .await?;
                let (number, made) = (seen.number as i64, seen.made.as_millisecond());
                let deleted = client.execute(&delete, &[&tenant, &id, &number, &made]).await?;
                if deleted == 0 {
                    return Err(DashboardError::Moved.into());
                }
                Ok(events::add(client, tenant, &stream, &event).await?)
            })
        })
    }
}

async fn insert(client: &Client, tenant: i64, board: &Board) -> Result<(), Abort<DashboardError>> {
    let sql = "INSERT INTO tricast_dashboards (tenant, id, name, tiles, version, created_ms) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, id) DO NOTHING";
    let insert = client.prepare_cached(sql).await?;
    let (version, made) = (board.version as i64, board.made.as_millisecond());
    let tiles = row::to_json(&board.tiles)?;
    client.execute(&insert, &[&tenant, &board.id, &board.name, &tiles, &version, &made]).await?;
    Ok(())
}

fn board_of(row: &Row) -> Result<Board, Failure> {
    Ok(Board {
        id: row.get(0),
        name: row.get(1),
        tiles: row::json(row, 2)?,
        version: row.get::<_, i64>(3) as u64,
        made: row::time(row, 4)?,
    })
}
