//! Kinds of Redis that the bus supports.

use tricast::config::Config;

use super::{node_with, numbers, reads_up_to};
use crate::{
    helpers::until,
    redis::{Redis, directory_with, free_port},
};

async fn two_nodes_share(url: &str, change: impl Fn(&mut Config)) {
    let nodes = ["a", "b"].map(|name| node_with(url, name, &change));
    for n in 0..20 {
        let cursor = nodes[n % 2].push_event("checked", n as u64).await;
        reads_up_to(&nodes[(n + 1) % 2], &cursor).await;
    }
    for node in &nodes {
        assert_eq!(numbers(node, "checked").await, (0..20).collect::<Vec<_>>());
    }
}

fn key(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn redis_may_require_tls_a_user_and_a_password() {
    let directory = directory_with(&[("server.pem", key("server.pem")), ("server.key", key("server.key"))]);
    let ca = format!("{}/tests/keys/ca.pem", env!("CARGO_MANIFEST_DIR"));
    let port = free_port(0);
    let text = port.to_string();
    let arguments =
        ["--port", "0", "--tls-port", &text, "--tls-cert-file", "server.pem", "--tls-key-file", "server.key"];
    let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no", "--user", "default", "off"];
    let user = ["--user", "tricast", "on", ">hunter2", "~{shop}:*", "+@all"];
    let arguments = [&arguments[..], &more, &user].concat();
    let way = ["--tls", "--cacert", &ca, "--user", "tricast", "-a", "hunter2", "--no-auth-warning", "-h", "localhost"];
    let _redis = Redis::in_directory(directory, port, &arguments, &way);
    two_nodes_share(&format!("rediss://tricast:hunter2@localhost:{port}/0"), |config| {
        config.cluster.ca_file = Some(ca.clone().into());
        // The user may use these keys and no others.
        config.cluster.key_prefix = "shop".into();
    })
    .await;
}

#[tokio::test]
async fn the_bus_may_be_a_redis_cluster() {
    let ports = [(); 3].map(|()| free_port(10_000));
    let nodes = ports.map(|port| Redis::at(port, &["--cluster-enabled", "yes", "--bind", "127.0.0.1"], &[]));
    let directories = ports.map(|port| format!("127.0.0.1:{port}"));
    let create =
        [&["--cluster", "create"][..], &directories.each_ref().map(String::as_str), &["--cluster-yes"]].concat();
    nodes[0].cli(&create);
    for node in &nodes {
        until("the cluster", || async { node.cli(&["cluster", "info"]).contains("cluster_state:ok").then_some(()) })
            .await;
    }
    two_nodes_share(&format!("redis+cluster://{},{}", directories[0], directories[1]), |_| {}).await;
}

#[tokio::test]
async fn the_bus_may_be_the_master_named_by_sentinels() {
    let (first, second, sentinel) = (free_port(0), free_port(0), free_port(0));
    let mut master = Redis::at(first, &["--bind", "127.0.0.1"], &[]);
    let replica = Redis::at(second, &["--bind", "127.0.0.1", "--replicaof", &format!("127.0.0.1 {first}")], &[]);
    until("the replica", || async {
        replica.cli(&["info", "replication"]).contains("master_link_status:up").then_some(())
    })
    .await;
    let file = format!(
        "port {sentinel}\nsentinel monitor shop 127.0.0.1 {first} 1\nsentinel down-after-milliseconds shop 1000\n\
         sentinel failover-timeout shop 5000\n"
    );
    let directory = directory_with(&[("sentinel.conf", file)]);
    let watch = Redis::in_directory(
        directory,
        sentinel,
        &["--port", &sentinel.to_string(), "sentinel.conf", "--sentinel"],
        &[],
    );
    until("the sentinel to know the replica", || async {
        watch.cli(&["sentinel", "replicas", "shop"]).contains(&second.to_string()).then_some(())
    })
    .await;
    let nodes = ["a", "b"].map(|name| node_with(&format!("redis+sentinel://127.0.0.1:{sentinel}/shop"), name, |_| {}));
    for n in 0..10 {
        nodes[n % 2].push_event("checked", n as u64).await;
    }
    until("the replica to have it", || async {
        let read = |redis: &Redis| redis.cli(&["info", "replication"]);
        let offset = |text: String, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name).map(|rest| rest.trim().to_owned()))
        };
        let there = offset(read(&master), "master_repl_offset:");
        (there.is_some() && there == offset(read(&replica), "slave_repl_offset:")).then_some(())
    })
    .await;
    master.kill();
    // Until the sentinels have elected a master, nothing is accepted; then the log continues with the data of the replica.
    until("a push to be accepted", || async {
        let line = serde_json::json!({"channel": "checked", "event": "happened", "data": {"n": 10}});
        let answer = nodes[0].post("/api/metrics", line.to_string()).await;
        (answer.status() == 202).then_some(())
    })
    .await;
    let cursor = nodes[1].push_event("checked", 11).await;
    reads_up_to(&nodes[0], &cursor).await;
    for node in &nodes {
        let seen = numbers(node, "checked").await;
        // Events that the old master had not replicated may be missing, which clients see as a gap; none is duplicated.
        assert!(seen.ends_with(&[10, 11]) && seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    }
}
