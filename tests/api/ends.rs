//! Channels that end: reported once on every transport, and their room is available again.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tricast_core::clock::Clock;

use crate::{
    helpers::{
        ApiClient, EventStream, TestApp, WebSocket, soon, spawn_app, spawn_app_at, spawn_app_with,
        spawn_app_with_tokens, token, until,
    },
    program::Program,
};

pub(crate) async fn delete(visitor: &ApiClient, channel: &str) -> Response {
    let request = visitor.request(Method::DELETE, &format!("/api/metrics/{channel}"));
    soon(channel, request.send()).await.unwrap()
}

/// Returns the next message about `channel` that is an end.
pub(crate) async fn end_on(socket: &mut WebSocket, channel: &str) -> Value {
    soon("an end", async {
        loop {
            let message = socket.next_of("metric").await;
            if message["channel"] == channel && message["gone"] != Value::Null {
                return message;
            }
        }
    })
    .await
}

async fn end_in(stream: &mut EventStream, channel: &str) -> Value {
    soon("an end", async {
        loop {
            let data = stream.next_of("metric").await.data();
            if data["channel"] == channel && data["gone"] != Value::Null {
                return data;
            }
        }
    })
    .await
}

pub(crate) async fn names(visitor: &ApiClient) -> Vec<String> {
    let list = visitor.get_json("/api/channels").await;
    list["channels"].as_array().unwrap().iter().map(|line| line["channel"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_end_is_reported_once_on_every_transport() {
    let app = spawn_app();
    app.push_value("metrics.shop", json!({"n": 1})).await;
    let before = app.push_value("metrics.other", json!({"n": 1})).await;
    let mut sockets = [app.websocket().await, app.websocket().await];
    sockets[0].subscribe(&["metrics.shop", "metrics.other"]).await;
    sockets[1].subscribe(&["metrics.*"]).await;
    let mut stream = app.events("?channels=metrics.shop,metrics.other").await;
    let tag = |answer: &Response| answer.headers()["etag"].clone();
    let (snapshot, list) = ("/api/metrics", "/api/metrics?channels=metrics.shop,metrics.other");
    let tags = [tag(&app.get(snapshot).await), tag(&app.get(list).await)];
    let held = app.get_json_later(format!("/api/metrics?channels=metrics.shop&since={before}&wait=20"));
    until("a held poll", || async {
        (app.counter("tricast_connections{transport=\"long_poll\"}").await == 1.0).then_some(())
    })
    .await;

    assert_eq!(delete(&app, "metrics.shop").await.status(), 204);
    for socket in &mut sockets {
        let end = end_on(socket, "metrics.shop").await;
        assert_eq!((&end["gone"], end.get("data")), (&json!("deleted"), None));
        assert!(end["cursor"].is_string() && end["timestamp"].is_string(), "{end}");
    }
    let end = end_in(&mut stream, "metrics.shop").await;
    assert_eq!((&end["gone"], end.get("data")), (&json!("deleted"), None));
    let answer = held.await.unwrap();
    assert_eq!((&answer["gone"], &answer["channels"]), (&json!({"metrics.shop": "deleted"}), &json!({})));

    let gone = app.get("/api/metrics/metrics.shop").await;
    assert_eq!(gone.status(), 410);
    let problem: Value = gone.json().await.unwrap();
    assert!(problem["code"] == "RESOURCE_NOT_FOUND" && problem["detail"].as_str().unwrap().contains("deleted"));
    assert!(!names(&app).await.contains(&"metrics.shop".to_owned()));
    assert_eq!(app.get_json(snapshot).await["custom"], json!({"other": {"n": 1}}));
    assert!(tag(&app.get(snapshot).await) != tags[0] && tag(&app.get(list).await) != tags[1]);

    // No more data of the channel comes to clients that know of the end, nor to those that connect later.
    let cursor = app.push_value("metrics.other", json!({"n": 2})).await;
    for socket in &mut sockets {
        assert_eq!(socket.next_of("metric").await["channel"], "metrics.other");
    }
    assert_eq!(stream.next_of("metric").await.data()["channel"], "metrics.other");
    let asked_on = app.get_json(&format!("{list}&since={}", answer["cursor"].as_str().unwrap())).await;
    assert_eq!((asked_on.get("gone"), &asked_on["channels"]), (None, &json!({"metrics.other": {"n": 2}})));
    let mut late = app.websocket().await;
    late.subscribe(&["metrics.shop", "metrics.other"]).await;
    assert_eq!(late.next_of("metric").await["channel"], "metrics.other");

    // A merge starts with an empty value, at a higher offset.
    let recreated = app.push(json!({"channel": "metrics.shop", "data": {"x": 1}, "merge": true})).await;
    assert_eq!(app.get_json("/api/metrics/metrics.shop").await["data"], json!({"x": 1}));
    let offset = |cursor: &str| cursor.split(':').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(offset(&recreated) > offset(&cursor));
    assert_eq!(late.next_of("metric").await["data"], json!({"x": 1}));
}

#[tokio::test]
async fn a_client_that_resumes_gets_the_end() {
    let app = spawn_app();
    let before = app.push_value("metrics.shop", json!({"n": 1})).await;
    app.push_event("deploys", 1).await;
    delete(&app, "metrics.shop").await;
    delete(&app, "deploys").await;
    let mut socket = app.websocket().await;
    let channels = json!(["metrics.shop", "deploys", "other.*"]);
    socket.send(json!({"type": "subscribe", "channels": channels, "since": before})).await;
    assert_eq!(socket.next_of("subscribed").await["resume"], "replayed");
    let mut got = Vec::new();
    for _ in 0..3 {
        let message = socket.next_of_any(&["metric", "event"]).await;
        got.push((message["channel"].clone(), message["gone"].clone()));
    }
    got.sort_by_key(|(channel, gone)| format!("{channel}{gone}"));
    let deleted = json!("deleted");
    let shop = (json!("metrics.shop"), deleted.clone());
    assert_eq!(got, [(json!("deploys"), deleted), (json!("deploys"), Value::Null), shop], "and of earlier changes");
    let mut stream = app.events_from("?channels=metrics.shop,metrics.*", Some(&before)).await;
    assert_eq!(end_in(&mut stream, "metrics.shop").await["gone"], "deleted");
    let answer = app.get_json(&format!("/api/metrics?channels=metrics.*,deploys&since={before}")).await;
    assert_eq!(answer["gone"], json!({"deploys": "deleted", "metrics.shop": "deleted"}));
    assert_eq!((answer["events"].as_array().unwrap().len(), answer.get("gap")), (1, None));
}

#[tokio::test]
async fn discarded_ends_are_a_gap() {
    let app = spawn_app_with(|config| config.log.ends = 1);
    app.push_value("metrics.a", json!({"n": 1})).await;
    let before = app.push_value("metrics.b", json!({"n": 1})).await;
    delete(&app, "metrics.a").await;
    delete(&app, "metrics.b").await;
    assert_eq!(app.get("/api/metrics/metrics.a").await.status(), 404);
    assert_eq!(app.get("/api/metrics/metrics.b").await.status(), 410);
    let poll = app.get_json(&format!("/api/metrics?channels=metrics.a&since={before}")).await;
    assert_eq!((&poll["gap"], &poll["channels"]), (&json!(true), &json!({})));
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "subscribe", "channels": ["metrics.a", "metrics.*"], "since": before})).await;
    let subscribed = socket.next_of("subscribed").await;
    assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("too_old")));
    let mut lost = socket.next_of("gap").await["channels"].as_array().unwrap().clone();
    lost.sort_by_key(Value::to_string);
    assert_eq!(lost, ["metrics.*", "metrics.a"]);
    let other = app.get_json(&format!("/api/metrics?channels=metrics.b&since={before}")).await;
    assert_eq!((other.get("gap"), &other["gone"]), (None, &json!({"metrics.b": "deleted"})));
}

