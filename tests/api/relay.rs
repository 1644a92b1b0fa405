//! Events that are stored with changes: published once, despite failures in between.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tricast::config::Config;
use tricast_domain::orders::{Draft, RowLimits};
use tricast_store::{
    Store,
    postgres::{DatabaseConfig, PostgresConfig},
};

use crate::{
    cluster::Cluster,
    helpers::{ApiClient, EventStream, TestApp, spawn_app_with, until},
    program::Program,
    redis::Redis,
};

fn order(name: &str) -> String {
    json!({"items": 1, "total": 2.5, "customerName": name}).to_string()
}

fn node(redis: &Redis, database: &str, name: &str) -> TestApp {
    spawn_app_with(|config: &mut Config| {
        config.bus = redis.url().as_str().into();
        config.node_id = Some(name.into());
        config.cluster.lease.0 = Duration::from_secs(2);
        config.database_url = database.into();
    })
}

async fn leads(node: &ApiClient) -> bool {
    node.counter("tricast_bus_leads").await == 1.0
}

async fn orders_of(node: &ApiClient) -> EventStream {
    let mut stream = node.events("?channels=orders,dashboards").await;
    stream.next_of("connected").await;
    stream
}

/// Returns the customers of the orders in a stream, up to this name.
async fn customers_until(stream: &mut EventStream, last: &str) -> Vec<String> {
    let mut customers = Vec::new();
    loop {
        let event = stream.next_of("order_created").await.data();
        customers.push(event["data"]["customerName"].as_str().unwrap().to_owned());
        if customers.last().is_some_and(|customer| customer == last) {
            return customers;
        }
    }
}

async fn bus_is_down(node: &ApiClient) {
    until("the bus to be away", || async { (node.get_json("/readyz").await["checks"]["bus"] != "ok").then_some(()) })
        .await;
}

