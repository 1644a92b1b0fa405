//! Several nodes: sessions that pass from one to another while copies are late, lost or missing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Client,
    cluster::{bus_has, is_ready, key_of, node},
};
use crate::{
    bus::{leader, node_with, reads_up_to},
    helpers::{TestApp, until},
    proxy::Proxy,
    redis::Redis,
    stall::StallableLink,
};

/// Joins `/tricast` with a session that can be recovered, and subscribes. Returns the server's answer.
async fn join(client: &mut Client, redis: &Redis, channels: &[&str]) -> Value {
    let connected = client.join("/tricast", json!({"recovery": true})).await;
    assert_eq!(client.ask("/tricast", json!(["subscribe", {"channels": channels}])).await["status"], "ok");
    bus_has(redis, &connected["pid"], Some(channels)).await;
    connected
}

/// Joins with the session of an earlier client.
async fn rejoin(node: &TestApp, connected: &Value) -> (Client, Value) {
    let mut client = Client::websocket(node).await;
    let again = client.join("/tricast", json!({"recovery": true, "pid": connected["pid"]})).await;
    (client, again)
}

/// Waits until Redis has received what `node` has sent so far.
async fn has_sent(node: &TestApp, redis: &Redis) {
    is_ready(node).await;
    let mut client = Client::websocket(node).await;
    let connected = client.join("/tricast", json!({"recovery": true})).await;
    bus_has(redis, &connected["pid"], Some(&[])).await;
}

/// Two nodes, the first of which leads, and a third one behind a link that can be stalled.
async fn three(redis: &Redis) -> ([TestApp; 2], StallableLink, TestApp) {
    let first = [node(redis, "a")];
    leader(&first).await;
    let [first] = first;
    let second = node(redis, "b");
    let link = StallableLink::to(redis);
    let third = node_with(&link.url(), "c", |_| {});
    for node in [&first, &second, &third] {
        is_ready(node).await;
    }
    ([first, second], link, third)
}

#[tokio::test]
async fn a_late_copy_of_a_former_node_changes_nothing() {
    let redis = Redis::start();
    let (nodes, link, former) = three(&redis).await;
    let mut client = Client::websocket(&former).await;
    let connected = join(&mut client, &redis, &["deploys", "noise"]).await;
    link.stall();
    assert_eq!(client.ask("/tricast", json!(["subscribe", {"channels": ["late"]}])).await["status"], "ok");
    drop(client);
    let (mut client, again) = rejoin(&nodes[0], &connected).await;
    assert_eq!(again, connected, "recovered");
    client.ask("/tricast", json!(["unsubscribe", {"channels": ["noise"]}])).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["news"]}])).await;
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    link.flow();
    has_sent(&former, &redis).await;
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    // At its former node, too, which knows an older state of the session.
    for node in [&nodes[1], &former] {
        let (mut client, again) = rejoin(node, &connected).await;
        assert_eq!(again, connected, "recovered");
        for channel in ["noise", "late", "news"] {
            let cursor = nodes[0].push_event(channel, 1).await;
            reads_up_to(node, &cursor).await;
        }
        assert_eq!(client.event("/tricast", "event").await[1]["channel"], "news");
    }
}

