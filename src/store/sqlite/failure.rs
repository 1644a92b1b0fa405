//! What SQLite says, in the words of those who asked. The log gets the whole of it, clients none.

use std::{cell::Cell, path::Path};

use rusqlite::{Error, ErrorCode};
use tokio::sync::mpsc::error::TrySendError;

use super::OpenError;
use crate::{alerts::AlertError, dashboards::DashboardError, history::HistoryError, orders::OrderError};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Number of times that SQLite refused something on this thread.
pub(super) fn count() -> u64 {
    COUNT.get()
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Failure {
    /// Too much waits already.
    #[error("the store's queue is full")]
    QueueFull,
    /// The store is closed, or could not begin.
    #[error("the store is closed")]
    Closed,
    /// The group that it was part of was rolled back.
    #[error("the group was not committed")]
    NotCommitted,
    /// SQLite refused.
    #[error(transparent)]
    Sql(#[from] Error),
}

impl<T> From<TrySendError<T>> for Failure {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::QueueFull,
            TrySendError::Closed(_) => Self::Closed,
        }
    }
}

impl Failure {
    /// Whether there is no more room, which does not pass by itself. Everything else may.
    fn is_full(&self) -> bool {
        match self {
            Self::Sql(error) => {
                tracing::error!(%error, "the store failed");
                COUNT.set(COUNT.get() + 1);
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
            }
            _ => false,
        }
    }
}

impl From<Failure> for OrderError {
    fn from(failure: Failure) -> Self {
        if failure.is_full() { Self::Full } else { Self::Unavailable }
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for DashboardError {
    fn from(failure: Failure) -> Self {
        if failure.is_full() { Self::Full } else { Self::Unavailable }
    }
}

impl From<Error> for DashboardError {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for HistoryError {
    fn from(failure: Failure) -> Self {
        if failure.is_full() { Self::Full } else { Self::Unavailable }
    }
}

impl From<Error> for HistoryError {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for AlertError {
    fn from(failure: Failure) -> Self {
        if failure.is_full() { Self::Full } else { Self::Unavailable }
    }
}

impl From<Error> for AlertError {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

/// Why the file `path` can't be opened.
pub(super) fn of_opening(path: &Path, source: Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source },
        _ => OpenError::Database { path, source },
    }
}
