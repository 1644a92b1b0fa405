//! Where data is kept: implementations of what the domain asks for ([`OrderStore`], [`DashboardStore`],
//! [`HistoryStore`], [`AlertStore`], [`EventStore`]). SQL is in here and nowhere else.
//!
//! | implementation | keeps |
//! |---|---|
//! | [`sqlite`] | all tenants in one file, or in memory |
//! | [`postgres`] | all tenants in one database, which several nodes may share |
//!
//! The contract tests in `tests/` run against every implementation.

use std::{path::Path, sync::Arc};

use jiff::SignedDuration;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    alerts::AlertStore, core::clock::Clock, dashboards::DashboardStore, history::HistoryStore, orders::OrderStore,
    relay::EventStore,
};

pub use activity::{Activity, Gauges};
use postgres::{PostgresConfig, PostgresStore};
use sqlite::SqliteStore;

mod abort;
mod activity;
pub mod postgres;
pub mod sqlite;
mod statistics;
#[cfg(test)]
mod tests;

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    /// The database.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
}

/// The store in use, as those who need one part of it see it. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// SQLite, in a file or in memory: all but history, and history. They are one in a file, and two in memory, where each
    /// has a bound of its own, so that points can't take the room of orders.
    Sqlite(SqliteStore, SqliteStore),
    /// PostgreSQL.
    Postgres(PostgresStore),
}

impl Store {
    /// Whether other nodes read and write it, too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The embedded store in `directory`, which is made if it is not there, in a file of at most `max_bytes`; 0 means no
    /// limit.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_directory(directory: &Path, max_bytes: usize) -> Result<Self, OpenError> {
        let store = SqliteStore::open_within(directory, max_bytes)?;
        Ok(Self::Sqlite(store.clone(), store))
    }

    /// The embedded store in memory: it ends with the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_memory() -> Result<Self, OpenError> {
        let store = SqliteStore::in_memory()?;
        let history = store.another_in_memory()?;
        Ok(Self::Sqlite(store, history))
    }

    /// The store in PostgreSQL, which does its work on `runtime`. It need not answer yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn in_database(config: PostgresConfig, runtime: Handle) -> Result<Self, OpenError> {
        Ok(Self::Postgres(PostgresStore::open(config, runtime).await?))
    }

    /// What keeps orders, customers and visits.
    pub fn orders(&self) -> Arc<dyn OrderStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What keeps boards.
    pub fn dashboards(&self) -> Arc<dyn DashboardStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What keeps points and their rollups.
    pub fn history(&self) -> Arc<dyn HistoryStore> {
        match self {
            Self::Sqlite(_, history) => Arc::new(history.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What keeps rules, alerts and what is to be sent of them.
    pub fn alerts(&self) -> Arc<dyn AlertStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// The clock that the shop's data go by: that of the database, which all nodes share, or else `clock`, that of this host.
    pub fn clock(&self, clock: &Clock) -> Clock {
        match self {
            Self::Sqlite(..) => clock.clone(),
            Self::Postgres(store) => store.clock(clock),
        }
    }

    /// By how much the clock of the database is ahead of `clock`; `None` where there is none, or it is not known yet. Costs
    /// no question: it was asked a second ago at most while the database answers.
    pub fn clock_offset(&self, clock: &Clock) -> Option<SignedDuration> {
        match self {
            Self::Sqlite(..) => None,
            Self::Postgres(store) => store.clock_offset(clock),
        }
    }

    /// What keeps events until they are published.
    pub fn events(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What was asked of it.
    pub fn activity(&self) -> &Activity {
        match self {
            // The two count together.
            Self::Sqlite(store, _) => store.activity(),
            Self::Postgres(store) => store.activity(),
        }
    }

    /// How it is right now.
    pub fn gauges(&self) -> Gauges {
        match self {
            Self::Sqlite(store, history) if store.is(history) => store.gauges(),
            Self::Sqlite(store, history) => store.gauges().plus(history.gauges()),
            Self::Postgres(store) => store.gauges(),
        }
    }

    /// Whether it can be read and written. History in memory is not asked: its recorder reports when it can't write.
    pub async fn responds(&self) -> bool {
        match self {
            Self::Sqlite(store, _) => store.responds().await,
            Self::Postgres(store) => *store.available().borrow(),
        }
    }

    /// True while it can be read and written.
    pub fn available(&self) -> watch::Receiver<bool> {
        match self {
            Self::Sqlite(store, _) => store.available(),
            Self::Postgres(store) => store.available(),
        }
    }

    /// Keeps [`Store::available`] true to what the store does, by writing to it. Runs until the store is closed.
    pub async fn watch(self) {
        match self {
            Self::Sqlite(store, _) => store.watch().await,
            // Has a task of its own, which also looks after the connection.
            Self::Postgres(_) => {}
        }
    }

    /// Writes what waits and closes it. Whoever asks afterwards finds it unavailable.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store, history) => {
                store.close().await;
                history.close().await;
            }
            Self::Postgres(store) => store.close().await,
        }
    }
}
