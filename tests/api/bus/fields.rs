//! Times of single fields in a cluster: every node shows the same, also one that comes late and one that takes over.

use serde_json::{Value, json};

use super::{Redis, leader, node, reads_up_to, until};
use crate::helpers::TestApp;

fn merge(data: Value) -> Value {
    json!({"channel": "metrics.host", "merge": true, "data": data})
}

/// Returns what `node` lists of the channel.
async fn listed(node: &TestApp) -> Value {
    node.get_json("/api/channels?channels=metrics.host").await["channels"][0].clone()
}

/// Whole seconds of an ISO 8601 duration below an hour.
fn seconds(duration: &Value) -> u64 {
    let text = duration.as_str().unwrap().strip_prefix("PT").unwrap();
    let (minutes, rest) = text.split_once('M').unwrap_or(("0", text));
    minutes.parse::<u64>().unwrap() * 60 + rest.strip_suffix('S').map_or(0, |seconds| seconds.parse().unwrap())
}

/// Waits until `node` shows that `temp` was not written for longer than `cpu`, which is written meanwhile at `pusher`.
async fn shows_silence(node: &TestApp, pusher: &TestApp) -> Value {
    until("a silent field", || async {
        pusher.push(merge(json!({"cpu": 1}))).await;
        let line = listed(node).await;
        let temp = &line["fields"]["temp"];
        (temp["idle"].is_string() && seconds(&temp["idle"]) >= seconds(&line["idle"]) + 2).then(|| line.clone())
    })
    .await
}

#[tokio::test]
async fn a_silent_field_is_seen_on_every_node_and_after_a_change_of_the_leader() {
    let redis = Redis::start();
    let mut first = node(&redis, "first");
    leader(std::slice::from_ref(&first)).await;
    let second = node(&redis, "second");
    first.push(merge(json!({"cpu": 1}))).await;
    let cursor = second.push(merge(json!({"temp": 40}))).await;
    for node in [&first, &second] {
        reads_up_to(node, &cursor).await;
    }
    for node in [&first, &second] {
        let line = shows_silence(node, &second).await;
        assert_eq!(line["fields"]["temp"]["pace"], Value::Null, "{line}");
    }
    // All writes since were of the same value: the log has no entry with a value that a late node could date them by.
    let late = node(&redis, "late");
    let (before, shown) = until("the channel on a node that comes late", || async {
        let (before, shown) = (listed(&second).await, listed(&late).await);
        shown["fields"].is_object().then_some((before, shown))
    })
    .await;
    // Clocks of nodes differ by parts of a second.
    let idle = |line: &Value| seconds(&line["fields"]["temp"]["idle"]);
    assert!(idle(&shown) + 1 >= idle(&before), "{before} {shown}");
    assert_eq!(shown["pace"], before["pace"]);
    let after = listed(&second).await;
    assert!(idle(&after) + 1 >= idle(&shown), "{shown} {after}");

    first.begin_stop();
    first.stopped().await;
    let rest = [second, late];
    leader(&rest).await;
    for node in &rest {
        let line = shows_silence(node, &rest[0]).await;
        assert!(idle(&line) + 1 >= idle(&after), "the write of the field is as long ago as before: {line}");
        assert!(seconds(&line["idle"]) < idle(&line));
    }
    let cursor = rest[0].push_value("metrics.host", json!({"cpu": 1, "temp": 41})).await;
    for node in &rest {
        reads_up_to(node, &cursor).await;
        let line = listed(node).await;
        assert!(line["fields"]["temp"]["idle"].is_null() || idle(&line) == seconds(&line["idle"]), "{line}");
    }
}
