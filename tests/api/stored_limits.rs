//! Limits of what the store keeps (docs/protocol.md, section 10.3): the refusal, the counter, the gauge, and room again
//! without a restart.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tricast_core::clock::Clock;

use crate::{
    cluster::Cluster,
    helpers::{ApiClient, soon, spawn_app_at, spawn_app_with, spawn_app_with_tokens, token, until},
    redis::Redis,
};

fn order(name: &str) -> String {
    json!({"items": 1, "total": 2.5, "customerName": name, "customerId": name, "status": "COMPLETED"}).to_string()
}

async fn ask(app: &ApiClient, method: Method, path: &str) -> Response {
    soon(path, app.request(method, path).send()).await.unwrap()
}

async fn delete(app: &ApiClient, what: &str, before: Timestamp) -> Value {
    let answer = ask(app, Method::DELETE, &format!("/api/{what}?before={before}")).await;
    assert_eq!(answer.status(), 200, "{what}");
    answer.json().await.unwrap()
}

/// Asserts a refusal with this status that can be tried again, and returns its text.
async fn refused(answer: Response, status: u16, code: &str) -> String {
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (status, true));
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

async fn gauge(app: &ApiClient, name: &str, value: f64) {
    until(name, || async { (app.counter(name).await == value).then_some(()) }).await;
}

