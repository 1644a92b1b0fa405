//! What orders need of a store. Implementations are elsewhere.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Changes, IdempotencyKey, Minute, NewCustomer, NewOrder, Order, OrderError, OrderId, Status, Tally};
use crate::core::version::IfMatch;

/// A store's answer. It belongs to nobody, so that it can be awaited elsewhere than where it was asked for; dropping it
/// does not undo a change.
pub type Answer<T> = BoxFuture<'static, Result<T, OrderError>>;

/// Keeps the orders of many tenants. One tenant's calls never see another's.
///
/// A change is handed in by the call itself, not by the first poll of its answer: changes are made, and answered, in the
/// order of the calls. A change that was answered survives the end of the process. One that failed has changed nothing,
/// except that [`OrderError::Unknown`] leaves open whether it was made. Changes of the numbers ([`Tally`]) are kept
/// together with what made them, or not at all, and so are the events about orders ([`Order::created`], [`Changes::event`]).
///
/// # Errors
/// Every method: [`OrderError::Unavailable`] when too much waits for the store or it does not work; those that change
/// something also [`OrderError::Full`] when it has no room, [`OrderError::ReadOnly`], and [`OrderError::Unknown`].
pub trait OrderStore: Send + Sync {
    /// Takes an order, or with a key that is known answers the order that the key made.
    ///
    /// # Errors
    /// [`OrderError::KeyReused`].
    fn create(&self, tenant: &str, draft: Draft) -> Answer<Created>;

    /// Changes an order, if it is the version that was meant.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Moved`].
    fn change(&self, tenant: &str, change: Change) -> Answer<Changed>;

    /// Notes a customer.
    fn customer(&self, tenant: &str, customer: NewCustomer, at: Timestamp) -> Answer<Customer>;

    /// Counts visits.
    fn visits(&self, tenant: &str, count: u32, at: Timestamp) -> Answer<Tally>;

    /// One order.
    ///
    /// # Errors
    /// [`OrderError::NotFound`].
    fn order(&self, tenant: &str, id: OrderId) -> Answer<Order>;

    /// Orders, the newest first.
    fn orders(&self, tenant: &str, query: Query) -> Answer<Vec<Order>>;

    /// What the numbers are made of, from `since` (a minute) on. Costs by minutes, not by orders.
    fn rollup(&self, tenant: &str, since: i64) -> Answer<Rollup>;

    /// The same, if somebody else than the user of this store may have changed it since it was last asked for; `None` if
    /// not. It is answered in its place among the changes: it has those that were handed in before it, and of those that
    /// were handed in after it none.
    fn recount(&self, tenant: &str, since: i64) -> Answer<Option<Rollup>> {
        let _ = (tenant, since);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// How often to ask for that; `None` where nobody else writes.
    fn recount_every(&self) -> Option<Duration> {
        None
    }
}

/// An order to take.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The order, checked.
    pub new: NewOrder,
    /// What the request was named by.
    pub key: Option<IdempotencyKey>,
    /// Now, in whole milliseconds.
    pub at: Timestamp,
}

/// An order that was taken.
#[derive(Clone, Debug)]
pub struct Created {
    /// As it was taken, also when it has changed since.
    pub order: Order,
    /// What it adds to the numbers; `None` if the key was known, and nothing new was made.
    pub tally: Option<Tally>,
    /// The place of its event, as [`EventStore`](crate::relay::EventStore) has it; `None` likewise.
    pub event: Option<u64>,
}

/// A change to make.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which order.
    pub id: OrderId,
    /// What to change.
    pub changes: Changes,
    /// Only if it holds.
    pub if_match: Option<IfMatch>,
    /// Who changes it.
    pub by: String,
    /// Now, in whole milliseconds.
    pub at: Timestamp,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The order after it.
    pub order: Order,
    /// What really changed; empty if the order was so already.
    pub changes: Changes,
    /// What that makes of the numbers.
    pub tally: Option<Tally>,
    /// The place of its event; `None` if nothing changed.
    pub event: Option<u64>,
}

/// A customer who is known.
#[derive(Clone, Debug)]
pub struct Customer {
    /// The customer's id.
    pub id: String,
    /// When the customer was first seen.
    pub first_seen: Timestamp,
    /// What that adds to the numbers; `None` for one who was known.
    pub tally: Option<Tally>,
}

/// Which orders.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only those older than this one, which need not be there.
    pub before: Option<OrderId>,
    /// At most so many.
    pub limit: usize,
}

/// What the numbers are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Counts of minutes in which something was, in order.
    pub minutes: Vec<(i64, Minute)>,
    /// Orders that are `PENDING` or `PROCESSING`, of any age.
    pub open: i64,
}
