//! Decider: accepts or refuses readings and computes the resulting changes (in event sourcing: commands in, events out).
//! It writes nothing.
//!
//! The caller writes the changes: the [`Aggregator`](super::aggregator::Aggregator) of one process to its log, the leader
//! of a cluster to the log that all nodes read.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    built_in,
    channel::{Channel, ChannelKind, Gone},
    clock::Clock,
    expiry::Expiry,
    field_times::Part,
    log::Change,
    published::Published,
    reading::{Origin, Reading, Refusal, Restored, StoredEvent},
    sample::{Sample, SeriesTable},
};
use crate::pause;

mod budget;
mod config;
mod ends;
mod fields;
mod room;
mod staged;
mod takeover;
mod time;
mod ttls;
mod value;

pub use budget::StateBudget;
pub use config::AggregatorConfig;
pub use ends::EndCounts;
use ends::Use;
use room::Usage;
use staged::{Staged, canonical, canonical_len};
pub use takeover::Saved;
pub use ttls::{ChannelTtls, TTL};
use value::{CurrentValue, Known};

/// Verdicts on the readings of a batch, in order.
pub type Verdicts = Vec<Result<(), Refusal>>;

/// Result of a group of batches.
#[derive(Debug, Default)]
pub struct Decided {
    /// Verdicts of each batch.
    pub verdicts: Vec<Verdicts>,
    /// Changes without offsets, in the order in which they have to be written.
    pub changes: Vec<Change>,
    /// Channels whose current value was written again.
    pub same: Vec<Channel>,
    /// State channels among the changes with values from history, and the times of those values.
    pub restored: Vec<(Channel, Timestamp)>,
    /// State channels of which only some fields were written, changed or not, with these fields.
    pub parts: Vec<(Channel, Part)>,
    /// Names of entries of [`Decider::dump`] that no longer exist.
    pub ended: Vec<String>,
}

/// Pure part of the aggregator: has the kind and the value of each channel, and computes the changes that readings make.
pub struct Decider {
    clock: Clock,
    config: AggregatorConfig,
    /// Kind of each channel, and the bytes of its current value (shared with the log).
    known: HashMap<Channel, Known>,
    pushed_channels: usize,
    usage: Usage,
    series: SeriesTable,
    /// Ends of channels, in time during which this process was awake.
    expiry: Expiry<Channel>,
    published: Published,
    /// Channels that ended before the last values of history were restored, which may be older than these ends.
    ended_early: HashSet<Channel>,
    /// Start of this decider, and the clock of the windows at that time.
    start: (Instant, Duration),
    /// Total length of the pauses of this process before the start.
    earlier_pauses: Duration,
}

impl Decider {
    /// Creates a decider for an empty log.
    pub fn new(clock: Clock, config: AggregatorConfig) -> Self {
        let known = built_in::event_channels().map(|channel| (channel, Known::Events)).collect();
        Self {
            series: SeriesTable::new(config.limits.max_series),
            expiry: Expiry::default(),
            clock,
            config,
            known,
            pushed_channels: 0,
            usage: Usage::default(),
            published: Published::default(),
            ended_early: HashSet::new(),
            start: (Instant::now(), Duration::ZERO),
            earlier_pauses: pause::total(),
        }
    }

    /// Decides a group of batches, in order. Call it at [`Decider::wake`] too, without batches.
    pub fn decide_all(&mut self, batches: impl IntoIterator<Item = (Origin, Vec<Reading>)>) -> Decided {
        self.series.advance(self.moment());
        self.count_series_bytes();
        let mut staged = Staged::default();
        let verdicts = batches
            .into_iter()
            .map(|(origin, readings)| {
                readings.into_iter().map(|reading| self.decide(origin, reading, &mut staged)).collect()
            })
            .collect();
        self.end_idle(&mut staged);
        self.stage_series(&mut staged);
        let ended = std::mem::take(&mut staged.ended);
        Decided { verdicts, ended, ..self.take_changes(staged) }
    }

    /// Accepts or refuses one reading; an accepted one is staged.
    fn decide(&mut self, origin: Origin, reading: Reading, staged: &mut Staged) -> Result<(), Refusal> {
        let reading = match reading {
            Reading::Restored(values) => {
                self.restore(values, staged);
                return Ok(());
            }
            reading => reading,
        };
        let Some(channel) = reading.channel().cloned() else { return Ok(()) };
        if origin == Origin::Pushed && built_in::contains(&channel) {
            return Err(Refusal::BuiltIn(channel));
        }
        let kind = match &reading {
            Reading::Value { .. } | Reading::Sample(_) => ChannelKind::State,
            Reading::Event { .. } | Reading::Stored(_) => ChannelKind::Event,
            Reading::Restored(_) => return Ok(()),
            Reading::End { .. } => {
                if !self.known.contains_key(&channel) || built_in::contains(&channel) {
                    return Err(Refusal::NoChannel(channel));
                }
                self.end(channel, Gone::Deleted, staged);
                return Ok(());
            }
        };
        let is_new = self.check_channel(&channel, kind, origin)?;
        let used = Use::of(&reading);
        match reading {
            Reading::Event { data, event, .. } => {
                let data = canonical(data);
                self.check_value(&channel, data.len())?;
                staged.in_order.push(Change::event(channel.clone(), event, data));
                self.known.entry(channel).or_insert(Known::Events);
            }
            Reading::Stored(stored) => {
                let StoredEvent { source, seq, event, data, .. } = *stored;
                if self.published.note(&source, seq) {
                    staged.in_order.push(Change::event(channel.clone(), event, canonical(data)));
                    self.known.entry(channel).or_insert(Known::Events);
                }
            }
            Reading::Value { data, merge, .. } => self.stage(channel, data, merge, origin, staged)?,
            Reading::Sample(sample) => self.sample(*sample, staged)?,
            Reading::Restored(_) | Reading::End { .. } => {}
        }
        self.pushed_channels += usize::from(is_new);
        self.note_use(used);
        Ok(())
    }

