//! Writing of the results of a group.

use deadpool_postgres::Client;
use futures_util::try_join;

use super::{Memory, RowState};
use crate::postgres::Failure;
use tricast_domain::{
    orders::{IdempotencyKey, Minute, Order},
    relay::NewEvent,
};

impl Memory {
    /// Writes the results. The statements are sent together; PostgreSQL executes them one after the other.
    pub(super) async fn write(&self, client: &Client, stream: &str) -> Result<(), Failure> {
        try_join!(
            self.write_tenants(client),
            self.write_orders(client),
            self.update_orders(client),
            self.write_keys(client),
            self.write_customers(client),
            self.write_minutes(client),
            self.write_events(client, stream),
        )?;
        Ok(())
    }

    async fn write_tenants(&self, client: &Client) -> Result<(), Failure> {
        let sql = "UPDATE tricast_tenants AS t SET last_order = n.last_order, last_customer = n.last_customer, \
                   open_orders = t.open_orders + n.open, revision = t.revision + n.revision, last_event = n.last_event \
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
                   AS n (id, last_order, last_customer, open, revision, last_event) WHERE t.id = n.id";
        let (mut ids, mut last_orders, mut last_customers, mut open, mut revisions, mut last_events) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for tenant in self.tenants.values().filter(|tenant| tenant.counted || tenant.has_events) {
            ids.push(tenant.id);
            last_orders.push(tenant.last_order);
            last_customers.push(tenant.last_customer);
            open.push(tenant.open);
            revisions.push(i64::from(tenant.counted));
            last_events.push(tenant.last_event);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &[&ids, &last_orders, &last_customers, &open, &revisions, &last_events]).await?;
        Ok(())
    }

