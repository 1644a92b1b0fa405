//! A client that connects to a node which is behind, or to another log, never gets older data than it has.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tricast::config::AuthMode;

use crate::{
    bus::{leader, node_with, reads_up_to},
    helpers::{ApiClient, EventStream, SECRET, TestApp, soon, spawn_app_with, token, until},
    redis::Redis,
    stall::StallableLink,
};

/// Starts a node that leads, and one whose link to Redis can be stalled.
async fn two(redis: &Redis) -> (TestApp, TestApp, StallableLink) {
    let first = node_with(&redis.url(), "first", |_| {});
    let nodes = [first];
    leader(&nodes).await;
    let [first] = nodes;
    let way = StallableLink::to(redis);
    let second = node_with(&way.url(), "second", |_| {});
    let cursor = first.push_value("metrics.first", json!({"n": 1})).await;
    reads_up_to(&second, &cursor).await;
    (first, second, way)
}

async fn refused_poll(node: &ApiClient, path: String) {
    let answer = node.get(&path).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("cursor"), "{problem}");
    assert_eq!(problem["code"], "BEHIND");
}

async fn refused_socket(node: &ApiClient, channels: Value, cursor: &str) {
    let mut socket = node.websocket().await;
    socket.send(json!({"type": "subscribe", "requestId": "1", "channels": channels, "since": cursor})).await;
    // The message waits for the outcome.
    socket.send(json!({"type": "subscribe", "channels": channels})).await;
    let (code, before) = socket.closed().await;
    let types: Vec<_> =
        before.iter().map(|message| message["type"].as_str().unwrap()).filter(|t| *t != "ping").collect();
    assert_eq!((code, types), (4421, vec!["disconnecting"]), "{before:?}");
    let notice = before.iter().find(|message| message["type"] == "disconnecting").unwrap();
    assert!(notice["reason"] == "BEHIND" && notice["reconnectAfter"].as_f64().unwrap() <= 2.0, "{notice}");
}

async fn refused_stream(node: &ApiClient, channels: &str, cursor: &str) {
    let mut stream = node.events_from(&format!("?channels={channels}"), Some(cursor)).await;
    let event = stream.next().await.unwrap();
    let problem = event.data();
    assert_eq!((event.name.as_str(), &problem["status"], &problem["code"]), ("error", &json!(503), &json!("BEHIND")));
    assert_eq!(problem["retryAfter"], 1);
    // As quickly as a WebSocket: another node may serve it.
    assert!(stream.retry.is_some_and(|retry| retry <= 1_000), "{:?}", stream.retry);
    assert_eq!(stream.next().await, None);
    let strict = node.get(&format!("/events?channels={channels}&since={cursor}&strict=1")).await;
    assert_eq!(strict.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(strict.headers()["retry-after"], "1");
    assert_eq!(strict.json::<Value>().await.unwrap()["code"], "BEHIND");
}

async fn refused_session(node: &ApiClient, channel: &str, cursor: &str) {
    let mut stream = node.events("?channels=system").await;
    let session = stream.next_of("connected").await.data()["session"].as_str().unwrap().to_owned();
    let message = json!({"type": "subscribe", "channels": [channel], "since": cursor}).to_string();
    let answer = node.post(&format!("/api/sessions/{session}"), message).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "BEHIND");
}

/// Connects with a cursor to a node that is behind it, in every possible way.
async fn refused_everywhere(node: &ApiClient, cursor: &str) {
    let channels = "metrics.x,deploys";
    tokio::join!(
        refused_poll(node, format!("/api/metrics?channels={channels}&since={cursor}")),
        refused_poll(node, format!("/api/metrics?channels={channels}&since={cursor}&wait=20")),
        refused_poll(node, format!("/api/metrics?since={cursor}")),
        refused_poll(node, format!("/api/metrics/metrics.x?since={cursor}")),
        refused_poll(node, format!("/api/metrics/deploys?since={cursor}&wait=20")),
        refused_socket(node, json!(["metrics.x", "deploys"]), cursor),
        refused_socket(node, json!([{"name": "metrics.x", "backfill": "1h"}]), cursor),
        refused_stream(node, channels, cursor),
        refused_session(node, "metrics.x", cursor),
    );
}

