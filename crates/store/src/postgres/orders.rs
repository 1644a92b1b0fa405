//! Orders, customers, visits and their counts in PostgreSQL. Changes are queued for the writer.

use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Abort, Failure, PostgresStore, order_queue::Work, row, tenant};
use crate::activity::Kind;
use tricast_domain::orders::{
    Answer, Change, Changed, Created, Customer, Draft, Minute, Money, NewCustomer, Order, OrderError, OrderId,
    OrderStore, Priority, Query, Rollup, Status, Tally,
};

/// Interval at which a node checks whether another node has changed the figures: one row is read, if not.
const RECOUNT: Duration = Duration::from_secs(5);

pub(super) const COLUMNS: &str =
    "number, version, status, priority, items, cents, customer_name, customer_id, created_ms, updated_ms";

impl OrderStore for PostgresStore {
    fn create(&self, tenant: &str, draft: Draft) -> Answer<Created> {
        self.write(tenant, |slot| Work::Create(draft, slot))
    }

    fn change(&self, tenant: &str, change: Change) -> Answer<Changed> {
        self.write(tenant, |slot| Work::Change(change, slot))
    }

    fn customer(&self, tenant: &str, customer: NewCustomer, at: Timestamp) -> Answer<Customer> {
        self.write(tenant, |slot| Work::Customer(customer, at, slot))
    }

    fn visits(&self, tenant: &str, count: u32, at: Timestamp) -> Answer<Tally> {
        self.write(tenant, |slot| Work::Visits(count, at, slot))
    }

    fn order(&self, tenant: &str, id: OrderId) -> Answer<Order> {
        let tenant = tenant.to_owned();
        self.ask(Kind::Read, move |client| {
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

    fn orders(&self, tenant: &str, query: Query) -> Answer<Vec<Order>> {
        let tenant = tenant.to_owned();
        self.ask(Kind::Read, move |client| Box::pin(page(client, tenant, query)))
    }

    fn rollup(&self, tenant: &str, since: i64) -> Answer<Rollup> {
        let tenant = tenant.to_owned();
        self.ask(Kind::Read, move |client| {
            Box::pin(async move {
                Ok(read_rollup(client, &tenant, since).await?.map(|(_, rollup)| rollup).unwrap_or_default())
            })
        })
    }

    fn recount(&self, tenant: &str, since: i64) -> Answer<Option<Rollup>> {
        self.write(tenant, |slot| Work::Recount(since, slot))
    }

    fn recount_every(&self) -> Option<Duration> {
        Some(RECOUNT)
    }
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
                "SELECT t.revision, t.open_orders, m.minute, m.orders, m.cents, m.processing, m.customers, m.visits \
                 FROM tricast_tenants AS t LEFT JOIN tricast_minutes AS m ON m.tenant = t.id AND m.minute >= $2 \
                 WHERE t.name = $1 ORDER BY m.minute",
            )
            .await?;
        let rows = client.query(&select, &[&tenant, &since]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (revision, open) = (first.get(0), first.get(1));
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
        Ok(Some((revision, Rollup { minutes: rows.iter().filter_map(counts).collect(), open })))
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
