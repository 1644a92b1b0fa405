//! Times at which the values of one tenant were written, as Redis stores them beside the values. The log of this node has the
//! same times, but only of entries that it has read.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::wire::{WireTimes, json};
use tricast_core::{
    built_in,
    channel::Channel,
    field_times::Write,
    log::{ChannelTimes, Chunk, Origins, StoredPublication},
};

/// Times of all pushed values.
#[derive(Default)]
pub(super) struct Times {
    known: HashMap<Channel, WireTimes>,
}

impl Times {
    /// Collects the times of the pushed values among `states`.
    pub(super) fn of(states: Vec<StoredPublication>) -> Self {
        let states = states.into_iter().filter(|state| !built_in::contains(&state.change.channel));
        let known = states.filter_map(|state| {
            let StoredPublication { offset, change, times, .. } = state;
            Some((change.channel, WireTimes { offset, times: times? }))
        });
        Self { known: known.collect() }
    }

    /// Records the writes at `at`: the values in `chunks`, and those of the channels `same`, which did not change. Returns the
    /// new times of each channel as they are stored; an empty text for a channel that has ended.
    pub(super) fn record(
        &mut self,
        same: &[Channel],
        chunks: &[Chunk],
        origins: Origins<'_>,
        at: Timestamp,
    ) -> Vec<(Channel, String)> {
        let parts: HashMap<_, _> = origins.parts.iter().map(|(channel, part)| (channel, part)).collect();
        let restored: HashMap<_, _> = origins.restored.iter().map(|(channel, at)| (channel, *at)).collect();
        let at_ms = at.as_millisecond();
        let mut new_times = Vec::new();
        for channel in same {
            let Some(known) = self.known.get_mut(channel) else { continue };
            known.times.write(Write { part: parts.get(channel).copied(), at_ms, same: true });
            new_times.push((channel.clone(), json(known)));
        }
        for (offset, change) in chunks.iter().flat_map(|chunk| &chunk.changes) {
            let channel = &change.channel;
            if change.event.is_some() || built_in::contains(channel) {
                continue;
            }
            if change.gone.is_some() {
                self.known.remove(channel);
                new_times.push((channel.clone(), String::new()));
                continue;
            }
            let times = match (restored.get(channel), self.known.remove(channel)) {
                (Some(at), _) => ChannelTimes::new(*at, true),
                (None, None) => ChannelTimes::new(at, false),
                (None, Some(WireTimes { mut times, .. })) => {
                    times.write(Write { part: parts.get(channel).copied(), at_ms, same: false });
                    times
                }
            };
            let times = WireTimes { offset: *offset, times };
            new_times.push((channel.clone(), json(&times)));
            self.known.insert(channel.clone(), times);
        }
        new_times
    }
}
