//! Writing end of a log: appending decided changes, and replacing the log by one that is stored elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Inner, Log};
use crate::{
    built_in,
    channel::{Channel, EventName, Gone},
    field_times::{FieldTimes, Part, Write, WriteTimes},
    position::{Epoch, Position},
    publication::Publication,
    snapshot::{self, SNAPSHOT, View},
};

/// Most changes that are written under one lock, so that readers never wait long.
const WRITE_CHUNK: usize = 256;

/// Change before it has an offset, which [`assign_offsets`] assigns.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Channel of the change.
    pub channel: Channel,
    /// Name of the event; `None` for a state.
    pub event: Option<EventName>,
    /// Set for the end of the channel; `event` is `None` then and `data` is `null`.
    pub gone: Option<Gone>,
    /// Data as canonical JSON.
    pub data: Bytes,
}

impl Change {
    /// Creates a new value of a state channel.
    pub fn state(channel: Channel, data: Bytes) -> Self {
        Self { channel, event: None, gone: None, data }
    }

    /// Creates an event.
    pub fn event(channel: Channel, event: EventName, data: Bytes) -> Self {
        Self { channel, event: Some(event), gone: None, data }
    }

    /// Creates the end of a channel.
    pub fn end(channel: Channel, gone: Gone) -> Self {
        Self { channel, event: None, gone: Some(gone), data: Bytes::from_static(b"null") }
    }

    fn publication(self, epoch: Epoch, offset: u64, at: Timestamp) -> Publication {
        let Self { channel, event, gone, data } = self;
        match gone {
            Some(gone) => Publication::end(epoch, channel, gone, offset, at),
            None => Publication::new(epoch, channel, event, offset, at, data),
        }
    }
}

/// Changes that become visible together, with their offsets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// Changes with their offsets, in order.
    pub changes: Vec<(u64, Change)>,
    /// Offset of the version of the snapshot that they make, if any. It has an offset of its own, so that no cursor is
    /// between a value and the snapshot with it.
    pub snapshot: Option<u64>,
}

impl Chunk {
    /// Returns the newest offset in it.
    pub fn head(&self) -> Option<u64> {
        self.snapshot.or(self.changes.last().map(|(offset, _)| *offset))
    }
}

/// Assigns `changes` the offsets after `head`.
pub fn assign_offsets(head: u64, changes: Vec<Change>) -> Vec<Chunk> {
    let mut changes = changes.into_iter().peekable();
    let mut chunks = Vec::new();
    let mut head = head;
    let mut next = || {
        head += 1;
        head
    };
    while changes.peek().is_some() {
        let changes: Vec<_> = changes.by_ref().take(WRITE_CHUNK).map(|change| (next(), change)).collect();
        let shown = |(_, change): &(u64, Change)| change.event.is_none() && snapshot::place(&change.channel).is_some();
        let snapshot = changes.iter().any(shown).then(&mut next);
        chunks.push(Chunk { changes, snapshot });
    }
    chunks
}

/// Publication as it is stored elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Offset of the publication.
    pub offset: u64,
    /// Time of acceptance.
    pub at: Timestamp,
    /// The change itself.
    pub change: Change,
    /// Whether it is a value from history that was not written since.
    pub restored: bool,
    /// Of a value: when it and its fields were written. `None` when that is not known.
    pub times: Option<ChannelTimes>,
}

/// When a state channel and its fields were written.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ChannelTimes {
    /// The channel.
    pub channel: WriteTimes,
    /// Its fields, where they have times of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldTimes>,
}

impl ChannelTimes {
    /// The times of a value that was first written at `at`, or restored with that time.
    pub fn new(at: Timestamp, restored: bool) -> Self {
        Self { channel: WriteTimes { restored, ..WriteTimes::new(at.as_millisecond()) }, fields: None }
    }

    /// Notes a write.
    pub fn write(&mut self, write: Write<'_>) {
        let before = self.channel;
        self.channel = before.write(write.at_ms, write.same);
        FieldTimes::apply(&mut self.fields, before, self.channel, write);
    }
}

/// Where written values come from, as far as it is not a push of the whole value at the time of the write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origins<'a> {
    /// State channels whose values are from history, each with the time that it had.
    pub restored: &'a [(Channel, Timestamp)],
    /// State channels of which only some fields were written, and which.
    pub parts: &'a [(Channel, Part)],
}

impl Origins<'_> {
    fn parts(&self) -> HashMap<&Channel, &Part> {
        self.parts.iter().map(|(channel, part)| (channel, part)).collect()
    }
}

