//! Interface between orders and a store. The implementations are in `tricast_store`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Changes, IdempotencyKey, Minute, NewCustomer, NewOrder, Order, OrderError, OrderId, RowCounts, RowLimits, Status,
    Tally,
};
use tricast_core::version::IfMatch;

/// Result of a call to a store. It borrows nothing, so it can be awaited elsewhere; dropping it does not undo a change.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, OrderError>>;

/// Keeps the orders of many tenants. A call for one tenant never sees data of another.
///
/// A change is queued by the call itself, not by the first poll of its result: changes are made and acknowledged in the
/// order of the calls. An acknowledged change survives the end of the process. A change that failed has changed
/// nothing, unless the error is [`StoreError::Unknown`](crate::service::StoreError::Unknown). Changes of the figures
/// ([`Tally`]) and the events about orders ([`Order::created`], [`Changes::event`]) are stored in the transaction of
/// the change.
///
/// # Errors
/// Every method: [`OrderError::Store`].
pub trait OrderStore: Send + Sync {
    /// Creates an order. With an idempotency key that is known, returns the order that the key created.
    ///
    /// # Errors
    /// [`OrderError::KeyReused`], [`OrderError::TooManyOrders`], [`OrderError::TooManyCustomers`].
    fn create(&self, tenant: &str, draft: Draft) -> StoreFuture<Created>;

    /// Changes an order, if it is at the required version.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Moved`].
    fn change(&self, tenant: &str, change: Change) -> StoreFuture<Changed>;

    /// Records a customer.
    ///
    /// # Errors
    /// [`OrderError::TooManyCustomers`].
    fn customer(&self, tenant: &str, customer: NewCustomer, at: Timestamp, limits: RowLimits) -> StoreFuture<Customer>;

    /// Deletes the oldest orders that are neither `PENDING` nor `PROCESSING` and were created before `before`, at most
    /// `most`. The figures are counted by minute and stay.
    fn delete_orders(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted>;

    /// Deletes the oldest customers who were first recorded before `before`, at most `most`. Their orders stay.
    fn delete_customers(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<Deleted>;

    /// Adds `count` visits at `at` to the figures of the tenant.
    fn visits(&self, tenant: &str, count: u32, at: Timestamp) -> StoreFuture<Tally>;

    /// Returns one order.
    ///
    /// # Errors
    /// [`OrderError::NotFound`].
    fn order(&self, tenant: &str, id: OrderId) -> StoreFuture<Order>;

    /// Returns a page of orders, newest first.
    fn orders(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Order>>;

    /// Returns the counts since the minute `since`. The cost grows with minutes, not with orders.
    fn rollup(&self, tenant: &str, since: i64) -> StoreFuture<Rollup>;

    /// Returns the same if another process may have changed the store since the last call, and `None` if not. The call
    /// keeps its order among the changes: the result includes all changes that were queued before it, and none that
    /// were queued after it.
    fn recount(&self, tenant: &str, since: i64) -> StoreFuture<Option<Rollup>> {
        let _ = (tenant, since);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Returns how often to call [`OrderStore::recount`]; `None` where no other process writes.
    fn recount_every(&self) -> Option<Duration> {
        None
    }
}

/// Order to create, with all that its creation depends on.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Order of the client, checked.
    pub new: NewOrder,
    /// Idempotency key of the request.
    pub key: Option<IdempotencyKey>,
    /// Current time, in whole milliseconds.
    pub at: Timestamp,
    /// Limits of the tenant's rows.
    pub limits: RowLimits,
}

/// Result of creating an order.
#[derive(Clone, Debug)]
pub struct Created {
    /// The order as it was created, even if it has changed since.
    pub order: Order,
    /// Change of the figures; `None` if the key was known and nothing was created.
    pub tally: Option<Tally>,
    /// Sequence number of its event (see [`EventStore`](crate::relay::EventStore)); `None` if nothing was created.
    pub event: Option<u64>,
}

/// Change of an order to make.
#[derive(Clone, Debug)]
pub struct Change {
    /// Id of the order to change.
    pub id: OrderId,
    /// New values of the fields to change.
    pub changes: Changes,
    /// Condition on the version of the order.
    pub if_match: Option<IfMatch>,
    /// User who changes it.
    pub by: String,
    /// Current time, in whole milliseconds.
    pub at: Timestamp,
}

/// Result of changing an order.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The order after the change.
    pub order: Order,
    /// Fields that have another value now; empty if the order had the requested values already.
    pub changes: Changes,
    /// Change of the figures.
    pub tally: Option<Tally>,
    /// Sequence number of its event; `None` if nothing changed.
    pub event: Option<u64>,
}

/// Result of recording a customer.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Id of the customer.
    pub id: String,
    /// Time at which the customer was first recorded.
    pub first_seen: Timestamp,
    /// Change of the figures; `None` if the customer was recorded before.
    pub tally: Option<Tally>,
}

/// Result of deleting rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Number of deleted rows.
    pub number: usize,
    /// Change of the figures; `None` if nothing was deleted, or where [`OrderStore::recount`] reports it.
    pub tally: Option<Tally>,
}

/// Filters of a list of orders; all of them apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Only orders with this status.
    pub status: Option<Status>,
    /// Only orders older than this one, which need not exist.
    pub before: Option<OrderId>,
    /// Largest number of orders.
    pub limit: usize,
}

/// Counts that the figures are computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Counts of the minutes in which something happened, in order.
    pub minutes: Vec<(i64, Minute)>,
    /// Number of orders of any age that are `PENDING` or `PROCESSING`.
    pub open: i64,
    /// Number of rows of any age.
    pub rows: RowCounts,
}
