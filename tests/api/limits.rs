//! Limits (docs/protocol.md, section 10.3): the refusal, unaffected other clients, the counter.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::helpers::{TestApp, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token, until};

/// Checks that another client is served.
async fn other_clients_are_served(app: &TestApp) {
    assert_eq!(app.get("/api/metrics").await.status(), 200);
    let mut socket = app.websocket().await;
    socket.ask(json!({"type": "ping"}), "pong").await;
}

#[tokio::test]
async fn connections_in_all() {
    let app = spawn_app_with(|config| config.limits.max_connections = 2);
    let (first, _second) = (app.websocket().await, app.events("").await);
    assert_eq!(app.try_websocket_at("/ws").await.err(), Some(503));
    let refused = app.get("/events?strict=1").await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
    // A held poll counts too; without a permit it is answered at once.
    app.push_value("metrics.shop", json!({"x": 1})).await;
    let tag = app.get("/api/metrics/metrics.shop").await.headers()["etag"].clone();
    let held = app.request(Method::GET, "/api/metrics/metrics.shop?wait=20").header("if-none-match", tag);
    assert_eq!(soon("an answer at once", held.send()).await.unwrap().status(), 304);
    assert_eq!(app.limit("max_connections").await, 3.0);
    drop(first);
    until("a free permit", || async { app.try_websocket_at("/ws").await.ok() }).await;
}

