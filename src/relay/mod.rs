//! Publishing what is stored: a transactional outbox.
//!
//! A change of an order, a board or an alert and the event about it are one transaction of the store. A [`Relay`] publishes
//! the event afterwards and then removes it from the store, so that an event that was stored is published whatever ends in
//! between: by this process, by its successor, or by another node that shares the store.
//!
//! ```text
//! change ─▶ store: the change and its event, in one transaction
//!                       │ pending, in order
//!                       ▼
//!              Relay ─▶ aggregator: publishes each once, by its source and place ─▶ log
//!                 └───▶ store: removed
//! ```
//!
//! Places are given under the lock that the transaction holds, so that events become visible in the order of their places.
//! Whoever publishes begins with the first that is left. So of two nodes that publish the same events at once one comes
//! second with each of them, and whoever decides about the log drops those: none is missed, doubled or out of order.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::service::StoreError;

mod tenant_relay;

pub use tenant_relay::{Relay, RelayTask};

/// Result of a call to a store.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// An event to be stored with the change that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// A built-in channel.
    pub channel: &'static str,
    /// Its name.
    pub event: &'static str,
    /// A JSON object.
    pub data: String,
}

impl NewEvent {
    /// An event whose details are `data`, an object.
    pub fn new(channel: &'static str, event: &'static str, data: &impl Serialize) -> Self {
        Self { channel, event, data: serde_json::to_string(data).unwrap_or_default() }
    }
}

/// Returns the sequence number of the next event, where `last` is that of the newest. It follows the clock, so that a store
/// that was restored from a backup does not assign a number twice.
pub fn next_seq(last: i64, now_micros: i64) -> i64 {
    (last + 1).max(now_micros)
}

/// An event that is stored and was not seen to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// Its place among the events of its tenant. Later events have larger ones, by whatever, so that a store that was
    /// restored from a backup does not give out places again.
    pub seq: u64,
    /// The channel.
    pub channel: String,
    /// Its name.
    pub event: String,
    /// A JSON object.
    pub data: String,
}

/// Pending events of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The store, and the sequence in it that the places belong to; unique among all stores.
    pub source: String,
    /// By their places.
    pub events: Vec<PendingEvent>,
}

/// What the relay needs of a store, which makes the events of [`NewEvent`]s itself.
pub trait EventStore: Send + Sync {
    /// The first pending events of a tenant behind the place `after`.
    fn pending(&self, tenant: &str, after: u64, limit: usize) -> Answer<Pending>;

    /// Removes the events of a tenant up to the place `through`: they are published.
    fn remove(&self, tenant: &str, through: u64) -> Answer<()>;

    /// The tenants that have an event which is pending for longer than `age`.
    fn left_behind(&self, age: Duration) -> Answer<Vec<String>>;
}
