//! A client that reconnects on any transport sees every event exactly once and in order.

use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};

use crate::helpers::{TestApp, spawn_app, spawn_app_with};

/// Number of random schedules.
const SCHEDULES: u64 = 1_000;
/// Number of schedules that run at the same time.
const AT_ONCE: u64 = 25;

/// Data that one client has received.
#[derive(Default)]
struct Seen {
    cursor: Option<String>,
    events: Vec<u64>,
    state: u64,
}

impl Seen {
    fn event(&mut self, data: &Value) {
        self.events.push(data["n"].as_u64().unwrap());
    }

    fn state(&mut self, data: &Value) {
        let state = data["n"].as_u64().unwrap();
        assert!(state >= self.state, "the state went back from {} to {state}", self.state);
        self.state = state;
    }
}

struct Schedule {
    events: String,
    states: String,
    last: u64,
}

impl Schedule {
    fn done(&self, seen: &Seen) -> bool {
        seen.events.len() as u64 == self.last && seen.state == self.last
    }
}

fn between(rng: &mut TestRng, low: u64, high: u64) -> u64 {
    low + rng.next_u64() % (high - low + 1)
}

/// Holds a WebSocket for up to `messages`, then drops it without a close.
async fn hold_websocket(app: &TestApp, schedule: &Schedule, seen: &mut Seen, messages: u64) {
    let mut socket = app.websocket().await;
    let mut subscribe = json!({"type": "subscribe", "channels": [schedule.events, schedule.states]});
    if let Some(cursor) = &seen.cursor {
        subscribe["since"] = json!(cursor);
    } else {
        seen.cursor = Some(socket.connected["cursor"].as_str().unwrap().to_owned());
        subscribe["since"] = socket.connected["cursor"].clone();
    }
    let subscribed = socket.ask(subscribe, "subscribed").await;
    assert_eq!(subscribed["resume"], "replayed", "{subscribed}");
    for _ in 0..messages {
        if schedule.done(seen) {
            return;
        }
        let message = socket.next().await;
        match message["type"].as_str().unwrap() {
            "event" => seen.event(&message["data"]),
            "metric" => seen.state(&message["data"]),
            other => panic!("{other}: {message}"),
        }
        seen.cursor = Some(message["cursor"].as_str().unwrap().to_owned());
    }
}

/// Holds an event stream for up to `messages`, then drops it.
async fn hold_stream(app: &TestApp, schedule: &Schedule, seen: &mut Seen, messages: u64, header: bool) {
    let channels = format!("?channels={},{}", schedule.events, schedule.states);
    let mut stream = match (&seen.cursor, header) {
        (Some(cursor), true) => app.events_from(&channels, Some(cursor)).await,
        (Some(cursor), false) => app.events(&format!("{channels}&since={cursor}")).await,
        (None, _) => app.events(&channels).await,
    };
    for _ in 0..=messages {
        if schedule.done(seen) {
            return;
        }
        let event = stream.next().await.unwrap();
        match event.name.as_str() {
            "connected" => assert_ne!(event.data()["resume"], "reset"),
            "happened" => seen.event(&event.data()["data"]),
            "metric" => seen.state(&event.data()["data"]),
            other => panic!("{other}"),
        }
        seen.cursor = Some(event.id);
    }
}

/// Polls `times`, with or without waiting.
async fn hold_poll(app: &TestApp, schedule: &Schedule, seen: &mut Seen, times: u64, wait: bool) {
    for _ in 0..times {
        if schedule.done(seen) {
            return;
        }
        let Some(cursor) = &seen.cursor else {
            let first = app.get_json("/api/metrics?channels=orders,alerts").await;
            seen.cursor = Some(first["cursor"].as_str().unwrap().to_owned());
            continue;
        };
        let wait = if wait { "&wait=1" } else { "" };
        let path = format!("/api/metrics?channels={},{}&since={cursor}{wait}", schedule.events, schedule.states);
        let answer = app.get_json(&path).await;
        assert!(answer.get("gap").is_none(), "{answer}");
        answer["events"].as_array().unwrap().iter().for_each(|event| seen.event(&event["data"]));
        if let Some(state) = answer["channels"].get(&schedule.states) {
            seen.state(state);
        }
        seen.cursor = Some(answer["cursor"].as_str().unwrap().to_owned());
    }
}

