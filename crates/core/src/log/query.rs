//! Queries of a log by position: states, events and changes after an offset.

use std::{
    ops::Bound,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{Entry, Log};
use crate::{
    channel::{Channel, ChannelKind},
    publication::Publication,
    snapshot::{self, SNAPSHOT, View},
};

/// Changes after an offset.
#[derive(Debug)]
pub struct Changes {
    /// Changed channels with their newest offsets; ended ones count as states.
    pub changed: Vec<(Channel, u64, ChannelKind)>,
    /// Ended channels, with the offsets of their ends.
    pub ended: Vec<(Channel, u64)>,
    /// Offset of the newest discarded end. If it is above the queried offset, other channels may have ended too.
    pub discarded_ends: u64,
    /// Newest offset that the result includes.
    pub head: u64,
}

/// Part of the ring.
#[derive(Debug, Default)]
pub struct Events {
    /// Events in the order of their offsets.
    pub events: Vec<Arc<Publication>>,
    /// Offset up to which `events` is complete. Below the ceiling if the budget was exhausted.
    pub complete_to: u64,
    /// Channels that lost events between the queried position and the start of the ring.
    pub lost: Vec<Channel>,
}

impl Log {
    /// Returns the offset of the newest version of the snapshot.
    pub fn snapshot_offset(&self) -> u64 {
        self.snapshot_offset_of(View::Full)
    }

    fn snapshot_offset_of(&self, view: View) -> u64 {
        self.snapshot_offsets[view.index()].load(Ordering::Acquire)
    }

    /// Returns the newest snapshot of `view`, assembled on first use per version. A view has a new version only if
    /// something in it changed, so its offset can be below that of the full one.
    pub fn snapshot(&self, view: View) -> Arc<Publication> {
        let cached = &mut self.snapshots.lock()[view.index()];
        if let Some(snapshot) = &*cached
            && snapshot.offset == self.snapshot_offset_of(view)
            && snapshot.epoch == **self.epoch.load()
        {
            return Arc::clone(snapshot);
        }
        let inner = self.inner.read();
        let offset = self.snapshot_offset_of(view);
        let metrics = Channel::parse(SNAPSHOT).unwrap_or_else(|_| unreachable!("a valid name"));
        let states = inner.names.range(metrics.clone()..).take_while(|c| c.as_str().starts_with(SNAPSHOT)).filter_map(
            |channel| match inner.channels.get(channel) {
                Some(Entry::State(publication)) => Some(&**publication),
                _ => None,
            },
        );
        let data = Bytes::from(snapshot::assemble(states, view));
        let (time, epoch) = (inner.snapshot_times[view.index()], self.epoch());
        drop(inner);
        let snapshot = Arc::new(Publication::new(epoch, metrics, None, offset, time, data));
        *cached = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Returns the newest value of a state channel; `view` selects the view of the snapshot.
    pub fn state(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        match self.inner.read().channels.get(channel) {
            Some(Entry::State(publication)) => Some(Arc::clone(publication)),
            _ => None,
        }
    }

    /// Returns the newest value of a state channel, or its end.
    pub(crate) fn latest(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        self.inner.read().channels.get(channel).and_then(Entry::latest).map(Arc::clone)
    }

    /// Returns the newest values of the state channels that changed after `offset` and that `wanted` selects, oldest
    /// first, including the snapshot of `view` if that changed, and ends of channels after `ends`.
    pub fn states_after(
        &self,
        offset: u64,
        ends: u64,
        view: View,
        wanted: impl Fn(&Channel) -> bool,
    ) -> Vec<Arc<Publication>> {
        let inner = self.inner.read();
        let mut snapshot = false;
        let mut states: Vec<_> = inner
            .by_offset
            .range(offset + 1..)
            .filter(|(_, channel)| wanted(channel))
            .filter_map(|(_, channel)| match inner.channels.get(channel) {
                Some(entry) => entry.state_after(ends).map(Arc::clone),
                None => {
                    snapshot |= channel.as_str() == SNAPSHOT;
                    None
                }
            })
            .collect();
        drop(inner);
        if snapshot {
            states.extend(Some(self.snapshot(view)).filter(|snapshot| snapshot.offset > offset));
        }
        states
    }

    /// Returns the newest values of the state channels below `prefix` that changed after `offset`, oldest first, at most
    /// about `budget` bytes of them but at least one, including ends of channels after `ends`. The second value is the
    /// offset up to which the result is complete; `u64::MAX` if nothing is left out.
    ///
    /// The cost depends on the channels below the prefix or on the changed ones, whichever are estimated to be fewer.
    pub fn states_below(&self, prefix: &str, offset: u64, ends: u64, budget: usize) -> (Vec<Arc<Publication>>, u64) {
        let inner = self.inner.read();
        let state_of = |channel: &Channel| inner.channels.get(channel).and_then(|entry| entry.state_after(ends));
        let within = |channel: &&Channel| channel.as_str().starts_with(prefix);
        if offset > 0 {
            let changed = inner.by_offset.range(offset + 1..).map(|(_, channel)| channel);
            return within_budget(changed.filter(within).filter_map(state_of), budget);
        }
        let below = inner.names.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let mut states: Vec<_> = below.take_while(within).filter_map(state_of).collect();
        states.sort_by_key(|state| state.offset);
        within_budget(states.into_iter(), budget)
    }

    /// Returns the first offset after `offset` of a state channel that `wanted` selects, or of its end if that is after
    /// `ends`.
    pub fn first_state_after(&self, offset: u64, ends: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        let inner = self.inner.read();
        let mut states = inner.by_offset.range(offset + 1..);
        let counts = |at: &u64| *at > ends || !inner.ends.contains_key(at);
        states.find(|(at, channel)| wanted(channel) && counts(at)).map(|(at, _)| *at)
    }

    /// Returns the first end after `offset` of a channel that `wanted` selects, among the kept ones.
    pub fn first_end_after(&self, offset: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        self.inner.read().ends.range(offset + 1..).find(|(_, channel)| wanted(channel)).map(|(at, _)| *at)
    }

    /// Returns the changes after `offset`.
    pub fn changes_after(&self, offset: u64) -> Changes {
        let inner = self.inner.read();
        let states =
            inner.by_offset.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at, ChannelKind::State));
        let mut changed: Vec<_> = states.collect();
        let ended = inner.ends.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at)).collect();
        if offset < inner.dropped {
            // Readers of events have to be notified of dropped ones.
            let lost = inner.channels.iter().filter_map(|(channel, entry)| match entry {
                Entry::Events { dropped, .. } if *dropped > offset => {
                    Some((channel.clone(), *dropped, ChannelKind::Event))
                }
                _ => None,
            });
            changed.extend(lost);
        }
        let from = inner.ring.partition_point(|event| event.offset <= offset);
        for event in inner.ring.range(from..) {
            // Events often come in runs of one channel.
            match changed.last_mut() {
                Some((channel, at, ChannelKind::Event)) if *channel == event.channel => *at = event.offset,
                _ => changed.push((event.channel.clone(), event.offset, ChannelKind::Event)),
            }
        }
        Changes { changed, ended, discarded_ends: inner.discarded_ends, head: self.head() }
    }

    /// Returns the events in `(after, ceiling]` that `wanted` selects, in order, at most about `budget` bytes of them but
    /// at least one.
    ///
    /// `wanted` gets the channel and the offset, for readers with subscriptions at different positions.
    pub fn events_after(
        &self,
        after: u64,
        ceiling: u64,
        budget: usize,
        wanted: impl Fn(&Channel, u64) -> bool,
    ) -> Events {
        let inner = self.inner.read();
        let mut found = Events { complete_to: ceiling, ..Events::default() };
        if after < inner.dropped {
            found.lost = inner
                .channels
                .iter()
                .filter(|(channel, entry)| matches!(entry, Entry::Events { dropped, .. } if wanted(channel, *dropped)))
                .map(|(channel, _)| channel.clone())
                .collect();
            found.lost.sort();
        }
        let from = inner.ring.partition_point(|event| event.offset <= after);
        let mut spent = 0;
        for event in inner.ring.range(from..) {
            if event.offset > ceiling {
                break;
            }
            if wanted(&event.channel, event.offset) {
                if spent >= budget && !found.events.is_empty() {
                    found.complete_to = event.offset - 1;
                    break;
                }
                spent += event.weight();
                found.events.push(Arc::clone(event));
            }
        }
        found
    }
}

/// Takes states in order until `budget` bytes are used, at least one. Returns them and the offset of the last one, or
/// `u64::MAX` if nothing is left out.
fn within_budget<'a>(
    states: impl Iterator<Item = &'a Arc<Publication>>,
    budget: usize,
) -> (Vec<Arc<Publication>>, u64) {
    let (mut taken, mut spent) = (Vec::new(), 0);
    for state in states {
        let last = taken.last().map(|last: &Arc<Publication>| last.offset);
        if let Some(last) = last.filter(|_| spent >= budget) {
            return (taken, last);
        }
        spent += state.weight();
        taken.push(Arc::clone(state));
    }
    (taken, u64::MAX)
}
