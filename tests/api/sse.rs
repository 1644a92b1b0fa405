//! Event streams (docs/protocol.md, section 3).

use serde_json::json;

use crate::helpers::{soon, spawn_app, spawn_app_with};

#[tokio::test]
async fn a_stream_begins_with_retry_and_connected_on_both_paths() {
    let app = spawn_app();
    for path in ["/events", "/api/events"] {
        let response = app.get(path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-cache, no-transform");
        assert_eq!(header("x-accel-buffering"), "no");
        assert!(!response.headers().contains_key("content-encoding"));
    }
    let mut stream = app.events("").await;
    let connected = stream.next().await.unwrap();
    assert_eq!(stream.retry, Some(2_000));
    assert_eq!((connected.name.as_str(), &connected.data()["cursor"]), ("connected", &json!(connected.id)));
    assert!(connected.data()["session"].is_string());
    assert_eq!(stream.next_of("metrics").await.name, "metrics", "the default channels");
}

#[tokio::test]
async fn events_have_the_documented_names() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"x": 1})).await;
    let mut stream = app.events("?channels=metrics.a,orders,deploys").await;
    assert_eq!(stream.next_of("metric").await.data()["channel"], "metrics.a");
    app.post("/api/orders", json!({"items": 1, "total": 9.99, "customerName": "Ada"}).to_string()).await;
    let created = stream.next_of("order_created").await.data();
    assert_eq!((&created["channel"], &created["data"]["total"]), (&json!("orders"), &json!(9.99)));
    app.push_event("deploys", 1).await;
    assert_eq!(stream.next_of("happened").await.data()["data"], json!({"n": 1}));
}

#[tokio::test]
async fn a_native_reconnect_gets_the_missed_events_and_no_state_twice() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let mut stream = app.events("?channels=metrics.a,deploys").await;
    let first = stream.next_of("metric").await;
    app.push_event("deploys", 1).await;
    let event = stream.next_of("happened").await;
    drop(stream);
    app.push_event("deploys", 2).await;

    let mut again = app.events_from("?channels=metrics.a,deploys", Some(&event.id)).await;
    let connected = again.next().await.unwrap();
    assert_eq!((&connected.data()["resume"], &connected.id), (&json!("replayed"), &event.id));
    let next = again.next().await.unwrap();
    assert_eq!((next.name.as_str(), &next.data()["data"]), ("happened", &json!({"n": 2})), "not {first:?} again");
    app.push_value("metrics.a", json!({"n": 2})).await;
    assert_eq!(again.next().await.unwrap().data()["data"], json!({"n": 2}));
}

#[tokio::test]
async fn last_event_id_takes_precedence_over_since() {
    let app = spawn_app();
    let old = app.push_event("deploys", 1).await;
    app.push_event("deploys", 2).await;
    let new = app.push_event("deploys", 3).await;
    app.push_event("deploys", 4).await;
    let mut stream = app.events_from(&format!("?channels=deploys&since={old}"), Some(&new)).await;
    assert_eq!(stream.next_of("happened").await.data()["data"], json!({"n": 4}));
}

#[tokio::test]
async fn a_permanent_refusal_has_its_real_status() {
    let app = spawn_app();
    for (path, status) in [
        ("/events?channels=no%20good", 400),
        ("/events?channels=", 400),
        ("/events?interval=often", 400),
        ("/events?interval=1s&interval=2s", 400),
        ("/eventz", 404),
    ] {
        let response = soon(path, app.request(reqwest::Method::GET, path).header("accept", "text/event-stream").send())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_temporary_refusal_is_a_stream_with_a_reconnection_time() {
    let app = spawn_app_with(|config| config.limits.max_connections = 1);
    let _first = app.events("").await;
    let mut refused = app.events("").await;
    let error = refused.next().await.unwrap();
    assert!(refused.retry.unwrap() >= 1_000);
    assert_eq!((error.name.as_str(), &error.data()["status"]), ("error", &json!(503)));
    assert_eq!(refused.next().await, None);
    // A client that requests it, or that is not an EventSource, gets the status.
    let strict = app
        .request(reqwest::Method::GET, "/events?strict=1")
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(strict.status(), 503);
    assert!(strict.headers().contains_key("retry-after"));
    assert_eq!(app.get("/events").await.status(), 503);
    assert_eq!(app.counter("tricast_limit_reached_total{limit=\"max_connections\"}").await, 3.0);
}

#[tokio::test]
async fn an_interval_delays_states_but_no_event() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 0})).await;
    let mut stream = app.events("?channels=metrics.a,deploys&interval=1h").await;
    stream.next_of("metric").await;
    app.push_value("metrics.a", json!({"n": 1})).await;
    for n in 1..=3 {
        app.push_event("deploys", n).await;
        assert_eq!(stream.next().await.unwrap().data()["data"], json!({"n": n}));
    }
}
