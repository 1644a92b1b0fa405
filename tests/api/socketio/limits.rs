//! Limits on this transport (docs/socketio.md, "Limits"): the refusal, unaffected other clients, the counter.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Client,
    client::{POLLING, WEBSOCKET, websocket},
};
use crate::helpers::{TestApp, soon, spawn_app_with, spawn_app_with_tokens, token, until};

/// Another client is served as before.
async fn others_are_unharmed(app: &TestApp) {
    let mut other = Client::websocket(app).await;
    other.join("/tricast", json!({})).await;
    assert_eq!(other.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

/// Returns the close code of a WebSocket, after whatever it received before.
async fn close_code(client: &mut Client) -> u16 {
    let socket = client.socket.as_mut().unwrap();
    soon("the close", async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return frame.unwrap().code.into();
            }
        }
    })
    .await
}

#[tokio::test]
async fn connections_in_all() {
    let app = spawn_app_with(|config| config.limits.max_connections = 2);
    let (first, _second) = (Client::websocket(&app).await, Client::polling(&app).await);
    for path in [POLLING, WEBSOCKET] {
        let mut request = app.request(Method::GET, path);
        if path == WEBSOCKET {
            request = request.header("connection", "upgrade").header("upgrade", "websocket");
            request =
                request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let refused = soon("the refusal", request.send()).await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true), "{path}");
    }
    assert_eq!(app.limit("max_connections").await, 2.0);
    drop(first);
    until("the place to be free", || async { (app.get(POLLING).await.status() == 200).then_some(()) }).await;
}

#[tokio::test]
async fn handshakes_per_address() {
    let app = spawn_app_with(|config| config.limits.handshakes_per_second_per_address = 5);
    let attempts = (0..40).map(|_| async { app.get(POLLING).await.status().as_u16() });
    let statuses = futures_util::future::join_all(attempts).await;
    assert!(statuses.contains(&429) && statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(app.limit("handshakes_per_second_per_address").await >= 1.0);
    // The requests of a session are no handshakes.
    let path = until("a session", || async {
        let response = app.get(POLLING).await;
        let open = response.text().await.unwrap();
        let open: Value = serde_json::from_str(open.strip_prefix('0')?).ok()?;
        Some(format!("{POLLING}&sid={}", open["sid"].as_str()?))
    })
    .await;
    for _ in 0..20 {
        assert_eq!(app.post(&path, "6").await.status(), 200);
    }
}

#[tokio::test]
async fn subscriptions_of_each_namespace() {
    let app = spawn_app_with(|config| config.limits.max_subscriptions = 2);
    for mut client in Client::of_both(&app).await {
        client.join("/tricast", json!({})).await;
        let ack = client.ask("/tricast", json!(["subscribe", {"channels": ["a", "b", "c"]}])).await;
        assert_eq!(
            (&ack["channels"][1]["status"], &ack["channels"][2]["code"]),
            (&json!("active"), &json!("SUBSCRIPTION_LIMIT"))
        );
        let event = |namespace: &str, id: &str| match namespace {
            "/" => json!(["subscribe-metrics", id]),
            "/dashboard" => json!(["subscribe", {"entityId": id, "entityType": "shop"}]),
            _ => json!(["subscribe", {"dashboardId": id}]),
        };
        for namespace in ["/", "/dashboard", "/analytics/dashboard"] {
            client.join(namespace, json!({})).await;
            // Subscribing again needs no other place.
            for id in ["a", "b", "a"] {
                assert_eq!(client.ask(namespace, event(namespace, id)).await["status"], "ok", "{namespace}");
            }
            let ack = client.ask(namespace, event(namespace, "c")).await;
            assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!("ANALYTICS_1103")), "{namespace}");
        }
    }
    assert_eq!(app.limit("max_subscriptions").await, 8.0);
}

