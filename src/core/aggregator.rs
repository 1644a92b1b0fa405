//! The single writer: readings in, publications out. Nothing else decides what is true.
//!
//! It runs as one task, best on a thread of its own. A reading is accepted or refused; an accepted one is in the log
//! before the sender is answered. A value equal to the current one is accepted and makes no new version.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    channel::{Channel, ChannelKind},
    clock::Clock,
    log::{Change, Log, LogWriter},
    position::Position,
    reading::{BUILT_IN, BUILT_IN_EVENTS, Origin, Reading, Refusal},
    snapshot::{Place, place},
};

/// Limits of one tenant's data.
#[derive(Clone, Copy, Debug)]
pub struct AggregatorConfig {
    /// Most channels besides the built-in ones. Default 10,000; 0 means no limit.
    pub max_channels: usize,
    /// Largest value of one channel, also after a merge, in bytes. Default 1 MiB; 0 means no limit.
    pub max_value: usize,
    /// Most bytes of pushed values in the snapshot, for every reader of it is sent all of them. Default 4 MiB; 0 means
    /// no limit.
    pub max_snapshot: usize,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self { max_channels: 10_000, max_value: 1 << 20, max_snapshot: 4 << 20 }
    }
}

/// Batches that wait for the writer; a sender waits for room after that.
const QUEUE: usize = 1_024;

/// Kibibytes of pushed bodies that wait for the writer, all batches together; a sender waits for room after that.
const QUEUE_KIB: usize = 64 * 1024;

/// Batches that are written together: one wake-up of the readers for all of them.
const GROUP: usize = 64;

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
}

enum Known {
    State(Bytes),
    Events,
}

/// What a group of batches changes. States are staged by channel and written out once, however often they were pushed:
/// the last value wins.
#[derive(Default)]
struct Staged {
    states: IndexMap<Channel, State>,
    events: Vec<Change>,
}

struct State {
    fields: Map<String, Value>,
    /// The value is at most this large; exact again once it is written.
    bound: usize,
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
        (Self { writer, clock, config, batches, known, pushed_channels: 0, snapshot_bytes: 0 }, handle)
    }

    /// The log it writes.
    pub fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    /// Writes until every handle is gone; what was handed in before is written first.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        while self.batches.recv_many(&mut group, GROUP).await > 0 {
            let mut staged = Staged::default();
            let mut answers = Vec::with_capacity(group.len());
            for batch in group.drain(..) {
                let verdicts: Vec<_> =
                    batch.readings.into_iter().map(|reading| self.decide(batch.origin, reading, &mut staged)).collect();
                answers.push((batch.reply, verdicts));
            }
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

    /// Accepts or refuses one reading; an accepted one is staged.
    fn decide(&mut self, origin: Origin, reading: Reading, staged: &mut Staged) -> Result<(), Refusal> {
        let channel = reading.channel().clone();
        if origin == Origin::Pushed && BUILT_IN.contains(&channel.as_str()) {
            return Err(Refusal::BuiltIn(channel));
        }
        let kind = match &reading {
            Reading::Value { .. } => ChannelKind::State,
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
        let current = match self.known.get(&channel) {
            Some(Known::State(current)) => current.clone(),
            _ => Bytes::new(),
        };
        let before = staged.states.get(&channel).map(|state| state.bound);
        // Merged fields may replace others: the sum is a bound, which costs no look at the fields that stay.
        let bound = canonical_len(&data) + if merge { before.unwrap_or(current.len()) } else { 0 };
        self.check_value(&channel, bound)?;
        if origin == Origin::Pushed && matches!(place(&channel), Some(Place::Custom(_))) {
            let whole = self.snapshot_bytes.saturating_sub(before.unwrap_or(current.len())) + bound;
            if self.config.max_snapshot > 0 && whole > self.config.max_snapshot {
                return Err(Refusal::SnapshotFull(self.config.max_snapshot));
            }
            self.snapshot_bytes = whole;
        }
        match staged.states.get_mut(&channel) {
            Some(state) if merge => state.fields.extend(data),
            Some(state) => state.fields = data,
            None => {
                let mut fields = data;
                if merge && let Ok(Value::Object(mut kept)) = serde_json::from_slice(&current) {
                    kept.extend(fields);
                    fields = kept;
                }
                staged.states.insert(channel.clone(), State { fields, bound });
            }
        }
        if let Some(state) = staged.states.get_mut(&channel) {
            state.bound = bound;
        }
        self.known.entry(channel).or_insert_with(|| Known::State(Bytes::new()));
        Ok(())
    }

    fn check_value(&self, channel: &Channel, bytes: usize) -> Result<(), Refusal> {
        let limit = self.config.max_value;
        if limit > 0 && bytes > limit {
            return Err(Refusal::TooLarge { channel: channel.clone(), bytes, limit });
        }
        Ok(())
    }

    /// The changes of a group: events in order, then the states that are not what they were.
    fn write_out(&mut self, staged: Staged) -> Vec<Change> {
        let mut changes = staged.events;
        for (channel, State { fields, bound }) in staged.states {
            let data = canonical(fields);
            if matches!(place(&channel), Some(Place::Custom(_))) {
                self.snapshot_bytes = (self.snapshot_bytes + data.len()).saturating_sub(bound);
            }
            match self.known.insert(channel.clone(), Known::State(data.clone())) {
                Some(Known::State(before)) if before == data => {}
                _ => changes.push(Change { channel, event: None, data }),
            }
        }
        changes
    }
}