#[tokio::test]
async fn connections_per_address() {
    let app = spawn_app_with(|config| {
        config.limits.max_connections_per_address = 2;
        config.trusted_proxies = vec!["127.0.0.0/8".into()];
    });
    let from = |address: &'static str| app.request(Method::GET, "/events?strict=1").header("x-forwarded-for", address);
    let streams = [from("203.0.113.1").send().await.unwrap(), from("203.0.113.1").send().await.unwrap()];
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let refused = from("203.0.113.1").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    assert_eq!(
        from("198.51.100.9, 203.0.113.1").send().await.unwrap().status(),
        429,
        "earlier addresses are not trusted"
    );
    assert_eq!(from("203.0.113.2").send().await.unwrap().status(), 200);
    assert_eq!(app.limit("max_connections_per_address").await, 2.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn connections_without_a_stream_per_address() {
    let app = spawn_app_with(|config| {
        config.limits.max_connections_per_address = 4;
        config.limits.header_timeout.0 = Duration::from_secs(60);
    });
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(tokio::net::TcpStream::connect(app.address).await.unwrap());
    }
    let get = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", app.address);
    let status = async || app.raw(get.as_bytes(), |_| false).await.get(9..12).map(<[u8]>::to_vec);
    // A request may get the permit of an idle connection that is counted after it, which then exceeds the limit.
    soon("the limit", async {
        while status().await.as_deref() != Some(b"429") {
            idle.push(tokio::net::TcpStream::connect(app.address).await.unwrap());
        }
    })
    .await;
    let (stream, _socket) = (app.events("").await, app.websocket().await);
    drop(stream);

    // Many more are closed without a response, so that they occupy no descriptors.
    for _ in 0..30 {
        idle.push(tokio::net::TcpStream::connect(app.address).await.unwrap());
    }
    until("a connection that is closed unanswered", || async { status().await.is_none().then_some(()) }).await;
    drop(idle);
    until("room", || async { (status().await.as_deref() == Some(b"200")).then_some(()) }).await;
    assert!(app.limit("max_connections_per_address").await >= 2.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn a_forged_address_without_a_trusted_proxy() {
    let app = spawn_app_with(|config| config.limits.max_connections_per_address = 1);
    let _open = app.websocket().await;
    let forged = app.request(Method::GET, "/events?strict=1").header("x-forwarded-for", "203.0.113.1");
    assert_eq!(forged.header("forwarded", "for=203.0.113.1").send().await.unwrap().status(), 429);
}

#[tokio::test]
async fn connections_per_user() {
    let app = spawn_app_with_tokens(|config| config.limits.max_connections_per_user = 2);
    let ada = app.with(token("ada", "acme", &["admin"]));
    let _open = (ada.websocket().await, ada.events("").await);
    assert_eq!(ada.try_websocket_at("/ws").await.err(), Some(429));
    // A socket that authenticates later is refused as well.
    let mut late = app.websocket().await;
    late.send(json!({"type": "authenticate", "token": ada.token})).await;
    let (code, before) = late.closed().await;
    assert_eq!((code, &before.last().unwrap()["code"]), (4429, &json!("RATE_LIMITED")));
    let bob = app.with(token("bob", "default", &["admin"]));
    bob.websocket().await.ask(json!({"type": "ping"}), "pong").await;
    assert_eq!(bob.limit("max_connections_per_user").await, 2.0);
}

#[tokio::test]
async fn a_million_handshakes_from_one_address() {
    let app = spawn_app_with(|config| {
        config.limits.handshakes_per_second_per_address = 20;
        config.trusted_proxies = vec!["127.0.0.1".into()];
    });
    let flood = (0..300).map(|_| async {
        let attempt = app.request(Method::GET, "/events?strict=1").header("x-forwarded-for", "203.0.113.66");
        attempt.send().await.unwrap().status().as_u16()
    });
    let answers = futures_util::future::join_all(flood).await;
    let refused = answers.iter().filter(|status| **status == 429).count();
    // The flood takes a moment, in which some more are admitted.
    assert!(answers.iter().all(|status| [200, 429].contains(status)) && refused >= 100, "{answers:?}");
    assert!(app.limit("handshakes_per_second_per_address").await >= 100.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn message_flood() {
    let app = spawn_app_with(|config| {
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 10;
    });
    let mut socket = app.websocket().await;
    // Many more than the burst, so that some are refused however long sending takes.
    for n in 0..25 {
        socket.send(json!({"type": "ping", "requestId": n})).await;
    }
    for n in 0..10 {
        assert_eq!(socket.next_of("pong").await["requestId"], n);
    }
    let refused = socket.next_of("error").await;
    assert_eq!(refused["code"], "RATE_LIMITED");
    // After the given time one is accepted again.
    soon("a pong", async {
        let mut wait = refused["details"]["retryAfter"].as_u64().unwrap();
        for n in 0.. {
            assert!((1..=1_001).contains(&wait), "{wait}");
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let id = format!("later {n}");
            socket.send(json!({"type": "ping", "requestId": id})).await;
            let mut answer = socket.next().await;
            while answer["requestId"] != json!(id) {
                answer = socket.next().await;
            }
            if answer["type"] == "pong" {
                break;
            }
            wait = answer["details"]["retryAfter"].as_u64().unwrap();
        }
    })
    .await;
    // A client that continues is disconnected.
    for n in 0..200 {
        socket.send(json!({"type": "ping", "requestId": n})).await;
    }
    let (code, before) = socket.closed().await;
    assert_eq!(code, 4429);
    assert!(before.iter().filter(|message| message["code"] == "RATE_LIMITED").count() >= 30);
    assert!(app.limit("messages_per_second").await >= 50.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn ping_frame_flood() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    let app = spawn_app_with(|config| {
        config.limits.messages_per_second = 5;
        config.limits.message_burst = 10;
    });
    let mut socket = app.websocket().await;
    for _ in 0..200 {
        if socket.stream.send(Message::Ping("x".into())).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.closed().await.0, 4429);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn subscription_flood() {
    let app = spawn_app_with(|config| config.limits.max_subscriptions = 3);
    let mut socket = app.websocket().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("flood.{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lines = socket.subscribe(&names).await;
    assert_eq!(lines["activeSubscriptions"], 3);
    let denied = lines["channels"].as_array().unwrap().iter().filter(|line| line["code"] == "SUBSCRIPTION_LIMIT");
    assert_eq!((denied.count(), &lines["denied"]), (100, &json!(997)));
    let too_many = (0..1_001).map(|n| format!("a{n}")).collect::<Vec<_>>();
    let refused = socket.ask(json!({"type": "subscribe", "channels": too_many}), "error").await;
    assert_eq!(refused["code"], "INVALID_MESSAGE");
    assert_eq!(app.get("/events?channels=a,b,c,d").await.status(), 400);
    assert_eq!(app.get("/api/metrics?channels=a,b,c,d").await.status(), 400);
    assert_eq!(app.limit("max_subscriptions").await, 997.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn a_hundred_thousand_channels() {
    let app = spawn_app_with(|config| config.limits.max_channels = 1_000);
    for batch in 0..10 {
        let lines =
            (0..10_000).map(|n| format!("{{\"channel\":\"c{batch}.{n}\",\"data\":{{}}}}\n")).collect::<String>();
        let answer: serde_json::Value = app.post("/api/metrics", lines).await.json().await.unwrap();
        assert_eq!(answer["accepted"], if batch == 0 { 1_000 } else { 0 });
        assert_eq!(answer["refused"], if batch == 0 { 9_000 } else { 10_000 });
        let listed = answer["results"].as_array().unwrap();
        assert_eq!(
            (listed.len(), &listed[listed.len() - 1]["status"]),
            (if batch == 0 { 1_100 } else { 100 }, &json!(429))
        );
    }
    assert_eq!(app.limit("max_channels").await, 99_000.0);
    let one = app.post("/api/metrics", r#"{"channel":"another","data":{}}"#).await;
    assert_eq!((one.status().as_u16(), one.headers().contains_key("retry-after")), (429, true));
    app.push_value("c0.5", json!({"x": 1})).await;
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn the_response_to_bad_lines_is_bounded() {
    let app = spawn_app();
    let full = app.post("/api/metrics", "{}\n".repeat(9_000)).await;
    assert_eq!(full.status(), 207);
    let text = full.text().await.unwrap();
    assert!(text.len() < 27_000, "{} bytes", text.len());
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(0), &json!(9_000)));
    assert_eq!(answer["results"].as_array().unwrap().len(), 100);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn a_push_of_too_many_lines_is_refused_as_a_whole() {
    let app = spawn_app_with(|config| config.limits.max_lines = 3);
    let line = r#"{"channel":"a","data":{"x":1}}"#;
    for body in [[line; 4].join("\n"), format!("[{}]", [line; 4].join(","))] {
        let refused = app.post("/api/metrics", body).await;
        assert_eq!(refused.status(), 413);
        let problem: serde_json::Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "INVALID_MESSAGE");
        assert!(problem["detail"].as_str().unwrap().contains("more than 3 lines"), "{problem}");
    }
    assert_eq!(app.get("/api/metrics/a").await.status(), 404);
    assert_eq!(app.limit("max_lines").await, 2.0);
    assert_eq!(app.post("/api/metrics", [line; 3].join("\n")).await.status(), 202);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn values_of_channels_outside_the_snapshot_are_bounded_together() {
    let app = spawn_app_with(|config| {
        config.limits.max_state.0 = 3_000;
        config.limits.max_state_total.0 = 0;
    });
    let value = |n: usize| json!({"x": "y".repeat(n)});
    app.push_value("foo.1", value(1_000)).await;
    app.push_value("foo.2", value(1_000)).await;
    let full = app.post("/api/metrics", json!({"channel": "foo.3", "data": value(1_000)}).to_string()).await;
    assert_eq!((full.status().as_u16(), full.headers().contains_key("retry-after")), (429, true));
    let problem: serde_json::Value = full.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("3000 bytes together"), "{problem}");
    assert_eq!(app.limit("max_state").await, 1.0);
    assert!(app.counter("tricast_state_bytes").await > 2_000.0);
    app.push_value("foo.1", value(10)).await;
    app.push_value("foo.3", value(1_000)).await;
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn messages_and_bodies_that_are_too_large() {
    let app = spawn_app_with(|config| {
        config.limits.max_message.0 = 1_000;
        config.limits.max_body.0 = 1_000;
    });
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "ping", "padding": "x".repeat(1_000)})).await;
    assert_eq!(socket.closed().await.0, 1009);
    assert_eq!(app.limit("max_message").await, 1.0);
    assert_eq!(app.post("/api/metrics", "x".repeat(1_001)).await.status(), 413);
    assert_eq!(app.limit("max_body").await, 1.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn bad_messages_are_counted_when_they_close() {
    let app = spawn_app_with(|config| config.limits.max_bad_messages = 3);
    let mut socket = app.websocket().await;
    for _ in 0..3 {
        socket.send(json!({"type": "nonsense"})).await;
    }
    assert_eq!(socket.closed().await.0, 4500);
    assert_eq!(app.limit("max_bad_messages").await, 1.0);
}

#[tokio::test]
async fn heads_and_bodies_that_never_arrive() {
    let app = spawn_app_with(|config| {
        config.limits.header_timeout.0 = Duration::from_secs(1);
        config.limits.body_timeout.0 = Duration::from_secs(1);
    });
    let mut silent = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let mut answer = Vec::new();
    soon("the silent one to be cut", silent.read_to_end(&mut answer)).await.unwrap();
    until("the counter", || async { (app.limit("header_timeout").await >= 1.0).then_some(()) }).await;
    let head = format!("POST /api/metrics HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{", app.address);
    let answer = app.raw(head.as_bytes(), |_| false).await;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(app.limit("body_timeout").await, 1.0);
    other_clients_are_served(&app).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_silently_and_a_held_poll_is_not_idle() {
    let app = spawn_app_with(|config| config.limits.keep_alive.0 = Duration::from_secs(1));
    app.push_value("metrics.still", json!({"n": 1})).await;
    let tag = app.get("/api/metrics/metrics.still").await.headers()["etag"].to_str().unwrap().to_owned();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\nIf-None-Match: {tag}\r\n\r\n", app.address);
    let requests = get("/api/metrics/metrics.still?wait=4") + &get("/healthz");
    let answer = app.raw(requests.as_bytes(), |_| false).await;
    let text = String::from_utf8_lossy(&answer);
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
    assert!(text.contains("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(app.limit("header_timeout").await, 0.0);
}

#[tokio::test]
async fn requests_are_bounded_in_flight() {
    let app = spawn_app_with(|config| config.limits.max_requests = 2);
    let mut socket = app.websocket().await;
    let mut ids = Vec::new();
    for n in 0..200 {
        let request = json!({"type": "request", "requestId": n, "action": "list_orders", "params": {}});
        socket.send(request).await;
    }
    while ids.len() < 200 {
        let answer = socket.next().await;
        assert!(answer["type"] == "response" || answer["code"] == "RATE_LIMITED", "{answer}");
        ids.push(answer["requestId"].as_u64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>(), "each is answered, once");
}
