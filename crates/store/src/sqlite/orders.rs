//! Orders, customers, visits and their counts in SQLite.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Abort, SqliteStore, events, row, tenant, tenant_or_new};
use tricast_domain::orders::{
    Change, Changed, Created, Customer, Deleted, Draft, Effect, IdempotencyKey, Minute, Money, NewCustomer, Order,
    OrderError, OrderId, OrderStore, Priority, Query, Rollup, RowCounts, RowLimits, Status, StoreFuture, Tally,
};

const COLUMNS: &str =
    "number, version, status, priority, items, cents, customer_name, customer_id, created_ms, updated_ms";

impl OrderStore for SqliteStore {
    fn create(&self, tenant: &str, draft: Draft) -> StoreFuture<Created> {
        let tenant = tenant.to_owned();
        self.write(move |connection| create(connection, &tenant, draft))
    }

    fn change(&self, tenant: &str, change: Change) -> StoreFuture<Changed> {
        let tenant = tenant.to_owned();
        self.write(move |connection| self::change(connection, &tenant, change))
    }

    fn customer(&self, tenant: &str, customer: NewCustomer, at: Timestamp, limits: RowLimits) -> StoreFuture<Customer> {
        let tenant = tenant.to_owned();
        self.write(move |connection| self::customer(connection, &tenant, customer, at, limits))
    }

    fn delete_orders(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Deleted::default()) };
            // Numbers grow with time, so the oldest orders of a status are the first of its index.
            let mut delete = connection.prepare_cached(
                "DELETE FROM orders WHERE tenant = ?1 AND number IN (SELECT number FROM (SELECT number, created_ms \
                 FROM orders WHERE tenant = ?1 AND status = ?2 ORDER BY number LIMIT ?4) WHERE created_ms < ?3)",
            )?;
            let mut number = 0;
            for status in Status::ALL.into_iter().filter(|status| !status.is_open()) {
                let room = i64::try_from(most - number).unwrap_or(i64::MAX);
                number += delete.execute((tenant, status.as_str(), before.as_millisecond(), room))?;
            }
            let rows = RowCounts { orders: number as i64, customers: 0 };
            Ok(Deleted { number, tally: (number > 0).then(|| Tally::deleted(before, rows)) })
        })
    }

    fn delete_customers(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Deleted::default()) };
            let mut delete = connection.prepare_cached(
                "DELETE FROM customers WHERE tenant = ?1 AND id IN (SELECT id FROM customers \
                 WHERE tenant = ?1 AND first_seen_ms < ?2 ORDER BY first_seen_ms LIMIT ?3)",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let number = delete.execute((tenant, before.as_millisecond(), most))?;
            let rows = RowCounts { orders: 0, customers: number as i64 };
            Ok(Deleted { number, tally: (number > 0).then(|| Tally::deleted(before, rows)) })
        })
    }

    fn visits(&self, tenant: &str, count: u32, at: Timestamp) -> StoreFuture<Tally> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tally = Tally::visits(at, count);
            self::count(connection, tenant_or_new(connection, &tenant)?, tally)?;
            Ok(tally)
        })
    }

    fn order(&self, tenant: &str, id: OrderId) -> StoreFuture<Order> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(OrderError::NotFound)?;
            find(connection, tenant, id)
        })
    }

    fn orders(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Order>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Vec::new()) };
            let before = query.before.map_or(i64::MAX, |id| id.number() as i64);
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            // Two statements, because each has an index of its own.
            let orders = if let Some(status) = query.status {
                let sql = format!(
                    "SELECT {COLUMNS} FROM orders WHERE tenant = ?1 AND status = ?2 AND number < ?3 \
                     ORDER BY number DESC LIMIT ?4"
                );
                let mut select = connection.prepare_cached(&sql)?;
                let rows = select.query_map((tenant, status.as_str(), before, limit), order_of)?;
                rows.collect::<Result<_, _>>()?
            } else {
                let sql = format!(
                    "SELECT {COLUMNS} FROM orders WHERE tenant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"
                );
                let mut select = connection.prepare_cached(&sql)?;
                let rows = select.query_map((tenant, before, limit), order_of)?;
                rows.collect::<Result<_, _>>()?
            };
            Ok(orders)
        })
    }

    fn rollup(&self, tenant: &str, since: i64) -> StoreFuture<Rollup> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Rollup::default()) };
            let mut select = connection.prepare_cached(
                "SELECT minute, orders, cents, processing, customers, visits FROM minutes \
                 WHERE tenant = ?1 AND minute >= ?2 ORDER BY minute",
            )?;
            let minutes = select.query_map((tenant, since), |row| {
                let counts = Minute {
                    orders: row.get(1)?,
                    cents: row.get(2)?,
                    processing: row.get(3)?,
                    customers: row.get(4)?,
                    visits: row.get(5)?,
                };
                Ok((row.get(0)?, counts))
            })?;
            let minutes = minutes.collect::<Result<_, _>>()?;
            let mut totals =
                connection.prepare_cached("SELECT open_orders, orders, customers FROM tenants WHERE id = ?1")?;
            Ok(totals.query_row([tenant], |row| {
                let rows = RowCounts { orders: row.get(1)?, customers: row.get(2)? };
                Ok(Rollup { minutes, open: row.get(0)?, rows })
            })?)
        })
    }
}

