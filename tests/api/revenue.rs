//! Order figures require `read:orders` on every transport (docs/protocol.md, section 10.2).

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{ApiClient, TestApp, spawn_app_with_tokens, token, until};

/// Starts a server with one order of today. Returns it with an administrator and a reader of everything but orders.
async fn shop() -> (TestApp, ApiClient, ApiClient) {
    let app = spawn_app_with_tokens(|config| config.history.resolution.0 = std::time::Duration::ZERO);
    let admin = app.with(token("ada", "acme", &["admin"]));
    let reader = app.with(token("bob", "acme", &["read:metrics", "read:alerts"]));
    sell(&admin, 4_711.11).await;
    (app, admin, reader)
}

/// Creates an order and waits until it is in the figures.
async fn sell(admin: &ApiClient, total: f64) {
    let before = admin.get_json("/api/metrics").await["business"]["orders_today"].as_f64().unwrap_or(0.0);
    let order = json!({"items": 1, "total": total, "customerName": "Ada"});
    assert_eq!(admin.post("/api/orders", order.to_string()).await.status(), 201);
    until("the order in the numbers", || async {
        let business = admin.get_json("/api/metrics").await["business"]["orders_today"].as_f64();
        business.filter(|orders| *orders > before)
    })
    .await;
}

#[tokio::test]
async fn no_request_shows_revenue_without_the_permission() {
    let (_app, admin, reader) = shop().await;
    for path in [
        "/api/metrics",
        "/api/metrics?format=text",
        "/api/metrics/metrics",
        "/api/metrics?channels=metrics",
        "/api/metrics?channels=metrics,metrics.*",
        "/api/metrics?channels=metrics.*&since=x:1",
        "/api/metrics?backfill=1h",
        "/api/metrics?channels=metrics.*&backfill=1h",
        "/api/stats",
        "/basic",
    ] {
        let text = reader.get(path).await.text().await.unwrap();
        assert!(!text.contains("4711.1"), "{path}: {text}");
        let text = admin.get(path).await.text().await.unwrap();
        assert!(text.contains("4711.1"), "{path} for one who may: {text}");
    }
    for path in [
        "/api/metrics/metrics.business",
        "/api/metrics?channels=metrics.business",
        "/api/history?channel=metrics.business&field=revenue_today&from=-1h",
        "/events?channels=metrics.business",
    ] {
        assert_eq!(reader.get(path).await.status(), 403, "{path}");
    }
    let snapshot = reader.get_json("/api/metrics").await;
    assert!(snapshot["business"].is_null() && snapshot["api"].is_object(), "{snapshot}");
    let stats = reader.get_json("/api/stats").await;
    assert!(stats["revenue"].is_null() && stats["activeOrders"].is_null() && stats["activeUsers"].is_u64(), "{stats}");
    let channels = reader.get_json("/api/channels").await.to_string();
    assert!(channels.contains("metrics.api") && !channels.contains("metrics.business"), "{channels}");
}

#[tokio::test]
async fn no_stream_shows_revenue_without_the_permission() {
    let (_app, admin, reader) = shop().await;
    let mut socket = reader.websocket().await;
    let subscribed = socket.subscribe(&["metrics", "metrics.*", "metrics.business"]).await;
    assert_eq!(subscribed["channels"][2]["status"], "denied");
    assert!(socket.next_of("metrics").await["data"]["business"].is_null());
    let mut stream = reader.events("?channels=metrics,metrics.*&backfill=1h").await;
    let asked = json!({"type": "request", "requestId": 1, "action": "get_snapshot", "params": {}});
    let answer = socket.ask(asked, "response").await;
    assert!(answer["data"]["channels"]["metrics"]["business"].is_null(), "{answer}");
    sell(&admin, 4_711.22).await;
    admin.push_value("metrics.last", json!({"n": 1})).await;
    let mut text = String::new();
    while !text.contains(r#""custom":{"last""#) {
        let message = socket.next_text().await;
        assert!(!message.contains("4711.1") && !message.contains("9422.3"), "{message}");
        text = message;
    }
    let mut text = String::new();
    while !text.contains(r#""custom":{"last""#) {
        let event = stream.next().await.unwrap();
        assert!(!event.text.contains("4711.1") && !event.text.contains("9422.3"), "{event:?}");
        text = event.text;
    }
    let mut other = admin.websocket().await;
    other.subscribe(&["metrics"]).await;
    assert_eq!(other.next_of("metrics").await["data"]["business"]["orders_today"], 2);
}