#[tokio::test]
async fn a_late_copy_does_not_restore_a_session_that_has_ended() {
    let redis = Redis::start();
    let (nodes, link, former) = three(&redis).await;
    let mut client = Client::websocket(&former).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    link.stall();
    client.ask("/tricast", json!(["subscribe", {"channels": ["late"]}])).await;
    drop(client);
    let (mut client, again) = rejoin(&nodes[0], &connected).await;
    assert_eq!(again, connected, "recovered");
    assert_ne!(client.join_again("/tricast", json!({"recovery": true})).await["pid"], connected["pid"]);
    bus_has(&redis, &connected["pid"], None).await;
    link.flow();
    has_sent(&former, &redis).await;
    bus_has(&redis, &connected["pid"], None).await;
    for node in [&nodes[0], &nodes[1], &former] {
        assert_ne!(rejoin(node, &connected).await.1["pid"], connected["pid"]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_its_former_node_does_not_end_its_session_at_the_present_one() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a"), node(&redis, "b")];
    leader(&nodes).await;
    for node in &nodes {
        is_ready(node).await;
    }
    let mut former = Client::websocket(&nodes[0]).await;
    let connected = join(&mut former, &redis, &["deploys"]).await;
    // Its connection to the first node is still open.
    let (mut client, again) = rejoin(&nodes[1], &connected).await;
    assert_eq!(again, connected, "recovered");
    client.ask("/tricast", json!(["subscribe", {"channels": ["news"]}])).await;
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    former.join_again("/tricast", json!({"recovery": true})).await;
    has_sent(&nodes[0], &redis).await;
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    drop(client);
    assert_eq!(rejoin(&nodes[0], &connected).await.1, connected, "recovered");
}

#[tokio::test]
async fn a_client_returns_to_its_node_before_the_bus_has_its_session() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a")];
    leader(&nodes).await;
    let [node] = nodes;
    let mut client = Client::websocket(&node).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    let key = key_of(&connected["pid"]);
    let older: Vec<String> = redis.cli(&["hmget", &key, "change", "content"]).lines().map(str::to_owned).collect();
    client.ask("/tricast", json!(["subscribe", {"channels": ["news"]}])).await;
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    // As if the newest copy were still on its way, and then as if the bus had none yet. Each client may reach any worker.
    redis.cli(&["hset", &key, "change", &older[0], "content", &older[1]]);
    for n in 0..6 {
        let (mut next, again) = rejoin(&node, &connected).await;
        assert_eq!(again, connected, "recovered");
        bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
        node.push_event("news", n).await;
        while next.event("/tricast", "event").await[1]["data"]["n"] != n {}
        redis.cli(&["del", &key]);
    }
}

#[tokio::test]
async fn a_session_outlives_a_node_that_claims_it_and_fails() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a"), node(&redis, "b")];
    leader(&nodes).await;
    let proxy = Proxy::to(redis.socket()).await;
    let fails = node_with(&proxy.url(), "c", |_| {});
    for node in nodes.iter().chain([&fails]) {
        is_ready(node).await;
    }
    let mut client = Client::websocket(&nodes[0]).await;
    // The copy of the session is larger than all else that the nodes send to Redis.
    let names: Vec<String> = (10..90).map(|n| format!("deploys.{}.{n}", "x".repeat(60))).collect();
    let channels: Vec<&str> = names.iter().map(String::as_str).collect();
    let connected = join(&mut client, &redis, &channels).await;
    drop(client);
    proxy.drop_requests_above(4_000);
    let mut client = Client::websocket(&fails).await;
    client.send(&format!("40/tricast,{}", json!({"recovery": true, "pid": connected["pid"]}))).await;
    until("the claim", || async {
        (redis.cli(&["hget", &key_of(&connected["pid"]), "generation"]) == "2").then_some(())
    })
    .await;
    drop(client);
    assert_eq!(rejoin(&nodes[1], &connected).await.1, connected, "recovered");
}

#[tokio::test]
async fn a_copy_that_could_not_be_stored_is_stored_once_redis_is_back() {
    let mut redis = Redis::start();
    let node = node_with(&redis.url(), "a", |config| {
        config.heartbeat.interval.0 = Duration::from_millis(200);
        config.heartbeat.timeout.0 = Duration::from_secs(30);
    });
    is_ready(&node).await;
    let mut client = Client::websocket(&node).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    redis.kill();
    assert_eq!(client.ask("/tricast", json!(["subscribe", {"channels": ["news"]}])).await["status"], "ok");
    until("the loss of the bus", || async { (node.get("/readyz").await.status() != 200).then_some(()) }).await;
    redis.start_again();
    let replies_to_pings = async { while client.next().await.is_some() {} };
    tokio::select! {
        () = replies_to_pings => panic!("the session has ended"),
        () = bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])) => {}
    }
}

#[tokio::test]
async fn a_client_is_recovered_at_its_node_while_redis_is_away() {
    let mut redis = Redis::start();
    let node = node(&redis, "a");
    is_ready(&node).await;
    let mut client = Client::websocket(&node).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    redis.kill();
    // Each client may reach any worker.
    for _ in 0..4 {
        assert_eq!(rejoin(&node, &connected).await.1, connected, "recovered");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_session_is_claimed_has_left() {
    let redis = Redis::start();
    let (_nodes, link, node) = three(&redis).await;
    let mut client = Client::websocket(&node).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    drop(client);
    let mut client = Client::websocket(&node).await;
    link.stall();
    client.send(&format!("40/tricast,{}", json!({"recovery": true, "pid": connected["pid"]}))).await;
    client.send("41/tricast,").await;
    // The next CONNECT does not wait for the first one.
    assert_eq!(client.join("/tricast", json!({"recovery": false})).await.get("pid"), None);
    link.flow();
    bus_has(&redis, &connected["pid"], None).await;
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

/// The rule for an update of the cluster: what a node cannot read is not recovered, and stays for the nodes that can.
#[tokio::test]
async fn a_copy_of_another_version_is_not_recovered() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a"), node(&redis, "b")];
    leader(&nodes).await;
    for node in &nodes {
        is_ready(node).await;
    }
    let mut client = Client::websocket(&nodes[0]).await;
    let connected = join(&mut client, &redis, &["deploys"]).await;
    let key = key_of(&connected["pid"]);
    let content = redis.cli(&["hget", &key, "content"]);
    redis.cli(&["hset", &key, "content", r#"{"namespace":"/tricast","channels":["deploys"]}"#]);
    let (mut other, fresh) = rejoin(&nodes[1], &connected).await;
    assert!(fresh["pid"].is_string() && fresh["pid"] != connected["pid"], "{fresh}");
    assert_eq!(other.ask("/tricast", json!(["ping"])).await["status"], "ok");
    redis.cli(&["hset", &key, "content", &content]);
    assert_eq!(rejoin(&nodes[1], &connected).await.1, connected, "recovered");
}
