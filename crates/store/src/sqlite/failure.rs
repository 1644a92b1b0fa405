//! Failures of SQLite, and the errors that callers get for them. Details go to the log only.

use std::{cell::Cell, path::Path};

use rusqlite::{Error, ErrorCode};
use tokio::sync::mpsc::error::TrySendError;

use super::OpenError;
use crate::abort::{self, DomainError, FromFailure};
use tricast_domain::service::StoreError;

/// Reason why work on a connection to SQLite ended early.
pub(super) type Abort<E> = abort::Abort<Failure, E>;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Returns how many operations of callers have failed on this thread.
pub(super) fn count() -> u64 {
    COUNT.get()
}

/// Reason why SQLite did not carry out an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The queue is full.
    #[error("the store's queue is full")]
    QueueFull,
    /// The store is closed, or the transaction could not be started.
    #[error("the store is closed")]
    Closed,
    /// The transaction of the whole group was rolled back.
    #[error("the group was not committed")]
    NotCommitted,
    /// SQLite returned an error.
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
    /// Logs the failure and returns the error for the caller, without details of the database.
    fn report(&self, retried: bool) -> StoreError {
        let Self::Sql(error) = self else { return StoreError::Unavailable };
        if retried {
            tracing::debug!(%error, "the store failed; the operation is retried");
        } else {
            tracing::error!(%error, "the store failed");
            COUNT.set(COUNT.get() + 1);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Unavailable,
        }
    }
}

impl<E: DomainError> FromFailure<Failure> for E {
    fn from_failure(failure: Failure) -> Self {
        failure.report(E::RETRIED).into()
    }
}

impl<E> From<Failure> for Abort<E> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<E> From<Error> for Abort<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Returns the error for a file at `path` that can't be opened.
pub(super) fn of_opening(path: &Path, source: Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source },
        _ => OpenError::Database { path, source },
    }
}
