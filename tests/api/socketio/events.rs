//! Namespaces and their events.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::Client;
use crate::{
    ends::delete,
    helpers::{soon, spawn_app, spawn_app_with_tokens, token, token_for},
};

#[tokio::test]
async fn a_client_subscribes_and_receives_on_both_transports() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let keys: Vec<_> = client.open.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
        let connected = client.join("/tricast", json!({"recovery": true})).await;
        assert_ne!(connected["sid"], client.open["sid"], "the session's id is secret");
        let ack = client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.a", "deploys", "no good"]}])).await;
        assert_eq!(ack["status"], "ok");
        let status: Vec<_> = (0..3).map(|n| ack["channels"][n]["status"].clone()).collect();
        assert_eq!(status, ["active", "active", "denied"]);
        app.push_value("metrics.a", json!({"x": client.open["sid"]})).await;
        let metric = soon("the value", async {
            loop {
                let metric = client.event("/tricast", "metric").await;
                if metric[1]["data"]["x"] == client.open["sid"] {
                    return metric;
                }
            }
        })
        .await;
        assert_eq!(metric[1]["channel"], "metrics.a");
        assert_eq!(metric[2], metric[1]["cursor"], "the offset of connection state recovery");
        app.push_event("deploys", 7).await;
        let event = client.event("/tricast", "event").await;
        assert_eq!((&event[1]["event"], &event[1]["data"]["n"]), (&json!("happened"), &json!(7)));
        let ack = client.ask("/tricast", json!(["request", {"action": "list_channels"}])).await;
        assert!(ack["data"]["channels"].as_array().is_some_and(|all| !all.is_empty()), "{ack}");
        let ack = client.ask("/tricast", json!(["request", {"action": "dance"}])).await;
        assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!("INVALID_MESSAGE")));
        let ack = client.ask("/tricast", json!(["unsubscribe", {"channels": ["deploys"]}])).await;
        assert_eq!(ack["activeSubscriptions"], 1);
    }
}

#[tokio::test]
async fn the_end_of_a_channel_is_sent_in_place_of_its_value() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        app.push_value("metrics.shop", json!({"n": 1})).await;
        client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.shop"]}])).await;
        assert_eq!(client.event("/tricast", "metric").await[1]["data"]["n"], 1);
        assert_eq!(delete(&app, "metrics.shop").await.status(), 204);
        let end = client.event("/tricast", "metric").await;
        assert_eq!((&end[1]["channel"], &end[1]["gone"]), (&json!("metrics.shop"), &json!("deleted")));
        assert_eq!((end[1].get("data"), &end[1]["cursor"]), (None, &end[2]));
    }
}

#[tokio::test]
async fn a_namespace_needs_a_token_and_shows_only_its_tenant() {
    let app = spawn_app_with_tokens(|_| {});
    for mut client in Client::of_both(&app).await {
        let error = client.refused("/tricast", json!({})).await;
        assert_eq!(error["data"]["code"], "UNAUTHORIZED");
        assert_eq!(client.refused("/tricast", json!({"token": "x.y.z"})).await["data"]["code"], "UNAUTHORIZED");
        assert_eq!(client.refused("/nowhere", json!({})).await, json!({"message": "Invalid namespace"}));
        let ada = token("ada", "acme", &["read:metrics", "write:metrics"]);
        client.join("/tricast", json!({"token": ada})).await;
        let bob = token("bob", "acme", &["read:metrics"]);
        assert_eq!(client.refused("/", json!({"token": bob})).await["data"]["code"], "FORBIDDEN");
        client.join("/dashboard", json!({"token": ada})).await;
        let ack = client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.a", "orders"]}])).await;
        assert_eq!(
            (&ack["channels"][0]["status"], &ack["channels"][1]["code"]),
            (&json!("active"), &json!("FORBIDDEN"))
        );
        let other = app.with(token("eve", "globex", &["write:metrics"]));
        other.push_value("metrics.a", json!({"of": "globex"})).await;
        app.with(ada).push_value("metrics.a", json!({"of": "acme"})).await;
        assert_eq!(client.event("/tricast", "metric").await[1]["data"]["of"], "acme");
    }
}

