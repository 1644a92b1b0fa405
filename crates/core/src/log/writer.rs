//! Writing end of a log: appending decided changes.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;

use super::{Change, Chunk, Entry, Inner, Log, Origins, assign_offsets};
use crate::{
    channel::Channel,
    field_times::{Part, Write},
    position::{Epoch, Position},
    publication::Publication,
    snapshot::{SNAPSHOT, View},
};

/// Writing end of a [`Log`]. There is only one.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) log: Arc<Log>,
}

impl LogWriter {
    /// Returns the log that it writes.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Records that the current values of `channels` were written again at `now`; for channels in `parts` only these fields.
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
            if inner.changes_fields(&state.channel, part) {
                inner.write_fields(&state, Some(before), Write { part, at_ms: now.as_millisecond(), same: true });
            }
        }
    }

    /// Sets the epochs of the logs before this one, oldest first. Call it before [`Self::replace`] with a log of
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

    /// Writes changes with offsets, made at `now`, and wakes the readers once. The offsets have to be above the head; those
    /// that are skipped become a hole.
    pub fn apply(&mut self, chunks: Vec<Chunk>, now: Timestamp) {
        self.apply_from(chunks, now, Origins::default());
    }

    /// Writes changes like [`Self::apply`]; `origins` lists the exceptions among their values.
    pub fn apply_from(&mut self, chunks: Vec<Chunk>, now: Timestamp, origins: Origins<'_>) {
        let times: HashMap<_, _> = origins.restored.iter().map(|(channel, at)| (channel, *at)).collect();
        let parts = origins.parts();
        let epoch = self.log.epoch();
        for chunk in chunks {
            let Some(head) = chunk.head() else { continue };
            let views = views_of(&chunk);
            let mut inner = self.log.inner.write();
            let (last, first) = (self.log.head(), chunk.changes.first().map_or(head, |(first, _)| *first));
            if first > last + 1 {
                inner.holes.add(last, first - 1);
            }
            for (offset, change) in chunk.changes {
                let at =
                    times.get(&change.channel).copied().filter(|_| change.event.is_none() && change.gone.is_none());
                let part = parts.get(&change.channel).copied();
                let publication = change.publication(epoch.clone(), offset, at.unwrap_or(now));
                inner.write(publication.set_restored(at.is_some()), part, self.log.config);
            }
            inner.discard_ends(now, self.log.config);
            self.log.discarded_ends.store(inner.discarded_ends, Ordering::Release);
            if let Some(offset) = chunk.snapshot {
                // Under the same lock, so that no version has two bodies.
                self.log.set_snapshot(&mut inner, views, offset, now);
            }
            self.log.head.store(head, Ordering::Release);
        }
        self.log.changed.send_replace(self.log.head());
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
    /// Returns the values of those of `channels` that have one.
    fn states(&self, channels: &[Channel]) -> impl Iterator<Item = &Arc<Publication>> {
        channels.iter().filter_map(|channel| match self.channels.get(channel) {
            Some(Entry::State(state)) => Some(state),
            _ => None,
        })
    }
}

impl Log {
    /// Sets the version of these views of the snapshot to `offset`; the full one is always among them.
    pub(super) fn set_snapshot(&self, inner: &mut Inner, views: &[View], offset: u64, at: Timestamp) {
        inner.by_offset.remove(&self.snapshot_offset());
        for view in views {
            self.snapshot_offsets[view.index()].store(offset, Ordering::Release);
            inner.snapshot_times[view.index()] = at;
        }
        if let Ok(channel) = Channel::parse(SNAPSHOT) {
            inner.by_offset.insert(offset, channel);
        }
    }
}
