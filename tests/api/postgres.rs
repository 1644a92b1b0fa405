//! The server on a real PostgreSQL that is killed, hangs, is read-only, or is shared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tricast::config::Config;
use tricast_core::clock::Clock;

use crate::{
    cluster::Cluster,
    ends::delete,
    helpers::{ApiClient, TestApp, WebSocket, soon, spawn_app_at, spawn_app_with, until},
};

fn in_database(url: &str) -> impl FnOnce(&mut Config) {
    let url = url.to_owned();
    move |config| config.database_url = url.as_str().into()
}

fn order(name: &str) -> Value {
    json!({"items": 1, "total": 2.5, "customerName": name})
}

async fn send(app: &ApiClient, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let request = app.request(method, path).body(body.to_string());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    soon(path, request.send()).await.unwrap()
}

async fn create(app: &ApiClient, body: &Value, key: &str) -> Response {
    send(app, Method::POST, "/api/orders", &[("idempotency-key", key)], body).await
}

async fn is_ready(app: &TestApp) -> bool {
    let answer = app.get("/readyz").await;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    // Orders are loaded from the store, and may be ready later.
    let failed = ["store", "orders"].iter().any(|check| body["checks"][check] == "failed");
    assert_eq!((status == 200, status == 503), (!failed, failed), "{body}");
    status == 200
}

async fn ready(app: &TestApp, expected: bool) {
    until("readiness to change", || async { (is_ready(app).await == expected).then_some(()) }).await;
}

/// Asserts that the change was not made, or that this is unknown.
async fn assert_not_confirmed(answer: Response) {
    if answer.status() != StatusCode::GATEWAY_TIMEOUT {
        assert_unavailable(answer).await;
    }
}

async fn assert_unavailable(answer: Response) {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "SERVER_ERROR");
    assert!(problem["detail"].as_str().unwrap().contains("store"), "{problem}");
}

/// Returns the number of orders that were answered with 201.
async fn orders_made(app: &ApiClient) -> f64 {
    let page = app.get("/metrics").await.text().await.unwrap();
    let line = "tricast_http_requests_total{route=\"/api/orders\",method=\"POST\",status=\"201\"} ";
    page.lines().find_map(|text| text.strip_prefix(line)?.parse().ok()).unwrap_or_default()
}