#[tokio::test]
async fn a_line_of_a_push_ends_a_channel_and_built_in_channels_cannot_end() {
    let app = spawn_app();
    let lines = json!([
        {"channel": "metrics.a", "data": {"n": 1}},
        {"channel": "metrics.a", "delete": true},
        {"channel": "metrics.a", "data": {"m": 2}, "merge": true},
        {"channel": "metrics.b", "data": {"n": 1}},
        {"channel": "metrics.b", "delete": true},
        {"channel": "metrics.never", "delete": true},
        {"channel": "metrics.api", "delete": true},
        {"channel": "metrics.a", "delete": true, "data": {}},
        {"channel": "metrics.a", "delete": false, "data": {}},
    ]);
    let answer = app.post("/api/metrics", lines.to_string()).await;
    assert_eq!(answer.status(), 207);
    let verdicts: Value = answer.json().await.unwrap();
    let statuses: Vec<_> = verdicts["results"].as_array().unwrap().iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [202, 202, 202, 202, 202, 404, 403, 400, 400].map(Value::from));
    assert_eq!(app.get_json("/api/metrics/metrics.a").await["data"], json!({"m": 2}));
    assert_eq!(app.get("/api/metrics/metrics.b").await.status(), 410);
    app.push(json!({"channel": "metrics.a", "delete": true})).await;
    for (channel, status) in
        [("metrics.a", 410), ("metrics.never", 404), ("metrics.api", 403), ("alerts", 403), ("a%20b", 400)]
    {
        assert_eq!(delete(&app, channel).await.status(), status, "{channel}");
    }
    assert_eq!(app.counter("tricast_channels_ended_total{reason=\"deleted\"}").await, 3.0);
    let app = spawn_app_with_tokens(|_| {});
    let writer = app.with(token("ada", "shop", &["write:metrics"]));
    writer.push_value("metrics.a", json!({})).await;
    assert_eq!(delete(&app.with(token("bob", "shop", &["read:metrics"])), "metrics.a").await.status(), 403);
    assert_eq!(delete(&app.with(token("eve", "other", &["write:metrics"])), "metrics.a").await.status(), 404);
    assert_eq!(delete(&writer, "metrics.a").await.status(), 204);
}

