//! What becomes of readings: accepted or refused, and the changes that follow. It decides and writes nothing.
//!
//! Whoever drives it writes what it decided: the [`Aggregator`](super::aggregator::Aggregator) of one process to its log,
//! the elected node of a cluster to the log that all nodes read.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    channel::{Channel, ChannelKind},
    clock::Clock,
    log::{Change, Log},
    reading::{BUILT_IN, BUILT_IN_EVENTS, Origin, Reading, Refusal},
    sample::{Dump, Moment, Sample, SeriesTable},
    snapshot::{Place, place},
};

mod staged;

use staged::{Staged, canonical, canonical_len};

/// Limits of one tenant's data, and its day.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Most channels besides the built-in ones. Default 10,000; 0 means no limit.
    pub max_channels: usize,
    /// Largest value of one channel, also after a merge, in bytes. Default 1 MiB; 0 means no limit.
    pub max_value: usize,
    /// Most bytes of pushed values in the snapshot, for every reader of it is sent all of them. Default 4 MiB; 0 means
    /// no limit.
    pub max_snapshot: usize,
    /// Most series of samples. Default 10,000; 0 means no limit.
    pub max_series: usize,
    /// Whose midnight begins "today" of samples. Default UTC.
    pub zone: TimeZone,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        let (max_channels, max_value, max_snapshot, max_series) = (10_000, 1 << 20, 4 << 20, 10_000);
        Self { max_channels, max_value, max_snapshot, max_series, zone: TimeZone::UTC }
    }
}

/// Longest sleep until midnight: the wall clock may be set meanwhile.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(3_600);

/// One verdict for each reading of a batch, in order.
pub type Verdicts = Vec<Result<(), Refusal>>;

/// What follows from a group of batches.
#[derive(Debug, Default)]
pub struct Decided {
    /// For each batch.
    pub verdicts: Vec<Verdicts>,
    /// In order.
    pub changes: Vec<Change>,
    /// Channels whose present value was written again.
    pub same: Vec<Channel>,
}

/// Knows what each channel is and what its value is, and decides what readings change.
pub struct Decider {
    clock: Clock,
    config: AggregatorConfig,
    /// What each channel is, and a state's current bytes (shared with the log).
    known: HashMap<Channel, Known>,
    pushed_channels: usize,
    /// Bytes of the pushed values in the snapshot.
    snapshot_bytes: usize,
    series: SeriesTable,
    /// When it began, and what the clock of the windows showed then.
    begun: (Instant, Duration),
}

enum Known {
    State(Bytes),
    Events,
}

impl Decider {
    /// A decider of a log that is empty.
    pub fn new(clock: Clock, config: AggregatorConfig) -> Self {
        let known = BUILT_IN_EVENTS
            .iter()
            .filter_map(|name| Channel::parse(name).ok())
            .map(|channel| (channel, Known::Events))
            .collect();
        let series = SeriesTable::new(config.max_series);
        let begun = (Instant::now(), Duration::ZERO);
        Self { clock, config, known, pushed_channels: 0, snapshot_bytes: 0, series, begun }
    }

    /// A decider that goes on where another one ended: with the values of `log`, and the series that it dumped.
    ///
    /// Windows go by the wall clock then, so that they are the same on whichever node.
    pub fn take_over(clock: Clock, config: AggregatorConfig, log: &Log, dumps: impl Iterator<Item = Dump>) -> Self {
        let mut decider = Self::new(clock, config);
        let since_1970 = decider.clock.now().as_millisecond().try_into().unwrap_or_default();
        decider.begun = (Instant::now(), Duration::from_millis(since_1970));
        for state in log.contents().states {
            decider.known.insert(state.change.channel, Known::State(state.change.data));
        }
        for info in log.channels().into_iter().filter(|info| info.kind == ChannelKind::Event) {
            decider.known.insert(info.channel, Known::Events);
        }
        decider.pushed_channels = decider.known.keys().filter(|name| !BUILT_IN.contains(&name.as_str())).count();
        let moment = decider.moment();
        let mut values = HashMap::<Channel, Option<Value>>::new();
        for dump in dumps {
            let value = values.entry(dump.channel.clone());
            let value = value.or_insert_with(|| serde_json::from_slice(decider.current(&dump.channel)).ok());
            let present = value.as_ref().and_then(|value| value.get(&*dump.field));
            decider.series.restore(dump, present, moment);
        }
        let custom = decider.known.iter().filter(|(channel, _)| matches!(place(channel), Some(Place::Custom(_))));
        let bounds = custom.map(|(channel, known)| match known {
            Known::State(data) => decider.series.bound(channel, data.len()),
            Known::Events => 0,
        });
        decider.snapshot_bytes = bounds.sum();
        decider
    }

