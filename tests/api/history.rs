//! History: recorded, rolled up, queried, and sent before the live values on every transport.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tricast::config::Config;
use tricast_core::clock::Clock;

use crate::{
    helpers::{ApiClient, TestApp, spawn_app, spawn_app_at, spawn_app_with, spawn_app_with_tokens, token, until},
    program::Program,
};

/// Returns a clock that a test sets. It advances by a millisecond at each reading, so that no two versions have the same
/// time.
fn clock(begin: &str) -> (Clock, impl Fn(&str) + Clone) {
    let now = Arc::new(AtomicI64::new(ms(begin)));
    let hand = Arc::clone(&now);
    let clock = Clock::from_fn(move || Timestamp::from_millisecond(now.fetch_add(1, Ordering::SeqCst)).unwrap());
    (clock, move |time: &str| hand.store(ms(time), Ordering::SeqCst))
}

fn ms(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Records every version as a point.
fn every_version(config: &mut Config) {
    config.history.resolution.0 = Duration::ZERO;
}

async fn history(visitor: &ApiClient, query: &str) -> Value {
    let response = visitor.get(&format!("/api/history?{query}")).await;
    assert_eq!(response.status(), 200, "{query}");
    response.json().await.unwrap()
}

/// Returns the number of recorded points, stored or not.
async fn recorded(visitor: &ApiClient, channel: &str) -> u64 {
    let response = visitor.get(&format!("/api/history?channel={channel}&field=n&interval=day&from=-3000d")).await;
    if response.status() != 200 {
        return 0;
    }
    let answer: Value = response.json().await.unwrap();
    answer["buckets"].as_array().unwrap().iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum()
}

/// Pushes `n` and waits until it is recorded.
async fn push_and_record(visitor: &ApiClient, channel: &str, n: u64) {
    visitor.push_value(channel, json!({"n": n, "text": "x"})).await;
    until("the point", || async { (recorded(visitor, channel).await >= n).then_some(()) }).await;
}

#[tokio::test]
async fn history_has_a_bucket_for_each_minute_with_points() {
    let (clock, set) = clock("2026-06-01T12:00:05Z");
    let app = spawn_app_at(clock, every_version);
    for (n, time) in [(1, "2026-06-01T12:00:05Z"), (2, "2026-06-01T12:00:20Z"), (3, "2026-06-01T12:03:00Z")] {
        set(time);
        push_and_record(&app, "metrics.shop", n).await;
    }
    let fixed = "channel=metrics.shop&field=n&from=2026-06-01T12:00:00Z&to=2026-06-01T13:00:00Z";
    let results = history(&app, &format!("{fixed}&interval=minute")).await;
    let bucket = |period: &str, count, total: f64, min, max, last| {
        json!({"period": period, "count": count, "total": total as i64, "min": min, "max": max, "last": last,
            "average": if total == 3.0 && count == 2 { json!(1.5) } else { json!(3) }})
    };
    let expected = json!([
        bucket("2026-06-01T12:00:00.000Z", 2, 3.0, 1, 2, 2),
        bucket("2026-06-01T12:03:00.000Z", 1, 3.0, 3, 3, 3),
    ]);
    assert_eq!(
        (&results["buckets"], &results["interval"], &results["field"]),
        (&expected, &json!("minute"), &json!("n"))
    );
    let auto = history(&app, "channel=metrics.shop&from=-10m").await;
    assert_eq!(auto["interval"], "raw");
    assert_eq!(auto["fields"]["n"].as_array().unwrap().len(), 3);
    assert!(auto["fields"].get("text").is_none(), "texts are not recorded");
    let day = history(&app, &format!("{fixed}&interval=day")).await;
    assert_eq!((&day["buckets"][0]["count"], &day["buckets"][0]["total"]), (&json!(3), &json!(6)));
    assert_eq!(history(&app, "channel=metrics.shop&field=no").await["buckets"], json!([]));
    // The same over a WebSocket.
    let mut socket = app.websocket().await;
    let params = json!({"channel": "metrics.shop", "field": ["n"], "from": "2026-06-01T12:00:00Z",
        "to": "2026-06-01T13:00:00Z", "interval": "minute"});
    let ask = json!({"type": "request", "requestId": "1", "action": "get_history", "params": params});
    assert_eq!(socket.ask(ask, "response").await["data"], results);
}

#[tokio::test]
async fn closed_results_may_be_cached() {
    let (clock, set) = clock("2026-06-01T12:00:05Z");
    let app = spawn_app_at(clock, every_version);
    push_and_record(&app, "metrics.shop", 1).await;
    let path = "/api/history?channel=metrics.shop&from=2026-06-01T11:00:00Z&to=2026-06-01T12:10:00Z&interval=minute";
    let open = app.get(path).await;
    assert_eq!(open.headers()["cache-control"], "no-cache");
    let tag = open.headers()["etag"].to_str().unwrap().to_owned();
    set("2026-06-01T12:12:00Z");
    let closed = app.get(path).await;
    assert_eq!(closed.headers()["cache-control"], "max-age=3600");
    assert_eq!(closed.headers()["etag"], tag.as_str());
    let again = app.request(reqwest::Method::GET, path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["cache-control"]), (304, &closed.headers()["cache-control"]));
    let relative = app.get("/api/history?channel=metrics.shop&from=-2h&to=-1h").await;
    assert_eq!(relative.headers()["cache-control"], "no-cache", "the query is relative to now");
}