#[tokio::test]
async fn messages_of_a_connection() {
    let app = spawn_app_with(|config| {
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 5;
    });
    for (namespace, code) in [("/tricast", "RATE_LIMITED"), ("/", "ANALYTICS_1103")] {
        let mut client = Client::websocket(&app).await;
        client.join(namespace, json!({})).await;
        let event = if namespace == "/" { "42[\"a\"]" } else { "42/tricast,[\"ping\"]" };
        for _ in 0..12 {
            client.send(event).await;
        }
        loop {
            let error = client.event(namespace, "error").await;
            if error[1]["code"] == code {
                assert!(error[1]["details"]["retryAfter"].is_u64(), "{error}");
                break;
            }
        }
    }
    // A client that continues is closed, on either transport.
    let mut client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    for _ in 0..60 {
        // It may be closed before the last one is sent.
        let _ = client.socket.as_mut().unwrap().send(Message::text("42/tricast,[\"ping\"]")).await;
    }
    soon("the close", async { while client.next().await.is_some() {} }).await;
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    client.post(&["42/tricast,[\"ping\"]"; 60].join("\u{1e}")).await;
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
    assert!(app.limit("messages_per_second").await >= 20.0);
    others_are_unharmed(&app).await;
}

#[tokio::test]
async fn size_of_a_message() {
    let app = spawn_app_with(|config| config.limits.max_message.0 = 1_000);
    let large = format!("4{}", "x".repeat(1_000));
    let mut client = Client::polling(&app).await;
    assert_eq!(client.open["maxPayload"], 1_000);
    client.join("/tricast", json!({})).await;
    assert_eq!(client.post(&large).await, 413);
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok", "the session stays");
    let mut client = Client::websocket(&app).await;
    client.send(&large).await;
    assert_eq!(close_code(&mut client).await, 1009);
    // The attachments of a packet count together.
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    client.send("452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]").await;
    for _ in 0..2 {
        client.socket.as_mut().unwrap().send(Message::binary(vec![0; 600])).await.unwrap();
    }
    assert_eq!(close_code(&mut client).await, 1009);
    // A WebSocket that a session is upgraded to has the same limit.
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let mut socket = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
    for message in ["2probe", "5"] {
        socket.send(Message::text(message)).await.unwrap();
    }
    client.socket = Some(socket);
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
    client.send(&large).await;
    assert_eq!(close_code(&mut client).await, 1009);
    assert_eq!(app.limit("max_message").await, 4.0);
    others_are_unharmed(&app).await;
}

#[tokio::test]
async fn bad_messages_of_a_connection() {
    let app = spawn_app_with(|config| config.limits.max_bad_messages = 3);
    for (namespace, event) in
        [("/tricast", json!(["dance"])), ("/", json!(["dance"])), ("/dashboard", json!(["dance"]))]
    {
        let mut client = Client::websocket(&app).await;
        client.join(namespace, json!({})).await;
        for _ in 0..3 {
            assert_eq!(client.ask(namespace, event.clone()).await["status"], "error");
        }
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        client.send(&format!("42{name}{event}")).await;
        assert_eq!(close_code(&mut client).await, 4500, "{namespace}");
    }
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    client.send(&["42/tricast,[\"dance\"]"; 4].join("\u{1e}")).await;
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
    assert_eq!(app.limit("max_bad_messages").await, 4.0);
    others_are_unharmed(&app).await;
}

