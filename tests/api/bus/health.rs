//! A node that can't do its part says so, and does not keep others from doing theirs.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tricast_core::clock::Clock;

use super::{first_leads, leader, node, node_with, numbers, program, reads_up_to};
use crate::{
    helpers::{ApiClient, TestApp, WebSocket, spawn_app_at, until},
    proxy::Proxy,
    redis::Redis,
};

/// Larger than all that nodes say to Redis of their own accord, and smaller than what is pushed here.
const LARGE: usize = 24 * 1024;

fn large(n: u64) -> Value {
    json!({"n": n, "text": "x".repeat(200_000)})
}

/// Returns the status and the body of `/readyz`.
async fn readiness(node: &ApiClient) -> (StatusCode, Value) {
    let answer = node.get("/readyz").await;
    (answer.status(), answer.json().await.unwrap())
}

async fn is_ready(node: &ApiClient) {
    until("a node to be ready", || async { (readiness(node).await.0 == 200).then_some(()) }).await;
}

/// Waits until a node is not ready, and returns the reason given for the bus.
async fn bus_reason(node: &ApiClient) -> String {
    until("a node not to be ready", || async {
        let (status, body) = readiness(node).await;
        (status == 503 && body["checks"]["bus"] == "failed")
            .then(|| body["reasons"]["bus"].as_str().unwrap().to_owned())
    })
    .await
}

async fn bus_event(socket: &mut WebSocket, event: &str) {
    let notice = socket.next_of("event").await;
    assert_eq!((&notice["event"], &notice["data"]["reason"]), (&json!(event), &json!("bus")), "{notice}");
}

#[tokio::test]
async fn a_leader_whose_writes_fail_gives_up_the_lease_and_reports_it() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket()).await;
    let bad = node_with(&proxy.url(), "bad", |_| {});
    is_ready(&bad).await;
    until("a leader", || async { (bad.counter("tricast_bus_leads").await == 1.0).then_some(()) }).await;
    let good = [node(&redis, "b"), node(&redis, "c")];
    for node in &good {
        is_ready(node).await;
    }
    proxy.drop_requests_above(LARGE);
    // Its heartbeats pass, so without the check no other node would ever be elected.
    let cursor = good[0].push_value("metrics.large", large(1)).await;
    leader(&good).await;
    assert!(bad.counter("tricast_bus_surrenders_total").await >= 1.0);
    assert!(bus_reason(&bad).await.contains("do not reach Redis"));
    // It still reads the log, and serves it.
    reads_up_to(&bad, &cursor).await;
    good[1].push_value("metrics.large", large(2)).await;
    proxy.heal();
    is_ready(&bad).await;
}

#[tokio::test]
async fn a_node_that_cannot_read_the_log_reports_that_it_is_behind() {
    let redis = Redis::start();
    let leading = node(&redis, "a");
    is_ready(&leading).await;
    let proxy = Proxy::to(redis.socket()).await;
    let behind = node_with(&proxy.url(), "behind", |_| {});
    is_ready(&behind).await;
    let mut socket = behind.websocket().await;
    socket.subscribe(&["system"]).await;
    proxy.drop_replies_above(LARGE);
    leading.push_value("metrics.large", large(1)).await;
    let reason = bus_reason(&behind).await;
    assert!(reason.contains("newest entries"), "{reason}");
    bus_event(&mut socket, "degraded").await;
    let before = behind.counter("tricast_bus_entries_behind").await;
    assert!(before >= 1.0, "{before}");
    until("more entries", || async { (behind.counter("tricast_bus_entries_behind").await > before).then_some(()) })
        .await;
    let poll = behind.get("/api/metrics").await;
    assert!(poll.headers()["warning"].to_str().unwrap().starts_with("110 "));
    proxy.heal();
    is_ready(&behind).await;
    bus_event(&mut socket, "recovered").await;
    assert_eq!(behind.get_json("/api/metrics/metrics.large").await["data"]["n"], 1);
}

#[tokio::test]
async fn the_lag_of_a_disconnected_node_is_unknown() {
    let mut redis = Redis::start();
    let node = node(&redis, "a");
    is_ready(&node).await;
    assert!(node.counter("tricast_bus_entries_behind").await >= 0.0);
    redis.kill();
    assert!(bus_reason(&node).await.contains("cannot be reached"));
    assert!(node.counter("tricast_bus_entries_behind").await.is_nan());
    redis.start_again();
    is_ready(&node).await;
    assert!(node.counter("tricast_bus_entries_behind").await >= 0.0);
}

/// Sends a push that has to be refused, and returns the reason.
async fn refusal(node: &TestApp, n: u64) -> String {
    let line = json!({"channel": "checked", "event": "happened", "data": {"n": n}});
    let answer = node.post("/api/metrics", line.to_string()).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned()
}