#[tokio::test]
async fn the_root_namespace_has_the_documented_events() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        client.join("/", json!({})).await;
        let data = client.event("/", "dashboard:data").await;
        assert!(data[1]["snapshot"].is_object() && data[1]["timestamp"].is_u64(), "{data}");
        let ack = client.ask("/", json!(["subscribe-metrics", "main", {"interval": "100ms"}])).await;
        assert_eq!(ack, json!({"status": "ok", "dashboardId": "main", "interval": "100ms"}));
        app.post("/api/orders", json!({"items": 1, "total": 12.5, "customerName": "Ada"}).to_string()).await;
        soon("the order", async {
            loop {
                let update = client.event("/", "metrics-update").await;
                let [revenue, orders] = ["revenue", "orders"].map(|name| update[1][name].as_f64().unwrap_or(0.0));
                assert!(update[1]["snapshot"].is_object(), "{update}");
                // The server's own traffic has no value before it is measured for the first time.
                if orders >= 1.0 && revenue >= 12.5 && update[1]["activeUsers"].is_u64() {
                    break;
                }
            }
        })
        .await;
        client.event("/", "dashboard:update").await;
        let ack = client.ask("/", json!(["unsubscribe-metrics", "main"])).await;
        assert_eq!(ack["status"], "ok");
    }
}

#[tokio::test]
async fn initial_data_comes_with_the_subscription() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    client.send(r#"42["subscribe-metrics","main"]"#).await;
    let initial = client.event("/", "initial-data").await;
    let keys: Vec<_> = initial[1].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["activeUsers", "orders", "revenue", "snapshot", "timestamp"]);
}

#[tokio::test]
async fn revenue_requires_the_permission_to_read_orders() {
    let app = spawn_app_with_tokens(|_| {});
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({"token": token("ada", "acme", &["read:metrics"])})).await;
    let data = client.event("/", "dashboard:data").await;
    assert_eq!((&data[1]["revenue"], &data[1]["snapshot"]["business"]), (&Value::Null, &Value::Null));
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({"token": token("bob", "acme", &["read:metrics", "read:orders"])})).await;
    // The tenant's orders may still be loading.
    soon("the revenue", async { while !client.event("/", "dashboard:update").await[1]["revenue"].is_number() {} })
        .await;
}

#[tokio::test]
async fn alerts_come_as_lists() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    assert_eq!(client.event("/", "alerts").await[1], json!([]), "none is open");
    let rule = json!({"name": "hot", "channel": "metrics.oven", "field": "celsius", "condition": {"above": 200}, "severity": "warning"});
    assert_eq!(app.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    app.push_value("metrics.oven", json!({"celsius": 250})).await;
    let alert = client.event("/", "alerts").await;
    assert_eq!((&alert[1][0]["action"], &alert[1][0]["metric"]), (&json!("raised"), &json!("metrics.oven.celsius")));
    let mut late = Client::websocket(&app).await;
    late.join("/", json!({})).await;
    assert_eq!(late.event("/", "alerts").await[1][0]["id"], alert[1][0]["id"]);
}

