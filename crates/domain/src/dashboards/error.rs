//! Errors of the dashboard service.

use crate::service::{ServiceError, StoreError};

/// Reason why an operation on a dashboard failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DashboardError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No dashboard has this id.
    #[error("there is no such dashboard")]
    NotFound,
    /// The dashboard has no tile with this id.
    #[error("the dashboard has no such tile")]
    NoTile,
    /// Another dashboard or tile has this id already.
    #[error("{0:?} exists already")]
    Taken(String),
    /// The tenant has as many dashboards as it may have.
    #[error("there are {0} dashboards, which is the limit")]
    TooMany(usize),
    /// The dashboard is not at the version that the caller requires.
    #[error("the dashboard has changed since: read it again")]
    Moved,
    /// The store failed, or did not respond in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service did not accept the call, or did not get its result in time.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl DashboardError {
    /// Creates the error for a field that is out of bounds; `detail` names the field.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }
}