#[tokio::test]
async fn events_that_wait_for_the_result_of_one_before_them() {
    const WAITING: usize = 64;
    let app = spawn_app_with_tokens(|_| {});
    let mut client = Client::polling(&app).await;
    let ada = token("ada", "acme", &["read:metrics"]);
    client.join("/tricast", json!({"token": ada})).await;
    // In one payload, so that the token is not verified before the last one has arrived.
    let mut events = vec![format!("42/tricast,{}", json!(["refresh_token", {"token": ada}]))];
    events.extend((1..100).map(|n| format!("42/tricast,{n}[\"ping\"]")));
    client.send(&events.join("\u{1e}")).await;
    let (mut done, mut refused) = (0, 0);
    for _ in 1..100 {
        let ack = client.next_of("43/tricast,").await;
        match ack.contains(r#""code":"RATE_LIMITED""#) {
            true => refused += 1,
            false => {
                assert!(ack.contains(r#""status":"ok""#), "{ack}");
                done += 1;
            }
        }
    }
    assert_eq!((done, refused), (WAITING, 99 - WAITING));
    let admin = app.with(token("root", "default", &["admin"]));
    assert_eq!(admin.limit("max_requests").await as usize, refused);
}

#[tokio::test]
async fn requests_in_flight() {
    let app = spawn_app_with(|config| config.limits.max_requests = 1);
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    // In one payload, so that the first is in flight when the others come.
    let request = |n| format!("42/tricast,{n}[\"request\",{{\"action\":\"list_orders\"}}]");
    client.send(&(0..20).map(request).collect::<Vec<_>>().join("\u{1e}")).await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        let ack = client.next_of("43/tricast,").await;
        codes.push(ack.contains("RATE_LIMITED"));
    }
    assert!(codes.contains(&true) && codes.contains(&false), "{codes:?}");
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
    assert!(app.limit("max_requests").await >= 1.0);
}

#[tokio::test]
async fn time_to_join_a_namespace() {
    let app = spawn_app_with_tokens(|config| config.limits.auth_timeout.0 = Duration::from_secs(1));
    let mut joined = Client::websocket(&app).await;
    joined.join("/tricast", json!({"token": token("ada", "acme", &["read:metrics"])})).await;
    let mut silent = Client::websocket(&app).await;
    let mut refused = Client::websocket(&app).await;
    refused.refused("/tricast", json!({"token": "x.y.z"})).await;
    let polling = Client::polling(&app).await;
    for client in [&mut silent, &mut refused] {
        assert_eq!(close_code(client).await, 4401);
    }
    until("the end", || async { (polling.poll().await == Err(400)).then_some(()) }).await;
    assert_eq!(app.with(token("root", "default", &["admin"])).limit("auth_timeout").await, 3.0);
    assert_eq!(joined.ask("/tricast", json!(["ping"])).await["status"], "ok");
    // A client that leaves its last namespace has the time again.
    joined.send("41/tricast,").await;
    assert_eq!(close_code(&mut joined).await, 4401);
}

#[tokio::test]
async fn time_of_a_post() {
    let app = spawn_app_with(|config| config.limits.body_timeout.0 = Duration::from_secs(1));
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n42", client.path(), app.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = vec![0; 12];
    soon("the response", stream.read_exact(&mut response)).await.unwrap();
    assert_eq!(response, b"HTTP/1.1 408");
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok", "the session stays");
}

#[tokio::test]
async fn connections_per_address() {
    let app = spawn_app_with(|config| config.limits.max_connections_per_address = 4);
    let mut held = Vec::new();
    held.extend(Client::of_both(&app).await);
    held.extend(Client::of_both(&app).await);
    assert_eq!(app.get(POLLING).await.status(), 429);
    assert!(app.limit("max_connections_per_address").await >= 1.0);
    drop(held);
    until("a place", || async { (app.get(POLLING).await.status() == 200).then_some(()) }).await;
}

#[tokio::test]
async fn unread_replies_are_bounded() {
    let app = spawn_app_with(|config| config.limits.max_message.0 = 0);
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let names: Vec<String> = (0..500).map(|n| format!("a.{n}")).collect();
    let subscribe = format!("42/tricast,{}", json!(["subscribe", {"channels": names}]));
    // It never polls: the server stops reading, and then refuses.
    let refused = until("the refusal", || {
        let (client, subscribe) = (&client, &subscribe);
        async move { (client.post(subscribe).await == 400).then_some(()) }
    });
    refused.await;
    client.event("/tricast", "subscribed").await;
}

#[tokio::test]
async fn the_connection_limit_of_a_user_includes_socketio() {
    let app = spawn_app_with_tokens(|config| config.limits.max_connections_per_user = 1);
    let ada = token("ada", "acme", &["read:metrics"]);
    let mut first = Client::websocket(&app).await;
    first.join("/tricast", json!({"token": ada})).await;
    first.join("/", json!({"token": ada})).await;
    let mut second = Client::polling(&app).await;
    let error = second.refused("/tricast", json!({"token": ada})).await;
    assert_eq!(error["data"]["code"], "RATE_LIMITED");
    assert!(error["data"]["retryAfter"].is_u64(), "{error}");
}
