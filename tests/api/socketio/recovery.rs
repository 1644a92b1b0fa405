//! Connection state recovery.

use std::time::Duration;

use serde_json::{Value, json};

use super::Client;
use crate::helpers::{spawn_app, spawn_app_with, spawn_app_with_tokens, token, until};

#[tokio::test]
async fn a_disconnected_client_is_recovered_and_misses_nothing() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let first = client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys", "metrics.a"]}])).await;
        // Before it has received anything: its subscriptions say where they began.
        app.push_event("deploys", 1).await;
        let mut offset = Value::Null;
        for round in 1..4 {
            let mut auth = json!({"recovery": true, "pid": first["pid"]});
            if round > 1 {
                auth["offset"] = offset;
            }
            // The server may still believe that the first one is connected.
            let mut next = if round % 2 == 0 { Client::polling(&app).await } else { Client::websocket(&app).await };
            let connected = next.join("/tricast", auth).await;
            assert_eq!(connected, first, "the same ids: recovered");
            let event = next.event("/tricast", "event").await;
            assert_eq!(event[1]["data"]["n"], round);
            offset = event[2].clone();
            drop(std::mem::replace(&mut client, next));
            app.push_event("deploys", round + 1).await;
        }
        let lost = client.join_again("/tricast", json!({"recovery": true, "pid": "unknown", "offset": offset})).await;
        assert!(lost["pid"] != first["pid"] && lost["sid"] != first["sid"], "{lost}");
    }
}

#[tokio::test]
async fn a_session_is_recovered_by_its_own_user_and_while_the_log_reaches_back() {
    let app = spawn_app_with_tokens(|config| config.log.events = 3);
    let [ada, bob] = ["ada", "bob"].map(|user| token(user, "acme", &["read:metrics", "write:metrics"]));
    let mut client = Client::polling(&app).await;
    let first = client.join("/tricast", json!({"token": ada, "recovery": true})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
    let mut other = Client::polling(&app).await;
    let stolen = other.join("/tricast", json!({"token": bob, "recovery": true, "pid": first["pid"]})).await;
    assert_ne!(stolen["sid"], first["sid"]);
    let writer = app.with(ada.clone());
    for n in 0..9 {
        writer.push_event("deploys", n).await;
    }
    let mut late = Client::polling(&app).await;
    let fresh = late.join("/tricast", json!({"token": ada, "recovery": true, "pid": first["pid"]})).await;
    assert_ne!(fresh["pid"], first["pid"], "events are lost, so it is not recovered");
}

#[tokio::test]
async fn a_quiet_client_is_recovered_after_a_connection_longer_than_the_time_of_recovery() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_millis(150);
        config.heartbeat.timeout.0 = Duration::from_secs(30);
        config.log.recovery.0 = Duration::from_millis(100);
    });
    for mut client in Client::of_both(&app).await {
        let first = client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
        // Three heartbeats are longer than the time of recovery.
        for _ in 0..3 {
            client.heartbeat().await;
        }
        // The client is cut without the server's knowledge: it stays silent.
        app.push_event("deploys", 1).await;
        let mut next = Client::websocket(&app).await;
        let recovered = next.join("/tricast", json!({"recovery": true, "pid": first["pid"]})).await;
        assert_eq!(recovered, first);
        assert_eq!(next.event("/tricast", "event").await[1]["data"]["n"], 1);
    }
}

#[tokio::test]
async fn a_refused_change_of_a_subscription_is_not_recovered() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let first = client.join("/tricast", json!({"recovery": true})).await;
        let subscribe = |channel: Value| json!(["subscribe", {"channels": [channel]}]);
        client.ask("/tricast", subscribe(json!({"name": "metrics.a", "interval": "50ms"}))).await;
        let change = json!({"name": "metrics.a", "interval": "1h", "backfill": "for ever"});
        assert_eq!(client.ask("/tricast", subscribe(change)).await["code"], "INVALID_MESSAGE");
        let mut next = Client::websocket(&app).await;
        assert_eq!(next.join("/tricast", json!({"recovery": true, "pid": first["pid"]})).await, first);
        for n in 0..3 {
            app.push_value("metrics.a", json!({"n": n})).await;
            while next.event("/tricast", "metric").await[1]["data"]["n"] != n {}
        }
    }
}

#[tokio::test]
async fn a_client_that_returns_too_late_is_not_recovered() {
    let app = spawn_app_with(|config| config.log.recovery.0 = Duration::from_millis(1));
    let mut client = Client::websocket(&app).await;
    let first = client.join("/tricast", json!({"recovery": true})).await;
    drop(client);
    // It may be quick enough, or be there before the server notices that it was gone.
    until("a new session", || async {
        let mut next = Client::websocket(&app).await;
        let connected = next.join("/tricast", json!({"recovery": true, "pid": first["pid"]})).await;
        (connected["pid"] != first["pid"] && connected["sid"] != first["sid"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_recovered_dashboard_receives_its_newest_figures_whatever_its_interval() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let first = client.join("/", json!({"recovery": true})).await;
        client.ask("/", json!(["subscribe-metrics", "main", {"interval": "1h"}])).await;
        let data = client.event("/", "initial-data").await;
        assert_eq!(data.as_array().map(Vec::len), Some(2), "it has no offset");
        let mut next = Client::websocket(&app).await;
        let recovered = next.join("/", json!({"recovery": true, "pid": first["pid"]})).await;
        assert_eq!(recovered, first);
        let update = next.event("/", "metrics-update").await;
        // At a pace of its own, it must not pass the events of the namespace.
        assert_eq!(update.as_array().map(Vec::len), Some(2), "it has no offset");
    }
}

#[tokio::test]
async fn a_dashboard_that_is_cut_right_after_it_connected_receives_the_open_alerts() {
    let app = spawn_app();
    let rule = json!({"name": "hot", "channel": "metrics.oven", "field": "celsius", "condition": {"above": 200}, "severity": "warning"});
    assert_eq!(app.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    let mut watcher = Client::websocket(&app).await;
    watcher.join("/", json!({})).await;
    app.push_value("metrics.oven", json!({"celsius": 250})).await;
    while watcher.event("/", "alerts").await[1][0]["action"] != "raised" {}
    let mut client = Client::websocket(&app).await;
    let first = client.join("/", json!({"recovery": true})).await;
    drop(client);
    let mut next = Client::polling(&app).await;
    let recovered = next.join("/", json!({"recovery": true, "pid": first["pid"]})).await;
    assert_eq!(recovered, first);
    assert_eq!(next.event("/", "alerts").await[1][0]["metric"], "metrics.oven.celsius");
}
