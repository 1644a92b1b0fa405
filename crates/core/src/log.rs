//! Log of one tenant: the newest value of each state channel, a bounded ring of events, and wake-ups.
//!
//! There is one writer ([`LogWriter`], held by the aggregator), and any number of readers. Readers query what is newer
//! than a position, under a short read lock; nothing is queued for them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    built_in,
    position::{Epoch, Position},
    publication::Publication,
    snapshot::View,
};

mod change;
mod channels;
mod config;
mod holes;
mod inner;
mod notices;
mod query;
mod stored;
mod writer;

pub use change::{Change, Chunk, Origins, assign_offsets};
pub use channels::ChannelInfo;
pub use config::LogConfig;
pub use holes::Holes;
use inner::{Entry, Inner};
use notices::Notices;
pub use query::{Changes, Events};
pub use stored::{ChannelTimes, StoredLog, StoredPublication};
pub use writer::LogWriter;

/// Log of one tenant. See the module.
#[derive(Debug)]
pub struct Log {
    /// Epoch. It changes only when the log was lost, under the lock that makes the change visible.
    epoch: ArcSwap<Epoch>,
    config: LogConfig,
    /// Newest offset. Written under the lock that makes the change visible, so that no reader gets a cursor beyond it;
    /// read without the lock.
    head: AtomicU64,
    /// Offset up to which ends of channels may be discarded; written in the same way.
    discarded_ends: AtomicU64,
    /// Offset of the newest version of each view of the snapshot; written in the same way.
    snapshot_offsets: [AtomicU64; View::COUNT],
    inner: RwLock<Inner>,
    /// Notices outside of the log.
    notices: Mutex<Notices>,
    /// Number of notices; written under the lock of `notices`.
    notice_count: AtomicU64,
    /// Whether a notice is in force; written in the same way.
    has_notice_in_force: AtomicBool,
    /// Assembled views of the snapshot. Locked before `inner`, never after.
    snapshots: Mutex<[Option<Arc<Publication>>; View::COUNT]>,
    /// Newest offset; each change of it wakes the hubs.
    changed: watch::Sender<u64>,
}

/// Sizes of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Events in the ring.
    pub events: usize,
    /// Bytes of the events.
    pub event_bytes: usize,
    /// Bytes of the newest values of all state channels.
    pub state_bytes: usize,
    /// Number of existing channels, without ended ones.
    pub channels: usize,
    /// Ends of channels that are kept.
    pub ends: usize,
}

impl Log {
    /// Creates an empty log with a new random epoch and unknown earlier logs, and its only writer.
    pub fn create(config: LogConfig) -> (LogWriter, Arc<Log>) {
        Self::create_as(config, Epoch::random(), None)
    }

    /// Creates an empty log of `epoch` that follows the logs of the epochs in `earlier`, oldest first; `None` if they are
    /// unknown.
    pub fn create_as(config: LogConfig, epoch: Epoch, earlier: Option<Vec<Epoch>>) -> (LogWriter, Arc<Log>) {
        let mut inner = Inner { earlier, ..Inner::default() };
        for channel in built_in::event_channels() {
            inner.names.insert(channel.clone());
            inner.channels.insert(channel, Entry::Events { last: 0, last_time: None, dropped: 0 });
        }
        let log = Arc::new(Log {
            epoch: ArcSwap::from_pointee(epoch),
            config,
            head: AtomicU64::new(0),
            discarded_ends: AtomicU64::new(0),
            snapshot_offsets: Default::default(),
            inner: RwLock::new(inner),
            notices: Mutex::default(),
            notice_count: AtomicU64::new(0),
            has_notice_in_force: AtomicBool::new(false),
            snapshots: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        (LogWriter { log: Arc::clone(&log) }, log)
    }

    /// Returns the epoch of the log; it changes only when the log was lost.
    pub fn epoch(&self) -> Epoch {
        Epoch::clone(&self.epoch.load())
    }

    /// Returns the newest offset.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Returns the offset of the newest discarded end of a channel; 0 for none.
    pub fn discarded_ends(&self) -> u64 {
        self.discarded_ends.load(Ordering::Acquire)
    }

    /// Returns the position of a reader that has everything.
    pub fn position(&self) -> Position {
        // Under the lock, so that both belong to one log.
        let _inner = self.inner.read();
        Position::new(self.epoch(), self.head())
    }

    /// Returns the position before the oldest kept event.
    pub fn beginning(&self) -> Position {
        let inner = self.inner.read();
        Position::new(self.epoch(), inner.dropped)
    }

    /// Returns whether this log can judge `position`: it belongs to this log and is not beyond its end, or belongs to an
    /// earlier log. Another node may know more about any other position.
    pub fn covers(&self, position: &Position) -> bool {
        let inner = self.inner.read();
        if position.epoch == **self.epoch.load() {
            return position.offset <= self.head();
        }
        inner.earlier.as_ref().is_some_and(|earlier| earlier.contains(&position.epoch))
    }

    /// Returns whether `epoch` is that of an earlier log. If the earlier ones are unknown, every other epoch counts as one.
    pub fn follows(&self, epoch: &Epoch) -> bool {
        let inner = self.inner.read();
        *epoch != **self.epoch.load() && inner.earlier.as_ref().is_none_or(|earlier| earlier.contains(epoch))
    }

    /// Returns the end of the hole that `offset` is in: the publication with this offset was lost.
    pub(crate) fn hole_at(&self, offset: u64) -> Option<u64> {
        self.inner.read().holes.end_of(offset)
    }

    /// Returns a watch of the newest offset.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the offset of the newest event that was dropped from the ring; 0 for none.
    pub fn dropped(&self) -> u64 {
        self.inner.read().dropped
    }

    /// Returns its sizes, for the metrics page.
    pub fn sizes(&self) -> Sizes {
        let inner = self.inner.read();
        let (events, event_bytes, state_bytes) = (inner.ring.len(), inner.ring_bytes, inner.state_bytes);
        let ends = inner.ends.len();
        Sizes { events, event_bytes, state_bytes, channels: inner.channels.len() - ends, ends }
    }
}

#[cfg(test)]
mod tests;