#[tokio::test]
async fn an_entity_sends_its_metrics_once_and_then_those_that_change() {
    let app = spawn_app();
    let metrics = |visitors: u64| json!({"metrics": {"sales": 1, "visitors": visitors}});
    let subscribe = json!(["subscribe", {"entityId": "s1", "entityType": "shop"}]);
    for mut client in Client::of_both(&app).await {
        app.push_value("entity.shop.s1", metrics(0)).await;
        client.join("/dashboard", json!({})).await;
        for round in 1..3 {
            assert_eq!(client.ask("/dashboard", subscribe.clone()).await["status"], "ok");
            let events = async |client: &mut Client| -> Value {
                let event = soon("an event", client.next()).await.unwrap();
                serde_json::from_str(event.strip_prefix("42/dashboard,").unwrap()).unwrap()
            };
            let initial = events(&mut client).await;
            assert_eq!((&initial[0], &initial[1]["entityType"]), (&json!("dashboard:initial"), &json!("shop")));
            assert_eq!((&initial[1]["metrics"]["sales"], &initial[1]["tiles"]), (&json!(1), &json!([])));
            app.push_value("entity.shop.s1", metrics(round)).await;
            let update = events(&mut client).await;
            assert_eq!((&update[0], &update[1]["entityId"]), (&json!("metric:update"), &json!("s1")));
            assert_eq!((&update[1]["metricName"], &update[1]["value"]), (&json!("visitors"), &json!(round)));
            assert!(update[1]["timestamp"].is_u64());
        }
        let ack = client.ask("/dashboard", json!(["unsubscribe", {"entityId": "s1"}])).await;
        assert_eq!(ack, json!({"status": "ok", "entityId": "s1"}));
    }
}