async fn run(app: &TestApp, number: u64) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let schedule = Schedule {
        events: format!("events.{number}"),
        states: format!("states.{number}"),
        last: between(&mut rng, 3, 20),
    };
    let mut seen = Seen::default();
    // A cursor from before the first event, from a random transport.
    match between(&mut rng, 0, 2) {
        0 => seen.cursor = Some(app.websocket().await.connected["cursor"].as_str().unwrap().to_owned()),
        1 => seen.cursor = Some(app.events("?channels=orders").await.next_of("connected").await.id),
        _ => hold_poll(app, &schedule, &mut seen, 1, false).await,
    }
    let pauses: Vec<u64> = (0..schedule.last).map(|_| between(&mut rng, 0, 4)).collect();
    let pushing = async {
        for (n, pause) in (1..).zip(pauses) {
            app.push_event(&schedule.events, n).await;
            app.push_value(&schedule.states, json!({"n": n})).await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    let following = async {
        let mut hops = Vec::new();
        while !schedule.done(&seen) {
            let (transport, count) = (between(&mut rng, 0, 4), between(&mut rng, 0, 6));
            hops.push((transport, count, seen.cursor.clone()));
            match transport {
                0 => hold_websocket(app, &schedule, &mut seen, count).await,
                1 => hold_stream(app, &schedule, &mut seen, count, true).await,
                2 => hold_stream(app, &schedule, &mut seen, count, false).await,
                3 => hold_poll(app, &schedule, &mut seen, count, true).await,
                _ => hold_poll(app, &schedule, &mut seen, count, false).await,
            }
            let expected: Vec<u64> = (1..=seen.events.len() as u64).collect();
            assert_eq!(seen.events, expected, "schedule {number}, hops {hops:?}");
            assert!(hops.len() < 1_000, "schedule {number} does not end: {:?} of {}", seen.state, schedule.last);
        }
    };
    tokio::join!(pushing, following);
}

#[tokio::test]
async fn every_event_is_seen_exactly_once_over_1000_random_schedules_of_cuts_and_transports() {
    let app = spawn_app();
    let mut number = 0;
    while number < SCHEDULES {
        futures_util::future::join_all((number..number + AT_ONCE).map(|number| run(&app, number))).await;
        number += AT_ONCE;
    }
}

#[tokio::test]
async fn a_cursor_of_a_lost_log_is_a_gap_and_the_new_log_is_sent() {
    let app = spawn_app();
    app.push_event("deploys", 1).await;
    let mut socket = app.websocket().await;
    let subscribe = json!({"type": "subscribe", "channels": ["deploys"], "since": "otherlog:5"});
    let subscribed = socket.ask(subscribe, "subscribed").await;
    assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("epoch_changed")));
    assert_eq!(socket.next().await["data"], json!({"n": 1}));

    let mut stream = app.events_from("?channels=deploys", Some("otherlog:5")).await;
    let gap = stream.next().await.unwrap();
    assert_eq!((gap.name.as_str(), &gap.data()["reason"]), ("gap", &json!("epoch_changed")));
    let connected = stream.next().await.unwrap();
    assert_eq!(connected.data()["resume"], "reset");
    assert_eq!(stream.next_of("happened").await.data()["data"], json!({"n": 1}));

    let polled = app.get_json("/api/metrics?channels=deploys&since=otherlog:5").await;
    assert_eq!((&polled["gap"], &polled["events"][0]["data"]), (&json!(true), &json!({"n": 1})));
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_a_gap_and_the_rest_is_sent() {
    let app = spawn_app_with(|config| config.log.events = 5);
    let old = app.push_event("deploys", 0).await;
    app.push_value("metrics.a", json!({"x": 1})).await;
    for n in 1..=10 {
        app.push_event("deploys", n).await;
    }
    let left = [6, 7, 8, 9, 10];

    let mut socket = app.websocket().await;
    let subscribe = json!({"type": "subscribe", "channels": ["deploys", "metrics.a"], "since": old});
    let subscribed = socket.ask(subscribe, "subscribed").await;
    assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("too_old")));
    let gap = socket.next_of("gap").await;
    assert_eq!(gap["channels"], json!(["deploys"]));
    let (mut events, mut state) = (Vec::new(), None);
    while events.len() < 5 || state.is_none() {
        let message = socket.next().await;
        match message["type"].as_str().unwrap() {
            "event" => events.push(message["data"]["n"].as_u64().unwrap()),
            _ => state = Some(message["data"].clone()),
        }
    }
    assert_eq!((events, state), (left.to_vec(), Some(json!({"x": 1}))));

    let polled = app.get_json(&format!("/api/metrics?channels=deploys,metrics.a&since={old}")).await;
    assert_eq!(polled["gap"], true);
    let listed: Vec<_> =
        polled["events"].as_array().unwrap().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!((listed, &polled["channels"]["metrics.a"]), (left.to_vec(), &json!({"x": 1})));
}

#[tokio::test]
async fn an_unknown_cursor_is_a_gap() {
    let app = spawn_app();
    let cursor = app.push_event("deploys", 1).await;
    let epoch = cursor.split(':').next().unwrap();
    let mut socket = app.websocket().await;
    for since in [format!("{epoch}:99999999"), "nonsense".into(), String::new()] {
        let subscribe = json!({"type": "subscribe", "channels": ["deploys"], "since": since});
        let subscribed = socket.ask(subscribe, "subscribed").await;
        assert_eq!(subscribed["reason"], "unknown_cursor", "{since}");
    }
    assert_eq!(app.get("/api/metrics?since=nonsense").await.status(), 400);
}

