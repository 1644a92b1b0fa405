//! Contents of a log, which its lock protects: channels, indices and the ring of events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{Holes, LogConfig};
use crate::{
    channel::{Channel, ChannelKind},
    field_times::{FieldTimes, Part, Write, WriteTimes},
    position::Epoch,
    publication::Publication,
    snapshot::View,
};

/// Time for which the end of a channel is kept.
const ENDS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Contents of a log.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Epochs of the logs before this one, oldest first; `None` if they are unknown.
    pub(super) earlier: Option<Vec<Epoch>>,
    pub(super) channels: HashMap<Channel, Entry>,
    /// Names in order, for the snapshot and the list of channels.
    pub(super) names: BTreeSet<Channel>,
    /// Times of fields, by channel; only of channels that were written in parts.
    pub(super) fields: HashMap<Channel, FieldTimes>,
    /// Memory of `fields` in bytes.
    pub(super) field_bytes: usize,
    /// Newest offset of each state channel, including `metrics`, and of each kept end; the index for states that changed
    /// after an offset.
    pub(super) by_offset: BTreeMap<u64, Channel>,
    /// Kept ends, oldest first.
    pub(super) ends: BTreeMap<u64, Channel>,
    /// Offset of the newest discarded end; 0 for none.
    pub(super) discarded_ends: u64,
    /// Bytes of the newest values.
    pub(super) state_bytes: usize,
    pub(super) ring: VecDeque<Arc<Publication>>,
    pub(super) ring_bytes: usize,
    /// Offset of the newest event that was dropped from the ring; 0 for none.
    pub(super) dropped: u64,
    /// Offsets that the log skipped.
    pub(super) holes: Holes,
    /// Time of the newest version of each view of the snapshot.
    pub(super) snapshot_times: [Timestamp; View::COUNT],
}

/// Newest publication of a channel.
#[derive(Debug)]
pub(super) enum Entry {
    /// Current value of a state channel.
    State(Arc<Publication>),
    /// Event channel: offset and time of the newest event, and the offset of the newest event that the ring dropped.
    Events { last: u64, last_time: Option<Timestamp>, dropped: u64 },
    /// End of a channel that was not written again.
    Gone(Arc<Publication>),
}

impl Entry {
    /// Returns the newest value of a state, or its end.
    pub(super) fn latest(&self) -> Option<&Arc<Publication>> {
        match self {
            Self::State(latest) | Self::Gone(latest) => Some(latest),
            Self::Events { .. } => None,
        }
    }

    /// Returns the same as [`Self::latest`], but an end only if it is after `ends`.
    pub(super) fn state_after(&self, ends: u64) -> Option<&Arc<Publication>> {
        self.latest().filter(|latest| latest.gone.is_none() || latest.offset > ends)
    }
}

impl Inner {
    /// Inserts a new publication; if there is a `part`, only these fields of the state were written.
    pub(super) fn write(&mut self, publication: Publication, part: Option<&Part>, config: LogConfig) {
        let publication = Arc::new(publication);
        if !self.changes_fields(&publication.channel, part) {
            return self.insert(publication, config);
        }
        let before = match self.channels.get(&publication.channel) {
            Some(Entry::State(before)) if publication.gone.is_none() => Some(before.times()),
            _ => None,
        };
        self.insert(Arc::clone(&publication), config);
        let at_ms = publication.timestamp.as_millisecond();
        self.write_fields(&publication, before, Write { part, at_ms, same: false });
    }

    /// Returns whether a write of `part` of a channel changes times of fields.
    pub(super) fn changes_fields(&self, channel: &Channel, part: Option<&Part>) -> bool {
        part.is_some() || self.fields.contains_key(channel)
    }