#[tokio::test]
async fn invalid_queries_are_refused() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let long = format!("channel=metrics.a&field={}", "x".repeat(257));
    for (status, query) in [
        (400, ""),
        (400, "channel="),
        (400, "channel=a%20b"),
        (400, "channel=metrics.a&channel=metrics.b"),
        (400, "channel=metrics"),
        (400, "channel=orders"),
        (400, "channel=metrics.a&interval=week"),
        (400, "channel=metrics.a&from=yesterday"),
        (400, "channel=metrics.a&from=now&to=-1h"),
        (400, "channel=metrics.a&from=-99999999999999999999d"),
        (400, "channel=metrics.a&from=-36500d&interval=minute"),
        (400, "channel=metrics.a&from=-36500d"),
        (400, "channel=metrics.a&field="),
        (400, "channel=metrics.a&field=%00,,"),
        (400, &long),
        (404, "channel=metrics.nothing"),
    ] {
        let response = app.get(&format!("/api/history?{query}")).await;
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
    }
    for injected in
        ["field=n'%20OR%201=1--", "field=%25", "from=-36500d&interval=day", "from=0000-01-01T00:00:00Z&interval=day"]
    {
        let status = app.get(&format!("/api/history?channel=metrics.a&{injected}")).await.status();
        assert!(status == 200 || status == 400, "{injected}: {status}");
    }
    assert_eq!(app.get("/api/metrics?backfill=often").await.status(), 400);
    assert_eq!(app.get("/events?backfill=400d").await.status(), 400);
    let mut socket = app.websocket().await;
    let subscribe = json!({"type": "subscribe", "requestId": 1, "channel": "metrics.a", "backfill": "x"});
    assert_eq!(socket.ask(subscribe, "error").await["code"], "INVALID_MESSAGE");
    for params in [
        json!({}),
        json!({"channel": 5}),
        json!({"channel": "metrics.a", "field": [1]}),
        json!({"channel": "a", "x": 1}),
    ] {
        let ask = json!({"type": "request", "requestId": 1, "action": "get_history", "params": params});
        assert_eq!(socket.ask(ask, "error").await["code"], "INVALID_MESSAGE", "{params}");
    }
}

#[tokio::test]
async fn history_belongs_to_a_tenant_and_requires_the_permission_of_the_channel() {
    let app = spawn_app_with_tokens(every_version);
    let one = app.with(token("ada", "one", &["read:metrics", "write:metrics"]));
    let two = app.with(token("bob", "two", &["read:metrics", "write:metrics"]));
    push_and_record(&one, "metrics.a", 1).await;
    assert_eq!(two.get("/api/history?channel=metrics.a").await.status(), 404);
    assert_eq!(two.get_json("/api/metrics?channels=metrics.*&backfill=1h").await["history"].get("metrics.a"), None);
    assert_eq!(one.get("/api/history?channel=metrics.orders").await.status(), 403);
    assert_eq!(app.get("/api/history?channel=metrics.a").await.status(), 401);
    let past = one.get_json("/api/metrics?channels=metrics.*&backfill=1h").await;
    assert!(past["history"].get("metrics.orders").is_none(), "{past}");
    let response = one.get("/api/history?channel=metrics.a").await;
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
}

#[tokio::test]
async fn a_server_without_history_refuses_queries_and_works() {
    let app = spawn_app_with(|config| config.history.enabled = false);
    app.push_value("metrics.a", json!({"n": 1})).await;
    assert_eq!(app.get("/api/history?channel=metrics.a").await.status(), 404);
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "subscribe", "requestId": 1, "channel": "metrics.a", "backfill": "1h"})).await;
    assert_eq!(socket.next_of("subscribed").await["channels"][0]["status"], "active");
    assert_eq!(socket.next_of("error").await["code"], "RESOURCE_NOT_FOUND");
    assert_eq!(socket.next_of("metric").await["data"]["n"], 1, "the live stream continues");
}

/// Checks the numbers of a client's history against its first live number.
fn check_cutover(transport: &str, past: &Value, first: u64) {
    let buckets = past["fields"]["n"].as_array().map_or(&[][..], Vec::as_slice);
    let count: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    let total: u64 = buckets.iter().map(|bucket| bucket["total"].as_u64().unwrap()).sum();
    assert_eq!((count, total), (first - 1, first * (first - 1) / 2), "{transport}: every number before {first}, once");
}