#[tokio::test]
async fn orders_and_customers_of_a_tenant() {
    let now = Arc::new(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let shown = Arc::clone(&now);
    let directory = tempfile::tempdir().unwrap();
    let start = |orders| {
        let shown = Arc::clone(&shown);
        spawn_app_at(Clock::from_fn(move || *shown.lock()), |config| {
            config.data_dir = Some(directory.path().to_owned());
            (config.limits.max_orders, config.limits.max_customers) = (orders, 2);
        })
    };
    let mut app = start(3);
    for name in ["a", "b", "a"] {
        assert_eq!(app.post("/api/orders", order(name)).await.status(), 201);
    }
    let text = refused(app.post("/api/orders", order("a")).await, 429, "RATE_LIMITED").await;
    assert!(text.contains("limits.max_orders"), "{text}");
    let text = refused(app.post("/api/customers", "").await, 429, "RATE_LIMITED").await;
    assert!(text.contains("limits.max_customers"), "{text}");
    assert_eq!(app.post("/api/customers", r#"{"customerId": "a"}"#).await.status(), 200, "a known one needs no room");
    assert_eq!((app.limit("max_orders").await, app.limit("max_customers").await), (1.0, 1.0));
    gauge(&app, "tricast_orders", 3.0).await;
    gauge(&app, "tricast_customers_largest_tenant", 2.0).await;
    assert_eq!(app.get_json("/api/orders").await["orders"].as_array().unwrap().len(), 3, "nothing more was stored");
    app.begin_stop();
    app.stopped().await;

    // A restart changes nothing about it, and nothing is deleted by a lower limit.
    let app = start(2);
    refused(app.post("/api/orders", order("a")).await, 429, "RATE_LIMITED").await;
    gauge(&app, "tricast_orders_largest_tenant", 3.0).await;
    let created = *now.lock();
    let soon_after = created + SignedDuration::from_secs(1);
    let early = ask(&app, Method::DELETE, &format!("/api/orders?before={soon_after}")).await;
    assert_eq!(early.status(), 422, "an idempotency key may name one of them");
    assert_eq!(ask(&app, Method::DELETE, "/api/orders").await.status(), 400, "without a time nothing is deleted");
    assert_eq!(ask(&app, Method::DELETE, "/api/orders?before=yesterday").await.status(), 400);
    *now.lock() += SignedDuration::from_hours(30);
    assert_eq!(delete(&app, "orders", created).await, json!({"deleted": 0, "more": false}), "they are not older");
    assert_eq!(delete(&app, "orders", soon_after).await, json!({"deleted": 3, "more": false}));
    assert_eq!(delete(&app, "customers", soon_after).await, json!({"deleted": 2, "more": false}));
    gauge(&app, "tricast_orders", 0.0).await;
    gauge(&app, "tricast_customers", 0.0).await;
    for name in ["c", "d"] {
        assert_eq!(app.post("/api/orders", order(name)).await.status(), 201, "there is room again");
    }
    refused(app.post("/api/orders", order("c")).await, 429, "RATE_LIMITED").await;
}

#[tokio::test]
async fn old_orders_are_deleted_by_an_administrator_of_their_tenant_alone() {
    let app = spawn_app_with_tokens(|_| {});
    let clerk = app.with(token("ada", "acme", &["write:orders", "read:orders"]));
    for path in ["/api/orders?before=2019-01-01T00:00:00Z", "/api/customers?before=2019-01-01T00:00:00Z"] {
        assert_eq!(ask(&clerk, Method::DELETE, path).await.status(), 403, "{path}");
        let admin = app.with(token("eve", "acme", &["admin"]));
        assert_eq!(ask(&admin, Method::DELETE, path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn orders_of_several_nodes_count_together() {
    let database = Cluster::shared().database();
    let node = || {
        spawn_app_with(|config| {
            config.database_url = database.as_str().into();
            (config.limits.max_orders, config.limits.max_customers) = (4, 3);
        })
    };
    let nodes = [node(), node()];
    for (node, name) in nodes.iter().cycle().zip(["a", "b", "a", "b"]) {
        assert_eq!(node.post("/api/orders", order(name)).await.status(), 201);
    }
    for node in &nodes {
        refused(node.post("/api/orders", order("a")).await, 429, "RATE_LIMITED").await;
        assert_eq!(node.limit("max_orders").await, 1.0);
        gauge(node, "tricast_orders", 4.0).await;
        gauge(node, "tricast_customers", 2.0).await;
    }
    let (sql, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let age = "UPDATE tricast_orders SET created_ms = created_ms - 7 * 86400000 WHERE number <= 2";
    sql.batch_execute(age).await.unwrap();
    let before = Timestamp::now() - SignedDuration::from_hours(48);
    assert_eq!(delete(&nodes[0], "orders", before).await, json!({"deleted": 2, "more": false}));
    assert_eq!(nodes[1].post("/api/orders", order("c")).await.status(), 201, "there is room on every node");
    for node in &nodes {
        gauge(node, "tricast_orders", 3.0).await;
        gauge(node, "tricast_customers", 3.0).await;
    }
    // Rows that an administrator deletes by hand make room, too.
    sql.batch_execute("DELETE FROM tricast_customers WHERE id = 'c'").await.unwrap();
    assert_eq!(nodes[0].post("/api/customers", "").await.status(), 201);
    refused(nodes[0].post("/api/customers", "").await, 429, "RATE_LIMITED").await;
}

#[tokio::test]
async fn dashboards_and_alert_rules_of_a_tenant() {
    let app = spawn_app_with(|config| config.alerts.max_rules = 1);
    let board = |n: usize| json!({"id": format!("b{n}"), "name": "n", "tiles": []}).to_string();
    for n in 1..100 {
        assert_eq!(app.post("/api/dashboards", board(n)).await.status(), 201);
    }
    refused(app.post("/api/dashboards", board(100)).await, 429, "RATE_LIMITED").await;
    let rule = |id: &str| {
        json!({"id": id, "name": "r", "channel": "metrics.x", "field": "f", "severity": "info",
            "condition": {"above": 1}})
        .to_string()
    };
    assert_eq!(app.post("/api/alerts/rules", rule("a")).await.status(), 201);
    refused(app.post("/api/alerts/rules", rule("b")).await, 429, "RATE_LIMITED").await;
    refused(app.post("/api/alerts/rules", rule("b")).await, 429, "RATE_LIMITED").await;
    assert_eq!((app.limit("max_dashboards").await, app.limit("max_rules").await), (1.0, 2.0));
    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/b1").await.status(), 204);
    assert_eq!(ask(&app, Method::DELETE, "/api/alerts/rules/a").await.status(), 204);
    assert_eq!(app.post("/api/dashboards", board(100)).await.status(), 201);
    assert_eq!(app.post("/api/alerts/rules", rule("b")).await.status(), 201);
}

#[tokio::test]
async fn events_that_wait_to_be_published() {
    let mut redis = Redis::start();
    let app = spawn_app_with(|config| {
        config.bus = redis.url().as_str().into();
        config.limits.max_pending_events = 4;
    });
    let mut stream = app.events("?channels=orders").await;
    stream.next_of("connected").await;
    until("a leader", || async { (app.counter("tricast_bus_leads").await == 1.0).then_some(()) }).await;
    assert_eq!(app.post("/api/orders", order("first")).await.status(), 201);
    gauge(&app, "tricast_pending_events", 0.0).await;
    redis.kill();
    until("the bus to be away", || async { (app.get_json("/readyz").await["checks"]["bus"] != "ok").then_some(()) })
        .await;
    let mut accepted = Vec::new();
    let text = loop {
        let name = format!("c{}", accepted.len());
        let answer = app.post("/api/orders", order(&name)).await;
        if answer.status() != 201 {
            break refused(answer, 503, "SERVER_ERROR").await;
        }
        accepted.push(name);
        assert!(accepted.len() <= 4, "more than the limit");
    };
    assert!(text.contains("wait to be published") && !accepted.is_empty(), "{text}");
    gauge(&app, "tricast_pending_events", accepted.len() as f64).await;
    // Until none is counted twice, one more may be refused than has to be.
    while accepted.len() < 4 {
        accepted.push(format!("c{}", accepted.len()));
        let name = accepted.last().unwrap();
        until("room", || async { (app.post("/api/orders", order(name)).await.status() == 201).then_some(()) }).await;
    }
    let board = json!({"name": "n", "tiles": []}).to_string();
    refused(app.post("/api/dashboards", board.clone()).await, 503, "SERVER_ERROR").await;
    let change = app.request(Method::PATCH, "/api/orders/ord-00000001").body(r#"{"status": "CANCELLED"}"#);
    refused(soon("an answer", change.send()).await.unwrap(), 503, "SERVER_ERROR").await;
    assert!(app.limit("max_pending_events").await >= 3.0);
    assert_eq!(app.get_json("/api/orders").await["orders"].as_array().unwrap().len(), 5, "nothing more was stored");
    assert_eq!(app.get_json("/api/orders/ord-00000001").await["status"], "COMPLETED");
    redis.start_again();
    for name in std::iter::once("first").chain(accepted.iter().map(String::as_str)) {
        let event = stream.next_of("order_created").await.data();
        assert_eq!(event["data"]["customerName"], name, "each is published once and in order");
    }
    gauge(&app, "tricast_pending_events", 0.0).await;
    let again = || async { (app.post("/api/dashboards", board.clone()).await.status() == 201).then_some(()) };
    until("changes to be accepted", again).await;
    tokio::time::timeout(Duration::from_secs(60), app.post("/api/orders", order("last"))).await.unwrap();
    assert_eq!(stream.next_of("order_created").await.data()["data"]["customerName"], "last");
}

#[tokio::test]
async fn a_full_store_is_reported_to_polls_and_to_new_streams() {
    let directory = tempfile::tempdir().unwrap();
    let app = spawn_app_with(|config| {
        config.data_dir = Some(directory.path().to_owned());
        config.limits.max_store.0 = 1 << 20;
    });
    assert_eq!(app.get("/api/orders").await.headers().get("warning"), None);
    // Smaller than the room that the server's own test write needs.
    let tiles: Vec<_> = (0..20)
        .map(|n| json!({"id": format!("t{n}"), "type": "text", "title": "T", "options": {"text": "x".repeat(1_900)}}))
        .collect();
    let mut ids = Vec::new();
    until("a full store", || {
        let id = format!("b{}", ids.len());
        let posted = app.post("/api/dashboards", json!({"id": id, "name": "n", "tiles": tiles}).to_string());
        ids.push(id);
        async move {
            let status = posted.await.status();
            assert!(status == 201 || status == 503, "{status}");
            (status == 503).then_some(())
        }
    })
    .await;
    let warning = |path: &'static str| {
        let app = &app;
        async move { app.get(path).await.headers().get("warning").map(|text| text.to_str().unwrap().to_owned()) }
    };
    until("the fault", || async { warning("/api/metrics").await }).await;
    for path in ["/api/metrics", "/api/metrics/metrics.api", "/api/orders", "/api/dashboards"] {
        assert_eq!(warning(path).await.as_deref(), Some("199 tricast \"The store accepts no changes\""), "{path}");
    }
    let mut socket = app.websocket().await;
    socket.subscribe(&["system"]).await;
    let notice = socket.next_of("event").await;
    assert_eq!((&notice["event"], &notice["data"]), (&json!("degraded"), &json!({"reason": "store"})));
    let mut stream = app.events("?channels=system").await;
    assert_eq!(stream.next_of("system").await.data()["data"]["reason"], "store");

    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/b0").await.status(), 204);
    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/b1").await.status(), 204);
    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/b2").await.status(), 204);
    assert_eq!(socket.next_of("event").await["event"], "recovered");
    until("the end of the fault", || async { warning("/api/metrics").await.is_none().then_some(()) }).await;
    let mut late = app.events("?channels=system,deploys").await;
    late.next_of("connected").await;
    app.push_event("deploys", 1).await;
    assert_eq!(late.next().await.unwrap().data()["channel"], "deploys", "no notice of the past");
}
