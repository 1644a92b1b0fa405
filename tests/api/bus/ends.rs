//! Channels that end in a cluster: every node agrees, also one that starts later and one that takes over.

use serde_json::{Value, json};

use super::{Redis, leader, node, node_with, reads_up_to, three, until};
use crate::ends::{delete, end_on, names};

#[tokio::test]
async fn all_nodes_apply_an_end_and_a_late_one_does_not_restore_the_channel() {
    let redis = Redis::start();
    let nodes = three(&redis);
    let leads = leader(&nodes).await;
    let [one, other] = [(leads + 1) % 3, (leads + 2) % 3];
    nodes[one].push_value("metrics.shop", json!({"n": 1})).await;
    let before = nodes[one].push_value("metrics.lives", json!({"n": 1})).await;
    let mut sockets = Vec::new();
    for node in &nodes {
        reads_up_to(node, &before).await;
        let mut socket = node.websocket().await;
        socket.subscribe(&["metrics.shop"]).await;
        sockets.push(socket);
    }
    assert_eq!(delete(&nodes[one], "metrics.shop").await.status(), 204);
    let mut cursors = Vec::new();
    for socket in &mut sockets {
        let end = end_on(socket, "metrics.shop").await;
        assert_eq!(end["gone"], "deleted");
        cursors.push(end["cursor"].clone());
    }
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "one position in the log: {cursors:?}");
    assert_eq!(delete(&nodes[other], "metrics.shop").await.status(), 410);

    let late = node(&redis, "late");
    let cursor = nodes[one].push_value("metrics.lives", json!({"n": 2})).await;
    reads_up_to(&late, &cursor).await;
    assert_eq!(late.get("/api/metrics/metrics.shop").await.status(), 410);
    assert!(!names(&late).await.contains(&"metrics.shop".to_owned()));
    let notice = late.get_json(&format!("/api/metrics?channels=metrics.*&since={before}")).await;
    assert_eq!((&notice["gone"], notice.get("gap")), (&json!({"metrics.shop": "deleted"}), None));
}

#[tokio::test]
async fn a_new_leader_knows_ended_channels_and_times_to_live() {
    let redis = Redis::start();
    let mut first =
        node_with(&redis.url(), "first", |config| (config.limits.max_channels, config.limits.max_series) = (3, 3));
    leader(std::slice::from_ref(&first)).await;
    let sample = json!({"metric": "shop.sold", "type": "counter", "value": 1});
    first.push(sample.clone()).await;
    first.push(json!({"channel": "metrics.short", "data": {"n": 1}, "ttl": "2s"})).await;
    first.push_value("metrics.old", json!({"n": 1})).await;
    delete(&first, "metrics.shop").await;
    let before = first.push(sample.clone()).await;
    delete(&first, "metrics.old").await;
    first.push_value("metrics.old", json!({"m": 1})).await;
    let cursor = first.push(json!({"channel": "metrics.old", "delete": true})).await;
    let second =
        node_with(&redis.url(), "second", |config| (config.limits.max_channels, config.limits.max_series) = (3, 3));
    reads_up_to(&second, &cursor).await;
    let mut socket = second.websocket().await;
    socket.subscribe(&["metrics.*"]).await;
    first.begin_stop();
    first.stopped().await;
    leader(std::slice::from_ref(&second)).await;

    second.push(sample).await;
    let value = second.get_json("/api/metrics/metrics.shop").await;
    assert_eq!(value["data"]["sold"]["total"], 2, "samples before the end are not counted again: {value}");
    assert_eq!(end_on(&mut socket, "metrics.short").await["gone"], "expired");
    assert_eq!(second.get("/api/metrics/metrics.old").await.status(), 410);
    for name in ["metrics.x", "metrics.y"] {
        second.push_value(name, json!({})).await;
    }
    let refused = second.post("/api/metrics", json!({"channel": "one.more", "data": {}}).to_string()).await;
    assert_eq!(refused.status(), 429, "three are there");
    let notice = second.get_json(&format!("/api/metrics?channels=metrics.*&since={before}")).await;
    assert_eq!(notice["gone"], json!({"metrics.old": "deleted", "metrics.short": "expired"}));
    assert_eq!(notice.get("gap"), None);
}

#[tokio::test]
async fn ends_that_are_forgotten_are_removed_from_redis() {
    let redis = Redis::start();
    let node = node_with(&redis.url(), "one", |config| config.log.ends = 5);
    let lines: Vec<Value> = (0..200)
        .flat_map(|n| {
            let sample = json!({"metric": format!("c{n}.x"), "type": "counter", "value": 1});
            [sample, json!({"channel": format!("metrics.c{n}"), "delete": true})]
        })
        .collect();
    for lines in lines.chunks(20) {
        assert_eq!(node.post("/api/metrics", json!(lines).to_string()).await.status(), 202);
    }
    let length = |what: &str| -> usize {
        let key = redis.cli(&["KEYS", &format!("*:t:default:{what}")]);
        let key = key.trim();
        if key.is_empty() { 0 } else { redis.cli(&["HLEN", key]).trim().parse().unwrap() }
    };
    until("less to be kept", || async {
        node.push_value("metrics.lives", json!({"n": 1})).await;
        // The built-in channels, and a few ends.
        (length("states") < 30 && length("series") == 0).then_some(())
    })
    .await;
}
