//! Events that are stored with the changes that cause them, in PostgreSQL.
//!
//! Each event belongs to a stream: to the one that all nodes share if they have a bus, and otherwise to that of the
//! node that stored it. Overdue events of a stopped node are moved into the stream of another node.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::Client;
use tokio_postgres::Row;

use super::PostgresStore;
use crate::activity::Kind;
use tricast_domain::{
    relay::{EventStore, NewEvent, Pending, PendingEvent, StoreFuture},
    service::StoreError,
};

/// Age at which events of another stream are overdue: a running node publishes its own within moments.
const LEFT: Duration = Duration::from_secs(10);

/// Stores an event in the transaction of its change, under the tenant's lock. Returns the sequence number, which is
/// [`next_seq`](tricast_domain::relay::next_seq).
pub(super) async fn add(
    client: &Client,
    tenant: i64,
    stream: &str,
    event: &NewEvent,
) -> Result<u64, tokio_postgres::Error> {
    let add = client
        .prepare_cached(
            "WITH clock AS (SELECT extract(epoch FROM clock_timestamp()) AS now), \
             next AS (UPDATE tricast_tenants SET last_event = greatest(last_event + 1, \
                 (SELECT (now * 1000000)::bigint FROM clock)) WHERE id = $1 RETURNING last_event) \
             INSERT INTO tricast_pending_events (tenant, stream, seq, channel, event, data, created_ms) \
             SELECT $1, $2, last_event, $3, $4, $5, (now * 1000)::bigint FROM next, clock RETURNING seq",
        )
        .await?;
    let NewEvent { channel, event, data } = event;
    let row = client.query_one(&add, &[&tenant, &stream, channel, event, data]).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

impl PostgresStore {
    /// Returns the stream of the events that this process stores.
    pub(super) fn stream(&self) -> Arc<str> {
        Arc::clone(&self.inner.link.stream)
    }

    /// Moves the overdue events of other streams of a tenant to the end of this stream.
    async fn adopt(&self, tenant: &str) -> Result<(), StoreError> {
        let (stream, left) = (self.stream(), LEFT.as_millis() as i64);
        let adopted: StoreFuture<u64> = self.transact("events", tenant, move |client, tenant| {
            Box::pin(async move {
                let adopt = client
                    .prepare_cached(
                        "WITH clock AS (SELECT extract(epoch FROM clock_timestamp()) AS now), \
                         old AS (DELETE FROM tricast_pending_events WHERE tenant = $1 AND stream <> $2 \
                             AND created_ms <= (SELECT (now * 1000)::bigint FROM clock) - $3 \
                             RETURNING seq, channel, event, data, created_ms), \
                         next AS (UPDATE tricast_tenants SET last_event = (SELECT count(*) FROM old) + \
                             greatest(last_event, (SELECT (now * 1000000)::bigint FROM clock)) \
                             WHERE id = $1 RETURNING last_event) \
                         INSERT INTO tricast_pending_events (tenant, stream, seq, channel, event, data, created_ms) \
                         SELECT $1, $2, last_event - (SELECT count(*) FROM old) + row_number() OVER (ORDER BY seq), \
                             channel, event, data, created_ms FROM old, next",
                    )
                    .await?;
                Ok(client.execute(&adopt, &[&tenant, &&*stream, &left]).await?)
            })
        });
        let events = adopted.await?;
        tracing::warn!(tenant, events, "publishing overdue events of a stopped node");
        Ok(())
    }
}

impl EventStore for PostgresStore {
    fn pending(&self, tenant: &str, after: u64, limit: usize) -> StoreFuture<Pending> {
        let (tenant, stream) = (tenant.to_owned(), self.stream());
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let select = client
                    .prepare_cached(
                        "SELECT e.seq, e.channel, e.event, e.data, i.id FROM tricast_pending_events AS e, \
                         tricast_identity AS i WHERE e.tenant = (SELECT id FROM tricast_tenants WHERE name = $1) \
                         AND e.stream = $2 AND e.seq > $3 ORDER BY e.seq LIMIT $4",
                    )
                    .await?;
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows = client.query(&select, &[&tenant, &&*stream, &(after as i64), &limit]).await?;
                let source = rows.first().map(|row| row.get::<_, String>(4)).unwrap_or_default();
                let source = if stream.is_empty() { source } else { format!("{source}/{stream}") };
                let event = |row: &Row| PendingEvent {
                    seq: row.get::<_, i64>(0) as u64,
                    channel: row.get(1),
                    event: row.get(2),
                    data: row.get(3),
                };
                Ok(Pending { source, events: rows.iter().map(event).collect() })
            })
        })
    }

    fn count(&self, tenant: &str, after: u64) -> StoreFuture<u64> {
        let (tenant, stream) = (tenant.to_owned(), self.stream());
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let count = client
                    .prepare_cached(
                        "SELECT count(*) FROM tricast_pending_events WHERE stream = $2 AND seq > $3 \
                         AND tenant = (SELECT id FROM tricast_tenants WHERE name = $1)",
                    )
                    .await?;
                let row = client.query_one(&count, &[&tenant, &&*stream, &(after as i64)]).await?;
                Ok(row.get::<_, i64>(0) as u64)
            })
        })
    }

    fn remove(&self, tenant: &str, through: u64) -> StoreFuture<()> {
        let (tenant, stream) = (tenant.to_owned(), self.stream());
        self.read_on_pool(Kind::Write, move |client| {
            Box::pin(async move {
                // The removal need not survive a power cut: an event that is published again is recognized by its
                // sequence number.
                client.batch_execute("BEGIN; SET LOCAL synchronous_commit = off").await?;
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_pending_events WHERE stream = $2 AND seq <= $3 \
                         AND tenant = (SELECT id FROM tricast_tenants WHERE name = $1)",
                    )
                    .await;
                let deleted = match delete {
                    Ok(delete) => client.execute(&delete, &[&tenant, &&*stream, &(through as i64)]).await,
                    Err(error) => Err(error),
                };
                // The connection is used again, whatever the result.
                client.batch_execute("COMMIT").await?;
                Ok(deleted.map(drop)?)
            })
        })
    }

    fn overdue(&self, age: Duration) -> StoreFuture<Vec<String>> {
        let store = self.clone();
        Box::pin(async move {
            for tenant in store.with_events("<>", LEFT).await? {
                store.adopt(&tenant).await?;
            }
            store.with_events("=", age).await
        })
    }
}

impl PostgresStore {
    /// Returns the tenants with an event that is pending for longer than `age`, in a stream that compares so with this
    /// one's.
    fn with_events(&self, comparison: &'static str, age: Duration) -> StoreFuture<Vec<String>> {
        let (stream, age) = (self.stream(), age.as_millis() as i64);
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT name FROM tricast_tenants WHERE id IN (SELECT tenant FROM tricast_pending_events \
                     WHERE stream {comparison} $1 \
                     AND created_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2)"
                );
                let select = client.prepare_cached(&sql).await?;
                Ok(client.query(&select, &[&&*stream, &age]).await?.iter().map(|row| row.get(0)).collect())
            })
        })
    }
}
