//! Reading of the data that a group needs.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::Client;
use futures_util::try_join;

use super::{Key, Known, Memory, RowState, Tenant};
use crate::postgres::{
    Failure,
    order_queue::{Work, Write},
    orders::{COLUMNS, order_of},
    row,
};
use tricast_domain::orders::{Customer, Order};

impl Memory {
    /// Reads the keys, orders and customers that the changes name.
    pub(super) async fn read(&mut self, client: &Client, group: &[Write]) -> Result<(), Failure> {
        let (mut keys, mut orders, mut customers) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut unnamed: HashMap<&str, usize> = HashMap::new();
        for write in group {
            let Some(id) = self.tenants.get(&write.tenant).map(|tenant| tenant.id) else { continue };
            match &write.work {
                Work::Create(draft, _) => {
                    keys.extend(draft.key.as_ref().map(|key| (id, key.as_str())));
                    customers.extend(draft.new.customer_id.as_deref().map(|customer| (id, customer)));
                }
                Work::Change(change, _) => drop(orders.insert((id, change.id.number() as i64))),
                Work::Customer(new, ..) => match new.customer_id.as_deref() {
                    Some(customer) => drop(customers.insert((id, customer))),
                    None => *unnamed.entry(&write.tenant).or_default() += 1,
                },
                Work::Visits(..) | Work::Recount(..) => {}
            }
        }
        try_join!(find_keys(client, keys), find_orders(client, orders), find_customers(client, customers)).map(
            |(keys, orders, customers)| {
                self.keys = keys;
                self.orders = orders;
                self.customers = customers;
            },
        )?;
        for (name, count) in unnamed {
            if let Some(tenant) = self.tenants.get_mut(name) {
                // The shop may use such an id for a customer of its own in the same group.
                let own =
                    self.customers.keys().filter(|(id, name)| *id == tenant.id && name.starts_with("cus-")).count();
                tenant.free_ids = free_ids(client, tenant, count + own).await?;
            }
        }
        Ok(())
    }
}

async fn find_keys(client: &Client, asked: HashSet<(i64, &str)>) -> Result<HashMap<(i64, String), Key>, Failure> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let find = client
        .prepare_cached(
            "SELECT k.tenant, k.key, k.digest, k.number, k.used_ms, o.created_ms FROM tricast_idempotency_keys AS k \
             JOIN unnest($1::bigint[], $2::text[]) AS asked (tenant, key) USING (tenant, key) \
             JOIN tricast_orders AS o ON o.tenant = k.tenant AND o.number = k.number",
        )
        .await?;
    let (tenants, keys): (Vec<i64>, Vec<&str>) = asked.into_iter().unzip();
    let mut known = HashMap::new();
    for row in client.query(&find, &[&tenants, &keys]).await? {
        let (used, created) = (row::time(&row, 4)?, row::time(&row, 5)?);
        let key = Key { digest: row.get(2), number: row.get(3), created, used, is_new: false };
        known.insert((row.get(0), row.get(1)), key);
    }
    Ok(known)
}

async fn find_orders(
    client: &Client,
    asked: HashSet<(i64, i64)>,
) -> Result<HashMap<(i64, i64), (Order, RowState)>, Failure> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT {COLUMNS}, tenant FROM tricast_orders \
         JOIN unnest($1::bigint[], $2::bigint[]) AS asked (tenant, number) USING (tenant, number)"
    );
    let find = client.prepare_cached(&sql).await?;
    let (tenants, numbers): (Vec<i64>, Vec<i64>) = asked.into_iter().unzip();
    let mut known = HashMap::new();
    for row in client.query(&find, &[&tenants, &numbers]).await? {
        known.insert((row.get(10), row.get(0)), (order_of(&row)?, RowState::Unchanged));
    }
    Ok(known)
}

async fn find_customers(
    client: &Client,
    asked: HashSet<(i64, &str)>,
) -> Result<HashMap<(i64, String), Known>, Failure> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let find = client
        .prepare_cached(
            "SELECT tenant, id, name, first_seen_ms FROM tricast_customers \
             JOIN unnest($1::bigint[], $2::text[]) AS asked (tenant, id) USING (tenant, id)",
        )
        .await?;
    let (tenants, ids): (Vec<i64>, Vec<&str>) = asked.into_iter().unzip();
    let mut known = HashMap::new();
    for row in client.query(&find, &[&tenants, &ids]).await? {
        let first_seen = row::time(&row, 3)?;
        known.insert((row.get(0), row.get(1)), Known { first_seen, name: row.get(2), changed: false });
    }
    Ok(known)
}

/// Returns the next generated ids that no customer of the tenant has.
async fn free_ids(client: &Client, tenant: &Tenant, count: usize) -> Result<Vec<(i64, String)>, Failure> {
    let find =
        client.prepare_cached("SELECT id FROM tricast_customers WHERE tenant = $1 AND id = ANY($2::text[])").await?;
    let mut free = Vec::with_capacity(count);
    let mut last = tenant.last_customer;
    while free.len() < count {
        let end = last + (count - free.len()) as i64;
        let ids: Vec<(i64, String)> = (last + 1..=end).map(|number| (number, Customer::generated_id(number))).collect();
        let names: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
        let rows = client.query(&find, &[&tenant.id, &names]).await?;
        let taken: HashSet<String> = rows.into_iter().map(|row| row.get(0)).collect();
        free.extend(ids.into_iter().filter(|(_, id)| !taken.contains(id)));
        last = end;
    }
    Ok(free)
}
