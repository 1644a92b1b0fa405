//! Several nodes on one real Redis: they respond alike, and lose nothing when one of them fails.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tricast::config::{AuthMode, Config};

use crate::{
    helpers::{ApiClient, EventStream, SECRET, TestApp, soon, spawn_app_with, token, until},
    program::Program,
    redis::Redis,
};

mod durability;
mod ends;
mod fields;
mod health;
mod inbox;
mod kinds;

/// Starts a node whose leader is replaced quickly, so that tests need not wait longer than necessary.
pub(crate) fn node_with(url: &str, name: &str, change: impl FnOnce(&mut Config)) -> TestApp {
    spawn_app_with(|config| {
        config.bus = url.into();
        config.node_id = Some(name.into());
        config.cluster.lease.0 = Duration::from_secs(2);
        change(config);
    })
}

fn node(redis: &Redis, name: &str) -> TestApp {
    node_with(&redis.url(), name, |_| {})
}

fn three(redis: &Redis) -> [TestApp; 3] {
    ["a", "b", "c"].map(|name| node(redis, name))
}

/// Waits until one of `nodes` leads and returns its index.
pub(crate) async fn leader(nodes: &[TestApp]) -> usize {
    until("a leader", || async {
        for (at, node) in nodes.iter().enumerate() {
            if node.counter("tricast_bus_leads").await == 1.0 {
                return Some(at);
            }
        }
        None
    })
    .await
}

/// Waits until a node has read up to `cursor`.
pub(crate) async fn reads_up_to(node: &ApiClient, cursor: &str) {
    let (epoch, offset) = cursor.split_once(':').unwrap();
    let offset: u64 = offset.parse().unwrap();
    until("a node to catch up", || async {
        let now = node.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        let (of, at) = now.split_once(':').unwrap();
        (of == epoch && at.parse::<u64>().unwrap() >= offset).then_some(())
    })
    .await;
}

/// Returns the numbers of all events of `channel` on a node, polling until no more are returned.
async fn numbers(node: &ApiClient, channel: &str) -> Vec<u64> {
    let epoch = node.get_json("/api/channels").await["cursor"].as_str().unwrap().split(':').next().unwrap().to_owned();
    let mut since = format!("{epoch}:0");
    let mut found = Vec::new();
    loop {
        let page = node.get_json(&format!("/api/metrics?channels={channel}&since={since}")).await;
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return found;
        }
        found.extend(events.iter().map(|event| event["data"]["n"].as_u64().unwrap()));
        since = page["cursor"].as_str().unwrap().to_owned();
    }
}

