//! Monitor that checks whether PostgreSQL can be reached and accepts changes.
//!
//! A server that became a standby, was set read-only or whose disk is full still answers reads. So the setting is read
//! each second, and a change without effect is committed every few seconds. When a change failed, or while changes are
//! known to fail, a larger one is tested and rolled back: it needs room that a small one may find by chance.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use deadpool_postgres::Client;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use super::{Failure, Link, OpenError, schema};

/// Interval of reachability checks.
const EVERY: Duration = Duration::from_secs(1);

/// Interval of test commits.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Change without an effect, which shows that PostgreSQL accepts writes.
const TOUCH: &str =
    "UPDATE tricast_migrations SET name = name WHERE version = (SELECT max(version) FROM tricast_migrations)";

/// Change of 64 KiB, which is rolled back.
const FIND_ROOM: &str = "INSERT INTO tricast_migrations (version, name) \
     SELECT -1 - (random() * 1e15)::bigint, string_agg(md5(random()::text), '') FROM generate_series(1, 2048)";

/// Shortest and longest pause between two attempts to reconnect.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Task that decides whether the store is available.
pub(super) struct Monitor {
    link: Arc<Link>,
    /// Address, for the log.
    address: String,
    /// Connection; `None` while PostgreSQL can't be reached.
    client: Option<Client>,
    /// Time of the next test commit.
    commit_at: Instant,
    /// Whether the log says that changes fail.
    logged: bool,
}

impl Monitor {
    pub(super) fn new(link: Arc<Link>, address: String) -> Self {
        Self { link, address, client: None, commit_at: Instant::now(), logged: false }
    }

    /// Makes the first attempt to connect.
    ///
    /// # Errors
    /// Those that waiting does not resolve.
    pub(super) async fn begin(mut self) -> Result<Self, OpenError> {
        match self.connect().await {
            Ok(()) => tracing::info!(address = self.address, "connected to PostgreSQL"),
            Err(OpenError::Unavailable(problem)) => {
                tracing::error!(address = self.address, problem, "cannot reach PostgreSQL; retrying");
            }
            Err(error) => return Err(error),
        }
        Ok(self)
    }

    /// Checks until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut wait = RETRY.0;
        loop {
            if self.client.is_some() {
                tokio::select! {
                    () = sleep(EVERY) => {}
                    () = self.link.doubt.notified() => {}
                }
                self.check().await;
                wait = RETRY.0;
            } else {
                sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
                match self.connect().await {
                    Ok(()) => tracing::info!(address = self.address, "PostgreSQL can be reached again"),
                    Err(error @ OpenError::Unavailable(_)) => {
                        tracing::debug!(%error, "still cannot reach PostgreSQL")
                    }
                    Err(error) => tracing::error!(%error, "PostgreSQL can be reached again, but cannot be used"),
                }
            }
        }
    }

    /// Connects, brings the schema up to date, and admits callers.
    async fn connect(&mut self) -> Result<(), OpenError> {
        let mut client = self.link.pool.get().await.map_err(Failure::from)?;
        match timeout(schema::MIGRATING, schema::migrate(&mut client)).await {
            Ok(migrated) => migrated?,
            Err(_) => {
                self.link.give_up(client);
                return Err(Failure::TimedOut.into());
            }
        }
        self.link.time.read(&client).await?;
        self.link.available.send_replace(true);
        let verdict = self.try_changes(&mut client, true).await;
        self.client = Some(client);
        self.set_writable(verdict);
        Ok(())
    }

    /// Checks the connection, and refuses callers if there is no answer. A connection that broke on its own is replaced
    /// first.
    async fn check(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        let problem = match timeout(self.link.patience, self.is_read_only(&client)).await {
            Ok(Ok(true)) => {
                // With several hosts in the URL, another one may be the primary by now.
                drop(client);
                self.link.pool.retain(|_, _| false);
                match self.connect().await {
                    Ok(()) => return,
                    Err(OpenError::Unavailable(problem)) => Failure::NoConnection(problem),
                    Err(error) => Failure::NoConnection(error.to_string()),
                }
            }
            Ok(Ok(false)) => {
                let refused = self.link.refused.swap(false, Ordering::Relaxed);
                let doubted = refused || !*self.link.writable.borrow();
                if doubted || Instant::now() >= self.commit_at {
                    let verdict = self.try_changes(&mut client, doubted).await;
                    self.set_writable(verdict);
                }
                self.client = Some(client);
                return;
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                drop(deadpool_postgres::Object::take(client));
                Failure::TimedOut
            }
        };
        if matches!(problem, Failure::Sql(_)) && self.connect().await.is_ok() {
            return;
        }
        tracing::error!(address = self.address, %problem, "cannot reach PostgreSQL; retrying");
        self.link.available.send_replace(false);
        self.link.writable.send_replace(false);
        // Connections that only seem to work would each delay a caller by the whole time limit.
        self.link.pool.retain(|_, _| false);
    }

    /// Returns whether the database is set read-only. Reads the clock of the database as well.
    async fn is_read_only(&self, client: &Client) -> Result<bool, Failure> {
        self.link.time.read(client).await?;
        let answer = client.simple_query("SHOW transaction_read_only").await?;
        Ok(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"))))
    }

    /// Makes a test change; one that needs room if there is a `doubt`.
    async fn try_changes(&mut self, client: &mut Client, doubt: bool) -> Result<(), Failure> {
        self.commit_at = Instant::now() + COMMIT_EVERY;
        let tried = timeout(self.link.patience, async {
            if doubt {
                let change = client.transaction().await?;
                change.batch_execute(FIND_ROOM).await?;
                change.rollback().await?;
            }
            client.batch_execute(TOUCH).await
        });
        match tried.await {
            Ok(Ok(())) => Ok(()),
            // Another node tests at the same time.
            Ok(Err(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Admits changes or refuses them.
    fn set_writable(&mut self, verdict: Result<(), Failure>) {
        let address = &self.address;
        match verdict {
            Ok(()) => {
                self.link.writable.send_replace(true);
                if std::mem::take(&mut self.logged) {
                    tracing::info!(address, "PostgreSQL accepts changes");
                }
            }
            Err(problem) => {
                self.link.writable.send_replace(false);
                if !std::mem::replace(&mut self.logged, true) {
                    tracing::error!(address, %problem, "PostgreSQL can be read, but refuses changes; retrying");
                }
            }
        }
    }
}
