//! Ends of channels: by a client, or because they are not written.
//!
//! An ended channel takes no room: it is not known any more, its series are removed, and a later merge starts with an
//! empty value.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, Value};

use super::{Decider, Known, Staged, staged::State};
use crate::{
    built_in,
    channel::{Channel, Gone},
    expiry::Lifetime,
    log::Change,
    published::HISTORY,
    reading::Reading,
    sample::{Need, Sample},
};

/// Most ends of channels that are remembered until the last values of history are restored.
const EARLY_ENDS: usize = 10_000;

/// Number of ended channels by reason. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct EndCounts(Arc<[AtomicU64; Gone::ALL.len()]>);

impl EndCounts {
    /// Returns the number of channels that ended for this reason.
    pub fn of(&self, gone: Gone) -> u64 {
        self.0[gone as usize].load(Ordering::Relaxed)
    }

    fn count(&self, gone: Gone) {
        self.0[gone as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Write of a channel, which restarts its time to live.
pub(super) struct Use {
    channel: Channel,
    /// Time to live in the reading.
    own: Option<Duration>,
    /// Whether a reading without one keeps the channel's own: it changes only a part of its value.
    keeps: bool,
}

impl Use {
    /// Returns the write of an accepted `reading`; `None` for a channel that does not end by itself.
    pub(super) fn of(reading: &Reading) -> Option<Self> {
        let (ttl, keeps) = match reading {
            Reading::Value { ttl, merge, .. } => (*ttl, *merge),
            Reading::Sample(sample) => (sample.ttl, true),
            Reading::Event { ttl, .. } => (*ttl, true),
            Reading::Stored(_) | Reading::Restored(_) | Reading::End { .. } => return None,
        };
        let channel = reading.channel()?;
        let own = ttl.map(Duration::from_millis);
        (!built_in::contains(channel)).then(|| Self { channel: channel.clone(), own, keeps })
    }
}

impl Decider {
    /// Records that a channel was written.
    pub(super) fn note_use(&mut self, used: Option<Use>) {
        if let Some(Use { channel, own, keeps }) = used {
            let life = Lifetime { own, keeps, usual: self.config.channel_ttl(&channel) };
            self.expiry.used(&channel, life, self.awake());
        }
    }

    /// Adds a sample to its series, which restarts their times to live.
    pub(super) fn add_sample(&mut self, sample: Sample, need: Need) {
        let own = sample.ttl.map(Duration::from_millis);
        let life = Lifetime { own, keeps: true, usual: self.config.channel_ttl(&sample.channel) };
        let awake = self.awake();
        self.series.add(sample, need, life, awake);
    }

    /// Ends a known channel.
    pub(super) fn end(&mut self, channel: Channel, gone: Gone, staged: &mut Staged) {
        let bound = self.bound(&channel, staged);
        if let Some(Known::State(_)) = self.known.remove(&channel) {
            self.reserve(&channel, bound, 0);
        }
        staged.states.shift_remove(&channel);
        staged.ended.extend(self.series.end_channel(&channel));
        if self.expiry.remove(&channel) {
            staged.ended.push(channel.to_string());
        }
        self.count_series_bytes();
        self.pushed_channels = self.pushed_channels.saturating_sub(1);
        self.config.ended.count(gone);
        self.note_early_end(channel.clone());
        staged.in_order.push(Change::end(channel, gone));
    }

    /// Remembers that a channel ended before the last values of history were restored. With too many ends to remember nothing is
    /// restored any more.
    pub(super) fn note_early_end(&mut self, channel: Channel) {
        if self.published.has_restored() {
            return;
        }
        self.ended_early.insert(channel);
        if self.ended_early.len() > EARLY_ENDS {
            self.finish_restoring();
        }
    }

    /// Accepts no values from history from now on. Returns the channels that ended before.
    pub(super) fn finish_restoring(&mut self) -> HashSet<Channel> {
        let now = self.clock.now().as_microsecond();
        self.published.note(HISTORY, now.try_into().unwrap_or_default());
        std::mem::take(&mut self.ended_early)
    }

    /// Ends the channels and series that were not written for their time to live. A channel stays as long as one of its series
    /// has time left of its own, and ends with its last series if nothing else is in its value.
    pub(super) fn end_idle(&mut self, staged: &mut Staged) {
        let awake = self.awake();
        for channel in self.expiry.ended(awake) {
            if !self.known.contains_key(&channel) {
                self.expiry.remove(&channel);
                continue;
            }
            match self.series.last_own_end(&channel).filter(|end| *end > awake) {
                Some(end) => self.expiry.set_end(&channel, end),
                None => self.end(channel, Gone::Expired, staged),
            }
        }
        let mut without_series = Vec::new();
        for idle in self.series.idle(awake) {
            if idle.is_written {
                // The amount that was counted with the series.
                let bound = self.bound(&idle.channel, staged);
                staged.state(&idle.channel, bound).removed.push(idle.field.as_ref().to_owned());
            }
            staged.ended.push(self.series.end_series(&idle));
            if !self.series.has_channel(&idle.channel) {
                without_series.push(idle.channel);
            }
        }
        for channel in without_series {
            if self.will_be_empty(&channel, staged) {
                self.end(channel, Gone::Expired, staged);
            }
        }
        self.count_series_bytes();
    }

    /// Returns whether all fields of the value of `channel` are removed.
    fn will_be_empty(&self, channel: &Channel, staged: &Staged) -> bool {
        let removes = |state: &State| {
            let fields = serde_json::from_slice::<Map<String, Value>>(self.current_text(channel)).unwrap_or_default();
            state.keeps_others && state.fields.is_empty() && fields.keys().all(|name| state.removed.contains(name))
        };
        staged.states.get(channel).is_some_and(removes)
    }
}