#[tokio::test]
async fn a_client_that_is_cut_after_it_subscribed_to_an_entity_receives_its_metrics() {
    let app = spawn_app();
    app.push_value("entity.shop.s1", json!({"metrics": {"sales": 1}})).await;
    let mut client = Client::websocket(&app).await;
    let auth = json!({"recovery": true});
    let first = client.join("/dashboard", auth).await;
    client.ask("/dashboard", json!(["subscribe", {"entityId": "s1", "entityType": "shop"}])).await;
    drop(client);
    let mut client = Client::polling(&app).await;
    let recovered = client.join("/dashboard", json!({"recovery": true, "pid": first["pid"]})).await;
    assert_eq!(recovered, first);
    // As one initial event, or as the update that the client has not received.
    let event = client.next_of("42/dashboard,").await;
    assert!(event.contains(r#""sales":1"#) || event.contains(r#""metricName":"sales","value":1"#), "{event}");
    app.push_value("entity.shop.s1", json!({"metrics": {"sales": 2}})).await;
    let update = client.event("/dashboard", "metric:update").await;
    assert_eq!(update[1]["value"], 2);
}

#[tokio::test]
async fn changes_of_a_dashboard_go_to_its_subscribers() {
    let app = spawn_app();
    for id in ["one", "two"] {
        let board = json!({"id": id, "name": id, "tiles": []});
        assert_eq!(app.post("/api/dashboards", board.to_string()).await.status(), 201);
    }
    let mut client = Client::polling(&app).await;
    client.join("/analytics/dashboard", json!({})).await;
    let ack = client.ask("/analytics/dashboard", json!(["subscribe", {"dashboardId": "two"}])).await;
    assert_eq!(ack, json!({"status": "ok", "dashboardId": "two"}));
    for id in ["one", "two"] {
        let tile = json!({"type": "text", "title": "Hello"});
        assert_eq!(app.post(&format!("/api/dashboards/{id}/tiles"), tile.to_string()).await.status(), 201);
    }
    let update = client.event("/analytics/dashboard", "dashboard:update").await;
    assert_eq!((&update[1]["dashboardId"], &update[1]["action"]), (&json!("two"), &json!("tile_added")));
    assert_eq!(update[1]["tile"]["title"], "Hello");
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let app = spawn_app_with_tokens(|config| config.limits.max_subscriptions = 2);
    let reader = token("ada", "acme", &["read:metrics"]);
    let mut client = Client::websocket(&app).await;
    for namespace in ["/", "/dashboard", "/analytics/dashboard"] {
        client.join(namespace, json!({"token": reader})).await;
    }
    let cases = [
        ("/", json!(["subscribe-metrics", {}]), "ANALYTICS_1100"),
        ("/", json!(["subscribe-metrics", "a b"]), "ANALYTICS_1100"),
        ("/", json!(["unsubscribe-metrics", "main"]), "ANALYTICS_1100"),
        ("/", json!(["subscribe-metrics", "main", {"interval": "often"}]), "ANALYTICS_1102"),
        ("/", json!(["dance"]), "ANALYTICS_1102"),
        ("/dashboard", json!(["subscribe", {"entityId": "a"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["subscribe", {"entityId": "a b", "entityType": "shop"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["subscribe", {"entityId": "a", "entityType": "shop.b"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["unsubscribe", {"entityId": "a"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["dance"]), "ANALYTICS_1102"),
        ("/analytics/dashboard", json!(["subscribe", {}]), "ANALYTICS_1100"),
        ("/analytics/dashboard", json!(["dance", 5]), "ANALYTICS_1102"),
    ];
    for (namespace, event, code) in cases {
        let ack = client.ask(namespace, event.clone()).await;
        assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!(code)), "{namespace} {event}");
    }
    for id in ["a", "b", "a"] {
        assert_eq!(client.ask("/", json!(["subscribe-metrics", id])).await["status"], "ok");
    }
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "c"])).await["code"], "ANALYTICS_1103");
    // Without an acknowledgement the refusal is an event.
    client.send(r#"42/dashboard,["subscribe",{}]"#).await;
    assert_eq!(client.event("/dashboard", "error").await[1]["code"], "ANALYTICS_1100");
    let mut client = Client::websocket(&app).await;
    for (namespace, event) in [
        ("/", json!(["subscribe-metrics", "main"])),
        ("/dashboard", json!(["subscribe", {"entityId": "a", "entityType": "shop"}])),
        ("/analytics/dashboard", json!(["subscribe", {"dashboardId": "a"}])),
    ] {
        client.join(namespace, json!({"token": token("bob", "acme", &[])})).await;
        assert_eq!(client.ask(namespace, event).await["code"], "ANALYTICS_1101", "{namespace}");
    }
}

#[tokio::test]
async fn binary_arguments_are_parsed_and_refused_where_none_is_expected() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    client.send(r#"451-7["subscribe-metrics",{"_placeholder":true,"num":0}]"#).await;
    client.socket.as_mut().unwrap().send(Message::binary(vec![1, 2, 3])).await.unwrap();
    let ack: Value = serde_json::from_str(&client.next_of("437").await).unwrap();
    assert_eq!(ack[0]["code"], "ANALYTICS_1100");
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "main"])).await["status"], "ok");
    let mut client = Client::polling(&app).await;
    client.join("/", json!({})).await;
    client.send("451-7[\"subscribe-metrics\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID").await;
    client.next_of("437").await;
}

#[tokio::test]
async fn leaving_a_namespace_keeps_the_connection() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    client.join("/", json!({})).await;
    client.send("41/tricast,").await;
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "main"])).await["status"], "ok");
    client.join("/tricast", json!({})).await;
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn a_token_is_refreshed_and_one_that_expires_ends_its_namespace() {
    let app = spawn_app_with_tokens(|_| {});
    let short = token_for("ada", "acme", &["read:metrics"], Duration::from_secs(2));
    let mut refreshed = Client::websocket(&app).await;
    let mut expires = Client::polling(&app).await;
    for client in [&mut refreshed, &mut expires] {
        client.join("/tricast", json!({"token": short})).await;
    }
    let other = token("bob", "acme", &["read:metrics"]);
    let ack = refreshed.ask("/tricast", json!(["refresh_token", {"token": other}])).await;
    assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!("FORBIDDEN")));
    let long = token("ada", "acme", &["read:metrics"]);
    let ack = refreshed.ask("/tricast", json!(["refresh_token", {"token": long}])).await;
    assert_eq!(ack["status"], "ok");
    assert_eq!(
        expires.event("/tricast", "auth_expiring").await[1]["expiresIn"].as_u64().map(|left| left <= 2),
        Some(true)
    );
    assert_eq!(expires.event("/tricast", "error").await[1]["code"], "UNAUTHORIZED");
    assert_eq!(expires.next_of("41/tricast,").await, "");
    // The connection stays, for another token.
    expires.join("/tricast", json!({"token": long})).await;
    assert_eq!(refreshed.ask("/tricast", json!(["ping"])).await["status"], "ok");
}
