//! The single writer: readings in, publications out. Nothing else decides what is true.
//!
//! It runs as one task, best on a thread of its own. A reading is accepted or refused; an accepted one is in the log
//! before the sender is answered. A value equal to the current one is accepted and makes no new version.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::{
    channel::{Channel, ChannelKind},
    clock::Clock,
    log::{Change, Log, LogWriter},
    position::Position,
    reading::{BUILT_IN, BUILT_IN_EVENTS, Origin, Reading, Refusal},
};

/// Limits of one tenant's data.
#[derive(Clone, Copy, Debug)]
pub struct AggregatorConfig {
    /// Most channels besides the built-in ones. Default 10,000; 0 means no limit.
    pub max_channels: usize,
    /// Largest value of one channel after a merge, in bytes. Default 1 MiB; 0 means no limit.
    pub max_value: usize,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self { max_channels: 10_000, max_value: 1 << 20 }
    }
}

/// Batches that wait for the writer; a sender waits for room after that.
const QUEUE: usize = 1_024;

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
}

/// The aggregator has ended: the server is going away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator has stopped")]
pub struct Stopped;

/// Hands readings to the aggregator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AggregatorHandle {
    batches: mpsc::Sender<Batch>,
}

impl AggregatorHandle {
    /// Hands in `readings` and waits until they are in the log.
    ///
    /// Not cancel safe in one sense: a dropped call may or may not have been carried out.
    ///
    /// # Errors
    /// [`Stopped`] when the aggregator is gone; nothing of the batch was accepted then.
    pub async fn publish(&self, origin: Origin, readings: Vec<Reading>) -> Result<Outcome, Stopped> {
        let (reply, outcome) = oneshot::channel();
        self.batches.send(Batch { readings, origin, reply }).await.map_err(|_| Stopped)?;
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
        (Self { writer, clock, config, batches, known, pushed_channels: 0 }, AggregatorHandle { batches: sender })
    }

    /// The log it writes.
    pub fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    /// Writes until every handle is gone; what was handed in before is written first.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        while self.batches.recv_many(&mut group, GROUP).await > 0 {
            let mut changes = Vec::new();
            let mut answers = Vec::with_capacity(group.len());
            for batch in group.drain(..) {
                let verdicts = batch
                    .readings
                    .into_iter()
                    .map(|reading| self.decide(batch.origin, reading, &mut changes))
                    .collect();
                answers.push((batch.reply, verdicts));
            }
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

    /// Accepts or refuses one reading; what changes something is added to `changes`.
    fn decide(&mut self, origin: Origin, reading: Reading, changes: &mut Vec<Change>) -> Result<(), Refusal> {
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
        let (data, event) = match reading {
            Reading::Value { data, merge, .. } => (self.value(&channel, data, merge), None),
            Reading::Event { data, event, .. } => (canonical(data), Some(event)),
        };
        if self.config.max_value > 0 && data.len() > self.config.max_value {
            return Err(Refusal::TooLarge { channel, bytes: data.len(), limit: self.config.max_value });
        }
        if event.is_none() {
            match self.known.insert(channel.clone(), Known::State(data.clone())) {
                Some(Known::State(before)) if before == data => return Ok(()),
                _ => {}
            }
        } else if is_new {
            self.known.insert(channel.clone(), Known::Events);
        }
        self.pushed_channels += usize::from(counts);
        changes.push(Change { channel, event, data });
        Ok(())
    }

    fn value(&self, channel: &Channel, data: Map<String, Value>, merge: bool) -> Bytes {
        let current = match self.known.get(channel) {
            Some(Known::State(current)) if merge => serde_json::from_slice(current).ok(),
            _ => None,
        };
        match current {
            Some(Value::Object(mut fields)) => {
                fields.extend(data);
                canonical(fields)
            }
            _ => canonical(data),
        }
    }
}

/// One line of JSON with sorted keys: the same value has the same bytes on every transport and every node.
fn canonical(data: Map<String, Value>) -> Bytes {
    Bytes::from(Value::Object(data).to_string())
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
            let mut outcome = self.handle.publish(Origin::Pushed, vec![reading]).await.unwrap();
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
            bench.handle.publish(Origin::Internal, vec![value("metrics.api", json!({"a": 1}))]).await.unwrap();
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
        let bench = bench(AggregatorConfig { max_channels: 2, max_value: 20 });
        bench.push(value("a", json!({}))).await.0.unwrap();
        bench.push(event("b", "x")).await.0.unwrap();
        assert_eq!(bench.push(value("c", json!({}))).await.0, Err(Refusal::TooManyChannels(2)));
        bench.push(value("a", json!({"x": 1}))).await.0.unwrap();
        assert!(matches!(bench.push(value("a", json!({"x": "y".repeat(20)}))).await.0, Err(Refusal::TooLarge { .. })));
        assert_eq!(bench.text("a"), r#"{"x":1}"#);
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
