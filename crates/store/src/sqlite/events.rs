//! Events that are stored with the changes that cause them, in SQLite.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::{SqliteStore, tenant};
use tricast_domain::relay::{EventStore, NewEvent, Pending, PendingEvent, StoreFuture};

/// Stores an event in the transaction of its change. Returns the sequence number.
pub(super) fn add(connection: &Connection, tenant: i64, event: &NewEvent) -> rusqlite::Result<u64> {
    let now = Timestamp::now();
    // The number follows the clock, so that a file that was restored from a backup does not assign it twice (as
    // `relay::next_seq`).
    let mut next = connection
        .prepare_cached("UPDATE tenants SET last_event = max(last_event + 1, ?2) WHERE id = ?1 RETURNING last_event")?;
    let seq: i64 = next.query_row((tenant, now.as_microsecond()), |row| row.get(0))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO pending_events (tenant, seq, channel, event, data, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute((tenant, seq, event.channel, event.event, &event.data, now.as_millisecond()))?;
    Ok(seq as u64)
}

impl EventStore for SqliteStore {
    fn pending(&self, tenant: &str, after: u64, limit: usize) -> StoreFuture<Pending> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Pending::default()) };
            let mut select = connection.prepare_cached(
                "SELECT seq, channel, event, data FROM pending_events WHERE tenant = ?1 AND seq > ?2 \
                 ORDER BY seq LIMIT ?3",
            )?;
            let event = |row: &Row<'_>| {
                let seq: i64 = row.get(0)?;
                Ok(PendingEvent { seq: seq as u64, channel: row.get(1)?, event: row.get(2)?, data: row.get(3)? })
            };
            let (after, limit) = (after as i64, i64::try_from(limit).unwrap_or(i64::MAX));
            let events = select.query_map((tenant, after, limit), event)?.collect::<Result<_, _>>()?;
            let mut source = connection.prepare_cached("SELECT id FROM identity")?;
            Ok(Pending { source: source.query_row([], |row| row.get(0))?, events })
        })
    }

    fn count(&self, tenant: &str, after: u64) -> StoreFuture<u64> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(0) };
            let mut count =
                connection.prepare_cached("SELECT count(*) FROM pending_events WHERE tenant = ?1 AND seq > ?2")?;
            Ok(count.query_row((tenant, after as i64), |row| row.get::<_, i64>(0))? as u64)
        })
    }

    fn remove(&self, tenant: &str, through: u64) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        // The removal need not survive a power cut, so it does not wait for the disk: the log did not survive either.
        self.write_unsynced(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(()) };
            let mut delete = connection.prepare_cached("DELETE FROM pending_events WHERE tenant = ?1 AND seq <= ?2")?;
            delete.execute((tenant, through as i64))?;
            Ok(())
        })
    }

    fn overdue(&self, age: Duration) -> StoreFuture<Vec<String>> {
        self.read(move |connection| {
            let before = Timestamp::now().as_millisecond() - age.as_millis() as i64;
            let mut select = connection.prepare_cached(
                "SELECT name FROM tenants WHERE id IN (SELECT tenant FROM pending_events WHERE created_ms <= ?1)",
            )?;
            Ok(select.query_map([before], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}
