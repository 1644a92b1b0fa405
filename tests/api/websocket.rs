//! The WebSocket protocol (docs/protocol.md, section 2).

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::helpers::{soon, spawn_app, spawn_app_with};

#[tokio::test]
async fn a_client_is_greeted_on_both_paths() {
    let app = spawn_app();
    for path in ["/ws", "/v1/dashboard/ws"] {
        let socket = app.websocket_at(path).await;
        let connected = &socket.connected;
        assert_eq!(connected["capabilities"], json!(["metrics", "alerts", "orders", "system"]));
        assert_eq!(connected["heartbeatInterval"], 25_000);
        assert_eq!(connected["serverVersion"], env!("CARGO_PKG_VERSION"));
        assert!(connected["cursor"].as_str().unwrap().contains(':') && connected["connectionId"].is_string());
    }
}

#[tokio::test]
async fn a_subscription_is_confirmed_and_followed_by_the_current_value() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"x": 1})).await;
    let mut socket = app.websocket().await;
    let channels =
        json!(["metrics.a", {"name": "metrics.b", "interval": "5s"}, "no good", {"name": "c", "interval": "x"}]);
    socket.send(json!({"type": "subscribe", "requestId": "r-1", "channels": channels})).await;
    let subscribed = socket.next().await;
    assert_eq!((&subscribed["type"], &subscribed["requestId"]), (&json!("subscribed"), &json!("r-1")));
    assert_eq!(subscribed["activeSubscriptions"], 2);
    let line = |i: usize| &subscribed["channels"][i];
    assert_eq!(line(0), &json!({"name": "metrics.a", "status": "active"}));
    assert_eq!(line(1), &json!({"name": "metrics.b", "status": "active", "interval": "5s"}));
    assert_eq!((&line(2)["status"], &line(2)["code"]), (&json!("denied"), &json!("INVALID_MESSAGE")));
    assert_eq!((&line(3)["status"], &line(3)["code"]), (&json!("denied"), &json!("INVALID_MESSAGE")));
    let value = socket.next().await;
    assert_eq!(
        (&value["type"], &value["channel"], &value["data"]),
        (&json!("metric"), &json!("metrics.a"), &json!({"x": 1}))
    );
}

#[tokio::test]
async fn a_prefix_includes_later_channels_and_a_more_specific_subscription_takes_precedence() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["shop.*"]).await;
    app.push_value("shop.eu.carts", json!({"n": 1})).await;
    assert_eq!(socket.next().await["channel"], "shop.eu.carts");
    app.push_event("shop.eu.deploys", 1).await;
    assert_eq!(socket.next().await["channel"], "shop.eu.deploys");
    app.push_value("shopping", json!({"n": 1})).await;
    app.push_value("shop", json!({"n": 1})).await;

    // Both match; each value is sent once, and a pause of the more specific one suppresses it.
    socket.subscribe(&["shop.eu.carts"]).await;
    assert_eq!(socket.next().await["data"], json!({"n": 1}));
    app.push_value("shop.eu.carts", json!({"n": 2})).await;
    assert_eq!(socket.next().await["data"], json!({"n": 2}));
    socket.ask(json!({"type": "pause", "channels": ["shop.eu.carts"]}), "paused").await;
    app.push_value("shop.eu.carts", json!({"n": 3})).await;
    app.push_value("shop.us.carts", json!({"n": 4})).await;
    assert_eq!(socket.next().await["data"], json!({"n": 4}));
}

#[tokio::test]
async fn an_interval_separates_updates_and_the_last_value_is_sent() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    let interval = Duration::from_millis(120);
    let channels = json!([{"name": "metrics.fast", "interval": "120ms"}, "metrics.other"]);
    socket.ask(json!({"type": "subscribe", "channels": channels}), "subscribed").await;
    let pushing = async {
        for n in 1..=60 {
            app.push_value("metrics.fast", json!({"n": n})).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reading = async {
        let mut seen: Vec<(Instant, u64)> = Vec::new();
        while seen.last().is_none_or(|(_, n)| *n < 60) {
            let message = socket.next().await;
            seen.push((Instant::now(), message["data"]["n"].as_u64().unwrap()));
        }
        seen
    };
    let ((), seen) = tokio::join!(pushing, reading);
    assert!(seen.len() < 30, "conflated: {}", seen.len());
    for pair in seen.windows(2) {
        // The clocks of server and test see the two moments with some delay.
        assert!(pair[1].0 - pair[0].0 > interval - Duration::from_millis(60), "{:?}", pair[1].0 - pair[0].0);
        assert!(pair[1].1 > pair[0].1);
    }
}

#[tokio::test]
async fn after_unsubscribe_nothing_is_sent() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.a", "metrics.b"]).await;
    let answer =
        socket.ask(json!({"type": "unsubscribe", "requestId": 7, "channel": "metrics.a"}), "unsubscribed").await;
    assert_eq!((&answer["requestId"], &answer["activeSubscriptions"]), (&json!(7), &json!(1)));
    app.push_value("metrics.a", json!({"n": 1})).await;
    app.push_value("metrics.b", json!({"n": 2})).await;
    assert_eq!(socket.next().await["channel"], "metrics.b");
    let error = socket.ask(json!({"type": "unsubscribe", "channel": "metrics.a"}), "error").await;
    assert_eq!(error["code"], "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_resumed_channel_sends_its_newest_value_and_the_events_it_missed() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.a", "deploys"]).await;
    let names = json!(["metrics.a", "deploys"]);
    let paused = socket.ask(json!({"type": "pause", "requestId": "p", "channels": names}), "paused").await;
    assert_eq!((&paused["channels"], &paused["requestId"]), (&names, &json!("p")));
    for n in 1..=3 {
        app.push_value("metrics.a", json!({"n": n})).await;
        app.push_event("deploys", n).await;
    }
    socket.send(json!({"type": "resume", "channels": names})).await;
    assert_eq!(socket.next().await["type"], "resumed", "nothing arrived in between");
    let (mut events, mut states) = (Vec::new(), Vec::new());
    while events.len() < 3 || states.is_empty() {
        let message = socket.next().await;
        let into = if message["type"] == "event" { &mut events } else { &mut states };
        into.push(message["data"]["n"].as_u64().unwrap());
    }
    assert_eq!((events, states), (vec![1, 2, 3], vec![3]));
    // Unchanged while it was paused: the value is sent nevertheless.
    socket.ask(json!({"type": "pause", "channel": "metrics.a"}), "paused").await;
    socket.ask(json!({"type": "resume", "channel": "metrics.a"}), "resumed").await;
    assert_eq!(socket.next().await["data"], json!({"n": 3}));
}

