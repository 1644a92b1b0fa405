//! Queries of a log by channel: existence, kind, and the list of all channels.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Entry, Log};
use crate::{
    built_in,
    channel::{Channel, ChannelKind, Selector},
    field_times::FieldInfo,
    publication::Publication,
    snapshot::{SNAPSHOT, View},
};

/// Channel in the list of `GET /api/channels`.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// Name of the channel.
    pub channel: Channel,
    /// Kind of the channel.
    pub kind: ChannelKind,
    /// Offset of its newest publication; 0 before the first.
    pub version: u64,
    /// Time of that publication.
    pub changed: Option<Timestamp>,
    /// Time of the last write of a state, even without a change.
    pub written: Option<Timestamp>,
    /// Usual time between two writes of a state, in milliseconds; `None` before the second.
    pub pace_ms: Option<u64>,
    /// Whether its value was restored from history, and not written since.
    pub restored: bool,
}

impl Log {
    /// Returns the kind of `channel`, if it exists.
    pub fn kind(&self, channel: &Channel) -> Option<ChannelKind> {
        if channel.as_str() == SNAPSHOT {
            return Some(ChannelKind::State);
        }
        match self.inner.read().channels.get(channel)? {
            Entry::State(_) => Some(ChannelKind::State),
            Entry::Events { .. } => Some(ChannelKind::Event),
            Entry::Gone(_) => None,
        }
    }

    /// Returns the kind of the single channel of `selector`; `None` for an unknown one and for a prefix.
    pub fn kind_of(&self, selector: &Selector) -> Option<ChannelKind> {
        match selector {
            Selector::Exact(channel) => self.kind(channel),
            Selector::Below(_) => None,
        }
    }

    /// Returns whether a channel of the selector exists.
    pub fn has_channel(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.kind(channel).is_some(),
            Selector::Below(_) => {
                let inner = self.inner.read();
                let exists = |channel: &&Channel| !matches!(inner.channels.get(*channel), Some(Entry::Gone(_)));
                inner.names.iter().filter(exists).any(|channel| selector.matches(channel))
            }
        }
    }

    /// Returns whether a state channel of `selector` has a value.
    pub fn has_state(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.kind(channel) == Some(ChannelKind::State),
            Selector::Below(_) => self.first_state_after(0, u64::MAX, |channel| selector.matches(channel)).is_some(),
        }
    }

    /// Returns the end of `channel`, if it has ended and the end is kept.
    pub fn end_of(&self, channel: &Channel) -> Option<Arc<Publication>> {
        match self.inner.read().channels.get(channel) {
            Some(Entry::Gone(end)) => Some(Arc::clone(end)),
            _ => None,
        }
    }

    /// Returns whether a channel of `selector` may have ended, with a discarded end, unknown to a reader with states up
    /// to `offset`. For a single channel it is known whether it exists or has ended; for a prefix it is not.
    pub fn may_have_discarded_end(&self, selector: &Selector, offset: u64) -> bool {
        if offset >= self.discarded_ends() {
            return false;
        }
        match selector {
            Selector::Exact(channel) if built_in::contains(channel) => false,
            Selector::Exact(channel) => !self.inner.read().channels.contains_key(channel),
            Selector::Below(_) => true,
        }
    }

    /// Returns all channels, by name, `metrics` first.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let inner = self.inner.read();
        let snapshot = Channel::parse(SNAPSHOT).ok().map(|channel| ChannelInfo {
            channel,
            kind: ChannelKind::State,
            version: self.snapshot_offset(),
            changed: (self.snapshot_offset() > 0).then_some(inner.snapshot_times[View::Full.index()]),
            written: None,
            pace_ms: None,
            restored: false,
        });
        let listed = inner.names.iter().filter_map(|channel| {
            Some(match inner.channels.get(channel)? {
                Entry::State(publication) => ChannelInfo {
                    channel: channel.clone(),
                    kind: ChannelKind::State,
                    version: publication.offset,
                    changed: Some(publication.timestamp),
                    written: Some(publication.last_written()),
                    pace_ms: publication.pace_ms(),
                    restored: publication.is_restored(),
                },
                Entry::Gone(_) => return None,
                Entry::Events { last, last_time, .. } => ChannelInfo {
                    channel: channel.clone(),
                    kind: ChannelKind::Event,
                    version: *last,
                    changed: *last_time,
                    written: None,
                    pace_ms: None,
                    restored: false,
                },
            })
        });
        snapshot.into_iter().chain(listed).collect()
    }

    /// Returns the fields of a state channel that were not written with the rest of it:
    /// [`FieldTimes::differing`](crate::field_times::FieldTimes::differing).
    pub fn fields_of(&self, channel: &Channel) -> Vec<FieldInfo> {
        let inner = self.inner.read();
        let (Some(times), Some(Entry::State(state))) = (inner.fields.get(channel), inner.channels.get(channel)) else {
            return Vec::new();
        };
        let (times, state, now) = (times.clone(), Arc::clone(state), state.times());
        // Reading the names costs by the size of the value.
        drop(inner);
        times.differing(&state.data, now)
    }

    /// Returns the memory of the times of fields of all channels, in bytes.
    pub fn field_bytes(&self) -> usize {
        self.inner.read().field_bytes
    }

    /// Returns whether it contains only channels of the server's own, and no event newer than `since` except those of
    /// `system`.
    pub fn is_unused(&self, since: Timestamp) -> bool {
        let inner = self.inner.read();
        // The newest event is enough: a ring has thousands.
        let newest = inner.ring.iter().rev().find(|event| event.channel.as_str() != "system");
        inner.channels.iter().all(|(channel, entry)| built_in::contains(channel) || matches!(entry, Entry::Gone(_)))
            && newest.is_none_or(|event| event.timestamp <= since)
    }
}