#[tokio::test]
async fn a_node_that_is_behind_sends_nothing_older_than_the_cursor() {
    let redis = Redis::start();
    let (first, second, way) = two(&redis).await;
    let old = first.push_value("metrics.x", json!({"n": 1})).await;
    reads_up_to(&second, &old).await;
    way.stall();
    first.push_value("metrics.x", json!({"n": 2})).await;
    let new = first.push_event("deploys", 1).await;
    refused_everywhere(&second, &new).await;
    // A client that is not ahead is served, and notified that there may be newer values.
    let stale = until("a warning", || async {
        let answer = second.get(&format!("/api/metrics?channels=metrics.x,deploys&since={old}")).await;
        let warned = answer.headers().contains_key("warning");
        warned.then_some(answer)
    })
    .await;
    assert_eq!(stale.status(), StatusCode::OK);
    let without = second.get("/api/metrics/metrics.x").await;
    assert!(without.headers()["warning"].to_str().unwrap().starts_with("110 "));
    assert_eq!(without.json::<Value>().await.unwrap()["data"], json!({"n": 1}));
    refused_everywhere(&second, &new).await;
    way.flow();
    // Once it has caught up, it continues from each cursor, and nothing is missing.
    let path = format!("/api/metrics?channels=metrics.x,deploys&since={new}");
    let answer = until("the node to catch up", || async {
        let answer = second.get(&path).await;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["channels"], &answer["events"], answer.get("gap")), (&json!({}), &json!([]), None));
    let mut stream = second.events_from("?channels=metrics.x,deploys", Some(&old)).await;
    assert_eq!(stream.next_of("connected").await.data()["resume"], "replayed");
    assert_eq!(stream.next_of("happened").await.data()["data"], json!({"n": 1}));
    assert_eq!(stream.next_of("metric").await.data()["data"], json!({"n": 2}));
}

#[tokio::test]
async fn a_client_that_moves_to_a_lagging_node_never_goes_back() {
    let redis = Redis::start();
    let (first, second, way) = two(&redis).await;
    for n in 1..=8 {
        let cursor = first.push_value("metrics.x", json!({"n": n})).await;
        reads_up_to(&second, &cursor).await;
        way.stall();
        let cursor = first.push_value("metrics.x", json!({"n": n + 1})).await;
        // The client connects while the node is behind, which may catch up in time or not.
        let coming = async {
            match n % 3 {
                0 => {
                    let path = format!("/api/metrics/metrics.x?since={cursor}");
                    let answer = second.get(&path).await;
                    let status = answer.status();
                    (status == StatusCode::OK).then_some(answer.json::<Value>().await.unwrap()["data"].clone())
                }
                1 => {
                    let mut socket = second.websocket().await;
                    socket.send(json!({"type": "subscribe", "channels": ["metrics.x"], "since": cursor})).await;
                    let message = socket.next_of_any(&["metric", "disconnecting"]).await;
                    (message["type"] == "metric").then_some(message["data"].clone())
                }
                _ => {
                    let mut stream = second.events(&format!("?channels=metrics.x&since={cursor}")).await;
                    let mut found = None;
                    while let Some(event) = stream.next().await {
                        if event.name == "metric" {
                            found = Some(event.data()["data"].clone());
                            break;
                        }
                    }
                    found
                }
            }
        };
        let (data, ()) = tokio::join!(coming, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            way.flow();
        });
        assert!(data.is_none() || data == Some(json!({"n": n + 1})), "{n}: {data:?}");
    }
}

#[tokio::test]
async fn a_node_without_the_new_log_repeats_nothing_to_a_client_with_its_cursor() {
    let redis = Redis::start();
    let (first, second, way) = two(&redis).await;
    first.push_value("metrics.x", json!({"n": 1})).await;
    let mut old = String::new();
    for n in 1..=50 {
        old = first.push_event("deploys", n).await;
    }
    reads_up_to(&second, &old).await;
    way.stall();
    redis.cli(&["flushall"]);
    let epoch = |cursor: &str| cursor.split(':').next().unwrap().to_owned();
    until("a new log", || async {
        let now = first.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        (epoch(&now) != epoch(&old)).then_some(())
    })
    .await;
    first.push_value("metrics.x", json!({"n": 2})).await;
    let new = first.push_event("deploys", 51).await;
    assert_ne!(epoch(&new), epoch(&old));
    refused_everywhere(&second, &new).await;
    way.flow();
    let path = format!("/api/metrics?channels=metrics.x,deploys&since={new}");
    let answer = until("the node to have the new log", || async {
        let answer = second.get(&path).await;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["channels"], &answer["events"], answer.get("gap")), (&json!({}), &json!([]), None));
    // A client with a cursor of the previous log gets one gap, fresh state, and only the new events.
    for node in [&first, &second] {
        gets_one_gap_and_the_new_events(node, &old).await;
    }
    // An offset that was never reached and an epoch that never existed are no reason to wait, nor to send anything again.
    let beyond = format!("/api/metrics?channels=metrics.x,deploys&since={}:{}", epoch(&new), u64::MAX / 2);
    let beyond = second.get_json(&beyond).await;
    assert_eq!((&beyond["gap"], &beyond["events"]), (&json!(true), &json!([])));
    let stranger = second.get_json("/api/metrics?channels=metrics.x,deploys&since=otherlog:5").await;
    assert_eq!((&stranger["gap"], &stranger["events"]), (&json!(true), &json!([])));
    assert_eq!(stranger["channels"]["metrics.x"], json!({"n": 2}));
}