    async fn write_events(&self, client: &Client, stream: &str) -> Result<(), Failure> {
        if self.events.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO tricast_pending_events (tenant, stream, seq, channel, event, data, created_ms) \
                   SELECT n.tenant, $1, n.seq, n.channel, n.event, n.data, $2 \
                   FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[]) \
                   AS n (tenant, seq, channel, event, data)";
        let tenants: Vec<i64> = self.events.iter().map(|(tenant, ..)| *tenant).collect();
        let places: Vec<i64> = self.events.iter().map(|(_, seq, _)| *seq).collect();
        let texts = |read: fn(&NewEvent) -> &str| self.events.iter().map(|(.., event)| read(event)).collect::<Vec<_>>();
        let statement = client.prepare_cached(sql).await?;
        client
            .execute(
                &statement,
                &[
                    &stream,
                    &(self.now / 1_000),
                    &tenants,
                    &places,
                    &texts(|event| event.channel),
                    &texts(|event| event.event),
                    &texts(|event| &event.data),
                ],
            )
            .await?;
        Ok(())
    }

    async fn write_orders(&self, client: &Client) -> Result<(), Failure> {
        let sql = "INSERT INTO tricast_orders (tenant, number, version, status, priority, items, cents, customer_name, \
                   customer_id, created_ms, updated_ms) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], \
                   $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], \
                   $11::bigint[])";
        let rows: Vec<_> = self.orders.iter().filter(|(_, (_, state))| *state == RowState::Inserted).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let numbers = |read: fn(&Order) -> i64| rows.iter().map(|(_, (order, _))| read(order)).collect::<Vec<_>>();
        let tenants: Vec<i64> = rows.iter().map(|((tenant, _), _)| *tenant).collect();
        let ids: Vec<i64> = rows.iter().map(|((_, number), _)| *number).collect();
        let statuses: Vec<&str> = rows.iter().map(|(_, (order, _))| order.status.as_str()).collect();
        let priorities: Vec<&str> = rows.iter().map(|(_, (order, _))| order.priority.as_str()).collect();
        let names: Vec<&str> = rows.iter().map(|(_, (order, _))| order.customer_name.as_str()).collect();
        let customers: Vec<Option<&str>> = rows.iter().map(|(_, (order, _))| order.customer_id.as_deref()).collect();
        let statement = client.prepare_cached(sql).await?;
        client
            .execute(
                &statement,
                &[
                    &tenants,
                    &ids,
                    &numbers(|order| order.version as i64),
                    &statuses,
                    &priorities,
                    &numbers(|order| order.items.into()),
                    &numbers(|order| order.total.cents),
                    &names,
                    &customers,
                    &numbers(|order| order.created_at.as_millisecond()),
                    &numbers(|order| order.updated_at.as_millisecond()),
                ],
            )
            .await?;
        Ok(())
    }

    async fn update_orders(&self, client: &Client) -> Result<(), Failure> {
        let sql = "UPDATE tricast_orders AS o SET version = n.version, status = n.status, priority = n.priority, \
                   updated_ms = n.updated FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], \
                   $6::bigint[]) AS n (tenant, number, version, status, priority, updated) \
                   WHERE o.tenant = n.tenant AND o.number = n.number";
        let rows: Vec<_> = self.orders.iter().filter(|(_, (_, state))| *state == RowState::Updated).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let tenants: Vec<i64> = rows.iter().map(|((tenant, _), _)| *tenant).collect();
        let ids: Vec<i64> = rows.iter().map(|((_, number), _)| *number).collect();
        let versions: Vec<i64> = rows.iter().map(|(_, (order, _))| order.version as i64).collect();
        let statuses: Vec<&str> = rows.iter().map(|(_, (order, _))| order.status.as_str()).collect();
        let priorities: Vec<&str> = rows.iter().map(|(_, (order, _))| order.priority.as_str()).collect();
        let updated: Vec<i64> = rows.iter().map(|(_, (order, _))| order.updated_at.as_millisecond()).collect();
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &[&tenants, &ids, &versions, &statuses, &priorities, &updated]).await?;
        Ok(())
    }

    async fn write_keys(&self, client: &Client) -> Result<(), Failure> {
        let note = "INSERT INTO tricast_idempotency_keys (tenant, key, digest, number, used_ms) \
                    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[]) \
                    ON CONFLICT (tenant, key) DO UPDATE SET digest = excluded.digest, number = excluded.number, \
                    used_ms = excluded.used_ms";
        // Also deletes keys of other tenants, but none that is locked, so that no node waits for another here.
        let forget = "DELETE FROM tricast_idempotency_keys WHERE (tenant, key) IN (SELECT tenant, key \
                      FROM tricast_idempotency_keys WHERE used_ms <= $1 ORDER BY used_ms LIMIT $2 \
                      FOR UPDATE SKIP LOCKED)";
        let rows: Vec<_> = self.keys.iter().filter(|(_, key)| key.is_new).collect();
        let Some(first) = rows.iter().map(|(_, key)| key.used).min() else { return Ok(()) };
        let tenants: Vec<i64> = rows.iter().map(|((tenant, _), _)| *tenant).collect();
        let keys: Vec<&str> = rows.iter().map(|((_, key), _)| key.as_str()).collect();
        let digests: Vec<&[u8]> = rows.iter().map(|(_, key)| key.digest.as_slice()).collect();
        let numbers: Vec<i64> = rows.iter().map(|(_, key)| key.number).collect();
        let used: Vec<i64> = rows.iter().map(|(_, key)| key.used.as_millisecond()).collect();
        let statement = client.prepare_cached(note).await?;
        client.execute(&statement, &[&tenants, &keys, &digests, &numbers, &used]).await?;
        let statement = client.prepare_cached(forget).await?;
        client
            .execute(
                &statement,
                &[&IdempotencyKey::expired_at(first), &(IdempotencyKey::DELETED_WITH_EACH * rows.len() as i64)],
            )
            .await?;
        Ok(())
    }

    async fn write_customers(&self, client: &Client) -> Result<(), Failure> {
        let sql = "INSERT INTO tricast_customers (tenant, id, name, first_seen_ms) \
                   SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) \
                   ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name";
        let rows: Vec<_> = self.customers.iter().filter(|(_, known)| known.changed).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let tenants: Vec<i64> = rows.iter().map(|((tenant, _), _)| *tenant).collect();
        let ids: Vec<&str> = rows.iter().map(|((_, id), _)| id.as_str()).collect();
        let names: Vec<Option<&str>> = rows.iter().map(|(_, known)| known.name.as_deref()).collect();
        let seen: Vec<i64> = rows.iter().map(|(_, known)| known.first_seen.as_millisecond()).collect();
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &[&tenants, &ids, &names, &seen]).await?;
        Ok(())
    }

    async fn write_minutes(&self, client: &Client) -> Result<(), Failure> {
        let sql = "INSERT INTO tricast_minutes AS m (tenant, minute, orders, cents, processing, customers, visits) \
                   SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], \
                   $6::bigint[], $7::bigint[]) ON CONFLICT (tenant, minute) DO UPDATE SET \
                   orders = m.orders + excluded.orders, cents = m.cents + excluded.cents, \
                   processing = m.processing + excluded.processing, customers = m.customers + excluded.customers, \
                   visits = m.visits + excluded.visits";
        let rows: Vec<_> = self.minutes.iter().filter(|(_, counts)| **counts != Minute::default()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let tenants: Vec<i64> = rows.iter().map(|((tenant, _), _)| *tenant).collect();
        let minutes: Vec<i64> = rows.iter().map(|((_, minute), _)| *minute).collect();
        let counts = |read: fn(&Minute) -> i64| rows.iter().map(|(_, counts)| read(counts)).collect::<Vec<_>>();
        let statement = client.prepare_cached(sql).await?;
        client
            .execute(
                &statement,
                &[
                    &tenants,
                    &minutes,
                    &counts(|of| of.orders),
                    &counts(|of| of.cents),
                    &counts(|of| of.processing),
                    &counts(|of| of.customers),
                    &counts(|of| of.visits),
                ],
            )
            .await?;
        Ok(())
    }
}
