//! Looks whether PostgreSQL answers, and says so.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::Client;
use tokio::time::{sleep, timeout};

use super::{Failure, Link, OpenError, schema};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Shortest and longest wait between two attempts to come back.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The one who decides whether the store is available.
pub(super) struct Keeper {
    link: Arc<Link>,
    /// For the log.
    place: String,
    /// `None` while PostgreSQL is away.
    client: Option<Client>,
}

impl Keeper {
    pub(super) fn new(link: Arc<Link>, place: String) -> Self {
        Self { link, place, client: None }
    }

    /// The first attempt.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub(super) async fn begin(mut self) -> Result<Self, OpenError> {
        match self.connect().await {
            Ok(()) => tracing::info!(place = self.place, "the store is in PostgreSQL"),
            Err(OpenError::Unavailable(problem)) => {
                tracing::error!(place = self.place, problem, "PostgreSQL does not answer; trying again");
            }
            Err(error) => return Err(error),
        }
        Ok(self)
    }

    /// Looks until the task is ended.
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
                    Ok(()) => tracing::info!(place = self.place, "PostgreSQL is back"),
                    Err(error @ OpenError::Unavailable(_)) => tracing::debug!(%error, "PostgreSQL is still away"),
                    Err(error) => tracing::error!(%error, "PostgreSQL is back, and can't be used"),
                }
            }
        }
    }

    /// Takes a new connection, sees to it that the schema is there, and lets everybody in.
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
        self.client = Some(client);
        self.link.available.send_replace(true);
        Ok(())
    }

    /// Asks, and keeps everybody out if there is no answer. A connection that was cut by itself is replaced first.
    async fn check(&mut self) {
        let Some(client) = self.client.take() else { return };
        let problem = match timeout(self.link.patience, self.link.time.read(&client)).await {
            Ok(Ok(())) => {
                self.client = Some(client);
                return;
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                drop(deadpool_postgres::Object::take(client));
                Failure::TimedOut
            }
        };
        if !matches!(problem, Failure::TimedOut) && self.connect().await.is_ok() {
            return;
        }
        tracing::error!(place = self.place, %problem, "PostgreSQL does not answer; trying again");
        self.link.available.send_replace(false);
        // Connections that only look alive would each cost somebody the whole patience afterwards.
        self.link.pool.retain(|_, _| false);
    }
}
