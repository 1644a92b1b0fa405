//! Task that writes changes of orders, customers and visits: all that wait, in one transaction.

use std::{collections::HashMap, sync::Arc};

use deadpool_postgres::Client;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Failure, Link,
    failure::Remedy,
    order_batch::{self, Revisions},
    order_queue::{Work, Write},
    orders::read_rollup,
    transaction::CommitError,
};
use crate::{abort::FromFailure, activity::Kind};
use tricast_domain::orders::{OrderError, Rollup};

/// Largest number of changes that are written together. A group is one commit; in a larger one the first change would
/// wait for the last.
const GROUP: usize = 512;

pub(super) struct OrderWriter {
    link: Arc<Link>,
    queue: mpsc::Receiver<Write>,
    /// Connection, kept from group to group.
    client: Option<Client>,
    /// Revisions of each tenant's counts that this node has seen.
    revisions: HashMap<String, Revisions>,
}

impl OrderWriter {
    pub(super) fn new(link: Arc<Link>, queue: mpsc::Receiver<Write>) -> Self {
        Self { link, queue, client: None, revisions: HashMap::new() }
    }

    /// Writes until the queue ends.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(GROUP);
        while self.queue.recv_many(&mut waiting, GROUP).await > 0 {
            let mut group = Vec::with_capacity(waiting.len());
            for write in waiting.drain(..) {
                if let Work::Recount(since, _) = write.work {
                    // A recount sees what was queued before it, and nothing that this node queued later.
                    self.commit(std::mem::take(&mut group)).await;
                    self.recount(write, since).await;
                } else {
                    group.push(write);
                }
            }
            self.commit(group).await;
        }
    }

    /// Writes all changes of a group and sends their results.
    async fn commit(&mut self, mut group: Vec<Write>) {
        if group.is_empty() {
            return;
        }
        let mut result = self.attempt(&mut group).await;
        if let Err(CommitError::Failed(failure)) = &result {
            match failure.remedy() {
                Remedy::Reconnect => {
                    // Whatever broke this connection has most likely broken the idle ones as well.
                    self.link.pool.retain(|_, _| false);
                    result = self.attempt(&mut group).await;
                }
                Remedy::Again => result = self.attempt(&mut group).await,
                Remedy::OneByOne if group.len() > 1 => {
                    for write in group {
                        let mut alone = vec![write];
                        let result = self.attempt(&mut alone).await;
                        self.send_results(alone, result);
                    }
                    return;
                }
                Remedy::OneByOne | Remedy::None => {}
            }
        }
        self.send_results(group, result);
    }

    fn send_results(&self, group: Vec<Write>, result: Result<(), CommitError>) {
        let link = Arc::clone(&self.link);
        match result {
            Ok(()) => send_results(&link, group, None),
            Err(CommitError::Failed(failure)) => send_results(&link, group, Some(&failure)),
            // The next group does not wait for this: it reads what this group has written, if it was committed.
            Err(CommitError::Unconfirmed(id)) => drop(tokio::spawn(async move {
                let failure = match link.was_committed(id).await {
                    Some(true) => None,
                    Some(false) => Some(Failure::TimedOut),
                    None => Some(Failure::Unconfirmed),
                };
                send_results(&link, group, failure.as_ref());
            })),
        }
    }

    /// Attempts to write a group in one transaction.
    async fn attempt(&mut self, group: &mut [Write]) -> Result<(), CommitError> {
        let mut client = self.client().await.map_err(CommitError::Failed)?;
        let seen = &mut self.revisions;
        match timeout(self.link.patience, order_batch::apply(&mut client, group, seen, &self.link.stream)).await {
            Ok(Ok(applied)) => {
                self.client = Some(self.link.commit(client, applied.id).await?);
                applied.revisions.note(&mut self.revisions);
                Ok(())
            }
            Ok(Err(failure)) => {
                self.client = self.link.roll_back(client).await;
                Err(CommitError::Failed(failure))
            }
            // Without a COMMIT the transaction ends with the connection.
            Err(_) => {
                self.link.give_up(client);
                Err(CommitError::Failed(Failure::TimedOut))
            }
        }
    }

    /// Reads the figures of a tenant, if other nodes may have changed them since they were last read here.
    async fn recount(&mut self, mut write: Write, since: i64) {
        let result = self.read_numbers(&write.tenant, since).await;
        let Work::Recount(_, slot) = &mut write.work else { return };
        slot.result = Some(result.map_err(OrderError::from_failure));
        write.send(None);
    }

    async fn read_numbers(&mut self, tenant: &str, since: i64) -> Result<Option<Rollup>, Failure> {
        let client = self.client().await?;
        let seen = self.revisions.get(tenant).copied();
        let read = timeout(self.link.patience, async {
            let find = client.prepare_cached("SELECT revision FROM tricast_tenants WHERE name = $1").await?;
            let revision: Option<i64> = client.query_opt(&find, &[&tenant]).await?.map(|row| row.get(0));
            if revision.is_none() || seen.is_some_and(|seen| Some(seen.newest) == revision && !seen.foreign) {
                return Ok(None);
            }
            read_rollup(&client, tenant, since).await
        });
        match read.await {
            Ok(Ok(rollup)) => {
                self.client = Some(client);
                if let Some((revision, _)) = &rollup {
                    self.revisions.insert(tenant.to_owned(), Revisions { newest: *revision, foreign: false });
                }
                Ok(rollup.map(|(_, rollup)| rollup))
            }
            Ok(Err(error)) => {
                self.link.give_up(client);
                Err(error.into())
            }
            Err(_) => {
                self.link.give_up(client);
                Err(Failure::TimedOut)
            }
        }
    }

    /// Returns the connection, a new one if necessary.
    async fn client(&mut self) -> Result<Client, Failure> {
        if !*self.link.available.borrow() {
            self.client = None;
            return Err(Failure::Down);
        }
        match self.client.take() {
            Some(client) if !client.is_closed() => Ok(client),
            _ => self.link.client().await,
        }
    }
}

/// Sends the results of a group.
fn send_results(link: &Link, group: Vec<Write>, failure: Option<&Failure>) {
    if let Some(failure) = failure {
        match failure {
            // The monitor has logged this.
            Failure::Down | Failure::Closed => {}
            _ => {
                tracing::error!(%failure, changes = group.len(), "a group of changes was not written");
                link.doubt_changes();
            }
        }
    }
    let error = failure.map(|failure| failure.kind().into());
    for write in group {
        link.activity.record(Kind::Write, write.start);
        write.send(error.as_ref());
    }
}
