//! Points, roll-ups and their series in PostgreSQL.
//!
//! Writing points of a series, rolling it up and deleting from it lock its row first, so that nodes do this one after
//! the other; several rows are locked in the order of their ids. A roll-up that another node has made finds nothing to
//! do.

use deadpool_postgres::{Client, Transaction};
use futures_util::future::BoxFuture;
use tokio_postgres::{IsolationLevel, Row};

use self::{forget::forget, points::write, read::read, roll_up::roll_up, series::series};
use super::{Abort, PostgresStore, tenant};
use crate::activity::Kind;
use tricast_core::channel::Channel;
use tricast_domain::history::{
    Calendar, Forget, HistoryError, HistoryStore, Newest, Point, Progress, Query, RollUp, RolledUp, SeriesId,
    SeriesLimits, SeriesName, StoreFuture, Track,
};

mod forget;
mod points;
mod read;
mod roll_up;
mod series;

/// Largest number of series in one step: their rows are locked meanwhile.
const SERIES_OF_A_STEP: usize = 100;

impl HistoryStore for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn series(&self, tenant: &str, names: Vec<SeriesName>, limits: SeriesLimits) -> StoreFuture<Vec<Option<SeriesId>>> {
        self.change_history(tenant, move |client, tenant| Box::pin(series(client, tenant, names, limits)))
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

/// Reads a series and how far it is rolled up.
fn series_of(row: &Row) -> (SeriesId, RolledUp) {
    (SeriesId(row.get(0)), RolledUp::new(row.get(1), row.get(2), row.get(3)))
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
