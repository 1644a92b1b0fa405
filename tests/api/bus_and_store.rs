//! Several nodes on one Redis and one PostgreSQL: they share orders, alerts and history.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    bus::reads_up_to,
    cluster::Cluster,
    helpers::{ApiClient, TestApp, spawn_app_with, until},
    redis::Redis,
};

fn node(redis: &Redis, database: &str, name: &str) -> TestApp {
    spawn_app_with(|config| {
        config.bus = redis.url().as_str().into();
        config.node_id = Some(name.into());
        config.cluster.lease.0 = Duration::from_secs(2);
        config.database_url = database.into();
        config.history.resolution.0 = Duration::from_millis(1);
    })
}

fn two(redis: &Redis) -> Vec<TestApp> {
    let database = Cluster::shared().database();
    ["a", "b"].map(|name| node(redis, &database, name)).into()
}

/// Stops the leader and returns the other node once it leads.
async fn stop_leader(mut nodes: Vec<TestApp>) -> TestApp {
    let leads = async |node: &TestApp| node.counter("tricast_bus_leads").await == 1.0;
    let first = usize::from(leads(&nodes[1]).await);
    let mut leader = nodes.remove(first);
    leader.begin_stop();
    leader.stopped().await;
    let left = nodes.remove(0);
    until("the next leader", || async { leads(&left).await.then_some(()) }).await;
    left
}

#[tokio::test]
async fn orders_of_all_nodes_are_published_once_and_counted_once() {
    let redis = Redis::start();
    let nodes = two(&redis);
    let mut streams = [nodes[0].events("?channels=orders").await, nodes[1].events("?channels=orders").await];
    for stream in &mut streams {
        stream.next_of("connected").await;
    }
    for n in 0..10 {
        let body = json!({"items": 1, "total": 2.5, "customerName": format!("c{n}")});
        assert_eq!(nodes[n % 2].post("/api/orders", body.to_string()).await.status(), 201);
    }
    for stream in &mut streams {
        for n in 0..10 {
            let notice = stream.next_of("order_created").await.data();
            assert_eq!(notice["data"]["customerName"], format!("c{n}"), "once and in order");
        }
    }
    let counted = |node: ApiClient, expected: u64| async move {
        until("the numbers", || async {
            let orders = node.get_json("/api/metrics/metrics.orders").await["data"].clone();
            let revenue = node.get_json("/api/metrics/metrics.revenue").await["data"].clone();
            (orders["ordersToday"] == expected && revenue["revenueToday"] == 2.5 * expected as f64).then_some(())
        })
        .await;
    };
    for node in &nodes {
        counted(ApiClient::clone(node), 10).await;
    }
    let left = stop_leader(nodes).await;
    let body = json!({"items": 1, "total": 2.5, "customerName": "late"});
    assert_eq!(left.post("/api/orders", body.to_string()).await.status(), 201);
    counted(ApiClient::clone(&left), 11).await;
}

