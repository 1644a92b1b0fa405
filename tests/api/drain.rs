//! Draining (docs/protocol.md, section 11).

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::helpers::{soon, spawn_app, until};

#[tokio::test]
async fn a_thousand_open_streams_are_notified_and_close() {
    let mut app = spawn_app();
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..10 {
        sockets.extend(join_all((0..50).map(|_| app.websocket())).await);
        streams.extend(join_all((0..50).map(|_| app.events("?channels=deploys"))).await);
    }
    join_all(sockets.iter_mut().map(|socket| async { socket.subscribe(&["deploys"]).await })).await;
    until("a thousand streams", || async {
        let open = app.counter("tricast_connections{transport=\"websocket\"}").await
            + app.counter("tricast_connections{transport=\"sse\"}").await;
        (open == 1_000.0).then_some(())
    })
    .await;
    app.begin_stop();

    let notices = join_all(sockets.iter_mut().map(|socket| async {
        let (code, before) = socket.closed().await;
        let away =
            before.into_iter().find(|message| message["type"] == "disconnecting").expect("notified before the close");
        assert_eq!((code, &away["reason"]), (1001, &json!("SERVER_MAINTENANCE")));
        (away["reconnectAfter"].as_f64().unwrap() * 1e3) as u64
    }))
    .await;
    let bye = join_all(streams.iter_mut().map(|stream| async {
        let bye = stream.next_of("bye").await.data();
        assert_eq!(bye["reason"], "SERVER_MAINTENANCE");
        assert!(stream.next().await.is_none(), "the stream ends after bye");
        let after = (bye["reconnectAfter"].as_f64().unwrap() * 1e3).round() as u64;
        assert_eq!(stream.retry, Some(after), "the reconnects of native clients are spread too");
        after
    }))
    .await;
    let all: Vec<u64> = notices.into_iter().chain(bye).collect();
    let different: HashSet<_> = all.iter().collect();
    assert!(different.len() > 500, "spread out: {} different times", different.len());
    assert!(all.iter().all(|after| (1_000..=10_000).contains(after)));
    drop((sockets, streams));
    app.stopped().await;
}

#[tokio::test]
async fn a_held_poll_is_answered_and_new_streams_are_refused() {
    let mut app = spawn_app();
    let stays = app.websocket().await;
    app.push_value("metrics.a", json!({"n": 1})).await;
    let tag = app.get("/api/metrics/metrics.a").await.headers()["etag"].clone();
    let held = app.request(Method::GET, "/api/metrics/metrics.a?wait=25").header("if-none-match", tag).send();
    let held = tokio::spawn(held);
    until("a held poll", || async {
        (app.counter("tricast_connections{transport=\"long_poll\"}").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(app.get("/readyz").await.status(), 200);

    // The server drains as long as one client does not answer the close.
    let before: Vec<_> = (0..3).map(|_| app.request(Method::GET, "/readyz")).collect();
    app.begin_stop();
    assert_eq!(soon("the held poll", held).await.unwrap().unwrap().status(), 304);
    let mut draining = None;
    for request in before {
        if let Ok(answer) = request.send().await {
            draining = Some(answer.status());
        }
    }
    // The server may have stopped before the request arrives; if it responds, then with 503.
    assert!(draining.is_none_or(|status| status == 503), "{draining:?}");
    drop(stays);
    app.stopped().await;
}

#[tokio::test]
async fn subscribers_of_system_are_notified_of_the_maintenance() {
    let mut app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["system"]).await;
    let mut stream = app.events("?channels=system").await;
    stream.next_of("connected").await;
    app.begin_stop();
    assert_eq!(socket.next_of("event").await["event"], "maintenance");
    assert_eq!(stream.next_of("system").await.data()["event"], "maintenance");
    assert_eq!(socket.closed().await.0, 1001);
    drop(stream);
    app.stopped().await;
}

#[tokio::test]
async fn pushes_accepted_before_the_stop_are_in_the_log() {
    let mut app = spawn_app();
    let mut stream = app.events("?channels=deploys").await;
    stream.next_of("connected").await;
    for n in 0..200 {
        app.push_event("deploys", n).await;
    }
    app.begin_stop();
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        if event.name == "happened" {
            seen.push(event.data()["data"]["n"].as_u64().unwrap());
        }
    }
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    app.stopped().await;
}
