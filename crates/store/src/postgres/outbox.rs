//! Deliveries of alerts, in PostgreSQL.

use deadpool_postgres::Client;
use jiff::Timestamp;

use super::{Abort, Failure, row};
use tricast_domain::alerts::{AlertError, Delivery, Outgoing, Settlement, Target, Waiting};

/// Adds as many deliveries as there is room for, under the tenant's lock. Returns their number.
pub(super) async fn add(client: &Client, tenant: i64, outgoing: &Outgoing) -> Result<usize, Abort<AlertError>> {
    if outgoing.deliveries.is_empty() {
        return Ok(0);
    }
    let count = client.prepare_cached("SELECT count(*) FROM tricast_outbox WHERE tenant = $1").await?;
    let waiting: i64 = client.query_one(&count, &[&tenant]).await?.get(0);
    let fitting = outgoing.fitting(waiting);
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_outbox (id, tenant, target, alert, body, created_ms, due_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .await?;
    for delivery in fitting {
        let (target, at) = (delivery.target.as_str(), delivery.at.as_millisecond());
        client.execute(&insert, &[&delivery.id, &tenant, &target, &delivery.alert, &delivery.body, &at]).await?;
    }
    Ok(fitting.len())
}

/// Takes deliveries that are due. Those that another node takes at this moment are skipped.
pub(super) async fn take(
    client: &Client,
    target: Target,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, Abort<AlertError>> {
    let take = client
        .prepare_cached(
            "WITH due AS (SELECT number, due_ms FROM tricast_outbox AS o WHERE target = $1 AND due_ms <= $2 \
                 AND NOT EXISTS (SELECT FROM tricast_outbox AS before WHERE before.tenant = o.tenant \
                     AND before.alert = o.alert AND before.target = o.target AND before.number < o.number) \
                 ORDER BY due_ms, number LIMIT $4 FOR UPDATE SKIP LOCKED) \
             UPDATE tricast_outbox AS o SET attempts = attempts + 1, due_ms = $3 FROM due, tricast_tenants AS t \
             WHERE o.number = due.number AND t.id = o.tenant \
             RETURNING due.due_ms, o.number, o.id, t.name, o.alert, o.body, o.created_ms, o.attempts",
        )
        .await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows =
        client.query(&take, &[&target.as_str(), &now.as_millisecond(), &until.as_millisecond(), &limit]).await?;
    rows.sort_by_key(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
    let delivery = |row: &tokio_postgres::Row| {
        Ok::<_, Failure>(Delivery {
            id: row.get(2),
            tenant: row.get(3),
            target,
            alert: row.get(4),
            body: row.get(5),
            at: row::time(row, 6)?,
            attempt: u32::try_from(row.get::<_, i64>(7)).unwrap_or(u32::MAX),
        })
    };
    Ok(rows.iter().map(delivery).collect::<Result<_, _>>()?)
}

/// Records the result of an attempt. Returns false if another process has taken the delivery meanwhile.
pub(super) async fn settle(
    client: &Client,
    id: String,
    attempt: u32,
    settlement: Settlement,
) -> Result<bool, Abort<AlertError>> {
    let attempt = i64::from(attempt);
    let changed = match settlement {
        Settlement::Done => {
            let delete = client.prepare_cached("DELETE FROM tricast_outbox WHERE id = $1 AND attempts = $2").await?;
            client.execute(&delete, &[&id, &attempt]).await?
        }
        Settlement::Retry(due) => {
            let update =
                client.prepare_cached("UPDATE tricast_outbox SET due_ms = $3 WHERE id = $1 AND attempts = $2").await?;
            client.execute(&update, &[&id, &attempt, &due.as_millisecond()]).await?
        }
    };
    Ok(changed > 0)
}

/// Returns the waiting deliveries of each target.
pub(super) async fn waiting(client: &Client) -> Result<Vec<Waiting>, Abort<AlertError>> {
    let select =
        client.prepare_cached("SELECT target, count(*), min(created_ms) FROM tricast_outbox GROUP BY target").await?;
    let rows = client.query(&select, &[]).await?;
    let waiting = |row: &tokio_postgres::Row| {
        let target = row::parsed(row, 0, Target::parse)?;
        Ok::<_, Failure>(Waiting {
            target,
            count: row.get::<_, i64>(1).unsigned_abs(),
            oldest: Some(row::time(row, 2)?),
        })
    };
    Ok(rows.iter().map(waiting).collect::<Result<_, _>>()?)
}