#[tokio::test]
async fn an_alert_is_raised_and_resolved_once_although_the_deciding_node_stops_in_between() {
    let redis = Redis::start();
    let nodes = two(&redis);
    let leader = usize::from(nodes[1].counter("tricast_bus_leads").await == 1.0);
    let follower = &nodes[1 - leader];
    let rule = json!({"name": "hot", "channel": "metrics.oven", "field": "heat", "condition": {"above": 100},
        "severity": "warning"});
    assert_eq!(follower.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    let mut stream = follower.events("?channels=alerts").await;
    stream.next_of("connected").await;
    follower.push_value("metrics.oven", json!({"heat": 150})).await;
    let raised = stream.next_of("alert").await.data();
    assert_eq!((&raised["action"], &raised["value"]), (&json!("raised"), &json!(150.0)), "{raised}");
    let left = stop_leader(nodes).await;
    left.push_value("metrics.oven", json!({"heat": 160})).await;
    left.push_value("metrics.oven", json!({"heat": 20})).await;
    let resolved = stream.next_of("alert").await.data();
    assert_eq!((&resolved["action"], &resolved["id"]), (&json!("resolved"), &raised["id"]));
    let all = left.get_json("/api/alerts").await;
    assert_eq!(all["alerts"].as_array().unwrap().len(), 1, "{all}");
    left.push_value("metrics.oven", json!({"heat": 170})).await;
    let again = stream.next_of("alert").await.data();
    assert_eq!(again["action"], "raised");
    assert_ne!(again["id"], raised["id"]);
}

async fn points(node: &ApiClient) -> Vec<f64> {
    let answer = node.get("/api/history?channel=metrics.steps&field=n&from=-1h&interval=raw").await;
    let answer: Value = answer.json().await.unwrap();
    let buckets = answer["buckets"].as_array().cloned().unwrap_or_default();
    buckets.iter().map(|bucket| bucket["last"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn history_is_written_once_and_continues_when_the_writing_node_stops() {
    let redis = Redis::start();
    let nodes = two(&redis);
    for n in 0..6 {
        nodes[n % 2].push_value("metrics.steps", json!({"n": n})).await;
        // One point per value: they have different milliseconds.
        let now = jiff::Timestamp::now().as_millisecond();
        until("the next millisecond", || async { (jiff::Timestamp::now().as_millisecond() > now + 1).then_some(()) })
            .await;
    }
    let left = stop_leader(nodes).await;
    left.push_value("metrics.steps", json!({"n": 6})).await;
    let all: Vec<f64> = (0..7).map(f64::from).collect();
    until("all points", || async { (points(&left).await == all).then_some(()) }).await;
    // Also after the remaining node has written its buffer.
    until("the points to be written", || async {
        (left.counter("tricast_history_buffer_points").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(points(&left).await, all);
}

#[tokio::test]
async fn a_response_about_a_closed_time_is_cached_for_all_nodes() {
    let redis = Redis::start();
    let nodes = two(&redis);
    nodes[0].push_value("metrics.steps", json!({"n": 1})).await;
    let question =
        "/api/history?channel=metrics.steps&field=n&from=2024-01-01T00:00:00Z&to=2024-01-02T00:00:00Z&interval=hour";
    let one = until("an answer", || async {
        let answer = nodes[0].get(question).await;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert!(one.headers()["cache-control"].to_str().unwrap().contains("max-age=3600"));
    let (tag, text) = (one.headers()["etag"].clone(), one.text().await.unwrap());
    let kept = redis.cli(&["--raw", "keys", "{tricast}:t:default:history:*"]);
    assert_eq!(kept.lines().count(), 1, "{kept}");
    assert_eq!(redis.cli(&["--raw", "get", &kept]), text);
    let lives: u64 = redis.cli(&["ttl", &kept]).parse().unwrap();
    assert!((1..=3_600).contains(&lives));
    // The other node returns the cached response, not its own.
    redis.cli(&["set", &kept, &text.replace("\"n\"", "\"kept\""), "ex", "60"]);
    let other = nodes[1].get(question).await;
    assert_ne!(other.headers()["etag"], tag);
    assert!(other.text().await.unwrap().contains("\"kept\""));
    // A response that may change is computed again.
    let open = nodes[1].get("/api/history?channel=metrics.steps&field=n&from=-1h").await;
    assert_eq!(open.status(), 200);
    assert_eq!(redis.cli(&["--raw", "keys", "{tricast}:t:default:history:*"]), kept);
}

/// Returns the entry of a channel in `GET /api/channels`, once it has a value.
async fn listed(node: &ApiClient, channel: &str) -> Value {
    until("a value", || async {
        let list = node.get_json("/api/channels").await;
        list["channels"].as_array().unwrap().iter().find(|line| line["channel"] == channel).cloned()
    })
    .await
}

/// Pushes values to `metrics.steps` and `metrics.other`, waits until history has them, and stops the nodes. Returns the
/// last values.
async fn record_and_stop(nodes: Vec<TestApp>) -> [Value; 2] {
    nodes[0].push_value("metrics.other", json!({"n": 5, "text": "x"})).await;
    for n in 1..=3 {
        nodes[0].push_value("metrics.steps", json!({"n": n, "in": {"depth": 0.5}})).await;
    }
    until("the points", || async { (points(&nodes[0]).await.last() == Some(&3.0)).then_some(()) }).await;
    let last = ["steps", "other"].map(|name| format!("/api/metrics/metrics.{name}"));
    let last = [nodes[0].get_json(&last[0]).await, nodes[0].get_json(&last[1]).await];
    for mut node in nodes {
        node.begin_stop();
        node.stopped().await;
    }
    last
}

#[tokio::test]
async fn a_log_that_starts_without_values_restores_the_last_ones_once() {
    let redis = Redis::start();
    let database = Cluster::shared().database();
    let begin = |names: [&str; 2]| names.map(|name| node(&redis, &database, name));
    let [steps, other] = record_and_stop(begin(["a", "b"]).into()).await;
    redis.cli(&["flushall"]);
    let nodes = begin(["c", "d"]);
    for node in &nodes {
        assert_eq!(listed(node, "metrics.steps").await["restored"], true);
        let value = node.get_json("/api/metrics/metrics.steps").await;
        assert_eq!((&value["data"], &value["timestamp"]), (&steps["data"], &steps["timestamp"]));
    }
    let cursor = nodes[0].push_value("metrics.steps", json!({"n": 3, "in": {"depth": 0.5}})).await;
    // The same for a node that starts later, and for one that starts after all were stopped.
    let third = node(&redis, &database, "e");
    for node in nodes.iter().chain([&third]) {
        reads_up_to(node, &cursor).await;
        assert_eq!(listed(node, "metrics.steps").await["restored"], Value::Null, "the channel was written since");
        assert_eq!(listed(node, "metrics.other").await["restored"], true);
        let value = node.get_json("/api/metrics/metrics.other").await;
        assert_eq!((&value["data"], &value["timestamp"]), (&json!({"n": 5}), &other["timestamp"]));
    }
    let epoch = cursor.split(':').next().unwrap();
    let head = redis.cli(&["--raw", "hget", &format!("{{tricast}}:{epoch}:tenants"), "default"]);
    let head: Value = serde_json::from_str(&head).unwrap();
    assert!(head["published"]["history"].is_u64(), "later leaders know that it was restored: {head}");
}

#[tokio::test]
async fn values_that_history_restores_late_do_not_replace_a_push() {
    let (redis, postgres) = (Redis::start(), Cluster::start(&["fsync=off"]));
    for has_bus in [false, true] {
        let database = postgres.database();
        let begin = |name: &str| {
            if has_bus {
                return node(&redis, &database, name);
            }
            spawn_app_with(|config| {
                config.database_url = database.as_str().into();
                config.history.resolution.0 = Duration::from_millis(1);
            })
        };
        let [_, other] = record_and_stop(vec![begin("a")]).await;
        redis.cli(&["flushall"]);
        postgres.kill();
        let node = begin("b");
        node.push_value("metrics.steps", json!({"n": 9})).await;
        postgres.start_again();
        assert_eq!(listed(&node, "metrics.other").await["restored"], true);
        assert_eq!(node.get_json("/api/metrics/metrics.other").await["timestamp"], other["timestamp"]);
        assert_eq!(listed(&node, "metrics.steps").await["restored"], Value::Null);
        assert_eq!(node.get_json("/api/metrics/metrics.steps").await["data"], json!({"n": 9}));
    }
}
