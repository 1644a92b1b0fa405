//! Orders, customers and visits: responses, storage, events and figures.

use std::{collections::BTreeSet, process::Command, sync::Arc};

use futures_util::future::join_all;
use jiff::{Zoned, tz::TimeZone};
use parking_lot::Mutex;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tricast_core::{
    aggregator::{Aggregator, AggregatorConfig},
    channel::Channel,
    clock::Clock,
    log::{Log, LogConfig},
    snapshot::View,
};
use tricast_domain::{
    orders::{NewOrder, NewVisits, OrderError, OrderService, RowLimits},
    relay::Relay,
    service::StoreError,
};
use tricast_store::sqlite::SqliteStore;

use crate::{
    helpers::{TestApp, soon, spawn_app, spawn_app_at, spawn_app_with, until},
    program::Program,
};

fn order(total: f64) -> Value {
    json!({"items": 2, "total": total, "customerName": "Ada"})
}

async fn send(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let request = app.request(method, path).body(body.to_string());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    soon(path, request.send()).await.unwrap()
}

async fn create(app: &TestApp, body: &Value) -> Value {
    let created = send(app, Method::POST, "/api/orders", &[], body).await;
    assert_eq!(created.status(), 201, "{body}");
    created.json().await.unwrap()
}

async fn patch(app: &TestApp, id: &str, headers: &[(&str, &str)], body: Value) -> Response {
    send(app, Method::PATCH, &format!("/api/orders/{id}"), headers, &body).await
}

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

async fn channel(app: &TestApp, name: &str) -> Value {
    app.get_json(&format!("/api/metrics/{name}")).await["data"].clone()
}

/// Waits until each field of the channel has the expected value.
async fn figures(app: &TestApp, name: &str, expected: Value) {
    until(&format!("{name} {expected}"), || async {
        let data = channel(app, name).await;
        expected.as_object().unwrap().iter().all(|(field, value)| data[field] == *value).then_some(())
    })
    .await;
}

/// Returns a clock and a function that sets it.
fn clock(start: &str) -> (Clock, impl Fn(&str)) {
    let read = |text: &str| text.parse::<Zoned>().unwrap().timestamp();
    let now = Arc::new(Mutex::new(read(start)));
    let shown = Arc::clone(&now);
    (Clock::from_fn(move || *shown.lock()), move |text: &str| *now.lock() = read(text))
}

