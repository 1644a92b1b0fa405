//! The single writer: readings in, publications out. Nothing else decides what is true.
//!
//! It runs as one task, best on a thread of its own. A reading is accepted or refused; an accepted one is in the log
//! before the sender is answered. A value equal to the current one is accepted and makes no new version.
//!
//! It wakes for batches, and, while samples are in a window, at each full second: their numbers change as time passes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    channel::{Channel, ChannelKind},
    clock::Clock,
    log::{Change, Log, LogWriter},
    position::Position,
    reading::{BUILT_IN, BUILT_IN_EVENTS, Origin, Reading, Refusal},
    sample::{Moment, Sample, SeriesTable},
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

/// Batches that wait for the writer; a sender waits for room after that.
const QUEUE: usize = 1_024;

/// Kibibytes of pushed bodies that wait for the writer, all batches together; a sender waits for room after that.
const QUEUE_KIB: usize = 64 * 1024;

/// Batches that are written together: one wake-up of the readers for all of them.
const GROUP: usize = 64;

/// Longest sleep until midnight: the wall clock may be set meanwhile.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(3_600);

/// The answer to a batch.
#[derive(Debug)]
pub struct Outcome {
    /// One for each reading, in order.
    pub verdicts: Vec<Result<(), Refusal>>,
    /// At or after every change of the batch: a reader at this position has seen them.
    pub position: Position,
}

struct Batch {
    readings: Vec<Reading>,
    origin: Origin,
    reply: oneshot::Sender<Outcome>,
    /// Its part of the queue's bytes, given back when it is written.
    _room: OwnedSemaphorePermit,
}

/// The aggregator has ended: the server is going away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator has stopped")]
pub struct Stopped;

/// Hands readings to the aggregator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AggregatorHandle {
    batches: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
}

impl AggregatorHandle {
    /// Hands in `readings`, which came in `bytes` bytes, and waits until they are in the log.
    ///
    /// Not cancel safe in one sense: a dropped call may or may not have been carried out.
    ///
    /// # Errors
    /// [`Stopped`] when the aggregator is gone; nothing of the batch was accepted then.
    pub async fn publish(&self, origin: Origin, readings: Vec<Reading>, bytes: usize) -> Result<Outcome, Stopped> {
        let (reply, outcome) = oneshot::channel();
        let kib = u32::try_from((bytes / 1024 + 1).min(QUEUE_KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| Stopped)?;
        self.batches.send(Batch { readings, origin, reply, _room: room }).await.map_err(|_| Stopped)?;
        outcome.await.map_err(|_| Stopped)
    }

    /// Batches that wait at the moment.
    pub fn waiting(&self) -> usize {
        self.batches.max_capacity() - self.batches.capacity()
    }
}

/// The single writer of one tenant's log.
pub struct Aggregator {
    writer: LogWriter,
    clock: Clock,
    config: AggregatorConfig,
    batches: mpsc::Receiver<Batch>,
    /// What each channel is, and a state's current bytes (shared with the log).
    known: HashMap<Channel, Known>,
    pushed_channels: usize,
    /// Bytes of the pushed values in the snapshot.
    snapshot_bytes: usize,
    series: SeriesTable,
    /// Where the windows' seconds are counted from.
    begun: Instant,
}

enum Known {
    State(Bytes),
    Events,
}

impl Aggregator {
    /// An aggregator that will write `writer`; drive it with [`Aggregator::run`].
    pub fn new(writer: LogWriter, clock: Clock, config: AggregatorConfig) -> (Self, AggregatorHandle) {
        let (sender, batches) = mpsc::channel(QUEUE);
        let known = BUILT_IN_EVENTS
            .iter()
            .filter_map(|name| Channel::parse(name).ok())
            .map(|channel| (channel, Known::Events))
            .collect();
        let handle = AggregatorHandle { batches: sender, room: Arc::new(Semaphore::new(QUEUE_KIB)) };
        let series = SeriesTable::new(config.max_series);
        let (pushed_channels, snapshot_bytes, begun) = (0, 0, Instant::now());
        (Self { writer, clock, config, batches, known, pushed_channels, snapshot_bytes, series, begun }, handle)
    }

    /// The log it writes.
    pub fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    /// Writes until every handle is gone; what was handed in before is written first.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let wake = self.wake();
            tokio::select! {
                count = self.batches.recv_many(&mut group, GROUP) => if count == 0 { return },
                () = sleep_until(wake.unwrap_or(self.begun)), if wake.is_some() => {}
            }
            self.series.advance(self.moment());
            let mut staged = Staged::default();
            let mut answers = Vec::with_capacity(group.len());
            for batch in group.drain(..) {
                let verdicts: Vec<_> =
                    batch.readings.into_iter().map(|reading| self.decide(batch.origin, reading, &mut staged)).collect();
                answers.push((batch.reply, verdicts));
            }
            self.stage_series(&mut staged);
            let changes = self.write_out(staged);
            let position = if changes.is_empty() {
                self.writer.log().position()
            } else {
                self.writer.append(changes, self.clock.now())
            };
            for (reply, verdicts) in answers {
                // A sender that went away does not want the answer.
                drop(reply.send(Outcome { verdicts, position: position.clone() }));
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.begun.elapsed(), day: self.clock.now_in(&self.config.zone).date() }
    }

    /// When numbers change by themselves; `None` while nothing will.
    fn wake(&self) -> Option<Instant> {
        if let Some(second) = self.series.next_second() {
            return Some(self.begun + second);
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

    /// The changes of a group: events in order, then the states that are not what they were.
    fn write_out(&mut self, staged: Staged) -> Vec<Change> {
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
        if !same.is_empty() {
            self.writer.confirm(&same, self.clock.now());
        }
        changes
    }
}

#[cfg(test)]
mod tests;
