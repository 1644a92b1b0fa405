//! Orders, customers, visits and their counts in PostgreSQL. Changes are queued for the writer.

use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Abort, Failure, PostgresStore, order_queue::Work, row, tenant};
use crate::activity::Kind;
use tricast_domain::orders::{
    Change, Changed, Created, Customer, Deleted, Draft, Minute, Money, NewCustomer, Order, OrderError, OrderId,
    OrderStore, Priority, Query, Rollup, RowCounts, RowLimits, Status, StoreFuture, Tally,
};

/// Interval at which a node checks whether another node has changed the figures: one row is read, if not.
const RECOUNT: Duration = Duration::from_secs(5);

pub(super) const COLUMNS: &str =
    "number, version, status, priority, items, cents, customer_name, customer_id, created_ms, updated_ms";

impl OrderStore for PostgresStore {
    fn create(&self, tenant: &str, draft: Draft) -> StoreFuture<Created> {
        self.write(tenant, |slot| Work::Create(draft, slot))
    }

    fn change(&self, tenant: &str, change: Change) -> StoreFuture<Changed> {
        self.write(tenant, |slot| Work::Change(change, slot))
    }

    fn customer(&self, tenant: &str, customer: NewCustomer, at: Timestamp, limits: RowLimits) -> StoreFuture<Customer> {
        self.write(tenant, |slot| Work::Customer(customer, at, limits, slot))
    }

    fn delete_orders(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted> {
        self.transact("delete orders", tenant, move |client, tenant| {
            Box::pin(async move {
                // Numbers grow with time, so the oldest orders of a status are the first of its index.
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_orders WHERE tenant = $1 AND number IN (SELECT number FROM \
                         (SELECT number, created_ms FROM tricast_orders WHERE tenant = $1 AND status = $2 \
                         ORDER BY number LIMIT $4) AS oldest WHERE created_ms < $3)",
                    )
                    .await?;
                let mut number = 0;
                for status in Status::ALL.into_iter().filter(|status| !status.is_open()) {
                    let room = i64::try_from(most - number).unwrap_or(i64::MAX);
                    let before = before.as_millisecond();
                    number += client.execute(&delete, &[&tenant, &status.as_str(), &before, &room]).await? as usize;
                }
                deleted(client, tenant, number).await
            })
        })
    }

    fn delete_customers(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted> {
        self.transact("delete customers", tenant, move |client, tenant| {
            Box::pin(async move {
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_customers WHERE tenant = $1 AND id IN (SELECT id FROM tricast_customers \
                         WHERE tenant = $1 AND first_seen_ms < $2 ORDER BY first_seen_ms LIMIT $3)",
                    )
                    .await?;
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let number = client.execute(&delete, &[&tenant, &before.as_millisecond(), &most]).await?;
                deleted(client, tenant, number as usize).await
            })
        })
    }

    fn visits(&self, tenant: &str, count: u32, at: Timestamp) -> StoreFuture<Tally> {
        self.write(tenant, |slot| Work::Visits(count, at, slot))
    }

    fn order(&self, tenant: &str, id: OrderId) -> StoreFuture<Order> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {COLUMNS} FROM tricast_orders \
                     WHERE tenant = (SELECT id FROM tricast_tenants WHERE name = $1) AND number = $2"
                );
                let find = client.prepare_cached(&sql).await?;
                let row = client.query_opt(&find, &[&tenant, &(id.number() as i64)]).await?;
                Ok(order_of(&row.ok_or(OrderError::NotFound)?)?)
            })
        })
    }

    fn orders(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Order>> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| Box::pin(page(client, tenant, query)))
    }

    fn rollup(&self, tenant: &str, since: i64) -> StoreFuture<Rollup> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                Ok(read_rollup(client, &tenant, since).await?.map(|(_, rollup)| rollup).unwrap_or_default())
            })
        })
    }

    fn recount(&self, tenant: &str, since: i64) -> StoreFuture<Option<Rollup>> {
        self.write(tenant, |slot| Work::Recount(since, slot))
    }

    fn recount_every(&self) -> Option<Duration> {
        Some(RECOUNT)
    }
}