#[tokio::test]
async fn a_new_token_changes_the_visible_sections() {
    let (_app, admin, reader) = shop().await;
    let mut socket = reader.websocket().await;
    socket.subscribe(&["metrics"]).await;
    assert!(socket.next_of("metrics").await["data"]["business"].is_null());
    let more = token("bob", "acme", &["read:metrics", "read:orders"]);
    socket.ask(json!({"type": "refresh_token", "token": more}), "token_refreshed").await;
    assert_eq!(socket.next_of("metrics").await["data"]["business"]["orders_today"], 1);
    let less = token("bob", "acme", &["read:metrics"]);
    socket.ask(json!({"type": "refresh_token", "token": less}), "token_refreshed").await;
    assert!(socket.next_of("metrics").await["data"]["business"].is_null());
    drop(admin);
}

#[tokio::test]
async fn an_unchanged_view_of_the_snapshot_keeps_its_tag() {
    let (_app, admin, reader) = shop().await;
    // There is a tag per view, and the view of readers without the permission does not change with orders. The figures of
    // this process do change, so both are requested until nothing else changed in between.
    until("two looks with only orders between them", || async {
        let first = reader.get_json("/api/metrics").await;
        let full = admin.get("/api/metrics").await.headers()["etag"].clone();
        sell(&admin, 1.0).await;
        let after = admin.get("/api/metrics").await.headers()["etag"].clone();
        assert_ne!(full, after);
        let second = reader.get_json("/api/metrics").await;
        let same = |section: &str| first[section] == second[section];
        if !["api", "database", "infrastructure", "custom"].into_iter().all(same) {
            return None;
        }
        assert_eq!(first["cursor"], second["cursor"]);
        assert_eq!(first["timestamp"], second["timestamp"]);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn alerts_about_orders_require_the_permission_to_read_orders() {
    let (_app, admin, reader) = shop().await;
    let mut socket = reader.websocket().await;
    socket.subscribe(&["alerts"]).await;
    let mut stream = reader.events("?channels=alerts").await;
    let rules = [
        ("revenue", "metrics.revenue", "revenueToday"),
        ("business", "metrics.business", "revenue_today"),
        ("snapshot", "metrics", "business.revenue_today"),
        ("shop", "metrics.shop", "load"),
    ];
    for (id, channel, field) in rules {
        let rule = json!({"id": id, "name": id, "channel": channel, "field": field, "condition": {"above": 5},
            "severity": "warning"});
        assert_eq!(admin.post("/api/alerts/rules", rule.to_string()).await.status(), 201, "{id}");
    }
    let raised = |count: usize| {
        let admin = admin.clone();
        async move {
            let list = admin.get_json("/api/alerts").await;
            let alerts = list["alerts"].as_array().unwrap().clone();
            (alerts.len() >= count).then_some(alerts)
        }
    };
    // A rule on the whole snapshot may be refused or never be met; what counts is that none of them is shown.
    let alerts = until("alerts about orders", || raised(2)).await;
    admin.push_value("metrics.shop", json!({"load": 7})).await;
    until("the other alert", || raised(alerts.len() + 1)).await;
    let event = socket.next_of("event").await;
    assert_eq!(event["data"]["metric"], "metrics.shop.load");
    assert_eq!(stream.next_of("alert").await.data()["metric"], "metrics.shop.load");
    for path in ["/api/alerts", "/api/metrics/alerts", "/api/metrics?channels=alerts&since=x:1"] {
        let text = reader.get(path).await.text().await.unwrap();
        assert!(text.contains("metrics.shop.load") && !text.contains("revenue"), "{path}: {text}");
    }
    for alert in alerts {
        let path = format!("/api/alerts/{}", alert["id"].as_str().unwrap());
        assert_eq!(reader.get(&path).await.status(), 404);
        let custodian = reader.with(token("eve", "acme", &["read:alerts", "write:dashboards"]));
        assert_eq!(custodian.post(&format!("{path}/acknowledge"), "").await.status(), 404);
    }
}

#[tokio::test]
async fn the_response_to_a_change_has_only_readable_fields() {
    let (_app, admin, reader) = shop().await;
    let orders = admin.get_json("/api/orders").await;
    let path = format!("/api/orders/{}", orders["orders"][0]["orderId"].as_str().unwrap());
    let writer = reader.with(token("eve", "acme", &["write:orders"]));
    let changed = writer.request(Method::PATCH, &path).body(r#"{"priority":"high"}"#);
    let changed: Value = changed.header("content-type", "application/json").send().await.unwrap().json().await.unwrap();
    assert_eq!(changed["priority"], "high");
    assert!(changed["total"].is_null() && changed["customerName"].is_null(), "{changed}");
}