#[tokio::test]
async fn an_end_makes_room_in_every_limit() {
    let app = spawn_app_with(|config| {
        config.limits.max_channels = 2;
        config.limits.max_series = 2;
        config.limits.max_state.0 = 3_000;
        config.limits.max_state_total.0 = 3_000;
        config.limits.max_snapshot.0 = 3_000;
    });
    let sample = |n: usize| json!({"metric": format!("s{n}.x"), "type": "counter", "value": 1, "labels": {"a": "b"}});
    for n in 0..20 {
        app.push_event("deploys", 1).await;
        app.push_value(&format!("metrics.m{n}"), json!({"text": "y".repeat(2_000)})).await;
        let refused = app.post("/api/metrics", json!({"channel": "one.more", "data": {}}).to_string()).await;
        assert_eq!(refused.status(), 429);
        delete(&app, &format!("metrics.m{n}")).await;
        app.push(sample(n)).await;
        delete(&app, &format!("metrics.s{n}")).await;
        delete(&app, "deploys").await;
    }
    assert_eq!(app.limit("max_channels").await, 20.0);
}

#[tokio::test]
async fn a_channel_without_writes_ends_after_its_own_or_the_default_time() {
    let app = spawn_app_with(|config| config.limits.channel_ttl.0 = Duration::from_secs(1));
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.*"]).await;
    app.push(json!({"channel": "metrics.longer", "data": {"n": 1}, "ttl": "1h"})).await;
    app.push(json!({"metric": "usual.x", "type": "counter", "value": 1})).await;
    assert_eq!(end_on(&mut socket, "metrics.usual").await["gone"], "expired");
    assert_eq!(app.get("/api/metrics/metrics.longer").await.status(), 200);
    assert!(names(&app).await.contains(&"metrics.api".to_owned()), "built-in channels stay");
    app.push(json!({"metric": "longer.x", "type": "counter", "value": 1, "ttl": 1_000})).await;
    assert_eq!(end_on(&mut socket, "metrics.longer").await["gone"], "expired");
    assert_eq!(app.counter("tricast_channels_ended_total{reason=\"expired\"}").await, 2.0);
    for ttl in [json!("0s"), json!(999), json!("soon"), json!(-1), json!("367d"), json!(null)] {
        let line = json!({"channel": "metrics.a", "data": {}, "ttl": ttl});
        assert_eq!(app.post("/api/metrics", line.to_string()).await.status(), 400, "{line}");
    }
}

#[tokio::test]
async fn a_labelled_series_ends_by_itself_and_leaves_the_value_of_its_channel() {
    let app = spawn_app_with(|config| config.limits.channel_ttl.0 = Duration::from_secs(1));
    let sample =
        |region: &str| json!({"metric": "shop.sold", "type": "counter", "value": 1, "labels": {"region": region}});
    app.push(sample("eu")).await;
    app.push(json!({"channel": "metrics.shop", "data": {"plain": 1}, "merge": true})).await;
    let value = until("one series", || async {
        app.push(sample("us")).await;
        let value = app.get_json("/api/metrics/metrics.shop").await["data"].clone();
        value.get("sold{region=\"eu\"}").is_none().then_some(value)
    })
    .await;
    assert_eq!(value["plain"], 1);
    assert!(value["sold"]["total"].as_u64() > value["sold{region=\"us\"}"]["total"].as_u64(), "{value}");
}

