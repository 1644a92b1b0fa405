//! Errors of the alert service.

use crate::service::{ServiceError, StoreError};

/// Reason why an operation on a rule or an alert failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No alert has this id.
    #[error("there is no such alert")]
    NotFound,
    /// No rule has this id.
    #[error("there is no such rule")]
    NoRule,
    /// Another rule has this id already.
    #[error("{0:?} exists already")]
    Taken(String),
    /// The tenant has as many rules as it may have.
    #[error("there are {0} rules, which is the limit")]
    TooMany(usize),
    /// The rule is not at the version that `If-Match` requires.
    #[error("the rule has changed since: read it again")]
    Moved,
    /// Another process raises and resolves the tenant's alerts.
    #[error("another node decides about alerts")]
    NotDeciding,
    /// The store failed, or did not respond in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service did not accept the call, or did not get its result in time.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl AlertError {
    /// Creates the error for a field that is out of bounds; `detail` names the field.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }
}