#[tokio::test]
async fn every_node_responds_alike_and_shares_tags() {
    let redis = Redis::start();
    let nodes = three(&redis);
    let cursor = nodes[1].push_value("metrics.checkout", json!({"latency": 12.5, "carts": 3})).await;
    let mut answers = BTreeSet::new();
    for node in &nodes {
        reads_up_to(node, &cursor).await;
        // The date is set when its second is over.
        let answer = until("a date", || async {
            let answer = node.get("/api/metrics/metrics.checkout").await;
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
            Some((header("etag")?, header("last-modified")?, answer.text().await.unwrap()))
        });
        answers.insert(answer.await);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (tag, _, body) = answers.pop_first().unwrap();
    assert!(body.contains("12.5") && body.contains(cursor.split(':').next().unwrap()));
    for node in &nodes {
        let poll = node.request(Method::GET, "/api/metrics/metrics.checkout").header("if-none-match", &tag);
        assert_eq!(poll.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    // The whole snapshot too, whenever two nodes are queried at the same version.
    until("two nodes at one version", || async {
        let (one, other) = tokio::join!(nodes[0].get("/api/metrics"), nodes[2].get("/api/metrics"));
        let tags = [&one, &other].map(|answer| answer.headers()["etag"].clone());
        let bodies = [one.text().await.unwrap(), other.text().await.unwrap()];
        assert_eq!(tags[0] == tags[1], bodies[0] == bodies[1]);
        (tags[0] == tags[1]).then_some(())
    })
    .await;
}

/// Reads events until there are `many`, or none arrives for a moment.
async fn read_some(stream: &mut EventStream, many: usize, seen: &mut Vec<u64>, cursor: &mut String) {
    for _ in 0..many {
        let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), stream.next()).await else { return };
        assert_ne!(event.name, "gap");
        if event.name == "happened" {
            seen.push(event.data()["data"]["n"].as_u64().unwrap());
            *cursor = event.id;
        }
    }
}

#[tokio::test]
async fn a_client_that_moves_between_nodes_and_transports_misses_nothing() {
    let redis = Redis::start();
    let nodes = Arc::new(three(&redis));
    let mut cursor = nodes[0].push_value("metrics.x", json!({"n": 0})).await;
    let pushed = tokio::spawn({
        let nodes = Arc::clone(&nodes);
        async move {
            for n in 0..300 {
                nodes[n as usize % 3].push_event("deploys", n).await;
            }
        }
    });
    let mut seen = Vec::new();
    let mut hop = 0;
    soon("all events", async {
        while seen.len() < 300 {
            let node = &nodes[hop % 3];
            match hop / 3 % 3 {
                0 => {
                    let mut stream = node.events_from("?channels=deploys", Some(&cursor)).await;
                    assert_eq!(stream.next_of("connected").await.data()["resume"], "replayed");
                    read_some(&mut stream, 9, &mut seen, &mut cursor).await;
                }
                1 => {
                    let mut socket = node.websocket().await;
                    let asked = json!({"type": "subscribe", "channels": ["deploys"], "since": cursor});
                    assert_eq!(socket.ask(asked, "subscribed").await["resume"], "replayed");
                    for _ in 0..7 {
                        let next = tokio::time::timeout(Duration::from_millis(300), socket.next_of("event")).await;
                        let Ok(event) = next else { break };
                        seen.push(event["data"]["n"].as_u64().unwrap());
                        cursor = event["cursor"].as_str().unwrap().to_owned();
                    }
                }
                _ => {
                    let page = node.get_json(&format!("/api/metrics?channels=deploys&since={cursor}")).await;
                    assert!(page["gap"].is_null(), "{page}");
                    let events = page["events"].as_array().unwrap();
                    seen.extend(events.iter().map(|event| event["data"]["n"].as_u64().unwrap()));
                    cursor = page["cursor"].as_str().unwrap().to_owned();
                }
            }
            hop += 1;
        }
    })
    .await;
    pushed.await.unwrap();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    assert!(hop > 9, "it moved between nodes: {hop}");
}

#[tokio::test]
async fn measurements_of_nodes_are_merged_and_a_user_counts_once() {
    let redis = Redis::start();
    let mut nodes = three(&redis).map(Some);
    let all = nodes.iter().flatten().map(|node| ApiClient::clone(node)).collect::<Vec<_>>();
    let _open = [all[0].websocket().await, all[1].websocket().await, all[2].websocket().await];
    let nodes_listed = |expected: &'static [&'static str]| {
        let node = all[1].clone();
        async move {
            until("the nodes", || async {
                let data = node.get_json("/api/metrics/metrics.infrastructure").await["data"].clone();
                let listed: Vec<_> = data["nodes"].as_array()?.iter().map(|node| node["node"].clone()).collect();
                (listed == *expected && data["cpu_usage"].is_number()).then_some(())
            })
            .await;
        }
    };
    nodes_listed(&["a", "b", "c"]).await;
    until("one user", || async {
        let data = all[2].get_json("/api/metrics/metrics.users_online").await["data"].clone();
        (data["currentUsers"] == 1 && data["peakToday"] == 1).then_some(())
    })
    .await;
    // A stopped node is not listed any more, and its users are not counted.
    let mut gone = nodes[0].take().unwrap();
    gone.begin_stop();
    gone.stopped().await;
    nodes_listed(&["b", "c"]).await;
}

async fn total(node: &ApiClient) -> Value {
    node.get_json("/api/metrics/metrics.shop").await["data"]["sold"]["today"]["total"].clone()
}

