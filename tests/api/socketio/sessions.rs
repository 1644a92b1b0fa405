//! The life of a session: requests, the upgrade, the heartbeat, the end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{Client, client::websocket};
use crate::helpers::{soon, spawn_app, spawn_app_with};

#[tokio::test]
async fn a_session_is_upgraded_without_losing_an_event() {
    let app = spawn_app();
    for round in 0..6 {
        let mut client = Client::polling(&app).await;
        client.join("/tricast", json!({})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
        let first = app.push_event("deploys", 1).await;
        // A poll is held while the WebSocket is probed.
        let mut socket = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
        let sid_path = client.path();
        let visitor = client.visitor.clone();
        let polls = tokio::spawn(async move {
            let mut payloads = Vec::new();
            loop {
                let payload = visitor.get(&sid_path).await.text().await.unwrap();
                payloads.extend(payload.split('\u{1e}').map(str::to_owned));
                if payloads.last().is_some_and(|last| last == "6") {
                    return payloads;
                }
            }
        });
        socket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(soon("the probe", socket.next()).await.unwrap().unwrap(), Message::text("3probe"));
        app.push_event("deploys", 2).await;
        let seen = soon("the last poll", polls).await.unwrap();
        socket.send(Message::text("5")).await.unwrap();
        app.push_event("deploys", 3).await;
        client.socket = Some(socket);
        client.packets.extend(seen);
        let mut numbers = Vec::new();
        while numbers.last() != Some(&3) {
            numbers.push(client.event("/tricast", "event").await[1]["data"]["n"].as_u64().unwrap());
        }
        assert_eq!(numbers, [1, 2, 3], "round {round} from {first}");
        let path = client.path();
        assert_eq!(app.get(&path).await.status(), 400, "polls are over");
        let mut second = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
        assert!(matches!(soon("the close", second.next()).await, Some(Ok(Message::Close(_)))));
        assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
    }
}

#[tokio::test]
async fn a_failed_upgrade_leaves_the_session_on_polling() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let query = format!("&sid={}", client.open["sid"].as_str().unwrap());
    for wrong in ["2other", "40", "x"] {
        let mut socket = websocket(&app, &query).await;
        socket.send(Message::text(wrong)).await.unwrap();
        assert!(matches!(soon("the close", socket.next()).await, Some(Ok(Message::Close(_)))), "{wrong}");
    }
    let mut socket = websocket(&app, &query).await;
    socket.send(Message::text("2probe")).await.unwrap();
    soon("the probe", socket.next()).await.unwrap().unwrap();
    drop(socket);
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn a_client_that_leaves_has_its_poll_released() {
    let app = spawn_app();
    let client = Client::polling(&app).await;
    let (visitor, path) = (client.visitor.clone(), client.path());
    let poll = tokio::spawn(async move { visitor.get(&path).await.text().await.unwrap() });
    assert_eq!(client.post("1").await, 200);
    // In either order of the two requests.
    assert_eq!(soon("the poll", poll).await.unwrap(), "6");
    assert_eq!(client.poll().await, Err(400));
}

#[tokio::test]
async fn the_session_of_a_silent_client_ends() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_millis(200);
        config.heartbeat.timeout.0 = Duration::from_millis(400);
    });
    let mut silent = Client::polling(&app).await;
    silent.join("/tricast", json!({})).await;
    let mut lively = Client::websocket(&app).await;
    lively.join("/tricast", json!({})).await;
    // The active client replies to pings while it waits for this many replies of its own.
    let count = "tricast_connections{transport=\"socketio\"}";
    soon("the end of the silent one", async {
        while app.counter(count).await > 1.0 {
            assert_eq!(lively.ask("/tricast", json!(["ping"])).await["status"], "ok");
        }
    })
    .await;
    assert_eq!(silent.poll().await, Err(400));
    assert_eq!(lively.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn a_client_that_sends_pongs_and_never_polls_is_forgotten() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_millis(200);
        config.heartbeat.timeout.0 = Duration::from_millis(600);
    });
    let client = Client::polling(&app).await;
    assert_eq!(client.post("40").await, 200);
    // As many as it likes: before the first ping, between two of them, and in place of a reply.
    soon("the end of its session", async { while client.post("3").await == 200 {} }).await;
    assert_eq!(client.poll().await, Err(400));
    let mut lively = Client::polling(&app).await;
    lively.join("/tricast", json!({})).await;
    for _ in 0..6 {
        lively.heartbeat().await;
    }
}

#[tokio::test]
async fn a_connection_that_has_reached_its_age_is_sent_away() {
    let app = spawn_app_with(|config| config.max_connection_age.0 = Duration::from_secs(1));
    for mut client in Client::of_both(&app).await {
        client.join("/tricast", json!({})).await;
        assert_eq!(client.event("/tricast", "going_away").await[1]["reason"], "CONNECTION_AGE");
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn a_draining_server_disconnects_its_clients() {
    // No limit: only the end of the server ends the session of a client without a namespace.
    let mut app = spawn_app_with(|config| config.limits.auth_timeout.0 = Duration::ZERO);
    let mut clients = Client::of_both(&app).await;
    for client in &mut clients {
        client.join("/tricast", json!({})).await;
    }
    let without_namespace = Client::of_both(&app).await;
    app.begin_stop();
    for mut client in without_namespace {
        assert_eq!(client.next().await, None);
    }
    for mut client in clients {
        let notice = client.event("/tricast", "going_away").await;
        assert_eq!(notice[1]["reason"], "SERVER_MAINTENANCE");
        assert!(notice[1]["reconnectAfter"].is_number());
        assert_eq!(client.next().await, None);
    }
    app.stopped().await;
}
