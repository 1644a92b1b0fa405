//! A whole log as it is stored elsewhere: exporting it, and replacing a log by it.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, Entry, Holes, Inner, Log, LogWriter};
use crate::{
    built_in,
    channel::Channel,
    field_times::{FieldTimes, Write, WriteTimes},
    position::Epoch,
    publication::Publication,
    snapshot::View,
};

/// Publication as it is stored elsewhere, with its offset.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPublication {
    /// Offset of the publication.
    pub offset: u64,
    /// Time at which the aggregator accepted it.
    pub at: Timestamp,
    /// Channel, name and data.
    pub change: Change,
    /// Whether it is a value from history that was not written since.
    pub restored: bool,
    /// Times at which a value and its fields were written; `None` if they are not known, and for events and ends.
    pub times: Option<ChannelTimes>,
}

/// Times at which a state channel and its fields were written.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ChannelTimes {
    /// Times of the writes of the channel.
    pub channel: WriteTimes,
    /// Times of its fields, if they differ from those of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldTimes>,
}

impl ChannelTimes {
    /// Creates the times of a value that was first written at `at`, or restored with that time.
    pub fn new(at: Timestamp, restored: bool) -> Self {
        Self { channel: WriteTimes { restored, ..WriteTimes::new(at.as_millisecond()) }, fields: None }
    }

    /// Applies a write to the times of the channel and of its fields.
    pub fn write(&mut self, write: Write<'_>) {
        let before = self.channel;
        self.channel = before.write(write.at_ms, write.same);
        FieldTimes::apply(&mut self.fields, before, self.channel, write);
    }
}

/// Whole log as it is stored elsewhere: in Redis, for nodes that load it.
#[derive(Clone, Debug)]
pub struct StoredLog {
    /// Epoch of the log.
    pub epoch: Epoch,
    /// Newest offset of the log.
    pub head: u64,
    /// Newest version of the snapshot: its offset and time.
    pub snapshot: Option<(u64, Timestamp)>,
    /// Newest value of each state channel, and kept ends of channels.
    pub states: Vec<StoredPublication>,
    /// Event channels with the newest offset and time of each.
    pub event_channels: Vec<(Channel, u64, Option<Timestamp>)>,
    /// Kept events, in order.
    pub events: Vec<StoredPublication>,
    /// Offset up to which events may be dropped.
    pub dropped: u64,
    /// Offset up to which ends of channels may be discarded.
    pub discarded_ends: u64,
    /// Offsets that the log skipped.
    pub holes: Holes,
}

impl StoredPublication {
    fn publication(self, epoch: &Epoch) -> Publication {
        self.change.publication(epoch.clone(), self.offset, self.at).set_restored(self.restored)
    }
}

impl LogWriter {
    /// Copies the times of those values that are equal from a log that is stored elsewhere.
    pub fn set_times(&mut self, states: Vec<StoredPublication>) {
        let mut inner = self.log.inner.write();
        for StoredPublication { offset, change, times, .. } in states {
            if let (Some(times), Some(Entry::State(state))) = (times, inner.channels.get(&change.channel))
                && state.offset == offset
            {
                state.set_times(times.channel);
                inner.drop_fields(&change.channel);
                inner.keep_fields(&change.channel, times.fields);
            }
        }
    }

    /// Replaces the log by one that is stored elsewhere. Its head has to be at or above the current one: then readers
    /// continue from their positions; dropped events are a gap, and so is everything before a log of another epoch.
    pub fn replace(&mut self, stored: StoredLog) {
        let log = &self.log;
        let StoredLog { epoch, head, snapshot, states, event_channels, events, dropped, discarded_ends, holes } =
            stored;
        let mut inner = log.inner.write();
        // Unchanged publications keep their encodings.
        let earlier = inner.earlier.clone();
        let before = std::mem::replace(&mut *inner, Inner { earlier, holes, ..Inner::default() });
        for (channel, last, last_time) in event_channels {
            inner.names.insert(channel.clone());
            inner.channels.insert(channel, Entry::Events { last, last_time, dropped: dropped.min(last) });
        }
        (inner.dropped, inner.discarded_ends) = (dropped, discarded_ends);
        for mut state in states {
            let times = state.times.take();
            let channel = state.change.channel.clone();
            let is_value = state.change.gone.is_none();
            let publication = match before.channels.get(&channel) {
                Some(Entry::State(current)) if current.offset == state.offset && current.epoch == epoch => {
                    Arc::clone(current)
                }
                _ => Arc::new(state.publication(&epoch)),
            };
            if is_value {
                if let Some(times) = &times {
                    publication.set_times(times.channel);
                }
                let unknown = || Some(FieldTimes::unknown()).filter(|_| !built_in::contains(&channel));
                inner.keep_fields(&channel, times.map_or_else(unknown, |times| times.fields));
            }
            inner.insert(publication, log.config);
        }
        events.into_iter().for_each(|event| inner.insert(Arc::new(event.publication(&epoch)), log.config));
        log.epoch.store(Arc::new(epoch));
        log.discarded_ends.store(discarded_ends, Ordering::Release);
        match snapshot {
            // The last change of each view is not stored: an unchanged one is sent once more.
            Some((offset, at)) => log.set_snapshot(&mut inner, &View::ALL, offset, at),
            None => log.snapshot_offsets.iter().for_each(|offset| offset.store(0, Ordering::Release)),
        }
        log.head.store(head, Ordering::Release);
        drop(inner);
        log.changed.send_replace(head);
    }
}

impl Log {
    /// Returns a copy of the whole log in the form in which it is stored elsewhere.
    pub fn export(&self) -> StoredLog {
        let inner = self.inner.read();
        let is_value = |publication: &Publication| publication.event.is_none() && publication.gone.is_none();
        let stored = |publication: &Publication| StoredPublication {
            offset: publication.offset,
            at: publication.timestamp,
            change: Change {
                channel: publication.channel.clone(),
                event: publication.event.clone(),
                gone: publication.gone,
                data: publication.data.clone(),
            },
            restored: publication.is_restored(),
            times: is_value(publication).then(|| ChannelTimes {
                channel: publication.times(),
                fields: inner.fields.get(&publication.channel).cloned(),
            }),
        };
        let mut states = Vec::new();
        let mut event_channels = Vec::new();
        for (channel, entry) in &inner.channels {
            match entry {
                Entry::State(publication) | Entry::Gone(publication) => states.push(stored(publication)),
                Entry::Events { last, last_time, .. } => event_channels.push((channel.clone(), *last, *last_time)),
            }
        }
        states.sort_by_key(|state| state.offset);
        let snapshot = self.snapshot_offset();
        StoredLog {
            epoch: self.epoch(),
            head: self.head(),
            snapshot: (snapshot > 0).then_some((snapshot, inner.snapshot_times[View::Full.index()])),
            states,
            event_channels,
            events: inner.ring.iter().map(|event| stored(event)).collect(),
            dropped: inner.dropped,
            discarded_ends: inner.discarded_ends,
            holes: inner.holes.clone(),
        }
    }
}