async fn gets_one_gap_and_the_new_events(node: &ApiClient, old: &str) {
    let polled = node.get_json(&format!("/api/metrics?channels=metrics.x,deploys&since={old}")).await;
    assert_eq!((&polled["gap"], &polled["channels"]["metrics.x"]), (&json!(true), &json!({"n": 2})));
    let numbers: Vec<_> = polled["events"].as_array().unwrap().iter().map(|event| &event["data"]["n"]).collect();
    assert_eq!(numbers, [51]);

    let mut socket = node.websocket().await;
    let subscribe = json!({"type": "subscribe", "channels": ["metrics.x", "deploys"], "since": old});
    let subscribed = socket.ask(subscribe, "subscribed").await;
    assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("epoch_changed")));
    let kinds = ["gap", "metric", "event"];
    let notice = [socket.next_of_any(&kinds).await, socket.next_of_any(&kinds).await];
    assert_eq!(notice.each_ref().map(|message| &message["data"]["n"]), [2, 51], "{notice:?}");

    let mut stream = node.events_from("?channels=metrics.x,deploys", Some(old)).await;
    let mut names = Vec::new();
    while names.len() < 4 {
        names.push(stream.next().await.unwrap().name);
    }
    assert_eq!(names, ["gap", "connected", "happened", "metric"]);
}

#[tokio::test]
async fn a_redis_restored_from_an_older_log_gets_a_new_epoch() {
    let redis = Redis::start();
    let nodes = ["a", "b"].map(|name| node_with(&redis.url(), name, |_| {}));
    let before = nodes[0].push_value("metrics.x", json!({"n": 1})).await;
    reads_up_to(&nodes[1], &before).await;
    let epoch = |cursor: &str| cursor.split(':').next().unwrap().to_owned();
    let of = async |node: &ApiClient| epoch(node.get_json("/api/channels").await["cursor"].as_str().unwrap());
    redis.cli(&["flushall"]);
    for node in &nodes {
        until("a new log", || async { (of(node).await != epoch(&before)).then_some(()) }).await;
    }
    // Samples also continue: the node that led starts the next log.
    let sample = json!({"metric": "shop.sold", "type": "counter", "value": 2});
    for n in 0..20 {
        nodes[n % 2].push(sample.clone()).await;
    }
    let cursor = nodes[0].push_value("metrics.x", json!({"n": 2})).await;
    reads_up_to(&nodes[1], &cursor).await;
    redis.cli(&["hset", "{tricast}:meta", "epoch", &epoch(&before)]);
    for node in &nodes {
        until("another log", || async {
            let now = of(node).await;
            assert_ne!(now, epoch(&before), "the lost log must not come back");
            assert_eq!(node.get_json("/api/metrics/metrics.x").await["data"], json!({"n": 2}));
            (now != epoch(&cursor)).then_some(())
        })
        .await;
    }
    let last = nodes[0].push(sample).await;
    reads_up_to(&nodes[1], &last).await;
    for node in &nodes {
        let sold = &node.get_json("/api/metrics/metrics.shop").await["data"]["sold"]["today"]["total"];
        assert_eq!(*sold, 42);
    }
}