    /// Checks that a reading for a channel of `kind` fits the channel, or that a new one may be created. Returns whether it
    /// counts as a new pushed channel.
    fn check_channel(&self, channel: &Channel, kind: ChannelKind, origin: Origin) -> Result<bool, Refusal> {
        match (self.known.get(channel), kind) {
            (Some(Known::State(_)), ChannelKind::State) | (Some(Known::Events), ChannelKind::Event) => Ok(false),
            (Some(known), _) => {
                Err(Refusal::OtherKind { channel: channel.clone(), is_state: matches!(known, Known::State(_)) })
            }
            (None, _) if built_in::contains(channel) => Ok(false),
            (None, _) => {
                let max_channels = self.config.limits.max_channels;
                if origin == Origin::Pushed && max_channels > 0 && self.pushed_channels >= max_channels {
                    return Err(Refusal::TooManyChannels(self.pushed_channels));
                }
                Ok(true)
            }
        }
    }

    /// Stages values from history for channels without a value that have not ended, unless that was done before. Values
    /// beyond a limit are left out, and so are those of built-in channels, which are measured again.
    fn restore(&mut self, values: Vec<Restored>, staged: &mut Staged) {
        if self.published.has_restored() {
            return;
        }
        let ended = self.finish_restoring();
        for Restored { channel, at, data } in values {
            if self.known.contains_key(&channel) || ended.contains(&channel) || self.has_expired(&channel, at) {
                continue;
            }
            let value = Reading::value(channel.clone(), data);
            if self.decide(Origin::Pushed, value, staged).is_ok()
                && let Some(state) = staged.states.get_mut(&channel)
            {
                state.restored = Some(at);
            }
        }
    }

    fn stage(
        &mut self,
        channel: Channel,
        data: Map<String, Value>,
        merge: bool,
        origin: Origin,
        staged: &mut Staged,
    ) -> Result<(), Refusal> {
        let before = self.bound(&channel, staged);
        // Merged fields may replace others: the sum is an upper bound that needs no read of the other fields.
        let bound = canonical_len(&data) + if merge { before } else { self.series.room(&channel) };
        self.check_value(&channel, bound)?;
        if origin == Origin::Pushed {
            self.check_room(&channel, before, bound)?;
        }
        self.reserve(&channel, before, bound);
        self.series.overwritten(&channel, merge.then_some(&data));
        if merge {
            let state = staged.state(&channel, bound);
            state.fields.extend(data);
            state.bound = bound;
        } else {
            staged.replace(&channel, data, bound);
        }
        self.known.entry(channel).or_insert_with(|| Known::State(CurrentValue::default()));
        Ok(())
    }

    /// Counts a sample. Its series are written once for all samples of the group, by [`Decider::stage_series`].
    fn sample(&mut self, sample: Sample, staged: &mut Staged) -> Result<(), Refusal> {
        let need = self.series.need(&sample)?;
        if sample.kind.can_grow() {
            // The size is not computed: a sketch exceeds the limit by its own size at most.
            self.check_states(1)?;
        }
        // The largest possible room of a series is reserved: neither later samples nor the passing of time are refused.
        if need.room > 0 {
            let before = self.bound(&sample.channel, staged);
            self.check_value(&sample.channel, before + need.room)?;
            self.check_room(&sample.channel, before, before + need.room)?;
            self.reserve(&sample.channel, before, before + need.room);
            if let Some(state) = staged.states.get_mut(&sample.channel) {
                state.bound += need.room;
            }
            self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(CurrentValue::default()));
        }
        self.add_sample(sample, need);
        self.count_series_bytes();
        Ok(())
    }

    /// Stages the figures of the series with a new sample or a change by time, each once, like a merge of its field.
    fn stage_series(&mut self, staged: &mut Staged) {
        for mut update in self.series.read_due() {
            let bound = self.bound(&update.channel, staged);
            let state = staged.state(&update.channel, bound);
            state.fields.insert(update.field.as_ref().to_owned(), update.value.take());
            if !update.is_written {
                state.aged.insert(Arc::clone(&update.field));
            }
            self.series.written(&update);
        }
    }

    /// Returns the changes of a group: events and ends in order, then the changed states; and the unchanged ones.
    fn take_changes(&mut self, staged: Staged) -> Decided {
        let mut changes = staged.in_order;
        let (mut same, mut restored, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, state) in staged.states {
            let bound = state.bound;
            restored.extend(state.restored.map(|at| (channel.clone(), at)));
            let current = self.known.entry(channel.clone()).or_insert_with(|| Known::State(CurrentValue::default()));
            // It was checked that this is not an event channel.
            let Known::State(current) = current else { continue };
            let (data, part) = current.set(state);
            // Times of fields are not shown for built-in channels.
            if let Some(part) = part.filter(|_| !built_in::contains(&channel)) {
                parts.push((channel.clone(), part));
            }
            let exact = self.series.bound(&channel, current.data.len());
            self.reserve(&channel, bound, exact);
            match data {
                Some(data) => changes.push(Change::state(channel, data)),
                None => same.push(channel),
            }
        }
        Decided { changes, same, restored, parts, ..Decided::default() }
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        self.config.all_states.replace(self.usage.sum(), 0);
    }
}
