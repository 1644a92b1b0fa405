//! What dashboards need of a store. Implementations are elsewhere.

use futures_util::future::BoxFuture;

use super::{Board, DashboardError};
use crate::{core::version::Version, relay::NewEvent};

/// A store's answer; dropping it does not undo a change.
pub type Answer<T> = BoxFuture<'static, Result<T, DashboardError>>;

/// Keeps the boards of many tenants. One tenant's calls never see another's.
///
/// A change that was answered survives the end of the process. It is kept together with the event about it, whose place is
/// the answer ([`EventStore`](crate::relay::EventStore)). Boards are checked by the caller.
///
/// # Errors
/// Every method: [`DashboardError::Unavailable`] when too much waits for the store or it does not work; those that change
/// something also [`DashboardError::Full`] when it has no room, [`DashboardError::ReadOnly`], and
/// [`DashboardError::Unknown`], which alone leaves open whether the change was made.
pub trait DashboardStore: Send + Sync {
    /// Gives a tenant its first board, unless it was given one before, deleted or not.
    fn seed(&self, tenant: &str, board: Board) -> Answer<()>;

    /// All boards, by id.
    fn boards(&self, tenant: &str) -> Answer<Vec<Board>>;

    /// One board.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`].
    fn board(&self, tenant: &str, id: &str) -> Answer<Board>;

    /// A new board, if the tenant has less than `max`.
    ///
    /// # Errors
    /// [`DashboardError::Taken`], [`DashboardError::TooMany`].
    fn insert(&self, tenant: &str, board: Board, max: usize, event: NewEvent) -> Answer<u64>;

    /// Puts `board` in the place of the one of its id, if that one is still at `seen`.
    ///
    /// # Errors
    /// [`DashboardError::Moved`], also when it is gone.
    fn replace(&self, tenant: &str, board: Board, seen: Version, event: NewEvent) -> Answer<u64>;

    /// Deletes a board, if it is still at `seen`.
    ///
    /// # Errors
    /// [`DashboardError::Moved`], also when it is gone.
    fn delete(&self, tenant: &str, id: &str, seen: Version, event: NewEvent) -> Answer<u64>;
}