#[tokio::test]
async fn channels_end_by_the_time_of_their_pattern_and_series_by_that_of_their_samples() {
    let app = spawn_app_with(|config| config.channel_ttls = vec!["metrics.ci.*=1s".into(), "metrics.ci.keep=0".into()]);
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.*", "deploys"]).await;
    for channel in ["metrics.ci.a", "metrics.ci.keep", "metrics.other"] {
        app.push_value(channel, json!({"n": 1})).await;
    }
    app.push(json!({"channel": "deploys", "event": "released", "ttl": "1s"})).await;
    let job = |name: &str, ttl: &str| json!({"metric": "jobs.progress", "type": "gauge", "value": 1, "labels": {"job": name}, "ttl": ttl});
    app.push(job("long", "5s")).await;
    app.push(job("short", "1s")).await;
    let (mut ends, mut without_short) = (Vec::new(), false);
    while ends.len() < 3 {
        let message = soon("an end", socket.next_of("metric")).await;
        if message["gone"] == "expired" {
            ends.push(message["channel"].as_str().unwrap().to_owned());
        } else if message["channel"] == "metrics.jobs" {
            let has = |field: &str| message["data"].get(field).is_some();
            let [all, long, short] = ["progress", "progress{job=\"long\"}", "progress{job=\"short\"}"];
            assert!(has(all) && has(long), "{message}");
            without_short = !has(short);
        }
    }
    assert!(without_short, "it ended alone");
    assert_eq!(ends[2], "metrics.jobs", "with its last series");
    ends.sort();
    assert_eq!(ends, ["deploys", "metrics.ci.a", "metrics.jobs"]);
    let left = names(&app).await;
    assert!(["metrics.ci.keep", "metrics.other"].iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
}

fn keeping(directory: &tempfile::TempDir) -> TestApp {
    spawn_app_at(Clock::system(), |config| config.data_dir = Some(directory.path().into()))
}

#[tokio::test]
async fn an_ended_channel_is_not_restored_and_keeps_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let mut app = keeping(&directory);
    for channel in ["metrics.ended", "metrics.recreated", "metrics.lives"] {
        app.push_value(channel, json!({"n": 1})).await;
    }
    until("points", || async { (app.counter("tricast_history_points_total").await >= 3.0).then_some(()) }).await;
    delete(&app, "metrics.ended").await;
    delete(&app, "metrics.recreated").await;
    app.push_value("metrics.recreated", json!({"n": 2})).await;
    app.begin_stop();
    app.stopped().await;
    let mut app = keeping(&directory);
    for round in 0..2 {
        until("values", || async { (app.get("/api/metrics/metrics.lives").await.status() == 200).then_some(()) }).await;
        assert_eq!(app.get("/api/metrics/metrics.ended").await.status(), 404, "{round}");
        assert_eq!(app.get_json("/api/metrics/metrics.recreated").await["data"], json!({"n": 2}), "{round}");
        let past = app.get_json("/api/history?channel=metrics.ended&field=n&interval=raw").await;
        assert_eq!(past["buckets"].as_array().unwrap().len(), 1, "{past}");
        app.begin_stop();
        app.stopped().await;
        app = keeping(&directory);
    }
    // A restored channel can end too.
    until("values", || async { (delete(&app, "metrics.lives").await.status() == 204).then_some(()) }).await;
    app.begin_stop();
    app.stopped().await;
    let app = keeping(&directory);
    until("values", || async { (app.get("/api/metrics/metrics.recreated").await.status() == 200).then_some(()) }).await;
    assert_eq!(app.get("/api/metrics/metrics.lives").await.status(), 404);
}

/// Kills the program right after `deletion` of a stored channel was acknowledged. The channel must not come back.
async fn does_not_come_back(deletion: impl AsyncFnOnce(&ApiClient)) {
    let directory = tempfile::tempdir().unwrap();
    let app = spawn_app();
    let mut program = Program::start(directory.path());
    let visitor = app.at(program.address());
    for channel in ["metrics.ended", "metrics.lives"] {
        visitor.push_value(channel, json!({"n": 1})).await;
    }
    until("points", || async { (visitor.counter("tricast_history_points_total").await >= 2.0).then_some(()) }).await;
    deletion(&visitor).await;
    program.kill();
    let program = Program::start(directory.path());
    let visitor = app.at(program.address());
    until("values", || async { (visitor.get("/api/metrics/metrics.lives").await.status() == 200).then_some(()) }).await;
    assert_eq!(visitor.get("/api/metrics/metrics.ended").await.status(), 404);
}

#[tokio::test]
async fn a_channel_whose_end_was_acknowledged_does_not_come_back_after_kill_9() {
    let deleted = does_not_come_back(async |visitor| assert_eq!(delete(visitor, "metrics.ended").await.status(), 204));
    let pushed = does_not_come_back(async |visitor| {
        let end = json!({"channel": "metrics.ended", "delete": true}).to_string();
        let answer = visitor.post("/api/metrics", end).await.json::<Value>().await.unwrap();
        assert_eq!((&answer["accepted"], answer.get("stored")), (&json!(1), None));
    });
    tokio::join!(deleted, pushed);
}
