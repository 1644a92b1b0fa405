//! Errors of the order service.

use crate::service::{ServiceError, StoreError};

/// Reason why an operation on orders, customers or visits failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// No order has this id.
    #[error("there is no such order")]
    NotFound,
    /// The order is not at the version that `If-Match` requires.
    #[error("the order has changed since: read it again")]
    Moved,
    /// The idempotency key was used with another body.
    #[error("this Idempotency-Key was used with another body within the last 24 h: use a new key for a new order")]
    KeyReused,
    /// The tenant has as many orders as it may have.
    #[error(
        "there are {0} orders, which is the limit: nothing was stored; an administrator can delete old ones, or raise limits.max_orders"
    )]
    TooManyOrders(usize),
    /// The tenant has as many customers as it may have.
    #[error(
        "there are {0} customers, which is the limit: nothing was stored; an administrator can delete old ones, or raise limits.max_customers"
    )]
    TooManyCustomers(usize),
    /// The store failed, or did not respond in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service did not accept the call, or did not get its result in time.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl OrderError {
    /// Returns whether the change may have been made nevertheless.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unknown) | Self::Service(ServiceError::Unknown))
    }
}
