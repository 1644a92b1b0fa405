//! Writing clients: each pushes one event after the other to any node, and creates orders.

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tricast_core::{
    aggregator::PublishError,
    channel::{Channel, EventName},
    reading::{Origin, Reading},
};

use super::{node::SimulatedNode, rules::Verdict};

/// Size of each pushed event in bytes: more than fits into one packet.
const PADDING: usize = 1_500;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Pushes the event `id` and a value to `node`, like an HTTP request.
pub(super) async fn push(node: &SimulatedNode, id: u64) -> Verdict {
    let (reply, verdict) = oneshot::channel();
    let process = node.clone();
    node.spawn(async move {
        let [Ok(deploys), Ok(load), Ok(host)] = ["deploys", "metrics.load", "metrics.host"].map(Channel::parse) else {
            return;
        };
        let Ok(name) = EventName::parse("deployed") else { return };
        let mut readings = vec![
            Reading::Event {
                channel: deploys,
                event: name,
                data: object(json!({"id": id, "x": "x".repeat(PADDING)})),
                ttl: None,
            },
            Reading::value(load, object(json!({"value": id}))),
            measured(host, id),
        ];
        let always = readings.len();
        readings.extend(brief(id));
        let verdict = match process.handle.publish(Origin::Pushed, readings, 100).await {
            // A channel that has ended can't be deleted.
            Ok(outcome) if outcome.verdicts.iter().take(always).all(Result::is_ok) => Verdict::Accepted,
            Ok(_) => Verdict::Refused,
            Err(PublishError::Unavailable | PublishError::Stopped) => Verdict::Refused,
            Err(PublishError::Unknown) => Verdict::Unknown,
        };
        let _ = reply.send(verdict);
    });
    // The process may be killed meanwhile.
    verdict.await.unwrap_or(Verdict::Unknown)
}

/// Channel that is written once, before the first fault.
pub(super) const ONCE: &str = "metrics.once";

/// Pushes the value of [`ONCE`]. Returns whether it was accepted.
pub(super) async fn push_once(node: &SimulatedNode) -> bool {
    let Ok(channel) = Channel::parse(ONCE) else { return false };
    let readings = vec![Reading::value(channel, object(json!({"value": 1})))];
    node.handle.publish(Origin::Pushed, readings, 20).await.is_ok()
}

/// Returns what a client writes to a channel that it shares with others: most often only its own field, and often the same value.
fn measured(channel: Channel, id: u64) -> Reading {
    let own = format!("f{}", id / 1_000_000);
    let (data, merge) = match id % 9 {
        0 => (json!({(own): id, "other": id / 40}), false),
        _ => (json!({(own): id / 4}), true),
    };
    Reading::Value { channel, data: object(data), merge, ttl: None }
}

/// Channel that is written now and then, with a short time to live.
pub(super) const BRIEF: &str = "metrics.brief";

/// Time to live of [`BRIEF`].
pub(super) const BRIEF_TTL: Duration = Duration::from_secs(2);

/// Returns what some pushes write to [`BRIEF`]: a value, whose samples and merges keep the time to live, or its deletion.
fn brief(id: u64) -> Option<Reading> {
    let channel = Channel::parse(BRIEF).ok()?;
    let ttl = u64::try_from(BRIEF_TTL.as_millis()).ok();
    match id % 40 {
        0 => Some(Reading::End { channel }),
        10 => Some(Reading::Value { channel, data: object(json!({"merged": id})), merge: true, ttl }),
        // Often the same value.
        20 | 30 => Some(Reading::Value { channel, data: object(json!({"value": id / 100})), merge: false, ttl }),
        _ => None,
    }
}

/// Creates an order at `node`. It counts as acknowledged once it is stored.
pub(super) async fn order(node: &SimulatedNode, id: u64, acknowledged: &Rc<RefCell<Vec<u64>>>) {
    let (process, acknowledged) = (node.clone(), Rc::clone(acknowledged));
    let (done, finished) = oneshot::channel();
    node.spawn(async move {
        let place = process.outbox.store(id);
        acknowledged.borrow_mut().push(id);
        process.relay.stored(place);
        process.relay.published(place).await;
        let _ = done.send(());
    });
    drop(finished.await);
}