/// One line of JSON with sorted keys: the same value has the same bytes on every transport and every node.
fn canonical(data: Map<String, Value>) -> Bytes {
    Bytes::from(Value::Object(data).to_string())
}

/// The length that [`canonical`] makes of it.
fn canonical_len(data: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting can't fail.
    drop(serde_json::to_writer(&mut count, data));
    count.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::{channel::EventName, log::LogConfig};

    struct Bench {
        handle: AggregatorHandle,
        log: Arc<Log>,
    }

    fn bench(config: AggregatorConfig) -> Bench {
        let (writer, log) = Log::create(LogConfig::default());
        let (aggregator, handle) = Aggregator::new(writer, Clock::system(), config);
        tokio::spawn(aggregator.run());
        Bench { handle, log }
    }

    fn value(channel: &str, data: Value) -> Reading {
        let Value::Object(data) = data else { panic!("an object") };
        Reading::value(Channel::parse(channel).unwrap(), data)
    }

    fn event(channel: &str, name: &str) -> Reading {
        Reading::Event {
            channel: Channel::parse(channel).unwrap(),
            event: EventName::parse(name).unwrap(),
            data: Map::new(),
        }
    }

    impl Bench {
        async fn push(&self, reading: Reading) -> (Result<(), Refusal>, u64) {
            let mut outcome = self.handle.publish(Origin::Pushed, vec![reading], 0).await.unwrap();
            (outcome.verdicts.remove(0), outcome.position.offset)
        }

        fn text(&self, channel: &str) -> String {
            let state = self.log.state(&Channel::parse(channel).unwrap()).unwrap();
            String::from_utf8(state.data.to_vec()).unwrap()
        }
    }

    #[tokio::test]
    async fn an_unchanged_value_makes_no_new_version() {
        let bench = bench(AggregatorConfig::default());
        let (_, first) = bench.push(value("metrics.a", json!({"x": 1, "y": 2}))).await;
        let (_, again) = bench.push(value("metrics.a", json!({"y": 2, "x": 1}))).await;
        assert_eq!(first, again);
        let (_, changed) = bench.push(value("metrics.a", json!({"x": 2, "y": 2}))).await;
        assert!(changed > again);
    }

    #[tokio::test]
    async fn a_merge_changes_only_the_named_fields() {
        let bench = bench(AggregatorConfig::default());
        bench.push(value("a", json!({"x": 1, "y": {"z": 1, "w": 2}}))).await.0.unwrap();
        let Reading::Value { channel, data, .. } = value("a", json!({"y": {"z": 5}, "n": null})) else { panic!() };
        bench.push(Reading::Value { channel, data, merge: true }).await.0.unwrap();
        assert_eq!(bench.text("a"), r#"{"n":null,"x":1,"y":{"z":5}}"#);
    }

    #[tokio::test]
    async fn built_in_channels_are_refused_to_clients_only() {
        let bench = bench(AggregatorConfig::default());
        for name in BUILT_IN {
            assert!(matches!(bench.push(value(name, json!({}))).await.0, Err(Refusal::BuiltIn(_))), "{name}");
        }
        let outcome =
            bench.handle.publish(Origin::Internal, vec![value("metrics.api", json!({"a": 1}))], 0).await.unwrap();
        assert_eq!(outcome.verdicts, [Ok(())]);
        assert!(bench.text("metrics").contains(r#""api":{"a":1}"#));
    }

    #[tokio::test]
    async fn a_channel_keeps_its_kind() {
        let bench = bench(AggregatorConfig::default());
        bench.push(event("deploys", "released")).await.0.unwrap();
        let refusal = bench.push(value("deploys", json!({}))).await.0.unwrap_err();
        assert!(refusal.to_string().contains("an event channel"), "{refusal}");
        bench.push(value("load", json!({}))).await.0.unwrap();
        assert!(matches!(bench.push(event("load", "x")).await.0, Err(Refusal::OtherKind { is_state: true, .. })));
    }

    #[tokio::test]
    async fn channels_are_bounded_and_the_known_ones_go_on() {
        let bench = bench(AggregatorConfig { max_channels: 2, max_value: 20, max_snapshot: 0 });
        bench.push(value("a", json!({}))).await.0.unwrap();
        bench.push(event("b", "x")).await.0.unwrap();
        assert_eq!(bench.push(value("c", json!({}))).await.0, Err(Refusal::TooManyChannels(2)));
        bench.push(value("a", json!({"x": 1}))).await.0.unwrap();
        assert!(matches!(bench.push(value("a", json!({"x": "y".repeat(20)}))).await.0, Err(Refusal::TooLarge { .. })));
        assert_eq!(bench.text("a"), r#"{"x":1}"#);
    }

    #[tokio::test]
    async fn many_merges_of_a_wide_value_are_written_once() {
        let bench = bench(AggregatorConfig::default());
        let wide: Map<String, Value> = (0..20_000).map(|n| (format!("f{n}"), json!(n))).collect();
        bench.push(Reading::value(Channel::parse("wide").unwrap(), wide)).await.0.unwrap();
        let merge = |n: u64| {
            let Reading::Value { channel, data, .. } = value("wide", json!({"f7": n})) else { panic!() };
            Reading::Value { channel, data, merge: true }
        };
        let before = bench.log.head();
        let outcome = bench.handle.publish(Origin::Pushed, (0..5_000).map(merge).collect(), 100_000).await.unwrap();
        assert!(outcome.verdicts.iter().all(Result::is_ok));
        assert_eq!(bench.log.head(), before + 1, "one version, the last");
        assert!(bench.text("wide").contains("\"f7\":4999,"));
    }

    #[tokio::test]
    async fn the_snapshot_is_bounded_and_what_is_in_it_can_change() {
        let bench = bench(AggregatorConfig { max_snapshot: 100, ..AggregatorConfig::default() });
        let text = |n: usize| json!({"x": "y".repeat(n)});
        bench.push(value("metrics.a", text(50))).await.0.unwrap();
        assert_eq!(bench.push(value("metrics.b", text(50))).await.0, Err(Refusal::SnapshotFull(100)));
        bench.push(value("elsewhere", text(500))).await.0.unwrap();
        for n in [10, 80, 20] {
            bench.push(value("metrics.a", text(n))).await.0.unwrap();
        }
        bench.push(value("metrics.b", text(50))).await.0.unwrap();
    }

    #[tokio::test]
    async fn the_snapshot_stands_after_what_it_shows() {
        let bench = bench(AggregatorConfig::default());
        let (_, position) = bench.push(value("metrics.checkout", json!({"p95": 180}))).await;
        let own = bench.log.state(&Channel::parse("metrics.checkout").unwrap()).unwrap();
        let snapshot = bench.log.snapshot();
        assert_eq!((own.offset, snapshot.offset), (position - 1, position));
        assert!(bench.text("metrics").contains(r#""custom":{"checkout":{"p95":180}}"#));
        assert!(Arc::ptr_eq(&snapshot, &bench.log.snapshot()), "assembled once");
    }
}
