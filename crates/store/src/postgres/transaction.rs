//! A change as one transaction under the lock of its tenant's row, and the outcome of commits that were not confirmed.
//!
//! A connection that breaks during `COMMIT` leaves the outcome open. So each transaction records its id first, and
//! PostgreSQL is queried on another connection how it ended (`txid_status`). A caller gets an error only if the change
//! was not made.

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

/// Id of a transaction in PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransactionId(pub(super) i64);

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
        match timeout(self.patience, client.batch_execute("COMMIT")).await {
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
                    match status.as_deref() {
                        Some("committed") => return Some(true),
                        Some("aborted") => return Some(false),
                        Some(_) => {}
                        // PostgreSQL has forgotten the transaction.
                        None => return None,
                    }
                }
                sleep(QUERY_INTERVAL).await;
            }
        });
        let committed = asked.await.ok().flatten();
        tracing::warn!(transaction = id.0, ?committed, "a commit was not confirmed; its outcome was looked up");
        committed
    }
}

async fn status(client: &Client, id: TransactionId) -> Result<Option<String>, tokio_postgres::Error> {
    let read_on_pool = client.prepare_cached("SELECT txid_status($1)").await?;
    Ok(client.query_one(&read_on_pool, &[&id.0]).await?.get(0))
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
    Ok((row.get(0), TransactionId(row.get(1))))
}
