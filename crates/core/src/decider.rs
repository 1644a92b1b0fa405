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

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    built_in,
    channel::{Channel, ChannelKind, Gone},
    clock::Clock,
    expiry::Expiry,
    field_times::Part,
    log::{Change, Log},
    published::Published,
    reading::{Origin, Reading, Refusal, Restored, StoredEvent},
    sample::{Dump, Moment, Sample, SeriesTable},
    snapshot::{Place, place},
};
use crate::pause;

mod budget;
mod ends;
mod fields;
mod staged;

pub use budget::StateBudget;
pub use ends::EndCounts;
use ends::{Use, millis};
use fields::FieldIndex;
use staged::{Staged, State, canonical, canonical_len};

/// Limits of one tenant's data, and its day.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Most channels besides the built-in ones. Default 10,000; 0 means no limit.
    pub max_channels: usize,
    /// Largest value of one channel, also after a merge, in bytes. Default 1 MiB; 0 means no limit.
    pub max_value: usize,
    /// Most bytes of pushed values in the snapshot, which every reader of it receives as a whole. Default 4 MiB; 0 means
    /// no limit.
    pub max_snapshot: usize,
    /// Most bytes of pushed values of state channels, and of the data of series of samples, all channels together.
    /// Default 256 MiB; 0 means no limit.
    pub max_state: usize,
    /// The same limit for all tenants together.
    pub all_states: StateBudget,
    /// Most series of samples. Default 10,000; 0 means no limit.
    pub max_series: usize,
    /// Time without a write after which a channel or a series of samples ends; `None`, the default: never.
    pub channel_ttl: Option<Duration>,
    /// Number of ended channels of all tenants.
    pub ended: EndCounts,
    /// Time zone whose midnight starts "today" for samples. Default UTC.
    pub zone: TimeZone,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            max_channels: 10_000,
            max_value: 1 << 20,
            max_snapshot: 4 << 20,
            max_state: 256 << 20,
            all_states: StateBudget::default(),
            max_series: 10_000,
            channel_ttl: None,
            ended: EndCounts::default(),
            zone: TimeZone::UTC,
        }
    }
}

/// Longest sleep until midnight, because the wall clock may be set meanwhile.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(3_600);

/// Verdicts on the readings of a batch, in order.
pub type Verdicts = Vec<Result<(), Refusal>>;

/// Result of a group of batches.
#[derive(Debug, Default)]
pub struct Decided {
    /// Verdicts of each batch.
    pub verdicts: Vec<Verdicts>,
    /// Changes in order.
    pub changes: Vec<Change>,
    /// Channels whose current value was written again.
    pub same: Vec<Channel>,
    /// State channels among the changes with values from history, and the times of those values.
    pub restored: Vec<(Channel, Timestamp)>,
    /// State channels of which only some fields were written, whether they changed or not, and which.
    pub parts: Vec<(Channel, Part)>,
    /// Names of entries of [`Decider::dump`] that no longer exist.
    pub ended: Vec<String>,
}

/// State that the next decider needs in addition to the log, from [`Decider::dump`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Saved {
    /// A series of samples.
    Series(Dump),
    /// Own time to live of a channel.
    Life {
        /// The channel.
        channel: Channel,
        /// Time to live in milliseconds; `None` if it was removed.
        ttl: Option<u64>,
    },
}

/// Pure part of the aggregator: knows the kind and the value of each channel, and decides what readings change.
pub struct Decider {
    clock: Clock,
    config: AggregatorConfig,
    /// Kind of each channel, and the bytes of its current value (shared with the log).
    known: HashMap<Channel, Known>,
    pushed_channels: usize,
    taken: Taken,
    series: SeriesTable,
    /// Ends of channels, in time during which this process was awake.
    expiry: Expiry<Channel>,
    published: Published,
    /// Channels that ended before the last values of history were restored, which may be older than these ends.
    ended_early: HashSet<Channel>,
    /// Start time, and the clock of the windows at that time.
    begun: (Instant, Duration),
    /// Total length of pauses of this process at that time.
    stood_still: Duration,
}

