//! Data that Redis confirmed is not lost, and the data in Redis are bounded.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{first_leads, node, numbers, program, push_until, reads_up_to, three, total};
use crate::{
    helpers::{ApiClient, spawn_app, until},
    program::Program,
    redis::Redis,
};

/// Keeps the disk of Redis busy until it is dropped.
struct BusyDisk(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl BusyDisk {
    fn at(directory: &std::path::Path) -> Self {
        let (over, file) = (Arc::<AtomicBool>::default(), directory.join("busy"));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    let mut file = std::fs::File::create(&file).unwrap();
                    file.write_all(&vec![1; 32 << 20]).unwrap();
                    file.sync_all().unwrap();
                }
            }
        });
        Self(over, Some(thread))
    }
}

impl Drop for BusyDisk {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        drop(self.1.take().map(std::thread::JoinHandle::join));
    }
}

#[tokio::test]
async fn accepted_pushes_survive_a_redis_killed_while_its_disk_is_busy() {
    let mut redis = Redis::start();
    let node = node(&redis, "a");
    let mut accepted = Vec::new();
    for round in 0..4 {
        let busy = BusyDisk::at(&redis.directory());
        for n in 0..20 {
            let n = round * 100 + n;
            node.push_event("checked", n).await;
            accepted.push(n);
        }
        redis.kill();
        drop(busy);
        redis.start_again();
        assert_eq!(numbers(&node, "checked").await, accepted);
    }
    let epoch = node.get_json("/api/channels").await["cursor"].as_str().unwrap().split(':').next().unwrap().to_owned();
    let kept = redis.cli(&["hget", "{tricast}:meta", "epoch"]);
    assert_eq!(kept, epoch, "it is the same log, without a bootstrap");
}

#[tokio::test]
async fn a_slow_redis_delays_pushes_and_loses_none() {
    let redis = Redis::start();
    let nodes = three(&redis);
    let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let visitors = nodes.iter().map(|node| ApiClient::clone(node)).collect();
    let pushing = tokio::spawn(push_until(Arc::clone(&stop), Arc::clone(&pushed), visitors));
    for round in 1..=3 {
        until("some pushes", || async { (pushed.load(Ordering::Relaxed) >= round * 20).then_some(()) }).await;
        redis.signal("STOP");
        // Longer than the lease, which counts in the time of Redis, which was paused.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        redis.signal("CONT");
    }
    until("some pushes", || async { (pushed.load(Ordering::Relaxed) >= 80).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    let accepted = pushing.await.unwrap();
    let cursor = nodes[0].push_value("metrics.x", json!({"n": 1})).await;
    for node in &nodes {
        reads_up_to(node, &cursor).await;
        assert_eq!(numbers(node, "checked").await, accepted);
    }
}

#[tokio::test]
async fn a_leader_paused_for_longer_than_its_lease_duplicates_nothing() {
    let redis = Redis::start();
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let programs =
        ["first", "second"].iter().zip(&directories).map(|(name, directory)| program(&redis, directory.path(), name));
    let programs: Vec<_> = programs.collect();
    let third = node(&redis, "third");
    let visitors: Vec<_> = programs.iter().map(|program| third.at(program.address())).collect();
    let mut all = visitors.clone();
    all.push(ApiClient::clone(&third));
    let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let pushing = tokio::spawn(push_until(Arc::clone(&stop), Arc::clone(&pushed), vec![ApiClient::clone(&third)]));
    for round in 1..=4 {
        let at = until("a leader", || async {
            for (at, node) in all.iter().enumerate() {
                if node.counter("tricast_bus_leads").await == 1.0 {
                    return Some(at);
                }
            }
            None
        })
        .await;
        until("some pushes", || async { (pushed.load(Ordering::Relaxed) >= round * 25).then_some(()) }).await;
        // A leader within this process cannot be stopped without the test itself.
        let Some(leading) = programs.get(at) else { continue };
        leading.signal("STOP");
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        leading.signal("CONT");
    }
    stop.store(true, Ordering::Relaxed);
    let accepted = pushing.await.unwrap();
    let cursor = third.push_value("metrics.x", json!({"n": 1})).await;
    for node in &all {
        reads_up_to(node, &cursor).await;
        assert_eq!(numbers(node, "checked").await, accepted);
    }
}

fn start_two(redis: &Redis, directories: &[TempDir; 2]) -> Vec<Program> {
    ["a", "b"].iter().zip(directories).map(|(name, directory)| program(redis, directory.path(), name)).collect()
}

#[tokio::test]
async fn entries_lost_while_all_nodes_restart_are_a_gap_for_those_who_had_read_them_only() {
    let mut redis = Redis::start();
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let client = spawn_app();
    let mut nodes = start_two(&redis, &directories);
    let first = client.at(nodes[0].address());
    let kept = first.push_event("checked", 1).await;
    let written = redis.written();
    first.push_event("checked", 2).await;
    let lost = first.push_event("checked", 3).await;
    nodes.iter_mut().for_each(Program::kill);
    redis.kill();
    redis.start_again_with(written);

    let nodes = start_two(&redis, &directories);
    let first = client.at(nodes[0].address());
    // More than were lost.
    let mut newest = String::new();
    for n in 11..=15 {
        newest = first.push_event("checked", n).await;
    }
    assert_eq!(newest.split(':').next(), kept.split(':').next(), "the log continues");
    for node in nodes.iter().map(|node| client.at(node.address())) {
        reads_up_to(&node, &newest).await;
        for (cursor, gap) in [(&lost, json!(true)), (&kept, Value::Null)] {
            let page = node.get_json(&format!("/api/metrics?channels=checked&since={cursor}")).await;
            assert_eq!(page["gap"], gap, "{page}");
            let events: Vec<_> = page["events"].as_array().unwrap().iter().map(|event| &event["data"]["n"]).collect();
            assert_eq!(events, [11, 12, 13, 14, 15]);
        }
        let mut socket = node.websocket().await;
        let subscribe = json!({"type": "subscribe", "channels": ["checked"], "since": lost});
        let subscribed = socket.ask(subscribe, "subscribed").await;
        assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("unknown_cursor")));
        assert_eq!(socket.next_of("event").await["data"]["n"], 11);
    }
}

