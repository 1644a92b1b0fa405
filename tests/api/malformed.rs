//! Malformed input of every kind on every endpoint: a clear refusal, without harm to other clients.

use futures_util::SinkExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::helpers::{TestApp, soon, spawn_app, spawn_app_with};

/// Checks that other clients are served.
async fn still_serves(app: &TestApp) {
    let mut socket = app.websocket().await;
    socket.subscribe(&["check"]).await;
    let n = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    app.push_value("check", json!({"n": n})).await;
    while socket.next_of("metric").await["data"]["n"] != n {}
}

#[tokio::test]
async fn bad_handshakes_are_refused_with_the_fault() {
    let app = spawn_app();
    let ok = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let handshake = |change: &'static [(&'static str, Option<&'static str>)]| {
        let mut head = String::new();
        for (name, value) in ok {
            let value = change.iter().find(|(changed, _)| *changed == name).map_or(Some(value), |(_, value)| *value);
            if let Some(value) = value {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for (name, value) in change.iter().filter(|(name, _)| !ok.iter().any(|(known, _)| known == name)) {
            head.push_str(&format!("{name}: {}\r\n", value.unwrap()));
        }
        format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{head}\r\n", app.address)
    };
    for (status, change) in [
        (101, &[][..]),
        (101, &[("Connection", Some("keep-alive, Upgrade"))]),
        (426, &[("Upgrade", None), ("Connection", None), ("Sec-WebSocket-Key", None), ("Sec-WebSocket-Version", None)]),
        (400, &[("Sec-WebSocket-Version", Some("8"))]),
        (400, &[("Sec-WebSocket-Version", None)]),
        (426, &[("Sec-WebSocket-Key", None)]),
        (400, &[("Sec-WebSocket-Key", Some("short"))]),
        (400, &[("Upgrade", Some("h2c"))]),
        (403, &[("Origin", Some("http://evil.example"))]),
        (403, &[("Origin", Some("null"))]),
    ] {
        let answer = app.raw(handshake(change).as_bytes(), |answer| answer.windows(4).any(|w| w == b"\r\n\r\n")).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{change:?}: {text}");
        if status == 400 || status == 426 {
            assert!(text.to_lowercase().contains("sec-websocket-version: 13"), "{text}");
        }
    }
    let old = format!(
        "GET /ws HTTP/1.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        ok[3].1
    );
    let answer = app.raw(old.as_bytes(), |_| false).await;
    assert!(
        answer.starts_with(b"HTTP/1.0 400") || answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    still_serves(&app).await;
}

#[tokio::test]
async fn a_message_too_big_for_the_limit_is_1009_on_a_foreign_client() {
    let app = spawn_app_with(|config| config.limits.max_message.0 = 1_000);
    let mut socket = app.websocket().await;
    socket.stream.send(Message::text(" ".repeat(1_001))).await.unwrap();
    assert_eq!(socket.closed().await.0, 1009);
    still_serves(&app).await;
}

#[tokio::test]
async fn bad_bodies_are_problems_with_the_id_of_the_request() {
    let app = spawn_app();
    let deep = format!(r#"{{"channel":"a","data":{{"x":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        br#"{"channel":"a","data":{"x":"\ud800"}}"#,
        br#"{"channel":"a","data":{"x":1e999}}"#,
        br#"{"channel":"a\u0000b","data":{}}"#,
        br#"{"channel":"a","data":5}"#,
        deep.as_bytes(),
    ];
    for body in bodies {
        let answer = app
            .request(Method::POST, "/api/metrics")
            .header("x-request-id", "mine-1")
            .body(body.to_vec())
            .send()
            .await
            .unwrap();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.status(), 400, "{shown}");
        assert_eq!(answer.headers()["x-request-id"], "mine-1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["instance"], &problem["code"]), (&json!("mine-1"), &json!("INVALID_MESSAGE")), "{shown}");
        assert!(problem["detail"].as_str().unwrap().len() > 5 && problem["title"] == "Bad Request", "{problem}");
    }
    still_serves(&app).await;
}

#[tokio::test]
async fn every_wrong_path_and_method_is_a_problem() {
    let app = spawn_app();
    for (method, path, status) in [
        (Method::GET, "/nope", 404),
        (Method::GET, "/static/../Cargo.toml", 404),
        (Method::GET, "/static/%2e%2e/Cargo.toml", 404),
        (Method::GET, "/static/", 404),
        (Method::DELETE, "/api/metrics", 405),
        (Method::POST, "/events", 405),
        (Method::POST, "/", 405),
        (Method::PUT, "/api/orders", 405),
        (Method::TRACE, "/", 405),
        (Method::TRACE, "/nope", 404),
        (Method::from_bytes(b"QUERY").unwrap(), "/api/orders", 405),
        (Method::from_bytes(b"BREW").unwrap(), "/", 501),
    ] {
        let answer = soon(path, app.request(method.clone(), path).send()).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(answer.headers().contains_key("allow"), status == 405, "{method} {path}");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(answer.json::<Value>().await.unwrap()["instance"], json!(id));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let app = spawn_app_with(|config| config.limits.max_body.0 = 1_000);
    let announced = "POST /api/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n".to_owned();
    let chunked = format!(
        "POST /api/metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
        2_000,
        "x".repeat(2_000)
    );
    let endless = "GET /api/metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned();
    let answer = app.raw(endless.as_bytes(), |_| false).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "the connection ends after the answer");
    for request in [announced, chunked] {
        // Refused before the body has ended; the connection is closed after it.
        let answer = app.raw(request.as_bytes(), |_| false).await;
        assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    }
    still_serves(&app).await;
}

/// PostgreSQL cannot store U+0000, so every endpoint refuses it, with any store.
#[tokio::test]
async fn u0000_is_refused_on_every_endpoint_and_named() {
    let app = spawn_app();
    let rule = r#"{"id":"r","name":"R","channel":"metrics.a","field":"x","condition":{"above":1},"severity":"info"}"#;
    assert_eq!(app.post("/api/alerts/rules", rule).await.status(), 201);
    assert_eq!(app.post("/api/dashboards", r#"{"id":"b","name":"B","tiles":[]}"#).await.status(), 201);
    for (method, path, body, place) in [
        ("POST", "/api/metrics", r#"{"channel":"metrics.a","data":{"a\u0000b":1}}"#, "data: the name"),
        ("POST", "/api/metrics", r#"{"channel":"a","data":{"x":["\u0000"]}}"#, "data.x[0]"),
        ("POST", "/api/metrics", r#"{"channel":"e","event":"x","data":{"x":"a\u0000"}}"#, "data.x"),
        ("POST", "/api/metrics", r#"{"channel":"a\u0000","data":{}}"#, "channel"),
        ("POST", "/api/metrics", r#"{"metric":"a.b","type":"gauge","value":1,"labels":{"x":"\u0000"}}"#, "labels.x"),
        ("POST", "/api/orders", r#"{"items":1,"total":1,"customerName":"a\u0000"}"#, "customerName"),
        ("POST", "/api/customers", r#"{"customerId":"a\u0000"}"#, "customerId"),
        ("POST", "/api/dashboards", r#"{"name":"a\u0000","tiles":[]}"#, "name"),
        ("PUT", "/api/dashboards/b", r#"{"name":"B","tiles":[{"type":"text","title":"\u0000"}]}"#, "tiles[0].title"),
        (
            "POST",
            "/api/dashboards/b/tiles",
            r#"{"type":"text","title":"T","options":{"\u0000":1}}"#,
            "options: the name",
        ),
        ("PUT", "/api/alerts/rules/r", &rule.replace("\"R\"", "\"R\\u0000\""), "name"),
        ("GET", "/api/orders/ord%00", "", "%00"),
        ("GET", "/api/history?channel=metrics.a&field=x%00", "", "%00"),
        ("POST", "/api/alerts/a%00/acknowledge", "", "%00"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let refused = app.request(method, path).body(body.to_owned()).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{path} {body}");
        let problem: Value = refused.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(problem["code"], "INVALID_MESSAGE", "{path} {body}");
        assert!(detail.contains(place), "{path} {body}: {detail}");
    }
    let lines = "{\"channel\":\"a\",\"data\":{\"x\":1}}\n{\"channel\":\"a\",\"data\":{\"x\":\"\\u0000\"}}";
    let mixed: Value = app.post("/api/metrics", lines).await.json().await.unwrap();
    assert_eq!(
        (&mixed["accepted"], &mixed["refused"]),
        (&json!(1), &json!(1)),
        "a bad line does not affect the others"
    );
    let mut socket = app.websocket().await;
    let params = json!({"orderId": "\0", "priority": "high"});
    let asked = json!({"type": "request", "requestId": 1, "action": "mark_order_priority", "params": params});
    let refused = socket.ask(asked, "error").await;
    assert_eq!((&refused["code"], &refused["requestId"]), (&json!("INVALID_MESSAGE"), &json!(1)));
    assert_eq!(app.get("/api/metrics/metrics.a").await.status(), 404, "no part of it was accepted");
    // An escaped backslash before such letters is not one.
    app.push(json!({"channel": "a", "data": {"x": "\\u0000"}})).await;
    still_serves(&app).await;
}