fn create(connection: &Connection, tenant: &str, draft: Draft) -> Result<Created, Abort<OrderError>> {
    let tenant = tenant_or_new(connection, tenant)?;
    let (key, at, limits) = (draft.key.clone(), draft.at, draft.limits);
    let digest = draft.new.digest();
    if let Some(key) = &key
        && let Some(known) = known_key(connection, tenant, key, at)?
    {
        let first = find(connection, tenant, OrderId::new(known.number as u64))?;
        return Ok(Created::repeated(draft.new, &known.digest, first.order_id, first.created_at)?);
    }
    let mut next = connection
        .prepare_cached("UPDATE tenants SET last_order = last_order + 1 WHERE id = ?1 RETURNING last_order")?;
    let number: i64 = next.query_row([tenant], |row| row.get(0))?;
    let present = row_counts(connection, tenant)?;
    limits.check(present, RowCounts { orders: 1, customers: 0 })?;
    let (order, mut tally) = draft.accept(OrderId::new(number as u64));
    let mut insert = connection.prepare_cached(
        "INSERT INTO orders (tenant, number, version, status, priority, items, cents, customer_name, customer_id, \
         created_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
    )?;
    insert.execute((
        tenant,
        number,
        order.version as i64,
        order.status.as_str(),
        order.priority.as_str(),
        order.items,
        order.total.cents,
        &order.customer_name,
        &order.customer_id,
        at.as_millisecond(),
    ))?;
    if let Some(key) = &key {
        let mut note = connection.prepare_cached(
            "INSERT OR REPLACE INTO idempotency_keys (tenant, key, digest, number, used_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        note.execute((tenant, key.as_str(), &digest[..], number, at.as_millisecond()))?;
        let mut forget = connection.prepare_cached(
            "DELETE FROM idempotency_keys WHERE (tenant, key) IN \
             (SELECT tenant, key FROM idempotency_keys WHERE used_ms <= ?1 ORDER BY used_ms LIMIT ?2)",
        )?;
        forget.execute((IdempotencyKey::expired_at(at), IdempotencyKey::DELETED_WITH_EACH))?;
    }
    if let Some(id) = &order.customer_id
        && note_customer(connection, tenant, id, Some(&order.customer_name), at)?
    {
        tally = tally.and_customer();
        limits.check(present, tally.rows)?;
    }
    count(connection, tenant, tally)?;
    let event = events::add(connection, tenant, &order.created())?;
    Ok(Created { order, tally: Some(tally), event: Some(event) })
}

struct KnownKey {
    digest: Vec<u8>,
    number: i64,
}

fn known_key(
    connection: &Connection,
    tenant: i64,
    key: &IdempotencyKey,
    at: Timestamp,
) -> rusqlite::Result<Option<KnownKey>> {
    let mut find = connection.prepare_cached(
        "SELECT digest, number FROM idempotency_keys WHERE tenant = ?1 AND key = ?2 AND used_ms > ?3",
    )?;
    let known = |row: &Row<'_>| Ok(KnownKey { digest: row.get(0)?, number: row.get(1)? });
    find.query_row((tenant, key.as_str(), IdempotencyKey::expired_at(at)), known).optional()
}

fn change(connection: &Connection, tenant: &str, change: Change) -> Result<Changed, Abort<OrderError>> {
    let tenant = self::tenant(connection, tenant)?.ok_or(OrderError::NotFound)?;
    let mut order = find(connection, tenant, change.id)?;
    let Some(Effect { changes, tally, event }) = change.apply(&mut order)? else { return Ok(Changed::nothing(order)) };
    let mut update = connection.prepare_cached(
        "UPDATE orders SET version = ?3, status = ?4, priority = ?5, updated_ms = ?6 WHERE tenant = ?1 AND number = ?2",
    )?;
    update.execute((
        tenant,
        change.id.number() as i64,
        order.version as i64,
        order.status.as_str(),
        order.priority.as_str(),
        order.updated_at.as_millisecond(),
    ))?;
    if let Some(tally) = tally {
        count(connection, tenant, tally)?;
    }
    let event = events::add(connection, tenant, &event)?;
    Ok(Changed { order, changes, tally, event: Some(event) })
}

fn customer(
    connection: &Connection,
    tenant: &str,
    customer: NewCustomer,
    at: Timestamp,
    limits: RowLimits,
) -> Result<Customer, Abort<OrderError>> {
    let NewCustomer { customer_id, name } = customer;
    let tenant = tenant_or_new(connection, tenant)?;
    let present = row_counts(connection, tenant)?;
    let (id, is_new) = match customer_id {
        Some(id) => {
            let is_new = note_customer(connection, tenant, &id, name.as_deref(), at)?;
            (id, is_new)
        }
        None => (note_unnamed(connection, tenant, name.as_deref(), at)?, true),
    };
    let mut seen = connection.prepare_cached("SELECT first_seen_ms FROM customers WHERE tenant = ?1 AND id = ?2")?;
    let first_seen = seen.query_row((tenant, &id), |row| row::time(row, 0))?;
    let tally = is_new.then(|| Tally::customer(at));
    if let Some(tally) = tally {
        limits.check(present, tally.rows)?;
        count(connection, tenant, tally)?;
    }
    Ok(Customer { id, first_seen, tally })
}

/// Records a customer by the shop's id. Returns whether the customer is new. A later name replaces the earlier one.
fn note_customer(
    connection: &Connection,
    tenant: i64,
    id: &str,
    name: Option<&str>,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    if insert_customer(connection, tenant, id, name, at)? {
        return Ok(true);
    }
    if let Some(name) = name {
        let mut update = connection
            .prepare_cached("UPDATE customers SET name = ?3 WHERE tenant = ?1 AND id = ?2 AND name IS NOT ?3")?;
        update.execute((tenant, id, name))?;
    }
    Ok(false)
}

/// Records a customer under a generated id. Returns the id.
fn note_unnamed(connection: &Connection, tenant: i64, name: Option<&str>, at: Timestamp) -> rusqlite::Result<String> {
    loop {
        let mut next = connection.prepare_cached(
            "UPDATE tenants SET last_customer = last_customer + 1 WHERE id = ?1 RETURNING last_customer",
        )?;
        let number: i64 = next.query_row([tenant], |row| row.get(0))?;
        let id = Customer::generated_id(number);
        // The shop may use the same id for a customer of its own.
        if insert_customer(connection, tenant, &id, name, at)? {
            return Ok(id);
        }
    }
}

/// Records a customer unless the id exists. Returns whether the customer is new.
fn insert_customer(
    connection: &Connection,
    tenant: i64,
    id: &str,
    name: Option<&str>,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO customers (tenant, id, name, first_seen_ms) VALUES (?1, ?2, ?3, ?4)")?;
    Ok(insert.execute((tenant, id, name, at.as_millisecond()))? > 0)
}

/// Returns the numbers of rows of a tenant.
fn row_counts(connection: &Connection, tenant: i64) -> rusqlite::Result<RowCounts> {
    let mut find = connection.prepare_cached("SELECT orders, customers FROM tenants WHERE id = ?1")?;
    find.query_row([tenant], |row| Ok(RowCounts { orders: row.get(0)?, customers: row.get(1)? }))
}

/// Adds to the counts, in the transaction of the change that is counted.
fn count(connection: &Connection, tenant: i64, tally: Tally) -> rusqlite::Result<()> {
    // Triggers count the rows.
    let Tally { minute, counts, open, rows: _ } = tally;
    if counts != Minute::default() {
        let mut add = connection.prepare_cached(
            "INSERT INTO minutes (tenant, minute, orders, cents, processing, customers, visits) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, minute) DO UPDATE SET \
             orders = orders + excluded.orders, cents = cents + excluded.cents, \
             processing = processing + excluded.processing, customers = customers + excluded.customers, \
             visits = visits + excluded.visits",
        )?;
        let Minute { orders, cents, processing, customers, visits } = counts;
        add.execute((tenant, minute, orders, cents, processing, customers, visits))?;
    }
    if open != 0 {
        let mut add = connection.prepare_cached("UPDATE tenants SET open_orders = open_orders + ?2 WHERE id = ?1")?;
        add.execute((tenant, open))?;
    }
    Ok(())
}

fn find(connection: &Connection, tenant: i64, id: OrderId) -> Result<Order, Abort<OrderError>> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE tenant = ?1 AND number = ?2");
    let mut select = connection.prepare_cached(&sql)?;
    select.query_row((tenant, id.number() as i64), order_of).optional()?.ok_or(OrderError::NotFound.into())
}

fn order_of(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        order_id: OrderId::new(row.get::<_, i64>(0)? as u64),
        version: row.get::<_, i64>(1)? as u64,
        status: row::parsed(row, 2, Status::parse)?,
        priority: row::parsed(row, 3, Priority::parse)?,
        items: row.get(4)?,
        total: Money { cents: row.get(5)? },
        customer_name: row.get(6)?,
        customer_id: row.get(7)?,
        created_at: row::time(row, 8)?,
        updated_at: row::time(row, 9)?,
    })
}
