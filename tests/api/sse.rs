//! Event streams (docs/protocol.md, section 3).

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::helpers::{soon, spawn_app, spawn_app_with, until};

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

/// Returns the head and the body of the stream of a client that sends `request`, up to the end of its connection.
async fn whole_stream(request: &str) -> (String, Vec<u8>) {
    let app = spawn_app_with(|config| config.max_connection_age.0 = Duration::from_millis(500));
    app.push_value("metrics.a", json!({"text": "x".repeat(5_000)})).await;
    let answer = app.raw(request.as_bytes(), |_| false).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase(), answer[end + 4..].to_vec())
}

/// Returns the data of a chunked body that ends with its last chunk, and with nothing behind it.
fn data_of_chunks(mut body: &[u8]) -> String {
    let mut data = Vec::new();
    loop {
        let line = body.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        let (chunk, rest) = body[line + 2..].split_at(size);
        data.extend_from_slice(chunk);
        body = rest.strip_prefix(b"\r\n").unwrap();
        if size == 0 {
            assert!(body.is_empty(), "{}", String::from_utf8_lossy(body));
            return String::from_utf8(data).unwrap();
        }
    }
}

#[tokio::test]
async fn a_stream_is_whole_chunks_and_the_connection_has_no_other_response() {
    let pipelined =
        "GET /events?channels=metrics.a HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let (head, body) = whole_stream(pipelined).await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\ntransfer-encoding: chunked"), "{head}");
    assert!(head.contains("\r\nconnection: close"), "{head}");
    let text = data_of_chunks(&body);
    assert!(text.starts_with("retry: 2000\n\n") && text.contains("event: metric\n"), "{text}");
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: bye\n"), "{text}");
}

#[tokio::test]
async fn a_stream_in_http_1_0_has_no_chunks() {
    let (head, body) = whole_stream("GET /events?channels=metrics.a HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("http/1.0 200 ") && !head.contains("transfer-encoding"), "{head}");
    let text = String::from_utf8(body).unwrap();
    assert!(text.starts_with("retry: 2000\n\n") && text.ends_with("\n\n"), "{text}");
    assert!(text.contains("\n\nid: ") && text.contains("event: bye\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_sends_on_and_on_is_disconnected_and_one_that_leaves_is_noticed() {
    let app = spawn_app();
    let open = async |count: f64| {
        until("the number of streams", || async {
            (app.counter("tricast_connections{transport=\"sse\"}").await == count).then_some(())
        })
        .await;
    };
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    open(1.0).await;
    soon("the end of the connection", async { while stream.write_all(&[b'x'; 8_192]).await.is_ok() {} }).await;
    open(0.0).await;
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    open(1.0).await;
    drop(stream);
    open(0.0).await;
}