#[tokio::test]
async fn samples_of_all_nodes_are_one_series_which_survives_the_leader() {
    let redis = Redis::start();
    let mut nodes = three(&redis).into_iter().collect::<Vec<_>>();
    let sample = json!({"metric": "shop.sold", "type": "counter", "value": 2});
    for node in &nodes {
        let cursor = node.push(sample.clone()).await;
        reads_up_to(&nodes[2], &cursor).await;
    }
    assert_eq!(total(&nodes[2]).await, 6);
    let mut first = nodes.remove(leader(&nodes).await);
    first.begin_stop();
    first.stopped().await;
    leader(&nodes).await;
    let cursor = nodes[0].push(sample).await;
    reads_up_to(&nodes[1], &cursor).await;
    assert_eq!(total(&nodes[1]).await, 8);
}

/// Pushes numbered events to `nodes` in turn until `stop` is set, and returns the accepted ones. An unknown outcome fails
/// the test, because no node here is unavailable for that long.
async fn push_until(stop: Arc<AtomicBool>, pushed: Arc<AtomicU64>, nodes: Vec<ApiClient>) -> Vec<u64> {
    let mut accepted = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let node = &nodes[n as usize % nodes.len()];
        let line = json!({"channel": "checked", "event": "happened", "data": {"n": n}});
        let answer = node.post("/api/metrics", line.to_string()).await;
        match answer.status().as_u16() {
            202 => accepted.push(n),
            503 => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
        pushed.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

#[tokio::test]
async fn a_redis_killed_under_load_loses_and_duplicates_nothing() {
    let mut redis = Redis::start();
    let nodes: Vec<_> = ["a", "b"]
        .map(|name| node_with(&redis.url(), name, |config| config.cluster.push_timeout.0 = Duration::from_millis(500)))
        .into();
    let mut socket = nodes[1].websocket().await;
    socket.subscribe(&["system"]).await;
    let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default());
    let visitors = nodes.iter().map(|node| ApiClient::clone(node)).collect();
    let pushing = tokio::spawn(push_until(Arc::clone(&stop), Arc::clone(&pushed), visitors));
    nodes[0].push_value("metrics.kept", json!({"n": 1})).await;
    until("some pushes", || async { (pushed.load(Ordering::Relaxed) > 50).then_some(()) }).await;
    redis.kill();
    let notice = socket.next_of("event").await;
    assert_eq!((&notice["event"], &notice["data"]["reason"]), (&json!("degraded"), &json!("bus")));
    // Every node continues to serve, and notifies its clients that there may be newer values.
    let stale = until("a warning", || async {
        let answer = nodes[0].get("/api/metrics/metrics.kept").await;
        assert_eq!(answer.status(), 200);
        answer.headers().get("warning").map(|warning| warning.to_str().unwrap().to_owned())
    });
    assert!(stale.await.starts_with("110 "));
    assert_eq!(nodes[0].get("/readyz").await.status(), 503);
    redis.start_again();
    let notice = socket.next_of("event").await;
    assert_eq!((&notice["event"], &notice["data"]["reason"]), (&json!("recovered"), &json!("bus")));
    let before = pushed.load(Ordering::Relaxed);
    until("more pushes", || async { (pushed.load(Ordering::Relaxed) > before + 50).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    let accepted = pushing.await.unwrap();
    let cursor = nodes[0].push_value("metrics.x", json!({"n": 1})).await;
    for node in &nodes {
        reads_up_to(node, &cursor).await;
        assert_eq!(numbers(node, "checked").await, accepted);
        until("a node to be ready", || async { (node.get("/readyz").await.status() == 200).then_some(()) }).await;
        assert!(!node.get("/api/metrics").await.headers().contains_key("warning"));
    }
}

#[tokio::test]
async fn a_flushed_redis_gets_a_new_epoch_and_readers_a_gap_and_fresh_state() {
    let redis = Redis::start();
    let nodes = three(&redis);
    nodes[0].push_value("metrics.kept", json!({"n": 7})).await;
    let before = nodes[0].push_event("deploys", 1).await;
    reads_up_to(&nodes[1], &before).await;
    let mut stream = nodes[1].events("?channels=deploys,metrics.kept").await;
    stream.next_of("metric").await;
    let mut socket = nodes[2].websocket().await;
    socket.subscribe(&["deploys", "metrics.kept"]).await;
    socket.next_of("metric").await;
    redis.cli(&["flushall"]);
    let gap = stream.next_of("gap").await;
    assert_eq!(gap.data()["channels"], json!(["deploys"]));
    assert_eq!(stream.next_of("metric").await.data()["data"], json!({"n": 7}));
    let gap = socket.next_of("gap").await;
    assert_eq!(socket.next_of("metric").await["data"], json!({"n": 7}));
    assert_ne!(gap["cursor"].as_str().unwrap().split(':').next(), before.split(':').next(), "another epoch");
    // Later events reach all clients, and an earlier cursor gets a gap.
    let after = nodes[0].push_event("deploys", 2).await;
    assert_eq!(stream.next_of("happened").await.data()["data"], json!({"n": 2}));
    assert_eq!(socket.next_of("event").await["data"], json!({"n": 2}));
    reads_up_to(&nodes[2], &after).await;
    let mut again = nodes[2].events_from("?channels=deploys", Some(&before)).await;
    let connected = again.next_of("connected").await.data();
    assert_eq!((&connected["resume"], &connected["reason"]), (&json!("reset"), &json!("epoch_changed")));
}

#[tokio::test]
async fn a_redis_that_lost_applied_entries_gets_a_new_epoch() {
    let mut redis = Redis::start();
    let nodes = three(&redis);
    let cursor = nodes[0].push_value("metrics.x", json!({"n": 1})).await;
    let written = redis.written();
    for n in 2..20 {
        let cursor = nodes[1].push_value("metrics.x", json!({"n": n})).await;
        reads_up_to(&nodes[0], &cursor).await;
        reads_up_to(&nodes[2], &cursor).await;
    }
    redis.kill();
    redis.start_again_with(written);
    let old = cursor.split(':').next().unwrap().to_owned();
    for node in &nodes {
        until("another epoch", || async {
            let now = node.get_json("/api/metrics/metrics.x").await;
            assert!(now["data"]["n"].as_u64().unwrap() >= 19, "an older value came back: {now}");
            (!now["cursor"].as_str().unwrap().starts_with(&old)).then_some(())
        })
        .await;
    }
    let cursor = nodes[2].push_value("metrics.x", json!({"n": 20})).await;
    reads_up_to(&nodes[0], &cursor).await;
    assert_eq!(nodes[0].get_json("/api/metrics/metrics.x").await["data"]["n"], 20);
}

/// Starts a node as a process of its own.
fn program(redis: &Redis, directory: &Path, name: &str) -> Program {
    let url = redis.url();
    Program::start_with(
        directory,
        &[("TRICAST_BUS", &url), ("TRICAST_NODE_ID", name), ("TRICAST_CLUSTER__LEASE", "2s")],
    )
}

/// Waits until a single node leads.
async fn first_leads(first: &Program) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let page = format!("{}/metrics", first.url);
    until("the first leader", || async {
        let text = reqwest::get(&page).await.ok()?.text().await.ok()?;
        text.contains("\ntricast_bus_leads 1\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_nothing_is_lost_or_duplicated() {
    let redis = Redis::start();
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut first = program(&redis, directories[0].path(), "first");
    first_leads(&first).await;
    let second = node(&redis, "second");
    let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default());
    let pushing = tokio::spawn(push_until(Arc::clone(&stop), Arc::clone(&pushed), vec![ApiClient::clone(&second)]));
    until("some pushes", || async { (pushed.load(Ordering::Relaxed) > 100).then_some(()) }).await;
    first.kill();
    until("the next leader", || async { (second.counter("tricast_bus_leads").await == 1.0).then_some(()) }).await;
    let before = pushed.load(Ordering::Relaxed);
    until("more pushes", || async { (pushed.load(Ordering::Relaxed) > before + 50).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    let accepted = pushing.await.unwrap();
    assert_eq!(accepted.len() as u64, pushed.load(Ordering::Relaxed), "no push was refused");
    assert_eq!(numbers(&second, "checked").await, accepted);
    // A node that comes back has all events.
    let third = program(&redis, directories[1].path(), "third");
    assert_eq!(numbers(&second.at(third.address()), "checked").await, accepted);
}

/// Writes an entry with another predecessor than nodes have read, as a leader does after entries were lost.
fn rewrite(redis: &Redis, epoch: &str, before: &str) {
    let key = |what: &str| format!("{{tricast}}:{epoch}:{what}");
    let seq: u64 = redis.cli(&["hget", &key("state"), "seq"]).parse().unwrap();
    let next = (seq + 1).to_string();
    let entry = json!({"word": "other", "before": before, "at": "2026-01-01T00:00:00Z", "tenants": [], "replies": []});
    redis.cli(&["xadd", &key("log"), &format!("{next}-0"), "e", &entry.to_string()]);
    redis.cli(&["hset", &key("state"), "seq", &next, "word", "other"]);
}

#[tokio::test]
async fn a_log_that_was_rewritten_before_the_read_entries_is_replaced() {
    let redis = Redis::start();
    let nodes = three(&redis);
    let cursor = nodes[0].push_value("metrics.x", json!({"n": 1})).await;
    for node in &nodes {
        reads_up_to(node, &cursor).await;
    }
    let old = cursor.split(':').next().unwrap().to_owned();
    // The leader may write between the two commands, and the second one then has no effect.
    let renewed = async |node: &ApiClient| {
        let now = node.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        !now.starts_with(&old)
    };
    rewrite(&redis, &old, "an entry that never existed");
    for node in &nodes {
        until("another epoch", || async { renewed(node).await.then_some(()) }).await;
        assert_eq!(node.get_json("/api/metrics/metrics.x").await["data"]["n"], 1, "known values are kept");
    }
    let cursor = nodes[2].push_value("metrics.x", json!({"n": 2})).await;
    reads_up_to(&nodes[1], &cursor).await;
    assert_eq!(nodes[1].get_json("/api/metrics/metrics.x").await["data"]["n"], 2);
    until("the old log to be removed", || async {
        redis.cli(&["exists", &format!("{{tricast}}:{old}:log")]).eq("0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_leader_counts_no_refused_sample_and_skips_unreadable_readings() {
    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let mut first = program(&redis, directory.path(), "first");
    first_leads(&first).await;
    let second = node(&redis, "second");
    let cursor = second.push_event("metrics.deploys", 1).await;
    let refused = json!({"metric": "deploys.count", "type": "counter", "value": 1});
    assert_eq!(second.post("/api/metrics", refused.to_string()).await.status(), 409);
    let sample = json!({"metric": "shop.sold", "type": "counter", "value": 2});
    for _ in 0..3 {
        second.push(sample.clone()).await;
    }
    // A reading of an unknown, newer version.
    let inbox = format!("{{tricast}}:{}:inbox", cursor.split(':').next().unwrap());
    redis.cli(&["xadd", &inbox, "*", "n", "newer/1", "s", "1", "p", "{\"batches\": []}"]);
    second.push(sample.clone()).await;
    first.kill();
    until("the next leader", || async { (second.counter("tricast_bus_leads").await == 1.0).then_some(()) }).await;
    second.push(sample).await;
    assert_eq!(total(&second).await, 10);
    let deploys = second.get_json("/api/metrics/metrics.deploys").await;
    assert_eq!(deploys["kind"], "event", "{deploys}");
    second.push_event("metrics.deploys", 2).await;
}

#[tokio::test]
async fn a_node_that_was_down_for_longer_than_the_log_reaches_back_catches_up() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a")];
    leader(&nodes).await;
    let directory = tempfile::tempdir().unwrap();
    let away = program(&redis, directory.path(), "away");
    let at_away = nodes[0].at(away.address());
    let cursor = nodes[0].push_event("checked", 0).await;
    reads_up_to(&at_away, &cursor).await;
    let mut stream = at_away.events("?channels=checked,metrics.x").await;
    stream.next_of("connected").await;
    away.signal("STOP");
    for n in 1..200 {
        nodes[0].push_event("checked", n).await;
    }
    nodes[0].push_value("metrics.x", json!({"n": 5})).await;
    let epoch = cursor.split(':').next().unwrap();
    redis.cli(&["xtrim", &format!("{{tricast}}:{epoch}:log"), "maxlen", "2"]);
    away.signal("CONT");
    let mut seen = Vec::new();
    soon("the events", async {
        while seen.len() < 199 {
            let event = stream.next().await.unwrap();
            assert_ne!(event.name, "gap", "the events are kept, though the entries are not");
            if event.name == "happened" {
                seen.push(event.data()["data"]["n"].as_u64().unwrap());
            }
        }
    })
    .await;
    assert_eq!(seen, (1..200).collect::<Vec<_>>());
    assert!(at_away.counter("tricast_bus_loads_total").await >= 2.0);
    let numbers = numbers(&at_away, "checked").await;
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_push_without_a_leader_is_refused_after_a_while_as_a_whole() {
    let mut redis = Redis::start();
    // Long enough for accepting a push on a busy machine, and short enough to wait for.
    let alone = node_with(&redis.url(), "a", |config| config.cluster.push_timeout.0 = Duration::from_secs(3));
    let mut socket = alone.websocket().await;
    socket.subscribe(&["system"]).await;
    alone.push_event("checked", 0).await;
    redis.kill();
    assert_eq!(socket.next_of("event").await["event"], "degraded");
    let refused = alone.post("/api/metrics", json!({"channel": "checked", "event": "x", "data": {"n": 1}}).to_string());
    let refused = refused.await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("nothing was accepted"), "{problem}");
    redis.start_again();
    alone.push_event("checked", 2).await;
    assert_eq!(numbers(&alone, "checked").await, [0, 2]);
}

#[tokio::test]
async fn a_ticket_is_valid_once_on_any_node() {
    let redis = Redis::start();
    let secured = |name| {
        node_with(&redis.url(), name, |config| {
            config.auth.mode = AuthMode::Jwt;
            config.auth.secret = SECRET.into();
        })
    };
    let (one, other) = (secured("a"), secured("b"));
    let ada = one.with(token("ada", "acme", &["read:metrics"]));
    let answer = ada.post("/api/tickets", "").await;
    let ticket = answer.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned();
    let mut stream = other.events(&format!("?ticket={ticket}")).await;
    stream.next_of("connected").await;
    for node in [&one, &other] {
        assert_eq!(node.get(&format!("/events?ticket={ticket}")).await.status(), 401);
    }
}

#[tokio::test]
async fn tenants_of_a_cluster_are_isolated() {
    let redis = Redis::start();
    let secured = |name| {
        node_with(&redis.url(), name, |config| {
            config.auth.mode = AuthMode::Jwt;
            config.auth.secret = SECRET.into();
        })
    };
    let nodes = [secured("a"), secured("b")];
    let permissions = &["read:metrics", "write:metrics"];
    let acme = nodes.each_ref().map(|node| node.with(token("ada", "acme", permissions)));
    let globex = nodes.each_ref().map(|node| node.with(token("bob", "globex", permissions)));
    let cursor = acme[0].push_value("metrics.secret", json!({"n": 1})).await;
    reads_up_to(&acme[1], &cursor).await;
    assert_eq!(acme[1].get_json("/api/metrics/metrics.secret").await["data"]["n"], 1);
    for visitor in &globex {
        assert_eq!(visitor.get("/api/metrics/metrics.secret").await.status(), 404);
        assert!(!visitor.get("/api/channels").await.text().await.unwrap().contains("secret"));
    }
}
