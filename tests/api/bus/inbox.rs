//! The inbox: one bad reading affects no other, and nothing is lost or read twice on the way.

use futures_util::future::join_all;
use serde_json::json;

use super::{first_leads, leader, node, numbers, program, reads_up_to};
use crate::{
    helpers::{ApiClient, spawn_app, until},
    redis::Redis,
};

fn nested(levels: usize) -> String {
    let data = format!("{}1{}", "{\"b\":".repeat(levels), "}".repeat(levels));
    format!("{{\"channel\": \"metrics.deep\", \"data\": {data}}}")
}

#[tokio::test]
async fn deeply_nested_values_are_limited_alike_with_a_bus_and_fail_alone() {
    let redis = Redis::start();
    let (single, clustered) = (spawn_app(), node(&redis, "a"));
    for visitor in [&single, &clustered] {
        assert_eq!(visitor.post("/api/metrics", nested(100)).await.status(), 202);
        let refused = visitor.post("/api/metrics", nested(101)).await;
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains("more than 100 deep"));
    }
    let pushes = (0..40).map(|n: u64| {
        let deep = n == 20;
        let line = json!({"channel": format!("metrics.g{n}"), "data": {"n": n}}).to_string();
        let visitor = ApiClient::clone(&clustered);
        async move {
            let status = visitor.post("/api/metrics", if deep { nested(124) } else { line }).await.status();
            assert_eq!(status, if deep { 400 } else { 202 }, "{n}");
        }
    });
    join_all(pushes).await;
}

#[tokio::test]
async fn an_unreadable_group_fails_alone() {
    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let leading = program(&redis, directory.path(), "first");
    first_leads(&leading).await;
    let node = node(&redis, "second");
    let cursor = node.push_event("checked", 0).await;
    let inbox = format!("{{tricast}}:{}:inbox", cursor.split(':').next().unwrap());
    let good = r#"{"tenant":"default","origin":"pushed","readings":[{"event":{"channel":"checked","event":"happened","data":{"n":1}}}]}"#;
    let deep = format!(
        r#"{{"tenant":"default","origin":"pushed","readings":[{{"value":{{"channel":"metrics.d","data":{}1{},"merge":false}}}}]}}"#,
        "{\"b\":".repeat(200),
        "}".repeat(200)
    );
    leading.signal("STOP");
    redis.cli(&["xadd", &inbox, "*", "n", "other/1", "s", "1", "p", &format!("[{deep},{good}]")]);
    redis.cli(&["xadd", &inbox, "*", "n", "other/1", "s", "2", "p", "nonsense"]);
    leading.signal("CONT");
    let cursor = node.push_event("checked", 2).await;
    reads_up_to(&node, &cursor).await;
    assert_eq!(numbers(&node, "checked").await, [0, 1, 2]);
    let visitor = node.at(leading.address());
    let own = node.counter("tricast_bus_unreadable_groups_total").await;
    assert_eq!(own + visitor.counter("tricast_bus_unreadable_groups_total").await, 2.0);
}

#[tokio::test]
async fn a_group_that_redis_lost_is_sent_again_before_later_ones() {
    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let leading = program(&redis, directory.path(), "first");
    first_leads(&leading).await;
    let node = node(&redis, "second");
    let cursor = node.push_event("checked", 0).await;
    let epoch = cursor.split(':').next().unwrap();
    let inbox = format!("{{tricast}}:{epoch}:inbox");
    leading.signal("STOP");
    let push = |n| {
        let visitor = ApiClient::clone(&node);
        tokio::spawn(async move { visitor.push_event("checked", n).await })
    };
    let length = || redis.cli(&["xlen", &inbox]).parse::<u64>().unwrap();
    let before = length();
    let first = push(1);
    until("the group", || async { (length() > before).then_some(()) }).await;
    // As after a failover to a replica that did not have the last group yet.
    let seen = redis.cli(&["keys", &format!("{{tricast}}:{epoch}:seen:second/*")]);
    let lose = "local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1] \
                redis.call('XDEL', KEYS[1], last) return redis.call('DECR', KEYS[2])";
    redis.cli(&["eval", lose, "2", &inbox, &seen]);
    let second = push(2);
    until("the groups", || async { (length() >= before + 2).then_some(()) }).await;
    leading.signal("CONT");
    let cursor = (first.await.unwrap(), second.await.unwrap()).1;
    reads_up_to(&node, &cursor).await;
    assert_eq!(numbers(&node, "checked").await, [0, 1, 2]);
}

#[tokio::test]
async fn a_full_inbox_is_trimmed() {
    let redis = Redis::start();
    let nodes = [node(&redis, "a")];
    leader(&nodes).await;
    let cursor = nodes[0].push_event("checked", 0).await;
    let inbox = format!("{{tricast}}:{}:inbox", cursor.split(':').next().unwrap());
    let fill = "for n = 1, 12000 do redis.call('XADD', KEYS[1], '*', 'n', 'other/1', 's', n, 'p', '[]') end";
    redis.cli(&["eval", fill, "1", &inbox]);
    let cursor = nodes[0].push_event("checked", 1).await;
    reads_up_to(&nodes[0], &cursor).await;
    until("room", || async { (redis.cli(&["xlen", &inbox]).parse::<u64>().unwrap() < 5_000).then_some(()) }).await;
}
