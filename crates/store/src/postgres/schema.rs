//! Tables, and the migrations that create them.
//!
//! All tables are called `tricast_...` and are in the first schema of the connection's `search_path`: the database may
//! be the shop's own, and `?options=-csearch_path%3Dlive` in the URL selects another schema. Nothing else is touched.
//!
//! Each migration runs once, under a lock that all nodes take, and is recorded in `tricast_migrations`; all that are
//! missing run in one transaction. A released migration never changes; new ones are appended. Times are milliseconds
//! since 1970, minutes are minutes since 1970, money is in cents. Names sort by their bytes, whatever the database's
//! collation is.

use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Failure, OpenError};

/// Id of the lock that migrations run under: "tricast" as a number.
const LOCK: i64 = 0x74_7269_6361_7374;

/// Longest time that migrations may take, including the wait for another node.
pub(super) const MIGRATING: Duration = Duration::from_secs(120);

/// All migrations, in order; the first one creates schema 1.
const MIGRATIONS: [(&str, &str); 8] = [
    ("orders and dashboards", include_str!("schema/1_orders_and_dashboards.sql")),
    ("history", include_str!("schema/2_history.sql")),
    ("alerts", include_str!("schema/3_alerts.sql")),
    ("pending events", include_str!("schema/4_pending_events.sql")),
    ("ended channels", include_str!("schema/5_ended_channels.sql")),
    ("row counts", include_str!("schema/6_row_counts.sql")),
    ("keys", include_str!("schema/7_keys.sql")),
    ("commits", include_str!("schema/8_commits.sql")),
];

/// Brings the database up to date: runs the migrations that it lacks.
///
/// # Errors
/// [`OpenError`]; nothing was changed then.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await?.get(0);
    if encoding != "UTF8" {
        return Err(OpenError::Encoding(encoding));
    }
    // Most often there is nothing to do, and no lock to wait for.
    if version(client).await? == MIGRATIONS.len() as i64 {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    let patience = format!("SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}", MIGRATING.as_millis());
    transaction.batch_execute(&patience).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS tricast_migrations (version bigint PRIMARY KEY, name text NOT NULL)")
        .await?;
    let found: i64 =
        transaction.query_one("SELECT coalesce(max(version), 0) FROM tricast_migrations", &[]).await?.get(0);
    for (index, (name, sql)) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let number = index as i64 + 1;
        transaction.batch_execute(sql).await.map_err(|error| {
            let taken = error.code() == Some(&SqlState::DUPLICATE_TABLE);
            if taken { OpenError::Foreign(super::failure::describe(&error)) } else { Failure::from(error).into() }
        })?;
        transaction.execute("INSERT INTO tricast_migrations (version, name) VALUES ($1, $2)", &[&number, name]).await?;
    }
    transaction.commit().await?;
    let known = MIGRATIONS.len() as i64;
    if found < known {
        tracing::info!(from = found, to = known, "the schema of the database was brought up to date");
    }
    Ok(())
}

/// Returns the last migration of the database; 0 for a database without any.
async fn version(client: &Client) -> Result<i64, OpenError> {
    let there: bool = client.query_one("SELECT to_regclass('tricast_migrations') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(0);
    }
    let found: i64 = client.query_one("SELECT coalesce(max(version), 0) FROM tricast_migrations", &[]).await?.get(0);
    let known = MIGRATIONS.len() as i64;
    if found > known { Err(OpenError::Newer { found, known }) } else { Ok(found) }
}