/// Bytes of pushed values, each counted with the largest size that its series can reach.
#[derive(Default)]
struct Taken {
    /// Bytes of values in the snapshot.
    snapshot: usize,
    /// Bytes of all values.
    states: usize,
    /// Bytes of series besides their values (sketches and members), when last counted.
    series: usize,
    /// Bytes of the times of fields that the log keeps beside the values, as of the last count.
    fields: usize,
}

impl Taken {
    /// All that counts in the budget of states.
    fn sum(&self) -> usize {
        self.states + self.series + self.fields
    }
}

enum Known {
    State(Present),
    Events,
}

/// Current value of a state channel.
#[derive(Default)]
struct Present {
    /// Canonical JSON, shared with the log. Empty before the first value.
    data: Bytes,
    /// Index of its fields, once there was a merge.
    index: Option<FieldIndex>,
    /// Whether it is from history and was not written since.
    restored: bool,
}

impl Present {
    fn new(data: Bytes, restored: bool) -> Self {
        Self { data, index: None, restored }
    }

    /// Sets a value; returns its text, or `None` if it is equal to the current one, and the written fields unless they are
    /// all. The first write of a restored value is always a change, because it makes the value a current one.
    fn set(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        let was_restored = std::mem::replace(&mut self.restored, state.restored.is_some());
        let before = was_restored.then(|| self.data.clone());
        let (data, part) = self.put(state);
        (data.or(before), part)
    }

    fn put(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        if !state.removed.is_empty() {
            return self.set_without(state);
        }
        let State { fields, keeps_others, aged, .. } = state;
        if keeps_others && self.index.is_none() {
            self.index = FieldIndex::of(&self.data);
        }
        let (data, part) = match self.index.as_mut().filter(|_| keeps_others) {
            Some(index) => {
                let data = index.merge(&self.data, &fields);
                (data, part_of(index.len(), &fields, &aged, Vec::new()))
            }
            None => {
                let data = canonical(fields);
                if data == self.data {
                    return (None, None);
                }
                self.index = None;
                (Some(data), None)
            }
        };
        if let Some(data) = &data {
            self.data = data.clone();
        }
        (data, part)
    }

    /// Does the same where fields of the current value are removed.
    fn set_without(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        let State { fields, removed, aged, .. } = state;
        let mut all: Map<String, Value> = serde_json::from_slice(&self.data).unwrap_or_default();
        all.retain(|name, _| !removed.contains(name));
        let kept = fields.keys().fold(all.len(), |count, name| count + usize::from(!all.contains_key(name)));
        let part = part_of(kept, &fields, &aged, removed);
        all.extend(fields);
        let data = canonical(all);
        if data == self.data {
            return (None, part);
        }
        *self = Self::new(data.clone(), self.restored);
        (Some(data), part)
    }
}

/// What was written of a value that has `count` fields now: those of `fields` that are not in `aged`. `None` when that is all
/// of it.
fn part_of(count: usize, fields: &Map<String, Value>, aged: &HashSet<Arc<str>>, removed: Vec<String>) -> Option<Part> {
    if removed.is_empty() && aged.is_empty() && fields.len() == count {
        return None;
    }
    let written = fields.keys().map(String::as_str).filter(|name| !aged.contains(*name));
    Some(Part::of(count, written, removed))
}

impl Decider {
    /// Creates a decider for an empty log.
    pub fn new(clock: Clock, config: AggregatorConfig) -> Self {
        let known = built_in::event_channels().map(|channel| (channel, Known::Events)).collect();
        Self {
            series: SeriesTable::new(config.max_series, config.channel_ttl),
            expiry: Expiry::new(config.channel_ttl),
            clock,
            config,
            known,
            pushed_channels: 0,
            taken: Taken::default(),
            published: Published::default(),
            ended_early: HashSet::new(),
            begun: (Instant::now(), Duration::ZERO),
            stood_still: pause::total(),
        }
    }

