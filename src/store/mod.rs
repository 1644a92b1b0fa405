//! Where data is kept: implementations of what the domain asks for ([`OrderStore`], [`DashboardStore`],
//! [`HistoryStore`], [`AlertStore`]). SQL is in here and nowhere else.
//!
//! | implementation | keeps |
//! |---|---|
//! | [`sqlite`] | all tenants in one file, or in memory |
//!
//! `suite` and `suite_history` hold the behaviour that every implementation has to show; each runs them.

use std::{path::Path, sync::Arc};

use crate::{alerts::AlertStore, dashboards::DashboardStore, history::HistoryStore, orders::OrderStore};

pub use sqlite::OpenError;
use sqlite::SqliteStore;

pub mod sqlite;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod suite_alerts;
#[cfg(test)]
mod suite_history;

/// The store in use, as those who need one part of it see it. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// SQLite, in a file or in memory: all but history, and history. They are one in a file, and two in memory, where each
    /// has a bound of its own, so that points can't take the room of orders.
    Sqlite(SqliteStore, SqliteStore),
}

impl Store {
    /// The embedded store in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_directory(directory: &Path) -> Result<Self, OpenError> {
        SqliteStore::open(directory).map(|store| Self::Sqlite(store.clone(), store))
    }

    /// The embedded store in memory: it ends with the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_memory() -> Result<Self, OpenError> {
        Ok(Self::Sqlite(SqliteStore::in_memory()?, SqliteStore::in_memory()?))
    }

    /// What keeps orders, customers and visits.
    pub fn orders(&self) -> Arc<dyn OrderStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
        }
    }

    /// What keeps boards.
    pub fn dashboards(&self) -> Arc<dyn DashboardStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
        }
    }

    /// What keeps points and their rollups.
    pub fn history(&self) -> Arc<dyn HistoryStore> {
        match self {
            Self::Sqlite(_, history) => Arc::new(history.clone()),
        }
    }

    /// What keeps rules, alerts and what is to be sent of them.
    pub fn alerts(&self) -> Arc<dyn AlertStore> {
        match self {
            Self::Sqlite(store, _) => Arc::new(store.clone()),
        }
    }

    /// Writes what waits and closes it. Whoever asks afterwards finds it unavailable.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store, history) => {
                store.close().await;
                history.close().await;
            }
        }
    }
}
