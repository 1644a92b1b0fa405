//! Failures of PostgreSQL, and the errors that callers get for them. Details go to the log only.

use std::{error::Error as _, io};

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::abort::{self, DomainError, FromFailure};
use tricast_domain::service::StoreError;

/// Reason why work on a connection to PostgreSQL ended early.
pub(super) type Abort<E> = abort::Abort<Failure, E>;

/// Reason why PostgreSQL did not carry out an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The queue is full.
    #[error("the store's queue is full")]
    QueueFull,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// PostgreSQL can't be reached at the moment, and was not contacted.
    #[error("PostgreSQL is not available")]
    Down,
    /// PostgreSQL did not respond in time.
    #[error("PostgreSQL did not respond in time")]
    TimedOut,
    /// The connection broke during the commit, and the outcome can't be found out.
    #[error("it is not known whether the transaction was committed")]
    Unconfirmed,
    /// No connection could be established.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// PostgreSQL returned an error, or the connection broke.
    #[error("{}", describe(.0))]
    Sql(#[from] Error),
    /// A table contains a value that this program did not write.
    #[error("a row can't be read: {0}")]
    Row(String),
}

/// Way to repeat a failed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Repeat on a new connection.
    Reconnect,
    /// Repeat: another transaction was in the way.
    Again,
    /// Repeat each change alone: PostgreSQL rejects one of them.
    OneByOne,
    /// Do not repeat: the failure would be the same.
    None,
}

impl Failure {
    /// Returns how to repeat the group, provided that nothing was committed.
    pub(super) fn remedy(&self) -> Remedy {
        let Self::Sql(error) = self else { return Remedy::None };
        match error.code() {
            None if error.is_closed() || is_io(error) => Remedy::Reconnect,
            None => Remedy::OneByOne,
            Some(code) => match code.code().get(..2) {
                // The administrator ended one connection, or all of them.
                Some("57") if *code == SqlState::ADMIN_SHUTDOWN => Remedy::Reconnect,
                Some("40") => Remedy::Again,
                Some("22" | "23" | "54") => Remedy::OneByOne,
                _ => Remedy::None,
            },
        }
    }

    /// Returns whether PostgreSQL states that it did not commit the transaction. A transaction that an administrator or
    /// a time limit interrupts while it waits for a replica is committed nevertheless.
    pub(super) fn undoes(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "25" | "40" | "53")))
    }

    /// Returns whether the failure may pass by itself, without a change of a setting, a permission or a certificate.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::QueueFull | Self::Closed | Self::Down | Self::TimedOut | Self::Unconfirmed => true,
            Self::NoConnection(_) | Self::Row(_) => false,
            Self::Sql(error) => match error.code() {
                None => error.is_closed() || is_io(error) || is_timeout(error),
                // Connections, resources, operators (also "is starting up"), operations that a standby does not allow.
                Some(code) => {
                    matches!(code.code().get(..2), Some("08" | "53" | "57" | "40"))
                        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
                }
            },
        }
    }

    /// Returns the error for the caller, without details of the database. Does not log: one failure may concern a whole group of callers.
    pub(super) fn kind(&self) -> StoreError {
        match self {
            Self::Unconfirmed => StoreError::Unknown,
            Self::Sql(error) if error.code() == Some(&SqlState::DISK_FULL) => StoreError::Full,
            Self::Sql(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => StoreError::ReadOnly,
            _ if self.remedy() == Remedy::OneByOne => StoreError::Refused,
            _ => StoreError::Unavailable,
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Sql(error),
            PoolError::Timeout(_) => Self::TimedOut,
            PoolError::Closed => Self::Closed,
            PoolError::NoRuntimeSpecified => Self::NoConnection("no runtime".into()),
            PoolError::PostCreateHook(error) => match error {
                deadpool_postgres::HookError::Backend(error) => Self::Sql(error),
                deadpool_postgres::HookError::Message(text) => Self::NoConnection(text.into_owned()),
            },
        }
    }
}

impl<E: DomainError> FromFailure<Failure> for E {
    fn from_failure(failure: Failure) -> Self {
        if E::RETRIED {
            tracing::debug!(%failure, "the store failed; the operation is retried");
        } else if !matches!(failure, Failure::QueueFull | Failure::Closed | Failure::Down) {
            tracing::error!(%failure, "the store failed");
        }
        failure.kind().into()
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

/// Describes an error. The driver says "db error" and keeps the rest in the source.
pub(super) fn describe(error: &Error) -> String {
    if let Some(db_error) = error.as_db_error() {
        let detail = db_error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}: {}{detail}", db_error.code().code(), db_error.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Returns whether the network failed. An untrusted certificate is an I/O error to the driver as well, but not here.
fn is_io(error: &Error) -> bool {
    let mut source = error.source();
    let mut io = false;
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            if cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return false;
            }
            io = true;
        }
        source = cause.source();
    }
    io
}

/// Recognizes the message with which the driver reports its own time limit.
fn is_timeout(error: &Error) -> bool {
    error.to_string().contains("timeout") || error.to_string().contains("timed out")
}
