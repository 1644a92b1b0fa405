//! Publication of stored events: the reading side of a transactional outbox.
//!
//! A change of an order, a board or an alert is stored in one transaction with its event. A [`Relay`] publishes the
//! event afterwards and then removes it from the store. So a stored event is always published: by this process, by the
//! next one after a crash, or by another node that shares the store.
//!
//! ```text
//! change ─▶ store: the change and its event, in one transaction
//!                       │ pending, in order
//!                       ▼
//!              Relay ─▶ aggregator: publishes each once, by its source and number ─▶ log
//!                 └───▶ store: removed
//! ```
//!
//! Sequence numbers are assigned under a lock that the transaction holds, so events become visible in the order of
//! their numbers. A relay always begins with the first pending event. If two nodes publish the same events at once, the
//! decider of the log drops each one that it has seen: no event is missed, doubled or out of order. Only the log of a single
//! process ends with it: if it is killed between the publication and the removal, the event is published again in its next log.
//!
//! While the log can't be written, events pile up in the store. [`Relay::check_room`] refuses changes by clients before
//! they are stored once the limit is reached; alerts are stored nevertheless, at most one open one per rule.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::service::StoreError;

mod tenant_relay;

pub use tenant_relay::{Relay, RelayTask};

/// Result of a call to a store.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Event to store with the change that causes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Name of a built-in channel.
    pub channel: &'static str,
    /// Name of the event.
    pub event: &'static str,
    /// Details, a JSON object.
    pub data: String,
}

impl NewEvent {
    /// Creates an event with the details `data`, which serialize to an object.
    pub fn new(channel: &'static str, event: &'static str, data: &impl Serialize) -> Self {
        Self { channel, event, data: serde_json::to_string(data).unwrap_or_default() }
    }
}

/// Returns the sequence number of the next event, where `last` is that of the newest. It follows the clock, so that a store
/// that was restored from a backup does not assign a number twice.
pub fn next_seq(last: i64, now_micros: i64) -> i64 {
    (last + 1).max(now_micros)
}

/// Event that is stored and not known to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// Sequence number among the events of the tenant. It grows with each event, by any amount.
    pub seq: u64,
    /// Name of the channel.
    pub channel: String,
    /// Name of the event.
    pub event: String,
    /// Details, a JSON object.
    pub data: String,
}

/// Pending events of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Identifier of the store and of the sequence that the numbers belong to; unique among all stores.
    pub source: String,
    /// Events in the order of their sequence numbers.
    pub events: Vec<PendingEvent>,
}

/// Interface between the relay and a store. The store writes the events of [`NewEvent`] with the changes themselves.
pub trait EventStore: Send + Sync {
    /// Returns the first pending events of a tenant after the sequence number `after`.
    fn pending(&self, tenant: &str, after: u64, limit: usize) -> StoreFuture<Pending>;

    /// Returns the number of pending events of a tenant after the sequence number `after`. The cost grows with that number.
    fn count(&self, tenant: &str, after: u64) -> StoreFuture<u64>;

    /// Removes the events of a tenant up to the sequence number `through`, which are published.
    fn remove(&self, tenant: &str, through: u64) -> StoreFuture<()>;

    /// Returns the tenants with an event that is pending for longer than `age`.
    fn overdue(&self, age: Duration) -> StoreFuture<Vec<String>>;
}

#[cfg(test)]
mod tests {
    use super::next_seq;

    #[test]
    fn sequence_numbers_follow_the_clock_and_never_repeat() {
        assert_eq!([next_seq(5, 100), next_seq(99, 100), next_seq(100, 100), next_seq(500, 100)], [100, 100, 101, 501]);
    }
}