async fn by_websocket(app: &TestApp, channel: &str) {
    let mut socket = app.websocket().await;
    let entry = json!({"name": channel, "backfill": "1d"});
    socket.send(json!({"type": "subscribe", "requestId": "b", "channels": [entry]})).await;
    socket.next_of("subscribed").await;
    let past = socket.next().await;
    assert_eq!(
        (&past["type"], &past["channel"], &past["requestId"]),
        (&json!("history"), &json!(channel), &json!("b"))
    );
    let first = socket.next().await;
    let n = first["data"]["n"].as_u64().unwrap();
    check_cutover("websocket", &past["data"], n);
    assert_eq!(first["data"]["text"], "x", "the value at the cutover is complete");
}

async fn by_stream(app: &TestApp, channel: &str) {
    let mut stream = app.events(&format!("?channels={channel}&backfill=1d")).await;
    assert_eq!(stream.next().await.unwrap().name, "connected");
    let past = stream.next().await.unwrap();
    assert_eq!((past.name.as_str(), &past.data()["channel"]), ("history", &json!(channel)));
    let first = stream.next().await.unwrap();
    check_cutover("sse", &past.data()["data"], first.data()["data"]["n"].as_u64().unwrap());
    // A client that reconnects continues without another backfill.
    let mut again = app.events_from(&format!("?channels={channel}&backfill=1d"), Some(&first.id)).await;
    assert_eq!(again.next().await.unwrap().name, "connected");
    app.push_event("metricsless.a", 1).await;
    drop(again);
}

