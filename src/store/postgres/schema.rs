//! The tables, and how a database gets them.
//!
//! All are called `tricast_...` and lie in the first schema of the connection's `search_path`: the database may be the
//! shop's own, and `?options=-csearch_path%3Dlive` in the URL puts them elsewhere. Nothing else is touched.
//!
//! Each migration runs once, under a lock that all nodes ask for, and is noted in `tricast_migrations`; all that are missing
//! come in one transaction. None is ever changed after a release; a new one is added to the end. Times are milliseconds
//! since 1970, minutes are minutes since 1970, money is in cents. Names sort by their bytes, whatever the database's
//! collation is.

use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Failure, OpenError};

/// Of the lock that migrations run under: "tricast" as a number.
const LOCK: i64 = 0x74_7269_6361_7374;

/// Longest time that migrations may take, waiting for another node included.
pub(super) const MIGRATING: Duration = Duration::from_secs(120);

/// All migrations, in order; the first makes schema 1.
const MIGRATIONS: [(&str, &str); 1] = [(
    "orders and dashboards",
    r#"
    CREATE TABLE tricast_tenants (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        last_order bigint NOT NULL DEFAULT 0,      -- number of the newest order
        last_customer bigint NOT NULL DEFAULT 0,   -- number of the newest customer who was given an id
        open_orders bigint NOT NULL DEFAULT 0,     -- PENDING and PROCESSING, of any age
        has_boards boolean NOT NULL DEFAULT false, -- the default board was made once
        revision bigint NOT NULL DEFAULT 0         -- grows with each change of the counts: others look at it
    ) WITH (fillfactor = 50);

    CREATE TABLE tricast_orders (
        tenant bigint NOT NULL,
        number bigint NOT NULL,
        version bigint NOT NULL,
        status text COLLATE "C" NOT NULL,
        priority text COLLATE "C" NOT NULL,
        items bigint NOT NULL,
        cents bigint NOT NULL,
        customer_name text NOT NULL,
        customer_id text COLLATE "C",
        created_ms bigint NOT NULL,
        updated_ms bigint NOT NULL,
        PRIMARY KEY (tenant, number)
    );
    CREATE INDEX tricast_orders_by_status ON tricast_orders (tenant, status, number);

    -- Counts by the minute of creation: what the numbers are made from.
    CREATE TABLE tricast_minutes (
        tenant bigint NOT NULL,
        minute bigint NOT NULL,
        orders bigint NOT NULL,
        cents bigint NOT NULL,
        processing bigint NOT NULL,
        customers bigint NOT NULL,
        visits bigint NOT NULL,
        PRIMARY KEY (tenant, minute)
    ) WITH (fillfactor = 80);

    CREATE TABLE tricast_customers (
        tenant bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        name text,
        first_seen_ms bigint NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE tricast_idempotency_keys (
        tenant bigint NOT NULL,
        key text COLLATE "C" NOT NULL,
        digest bytea NOT NULL,
        number bigint NOT NULL,
        used_ms bigint NOT NULL,
        PRIMARY KEY (tenant, key)
    );
    CREATE INDEX tricast_idempotency_keys_by_age ON tricast_idempotency_keys (used_ms);

    CREATE TABLE tricast_dashboards (
        tenant bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        name text NOT NULL,
        tiles text NOT NULL,                       -- JSON, checked by the domain
        version bigint NOT NULL,
        created_ms bigint NOT NULL,
        PRIMARY KEY (tenant, id)
    );
    "#,
)];

/// Brings the database up to date: runs the migrations that it does not have.
///
/// # Errors
/// [`OpenError`]; nothing was changed then.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await?.get(0);
    if encoding != "UTF8" {
        return Err(OpenError::Encoding(encoding));
    }
    // Most often there is nothing to do, and nobody to wait for.
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
        tracing::info!(schema = number, name, "the database was brought up to date");
    }
    transaction.commit().await?;
    Ok(())
}

/// The last migration that was run; 0 for a database without any.
async fn version(client: &Client) -> Result<i64, OpenError> {
    let there: bool = client.query_one("SELECT to_regclass('tricast_migrations') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(0);
    }
    let found: i64 = client.query_one("SELECT coalesce(max(version), 0) FROM tricast_migrations", &[]).await?.get(0);
    let known = MIGRATIONS.len() as i64;
    if found > known { Err(OpenError::Newer { found, known }) } else { Ok(found) }
}