/// Returns all orders by id, with their customers' names.
async fn all_orders(app: &ApiClient) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = app.get_json(&format!("/api/orders?limit=200{after}")).await;
        for order in page["orders"].as_array().unwrap() {
            let text = |field: &str| order[field].as_str().unwrap().to_owned();
            assert!(all.insert(text("orderId"), text("customerName")).is_none());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

async fn orders_today(app: &ApiClient, expected: usize) {
    until(&format!("{expected} orders in the numbers"), || async {
        let data = app.get_json("/api/metrics/metrics.orders").await["data"].clone();
        (data["ordersToday"] == expected && data["pendingOrders"] == expected).then_some(())
    })
    .await;
}

/// Returns the next event of `system` about the store; history publishes events of its own.
async fn next_store_event(socket: &mut WebSocket) -> Value {
    loop {
        let event = socket.next_of("event").await;
        if event["data"]["reason"] == "store" {
            return event["event"].clone();
        }
    }
}

#[tokio::test]
async fn a_kill_under_load_loses_and_duplicates_no_acknowledged_order() {
    // With fsync, as by default.
    let cluster = Arc::new(Cluster::start(&[]));
    let app = spawn_app_with(in_database(&cluster.database()));
    let mut socket = app.websocket().await;
    socket.subscribe(&["system"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let workers = (0..8).map(|worker| {
        let (app, stop) = (ApiClient::clone(&app), Arc::clone(&stop));
        tokio::spawn(async move {
            let (mut acknowledged, mut refused) = (BTreeMap::new(), 0);
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("{worker}-{number}");
                // As often as necessary, always with the same key.
                loop {
                    let answer = create(&app, &order(&name), &name).await;
                    if answer.status() == 201 {
                        let made: Value = answer.json().await.unwrap();
                        let id = made["orderId"].as_str().unwrap().to_owned();
                        assert_eq!(acknowledged.insert(id, name), None);
                        break;
                    }
                    assert_not_confirmed(answer).await;
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            (acknowledged, refused)
        })
    });
    let workers: Vec<_> = workers.collect();
    until("load", || async { (orders_made(&app).await >= 100.0).then_some(()) }).await;

    let shared = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || shared.kill()).await.unwrap();
    assert_eq!(next_store_event(&mut socket).await, "degraded");
    ready(&app, false).await;
    // Live values continue in both directions.
    app.push_value("metrics.shop", json!({"x": 7})).await;
    assert_eq!(app.get_json("/api/metrics/metrics.shop").await["data"]["x"], 7);
    assert_unavailable(app.get("/api/orders").await).await;
    assert_unavailable(app.get("/api/dashboards").await).await;
    assert_eq!(app.counter("tricast_store_available").await, 0.0);

    let shared = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || shared.start_again()).await.unwrap();
    assert_eq!(next_store_event(&mut socket).await, "recovered");
    ready(&app, true).await;
    let after = orders_made(&app).await + 100.0;
    until("load again", || async { (orders_made(&app).await >= after).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);

    let mut acknowledged = BTreeMap::new();
    let mut refused = 0;
    for (made, not) in join_all(workers).await.into_iter().map(Result::unwrap) {
        acknowledged.extend(made);
        refused += not;
    }
    assert!(refused > 0, "it was killed under load");
    let kept = all_orders(&app).await;
    assert_eq!(kept, acknowledged, "stored and acknowledged orders");
    orders_today(&app, kept.len()).await;
}

#[tokio::test]
async fn a_hanging_database_is_given_up_in_time_and_used_again() {
    let cluster = Cluster::start(&["fsync=off"]);
    let url = cluster.database();
    let app = spawn_app_with(|config| {
        in_database(&url)(config);
        config.database.statement_timeout.0 = Duration::from_secs(1);
        config.database.connect_timeout.0 = Duration::from_secs(1);
    });
    assert_eq!(create(&app, &order("Ada"), "a").await.status(), 201);
    cluster.signal("STOP");
    assert_unavailable(create(&app, &order("Bob"), "b").await).await;
    ready(&app, false).await;
    assert_unavailable(create(&app, &order("Bob"), "b").await).await;
    for channel in ["metrics.shop", "metrics.cart"] {
        app.push_value(channel, json!({"x": 7})).await;
    }
    let deleted = delete(&app, "metrics.shop").await;
    assert_eq!(deleted.status(), 202);
    assert_eq!(deleted.json::<Value>().await.unwrap(), json!({"stored": false}));
    let end = json!({"channel": "metrics.cart", "delete": true}).to_string();
    let pushed = app.post("/api/metrics", end).await.json::<Value>().await.unwrap();
    assert_eq!((&pushed["accepted"], &pushed["stored"]), (&json!(1), &json!(false)));
    // Connections are attempted repeatedly meanwhile; abandoned ones are closed.
    until("the old connections to go", || async {
        (app.counter("tricast_store_connections").await <= 1.0).then_some(())
    })
    .await;
    cluster.signal("CONT");
    ready(&app, true).await;
    // The same key makes one order of all attempts: on a busy machine one of them may exceed the short timeout.
    until("the order to be stored", || async {
        create(&app, &order("Bob"), "b").await.status().is_success().then_some(())
    })
    .await;
    assert_eq!(all_orders(&app).await.len(), 2);
    orders_today(&app, 2).await;
    until("an end that is stored", || async {
        app.push_value("metrics.shop", json!({"x": 7})).await;
        (delete(&app, "metrics.shop").await.status() == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_read_only_database_is_not_ready_and_can_be_read() {
    let cluster = Arc::new(Cluster::start(&["fsync=off"]));
    let app = spawn_app_with(in_database(&cluster.database()));
    ready(&app, true).await;
    let mut socket = app.websocket().await;
    socket.subscribe(&["system"]).await;
    assert_eq!(create(&app, &order("Ada"), "one").await.status(), 201);

    cluster.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    cluster.sql("SELECT pg_reload_conf()");
    ready(&app, false).await;
    assert_eq!(next_store_event(&mut socket).await, "degraded");
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("tricast_store_available 0"), "{metrics}");
    assert_eq!(all_orders(&app).await.len(), 1, "existing orders can be read");

    cluster.sql("ALTER SYSTEM SET default_transaction_read_only = off");
    cluster.sql("SELECT pg_reload_conf()");
    ready(&app, true).await;
    assert_eq!(next_store_event(&mut socket).await, "recovered");
    assert_eq!(create(&app, &order("Bob"), "two").await.status(), 201);
}

#[tokio::test]
async fn the_server_starts_without_the_database_and_connects_later() {
    let cluster = Cluster::start(&["fsync=off"]);
    let url = cluster.database();
    cluster.kill();
    let app = spawn_app_with(in_database(&url));
    assert!(!is_ready(&app).await);
    app.push_value("metrics.shop", json!({"x": 7})).await;
    assert_eq!(app.get_json("/api/metrics/metrics.orders").await["data"]["ordersToday"], Value::Null);
    assert_unavailable(create(&app, &order("Ada"), "a").await).await;
    cluster.start_again();
    ready(&app, true).await;
    until("the tables", || async { (create(&app, &order("Ada"), "a").await.status() == 201).then_some(()) }).await;
    orders_today(&app, 1).await;
    until("the first board", || async { (app.get("/api/dashboards/default").await.status() == 200).then_some(()) })
        .await;
}

#[tokio::test]
async fn two_nodes_on_one_database_share_orders_and_keys() {
    let url = Cluster::shared().database();
    let nodes = [spawn_app_with(in_database(&url)), spawn_app_with(in_database(&url))];
    let asked = (0..60).map(|number| {
        let name = format!("c{number}");
        let app = &nodes[number % 2];
        async move { create(app, &order(&name), &name).await.json::<Value>().await.unwrap()["orderId"].clone() }
    });
    let ids: BTreeSet<String> = join_all(asked).await.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 60, "no id twice");
    // The same key at once on both: one order, and the same response.
    let body = order("Both");
    let answers = join_all((0..20).map(|number| create(&nodes[number % 2], &body, "both"))).await;
    let mut same = BTreeSet::new();
    for answer in answers {
        assert_eq!(answer.status(), 201);
        same.insert(answer.text().await.unwrap());
    }
    assert_eq!(same.len(), 1, "{same:?}");
    for node in &nodes {
        assert_eq!(all_orders(node).await.len(), 61);
        orders_today(node, 61).await;
    }
    // A change on one node is shown and counted by the other.
    let path = "/api/orders/ord-00000001";
    let changed = send(&nodes[0], Method::PATCH, path, &[], &json!({"status": "CANCELLED"})).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(nodes[1].get_json(path).await["status"], "CANCELLED");
    orders_today(&nodes[1], 60).await;
}

#[tokio::test]
async fn a_board_that_another_node_changed_is_not_overwritten() {
    let url = Cluster::shared().database();
    let nodes = [spawn_app_with(in_database(&url)), spawn_app_with(in_database(&url))];
    for node in &nodes {
        let boards = until("the first board", || async {
            let boards = node.get_json("/api/dashboards").await["dashboards"].clone();
            boards.is_array().then_some(boards)
        })
        .await;
        assert_eq!(boards.as_array().unwrap().len(), 1, "one default board, though both began together");
    }
    let path = "/api/dashboards/default";
    let seen = nodes[0].get(path).await.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(nodes[1].get(path).await.headers()["etag"].to_str().unwrap(), seen, "one version, one tag");
    let rename = |node: usize, name: &str| {
        let body = json!({"name": name, "tiles": []});
        let (app, seen) = (ApiClient::clone(&nodes[node]), seen.clone());
        async move { send(&app, Method::PUT, path, &[("if-match", &seen)], &body).await.status().as_u16() }
    };
    let (one, other) = tokio::join!(rename(0, "One"), rename(1, "Other"));
    let mut codes = [one, other];
    codes.sort_unstable();
    assert_eq!(codes, [200, 412], "one of two changes of the same version is late");
    assert_eq!(nodes[0].get_json(path).await, nodes[1].get_json(path).await);
}

#[tokio::test]
async fn a_read_only_database_refuses_every_change_alike() {
    let cluster = Cluster::start(&["fsync=off"]);
    let app = spawn_app_with(in_database(&cluster.database()));
    assert_eq!(create(&app, &order("Ada"), "a").await.status(), 201);
    until("the first board", || async { (app.get("/api/dashboards/default").await.status() == 200).then_some(()) })
        .await;
    let set = |value: &str| {
        cluster.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        cluster.sql("SELECT pg_reload_conf()");
    };
    set("on");
    let visits = json!({"count": 1});
    until("the database to be read-only", || async {
        (send(&app, Method::POST, "/api/visits", &[], &visits).await.status() == 503).then_some(())
    })
    .await;
    let rule =
        json!({"name": "r", "channel": "metrics.x", "field": "f", "severity": "info", "condition": {"above": 1}});
    let board = json!({"name": "n", "tiles": []});
    for (method, path, body) in [
        (Method::POST, "/api/orders", order("Bob")),
        (Method::PATCH, "/api/orders/ord-00000001", json!({"status": "SHIPPED"})),
        (Method::POST, "/api/customers", json!({"customerId": "c"})),
        (Method::POST, "/api/visits", visits.clone()),
        (Method::POST, "/api/dashboards", board.clone()),
        (Method::PUT, "/api/dashboards/default", board.clone()),
        (Method::DELETE, "/api/dashboards/default", Value::Null),
        (Method::POST, "/api/alerts/rules", rule.clone()),
    ] {
        let answer = send(&app, method, path, &[], &body).await;
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("read-only"), "{path}: {problem}");
    }
    assert_eq!(app.get_json("/api/orders/ord-00000001").await["status"], "PENDING", "reads still succeed");
    set("off");
    until("the database to be writable", || async {
        create(&app, &order("Bob"), "b").await.status().is_success().then_some(())
    })
    .await;
    assert_eq!(all_orders(&app).await.len(), 2);
    orders_today(&app, 2).await;
    for (path, body) in [("/api/dashboards", board), ("/api/alerts/rules", rule)] {
        assert_eq!(send(&app, Method::POST, path, &[], &body).await.status(), 201, "{path}");
    }
}

#[tokio::test]
async fn nodes_with_wrong_clocks_use_the_day_of_the_database() {
    let url = Cluster::shared().database();
    let at = |seconds: i64| {
        let clock = Clock::from_fn(move || Timestamp::now() + SignedDuration::from_secs(seconds));
        spawn_app_at(clock, in_database(&url))
    };
    // Beyond midnight in every zone.
    let nodes = [at(0), at(3_600), at(-3_600), at(100_000)];
    for (number, node) in (0..12).zip(nodes.iter().cycle()) {
        let name = format!("c{number}");
        let made: Value = create(node, &order(&name), &name).await.json().await.unwrap();
        let made: Timestamp = made["createdAt"].as_str().unwrap().parse().unwrap();
        let apart = made.duration_since(Timestamp::now()).abs();
        assert!(apart < SignedDuration::from_mins(5), "{apart:#}");
    }
    for node in &nodes {
        orders_today(node, 12).await;
        assert_eq!(node.get_json("/api/metrics/metrics.orders").await["data"]["ordersLastHour"], 12);
        assert_eq!(node.get_json("/api/stats").await["revenue"], 30.0);
    }
}

#[tokio::test]
async fn metrics_database_shows_its_load() {
    let app = spawn_app_with(in_database(&Cluster::shared().database()));
    create(&app, &order("Ada"), "a").await;
    let measured = until("a rate", || async {
        let data = app.get_json("/api/metrics/metrics.database").await["data"].clone();
        data["queries_per_second"].is_number().then_some(data)
    })
    .await;
    assert!(measured["connections"].as_u64() >= Some(2), "{measured}");
    let ratio = measured["cache_hit_ratio"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&ratio) && measured["slow_queries"].is_u64(), "{measured}");
    assert_eq!(app.counter("tricast_store_available").await, 1.0);
    assert!(app.counter("tricast_store_latency_seconds_count{operation=\"write\"}").await >= 1.0);
    assert!(app.counter("tricast_store_connections").await >= 2.0);
}

#[tokio::test]
async fn a_clock_that_differs_from_the_databases_is_reported() {
    let database = Cluster::shared().database();
    let hour = SignedDuration::from_hours(1);
    let app = spawn_app_at(Clock::from_fn(move || Timestamp::now() - hour), |config| {
        config.database_url = database.as_str().into();
        config.node_id = Some("late".into());
    });
    until("the clock to be named", || async {
        (app.get_json("/readyz").await["checks"]["clock"] == "failed").then_some(())
    })
    .await;
    assert!((app.counter("tricast_clock_offset_seconds").await + 3_600.0).abs() < 5.0);
    until("all notifications", || async {
        let cursor = app.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        let since = format!("{}:0", cursor.split(':').next().unwrap());
        let page = app.get_json(&format!("/api/metrics?channels=system&since={since}")).await;
        let mut events = page["events"].as_array()?.iter();
        events.any(|event| event["data"]["reason"] == "clock" && event["data"]["node"] == "late").then_some(())
    })
    .await;
}
