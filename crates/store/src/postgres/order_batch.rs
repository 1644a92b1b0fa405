//! A group of changes as one transaction, at a cost that hardly depends on their number.
//!
//! ```text
//! lock the tenants ─▶ read what the changes need ─▶ make them in memory, in order ─▶ write the results
//! ```
//!
//! The locks make this correct: no other node changes data of these tenants until the commit. Each step is one round
//! trip.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use deadpool_postgres::Client;
use futures_util::try_join;
use jiff::Timestamp;

use super::{
    Failure,
    order_queue::{Work, Write},
    orders::{COLUMNS, order_of},
    row,
    transaction::{BEGIN, TransactionId},
};
use tricast_domain::{
    orders::{
        Change, Changed, Created, Customer, Draft, Effect, IdempotencyKey, Minute, NewCustomer, Order, OrderError,
        OrderId, RowCounts, RowLimits, Tally,
    },
    relay::{self, NewEvent},
    service::StoreError,
};

/// Revision of a tenant's counts that a node has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revisions {
    /// Newest revision of the counts that the node has read or made.
    pub(super) newest: i64,
    /// Whether another node, or a commit with an unknown outcome, made some of the changes.
    pub(super) foreign: bool,
}

/// Group that is complete except for the commit.
pub(super) struct Applied {
    pub(super) id: TransactionId,
    pub(super) revisions: SeenRevisions,
}

/// Revisions after a group, to be recorded once it is committed.
pub(super) struct SeenRevisions(Vec<(String, Revisions)>);

impl SeenRevisions {
    pub(super) fn note(self, revisions: &mut HashMap<String, Revisions>) {
        revisions.extend(self.0);
    }
}

struct Tenant {
    id: i64,
    last_order: i64,
    last_customer: i64,
    /// Numbers of rows, which triggers write.
    rows: RowCounts,
    open: i64,
    revision: i64,
    counted: bool,
    last_event: i64,
    has_events: bool,
    /// Generated ids for customers without one; the next one first.
    free_ids: Vec<(i64, String)>,
}

struct Key {
    digest: Vec<u8>,
    number: i64,
    created: Timestamp,
    used: Timestamp,
    is_new: bool,
}

