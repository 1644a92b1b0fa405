//! Errors of work on a connection: the database failed, or the domain refused.

use tricast_domain::{
    alerts::AlertError, dashboards::DashboardError, history::HistoryError, keys::KeyError, orders::OrderError,
    service::StoreError,
};

/// Reason why work on a connection ended early. `F` is the failure of the database, `E` the error of the domain.
///
/// Both kinds become an `Abort` by `?`, so SQL and the checks of the domain can stand side by side. What was changed is
/// rolled back in either case.
#[derive(Debug)]
pub(super) enum Abort<F, E> {
    /// The database failed; the outcome depends on the failure.
    Failed(F),
    /// The domain refused the operation; nothing is wrong with the database.
    Refused(E),
}

/// Error of a part of the domain that has a store.
pub(super) trait DomainError: From<StoreError> + Send + 'static {
    /// Whether failures of the database are expected to be retried, so that each one is logged at debug level only.
    const RETRIED: bool = false;
}

impl DomainError for OrderError {}
impl DomainError for DashboardError {}
impl DomainError for AlertError {}
impl DomainError for HistoryError {}
impl DomainError for KeyError {}

/// The relay asks twice a second while the store does not work.
impl DomainError for StoreError {
    const RETRIED: bool = true;
}

/// Error that a failure `F` of the database can be reported as.
pub(super) trait FromFailure<F> {
    /// Reports `failure`: logs it unless another part does, and returns the error for the caller.
    fn from_failure(failure: F) -> Self;
}

/// Failures as they are, for the parts of a store that handle them themselves.
impl<F> FromFailure<F> for F {
    fn from_failure(failure: F) -> Self {
        failure
    }
}

impl<F, E: FromFailure<F>> Abort<F, E> {
    /// Returns the error for the caller.
    pub(super) fn report(self) -> E {
        match self {
            Self::Failed(failure) => E::from_failure(failure),
            Self::Refused(error) => error,
        }
    }
}

impl<F, E: DomainError> From<E> for Abort<F, E> {
    fn from(error: E) -> Self {
        Self::Refused(error)
    }
}
