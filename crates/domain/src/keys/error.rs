//! Errors of keys.

use crate::service::{ServiceError, StoreError};

/// Reason why an operation on a key failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No key of the tenant has this id or name.
    #[error("there is no such key")]
    NotFound,
    /// Another key of the tenant has this name.
    #[error("a key named {0:?} exists already")]
    Taken(String),
    /// The tenant has as many keys as it may have.
    #[error("there are {0} keys, which is the limit")]
    TooMany(usize),
    /// The store failed, or did not respond in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There was no result in time.
    #[error(transparent)]
    Service(#[from] ServiceError),
}