    /// Counts the samples among `readings`, which another decider had accepted and whose series it did not dump since.
    pub fn count_again(&mut self, readings: Vec<Reading>) {
        self.series.advance(self.moment());
        for reading in readings {
            if let Reading::Sample(sample) = reading
                && let Ok(need) = self.series.need(&sample)
            {
                self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(Bytes::new()));
                self.series.add(*sample, need);
            }
        }
    }

    /// The series that changed since this was last asked, or with `all` each of them: a name, and the JSON of a [`Dump`].
    pub fn dump(&mut self, all: bool) -> Vec<(String, String)> {
        self.series.dump(all)
    }

    /// Decides about a group of batches, in order. Also to be called at [`Decider::wake`], with none.
    pub fn decide_all(&mut self, batches: impl IntoIterator<Item = (Origin, Vec<Reading>)>) -> Decided {
        self.series.advance(self.moment());
        let mut staged = Staged::default();
        let verdicts = batches
            .into_iter()
            .map(|(origin, readings)| {
                readings.into_iter().map(|reading| self.decide(origin, reading, &mut staged)).collect()
            })
            .collect();
        self.stage_series(&mut staged);
        let (changes, same) = self.write_out(staged);
        Decided { verdicts, changes, same }
    }

    fn moment(&self) -> Moment {
        let (begun, shown) = self.begun;
        Moment { elapsed: shown + begun.elapsed(), day: self.clock.now_in(&self.config.zone).date() }
    }

    /// When numbers change by themselves; `None` while nothing will.
    pub fn wake(&self) -> Option<Instant> {
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
        let channel = reading.channel().clone();
        if origin == Origin::Pushed && BUILT_IN.contains(&channel.as_str()) {
            return Err(Refusal::BuiltIn(channel));
        }
        let kind = match &reading {
            Reading::Value { .. } | Reading::Sample(_) => ChannelKind::State,
            Reading::Event { .. } => ChannelKind::Event,
        };
        let is_new = match (self.known.get(&channel), kind) {
            (None, _) => true,
            (Some(Known::State(_)), ChannelKind::State) | (Some(Known::Events), ChannelKind::Event) => false,
            (Some(known), _) => {
                return Err(Refusal::OtherKind { channel, is_state: matches!(known, Known::State(_)) });
            }
        };
        let counts = is_new && origin == Origin::Pushed;
        if counts && self.config.max_channels > 0 && self.pushed_channels >= self.config.max_channels {
            return Err(Refusal::TooManyChannels(self.pushed_channels));
        }
        match reading {
            Reading::Event { data, event, .. } => {
                let data = canonical(data);
                self.check_value(&channel, data.len())?;
                staged.events.push(Change { channel: channel.clone(), event: Some(event), data });
                self.known.entry(channel).or_insert(Known::Events);
            }
            Reading::Value { data, merge, .. } => self.stage(channel, data, merge, origin, staged)?,
            Reading::Sample(sample) => self.sample(*sample, staged)?,
        }
        self.pushed_channels += usize::from(counts);
        Ok(())
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
        // Merged fields may replace others: the sum is a bound, which costs no look at the fields that stay.
        let bound = canonical_len(&data) + if merge { before } else { self.series.room(&channel) };
        self.check_value(&channel, bound)?;
        if origin == Origin::Pushed {
            self.check_snapshot(&channel, before, bound)?;
        }
        self.series.overwritten(&channel, merge.then_some(&data));
        match staged.states.get_mut(&channel) {
            Some(state) if merge => state.fields.extend(data),
            Some(state) => state.fields = data,
            None if merge => {
                let fields = &mut staged.state(&channel, self.current(&channel), bound).fields;
                fields.extend(data);
            }
            None => staged.replace(&channel, data, bound),
        }
        if let Some(state) = staged.states.get_mut(&channel) {
            state.bound = bound;
        }
        self.known.entry(channel).or_insert_with(|| Known::State(Bytes::new()));
        Ok(())
    }

    /// Counts a sample. Its series are written once for all samples of the group, by [`Aggregator::stage_series`].
    fn sample(&mut self, sample: Sample, staged: &mut Staged) -> Result<(), Refusal> {
        let need = self.series.need(&sample)?;
        // Room is taken for as much as a series can ever need: later samples and the passing of time are not refused.
        if need.room > 0 {
            let before = self.bound(&sample.channel, staged);
            self.check_value(&sample.channel, before + need.room)?;
            self.check_snapshot(&sample.channel, before, before + need.room)?;
            if let Some(state) = staged.states.get_mut(&sample.channel) {
                state.bound += need.room;
            }
            self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(Bytes::new()));
        }
        self.series.add(sample, need);
        Ok(())
    }

    /// Stages the numbers of the series that got a sample or changed with time, each once, like a merge of its field.
    fn stage_series(&mut self, staged: &mut Staged) {
        for mut update in self.series.read_due() {
            let bound = self.bound(&update.channel, staged);
            let state = staged.state(&update.channel, self.current(&update.channel), bound);
            state.fields.insert(update.field.as_ref().to_owned(), update.value.take());
            self.series.written(&update);
        }
    }

    /// The present value of a state channel; empty when there is none.
    fn current(&self, channel: &Channel) -> &[u8] {
        match self.known.get(channel) {
            Some(Known::State(current)) => current,
            _ => &[],
        }
    }

    /// The value of `channel` is at most this large, whatever its series do.
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

    /// Takes room in the snapshot for a value that was at most `before` bytes large and will be at most `bound`.
    fn check_snapshot(&mut self, channel: &Channel, before: usize, bound: usize) -> Result<(), Refusal> {
        if matches!(place(channel), Some(Place::Custom(_))) {
            let whole = self.snapshot_bytes.saturating_sub(before) + bound;
            if self.config.max_snapshot > 0 && whole > self.config.max_snapshot {
                return Err(Refusal::SnapshotFull(self.config.max_snapshot));
            }
            self.snapshot_bytes = whole;
        }
        Ok(())
    }

    /// The changes of a group: events in order, then the states that are not what they were; and those that are.
    fn write_out(&mut self, staged: Staged) -> (Vec<Change>, Vec<Channel>) {
        let mut changes = staged.events;
        let mut same = Vec::new();
        for (channel, state) in staged.states {
            let data = canonical(state.fields);
            if matches!(place(&channel), Some(Place::Custom(_))) {
                let exact = self.series.bound(&channel, data.len());
                self.snapshot_bytes = (self.snapshot_bytes + exact).saturating_sub(state.bound);
            }
            match self.known.insert(channel.clone(), Known::State(data.clone())) {
                Some(Known::State(before)) if before == data => same.push(channel),
                _ => changes.push(Change { channel, event: None, data }),
            }
        }
        (changes, same)
    }
}
