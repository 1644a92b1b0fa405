//! Deliveries of alerts, in SQLite.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::row;
use tricast_domain::alerts::{Delivery, Outgoing, Settlement, Target, Waiting};

/// Adds as many deliveries as there is room for. Returns their number.
pub(super) fn add(connection: &Connection, tenant: i64, outgoing: &Outgoing) -> rusqlite::Result<usize> {
    if outgoing.deliveries.is_empty() {
        return Ok(0);
    }
    let mut count = connection.prepare_cached("SELECT count(*) FROM outbox WHERE tenant = ?1")?;
    let waiting: i64 = count.query_row([tenant], |row| row.get(0))?;
    let fitting = outgoing.fitting(waiting);
    let mut insert = connection.prepare_cached(
        "INSERT INTO outbox (id, tenant, target, alert, body, created_ms, due_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    for delivery in fitting {
        let at = delivery.at.as_millisecond();
        insert.execute((&delivery.id, tenant, delivery.target.as_str(), &delivery.alert, &delivery.body, at))?;
    }
    Ok(fitting.len())
}

/// Takes deliveries that are due.
pub(super) fn take(
    connection: &Connection,
    target: Target,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Delivery>> {
    let mut select = connection.prepare_cached(
        "SELECT outbox.id, tenants.name, alert, body, created_ms, attempts + 1 FROM outbox \
         JOIN tenants ON tenants.id = outbox.tenant \
         WHERE target = ?1 AND due_ms <= ?2 AND NOT EXISTS (SELECT 1 FROM outbox AS before WHERE \
             before.tenant = outbox.tenant AND before.alert = outbox.alert AND before.target = outbox.target AND \
             before.number < outbox.number) \
         ORDER BY due_ms, number LIMIT ?3",
    )?;
    let delivery = |row: &Row<'_>| {
        Ok(Delivery {
            id: row.get(0)?,
            tenant: row.get(1)?,
            target,
            alert: row.get(2)?,
            body: row.get(3)?,
            at: row::time(row, 4)?,
            attempt: row.get(5)?,
        })
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let taken: Vec<_> =
        select.query_map((target.as_str(), now.as_millisecond(), limit), delivery)?.collect::<Result<_, _>>()?;
    let mut update =
        connection.prepare_cached("UPDATE outbox SET attempts = attempts + 1, due_ms = ?2 WHERE id = ?1")?;
    for delivery in &taken {
        update.execute((&delivery.id, until.as_millisecond()))?;
    }
    Ok(taken)
}

/// Records the result of an attempt. Returns false if another process has taken the delivery meanwhile.
pub(super) fn settle(
    connection: &Connection,
    id: &str,
    attempt: u32,
    settlement: Settlement,
) -> rusqlite::Result<bool> {
    let changed = match settlement {
        Settlement::Done => {
            connection.prepare_cached("DELETE FROM outbox WHERE id = ?1 AND attempts = ?2")?.execute((id, attempt))?
        }
        Settlement::Retry(due) => connection
            .prepare_cached("UPDATE outbox SET due_ms = ?3 WHERE id = ?1 AND attempts = ?2")?
            .execute((id, attempt, due.as_millisecond()))?,
    };
    Ok(changed > 0)
}

/// Returns the waiting deliveries of each target.
pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<Waiting>> {
    let mut select =
        connection.prepare_cached("SELECT target, count(*), min(created_ms) FROM outbox GROUP BY target")?;
    let waiting = |row: &Row<'_>| {
        let target = row::parsed(row, 0, Target::parse)?;
        Ok(Waiting { target, count: row.get::<_, i64>(1)? as u64, oldest: Some(row::time(row, 2)?) })
    };
    select.query_map([], waiting)?.collect()
}