#[tokio::test]
async fn the_log_in_redis_is_bounded_in_bytes() {
    let redis = Redis::start();
    let node = node(&redis, "a");
    let text = "x".repeat(1_000_000);
    let mut cursor = String::new();
    for n in 0..70 {
        cursor = node.push_value("metrics.large", json!({"n": n, "text": text})).await;
    }
    let key = format!("{{tricast}}:{}:log", cursor.split(':').next().unwrap());
    // 32 MiB of entries of a megabyte, besides small ones.
    let range = redis.cli(&["--raw", "memory", "usage", &key, "samples", "0"]);
    let used: u64 = range.parse().unwrap();
    assert!((24 << 20..56 << 20).contains(&used), "{used}");
}

#[tokio::test]
async fn samples_survive_a_redis_restored_from_an_earlier_state() {
    let mut redis = Redis::start();
    let nodes = three(&redis);
    let sample = json!({"metric": "shop.sold", "type": "counter", "value": 2});
    nodes[0].push(sample.clone()).await;
    let files = redis.directory().join("appendonlydir");
    let file = std::fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap();
    let written = std::fs::metadata(&file).unwrap().len();
    let mut cursor = String::new();
    for n in 0..10 {
        cursor = nodes[n % 3].push(sample.clone()).await;
    }
    for node in &nodes {
        reads_up_to(node, &cursor).await;
    }
    redis.kill();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(written).unwrap();
    redis.start_again();
    let old = cursor.split(':').next().unwrap();
    for node in &nodes {
        until("another epoch", || async {
            let now = node.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
            (!now.starts_with(old)).then_some(())
        })
        .await;
    }
    let cursor = nodes[1].push(sample).await;
    for node in &nodes {
        reads_up_to(node, &cursor).await;
        assert_eq!(total(node).await, 24);
    }
}

#[tokio::test]
async fn samples_known_only_to_a_dead_leader_are_reported_as_lost() {
    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let mut first = program(&redis, directory.path(), "first");
    first_leads(&first).await;
    let second = node(&redis, "second");
    let cursor = second.push(json!({"metric": "shop.sold", "type": "counter", "value": 2})).await;
    reads_up_to(&second, &cursor).await;
    first.kill();
    redis.cli(&["flushall"]);
    until("the notification", || async {
        let cursor = second.get_json("/api/channels").await["cursor"].as_str().unwrap().to_owned();
        let since = format!("{}:0", cursor.split(':').next().unwrap());
        let page = second.get_json(&format!("/api/metrics?channels=system&since={since}")).await;
        let mut events = page["events"].as_array()?.iter();
        events.find(|event| event["event"] == "degraded" && event["data"]["reason"] == "samples").map(drop)
    })
    .await;
}