async fn by_poll(app: &TestApp, channel: &str) {
    let results = app.get_json(&format!("/api/metrics?channels={channel}&backfill=1d")).await;
    let n = results["channels"][channel]["n"].as_u64().unwrap();
    check_cutover("poll", &results["history"][channel], n);
    let cursor = results["cursor"].as_str().unwrap();
    let next = app.get_json(&format!("/api/metrics?channels={channel}&since={cursor}&backfill=1d")).await;
    assert!(next.get("history").is_none(), "a client that continues has had it");
    if let Some(next) = next["channels"].get(channel) {
        assert!(next["n"].as_u64().unwrap() > n);
    }
    let one = app.get_json(&format!("/api/metrics/{channel}?backfill=1d")).await;
    check_cutover("one channel", &one["history"][channel], one["data"]["n"].as_u64().unwrap());
    let snapshot = app.get_json("/api/metrics?backfill=1d").await;
    let name = channel.strip_prefix("metrics.").unwrap();
    check_cutover("snapshot", &snapshot["history"][channel], snapshot["custom"][name]["n"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backfill_and_live_values_meet_without_gap_or_overlap() {
    let (clock, _) = clock("2026-06-01T12:00:00Z");
    let app = spawn_app_at(clock, every_version);
    push_and_record(&app, "metrics.shop", 1).await;
    let pushing = async {
        for n in 2..=60 {
            push_and_record(&app, "metrics.shop", n).await;
        }
    };
    let asking = async {
        for _ in 0..8 {
            tokio::join!(
                by_websocket(&app, "metrics.shop"),
                by_stream(&app, "metrics.shop"),
                by_poll(&app, "metrics.shop")
            );
        }
    };
    tokio::join!(pushing, asking);
    tokio::join!(by_websocket(&app, "metrics.shop"), by_stream(&app, "metrics.shop"), by_poll(&app, "metrics.shop"));
}

#[tokio::test]
async fn a_stopping_server_writes_its_points_and_the_next_one_returns_them() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, set) = clock("2026-10-24T21:59:59Z");
    let keep = |config: &mut Config| {
        config.data_dir = Some(directory.path().into());
        config.time_zone = "Europe/Berlin".into();
        every_version(config);
    };
    let mut app = spawn_app_at(clock.clone(), keep);
    // A second before midnight in Berlin, and on the day of 25 hours that follows.
    push_and_record(&app, "metrics.shop", 1).await;
    set("2026-10-24T22:00:00Z");
    push_and_record(&app, "metrics.shop", 2).await;
    set("2026-10-25T22:59:59Z");
    push_and_record(&app, "metrics.shop", 3).await;
    app.begin_stop();
    app.stopped().await;
    set("2026-10-26T12:00:00Z");
    let app = spawn_app_at(clock, keep);
    let days = "channel=metrics.shop&field=n&from=2026-10-20T00:00:00Z&to=2026-10-26T00:00:00Z&interval=day";
    let days = history(&app, days).await;
    let results: Vec<_> =
        days["buckets"].as_array().unwrap().iter().map(|day| (&day["period"], &day["total"])).collect();
    let expected = [(json!("2026-10-23T22:00:00.000Z"), json!(1)), (json!("2026-10-24T22:00:00.000Z"), json!(5))];
    assert_eq!(results, expected.iter().map(|(period, total)| (period, total)).collect::<Vec<_>>());
    let mut socket = app.websocket().await;
    let entry = json!({"name": "metrics.shop", "backfill": "7d"});
    socket.send(json!({"type": "subscribe", "channels": [entry]})).await;
    let past = socket.next_of("history").await;
    assert_eq!(past["data"]["fields"]["n"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn after_a_restart_channels_have_their_last_values_with_their_age() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, set) = clock("2026-10-24T10:00:00Z");
    let keep = |config: &mut Config| {
        config.data_dir = Some(directory.path().into());
        every_version(config);
    };
    let mut app = spawn_app_at(clock.clone(), keep);
    push_and_record(&app, "metrics.shop", 1).await;
    app.push_value("metrics.shop", json!({"n": 2, "in": {"depth": 0.5}, "text": "x"})).await;
    app.push_value("metrics.words", json!({"text": "x"})).await;
    let before = app.get_json("/api/metrics/metrics.shop").await;
    app.begin_stop();
    app.stopped().await;

    // The clock advances at each reading: some of the minute is left for that.
    set("2026-10-24T11:30:30Z");
    let app = spawn_app_at(clock, keep);
    let value = until("the last value", || async {
        let answer = app.get("/api/metrics/metrics.shop").await;
        if answer.status() == 200 { Some(answer.json::<Value>().await.unwrap()) } else { None }
    })
    .await;
    assert_eq!(value["data"], json!({"in": {"depth": 0.5}, "n": 2}), "the last version, without its texts");
    assert_eq!(value["timestamp"], before["timestamp"], "it has its original time");
    assert_eq!(app.get("/api/metrics/metrics.words").await.status(), 404, "history has no texts");
    let line = async || {
        let list = app.get_json("/api/channels").await;
        list["channels"].as_array().unwrap().iter().find(|line| line["channel"] == "metrics.shop").unwrap().clone()
    };
    let restored = line().await;
    assert!(restored["age"].as_str().unwrap().starts_with("PT1H30M") && restored["restored"] == true, "{restored}");
    assert_eq!(app.get_json("/api/metrics").await["custom"]["shop"]["n"], 2);

    assert_eq!(recorded(&app, "metrics.shop").await, 2, "a restored value is no new point");
    app.push_value("metrics.shop", json!({"n": 2, "in": {"depth": 0.5}})).await;
    assert_eq!(line().await["restored"], Value::Null, "written again, though unchanged");
    until("the point", || async { (recorded(&app, "metrics.shop").await == 3).then_some(()) }).await;
    app.push_value("metrics.shop", json!({"n": 3})).await;
    until("the point", || async { (recorded(&app, "metrics.shop").await == 4).then_some(()) }).await;
    let all = history(&app, "channel=metrics.shop&field=n&from=-1d&interval=raw").await;
    let values: Vec<_> = all["buckets"].as_array().unwrap().iter().map(|bucket| bucket["last"].clone()).collect();
    assert_eq!(values, [json!(1), json!(2), json!(2), json!(3)], "a written value is a point");
}

#[tokio::test]
async fn after_kill_9_every_roll_up_equals_its_points() {
    let app = spawn_app();
    let directory = tempfile::tempdir().unwrap();
    let every_version = [("TRICAST_HISTORY__RESOLUTION", "0")];
    let mut n = 0;
    for _ in 0..3 {
        let mut program = Program::start_with(directory.path(), &every_version);
        let visitor = app.at(program.address());
        let written = visitor.counter("tricast_history_points_total").await;
        // Until values of this process are in the store.
        until("points in the store", || {
            n += 1;
            let visitor = visitor.clone();
            async move {
                visitor.push_value("metrics.shop", json!({"n": n})).await;
                (visitor.counter("tricast_history_points_total").await > written).then_some(())
            }
        })
        .await;
        program.kill();
    }
    let program = Program::start_with(directory.path(), &every_version);
    let visitor = app.at(program.address());
    let sum = |answer: &Value| {
        let buckets = answer["buckets"].as_array().unwrap();
        let of = |name: &str| buckets.iter().map(|bucket| bucket[name].as_u64().unwrap()).sum::<u64>();
        (of("count"), of("total"))
    };
    let mut results = Vec::new();
    for interval in ["raw", "minute", "hour", "day"] {
        let query = format!("channel=metrics.shop&field=n&from=-1d&interval={interval}");
        results.push(sum(&history(&visitor, &query).await));
    }
    // The bucket of the day starts before the points, and all of them are of these minutes.
    assert!(results.iter().all(|of| *of == results[0]) && results[0].0 > 0, "{results:?}");
}
