//! Statistics of PostgreSQL, as far as this user may read them.
//!
//! | field | from | else |
//! |---|---|---|
//! | connections | `pg_stat_database.numbackends` | |
//! | queries | `pg_stat_statements`: all calls in this database | `pg_stat_database`: transactions |
//! | slow | `pg_stat_statements`: calls of statements that take more than 100 ms on average | `pg_stat_activity`: running for more than 1 s |
//! | cache | `pg_stat_database`: `blks_hit`, `blks_read` | |

use std::sync::atomic::Ordering;

use deadpool_postgres::Client;
use futures_util::{FutureExt, future::BoxFuture};
use tokio_postgres::error::SqlState;

use super::{Failure, PostgresStore};
use crate::activity::SLOW;
use tricast_domain::sources::store::{Slow, StoreTotals};

impl PostgresStore {
    /// Returns the values of the table above; `None` while PostgreSQL can't be reached.
    pub(crate) fn totals(&self) -> BoxFuture<'static, Option<StoreTotals>> {
        let store = self.clone();
        let link = std::sync::Arc::clone(&self.inner.link);
        let asked = self.inner.runtime.spawn(async move {
            if !*link.available.borrow() {
                return None;
            }
            let read = link.with_client(move |client| Box::pin(async move { Ok(store.read_totals(client).await?) }));
            let read: Result<StoreTotals, Failure> = read.await;
            read.inspect_err(|error| tracing::debug!(%error, "the statistics of PostgreSQL can't be read")).ok()
        });
        asked.map(|totals| totals.ok().flatten()).boxed()
    }

    async fn read_totals(&self, client: &mut Client) -> Result<StoreTotals, Failure> {
        let find = client
            .prepare_cached(
                "SELECT numbackends::bigint, xact_commit + xact_rollback, blks_hit, blks_read \
                 FROM pg_stat_database WHERE datname = current_database()",
            )
            .await?;
        let row = client.query_one(&find, &[]).await?;
        let count = |column: usize| row.get::<_, Option<i64>>(column).and_then(|n| u64::try_from(n).ok());
        let mut totals =
            StoreTotals { connections: count(0), queries: count(1), slow: None, cache: count(2).zip(count(3)) };
        let asked = if self.inner.has_statements.load(Ordering::Relaxed) { statements(client).await } else { Ok(None) };
        match asked {
            Ok(Some((calls, slow))) => {
                (totals.queries, totals.slow) = (Some(calls), Some(Slow::Total(slow)));
                return Ok(totals);
            }
            Ok(None) => {}
            // Not installed, not loaded, or not readable by this user: this does not change before the restart.
            Err(error) if error.code().is_some_and(|code| *code != SqlState::QUERY_CANCELED) => {
                self.inner.has_statements.store(false, Ordering::Relaxed);
            }
            Err(error) => return Err(error.into()),
        }
        // Without the permission to see queries of others their start is hidden, and they don't count.
        let running = client
            .prepare_cached(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                 AND pid <> pg_backend_pid() AND query_start < now() - interval '1 second'",
            )
            .await?;
        let running: i64 = client.query_one(&running, &[]).await?.get(0);
        totals.slow = u64::try_from(running).ok().map(Slow::Now);
        Ok(totals)
    }
}

/// Returns the calls of all and of slow statements; `None` if the extension is not in this database.
async fn statements(client: &Client) -> Result<Option<(u64, u64)>, tokio_postgres::Error> {
    let there = client.prepare_cached("SELECT to_regclass('pg_stat_statements') IS NOT NULL").await?;
    if !client.query_one(&there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sum = client
        .prepare_cached(
            "SELECT coalesce(sum(calls), 0)::bigint, \
             coalesce(sum(calls) FILTER (WHERE mean_exec_time > $1), 0)::bigint FROM pg_stat_statements \
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await?;
    let row = client.query_one(&sum, &[&(SLOW.as_millis() as f64)]).await?;
    let (calls, slow): (i64, i64) = (row.get(0), row.get(1));
    Ok(Some((calls.unsigned_abs(), slow.unsigned_abs())))
}