struct Known {
    first_seen: Timestamp,
    name: Option<String>,
    /// Whether the customer has to be written.
    changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RowState {
    Unchanged,
    Inserted,
    Updated,
}

/// Data that a group needs, as they are after the changes made so far.
#[derive(Default)]
struct Memory {
    tenants: HashMap<String, Tenant>,
    keys: HashMap<(i64, String), Key>,
    orders: HashMap<(i64, i64), (Order, RowState)>,
    customers: HashMap<(i64, String), Known>,
    minutes: BTreeMap<(i64, i64), Minute>,
    /// Events, each with its tenant and its sequence number.
    events: Vec<(i64, i64, NewEvent)>,
    /// Clock of the database, in microseconds since 1970.
    now: i64,
}

/// Makes all changes except for the commit, and puts the results into their slots. The events are stored in `stream`.
/// `seen` is not changed.
pub(super) async fn apply(
    client: &mut Client,
    group: &mut [Write],
    seen: &HashMap<String, Revisions>,
    stream: &str,
) -> Result<Applied, Failure> {
    let (mut memory, id) = lock(client, group, seen).await?;
    memory.read(client, group).await?;
    for write in &mut *group {
        memory.make(write);
    }
    memory.write(client, stream).await?;
    let noted = memory.tenants.into_iter().map(|(name, tenant)| {
        // The counts are known only if no other node changed them in between.
        let before = seen.get(&name);
        let foreign = before.is_none_or(|before| before.foreign || before.newest != tenant.revision);
        let newest = tenant.revision + i64::from(tenant.counted);
        (name, Revisions { newest, foreign })
    });
    Ok(Applied { id, revisions: SeenRevisions(noted.collect()) })
}

/// Begins the transaction and locks the tenants. Rows of new tenants are created where data are added.
async fn lock(
    client: &Client,
    group: &[Write],
    seen: &HashMap<String, Revisions>,
) -> Result<(Memory, TransactionId), Failure> {
    client.batch_execute(BEGIN).await?;
    let makes = |write: &&Write| !matches!(write.work, Work::Change(..));
    let new: BTreeSet<&str> = group
        .iter()
        .filter(makes)
        .map(|write| write.tenant.as_str())
        .filter(|tenant| !seen.contains_key(*tenant))
        .collect();
    if !new.is_empty() {
        let add = client
            .prepare_cached(
                "INSERT INTO tricast_tenants (name) SELECT name FROM unnest($1::text[]) AS new (name) \
                 WHERE NOT EXISTS (SELECT FROM tricast_tenants AS old WHERE old.name = new.name) \
                 ORDER BY name COLLATE \"C\" ON CONFLICT (name) DO NOTHING",
            )
            .await?;
        client.execute(&add, &[&new.into_iter().collect::<Vec<_>>()]).await?;
    }
    let names: BTreeSet<&str> = group.iter().map(|write| write.tenant.as_str()).collect();
    let lock = client
        .prepare_cached(
            "SELECT name, id, last_order, last_customer, revision, txid_current(), last_event, \
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, orders, customers FROM tricast_tenants \
             WHERE name = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE",
        )
        .await?;
    let rows = client.query(&lock, &[&names.into_iter().collect::<Vec<_>>()]).await?;
    // Without a row nothing is changed.
    let id = TransactionId(rows.first().map_or(0, |row| row.get(5)));
    let now = rows.first().map_or(0, |row| row.get(7));
    let tenants = rows.into_iter().map(|row| {
        let tenant = Tenant {
            id: row.get(1),
            last_order: row.get(2),
            last_customer: row.get(3),
            rows: RowCounts { orders: row.get(8), customers: row.get(9) },
            open: 0,
            revision: row.get(4),
            counted: false,
            last_event: row.get(6),
            has_events: false,
            free_ids: Vec::new(),
        };
        (row.get(0), tenant)
    });
    Ok((Memory { tenants: tenants.collect(), now, ..Memory::default() }, id))
}

impl Memory {
    /// Reads the keys, orders and customers that the changes name.
    async fn read(&mut self, client: &Client, group: &[Write]) -> Result<(), Failure> {
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
        try_join!(self::keys(client, keys), self::orders(client, orders), self::customers(client, customers)).map(
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

    /// Makes one change with the domain's functions, in memory.
    fn make(&mut self, write: &mut Write) {
        let tenant = write.tenant.as_str();
        match &mut write.work {
            Work::Create(draft, slot) => slot.result = Some(self.create(tenant, draft.clone())),
            Work::Change(change, slot) => slot.result = Some(self.change(tenant, change)),
            Work::Customer(customer, at, limits, slot) => {
                slot.result = Some(self.customer(tenant, customer, *at, *limits));
            }
            Work::Visits(count, at, slot) => {
                let tally = Tally::visits(*at, *count);
                slot.result = Some(self.count(tenant, tally).map(|()| tally));
            }
            // Recounts are not part of a group.
            Work::Recount(_, slot) => slot.result = Some(Err(StoreError::Unavailable.into())),
        }
    }

    fn create(&mut self, tenant: &str, draft: Draft) -> Result<Created, OrderError> {
        let (key, at) = (draft.key.clone(), draft.at);
        let digest = draft.new.digest();
        let id = self.tenant(tenant)?.id;
        if let Some(key) = &key
            && let Some(known) = self.keys.get(&(id, key.as_str().to_owned()))
            && known.used.as_millisecond() > IdempotencyKey::expired_at(at)
        {
            let number = OrderId::new(known.number as u64);
            return Created::repeated(draft.new, &known.digest, number, known.created);
        }
        let customer = draft.new.customer_id.as_deref();
        let is_new = customer.is_some_and(|customer| !self.customers.contains_key(&(id, customer.to_owned())));
        let row = self.tenant(tenant)?;
        draft.limits.check(row.rows, RowCounts { orders: 1, customers: i64::from(is_new) })?;
        row.last_order += 1;
        let number = row.last_order;
        let (order, mut tally) = draft.accept(OrderId::new(number as u64));
        self.orders.insert((id, number), (order.clone(), RowState::Inserted));
        if let Some(key) = key {
            let known = Key { digest: digest.to_vec(), number, created: at, used: at, is_new: true };
            self.keys.insert((id, key.as_str().to_owned()), known);
        }
        if let Some(customer) = &order.customer_id
            && self.note_customer(id, customer, Some(&order.customer_name), at)
        {
            tally = tally.and_customer();
        }
        self.count(tenant, tally)?;
        let event = self.event(tenant, order.created())?;
        Ok(Created { order, tally: Some(tally), event: Some(event) })
    }

    fn change(&mut self, tenant: &str, change: &Change) -> Result<Changed, OrderError> {
        let id = self.tenants.get(tenant).ok_or(OrderError::NotFound)?.id;
        let known = self.orders.get_mut(&(id, change.id.number() as i64));
        let (order, state) = known.ok_or(OrderError::NotFound)?;
        let Some(Effect { changes, tally, event }) = change.apply(order)? else {
            return Ok(Changed::nothing(order.clone()));
        };
        if *state == RowState::Unchanged {
            *state = RowState::Updated;
        }
        let order = order.clone();
        if let Some(tally) = tally {
            self.count(tenant, tally)?;
        }
        let event = self.event(tenant, event)?;
        Ok(Changed { order, changes, tally, event: Some(event) })
    }

    fn customer(
        &mut self,
        tenant: &str,
        customer: &NewCustomer,
        at: Timestamp,
        limits: RowLimits,
    ) -> Result<Customer, OrderError> {
        let row = self.tenant(tenant)?;
        let (id, present) = (row.id, row.rows);
        let known = |customer: &String| self.customers.contains_key(&(id, customer.clone()));
        if !customer.customer_id.as_ref().is_some_and(known) {
            limits.check(present, RowCounts { orders: 0, customers: 1 })?;
        }
        let name = customer.name.as_deref();
        let (customer, is_new) = match &customer.customer_id {
            Some(customer) => (customer.clone(), self.note_customer(id, customer, name, at)),
            None => loop {
                let row = self.tenant(tenant)?;
                if row.free_ids.is_empty() {
                    return Err(StoreError::Unavailable.into());
                }
                let (number, free) = row.free_ids.remove(0);
                row.last_customer = number;
                // The group itself may have used the id.
                if self.note_customer(id, &free, name, at) {
                    break (free, true);
                }
            },
        };
        let first_seen = self.customers.get(&(id, customer.clone())).map_or(at, |known| known.first_seen);
        let tally = is_new.then(|| Tally::customer(at));
        if let Some(tally) = tally {
            self.count(tenant, tally)?;
        }
        Ok(Customer { id: customer, first_seen, tally })
    }

    /// Records a customer by the shop's id. Returns whether the customer is new. A later name replaces the earlier one.
    fn note_customer(&mut self, tenant: i64, id: &str, name: Option<&str>, at: Timestamp) -> bool {
        let name = name.map(str::to_owned);
        match self.customers.get_mut(&(tenant, id.to_owned())) {
            Some(known) => {
                if name.is_some() && known.name != name {
                    (known.name, known.changed) = (name, true);
                }
                false
            }
            None => {
                self.customers.insert((tenant, id.to_owned()), Known { first_seen: at, name, changed: true });
                true
            }
        }
    }

    fn count(&mut self, tenant: &str, tally: Tally) -> Result<(), OrderError> {
        let Tally { minute, counts, open, rows } = tally;
        let row = self.tenant(tenant)?;
        row.open += open;
        row.rows = row.rows.plus(rows);
        row.counted = true;
        let id = row.id;
        let sum = self.minutes.entry((id, minute)).or_default();
        *sum = sum.plus(counts);
        Ok(())
    }

    /// Records the event of a change. Returns its sequence number.
    fn event(&mut self, tenant: &str, event: NewEvent) -> Result<u64, OrderError> {
        let now = self.now;
        let row = self.tenant(tenant)?;
        row.last_event = relay::next_seq(row.last_event, now);
        row.has_events = true;
        let (id, seq) = (row.id, row.last_event);
        self.events.push((id, seq, event));
        Ok(seq as u64)
    }

    fn tenant(&mut self, name: &str) -> Result<&mut Tenant, OrderError> {
        // The row existed or was just created: it was deleted by hand.
        self.tenants.get_mut(name).ok_or(StoreError::Unavailable.into())
    }

    /// Writes the results. The statements are sent together; PostgreSQL executes them one after the other.
    async fn write(&self, client: &Client, stream: &str) -> Result<(), Failure> {
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

async fn keys(client: &Client, asked: HashSet<(i64, &str)>) -> Result<HashMap<(i64, String), Key>, Failure> {
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

async fn orders(
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

async fn customers(client: &Client, asked: HashSet<(i64, &str)>) -> Result<HashMap<(i64, String), Known>, Failure> {
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