#[tokio::test]
async fn ping_is_answered_with_its_id_and_the_measured_latency() {
    let app = spawn_app_with(|config| config.heartbeat.interval.0 = Duration::from_secs(1));
    let mut socket = app.websocket().await;
    let id = "ż-✓-\u{1f600}\"\\";
    let pong = socket.ask(json!({"type": "ping", "requestId": id}), "pong").await;
    assert_eq!(pong["requestId"], id);
    assert!(
        pong["latency"].as_f64().is_some_and(|latency| latency >= 0.0),
        "measured as the connection opened: {pong}"
    );
    // The server's ping arrives as a message and as a frame; tungstenite answers the frame by itself.
    let ping = socket.next_of("ping").await;
    assert!(["normal", "high", "critical"].contains(&ping["serverLoad"].as_str().unwrap()));
    socket.send(json!({"type": "pong", "timestamp": ping["timestamp"]})).await;
    let pong = socket.ask(json!({"type": "ping"}), "pong").await;
    assert!(pong["latency"].as_f64().is_some_and(|latency| latency >= 0.0), "{pong}");
}

#[tokio::test]
async fn the_heartbeat_is_configured_within_bounds() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    let wanted = json!({"type": "configure", "requestId": "c", "settings": {"heartbeatInterval": 1, "heartbeatTimeout": 99_999_999}});
    let configured = socket.ask(wanted, "configured").await;
    assert_eq!(configured["settings"], json!({"heartbeatInterval": 1_000, "heartbeatTimeout": 900_000}));
    let error = socket.ask(json!({"type": "configure", "settings": {"x": 1}}), "error").await;
    assert_eq!(error["code"], "INVALID_MESSAGE");
}

#[tokio::test]
async fn a_silent_client_is_closed_and_one_that_answers_ping_frames_is_not() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_secs(1);
        config.heartbeat.timeout.0 = Duration::from_secs(2);
    });
    // tungstenite answers protocol-level pings whenever it is read.
    let mut good = app.websocket().await;
    // A bare socket never answers.
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request =
        format!("GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n", app.address);
    let living = async {
        for _ in 0..4 {
            good.next_of("ping").await;
        }
    };
    let (silent, ()) = tokio::join!(app.raw(request.as_bytes(), |_| false), living);
    let close = silent.windows(4).any(|w| w[0] == 0x88 && w[2..4] == 4408u16.to_be_bytes());
    assert!(close, "closed with 4408");
}

#[tokio::test]
async fn disconnect_is_answered_and_closes_with_1000() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "disconnect", "reason": "done"})).await;
    let (code, before) = socket.closed().await;
    assert_eq!((code, &before[0]["type"]), (1000, &json!("disconnecting")));
}

#[tokio::test]
async fn an_invalid_message_gets_an_error_and_the_connection_continues() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    for text in [
        "{",
        "[]",
        "{}",
        r#"{"type":"x"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"request","requestId":1,"action":"x"}"#,
    ] {
        socket.stream.send(Message::text(text)).await.unwrap();
        let error = socket.next().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("INVALID_MESSAGE")), "{text}");
        assert!(error["message"].as_str().unwrap().len() > 5);
    }
    socket.ask(json!({"type": "ping"}), "pong").await;
    assert!(app.counter("tricast_bad_messages_total").await >= 6.0);
}

