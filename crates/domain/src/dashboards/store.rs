//! Interface between dashboards and a store. The implementations are in `tricast_store`.

use futures_util::future::BoxFuture;

use super::{Board, DashboardError};
use crate::relay::NewEvent;
use tricast_core::version::Version;

/// Result of a call to a store; dropping it does not undo a change.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, DashboardError>>;

/// Keeps the boards of many tenants. A call for one tenant never sees data of another.
///
/// An acknowledged change survives the end of the process. It is stored in one transaction with its event, and
/// returns the sequence number of that event ([`EventStore`](crate::relay::EventStore)). The caller has checked the
/// boards.
///
/// # Errors
/// Every method: [`DashboardError::Store`]. A change that failed has changed nothing, unless the error is
/// [`StoreError::Unknown`](crate::service::StoreError::Unknown).
pub trait DashboardStore: Send + Sync {
    /// Stores a tenant's first board, unless this was done before, even if the board was deleted since.
    fn seed(&self, tenant: &str, board: Board) -> StoreFuture<()>;

    /// Returns all boards, in the order of their ids.
    fn boards(&self, tenant: &str) -> StoreFuture<Vec<Board>>;

    /// Returns one board.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`].
    fn board(&self, tenant: &str, id: &str) -> StoreFuture<Board>;

    /// Adds a board, if the tenant has less than `max`.
    ///
    /// # Errors
    /// [`DashboardError::Taken`], [`DashboardError::TooMany`].
    fn insert(&self, tenant: &str, board: Board, max: usize, event: NewEvent) -> StoreFuture<u64>;

    /// Replaces the board with the same id, if that one is still at the version `seen`.
    ///
    /// # Errors
    /// [`DashboardError::Moved`], also if it does not exist any more.
    fn replace(&self, tenant: &str, board: Board, seen: Version, event: NewEvent) -> StoreFuture<u64>;

    /// Deletes a board, if it is still at the version `seen`.
    ///
    /// # Errors
    /// [`DashboardError::Moved`], also if it does not exist any more.
    fn delete(&self, tenant: &str, id: &str, seen: Version, event: NewEvent) -> StoreFuture<u64>;
}
