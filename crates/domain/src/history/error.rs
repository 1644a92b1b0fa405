//! Errors of history queries and of the recorder.

use crate::service::{ServiceError, StoreError};

/// Reason why history can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A parameter is out of bounds, or the parameters don't fit together.
    #[error("{0}")]
    Invalid(String),
    /// The channel does not exist and has no history.
    #[error("there is no channel {0:?}, and no history of one")]
    NotFound(String),
    /// History is switched off.
    #[error("this server keeps no history: history.enabled is false")]
    Disabled,
    /// The store failed, or did not respond in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The query did not finish in time.
    #[error(transparent)]
    Service(#[from] ServiceError),
}
