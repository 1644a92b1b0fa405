//! Changes of orders, customers and visits that wait to be written.

use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::oneshot;

use tricast_domain::{
    orders::{Change, Changed, Created, Customer, Draft, NewCustomer, OrderError, Rollup, RowLimits, Tally},
    service::StoreError,
};

/// Result of a change, and the channel to its caller.
pub(super) struct Slot<T> {
    reply: oneshot::Sender<Result<T, OrderError>>,
    /// Set at each attempt, and sent once the attempt is committed.
    pub(super) result: Option<Result<T, OrderError>>,
}

impl<T> Slot<T> {
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<T, OrderError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { reply, result: None }, answer)
    }

    fn send(self, failure: Option<&OrderError>) {
        let result = match failure {
            Some(failure) => Err(failure.clone()),
            None => self.result.unwrap_or(Err(StoreError::Unavailable.into())),
        };
        // The caller may have stopped waiting.
        drop(self.reply.send(result));
    }
}

/// Change of a tenant's orders, customers or visits that waits to be written.
pub(super) struct Write {
    pub(super) tenant: String,
    pub(super) work: Work,
    pub(super) start: Instant,
}

/// Kind of a queued change.
pub(super) enum Work {
    Create(Draft, Slot<Created>),
    Change(Change, Slot<Changed>),
    Customer(NewCustomer, Timestamp, RowLimits, Slot<Customer>),
    Visits(u32, Timestamp, Slot<Tally>),
    /// Reads the figures since this minute, in order with the changes.
    Recount(i64, Slot<Option<Rollup>>),
}

impl Write {
    /// Sends its result to the caller, or `failure` if the whole batch failed.
    pub(super) fn send(self, failure: Option<&OrderError>) {
        match self.work {
            Work::Create(_, slot) => slot.send(failure),
            Work::Change(_, slot) => slot.send(failure),
            Work::Customer(_, _, _, slot) => slot.send(failure),
            Work::Visits(_, _, slot) => slot.send(failure),
            Work::Recount(_, slot) => slot.send(failure),
        }
    }
}
