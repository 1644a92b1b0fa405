//! Parity: the same readings give the same data and cursor over every transport.

use serde_json::{Value, json};

use crate::{
    helpers::{TestApp, spawn_app},
    socketio::Client,
};

/// Returns the text of `"data":...` in a JSON text in which it is the last field except `behind`.
fn data_text<'a>(text: &'a str, behind: &str) -> &'a str {
    let start = text.find("\"data\":").unwrap() + "\"data\":".len();
    &text[start..text.rfind(behind).unwrap()]
}

/// Clients of Socket.IO, by polling and by WebSocket, that are subscribed to `channel`.
async fn socketio_clients(app: &TestApp, channel: &str) -> [Client; 2] {
    let mut clients = Client::of_both(app).await;
    for client in &mut clients {
        client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": [channel]}])).await;
    }
    clients
}

#[tokio::test]
async fn the_same_push_has_the_same_bytes_and_cursor_on_every_transport() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.shop"]).await;
    let mut stream = app.events("?channels=metrics.shop").await;
    stream.next_of("connected").await;
    let mut clients = socketio_clients(&app, "metrics.shop").await;

    let values = [
        json!({"z": 1, "a": [1.5, null, true], "text": "zwölf \u{1f600} \"\\ \u{7} </script>"}),
        json!({"z": 1e21, "a": -0.0, "nested": {"b": {"c": []}}}),
        json!({"big": 9_007_199_254_740_993_u64, "small": 5e-324}),
    ];
    for value in values {
        let accepted = app.push_value("metrics.shop", value.clone()).await;
        let on_socket = socket.next_text().await;
        let on_stream = stream.next_of("metric").await;
        let polled = app.get("/api/metrics/metrics.shop").await.text().await.unwrap();
        let several = app.get("/api/metrics?channels=metrics.shop").await.text().await.unwrap();

        let expected = value.to_string();
        assert_eq!(data_text(&on_socket, ",\"cursor\""), expected);
        assert_eq!(data_text(&on_stream.text, "}"), expected);
        assert_eq!(data_text(&polled, ",\"cursor\""), expected);
        assert!(several.contains(&format!("\"metrics.shop\":{expected}")), "{several}");

        let cursor = |text: &str| serde_json::from_str::<Value>(text).unwrap()["cursor"].as_str().unwrap().to_owned();
        assert_eq!(cursor(&on_socket), on_stream.id);
        assert_eq!(cursor(&polled), on_stream.id);
        assert_eq!(cursor(&several), on_stream.id);
        for client in &mut clients {
            let event = client.next_of("42/tricast,[\"metric\",").await;
            assert_eq!(data_text(&event, ",\"cursor\""), expected);
            let arguments: Value = serde_json::from_str(&format!("[{event}")).unwrap();
            assert_eq!((&arguments[0]["cursor"], &arguments[1]), (&json!(on_stream.id), &json!(on_stream.id)));
        }
        let offset = |cursor: &str| cursor.rsplit(':').next().unwrap().parse::<u64>().unwrap();
        assert!(offset(&accepted) >= offset(&on_stream.id), "the answer to a push is at or after the change");
    }
}

#[tokio::test]
async fn the_same_event_has_the_same_bytes_and_cursor_on_every_transport() {
    let app = spawn_app();
    let start = app.push_event("deploys", 0).await;
    let mut socket = app.websocket().await;
    socket.subscribe(&["deploys"]).await;
    let mut stream = app.events("?channels=deploys").await;
    stream.next_of("connected").await;
    let mut clients = socketio_clients(&app, "deploys").await;
    app.push(json!({"channel": "deploys", "event": "released", "data": {"v": "1.0", "by": "ö"}})).await;

    let on_socket = socket.next().await;
    let on_stream = stream.next_of("released").await;
    let polled = app.get_json(&format!("/api/metrics?channels=deploys&since={start}")).await;
    let listed = &polled["events"][0];
    let mut events = Vec::new();
    for client in &mut clients {
        events.push(client.event("/tricast", "event").await[1].clone());
    }
    for field in ["channel", "event", "data", "timestamp", "cursor"] {
        assert_eq!(on_socket[field], listed[field], "{field}");
        assert!(events.iter().all(|event| event[field] == listed[field]), "{field} {events:?}");
    }
    assert_eq!(on_socket["cursor"], on_stream.id.as_str());
    assert_eq!(on_socket["data"], on_stream.data()["data"]);
    assert_eq!(polled["events"].as_array().unwrap().len(), 1, "only what came after the cursor");
}

#[tokio::test]
async fn the_snapshot_is_the_same_on_every_transport() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics"]).await;
    let mut stream = app.events("?channels=metrics").await;
    let offset = |cursor: &Value| cursor.as_str().unwrap().rsplit(':').next().unwrap().parse::<u64>().unwrap();
    // Other readings change the snapshot as well, and each reader skips versions that it was too late for: now and then
    // all three see the same version.
    for n in 1..1_000 {
        app.push_value("metrics.checkout", json!({"latency_p95": n})).await;
        let polled = app.get_json("/api/metrics").await;
        assert_eq!(polled["custom"]["checkout"]["latency_p95"], n);
        let mut on_socket = socket.next_of("metrics").await;
        while offset(&on_socket["cursor"]) < offset(&polled["cursor"]) {
            on_socket = socket.next_of("metrics").await;
        }
        let mut on_stream = stream.next_of("metrics").await;
        while offset(&json!(on_stream.id)) < offset(&polled["cursor"]) {
            on_stream = stream.next_of("metrics").await;
        }
        if on_socket["cursor"] == polled["cursor"] && on_stream.id == polled["cursor"].as_str().unwrap() {
            let mut sections = polled.clone();
            let fields = sections.as_object_mut().unwrap();
            assert_eq!(fields.remove("timestamp").unwrap(), on_socket["timestamp"]);
            fields.remove("cursor");
            assert_eq!(on_socket["data"], sections);
            assert_eq!(on_stream.text, sections.to_string(), "the bytes are equal");
            return;
        }
    }
    panic!("never the same version on all three");
}
