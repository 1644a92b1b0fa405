//! Failures of PostgreSQL, and the errors that callers get for them. Details go to the log only.

use std::{error::Error as _, io};

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::{
    service::StoreError,
    store::abort::{self, DomainError, FromFailure},
};

/// Reason why work on a connection to PostgreSQL ended early.
pub(super) type Abort<E> = abort::Abort<Failure, E>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Failure {
    /// Too much waits already.
    #[error("the store's queue is full")]
    QueueFull,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// PostgreSQL does not answer at the moment, and was not asked.
    #[error("PostgreSQL is not available")]
    Down,
    /// It did not answer in time.
    #[error("PostgreSQL did not answer in time")]
    TimedOut,
    /// The connection broke during the commit, and PostgreSQL can't be asked whether it was made.
    #[error("it is not known whether the transaction was committed")]
    Unconfirmed,
    /// There was no connection to be had.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// PostgreSQL refused, or the connection broke.
    #[error("{}", describe(.0))]
    Sql(#[from] Error),
    /// Something is in the tables that this program did not put there.
    #[error("a row is not understood: {0}")]
    Row(String),
}

/// What may be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The same on a new connection.
    Reconnect,
    /// The same again: somebody else was in the way.
    Again,
    /// Each change by itself: one of them is what PostgreSQL does not take.
    OneByOne,
    /// Nothing now.
    None,
}

impl Failure {
    /// What may be done about it, as long as nothing was committed.
    pub(super) fn remedy(&self) -> Remedy {
        let Self::Sql(error) = self else { return Remedy::None };
        match error.code() {
            None if error.is_closed() || is_io(error) => Remedy::Reconnect,
            None => Remedy::OneByOne,
            Some(code) => match code.code().get(..2) {
                // What the administrator ended: one connection, or all of them.
                Some("57") if *code == SqlState::ADMIN_SHUTDOWN => Remedy::Reconnect,
                Some("40") => Remedy::Again,
                Some("22" | "23" | "54") => Remedy::OneByOne,
                _ => Remedy::None,
            },
        }
    }

    /// Whether it is PostgreSQL's word that the transaction it ended was not committed. One that an administrator or a
    /// time-out interrupts while it waits for a replica is committed all the same.
    pub(super) fn undoes(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "25" | "40" | "53")))
    }

    /// Whether it may be over by itself: nobody has to change a setting, a right or a certificate.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::QueueFull | Self::Closed | Self::Down | Self::TimedOut | Self::Unconfirmed => true,
            Self::NoConnection(_) | Self::Row(_) => false,
            Self::Sql(error) => match error.code() {
                None => error.is_closed() || is_io(error) || is_timeout(error),
                // Connections, resources, operators (also "is starting up"), what a standby may not do.
                Some(code) => {
                    matches!(code.code().get(..2), Some("08" | "53" | "57" | "40"))
                        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
                }
            },
        }
    }

    /// Returns what a caller may know of the failure. Does not log: one failure may concern a whole group of callers.
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
            tracing::debug!(%failure, "the store failed; trying again");
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

/// The driver says "db error" and keeps the rest behind it.
pub(super) fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}: {}{detail}", said.code().code(), said.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Whether the network failed, and not what was said over it: a certificate that is not trusted is an input or output
/// error to the driver, too.
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

/// The driver gives a connection up for its own time-out with these words.
fn is_timeout(error: &Error) -> bool {
    error.to_string().contains("timeout") || error.to_string().contains("timed out")
}