    /// Records a write of a state whose channel had the times `before`; `None` if the write created or ended all fields.
    pub(super) fn write_fields(&mut self, state: &Publication, before: Option<WriteTimes>, write: Write<'_>) {
        let mut times = self.drop_fields(&state.channel);
        let Some(before) = before else { return };
        FieldTimes::apply(&mut times, before, state.times(), write);
        self.keep_fields(&state.channel, times);
    }

    pub(super) fn drop_fields(&mut self, channel: &Channel) -> Option<FieldTimes> {
        let times = self.fields.remove(channel)?;
        self.field_bytes -= times.bytes();
        Some(times)
    }

    pub(super) fn keep_fields(&mut self, channel: &Channel, times: Option<FieldTimes>) {
        if let Some(times) = times {
            self.field_bytes += times.bytes();
            self.fields.insert(channel.clone(), times);
        }
    }

    pub(super) fn insert(&mut self, publication: Arc<Publication>, config: LogConfig) {
        let channel = publication.channel.clone();
        if !self.channels.contains_key(&channel) {
            self.names.insert(channel.clone());
        }
        match publication.kind() {
            ChannelKind::State if publication.gone.is_some() => {
                let offset = publication.offset;
                let before = self.channels.insert(channel.clone(), Entry::Gone(publication));
                self.replaced(before);
                self.by_offset.insert(offset, channel.clone());
                self.ends.insert(offset, channel);
            }
            ChannelKind::State => {
                self.by_offset.insert(publication.offset, channel.clone());
                let state = Arc::clone(&publication);
                self.state_bytes += publication.data.len();
                let before = self.channels.insert(channel, Entry::State(publication));
                if let Some(Entry::State(before)) = &before {
                    state.follow(before);
                }
                self.replaced(before);
            }
            ChannelKind::Event => {
                // Its earlier events stay in the ring, and are added again when a log is replaced.
                let is_new =
                    matches!(self.channels.get(&channel), Some(Entry::Gone(end)) if end.offset < publication.offset);
                if is_new {
                    let ended = self.channels.remove(&channel);
                    self.replaced(ended);
                }
                let entry =
                    self.channels.entry(channel).or_insert(Entry::Events { last: 0, last_time: None, dropped: 0 });
                if let Entry::Events { last, last_time, .. } = entry {
                    *last = publication.offset;
                    *last_time = Some(publication.timestamp);
                }
                self.ring_bytes += publication.weight();
                self.ring.push_back(publication);
                while self.ring.len() > config.events || (self.ring_bytes > config.bytes.0 && self.ring.len() > 1) {
                    self.drop_oldest();
                }
            }
        }
    }

    /// Updates the indices for an entry that was replaced.
    fn replaced(&mut self, before: Option<Entry>) {
        match before {
            Some(Entry::State(before)) => {
                self.by_offset.remove(&before.offset);
                self.state_bytes -= before.data.len();
            }
            Some(Entry::Gone(before)) => {
                self.by_offset.remove(&before.offset);
                self.ends.remove(&before.offset);
            }
            Some(Entry::Events { .. }) | None => {}
        }
    }

    /// Discards the oldest ends beyond the limits of number and age at `now`. The result depends only on the contents of
    /// the log, so that all nodes of a cluster discard the same.
    pub(super) fn discard_ends(&mut self, now: Timestamp, config: LogConfig) {
        while let Some((&offset, channel)) = self.ends.first_key_value() {
            let at = self.channels.get(channel).and_then(Entry::latest).map_or(now, |end| end.timestamp);
            if self.ends.len() <= config.ends && now.duration_since(at) < ENDS_KEPT {
                return;
            }
            if let Some(channel) = self.ends.remove(&offset) {
                self.by_offset.remove(&offset);
                self.names.remove(&channel);
                self.channels.remove(&channel);
            }
            self.discarded_ends = offset;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.ring_bytes -= oldest.weight();
            self.dropped = oldest.offset;
            if let Some(Entry::Events { dropped, .. }) = self.channels.get_mut(&oldest.channel) {
                *dropped = oldest.offset;
            }
        }
    }
}
