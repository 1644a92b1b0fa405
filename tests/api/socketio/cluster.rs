//! Several nodes: Redis that is away, and a node that drains.

use serde_json::{Value, json};

use super::Client;
use crate::{
    bus::{leader, node_with, reads_up_to},
    helpers::{TestApp, until},
    redis::Redis,
    stall::StallableLink,
};

pub(super) fn node(redis: &Redis, name: &str) -> TestApp {
    node_with(&redis.url(), name, |_| {})
}

pub(super) async fn is_ready(node: &TestApp) {
    until("a node to be ready", || async { (node.get("/readyz").await.status() == 200).then_some(()) }).await;
}

/// Returns the key of the session `pid` on the bus.
pub(super) fn key_of(pid: &Value) -> String {
    format!("{{tricast}}:session:{}", tricast_auth::ticket_name(pid.as_str().unwrap()))
}

/// Waits until the session `pid` on the bus has these subscriptions, sorted; `None` waits until it is gone. A node replies
/// to a client without waiting for Redis, and the clients of these tests reconnect without a pause, unlike client libraries.
pub(super) async fn bus_has(redis: &Redis, pid: &Value, subscriptions: Option<&[&str]>) {
    until("the session on the bus", || async {
        let copy: Option<Value> = serde_json::from_str(&redis.cli(&["hget", &key_of(pid), "content"])).ok();
        let mut found: Option<Vec<&str>> = copy.as_ref().map(|copy| {
            let subscriptions = copy["subscriptions"].as_array().unwrap().iter();
            subscriptions.map(|subscription| subscription["selector"].as_str().unwrap()).collect()
        });
        found.iter_mut().for_each(|names| names.sort_unstable());
        (found.as_deref() == subscriptions).then_some(())
    })
    .await;
}

/// The next notice of the bus, in the form of the namespace.
async fn notice(client: &mut Client, namespace: &str, event: &str) -> Value {
    let name = if namespace == "/" { "system" } else { "event" };
    loop {
        let notice = client.event(namespace, name).await[1].clone();
        if notice["event"] == event {
            return notice;
        }
    }
}

#[tokio::test]
async fn clients_are_notified_that_redis_is_away_and_that_it_is_back() {
    let mut redis = Redis::start();
    let node = node(&redis, "a");
    is_ready(&node).await;
    let mut clients = Client::of_both(&node).await;
    for client in &mut clients {
        client.join("/", json!({})).await;
        client.join("/tricast", json!({})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["system", "deploys"]}])).await;
    }
    redis.kill();
    for client in &mut clients {
        for namespace in ["/", "/tricast"] {
            let notice = notice(client, namespace, "degraded").await;
            assert_eq!((&notice["channel"], &notice["data"]["reason"]), (&json!("system"), &json!("bus")), "{notice}");
        }
    }
    // Values that are known are served meanwhile, also to a client that connects now.
    let mut late = Client::polling(&node).await;
    late.join("/", json!({})).await;
    assert!(late.event("/", "dashboard:data").await[1]["snapshot"].is_object());
    redis.start_again();
    for client in &mut clients {
        for namespace in ["/", "/tricast"] {
            assert_eq!(notice(client, namespace, "recovered").await["data"]["reason"], "bus");
        }
    }
    is_ready(&node).await;
    node.push_event("deploys", 1).await;
    for client in &mut clients {
        assert_eq!(client.event("/tricast", "event").await[1]["data"]["n"], 1);
    }
}