#[tokio::test]
async fn another_node_publishes_the_event_of_a_killed_node_once() {
    let mut redis = Redis::start();
    let database = Cluster::shared().database();
    let left = node(&redis, &database, "left");
    until("a leader", || async { leads(&left).await.then_some(()) }).await;
    let place = tempfile::tempdir().unwrap();
    let url = redis.url();
    let mut killed = Program::start_without_directory(
        place.path(),
        &[("TRICAST_BUS", &url), ("TRICAST_NODE_ID", "killed"), ("TRICAST_DATABASE_URL", &database)],
    );
    let doomed = left.at(killed.address());
    let mut stream = orders_of(&left).await;
    assert_eq!(doomed.post("/api/orders", order("before")).await.status(), 201);
    assert_eq!(customers_until(&mut stream, "before").await, ["before"]);
    // Between commit and publication, however long that takes.
    redis.kill();
    let asked = (0..10).map(|number| {
        let doomed = doomed.clone();
        async move { doomed.post("/api/orders", order(&format!("c{number}"))).await.status() }
    });
    for status in join_all(asked).await {
        assert_eq!(status, 201);
    }
    killed.kill();
    redis.start_again();
    until("the leader to write", || async {
        (left.post("/api/metrics", r#"{"channel": "a", "data": {}}"#).await.status() == 202).then_some(())
    })
    .await;
    assert_eq!(left.post("/api/orders", order("after")).await.status(), 201);
    let mut received = customers_until(&mut stream, "after").await;
    assert_eq!(received.len(), 11, "{received:?}");
    received.sort();
    received.dedup();
    assert_eq!(received.len(), 11, "each once: {received:?}");
    until("the numbers", || async {
        let data = left.get_json("/api/metrics/metrics.orders").await["data"].clone();
        (data["ordersToday"] == 12).then_some(())
    })
    .await;
}

#[tokio::test]
async fn changes_are_stored_and_confirmed_on_every_node_while_redis_is_down() {
    let mut redis = Redis::start();
    let database = Cluster::shared().database();
    let nodes = [node(&redis, &database, "a"), node(&redis, &database, "b")];
    let mut streams = [orders_of(&nodes[0]).await, orders_of(&nodes[1]).await];
    until("a leader", || async { (leads(&nodes[0]).await || leads(&nodes[1]).await).then_some(()) }).await;
    assert_eq!(nodes[0].post("/api/orders", order("first")).await.status(), 201);
    redis.kill();
    bus_is_down(&nodes[0]).await;
    bus_is_down(&nodes[1]).await;
    let rule = |id: &str| {
        json!({"id": id, "name": "r", "channel": "metrics.x", "field": "f", "severity": "info",
            "condition": {"above": 1}})
    };
    for (number, node) in nodes.iter().enumerate() {
        // One after the other: otherwise each would wait for those before it.
        for n in 0..12 {
            let answer = node.post("/api/orders", order(&format!("{number}-{n:02}"))).await;
            assert_eq!(answer.status(), 201, "node {number}, order {n}");
        }
        let board = json!({"id": format!("b{number}"), "name": "n", "tiles": []});
        assert_eq!(node.post("/api/dashboards", board.to_string()).await.status(), 201);
        let rule = rule(&format!("r{number}"));
        assert_eq!(node.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    }
    redis.start_again();
    let expected: Vec<String> = std::iter::once("first".to_owned())
        .chain((0..24).map(|n| format!("{}-{:02}", n / 12, n % 12)))
        .chain(["last".to_owned()])
        .collect();
    until("the bus", || async {
        (nodes[0].post("/api/metrics", r#"{"channel": "a", "data": {}}"#).await.status() == 202).then_some(())
    })
    .await;
    assert_eq!(nodes[0].post("/api/orders", order("last")).await.status(), 201);
    for stream in &mut streams {
        assert_eq!(customers_until(stream, "last").await, expected, "once and in order");
    }
}

async fn client(database: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An event that was published and not removed is not published again: by no leader, and in no log.
#[tokio::test]
async fn an_event_that_reappears_is_not_published_again() {
    let mut redis = Redis::start();
    let database = Cluster::shared().database();
    let mut nodes = vec![node(&redis, &database, "a"), node(&redis, &database, "b")];
    until("a leader", || async { (leads(&nodes[0]).await || leads(&nodes[1]).await).then_some(()) }).await;
    let mut streams = [orders_of(&nodes[0]).await, orders_of(&nodes[1]).await];
    assert_eq!(nodes[0].post("/api/orders", order("first")).await.status(), 201);
    for stream in &mut streams {
        assert_eq!(customers_until(stream, "first").await, ["first"]);
    }
    redis.kill();
    bus_is_down(&nodes[0]).await;
    assert_eq!(nodes[0].post("/api/orders", order("once")).await.status(), 201);
    let sql = client(&database).await;
    sql.batch_execute("CREATE TABLE kept AS SELECT * FROM tricast_pending_events").await.unwrap();
    let is_removed = async || {
        until("the removal of the event", || async {
            let left = sql.query_one("SELECT count(*) FROM tricast_pending_events", &[]).await.unwrap();
            (left.get::<_, i64>(0) == 0).then_some(())
        })
        .await;
    };
    let comes_again = async || {
        is_removed().await;
        sql.batch_execute("INSERT INTO tricast_pending_events SELECT * FROM kept").await.unwrap();
        is_removed().await;
    };
    redis.start_again();
    for stream in &mut streams {
        assert_eq!(customers_until(stream, "once").await, ["once"]);
    }
    comes_again().await;
    // Under the next leader.
    let first = usize::from(leads(&nodes[1]).await);
    let mut leader = nodes.remove(first);
    let [one, other] = streams;
    let mut stream = if first == 0 { other } else { one };
    leader.begin_stop();
    leader.stopped().await;
    let left = nodes.remove(0);
    until("the next leader", || async { leads(&left).await.then_some(()) }).await;
    comes_again().await;
    // In another log, which has none of the entries of this one.
    redis.cli(&["flushall"]);
    until("another log", || async {
        (left.post("/api/metrics", r#"{"channel": "a", "data": {}}"#).await.status() == 202).then_some(())
    })
    .await;
    comes_again().await;
    assert_eq!(left.post("/api/orders", order("last")).await.status(), 201);
    assert_eq!(customers_until(&mut stream, "last").await, ["last"]);
}

/// Returns all events of orders in the log.
async fn order_events(app: &ApiClient) -> Vec<Value> {
    let cursor = app.get_json("/api/metrics?channels=orders").await["cursor"].as_str().unwrap().to_owned();
    let epoch = cursor.split(':').next().unwrap();
    let answer = app.get_json(&format!("/api/metrics?channels=orders&since={epoch}:0")).await;
    answer["events"].as_array().unwrap().iter().map(|event| event["data"]["customerName"].clone()).collect()
}

fn draft(name: &str) -> Draft {
    let new = serde_json::from_str(&order(name)).unwrap();
    Draft {
        new,
        key: None,
        at: jiff::Timestamp::from_millisecond(1_800_000_000_000).unwrap(),
        limits: RowLimits::default(),
    }
}

async fn leave_an_order(store: &Store, name: &str) {
    store.orders().create("default", draft(name)).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn the_next_process_publishes_events_that_were_left_behind_once() {
    let directory = tempfile::tempdir().unwrap();
    leave_an_order(&Store::in_directory(directory.path(), 0).unwrap(), "Ada").await;
    let start = || spawn_app_with(|config| config.data_dir = Some(directory.path().to_owned()));
    let app = start();
    until("the event", || async { (order_events(&app).await == ["Ada"]).then_some(()) }).await;
    assert_eq!(app.post("/api/orders", order("Bob")).await.status(), 201);
    assert_eq!(order_events(&app).await, ["Ada", "Bob"], "the event is published when the order is confirmed");
    let mut app = app;
    app.begin_stop();
    app.stopped().await;
    let app = start();
    assert_eq!(app.post("/api/orders", order("Eve")).await.status(), 201);
    assert_eq!(order_events(&app).await, ["Eve"], "published events are removed");
}

#[tokio::test]
async fn another_process_without_a_bus_publishes_events_that_were_left_behind() {
    let database = Cluster::shared().database();
    let config =
        DatabaseConfig { url: database.as_str().into(), shares_log: false, connections: PostgresConfig::default() };
    leave_an_order(&Store::in_database(config, Handle::current()).await.unwrap(), "Ada").await;
    let app = spawn_app_with(|config| config.database_url = database.as_str().into());
    until("the event", || async { (order_events(&app).await == ["Ada"]).then_some(()) }).await;
    assert_eq!(app.post("/api/orders", order("Bob")).await.status(), 201);
    assert_eq!(order_events(&app).await, ["Ada", "Bob"]);
}

/// Two halves of a cluster, each with a Redis, a leader and values of its own, on one database.
#[tokio::test]
async fn a_split_cluster_raises_an_alert_once() {
    let database = Cluster::shared().database();
    let (one, other) = (Redis::start(), Redis::start());
    let mut hot = node(&one, &database, "hot");
    until("a leader", || async { leads(&hot).await.then_some(()) }).await;
    let rule = json!({"id": "r", "name": "hot", "channel": "metrics.oven", "field": "heat", "severity": "info",
        "condition": {"above": 100}});
    assert_eq!(hot.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    let alerts = async |node: &ApiClient, filter: &str| {
        node.get_json(&format!("/api/alerts{filter}")).await["alerts"].as_array().unwrap().len()
    };
    hot.push_value("metrics.oven", json!({"heat": 150})).await;
    until("the alert", || async { (alerts(&hot, "?status=open").await == 1).then_some(()) }).await;
    let cold = node(&other, &database, "cold");
    until("another leader", || async { leads(&cold).await.then_some(()) }).await;
    cold.push_value("metrics.oven", json!({"heat": 20})).await;
    until("the node to know of the alert", || async {
        (cold.counter("tricast_alerts_open").await == 1.0).then_some(())
    })
    .await;
    let looks = async |node: &ApiClient| node.counter("tricast_alert_evaluations_total").await;
    let before = [looks(&hot).await, looks(&cold).await];
    until("both to look", || async {
        let now = [looks(&hot).await, looks(&cold).await];
        (now[0] >= before[0] + 8.0 && now[1] >= before[1] + 8.0).then_some(())
    })
    .await;
    assert_eq!((alerts(&hot, "?status=open").await, alerts(&hot, "").await), (1, 1), "it stands");
    // Once the node that decided has stopped, the other one decides.
    hot.begin_stop();
    hot.stopped().await;
    until("the end of the alert", || async { (alerts(&cold, "?status=open").await == 0).then_some(()) }).await;
    assert_eq!(alerts(&cold, "").await, 1);
}