#[tokio::test]
async fn a_cursor_does_not_cover_a_state_that_an_interval_delays() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    let channels = json!([{"name": "metrics.slow", "interval": "1h"}, "deploys"]);
    socket.ask(json!({"type": "subscribe", "channels": channels}), "subscribed").await;
    app.push_value("metrics.slow", json!({"n": 0})).await;
    assert_eq!(socket.next().await["data"], json!({"n": 0}), "the first value does not wait");
    app.push_value("metrics.slow", json!({"n": 1})).await;
    app.push_event("deploys", 1).await;
    let event = socket.next().await;
    assert_eq!(event["type"], "event", "the state was sent before its interval: {event}");
    // The state is not sent yet, so a client that resumes from this cursor gets it.
    let cursor = event["cursor"].as_str().unwrap();
    let polled = app.get_json(&format!("/api/metrics?channels=metrics.slow,deploys&since={cursor}")).await;
    assert_eq!(polled["channels"]["metrics.slow"], json!({"n": 1}), "{cursor}");
    assert_eq!(polled["events"], json!([]), "{cursor}");
}

#[tokio::test]
async fn a_stream_that_is_cut_right_after_the_greeting_gets_the_states_on_resume() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let greeting = app.events("?channels=metrics.a").await.next_of("connected").await;
    let mut again = app.events_from("?channels=metrics.a", Some(&greeting.id)).await;
    assert_eq!(again.next_of("metric").await.data()["data"], json!({"n": 1}));
}

#[tokio::test]
async fn an_old_state_does_not_repeat_old_events() {
    let app = spawn_app_with(|config| config.log.events = 3);
    app.push_value("metrics.a", json!({"n": 1})).await;
    for n in 1..=10 {
        app.push_event("deploys", n).await;
    }
    let mut stream = app.events("?channels=metrics.a,deploys").await;
    let state = stream.next_of("metric").await;
    drop(stream);
    let mut again = app.events_from("?channels=metrics.a,deploys", Some(&state.id)).await;
    let connected = again.next().await.unwrap();
    assert_eq!((connected.name.as_str(), &connected.data()["resume"]), ("connected", &json!("replayed")));
    app.push_event("deploys", 11).await;
    assert_eq!(again.next().await.unwrap().data()["data"], json!({"n": 11}), "and no earlier one");
}

#[tokio::test]
async fn a_304_does_not_hide_a_gap() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let path = "/api/metrics?channels=metrics.a";
    let tag = app.get(path).await.headers()["etag"].clone();
    let lost = app.request(reqwest::Method::GET, &format!("{path}&since=otherlog:5")).header("if-none-match", tag);
    let lost = lost.send().await.unwrap();
    assert_eq!(lost.status(), 200);
    assert_eq!(lost.json::<Value>().await.unwrap()["gap"], true);
}

#[tokio::test]
async fn a_gap_of_an_old_cursor_is_reported_once() {
    let app = spawn_app_with(|config| config.log.events = 2);
    let old = app.push_event("deploys", 0).await;
    for n in 1..=5 {
        app.push_event("deploys", n).await;
    }
    let mut stream = app.events_from("?channels=deploys", Some(&old)).await;
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "happened") {
        names.push(stream.next().await.unwrap().name);
    }
    assert_eq!(names, ["connected", "gap", "happened"]);
}

#[tokio::test]
async fn a_subscription_during_a_replay_does_not_move_the_cursor_past_it() {
    let app = spawn_app();
    let begin = app.push_event("deploys", 0).await;
    let lines: String = (1..=3_000)
        .map(|n| format!("{{\"channel\":\"deploys\",\"event\":\"happened\",\"data\":{{\"n\":{n}}}}}\n"))
        .collect();
    assert_eq!(app.post("/api/metrics", lines).await.status(), 202);
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "subscribe", "channels": ["deploys"], "since": begin})).await;
    socket.send(json!({"type": "subscribe", "channels": ["alerts"]})).await;
    let (mut delivered, mut cursor) = (0, String::new());
    for _ in 0..50 {
        let event = socket.next_of("event").await;
        delivered = event["data"]["n"].as_u64().unwrap();
        cursor = event["cursor"].as_str().unwrap().to_owned();
    }
    drop(socket);
    let mut again = app.websocket().await;
    again.send(json!({"type": "subscribe", "channels": ["deploys"], "since": cursor})).await;
    let first = again.next_of("event").await["data"]["n"].as_u64().unwrap();
    assert!(first <= delivered + 1, "event {} is lost", delivered + 1);
}