    /// Creates a decider that continues where another one ended: with the values of `log`, and its saved state. Times to
    /// live of channels restart now.
    ///
    /// Windows then use the wall clock, so that they are the same on every node.
    pub fn take_over(clock: Clock, config: AggregatorConfig, log: &Log, saved: impl Iterator<Item = Saved>) -> Self {
        let mut decider = Self::new(clock, config);
        let since_1970 = decider.clock.now().as_millisecond().try_into().unwrap_or_default();
        decider.begun = (Instant::now(), Duration::from_millis(since_1970));
        for state in log.contents().states {
            let channel = state.change.channel;
            match state.change.gone {
                Some(_) => decider.note_early_end(channel),
                None => {
                    drop(decider.known.insert(channel, Known::State(Present::new(state.change.data, state.restored))));
                }
            }
        }
        for info in log.channels().into_iter().filter(|info| info.kind == ChannelKind::Event) {
            decider.known.insert(info.channel, Known::Events);
        }
        decider.pushed_channels = decider.known.keys().filter(|name| !built_in::contains(name)).count();
        let moment = decider.moment();
        let mut values = HashMap::<Channel, Option<Value>>::new();
        let awake = decider.awake();
        for channel in decider.known.keys().filter(|channel| !built_in::contains(channel)) {
            decider.expiry.used(channel, None, true, awake);
        }
        for saved in saved {
            let dump = match saved {
                Saved::Series(dump) => dump,
                Saved::Life { channel, ttl } => {
                    if decider.known.contains_key(&channel) {
                        decider.expiry.used(&channel, ttl.map(Duration::from_millis), false, awake);
                    }
                    continue;
                }
            };
            if !decider.known.contains_key(&dump.channel) {
                continue;
            }
            let value = values.entry(dump.channel.clone());
            let value = value.or_insert_with(|| serde_json::from_slice(decider.current(&dump.channel)).ok());
            let present = value.as_ref().and_then(|value| value.get(&*dump.field));
            decider.series.restore(dump, present, moment);
        }
        let states = decider.known.iter().filter_map(|(channel, known)| match known {
            Known::State(present) => Some((channel.clone(), decider.series.bound(channel, present.data.len()))),
            Known::Events => None,
        });
        for (channel, bound) in states.collect::<Vec<_>>() {
            decider.take_room(&channel, 0, bound);
        }
        decider.weigh_series();
        decider
    }

    /// Returns the published events of stores.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Continues with the published events of another decider.
    pub fn follow(&mut self, published: &Published) {
        self.published.merge(published);
        if self.published.has_restored() {
            self.ended_early = HashSet::new();
        }
    }

