//! A change as one transaction under the lock of its tenant's row, and what became of one whose commit was not confirmed.
//!
//! A connection that breaks during `COMMIT` says nothing about the transaction, so each notes its id first, and PostgreSQL
//! is asked on another connection how it ended (`txid_status`). A caller is told that a change failed only when it did.

use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{Abort, Failure, Link};
use crate::store::abort::FromFailure;

/// Begins a transaction. Whatever the database's defaults are, a statement has to see what others have committed before
/// the lock was given. Whether it may write is left to them: an administrator who makes a database read-only means it.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// How often PostgreSQL is asked how a transaction ended, while it can't be reached or the transaction still runs.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How PostgreSQL knows a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransactionId(pub(super) i64);

/// Why a transaction was not confirmed.
pub(super) enum CommitError {
    /// It was not committed.
    Failed(Failure),
    /// It may have been committed.
    Unconfirmed(TransactionId),
}

impl Link {
    /// Makes a change of one tenant's data as one transaction. `work` is given the tenant's number, for which a row is made
    /// if there is none, and has the row locked until the end.
    ///
    /// # Errors
    /// Those of `work`, and [`Failure`]. Nothing was changed, unless it is [`Failure::Unconfirmed`].
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
            // Without a COMMIT it ends with the connection.
            Err(_) => {
                self.give_up(client);
                Err(E::from_failure(Failure::TimedOut))
            }
        }
    }

    /// Commits the transaction of that id on `client`, and gives the connection back.
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

    /// Ends a transaction that is not to be committed; answers the connection, if it can be used again.
    pub(super) async fn roll_back(&self, client: Client) -> Option<Client> {
        match timeout(self.patience, client.batch_execute("ROLLBACK")).await {
            Ok(Ok(())) => Some(client),
            _ => {
                self.give_up(client);
                None
            }
        }
    }

    /// Whether a transaction was committed; `None` where PostgreSQL does not say so within the time of a statement.
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
                        // It is too long ago.
                        None => return None,
                    }
                }
                sleep(ASK_AGAIN).await;
            }
        });
        let committed = asked.await.ok().flatten();
        tracing::warn!(transaction = id.0, ?committed, "a commit was not confirmed, and PostgreSQL was asked about it");
        committed
    }
}

async fn status(client: &Client, id: TransactionId) -> Result<Option<String>, tokio_postgres::Error> {
    let ask = client.prepare_cached("SELECT txid_status($1)").await?;
    Ok(client.query_one(&ask, &[&id.0]).await?.get(0))
}

/// Keeps others from changing what belongs to a tenant until the end of the transaction; answers the tenant's number.
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