#[tokio::test]
async fn clients_of_a_node_that_drains_are_recovered_by_another_one() {
    let redis = Redis::start();
    let (mut leaves, stays) = (node(&redis, "a"), node(&redis, "b"));
    is_ready(&leaves).await;
    is_ready(&stays).await;
    let mut clients = Vec::new();
    for (n, mut client) in Client::of_both(&leaves).await.into_iter().enumerate() {
        let connected = client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
        bus_has(&redis, &connected["pid"], Some(&["deploys"])).await;
        // One of the two has received an event, the other one none.
        let mut auth = json!({"recovery": true, "pid": connected["pid"]});
        if n == 0 {
            leaves.push_event("deploys", 0).await;
            auth["offset"] = client.event("/tricast", "event").await[2].clone();
        }
        clients.push((client, connected, auth));
    }
    leaves.begin_stop();
    for (client, ..) in &mut clients {
        let notice = client.event("/tricast", "going_away").await;
        assert_eq!(notice[1]["reason"], "SERVER_MAINTENANCE");
        assert_eq!(client.next().await, None);
    }
    let cursor = until("a push", || async {
        let line = json!({"channel": "deploys", "event": "happened", "data": {"n": 1}});
        let response = stays.post("/api/metrics", line.to_string()).await;
        let body: Value = response.json().await.unwrap();
        body["cursor"].as_str().map(str::to_owned)
    })
    .await;
    reads_up_to(&stays, &cursor).await;
    for (_, connected, auth) in &clients {
        let mut client = Client::polling(&stays).await;
        assert_eq!(&client.join("/tricast", auth.clone()).await, connected, "recovered");
        assert_eq!(client.event("/tricast", "event").await[1]["data"]["n"], 1);
    }
    leaves.stopped().await;
}

#[tokio::test]
async fn a_client_that_is_ahead_of_its_node_is_recovered_once_the_node_has_caught_up() {
    let redis = Redis::start();
    let nodes = [node(&redis, "first")];
    leader(&nodes).await;
    let [first] = nodes;
    let link = StallableLink::to(&redis);
    let second = node_with(&link.url(), "second", |_| {});
    is_ready(&second).await;
    let mut client = Client::websocket(&second).await;
    let connected = client.join("/tricast", json!({"recovery": true})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
    // As of a client that was carried by the first node meanwhile, and received this event there.
    link.stall();
    let offset = first.push_event("deploys", 1).await;
    let mut client = Client::websocket(&second).await;
    let auth = json!({"recovery": true, "pid": connected["pid"], "offset": offset});
    client.send(&format!("40/tricast,{auth}")).await;
    // The server has read the packet when it refuses the next one.
    client.send("40/nowhere").await;
    assert!(client.next().await.unwrap().starts_with("44/nowhere,"));
    link.flow();
    let recovered: Value = serde_json::from_str(&client.next_of("40/tricast,").await).unwrap();
    assert_eq!(recovered, connected);
    first.push_event("deploys", 2).await;
    assert_eq!(client.event("/tricast", "event").await[1]["data"]["n"], 2);
}

#[tokio::test]
async fn a_client_that_returns_to_its_first_node_has_the_subscriptions_that_it_made_at_another_one() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a"), node(&redis, "b")];
    for node in &nodes {
        is_ready(node).await;
    }
    let mut client = Client::websocket(&nodes[0]).await;
    let connected = client.join("/tricast", json!({"recovery": true})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys", "noise"]}])).await;
    let auth = json!({"recovery": true, "pid": connected["pid"]});
    drop(client);
    bus_has(&redis, &connected["pid"], Some(&["deploys", "noise"])).await;
    let mut client = Client::polling(&nodes[1]).await;
    assert_eq!(client.join("/tricast", auth.clone()).await, connected, "recovered");
    assert_eq!(client.ask("/tricast", json!(["subscribe", {"channels": ["news"]}])).await["status"], "ok");
    assert_eq!(client.ask("/tricast", json!(["unsubscribe", {"channels": ["noise"]}])).await["status"], "ok");
    drop(client);
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    let mut client = Client::websocket(&nodes[0]).await;
    assert_eq!(client.join("/tricast", auth.clone()).await, connected, "recovered");
    bus_has(&redis, &connected["pid"], Some(&["deploys", "news"])).await;
    for channel in ["noise", "news"] {
        let cursor = nodes[0].push_event(channel, 1).await;
        reads_up_to(&nodes[0], &cursor).await;
    }
    assert_eq!(client.event("/tricast", "event").await[1]["channel"], "news");
    // A client that leaves by itself is forgotten everywhere.
    assert_ne!(client.join_again("/tricast", json!({"recovery": true})).await["pid"], connected["pid"]);
    bus_has(&redis, &connected["pid"], None).await;
    for node in &nodes {
        let mut client = Client::polling(node).await;
        assert_ne!(client.join("/tricast", auth.clone()).await["pid"], connected["pid"]);
    }
}