/// Tests a Redis that refuses writes after the command `fail` and accepts them again after `restore`.
async fn refuses_writes(fail: &[&str], restore: &[&str], reason: &str) {
    let redis = Redis::start();
    let nodes = ["a", "b"]
        .map(|name| node_with(&redis.url(), name, |config| config.cluster.push_timeout.0 = Duration::from_secs(2)));
    leader(&nodes).await;
    let [one, other] = &nodes;
    one.push_event("checked", 0).await;
    let mut socket = other.websocket().await;
    socket.subscribe(&["system"]).await;
    redis.cli(fail);
    for node in &nodes {
        let text = bus_reason(node).await;
        assert!(text.contains(reason), "{text}");
        let poll = node.get("/api/metrics").await;
        assert!(poll.headers()["warning"].to_str().unwrap().starts_with("110 "));
        assert_eq!(node.counter("tricast_bus_available").await, 0.0);
        let detail = refusal(node, 1).await;
        assert!(detail.contains("nothing was accepted"), "{detail}");
    }
    bus_event(&mut socket, "degraded").await;
    redis.cli(restore);
    for node in &nodes {
        is_ready(node).await;
    }
    bus_event(&mut socket, "recovered").await;
    let cursor = other.push_event("checked", 2).await;
    reads_up_to(one, &cursor).await;
    for node in &nodes {
        assert_eq!(numbers(node, "checked").await, [0, 2]);
    }
}

#[tokio::test]
async fn a_full_redis_is_reported() {
    refuses_writes(&["config", "set", "maxmemory", "100kb"], &["config", "set", "maxmemory", "0"], "full").await;
}

#[tokio::test]
async fn a_redis_that_is_a_replica_is_reported() {
    refuses_writes(&["replicaof", "127.0.0.1", "1"], &["replicaof", "no", "one"], "read-only").await;
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_reports_it_and_uses_the_clock_of_redis() {
    let redis = Redis::start();
    let hour = jiff::SignedDuration::from_hours(1);
    let ahead = spawn_app_at(Clock::from_fn(move || jiff::Timestamp::now() + hour), |config| {
        config.bus = redis.url().as_str().into();
        config.node_id = Some("ahead".into());
    });
    is_ready(&ahead).await;
    let right = node(&redis, "right");
    is_ready(&right).await;
    assert_eq!(ahead.counter("tricast_bus_leads").await, 1.0, "so it dates the log");
    assert!((ahead.counter("tricast_clock_offset_seconds").await - 3_600.0).abs() < 5.0);
    assert!(right.counter("tricast_clock_offset_seconds").await.abs() < 5.0);
    assert_eq!(readiness(&ahead).await.1["checks"]["clock"], "failed");
    assert_eq!(readiness(&right).await.1["checks"]["clock"], "ok");
    // All clients are notified, with the name of the node.
    let notice = until("the notification", || async {
        let cursor = right.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        let since = format!("{}:0", cursor.split(':').next().unwrap());
        let page = right.get_json(&format!("/api/metrics?channels=system&since={since}")).await;
        page["events"].as_array().unwrap().iter().find(|event| event["data"]["reason"] == "clock").cloned()
    })
    .await;
    assert_eq!((&notice["event"], &notice["data"]["node"]), (&json!("degraded"), &json!("ahead")), "{notice}");
    // Its publications and its stored data have the right time.
    let cursor = right.push_value("metrics.x", json!({"n": 1})).await;
    reads_up_to(&ahead, &cursor).await;
    let order = ahead.post("/api/orders", json!({"items": 1, "total": 5, "customerName": "A"}).to_string()).await;
    let order: Value = order.json().await.unwrap();
    let value = right.get_json("/api/metrics/metrics.x").await;
    for time in [&notice["timestamp"], &value["timestamp"], &order["createdAt"]] {
        let time: jiff::Timestamp =
            time.as_str().unwrap_or_else(|| panic!("{notice} {value} {order}")).parse().unwrap();
        let apart = jiff::Timestamp::now().duration_since(time).as_secs_f64().abs();
        assert!(apart < 600.0, "{apart} s in {notice} {value} {order}");
    }
}

#[tokio::test]
async fn settings_of_redis_that_lose_data_are_logged_at_the_start() {
    let redis = Redis::start();
    redis.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    redis.cli(&["config", "set", "appendfsync", "everysec"]);
    let directory = tempfile::tempdir().unwrap();
    let node = program(&redis, directory.path(), "a");
    first_leads(&node).await;
    for part in ["maxmemory-policy allkeys-lru", "appendfsync everysec"] {
        until("a warning", || async { node.log().contains(part).then_some(()) }).await;
    }
}
