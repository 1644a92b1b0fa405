//! Where data is kept: implementations of what the domain asks for ([`OrderStore`],
//! [`DashboardStore`]). SQL is in here and nowhere else.
//!
//! | implementation | keeps |
//! |---|---|
//! | [`sqlite`] | all tenants in one file, or in memory |
//! | [`postgres`] | all tenants in one database, which several nodes may share |
//!
//! `suite` holds the behaviour that every implementation has to show; each runs it.

use std::{path::Path, sync::Arc};

use tokio::{runtime::Handle, sync::watch};

use crate::{dashboards::DashboardStore, orders::OrderStore, sources::store::StoreCounters};

pub use activity::{Activity, Gauges};
use postgres::{PostgresConfig, PostgresStore};
use sqlite::SqliteStore;

mod activity;
pub mod postgres;
pub mod sqlite;
#[cfg(test)]
mod suite;

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
    /// SQLite, in a file or in memory.
    Sqlite(SqliteStore),
    /// PostgreSQL.
    Postgres(PostgresStore),
}

impl Store {
    /// The embedded store in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_directory(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self::Sqlite(SqliteStore::open(directory)?))
    }

    /// The embedded store in memory: it ends with the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_memory() -> Result<Self, OpenError> {
        Ok(Self::Sqlite(SqliteStore::in_memory()?))
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
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What keeps boards.
    pub fn dashboards(&self) -> Arc<dyn DashboardStore> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What it counts of itself.
    pub fn counters(&self) -> Arc<dyn StoreCounters> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What was asked of it.
    pub fn activity(&self) -> &Activity {
        match self {
            Self::Sqlite(store) => store.activity(),
            Self::Postgres(store) => store.activity(),
        }
    }

    /// How it is right now.
    pub fn gauges(&self) -> Gauges {
        match self {
            Self::Sqlite(store) => store.gauges(),
            Self::Postgres(store) => store.gauges(),
        }
    }

    /// Whether it can be read and written.
    pub async fn responds(&self) -> bool {
        match self {
            Self::Sqlite(store) => store.responds().await,
            Self::Postgres(store) => *store.available().borrow(),
        }
    }

    /// True while it can be read and written; `None` for a store that does not come and go.
    pub fn available(&self) -> Option<watch::Receiver<bool>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(store) => Some(store.available()),
        }
    }

    /// Writes what waits and closes it. Whoever asks afterwards finds it unavailable.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}