/// Contents of a log as they are stored elsewhere.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Epoch of the log.
    pub epoch: Epoch,
    /// Newest offset.
    pub head: u64,
    /// Newest version of the snapshot: its offset and time.
    pub snapshot: Option<(u64, Timestamp)>,
    /// Newest value of each state channel, and kept ends of channels.
    pub states: Vec<Kept>,
    /// Event channels with the newest offset and time of each.
    pub event_channels: Vec<(Channel, u64, Option<Timestamp>)>,
    /// Kept events, in order.
    pub events: Vec<Kept>,
    /// Offset up to which events may be gone.
    pub dropped: u64,
    /// Offset up to which ends of channels may be discarded.
    pub forgotten: u64,
}

/// Writing end of a [`Log`]. There is only one.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) log: Arc<Log>,
}

impl LogWriter {
    /// Returns its log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Records that the current values of `channels` were written again at `now`; of those in `parts` only these fields.
    /// Makes no version and wakes no reader.
    pub fn confirm(&self, channels: &[Channel], parts: &[(Channel, Part)], now: Timestamp) {
        if parts.is_empty() {
            let inner = self.log.inner.read();
            if inner.fields.is_empty() {
                inner.states(channels).for_each(|state| state.confirm(now));
                return;
            }
        }
        let origins = Origins { parts, ..Origins::default() };
        let parts = origins.parts();
        let mut inner = self.log.inner.write();
        let states: Vec<_> = inner.states(channels).map(Arc::clone).collect();
        for state in states {
            let before = state.times();
            state.confirm(now);
            let part = parts.get(&state.channel).copied();
            if inner.has_fields(&state.channel, part) {
                inner.write_fields(&state, Some(before), Write { part, at_ms: now.as_millisecond(), same: true });
            }
        }
    }

    /// Sets the epochs of the logs before this one, oldest first. Call it before [`Self::take_over`] with a log of
    /// another epoch, including the current one.
    pub fn set_earlier(&mut self, epochs: Vec<Epoch>) {
        self.log.inner.write().earlier = Some(epochs);
    }

    /// Appends `changes` in order, made at `now`, and wakes the readers once. Returns the position after them.
    pub fn append(&mut self, changes: Vec<Change>, now: Timestamp) -> Position {
        let chunks = assign_offsets(self.log.head(), changes);
        self.apply(chunks, now);
        self.log.position()
    }

    /// Writes changes with offsets, made at `now`, and wakes the readers once. The offsets have to be above the head.
    pub fn apply(&mut self, chunks: Vec<Chunk>, now: Timestamp) {
        self.apply_from(chunks, now, Origins::default());
    }

    /// Does the same for values of which some have other `origins`.
    pub fn apply_from(&mut self, chunks: Vec<Chunk>, now: Timestamp, origins: Origins<'_>) {
        let times: HashMap<_, _> = origins.restored.iter().map(|(channel, at)| (channel, *at)).collect();
        let parts = origins.parts();
        let epoch = self.log.epoch();
        for chunk in chunks {
            let Some(head) = chunk.head() else { continue };
            let views = views_of(&chunk);
            let mut inner = self.log.inner.write();
            for (offset, change) in chunk.changes {
                let at =
                    times.get(&change.channel).copied().filter(|_| change.event.is_none() && change.gone.is_none());
                let part = parts.get(&change.channel).copied();
                let publication = change.publication(epoch.clone(), offset, at.unwrap_or(now));
                inner.write(publication.set_restored(at.is_some()), part, self.log.config);
            }
            inner.forget_ends(now, self.log.config);
            self.log.forgotten.store(inner.forgotten, Ordering::Release);
            if let Some(offset) = chunk.snapshot {
                // Under the same lock, so that no version has two bodies.
                self.log.show(&mut inner, views, offset, now);
            }
            self.log.head.store(head, Ordering::Release);
        }
        self.log.changed.send_replace(self.log.head());
    }

    /// Takes the times of the values that are equal from a log that is stored elsewhere.
    pub fn take_times(&mut self, states: Vec<Kept>) {
        let mut inner = self.log.inner.write();
        for Kept { offset, change, times, .. } in states {
            if let (Some(times), Some(Entry::State(state))) = (times, inner.channels.get(&change.channel))
                && state.offset == offset
            {
                state.take_times(times.channel);
                inner.drop_fields(&change.channel);
                inner.keep_fields(&change.channel, times.fields);
            }
        }
    }

