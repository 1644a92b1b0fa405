//! A group of changes as one transaction, at a cost that hardly depends on their number.
//!
//! ```text
//! lock the tenants ─▶ read what the changes need ─▶ make them in memory, in order ─▶ write the results
//! ```
//!
//! The locks make this correct: no other node changes data of these tenants until the commit. Each step is one round
//! trip.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deadpool_postgres::Client;
use jiff::Timestamp;

use super::{
    Failure,
    order_queue::{Work, Write},
    transaction::{BEGIN, TransactionId},
};
use tricast_domain::{
    orders::{Minute, Order, RowCounts},
    relay::NewEvent,
};

mod make;
mod read;
mod write;

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
    let id = TransactionId::new(rows.first().map_or(0, |row| row.get(5)));
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
