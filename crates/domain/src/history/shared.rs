//! State that the handle and the recorder of a tenant's history share.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::{Calendar, HistoryConfig, HistoryStore, write_buffer::WriteBuffer};
use tricast_core::{clock::Clock, counters::Counters, log::Log};

/// State that the recorder and the handles share.
pub(super) struct Shared {
    pub(super) tenant: Box<str>,
    pub(super) config: HistoryConfig,
    pub(super) store: Arc<dyn HistoryStore>,
    pub(super) log: Arc<Log>,
    pub(super) clock: Clock,
    pub(super) calendar: Calendar,
    pub(super) counters: Arc<Counters>,
    /// Points that are recorded and not known to be stored. Locked for a moment, never across an await.
    pub(super) buffer: Mutex<WriteBuffer>,
    /// Wakes the recorder when many points wait.
    pub(super) wake: Notify,
    /// Makes the recorder read the log and write at once.
    pub(super) flush: Notify,
    /// Offset of the log up to which ends of channels are in the store.
    pub(super) ends_stored: watch::Sender<u64>,
    /// True while the server is shutting down.
    pub(super) ending: watch::Sender<bool>,
    /// True once the recorder has written all that it could.
    pub(super) ended: watch::Sender<bool>,
    /// Milliseconds by which the roll-up by minute is behind.
    pub(super) lag_ms: AtomicI64,
    /// Size of the store in bytes when it was last measured.
    pub(super) bytes: AtomicU64,
    /// Seconds for which points are kept; 0 means for ever.
    pub(super) raw_kept_s: AtomicU64,
    /// Permits of queries that run at once.
    pub(super) queries: Semaphore,
}