#[tokio::test]
async fn a_restart_on_the_same_directory_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let start = || spawn_app_with(|config| config.data_dir = Some(directory.path().join("data")));
    let mut app = start();
    let mut first = create(&app, &order(10.25)).await;
    create(&app, &json!({"items": 1, "total": 20.5, "customerName": "Bob", "customerId": "b"})).await;
    let cancelled = create(&app, &order(99.99)).await;
    let changed = patch(&app, first["orderId"].as_str().unwrap(), &[], json!({"status": "PROCESSING"})).await;
    let old_tag = tag(&changed);
    first = changed.json().await.unwrap();
    patch(&app, cancelled["orderId"].as_str().unwrap(), &[], json!({"status": "CANCELLED"})).await;
    app.post("/api/visits", r#"{"count": 8}"#).await;
    app.post("/api/customers", r#"{"customerId": "a"}"#).await;
    app.post("/api/dashboards", r#"{"id": "mine", "name": "Mine"}"#).await;
    let keyed = send(&app, Method::POST, "/api/orders", &[("idempotency-key", "k")], &order(1.0)).await;
    let keyed: Value = keyed.json().await.unwrap();
    let business = json!({"orders_today": 3, "revenue_today": 31.75, "new_users_today": 2, "conversion_rate": 0.375});
    let orders = json!({"ordersToday": 3, "ordersLastHour": 3, "pendingOrders": 3});
    figures(&app, "metrics.business", business.clone()).await;
    figures(&app, "metrics.orders", orders.clone()).await;
    app.begin_stop();
    app.stopped().await;

    let app = start();
    figures(&app, "metrics.business", business).await;
    figures(&app, "metrics.orders", orders).await;
    figures(&app, "metrics.revenue", json!({"revenueToday": 31.75, "averageOrderValue": 10.58})).await;
    let stats = app.get_json("/api/stats").await;
    assert_eq!((&stats["activeOrders"], &stats["revenue"]), (&json!(1), &json!(31.75)));
    let read = app.get("/api/orders/ord-00000001").await;
    assert_eq!(tag(&read), old_tag);
    assert_eq!(read.json::<Value>().await.unwrap(), first);
    let again = send(&app, Method::POST, "/api/orders", &[("idempotency-key", "k")], &order(1.0)).await;
    assert_eq!(again.json::<Value>().await.unwrap(), keyed);
    assert_eq!(app.post("/api/customers", r#"{"customerId": "a"}"#).await.status(), 200);
    assert_eq!(create(&app, &order(5.0)).await["orderId"], "ord-00000005");
    assert_eq!(app.get_json("/api/dashboards/mine").await["name"], "Mine");
}

#[tokio::test]
async fn orders_without_a_directory_end_with_the_process() {
    let app = spawn_app();
    create(&app, &order(1.0)).await;
    let other = spawn_app();
    assert_eq!(other.get("/api/orders/ord-00000001").await.status(), 404);
}

#[tokio::test]
async fn kill_9_loses_no_acknowledged_order() {
    let directory = tempfile::tempdir().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for _ in 0..2 {
        let mut program = Program::start(directory.path());
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let shoppers: Vec<_> = (0..16)
            .map(|_| {
                let (client, url, seen) = (client.clone(), format!("{}/api/orders", program.url), Arc::clone(&seen));
                tokio::spawn(async move {
                    // Until the server is killed.
                    while let Ok(answer) = client.post(&url).body(order(1.25).to_string()).send().await {
                        assert_eq!(answer.status(), 201);
                        let Ok(order) = answer.json::<Value>().await else { return };
                        seen.lock().insert(order["orderId"].as_str().unwrap().to_owned());
                    }
                })
            })
            .collect();
        until("orders", || async { (seen.lock().len() > 100).then_some(()) }).await;
        program.kill();
        for shopper in shoppers {
            soon("a shopper", shopper).await.unwrap();
        }
        acknowledged.extend(seen.lock().iter().cloned());
    }
    let program = Program::start(directory.path());
    let get = |path: String| {
        let request = client.get(format!("{}{path}", program.url));
        async { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let mut kept = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = get(format!("/api/orders?limit=200{after}")).await;
        kept.extend(
            page["orders"].as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert!(acknowledged.is_subset(&kept), "lost: {:?}", acknowledged.difference(&kept));
    // Orders that were written just before the kill, and not acknowledged, may exist; the figures include them.
    until("the numbers", || async {
        let business = get("/api/metrics".into()).await["business"].clone();
        (business["orders_today"] == kept.len() && business["revenue_today"] == kept.len() as f64 * 1.25).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Program::start(directory.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
    command.env_clear().current_dir(directory.path()).args(["--listen", "127.0.0.1:0", "--data-dir", "data"]);
    let second = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.code() == Some(1) && stderr.contains("data is in use by another process"), "{stderr}");
}

#[tokio::test]
async fn a_repeated_key_makes_one_order_and_one_event() {
    let app = spawn_app();
    let mut events = app.events("?channels=orders").await;
    events.next_of("connected").await;
    let keyed = |body: Value| {
        let app = &app;
        async move { send(app, Method::POST, "/api/orders", &[("idempotency-key", "\"8e03\"")], &body).await }
    };
    let answers = join_all((0..20).map(|_| keyed(order(19.99)))).await;
    let mut seen = Vec::new();
    for answer in answers {
        assert_eq!(answer.status(), 201);
        seen.push((tag(&answer), answer.headers()["location"].clone(), answer.json::<Value>().await.unwrap()));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    let other = keyed(order(20.0)).await;
    assert_eq!(
        (other.status(), &other.headers()["content-type"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &"application/problem+json".parse().unwrap())
    );
    let detail = other.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("Idempotency-Key"), "{detail}");
    // A later change does not change the repeated response.
    patch(&app, "ord-00000001", &[], json!({"status": "SHIPPED"})).await;
    assert_eq!(keyed(order(19.99)).await.json::<Value>().await.unwrap(), seen[0].2);
    create(&app, &order(1.0)).await;
    let names: Vec<String> = [events.next().await, events.next().await, events.next().await]
        .map(|event| event.unwrap())
        .into_iter()
        .map(|event| format!("{} {}", event.name, event.data()["data"]["orderId"].as_str().unwrap()))
        .collect();
    assert_eq!(names, ["order_created ord-00000001", "order_updated ord-00000001", "order_created ord-00000002"]);
    for bad in ["", "a b", &"x".repeat(256), "é"] {
        let refused = send(&app, Method::POST, "/api/orders", &[("idempotency-key", bad)], &order(1.0)).await;
        assert_eq!(refused.status(), 400, "{bad:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(send(&app, Method::POST, "/api/orders", &twice, &order(1.0)).await.status(), 400);
}

#[tokio::test]
async fn a_change_of_an_older_version_is_refused() {
    let app = spawn_app();
    let created = send(&app, Method::POST, "/api/orders", &[], &order(5.0)).await;
    let first = tag(&created);
    assert!(first.starts_with('"') && first.ends_with('"'), "{first} is strong");
    let path = "/api/orders/ord-00000001";
    assert_eq!(tag(&app.get(path).await), first);
    let when = |tag: &str, status: &str| {
        let (app, tag, body) = (&app, tag.to_owned(), json!({"status": status}));
        async move { patch(app, "ord-00000001", &[("if-match", &tag)], body).await }
    };
    let (one, other) = tokio::join!(when(&first, "PROCESSING"), when(&first, "CANCELLED"));
    let mut codes = [one.status().as_u16(), other.status().as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 412], "one of two changes of the same version is late");
    let moved = app.get(path).await;
    let second = tag(&moved);
    assert_ne!(second, first);
    for (status, condition) in [
        (412, first.clone()),
        (412, format!("W/{first}")),
        (200, format!("W/{second}")),
        (412, "\"other\", \"1\"".into()),
        (400, "nonsense".into()),
        (200, format!("\"x\", {second}")),
        (200, "*".into()),
    ] {
        let now = app.get_json(path).await["status"].as_str().unwrap().to_owned();
        assert_eq!(when(&condition, &now).await.status(), status, "{condition}");
    }
    assert_eq!(tag(&app.get(path).await), second, "a change without effect makes no version");
    assert_eq!(patch(&app, "ord-00000009", &[("if-match", "*")], json!({"priority": "low"})).await.status(), 404);
    for (status, condition) in
        [(304, second.clone()), (304, format!("\"x\", W/{second}")), (304, "*".into()), (200, first)]
    {
        let answer = send(&app, Method::GET, path, &[("if-none-match", &condition)], &Value::Null).await;
        assert_eq!((answer.status().as_u16(), tag(&answer)), (status, second.clone()), "{condition}");
    }
}

#[tokio::test]
async fn a_change_without_effect_makes_no_event() {
    let app = spawn_app();
    let mut events = app.events("?channels=orders").await;
    let id = create(&app, &order(5.0)).await["orderId"].as_str().unwrap().to_owned();
    for changes in [
        json!({"status": "PENDING"}),
        json!({"status": "PENDING", "priority": "normal"}),
        json!({"status": "SHIPPED", "priority": "normal"}),
    ] {
        assert_eq!(patch(&app, &id, &[], changes).await.status(), 200);
    }
    let updated = events.next_of("order_updated").await.data()["data"].clone();
    let expected = json!({"orderId": id, "version": 2, "changes": {"status": "SHIPPED"}, "updatedBy": "anonymous"});
    assert_eq!(updated, expected);
    assert_eq!(patch(&app, &id, &[], json!({})).await.status(), 422);
}

#[tokio::test]
async fn events_are_in_the_order_of_the_changes() {
    let app = spawn_app();
    let mut events = app.events("?channels=orders").await;
    let id = create(&app, &order(5.0)).await["orderId"].as_str().unwrap().to_owned();
    let words = ["PENDING", "PROCESSING", "SHIPPED", "COMPLETED", "CANCELLED"];
    join_all((0..200).map(|n| patch(&app, &id, &[], json!({"status": words[n % 5]})))).await;
    patch(&app, &id, &[], json!({"priority": "urgent"})).await;
    let kept = app.get_json(&format!("/api/orders/{id}")).await;
    let mut last = events.next_of("order_created").await.data()["data"]["status"].clone();
    loop {
        let changes = events.next_of("order_updated").await.data()["data"]["changes"].clone();
        if changes["priority"] == "urgent" {
            break;
        }
        assert_ne!(changes["status"], last, "each changed something");
        last = changes["status"].clone();
    }
    assert_eq!(last, kept["status"], "the events lead to the stored order");
}

#[tokio::test]
async fn a_page_begins_after_the_previous_one() {
    let app = spawn_app();
    for n in 0..25 {
        let status = if n % 2 == 0 { "PENDING" } else { "SHIPPED" };
        create(&app, &json!({"items": 1, "total": 1, "customerName": "Ada", "status": status})).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/orders?limit=5&status=SHIPPED".to_owned();
    loop {
        let page = app.get_json(&path).await;
        seen.extend(page["orders"].as_array().unwrap().iter().map(|order| order["orderId"].clone()));
        // A new order does not move the pages.
        create(&app, &json!({"items": 1, "total": 1, "customerName": "Bob", "status": "SHIPPED"})).await;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/orders?limit=5&status=SHIPPED&after={next}");
    }
    let expected: Vec<_> = (1..=12).rev().map(|n| json!(format!("ord-{:08}", 2 * n))).collect();
    assert_eq!(seen, expected);
    assert_eq!(app.get("/api/orders?after=nonsense").await.status(), 422);
    assert_eq!(app.get("/api/orders?limit=-1").await.status(), 400);
    assert_eq!(app.get("/api/orders?status=LOST").await.status(), 400);
    assert_eq!(app.get_json("/api/orders?limit=0").await["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn customers_and_visits_are_counted() {
    let app = spawn_app();
    for (path, body, status) in [
        ("/api/customers", "", 201),
        ("/api/customers", "{}", 201),
        ("/api/customers", r#"{"customerId": "a", "name": "Ada"}"#, 201),
        ("/api/customers", r#"{"customerId": "a"}"#, 200),
        ("/api/customers", r#"{"customerId": ""}"#, 422),
        ("/api/customers", r#"{"customerId": 5}"#, 400),
        ("/api/customers", r#"{"colour": "red"}"#, 400),
        ("/api/customers", "nonsense", 400),
        ("/api/customers", "{} {}", 400),
        ("/api/visits", "", 202),
        ("/api/visits", r#"{"visitorId": "v"}"#, 202),
        ("/api/visits", r#"{"count": 10000}"#, 202),
        ("/api/visits", r#"{"count": 10001}"#, 422),
        ("/api/visits", r#"{"count": 0}"#, 422),
        ("/api/visits", r#"{"count": -1}"#, 400),
        ("/api/visits", r#"{"count": 1.5}"#, 400),
        ("/api/visits", r#"{"visitorId": ""}"#, 422),
        ("/api/visits", "[1]", 400),
    ] {
        let answer = app.post(path, body).await;
        assert_eq!(answer.status(), status, "{path} {body}");
    }
    create(&app, &json!({"items": 1, "total": 1, "customerName": "Ada", "customerId": "a"})).await;
    create(&app, &json!({"items": 1, "total": 1, "customerName": "Bob", "customerId": "b"})).await;
    let expected = json!({"new_users_today": 4, "orders_today": 2, "conversion_rate": 0.0002});
    figures(&app, "metrics.business", expected).await;
}

#[tokio::test]
async fn a_new_day_starts_at_midnight_of_the_zone() {
    // The clocks of this night go from 02:00 to 03:00; the day has 23 hours.
    let (clock, set) = clock("2026-03-29T23:59:50[Europe/Zurich]");
    let app = spawn_app_at(clock, |config| config.time_zone = "Europe/Zurich".into());
    for _ in 0..4 {
        create(&app, &order(10.0)).await;
    }
    app.post("/api/visits", r#"{"count": 8}"#).await;
    figures(&app, "metrics.business", json!({"orders_today": 4, "revenue_today": 40.0, "conversion_rate": 0.5})).await;
    set("2026-03-30T00:00:00[Europe/Zurich]");
    // Nothing happens except the end of the day.
    figures(&app, "metrics.business", json!({"orders_today": 0, "revenue_today": 0.0, "conversion_rate": 0.0})).await;
    figures(&app, "metrics.orders", json!({"ordersToday": 0, "ordersLastHour": 4, "pendingOrders": 4, "trend": "n/a"}))
        .await;
    // An order of yesterday changes: today's figures stay, the number of open orders moves.
    patch(&app, "ord-00000001", &[], json!({"status": "CANCELLED"})).await;
    set("2026-03-30T23:59:55[Europe/Zurich]");
    for _ in 0..6 {
        create(&app, &order(0.1)).await;
    }
    let orders = json!({"ordersToday": 6, "ordersLastHour": 6, "pendingOrders": 9, "trend": "+100%"});
    figures(&app, "metrics.orders", orders).await;
    figures(&app, "metrics.revenue", json!({"revenueToday": 0.6, "averageOrderValue": 0.1})).await;
}

#[tokio::test]
async fn stats_cover_today_and_the_last_24_hours() {
    let (clock, set) = clock("2026-06-01T12:00:00[UTC]");
    let app = spawn_app_at(clock, |_| {});
    for status in ["PROCESSING", "PENDING"] {
        create(&app, &json!({"items": 1, "total": 5, "customerName": "Ada", "status": status})).await;
    }
    set("2026-06-02T11:00:00[UTC]");
    create(&app, &json!({"items": 1, "total": 0.3, "customerName": "Ada", "status": "PROCESSING"})).await;
    let stats = app.get_json("/api/stats").await;
    assert_eq!(
        stats,
        json!({"activeUsers": 0, "activeOrders": 2, "revenue": 0.3, "timestamp": "2026-06-02T11:00:00.000Z"})
    );
    set("2026-06-02T12:00:00[UTC]");
    assert_eq!(app.get_json("/api/stats").await["activeOrders"], 1);
}

/// Order service without HTTP.
struct Bench {
    service: OrderService,
    log: Arc<Log>,
    store: SqliteStore,
}

fn bench(tenants: &[&str]) -> Vec<Bench> {
    let store = SqliteStore::in_memory().unwrap();
    let bench = |tenant: &&str| {
        let (writer, log) = Log::create(LogConfig::default());
        let (aggregator, handle) = Aggregator::new(writer, Clock::system(), AggregatorConfig::default());
        let kept = Arc::new(store.clone());
        let (relay, publisher) = Relay::new(tenant, Arc::new(store.clone()), handle.clone(), 0);
        tokio::spawn(publisher.run());
        let (service, ledger) =
            OrderService::new(tenant, kept, relay, Clock::system(), TimeZone::UTC, "EUR".into(), RowLimits::default());
        tokio::spawn(aggregator.run());
        tokio::spawn(ledger.run(handle));
        Bench { service, log, store: store.clone() }
    };
    tenants.iter().map(bench).collect()
}

fn new_order() -> NewOrder {
    serde_json::from_value(order(2.5)).unwrap()
}

#[tokio::test]
async fn tenants_on_one_store_share_nothing() {
    let benches = bench(&["one", "two"]);
    let (one, two) = (&benches[0].service, &benches[1].service);
    let theirs = one.create(new_order(), None).await.unwrap();
    let id = theirs.order_id.to_string();
    assert_eq!(two.get(&id).await.unwrap_err(), OrderError::NotFound);
    assert!(two.list(None, 9, None).await.unwrap().orders.is_empty());
    let changes = serde_json::from_str(r#"{"status": "SHIPPED"}"#).unwrap();
    assert_eq!(two.change(&id, changes, None, "eve").await.unwrap_err(), OrderError::NotFound);
    assert_eq!(two.stats().await.unwrap().revenue.cents, 0);
    assert_eq!(one.stats().await.unwrap().revenue.cents, 250);
    let seen = until("the other's numbers", || async {
        let state = benches[1].log.state(&Channel::parse("metrics.orders").unwrap(), View::Full)?;
        let data: Value = serde_json::from_slice(&state.data).unwrap();
        // Null until the figures are loaded.
        data["ordersToday"].is_number().then_some(data)
    })
    .await;
    assert_eq!((&seen["ordersToday"], &seen["pendingOrders"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_order_is_counted_and_published_even_if_its_caller_stops_waiting() {
    let bench = bench(&["shop"]).remove(0);
    {
        let mut leaving = std::pin::pin!(bench.service.create(new_order(), None));
        // Polled once, and dropped before there can be a result.
        assert!(futures_util::poll!(&mut leaving).is_pending());
    }
    until("the order in the numbers", || async {
        let stats = bench.service.stats().await.ok()?;
        (stats.revenue.cents == 250).then_some(())
    })
    .await;
    assert_eq!(bench.service.list(None, 9, None).await.unwrap().orders.len(), 1);
}

#[tokio::test]
async fn a_closed_store_is_unavailable_at_once() {
    let bench = bench(&["shop"]).remove(0);
    bench.service.create(new_order(), None).await.unwrap();
    bench.store.close().await;
    let visits: NewVisits = serde_json::from_str("{}").unwrap();
    assert_eq!(
        soon("create", bench.service.create(new_order(), None)).await.unwrap_err(),
        StoreError::Unavailable.into()
    );
    assert_eq!(soon("get", bench.service.get("ord-00000001")).await.unwrap_err(), StoreError::Unavailable.into());
    assert_eq!(soon("visit", bench.service.visit(visits)).await.unwrap_err(), StoreError::Unavailable.into());
    assert_eq!(bench.service.stats().await.unwrap().revenue.cents, 250, "loaded figures stay available");
    let problem = tricast::web::problem::Problem::from(StoreError::Unavailable);
    assert_eq!((problem.status.as_u16(), problem.retry_after.is_some()), (503, true));
}