    /// Replaces the log by one that is stored elsewhere. Its head has to be at or above the current one: then readers
    /// continue from their positions; dropped events are a gap, and so is everything before a log of another epoch.
    pub fn take_over(&mut self, contents: Contents) {
        let log = &self.log;
        let Contents { epoch, head, snapshot, states, event_channels, events, dropped, forgotten } = contents;
        let mut inner = log.inner.write();
        // Unchanged publications keep their encodings.
        let earlier = inner.earlier.clone();
        let known = std::mem::replace(&mut *inner, Inner { earlier, ..Inner::default() });
        for (channel, last, last_time) in event_channels {
            inner.names.insert(channel.clone());
            inner.channels.insert(channel, Entry::Events { last, last_time, dropped: dropped.min(last) });
        }
        (inner.dropped, inner.forgotten) = (dropped, forgotten);
        for mut state in states {
            let times = state.times.take();
            let channel = state.change.channel.clone();
            let is_value = state.change.gone.is_none();
            let publication = match known.channels.get(&channel) {
                Some(Entry::State(before)) if before.offset == state.offset && before.epoch == epoch => {
                    Arc::clone(before)
                }
                _ => Arc::new(state.publication(&epoch)),
            };
            if is_value {
                if let Some(times) = &times {
                    publication.take_times(times.channel);
                }
                let unknown = || Some(FieldTimes::unknown()).filter(|_| !built_in::contains(&channel));
                inner.keep_fields(&channel, times.map_or_else(unknown, |times| times.fields));
            }
            inner.insert(publication, log.config);
        }
        events.into_iter().for_each(|event| inner.insert(Arc::new(event.publication(&epoch)), log.config));
        log.epoch.store(Arc::new(epoch));
        log.forgotten.store(forgotten, Ordering::Release);
        match snapshot {
            // The last change of each view is not stored: an unchanged one is sent once more.
            Some((offset, at)) => log.show(&mut inner, &View::ALL, offset, at),
            None => log.snapshot_offsets.iter().for_each(|known| known.store(0, Ordering::Release)),
        }
        log.head.store(head, Ordering::Release);
        drop(inner);
        log.changed.send_replace(head);
    }
}

/// Returns the views of the snapshot with a new version after `chunk`: all, unless only `business` changed.
fn views_of(chunk: &Chunk) -> &'static [View] {
    let states =
        || chunk.changes.iter().filter(|(_, change)| change.event.is_none()).map(|(_, change)| &change.channel);
    let only_business = !states().any(|channel| View::WithoutBusiness.shows(channel))
        && states().any(|channel| View::Full.shows(channel));
    if only_business { &[View::Full] } else { &View::ALL }
}

impl Inner {
    /// Those of `channels` that have values.
    fn states(&self, channels: &[Channel]) -> impl Iterator<Item = &Arc<Publication>> {
        channels.iter().filter_map(|channel| match self.channels.get(channel) {
            Some(Entry::State(state)) => Some(state),
            _ => None,
        })
    }
}

impl Kept {
    fn publication(self, epoch: &Epoch) -> Publication {
        self.change.publication(epoch.clone(), self.offset, self.at).set_restored(self.restored)
    }
}

impl Log {
    /// Sets the version of these views of the snapshot to `offset`; the full one is always among them.
    fn show(&self, inner: &mut Inner, views: &[View], offset: u64, at: Timestamp) {
        inner.by_offset.remove(&self.snapshot_offset());
        for view in views {
            self.snapshot_offsets[view.index()].store(offset, Ordering::Release);
            inner.snapshot_times[view.index()] = at;
        }
        if let Ok(channel) = Channel::parse(SNAPSHOT) {
            inner.by_offset.insert(offset, channel);
        }
    }

    /// Returns all contents.
    pub fn contents(&self) -> Contents {
        let inner = self.inner.read();
        let is_value = |publication: &Publication| publication.event.is_none() && publication.gone.is_none();
        let kept = |publication: &Publication| Kept {
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
                Entry::State(publication) | Entry::Gone(publication) => states.push(kept(publication)),
                Entry::Events { last, last_time, .. } => event_channels.push((channel.clone(), *last, *last_time)),
            }
        }
        states.sort_by_key(|state| state.offset);
        let snapshot = self.snapshot_offset();
        Contents {
            epoch: self.epoch(),
            head: self.head(),
            snapshot: (snapshot > 0).then_some((snapshot, inner.snapshot_times[View::Full.index()])),
            states,
            event_channels,
            events: inner.ring.iter().map(|event| kept(event)).collect(),
            dropped: inner.dropped,
            forgotten: inner.forgotten,
        }
    }
}