    /// Counts the samples in `readings`, which another decider had accepted after it last dumped their series, and
    /// applies the times to live that came with values.
    pub fn count_again(&mut self, readings: Vec<Reading>) {
        self.series.advance(self.moment());
        for reading in readings {
            self.note_use(Use::of(&reading));
            if let Reading::Sample(sample) = reading
                && let Ok(need) = self.series.need(&sample)
            {
                self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(Present::default()));
                self.series.add(*sample, need);
            }
        }
        self.weigh_series();
    }

    /// Returns the series and times to live that changed since the last call, or with `all` all of them: a name, and the
    /// JSON of [`Saved`].
    pub fn dump(&mut self, all: bool) -> Vec<(String, String)> {
        let lives = self.expiry.news(all).into_iter().map(|(channel, own)| {
            let life = Saved::Life { channel: channel.clone(), ttl: own.map(millis) };
            (channel.to_string(), serde_json::to_string(&life).unwrap_or_default())
        });
        let lives: Vec<_> = lives.collect();
        let mut all = self.series.dump(all);
        all.extend(lives);
        all
    }

    /// Returns whether a channel without an own time to live, last written `at`, has ended since.
    fn has_outlived(&self, at: Timestamp) -> bool {
        let age = Duration::try_from(self.clock.now().duration_since(at)).unwrap_or_default();
        self.config.channel_ttl.is_some_and(|ttl| age > ttl)
    }

    /// Decides a group of batches, in order. Call it at [`Decider::wake`] too, without batches.
    pub fn decide_all(&mut self, batches: impl IntoIterator<Item = (Origin, Vec<Reading>)>) -> Decided {
        self.series.advance(self.moment());
        self.weigh_series();
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
        Decided { verdicts, ended, ..self.write_out(staged) }
    }

    fn moment(&self) -> Moment {
        let (begun, shown) = self.begun;
        Moment { elapsed: shown + begun.elapsed(), day: self.clock.now_in(&self.config.zone).date() }
    }

    /// Returns how long this process was awake since the start: no client could write during a pause.
    fn awake(&self) -> Duration {
        self.begun.0.elapsed().saturating_sub(self.paused())
    }

    /// Returns the total length of pauses since the start.
    fn paused(&self) -> Duration {
        pause::total().saturating_sub(self.stood_still)
    }

    /// Returns the time at which figures change or channels end by themselves; `None` if there is none.
    pub fn wake(&self) -> Option<Instant> {
        let series = self.series.next_idle().map(|at| self.begun.0 + at.saturating_sub(self.begun.1) + self.paused());
        let channels = self.expiry.next().map(|at| Instant::now() + at.saturating_sub(self.awake()));
        [self.wake_of_numbers(), series, channels].into_iter().flatten().min()
    }

    fn wake_of_numbers(&self) -> Option<Instant> {
        if let Some(second) = self.series.next_second() {
            let (begun, shown) = self.begun;
            return Some(begun + second.saturating_sub(shown));
        }
        if !self.series.waits_for_midnight() {
            return None;
        }
        let now = self.clock.now_in(&self.config.zone);
        let midnight = now.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).ok();
        let left = midnight.and_then(|midnight| midnight.timestamp().duration_since(now.timestamp()).try_into().ok());
        Some(Instant::now() + left.unwrap_or(LOOK_AT_THE_CLOCK).min(LOOK_AT_THE_CLOCK))
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
        let is_new = match (self.known.get(&channel), kind) {
            (None, _) => true,
            (Some(Known::State(_)), ChannelKind::State) | (Some(Known::Events), ChannelKind::Event) => false,
            (Some(known), _) => {
                return Err(Refusal::OtherKind { channel, is_state: matches!(known, Known::State(_)) });
            }
        };
        let counts = is_new && !built_in::contains(&channel);
        if counts
            && origin == Origin::Pushed
            && self.config.max_channels > 0
            && self.pushed_channels >= self.config.max_channels
        {
            return Err(Refusal::TooManyChannels(self.pushed_channels));
        }
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
        self.pushed_channels += usize::from(counts);
        self.note_use(used);
        Ok(())
    }

    /// Stages values from history for channels without a value that have not ended, unless that was done before. Values
    /// beyond a limit are left out, and so are those of built-in channels, which are measured again.
    fn restore(&mut self, values: Vec<Restored>, staged: &mut Staged) {
        if self.published.has_restored() {
            return;
        }
        let ended = self.finish_restoring();
        for Restored { channel, at, data } in values {
            if self.known.contains_key(&channel) || ended.contains(&channel) || self.has_outlived(at) {
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
        self.take_room(&channel, before, bound);
        self.series.overwritten(&channel, merge.then_some(&data));
        if merge {
            let state = staged.state(&channel, bound);
            state.fields.extend(data);
            state.bound = bound;
        } else {
            staged.replace(&channel, data, bound);
        }
        self.known.entry(channel).or_insert_with(|| Known::State(Present::default()));
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
            self.take_room(&sample.channel, before, before + need.room);
            if let Some(state) = staged.states.get_mut(&sample.channel) {
                state.bound += need.room;
            }
            self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(Present::default()));
        }
        self.series.add(sample, need);
        self.weigh_series();
        Ok(())
    }

    /// Counts the current memory of the series.
    fn weigh_series(&mut self) {
        let bytes = self.series.bytes();
        self.config.all_states.replace(self.taken.series, bytes);
        self.taken.series = bytes;
    }

    /// Counts the memory of the times of fields: [`Log::field_bytes`].
    pub fn weigh_fields(&mut self, bytes: usize) {
        self.config.all_states.replace(self.taken.fields, bytes);
        self.taken.fields = bytes;
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

    /// Returns the current value of a state channel; empty if there is none.
    fn current(&self, channel: &Channel) -> &[u8] {
        match self.known.get(channel) {
            Some(Known::State(present)) => &present.data,
            _ => &[],
        }
    }

    /// Returns the largest size that the value of `channel` can reach with its series.
    fn bound(&self, channel: &Channel, staged: &Staged) -> usize {
        let staged = staged.states.get(channel).map(|state| state.bound);
        staged.unwrap_or_else(|| self.series.bound(channel, self.current(channel).len()))
    }

    fn check_value(&self, channel: &Channel, bytes: usize) -> Result<(), Refusal> {
        let limit = self.config.max_value;
        if limit > 0 && bytes > limit {
            return Err(Refusal::TooLarge { channel: channel.clone(), bytes, limit });
        }
        Ok(())
    }

    /// Checks that there is room for a value whose largest size changes from `before` to `bound` bytes.
    fn check_room(&self, channel: &Channel, before: usize, bound: usize) -> Result<(), Refusal> {
        let more = bound.saturating_sub(before);
        let limit = self.config.max_snapshot;
        if is_custom(channel) && is_beyond(limit, self.taken.snapshot, more) {
            return Err(Refusal::SnapshotFull(limit));
        }
        self.check_states(more)
    }

    /// Checks that there is room for `more` bytes of values or series.
    fn check_states(&self, more: usize) -> Result<(), Refusal> {
        let AggregatorConfig { max_state, all_states, .. } = &self.config;
        if is_beyond(*max_state, self.taken.sum(), more) {
            return Err(Refusal::StatesFull(*max_state));
        }
        if is_beyond(all_states.limit(), all_states.used(), more) {
            return Err(Refusal::ServerFull(all_states.limit()));
        }
        Ok(())
    }

    /// Replaces the reserved room `before` of a value by `bound`.
    fn take_room(&mut self, channel: &Channel, before: usize, bound: usize) {
        if is_custom(channel) {
            self.taken.snapshot = (self.taken.snapshot + bound).saturating_sub(before);
        }
        if !built_in::contains(channel) {
            let states = (self.taken.states + bound).saturating_sub(before);
            self.config.all_states.replace(self.taken.states, states);
            self.taken.states = states;
        }
    }

    /// Returns the changes of a group: events and ends in order, then the changed states; and the unchanged ones.
    fn write_out(&mut self, staged: Staged) -> Decided {
        let mut changes = staged.in_order;
        let (mut same, mut restored, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, state) in staged.states {
            let bound = state.bound;
            restored.extend(state.restored.map(|at| (channel.clone(), at)));
            let present = self.known.entry(channel.clone()).or_insert_with(|| Known::State(Present::default()));
            // It was checked that this is not an event channel.
            let Known::State(present) = present else { continue };
            let (data, part) = present.set(state);
            // Built-in channels are never late.
            if let Some(part) = part.filter(|_| !built_in::contains(&channel)) {
                parts.push((channel.clone(), part));
            }
            let exact = self.series.bound(&channel, present.data.len());
            self.take_room(&channel, bound, exact);
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
        self.config.all_states.replace(self.taken.sum(), 0);
    }
}

/// Returns whether `more` bytes in addition to `taken` exceed `limit`; 0 means no limit. Zero bytes are never refused.
fn is_beyond(limit: usize, taken: usize, more: usize) -> bool {
    limit > 0 && more > 0 && taken + more > limit
}

/// Returns whether it is in the pushed part of the snapshot.
fn is_custom(channel: &Channel) -> bool {
    matches!(place(channel), Some(Place::Custom(_)))
}
