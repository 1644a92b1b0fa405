//! Changes before they are written, and their offsets.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    channel::{Channel, EventName, Gone},
    field_times::Part,
    position::Epoch,
    publication::Publication,
    snapshot,
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

    /// Creates an event of an event channel.
    pub fn event(channel: Channel, event: EventName, data: Bytes) -> Self {
        Self { channel, event: Some(event), gone: None, data }
    }

    /// Creates the end of a channel.
    pub fn end(channel: Channel, gone: Gone) -> Self {
        Self { channel, event: None, gone: Some(gone), data: Bytes::from_static(b"null") }
    }

    pub(super) fn publication(self, epoch: Epoch, offset: u64, at: Timestamp) -> Publication {
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
        let in_snapshot =
            |(_, change): &(u64, Change)| change.event.is_none() && snapshot::place(&change.channel).is_some();
        let snapshot = changes.iter().any(in_snapshot).then(&mut next);
        chunks.push(Chunk { changes, snapshot });
    }
    chunks
}

/// Exceptions among written values: all others were pushed as a whole at the time of the write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origins<'a> {
    /// State channels with values from history, and the times of those values.
    pub restored: &'a [(Channel, Timestamp)],
    /// State channels of which only some fields were written, with these fields.
    pub parts: &'a [(Channel, Part)],
}

impl Origins<'_> {
    /// Returns the written parts by channel.
    pub(super) fn parts(&self) -> HashMap<&Channel, &Part> {
        self.parts.iter().map(|(channel, part)| (channel, part)).collect()
    }
}