/// Waits until a poll is held.
async fn held(node: &ApiClient) {
    until("a held poll", || async {
        (node.counter("tricast_connections{transport=\"long_poll\"}").await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_held_poll_reports_events_that_leave_the_ring_meanwhile() {
    for path in ["/api/metrics?channels=deploys", "/api/metrics/deploys?", "/api/metrics?channels=metrics.a,deploys"] {
        let app = spawn_app_with(|config| config.log.events = 5);
        app.push_value("metrics.a", json!({"n": 1})).await;
        let cursor = app.push_event("deploys", 0).await;
        let waiting = app.get_json_later(format!("{path}&since={cursor}&wait=20"));
        held(&app).await;
        let lines: String = (1..=400)
            .map(|n| format!("{{\"channel\":\"deploys\",\"event\":\"happened\",\"data\":{{\"n\":{n}}}}}\n"))
            .collect();
        assert_eq!(app.post("/api/metrics", lines).await.status(), 202);
        let answer = soon("the answer", waiting).await.unwrap();
        assert_eq!(answer["gap"], true, "{path}: {answer}");
        let last = answer["events"].as_array().unwrap().last().unwrap()["data"]["n"].as_u64().unwrap();
        assert!(last >= 256, "{path}: the remaining events are returned: {answer}");
    }
}

#[tokio::test]
async fn a_held_poll_reports_a_new_log() {
    let redis = Redis::start();
    let node = node_with(&redis.url(), "a", |_| {});
    node.push_value("metrics.x", json!({"n": 1})).await;
    let cursor = node.push_event("deploys", 1).await;
    let waiting = node.get_json_later(format!("/api/metrics?channels=metrics.x,deploys&since={cursor}&wait=25"));
    held(&node).await;
    redis.cli(&["flushall"]);
    let answer = soon("the answer", waiting).await.unwrap();
    assert_eq!((&answer["gap"], &answer["channels"]["metrics.x"]), (&json!(true), &json!({"n": 1})), "{answer}");
    assert_eq!(answer["events"], json!([]));
    assert_ne!(answer["cursor"].as_str().unwrap().split(':').next(), cursor.split(':').next());
}

async fn degraded(stream: &mut EventStream) {
    let event = stream.next_of("system").await.data();
    assert_eq!((&event["event"], &event["data"]["reason"]), (&json!("degraded"), &json!("bus")));
}

#[tokio::test]
async fn a_stream_opened_on_a_disconnected_node_is_notified() {
    let mut redis = Redis::start();
    let node = node_with(&redis.url(), "a", |config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.secret = SECRET.into();
    });
    let all = &["read:metrics", "write:metrics"];
    let ada = node.with(token("ada", "acme", all));
    ada.push_value("metrics.x", json!({"n": 1})).await;
    let (mut socket, mut stream) = (ada.websocket().await, ada.events("?channels=metrics.x,system").await);
    assert_eq!(socket.connected.get("stale"), None);
    assert_eq!(stream.next_of("connected").await.data().get("stale"), None);
    socket.subscribe(&["system"]).await;
    redis.kill();
    degraded(&mut stream).await;
    assert_eq!(socket.next_of("event").await["data"]["reason"], "bus");
    // One of a tenant that is open on the node, and one of a tenant that is not.
    for visitor in [&ada, &node.with(token("bob", "globex", all))] {
        let mut socket = visitor.websocket().await;
        assert_eq!(socket.connected["stale"], true);
        socket.subscribe(&["metrics.x"]).await;
        socket.subscribe(&["system"]).await;
        let notice = socket.next_of("event").await;
        assert_eq!((&notice["event"], &notice["data"]["reason"]), (&json!("degraded"), &json!("bus")));
        let mut stream = visitor.events("?channels=metrics.x,system").await;
        assert_eq!(stream.next_of("connected").await.data()["stale"], true);
        degraded(&mut stream).await;
    }
    redis.start_again();
    assert_eq!(socket.next_of("event").await["event"], "recovered");
    let mut late = ada.websocket().await;
    assert_eq!(late.connected.get("stale"), None);
    late.subscribe(&["system"]).await;
    let pong = late.ask(json!({"type": "ping", "requestId": "1"}), "pong");
    assert_eq!(pong.await["requestId"], "1");
    node.with(token("eve", "acme", all)).push_value("metrics.x", json!({"n": 2})).await;
    late.subscribe(&["metrics.x"]).await;
    assert_eq!(late.next_of_any(&["event", "metric"]).await["type"], "metric", "a past outage is not reported");
}

#[tokio::test]
async fn a_restart_and_an_unknown_epoch_are_distinguished() {
    let directory = tempfile::tempdir().unwrap();
    let start = || spawn_app_with(|config| config.data_dir = Some(directory.path().to_owned()));
    let mut cursors = Vec::new();
    for life in 1..=3 {
        let mut app = start();
        for cursor in &cursors {
            app.push_event("deploys", life).await;
            let path = format!("/api/metrics?channels=deploys&since={cursor}");
            let answer = app.get_json(&path).await;
            let last = answer["events"].as_array().unwrap().last().unwrap()["data"]["n"].clone();
            assert_eq!((&answer["gap"], last), (&json!(true), json!(life)), "the client gets all of the new log");
        }
        cursors.push(app.push_event("deploys", life).await);
        if life > 1 {
            let subscribe = json!({"type": "subscribe", "channels": ["deploys"], "since": "otherlog:5"});
            let subscribed = app.websocket().await.ask(subscribe, "subscribed").await;
            assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("unknown_cursor")));
            let other =
                app.request(Method::GET, "/api/metrics?channels=deploys&since=otherlog:5").send().await.unwrap();
            let other: Value = other.json().await.unwrap();
            assert_eq!((&other["gap"], &other["events"]), (&json!(true), &json!([])));
        }
        app.begin_stop();
        app.stopped().await;
    }
}
