//! The tables, and how a file of an older version gets them.
//!
//! Each migration runs once, in a transaction of its own, and is noted in `migrations`. None is ever changed after a
//! release; a new one is added to the end. Times are milliseconds since 1970, minutes are minutes since 1970, money is in
//! cents. Tables are STRICT, so that a sum that outgrows an integer is refused and not rounded.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{OpenError, failure::of_opening};

/// In the header of the file, so that it can be told from databases of other programs: "tric".
const APPLICATION: i64 = 0x7472_6963;

/// All migrations, in order; the first makes schema 1.
const MIGRATIONS: [(&str, &str); 2] = [("orders and dashboards", ORDERS_AND_DASHBOARDS), ("history", HISTORY)];

const ORDERS_AND_DASHBOARDS: &str = "
    CREATE TABLE tenants (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        last_order INTEGER NOT NULL DEFAULT 0,     -- number of the newest order
        last_customer INTEGER NOT NULL DEFAULT 0,  -- number of the newest customer who was given an id
        open_orders INTEGER NOT NULL DEFAULT 0,    -- PENDING and PROCESSING, of any age
        has_boards INTEGER NOT NULL DEFAULT 0      -- the default board was made once
    ) STRICT;

    CREATE TABLE orders (
        tenant INTEGER NOT NULL,
        number INTEGER NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        priority TEXT NOT NULL,
        items INTEGER NOT NULL,
        cents INTEGER NOT NULL,
        customer_name TEXT NOT NULL,
        customer_id TEXT,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX orders_by_status ON orders (tenant, status, number);

    -- Counts by the minute of creation: what the numbers are made from at start.
    CREATE TABLE minutes (
        tenant INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        orders INTEGER NOT NULL,
        cents INTEGER NOT NULL,
        processing INTEGER NOT NULL,
        customers INTEGER NOT NULL,
        visits INTEGER NOT NULL,
        PRIMARY KEY (tenant, minute)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE customers (
        tenant INTEGER NOT NULL,
        id TEXT NOT NULL,
        name TEXT,
        first_seen_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE idempotency_keys (
        tenant INTEGER NOT NULL,
        key TEXT NOT NULL,
        digest BLOB NOT NULL,
        number INTEGER NOT NULL,
        used_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_keys_by_age ON idempotency_keys (used_ms);

    CREATE TABLE dashboards (
        tenant INTEGER NOT NULL,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        tiles TEXT NOT NULL,                       -- JSON, checked by the domain
        version INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)
    ) STRICT, WITHOUT ROWID;
    ";

const HISTORY: &str = "
    CREATE TABLE history_series (
        id INTEGER PRIMARY KEY AUTOINCREMENT,      -- never that of a series that went
        tenant INTEGER NOT NULL,
        channel TEXT NOT NULL,
        field TEXT NOT NULL,
        minutes_to INTEGER NOT NULL DEFAULT 0,     -- up to here points are rolled up to minutes,
        hours_to INTEGER NOT NULL DEFAULT 0,       -- minutes to hours,
        days_to INTEGER NOT NULL DEFAULT 0,        -- hours to days
        UNIQUE (tenant, channel, field)
    ) STRICT;
    CREATE INDEX history_series_by_tenant ON history_series (tenant);

    CREATE TABLE history_points (
        series INTEGER NOT NULL,
        at INTEGER NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE history_rollups (
        level INTEGER NOT NULL,                    -- 1 minutes, 2 hours, 3 days
        series INTEGER NOT NULL,
        at INTEGER NOT NULL,                       -- where the bucket begins
        count INTEGER NOT NULL,
        total REAL NOT NULL,
        min REAL NOT NULL,
        max REAL NOT NULL,
        last REAL NOT NULL,
        PRIMARY KEY (level, series, at)
    ) STRICT, WITHOUT ROWID;
    ";

/// Looks whether the file is new or ours, and not of a later version. Changes nothing.
///
/// # Errors
/// [`OpenError::Damaged`], [`OpenError::Foreign`], [`OpenError::Newer`].
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let fail = |source| of_opening(path, source);
    let application = ask("PRAGMA application_id").map_err(fail)?;
    if application == 0 && ask("SELECT count(*) FROM sqlite_schema").map_err(fail)? == 0 {
        return Ok(());
    }
    if application != APPLICATION {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let found = version(connection).map_err(fail)?;
    let known = MIGRATIONS.len() as i64;
    if found > known { Err(OpenError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

/// Switches to the write-ahead log.
pub(super) fn wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // After a burst the log is cut to this again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

/// Runs the migrations that the file does not have.
///
/// # Errors
/// [`OpenError`]; migrations that were run stay.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let fail = |source| of_opening(path, source);
    let done = version(connection).map_err(fail)?;
    for (index, (name, sql)) in MIGRATIONS.iter().enumerate().skip(done as usize) {
        let number = index as i64 + 1;
        let run = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(
                "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",
            )?;
            transaction.execute_batch(sql)?;
            transaction.execute("INSERT INTO migrations (version, name) VALUES (?1, ?2)", (number, name))?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.commit()
        };
        run(connection).map_err(fail)?;
        tracing::info!(schema = number, name, "the database was brought up to date");
    }
    // A page of each table that every tenant needs: a file that was cut off says so now.
    for table in [
        "tenants",
        "orders",
        "minutes",
        "customers",
        "idempotency_keys",
        "dashboards",
        "history_series",
        "history_points",
        "history_rollups",
    ] {
        let look = format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)");
        connection.query_row(&look, [], |_| Ok(())).map_err(fail)?;
    }
    Ok(())
}

/// The last migration that was run; 0 for a new file.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let has_table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'";
    if connection.query_row(has_table, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))
}
