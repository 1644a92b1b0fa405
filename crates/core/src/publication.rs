//! One accepted change, with the encodings that all its readers share.

use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    channel::{Channel, ChannelKind, EventName, Gone},
    clock,
    field_times::WriteTimes,
    pace::Pace,
    position::{Epoch, Position},
};

/// Number of encodings for which a publication has room; see [`Publication::encoded`].
pub const ENCODINGS: usize = 7;

/// Accepted change: immutable, shared by every reader of every transport.
///
/// Only the aggregator writes it. `data` is the canonical JSON text (compact, keys sorted), so that the same value has
/// the same bytes everywhere.
pub struct Publication {
    /// Channel of the publication.
    pub channel: Channel,
    /// Name of the event; `None` for a state.
    pub event: Option<EventName>,
    /// Set on the end of a channel, which has no value: `data` is `null` then.
    pub gone: Option<Gone>,
    /// Offset in the log.
    pub offset: u64,
    /// Time at which the aggregator accepted the change.
    pub timestamp: Timestamp,
    /// `timestamp` as every transport writes it.
    pub time_text: Arc<str>,
    /// Epoch of the log.
    pub epoch: Epoch,
    /// Value as one line of JSON.
    pub data: Bytes,
    /// Time at which the aggregator created it, for the delivery latency.
    pub made: std::time::Instant,
    /// Time at which the same value was last written again, in milliseconds since 1970; set by the log.
    confirmed_ms: AtomicI64,
    /// Whether it is the last value from history.
    restored: bool,
    /// Pace of the channel's writes.
    pace: Pace,
    encodings: [OnceLock<Bytes>; ENCODINGS],
    attachment: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Publication {
    /// Creates the publication of a change that the aggregator accepted at `timestamp`.
    pub fn new(
        epoch: Epoch,
        channel: Channel,
        event: Option<EventName>,
        offset: u64,
        timestamp: Timestamp,
        data: Bytes,
    ) -> Self {
        Self {
            epoch,
            channel,
            event,
            gone: None,
            offset,
            timestamp,
            time_text: clock::rfc3339(timestamp).into(),
            data,
            made: std::time::Instant::now(),
            confirmed_ms: AtomicI64::new(i64::MIN),
            restored: false,
            pace: Pace::new(timestamp.as_millisecond()),
            encodings: Default::default(),
            attachment: OnceLock::new(),
        }
    }

    /// Sets whether it is the last value of an earlier process, from history.
    pub(super) fn set_restored(self, restored: bool) -> Self {
        Self { restored, ..self }
    }

    /// Creates the end of `channel` for the reason `gone`, accepted at `timestamp`.
    pub fn end(epoch: Epoch, channel: Channel, gone: Gone, offset: u64, timestamp: Timestamp) -> Self {
        let data = Bytes::from_static(b"null");
        Self { gone: Some(gone), ..Self::new(epoch, channel, None, offset, timestamp, data) }
    }

    /// Returns whether it was restored from history. The first write after that makes a new version.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Returns whether it is a state or an event. The end of a channel is a state: the newest one counts.
    pub fn kind(&self) -> ChannelKind {
        if self.event.is_some() { ChannelKind::Event } else { ChannelKind::State }
    }

    /// Records that the same value was written again.
    pub(super) fn confirm(&self, at: Timestamp) {
        self.confirmed_ms.fetch_max(at.as_millisecond(), Ordering::Relaxed);
        self.pace.beat(at.as_millisecond());
    }

    /// Continues the pace of the value that this one replaces.
    pub(super) fn follow(&self, before: &Self) {
        // The time since a restored value is that of a restart.
        if !before.is_restored() {
            self.pace.follow(&before.pace);
        }
    }

    /// Returns when the channel was last written, and how often.
    pub fn times(&self) -> WriteTimes {
        let (written_ms, beats) = (self.last_written().as_millisecond(), self.pace.beats());
        WriteTimes { written_ms, beats, restored: self.restored }
    }

    /// Takes over the times that another copy of the log has for this value.
    pub(super) fn set_times(&self, times: WriteTimes) {
        self.confirmed_ms.fetch_max(times.written_ms, Ordering::Relaxed);
        self.pace.set(times.beats);
    }

    /// Returns the usual time between two writes of the channel, in milliseconds; `None` before the second.
    pub fn pace_ms(&self) -> Option<u64> {
        self.pace.gap_ms()
    }

    /// Returns the time of the last write: an unchanged value makes no new version, but it was written.
    pub fn last_written(&self) -> Timestamp {
        let confirmed = Timestamp::from_millisecond(self.confirmed_ms.load(Ordering::Relaxed));
        confirmed.map_or(self.timestamp, |confirmed| confirmed.max(self.timestamp))
    }

    /// Returns the bytes in slot `slot` (below [`ENCODINGS`]), made by `encode` on first use and shared from then on.
    ///
    /// The slots belong to the transports (`protocol::slot` lists them); this module only keeps the bytes.
    pub fn encoded(&self, slot: usize, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.encodings[slot].get_or_init(|| encode(self))
    }

    /// Returns a value of a transport's own type that lives as long as the publication, made on first use. Values of a
    /// second type are made at each call: there is room for one, which the poll transport uses.
    pub fn attached<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> Arc<T> {
        let any = self.attachment.get_or_init(|| Arc::new(make(self)));
        Arc::clone(any).downcast().unwrap_or_else(|_| Arc::new(make(self)))
    }

    /// Returns the position of a reader that has everything up to this publication.
    pub fn own_cursor(&self) -> Position {
        Position::new(self.epoch.clone(), self.offset)
    }

    /// Returns its size in the ring in bytes, without encodings.
    pub fn weight(&self) -> usize {
        self.data.len() + self.channel.as_str().len() + size_of::<Self>()
    }
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} {}", self.channel, self.offset, String::from_utf8_lossy(&self.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn value(at: i64) -> Publication {
        let channel = Channel::parse("metrics.a").unwrap();
        Publication::new(Epoch::random(), channel, None, 1, second(at), Bytes::from_static(b"{}"))
    }

    #[test]
    fn a_value_that_is_written_again_unchanged_keeps_its_pace_and_the_next_one_continues_it() {
        let first = value(100);
        assert_eq!((first.pace_ms(), first.last_written()), (None, second(100)));
        first.confirm(second(105));
        assert_eq!((first.pace_ms(), first.last_written()), (Some(5_000), second(105)));
        let next = value(112);
        next.follow(&first);
        assert_eq!((next.pace_ms(), next.last_written()), (Some(7_000), second(112)));
    }

    #[test]
    fn the_time_between_a_restored_value_and_the_first_new_one_is_no_pace() {
        let restored = value(100).set_restored(true);
        assert!(restored.is_restored());
        let next = value(5_000);
        next.follow(&restored);
        assert_eq!(next.pace_ms(), None);
        next.confirm(second(5_004));
        assert_eq!((next.is_restored(), next.pace_ms()), (false, Some(4_000)));
    }
}