/// Has every node count again, this one included, if rows were deleted.
async fn deleted(client: &Client, tenant: i64, number: usize) -> Result<Deleted, Abort<OrderError>> {
    if number > 0 {
        let note = client.prepare_cached("UPDATE tricast_tenants SET revision = revision + 1 WHERE id = $1").await?;
        client.execute(&note, &[&tenant]).await?;
    }
    Ok(Deleted { number, tally: None })
}

async fn page(client: &Client, name: String, query: Query) -> Result<Vec<Order>, Abort<OrderError>> {
    let Some(tenant) = tenant(client, &name).await? else { return Ok(Vec::new()) };
    let before = query.before.map_or(i64::MAX, |id| id.number() as i64);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    // Two statements, because each has an index of its own.
    let rows = if let Some(status) = query.status {
        let sql = format!(
            "SELECT {COLUMNS} FROM tricast_orders WHERE tenant = $1 AND status = $2 AND number < $3 \
             ORDER BY number DESC LIMIT $4"
        );
        let select = client.prepare_cached(&sql).await?;
        client.query(&select, &[&tenant, &status.as_str(), &before, &limit]).await?
    } else {
        let sql = format!(
            "SELECT {COLUMNS} FROM tricast_orders WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3"
        );
        let select = client.prepare_cached(&sql).await?;
        client.query(&select, &[&tenant, &before, &limit]).await?
    };
    Ok(rows.iter().map(order_of).collect::<Result<_, _>>()?)
}

/// Reads the figures of a tenant with their revision, in one snapshot; `None` for a tenant that never wrote.
pub(super) fn read_rollup<'a>(
    client: &'a Client,
    tenant: &'a str,
    since: i64,
) -> BoxFuture<'a, Result<Option<(i64, Rollup)>, tokio_postgres::Error>> {
    Box::pin(async move {
        let select = client
            .prepare_cached(
                "SELECT t.revision, t.open_orders, m.minute, m.orders, m.cents, m.processing, m.customers, m.visits, \
                 t.orders, t.customers \
                 FROM tricast_tenants AS t LEFT JOIN tricast_minutes AS m ON m.tenant = t.id AND m.minute >= $2 \
                 WHERE t.name = $1 ORDER BY m.minute",
            )
            .await?;
        let rows = client.query(&select, &[&tenant, &since]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (revision, open) = (first.get(0), first.get(1));
        let row_counts = RowCounts { orders: first.get(8), customers: first.get(9) };
        let counts = |row: &Row| {
            let minute: Option<i64> = row.get(2);
            minute.map(|minute| {
                let counts = Minute {
                    orders: row.get(3),
                    cents: row.get(4),
                    processing: row.get(5),
                    customers: row.get(6),
                    visits: row.get(7),
                };
                (minute, counts)
            })
        };
        let minutes = rows.iter().filter_map(counts).collect();
        Ok(Some((revision, Rollup { minutes, open, rows: row_counts })))
    })
}

/// Reads an order from a row of [`COLUMNS`].
pub(super) fn order_of(row: &Row) -> Result<Order, Failure> {
    let items: i64 = row.get(4);
    Ok(Order {
        order_id: OrderId::new(row.get::<_, i64>(0) as u64),
        version: row.get::<_, i64>(1) as u64,
        status: row::parsed(row, 2, Status::parse)?,
        priority: row::parsed(row, 3, Priority::parse)?,
        items: u32::try_from(items).map_err(|_| Failure::Row(format!("{items} items")))?,
        total: Money { cents: row.get(5) },
        customer_name: row.get(6),
        customer_id: row.get(7),
        created_at: row::time(row, 8)?,
        updated_at: row::time(row, 9)?,
    })
}