#[tokio::test]
async fn too_many_bad_messages_close_with_4500() {
    let app = spawn_app_with(|config| config.limits.max_bad_messages = 3);
    let mut socket = app.websocket().await;
    for _ in 0..3 {
        socket.send(json!({"type": "nonsense"})).await;
    }
    let (code, before) = socket.closed().await;
    assert_eq!((code, before.len()), (4500, 3));
}

#[tokio::test]
async fn subscriptions_are_bounded_and_existing_ones_continue() {
    let app = spawn_app_with(|config| config.limits.max_subscriptions = 2);
    let mut socket = app.websocket().await;
    let subscribed = socket.subscribe(&["a", "b", "c", "a"]).await;
    let statuses: Vec<_> = (0..4).map(|i| subscribed["channels"][i]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["active", "active", "denied", "active"]);
    assert_eq!(subscribed["channels"][2]["code"], "SUBSCRIPTION_LIMIT");
    assert_eq!(subscribed["activeSubscriptions"], 2);
}

#[tokio::test]
async fn requests_are_answered_by_their_id() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"x": 1})).await;
    let mut socket = app.websocket().await;
    let request =
        json!({"type": "request", "requestId": "q", "action": "get_snapshot", "params": {"channels": ["metrics.a"]}});
    let response = socket.ask(request, "response").await;
    assert_eq!((&response["requestId"], &response["status"]), (&json!("q"), &json!("success")));
    assert_eq!(response["data"]["channels"], json!({"metrics.a": {"x": 1}}));
    let request = json!({"type": "request", "requestId": "l", "action": "list_channels"});
    let list = socket.ask(request, "response").await;
    assert!(
        list["data"]["channels"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["channel"] == "metrics.a" && c["kind"] == "state")
    );
    let request =
        json!({"type": "request", "requestId": "n", "action": "get_snapshot", "params": {"channels": ["nope"]}});
    assert_eq!(socket.ask(request, "error").await["code"], "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn the_values_of_one_reply_are_bounded() {
    let app = spawn_app();
    let names: Vec<_> = (0..6).map(|number| format!("large.{number}")).collect();
    for name in &names {
        app.push_value(name, json!({"text": "x".repeat(900_000)})).await;
    }
    let mut socket = app.websocket().await;
    let request = |channels: &[String]| json!({"type": "request", "requestId": "s", "action": "get_snapshot", "params": {"channels": channels}});
    let refused = socket.ask(request(&names), "error").await;
    assert_eq!(refused["code"], "INVALID_MESSAGE");
    assert!(refused["message"].as_str().unwrap().contains("more than 4 MiB"), "{refused}");
    let response = socket.ask(request(&names[..4]), "response").await;
    assert_eq!(response["data"]["channels"].as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn a_compressed_connection_has_the_same_messages() {
    let app = spawn_app_with(|config| config.compression = true);
    app.push_value("metrics.big", json!({"text": "tricast ".repeat(200)})).await;
    // This client does not support deflate: the handshake and one compressed frame are read by hand.
    let head = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let request =
        format!("GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{head}\r\n", app.address);
    let mut bytes = request.into_bytes();
    let subscribe = br#"{"type":"subscribe","channel":"metrics.big"}"#;
    bytes.extend([0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0]);
    bytes.extend_from_slice(subscribe);
    let answer = app.raw(&bytes, |answer| answer.windows(2).any(|w| w[0] == 0xc1)).await;
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(text.contains(
        "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    ));
    assert!(answer.len() < 1_500, "the frame is small: {}", answer.len());
}

#[tokio::test]
async fn an_old_connection_is_closed() {
    let app = spawn_app_with(|config| config.max_connection_age.0 = Duration::from_secs(1));
    let mut socket = app.websocket().await;
    let (code, before) = socket.closed().await;
    assert_eq!((code, &before.last().unwrap()["reason"]), (1001, &json!("CONNECTION_AGE")));
    assert!(soon("the end of TCP", socket.stream.next()).await.is_none());
}

#[tokio::test]
async fn a_refused_command_is_no_bad_message() {
    let app = spawn_app_with(|config| config.limits.max_bad_messages = 2);
    let mut socket = app.websocket().await;
    for _ in 0..5 {
        let error = socket.ask(json!({"type": "unsubscribe", "channel": "nope"}), "error").await;
        assert_eq!(error["code"], "RESOURCE_NOT_FOUND");
    }
    socket.ask(json!({"type": "ping"}), "pong").await;
}

#[tokio::test]
async fn a_less_specific_subscription_delivers_updates_that_the_removed_one_delayed() {
    let app = spawn_app();
    app.push_value("shop.a", json!({"n": 1})).await;
    let mut socket = app.websocket().await;
    socket.subscribe(&["shop.*"]).await;
    assert_eq!(socket.next().await["data"], json!({"n": 1}));
    socket.ask(json!({"type": "subscribe", "channel": "shop.a", "interval": "1h"}), "subscribed").await;
    assert_eq!(socket.next().await["data"], json!({"n": 1}));
    app.push_value("shop.a", json!({"n": 2})).await;
    socket.ask(json!({"type": "unsubscribe", "channel": "shop.a"}), "unsubscribed").await;
    assert_eq!(socket.next().await["data"], json!({"n": 2}));
}
