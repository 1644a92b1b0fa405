//! A change as one transaction under the lock of its tenant's row, and the outcome of commits that were not confirmed.
//!
//! A connection that breaks during `COMMIT` leaves the outcome open. So each transaction stores a random mark with its commit,
//! and another connection looks for it. A caller gets an error only if the change was not made.
//!
//! The id of the transaction alone does not identify it: after a crash PostgreSQL assigns ids again whose first use did not
//! reach the disk, and `txid_status` then describes a later transaction.

use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{Abort, Failure, Link};
use crate::abort::FromFailure;

/// Begins a transaction. Whatever the database's default isolation is, a statement has to see what others committed
/// before the lock was granted. The default access mode is kept: an administrator who makes a database read-only means
/// it.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Interval of queries about the outcome of a transaction, while PostgreSQL can't be reached or the transaction still
/// runs.
const QUERY_INTERVAL: Duration = Duration::from_millis(100);

/// Number of rows for marks. A mark is overwritten by the next transaction that takes its row; later lookups find no outcome.
const SLOTS: i64 = 4096;

/// Identity of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransactionId {
    /// Id in PostgreSQL.
    number: i64,
    /// Random number that is stored with the commit.
    mark: i64,
}

impl TransactionId {
    /// Returns the identity of the transaction with this id in PostgreSQL.
    pub(super) fn new(number: i64) -> Self {
        Self { number, mark: fastrand::i64(..) }
    }

    fn slot(self) -> i64 {
        self.mark.rem_euclid(SLOTS)
    }

    /// Returns the statements that end the transaction, as one message. No other lock is taken after that of the slot, so
    /// transactions that share one wait for each other's commit and not in a circle.
    fn commit(self) -> String {
        format!(
            "INSERT INTO tricast_commits (slot, mark) VALUES ({}, {}) \
             ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark; COMMIT",
            self.slot(),
            self.mark
        )
    }
}

/// Reason why a transaction was not confirmed.
pub(super) enum CommitError {
    /// The transaction was not committed.
    Failed(Failure),
    /// The transaction may have been committed.
    Unconfirmed(TransactionId),
}

impl Link {
    /// Makes a change of one tenant's data as one transaction. `work` gets the tenant's number, which is assigned if
    /// there is none, and runs under the lock of the tenant's row.
    ///
    /// # Errors
    /// Those of `work`, and [`Failure`]. Nothing was changed, unless the failure is [`Failure::Unconfirmed`].
    pub(super) async fn transact<T, E: FromFailure<Failure>>(
        &self,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a Client, i64) -> BoxFuture<'a, Result<T, Abort<E>>>,
    ) -> Result<T, E> {
        let client = self.client().await.map_err(E::from_failure)?;
        let made = timeout(self.patience, async {
            client.batch_execute(BEGIN).await.map_err(Failure::from)?;
            let (tenant, id) = lock(&client, tenant).await.map_err(Failure::from)?;
            Ok::<_, Abort<E>>((work(&client, tenant).await?, id))
        });
        match made.await {
            Ok(Ok((value, id))) => match self.commit(client, id).await {
                Ok(_) => Ok(value),
                Err(CommitError::Failed(failure)) => Err(E::from_failure(failure)),
                Err(CommitError::Unconfirmed(id)) => match self.was_committed(id).await {
                    Some(true) => Ok(value),
                    Some(false) => Err(E::from_failure(Failure::TimedOut)),
                    None => Err(E::from_failure(Failure::Unconfirmed)),
                },
            },
            Ok(Err(error)) => {
                self.roll_back(client).await;
                Err(error.report())
            }
            // Without a COMMIT the transaction ends with the connection.
            Err(_) => {
                self.give_up(client);
                Err(E::from_failure(Failure::TimedOut))
            }
        }
    }

    /// Commits the transaction `id` on `client`, and returns the connection.
    ///
    /// # Errors
    /// [`CommitError`]; the connection is closed then.
    pub(super) async fn commit(&self, client: Client, id: TransactionId) -> Result<Client, CommitError> {
        match timeout(self.patience, client.batch_execute(&id.commit())).await {
            Ok(Ok(())) => Ok(client),
            Ok(Err(error)) => {
                self.give_up(client);
                let failure = Failure::from(error);
                Err(if failure.undoes() { CommitError::Failed(failure) } else { CommitError::Unconfirmed(id) })
            }
            Err(_) => {
                self.give_up(client);
                Err(CommitError::Unconfirmed(id))
            }
        }
    }

    /// Rolls a transaction back. Returns the connection, if it can be used again.
    pub(super) async fn roll_back(&self, client: Client) -> Option<Client> {
        match timeout(self.patience, client.batch_execute("ROLLBACK")).await {
            Ok(Ok(())) => Some(client),
            _ => {
                self.give_up(client);
                None
            }
        }
    }

    /// Returns whether a transaction was committed; `None` if PostgreSQL does not answer within the time limit of a
    /// statement.
    pub(super) async fn was_committed(&self, id: TransactionId) -> Option<bool> {
        let asked = timeout(self.patience, async {
            loop {
                if let Ok(client) = self.pool.get().await
                    && let Ok(status) = status(&client, id).await
                {
                    match status {
                        Outcome::Committed => return Some(true),
                        Outcome::Aborted => return Some(false),
                        Outcome::InProgress => {}
                        Outcome::Forgotten => return None,
                    }
                }
                sleep(QUERY_INTERVAL).await;
            }
        });
        let committed = asked.await.ok().flatten();
        tracing::warn!(transaction = id.number, ?committed, "a commit was not confirmed; its outcome was looked up");
        committed
    }
}

/// State of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
    InProgress,
    /// PostgreSQL has forgotten the transaction, or its mark was overwritten.
    Forgotten,
}

async fn status(client: &Client, id: TransactionId) -> Result<Outcome, tokio_postgres::Error> {
    let read_status = client.prepare_cached("SELECT txid_status($1)").await?;
    let status: Option<String> = client.query_one(&read_status, &[&id.number]).await?.get(0);
    // Read after the status, so that the mark of a transaction that has just ended is visible.
    let read_mark = client.prepare_cached("SELECT mark FROM tricast_commits WHERE slot = $1").await?;
    let mark: Option<i64> = client.query_opt(&read_mark, &[&id.slot()]).await?.map(|row| row.get(0));
    Ok(match status.as_deref() {
        _ if mark == Some(id.mark) => Outcome::Committed,
        Some("aborted") => Outcome::Aborted,
        Some("in progress") => Outcome::InProgress,
        _ => Outcome::Forgotten,
    })
}

/// Locks the tenant's row until the end of the transaction. Returns the tenant's number.
async fn lock(client: &Client, tenant: &str) -> Result<(i64, TransactionId), tokio_postgres::Error> {
    let sql = "SELECT id, txid_current() FROM tricast_tenants WHERE name = $1 FOR NO KEY UPDATE";
    let lock = client.prepare_cached(sql).await?;
    let row = match client.query_opt(&lock, &[&tenant]).await? {
        Some(row) => row,
        None => {
            let sql = "INSERT INTO tricast_tenants (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";
            let add = client.prepare_cached(sql).await?;
            client.execute(&add, &[&tenant]).await?;
            client.query_one(&lock, &[&tenant]).await?
        }
    };
    Ok((row.get(0), TransactionId::new(row.get(1))))
}
