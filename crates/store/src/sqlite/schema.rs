//! Tables, and the migrations that bring files of older versions up to date.
//!
//! Each migration runs once, in a transaction of its own, and is recorded in `migrations`. A released migration never
//! changes; new ones are appended. Times are milliseconds since 1970, minutes are minutes since 1970, money is in
//! cents. Tables are STRICT, so that a sum that exceeds an integer is an error and not rounded.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{OpenError, failure::of_opening};

/// Application id in the header of the file, which distinguishes it from databases of other programs: "tric".
const APPLICATION: i64 = 0x7472_6963;

/// Path that stands for a database in memory.
pub(super) const MEMORY: &str = ":memory:";

/// All migrations, in order; the first one creates schema 1.
const MIGRATIONS: [(&str, &str); 7] = [
    ("orders and dashboards", include_str!("schema/1_orders_and_dashboards.sql")),
    ("history", include_str!("schema/2_history.sql")),
    ("alerts", include_str!("schema/3_alerts.sql")),
    ("pending events", include_str!("schema/4_pending_events.sql")),
    ("ended channels", include_str!("schema/5_ended_channels.sql")),
    ("row counts", include_str!("schema/6_row_counts.sql")),
    ("keys", include_str!("schema/7_keys.sql")),
];

/// Tables that every tenant needs.
const TABLES: [&str; 16] = [
    "tenants",
    "orders",
    "minutes",
    "customers",
    "idempotency_keys",
    "dashboards",
    "history_series",
    "history_points",
    "history_rollups",
    "alert_rules",
    "alerts",
    "alert_samples",
    "outbox",
    "pending_events",
    "identity",
    "api_keys",
];

/// Checks that the file is new or ours, and not of a later version. Changes nothing.
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
    // After a burst the log is truncated to this size again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

/// Runs the migrations that the file lacks.
///
/// # Errors
/// [`OpenError`]; migrations that were completed stay.
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
    }
    let known = MIGRATIONS.len() as i64;
    if done < known && path != Path::new(MEMORY) {
        tracing::info!(from = done, to = known, "the schema of the database was brought up to date");
    }
    // Reads a page of each table that every tenant needs, so that a truncated file is detected now.
    for table in TABLES {
        let look = format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)");
        connection.query_row(&look, [], |_| Ok(())).map_err(fail)?;
    }
    Ok(())
}

/// Returns whether the file has the schema of this version.
pub(super) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len() as i64)
}

/// Returns the last migration of the file; 0 for a new file.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let has_table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'";
    if connection.query_row(has_table, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))
}
