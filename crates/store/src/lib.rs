//! Storage: implementations of the interfaces of the domain ([`OrderStore`], [`DashboardStore`], [`HistoryStore`],
//! [`AlertStore`], [`KeyStore`], [`EventStore`]). All SQL is in here.
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

use tricast_core::clock::Clock;
use tricast_domain::{
    alerts::AlertStore, dashboards::DashboardStore, history::HistoryStore, keys::KeyStore, orders::OrderStore,
    relay::EventStore,
};

pub use activity::{Activity, Gauges};
use postgres::{DatabaseConfig, PostgresStore};
use sqlite::SqliteStore;

mod abort;
mod activity;
mod key_rights;
pub mod postgres;
pub mod sqlite;
mod statistics;
#[cfg(test)]
mod tests;

/// Reason why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file can't be opened.
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    /// The database can't be opened.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
}

/// Store in use. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// SQLite, in a file or in memory. The second one is for history: the same store in a file; in memory another one
    /// with a limit of its own, so that points can't take the room of orders.
    Sqlite(SqliteStore, SqliteStore),
    /// PostgreSQL, which several nodes may share.
    Postgres(PostgresStore),
}

impl Store {
    /// Returns whether other nodes read and write the store as well.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opens the embedded store in `directory`, which is created if it does not exist, in a file of at most
    /// `max_bytes`; 0 means no limit.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_directory(directory: &Path, max_bytes: usize) -> Result<Self, OpenError> {
        let store = SqliteStore::open_within(directory, max_bytes)?;
        Ok(Self::Sqlite(store.clone(), store))
    }

    /// Opens the embedded store in `directory` for a few changes, even while a server uses it. Its schema has to be that of this
    /// version then.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn beside_a_server(directory: &Path, max_bytes: usize) -> Result<Self, OpenError> {
        match SqliteStore::open_within(directory, max_bytes) {
            Err(sqlite::OpenError::InUse(_)) => {
                let store = SqliteStore::beside(directory)?;
                Ok(Self::Sqlite(store.clone(), store))
            }
            opened => {
                let store = opened?;
                Ok(Self::Sqlite(store.clone(), store))
            }
        }
    }

    /// Creates the embedded store in memory: its data are lost with the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_memory() -> Result<Self, OpenError> {
        let store = SqliteStore::in_memory()?;
        let history = store.another_in_memory()?;
        Ok(Self::Sqlite(store, history))
    }

    /// Opens the store in PostgreSQL, which does its work on `runtime`. The database need not be reachable yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn in_database(config: DatabaseConfig, runtime: Handle) -> Result<Self, OpenError> {
        Ok(Self::Postgres(PostgresStore::open(config, runtime).await?))
    }

    /// Returns the store of orders, customers and visits.
    pub fn orders(&self) -> Arc<dyn OrderStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of dashboards.
    pub fn dashboards(&self) -> Arc<dyn DashboardStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of points and roll-ups.
    pub fn history(&self) -> Arc<dyn HistoryStore> {
        match self {
            Self::Sqlite(_, history) => Arc::new(history.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of rules, alerts and deliveries.
    pub fn alerts(&self) -> Arc<dyn AlertStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of machine keys.
    pub fn keys(&self) -> Arc<dyn KeyStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the clock for business data: that of the database, which all nodes share, or else `clock`, that of this
    /// host.
    pub fn clock(&self, clock: &Clock) -> Clock {
        match self {
            Self::Sqlite(..) => clock.clone(),
            Self::Postgres(store) => store.clock(clock),
        }
    }

    /// Returns how far the clock of the database is ahead of `clock`; `None` without a database, or before the first
    /// reading. Costs no query: the clock is read once a second while the database works.
    pub fn clock_offset(&self, clock: &Clock) -> Option<SignedDuration> {
        match self {
            Self::Sqlite(..) => None,
            Self::Postgres(store) => store.clock_offset(clock),
        }
    }

    /// Returns the store of events that wait to be published.
    pub fn events(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the counters of reads and changes.
    pub fn activity(&self) -> &Activity {
        match self {
            // Both SQLite stores count together.
            Self::Sqlite(store, _) => store.activity(),
            Self::Postgres(store) => store.activity(),
        }
    }

    /// Returns the current state.
    pub fn gauges(&self) -> Gauges {
        match self {
            Self::Sqlite(store, history) if store.is(history) => store.gauges(),
            Self::Sqlite(store, history) => store.gauges().plus(history.gauges()),
            Self::Postgres(store) => store.gauges(),
        }
    }

    /// Returns whether the store can be read and written. History in memory is not tested: its recorder reports
    /// failures.
    pub async fn responds(&self) -> bool {
        match self {
            Self::Sqlite(store, _) => store.responds().await,
            Self::Postgres(store) => store.is_available(),
        }
    }

    /// Returns whether the store can be read and written.
    pub fn is_available(&self) -> bool {
        match self {
            Self::Sqlite(store, _) => store.is_available(),
            Self::Postgres(store) => store.is_available(),
        }
    }

    /// Returns a watch that is true while the store can be read and written.
    pub fn available(&self) -> watch::Receiver<bool> {
        match self {
            Self::Sqlite(store, _) => store.available(),
            Self::Postgres(store) => store.available(),
        }
    }

    /// Keeps [`Store::available`] up to date by test writes. Returns when the store is closed.
    pub async fn watch(self) {
        match self {
            Self::Sqlite(store, _) => store.watch().await,
            // PostgreSQL is watched by a task of its own, which also reconnects.
            Self::Postgres(_) => {}
        }
    }

    /// Writes all queued changes and closes the store. Later calls fail with `StoreError::Unavailable`.
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
