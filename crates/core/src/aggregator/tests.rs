use futures_util::FutureExt;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    built_in,
    channel::{Channel, EventName, Gone},
    decider::ChannelTtls,
    log::{Change, LogConfig},
    reading::Refusal,
    sample::Sample,
    settings::{Limits, Size},
    snapshot::View,
    span::Span,
};

struct Bench {
    handle: AggregatorHandle,
    log: Arc<Log>,
}

fn limited(limits: Limits) -> AggregatorConfig {
    AggregatorConfig { limits, ..AggregatorConfig::default() }
}

fn bench(config: AggregatorConfig) -> Bench {
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, Clock::system(), config);
    tokio::spawn(aggregator.run());
    Bench { handle, log }
}

fn value(channel: &str, data: Value) -> Reading {
    let Value::Object(data) = data else { panic!("an object") };
    Reading::value(Channel::parse(channel).unwrap(), data)
}

fn event(channel: &str, name: &str) -> Reading {
    Reading::Event {
        channel: Channel::parse(channel).unwrap(),
        event: EventName::parse(name).unwrap(),
        data: Map::new(),
        ttl: None,
    }
}

impl Bench {
    async fn push(&self, reading: Reading) -> (Result<(), Refusal>, u64) {
        let mut outcome = self.handle.publish(Origin::Pushed, vec![reading], 0).await.unwrap();
        (outcome.verdicts.remove(0), outcome.position.offset)
    }

    fn text(&self, channel: &str) -> String {
        let state = self.log.state(&Channel::parse(channel).unwrap(), View::Full).unwrap();
        String::from_utf8(state.data.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn an_unchanged_value_makes_no_new_version() {
    let bench = bench(AggregatorConfig::default());
    let (_, first) = bench.push(value("metrics.a", json!({"x": 1, "y": 2}))).await;
    let (_, again) = bench.push(value("metrics.a", json!({"y": 2, "x": 1}))).await;
    assert_eq!(first, again);
    let (_, changed) = bench.push(value("metrics.a", json!({"x": 2, "y": 2}))).await;
    assert!(changed > again);
}

#[tokio::test]
async fn an_unchanged_value_counts_as_written() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let seconds = Arc::new(AtomicI64::new(10));
    let now = Arc::clone(&seconds);
    let clock = Clock::from_fn(move || jiff::Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap());
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, clock, AggregatorConfig::default());
    tokio::spawn(aggregator.run());
    let bench = Bench { handle, log };
    let written = || {
        let state = bench.log.state(&Channel::parse("metrics.a").unwrap(), View::Full).unwrap();
        (state.timestamp.as_second(), state.last_written().as_second())
    };
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    assert_eq!(written(), (10, 10));
    seconds.store(20, Ordering::Relaxed);
    bench.push(value("metrics.b", json!({"x": 1}))).await.0.unwrap();
    assert_eq!(written(), (10, 10));
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    assert_eq!(written(), (10, 20));
}

#[tokio::test]
async fn a_merge_changes_only_the_named_fields() {
    let bench = bench(AggregatorConfig::default());
    bench.push(value("a", json!({"x": 1, "y": {"z": 1, "w": 2}}))).await.0.unwrap();
    let Reading::Value { channel, data, .. } = value("a", json!({"y": {"z": 5}, "n": null})) else { panic!() };
    bench.push(Reading::Value { channel, data, merge: true, ttl: None }).await.0.unwrap();
    assert_eq!(bench.text("a"), r#"{"n":null,"x":1,"y":{"z":5}}"#);
}

#[tokio::test]
async fn a_merge_does_not_touch_the_last_digit_of_another_field() {
    let bench = bench(AggregatorConfig::default());
    bench.push(value("a", json!({"x": 180.428_571_428_571_44, "y": 0.1 + 0.2}))).await.0.unwrap();
    for n in 0..3 {
        let Reading::Value { channel, data, .. } = value("a", json!({"n": n})) else { panic!() };
        bench.push(Reading::Value { channel, data, merge: true, ttl: None }).await.0.unwrap();
    }
    assert_eq!(bench.text("a"), r#"{"n":2,"x":180.42857142857144,"y":0.30000000000000004}"#);
}

#[tokio::test]
async fn built_in_channels_are_refused_to_clients_only() {
    let bench = bench(AggregatorConfig::default());
    for name in built_in::CHANNELS.map(|built_in| built_in.name) {
        assert!(matches!(bench.push(value(name, json!({}))).await.0, Err(Refusal::BuiltIn(_))), "{name}");
    }
    let outcome = bench.handle.publish(Origin::Internal, vec![value("metrics.api", json!({"a": 1}))], 0).await.unwrap();
    assert_eq!(outcome.verdicts, [Ok(())]);
    assert!(bench.text("metrics").contains(r#""api":{"a":1}"#));
}

#[tokio::test]
async fn a_channel_keeps_its_kind() {
    let bench = bench(AggregatorConfig::default());
    bench.push(event("deploys", "released")).await.0.unwrap();
    let refusal = bench.push(value("deploys", json!({}))).await.0.unwrap_err();
    assert!(refusal.to_string().contains("an event channel"), "{refusal}");
    bench.push(value("load", json!({}))).await.0.unwrap();
    assert!(matches!(bench.push(event("load", "x")).await.0, Err(Refusal::OtherKind { is_state: true, .. })));
}

#[tokio::test]
async fn channels_are_bounded_and_existing_ones_can_be_written() {
    let bench =
        bench(limited(Limits { max_channels: 2, max_body: Size(20), max_snapshot: Size(0), ..Limits::default() }));
    bench.push(value("a", json!({}))).await.0.unwrap();
    bench.push(event("b", "x")).await.0.unwrap();
    assert_eq!(bench.push(value("c", json!({}))).await.0, Err(Refusal::TooManyChannels(2)));
    bench.push(value("a", json!({"x": 1}))).await.0.unwrap();
    assert!(matches!(bench.push(value("a", json!({"x": "y".repeat(20)}))).await.0, Err(Refusal::TooLarge { .. })));
    assert_eq!(bench.text("a"), r#"{"x":1}"#);
}

#[tokio::test]
async fn many_merges_of_a_wide_value_are_written_once() {
    let bench = bench(AggregatorConfig::default());
    let wide: Map<String, Value> = (0..20_000).map(|n| (format!("f{n}"), json!(n))).collect();
    bench.push(Reading::value(Channel::parse("wide").unwrap(), wide)).await.0.unwrap();
    let merge = |n: u64| merge("wide", json!({"f7": n}));
    let before = bench.log.head();
    let outcome = bench.handle.publish(Origin::Pushed, (0..5_000).map(merge).collect(), 100_000).await.unwrap();
    assert!(outcome.verdicts.iter().all(Result::is_ok));
    assert_eq!(bench.log.head(), before + 1, "one version, the last");
    assert!(bench.text("wide").contains("\"f7\":4999,"));
}

#[tokio::test]
async fn the_snapshot_is_bounded_and_its_values_can_change() {
    let bench = bench(limited(Limits { max_snapshot: Size(100), ..Limits::default() }));
    let text = |n: usize| json!({"x": "y".repeat(n)});
    bench.push(value("metrics.a", text(50))).await.0.unwrap();
    assert_eq!(bench.push(value("metrics.b", text(50))).await.0, Err(Refusal::SnapshotFull(100)));
    bench.push(value("elsewhere", text(500))).await.0.unwrap();
    for n in [10, 80, 20] {
        bench.push(value("metrics.a", text(n))).await.0.unwrap();
    }
    bench.push(value("metrics.b", text(50))).await.0.unwrap();
}

fn merge(channel: &str, data: Value) -> Reading {
    let Reading::Value { channel, data, .. } = value(channel, data) else { panic!("a value") };
    Reading::Value { channel, data, merge: true, ttl: None }
}

/// A merge is first counted as if the whole value stayed; the excess is released.
#[tokio::test]
async fn room_is_released_when_a_value_turns_out_smaller() {
    for (channel, config) in [
        ("metrics.a", limited(Limits { max_snapshot: Size(200), ..Limits::default() })),
        ("a", limited(Limits { max_state: Size(200), ..Limits::default() })),
        ("a", AggregatorConfig { all_states: StateBudget::new(200), ..AggregatorConfig::default() }),
    ] {
        let budget = config.all_states.clone();
        let bench = bench(config);
        for n in 0..100 {
            bench.push(merge(channel, json!({"n": n}))).await.0.unwrap();
        }
        bench.push(value(channel, json!({"x": "y".repeat(150)}))).await.0.unwrap();
        assert_eq!(budget.used(), bench.text(channel).len());
        bench.push(value(channel, json!({}))).await.0.unwrap();
        assert_eq!(budget.used(), 2);
    }
}

/// The room of a series is added to that of a value that the same push has written.
#[tokio::test]
async fn a_value_and_a_sample_of_one_push_take_the_room_of_two_pushes() {
    let used_after = async |pushes: Vec<Vec<Reading>>| {
        let config = AggregatorConfig { all_states: StateBudget::new(100_000), ..AggregatorConfig::default() };
        let budget = config.all_states.clone();
        let bench = bench(config);
        for readings in pushes {
            let outcome = bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap();
            assert!(outcome.verdicts.iter().all(Result::is_ok));
        }
        budget.used()
    };
    let readings = || vec![value("metrics.shop", json!({"x": 1})), sample("shop.load", "gauge", 1)];
    let apart = readings().into_iter().map(|reading| vec![reading]).collect();
    assert_eq!(used_after(vec![readings()]).await, used_after(apart).await);
}

#[tokio::test]
async fn all_values_of_a_tenant_are_bounded_and_smaller_ones_make_room() {
    let bench = bench(limited(Limits { max_state: Size(1_000), ..Limits::default() }));
    let text = |n: usize| json!({"x": "y".repeat(n)});
    for n in 0..3 {
        bench.push(value(&format!("foo.{n}"), text(300))).await.0.unwrap();
    }
    let refused = Err(Refusal::StatesFull(1_000));
    assert_eq!(bench.push(value("foo.3", text(300))).await.0, refused);
    assert_eq!(bench.push(merge("foo.0", json!({"z": "y".repeat(100)}))).await.0, refused);
    assert_eq!(bench.push(sample("shop.load", "gauge", 1)).await.0, refused, "a series takes its room");
    assert_eq!(bench.push(value("foo.0", text(310))).await.0, Ok(()), "what there is can change");
    let internal = bench.handle.publish(Origin::Internal, vec![value("metrics.api", text(5_000))], 0).await.unwrap();
    assert_eq!(internal.verdicts, [Ok(())], "the server's own values are not counted");
    bench.push(event("deploys", "released")).await.0.unwrap();
    bench.push(value("foo.1", json!({}))).await.0.unwrap();
    bench.push(value("foo.3", text(300))).await.0.unwrap();
}

#[tokio::test]
async fn the_values_of_all_tenants_are_bounded_together() {
    let config = AggregatorConfig { all_states: StateBudget::new(1_000), ..AggregatorConfig::default() };
    let (one, other) = (bench(config.clone()), bench(config.clone()));
    let text = |n: usize| json!({"x": "y".repeat(n)});
    one.push(value("a", text(600))).await.0.unwrap();
    assert_eq!(other.push(value("a", text(600))).await.0, Err(Refusal::ServerFull(1_000)));
    other.push(value("a", text(300))).await.0.unwrap();
    drop(one.handle);
    // Its aggregator ends with its handle, and releases its room.
    while config.all_states.used() > 400 {
        tokio::task::yield_now().await;
    }
    other.push(value("a", text(900))).await.0.unwrap();
}

/// The next leader of a cluster continues with the knowledge of the previous one.
#[tokio::test]
async fn a_decider_that_takes_over_knows_the_used_room() {
    let config =
        limited(Limits { max_snapshot: Size(100), max_state: Size(200), max_channels: 3, ..Limits::default() });
    let bench = bench(config.clone());
    let text = |n: usize| json!({"x": "y".repeat(n)});
    bench.push(value("metrics.a", text(60))).await.0.unwrap();
    bench.push(value("b", text(80))).await.0.unwrap();
    let budget = StateBudget::new(0);
    let config = AggregatorConfig { all_states: budget.clone(), ..config };
    let mut decider = Decider::take_over(Clock::system(), config, &bench.log, [].into_iter());
    assert_eq!(budget.used(), bench.text("metrics.a").len() + bench.text("b").len());
    let mut decide = |reading| decider.decide_all([(Origin::Pushed, vec![reading])]).verdicts[0][0].clone();
    assert_eq!(decide(value("metrics.c", text(60))), Err(Refusal::SnapshotFull(100)));
    assert_eq!(decide(value("c", text(60))), Err(Refusal::StatesFull(200)));
    assert_eq!(decide(value("b", text(70))), Ok(()));
    assert_eq!(decide(value("metrics.c", json!({}))), Ok(()));
    assert_eq!(decide(value("d", json!({}))), Err(Refusal::TooManyChannels(3)));
    assert!(matches!(decide(event("b", "x")), Err(Refusal::OtherKind { is_state: true, .. })));
    drop(decider);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_decider_that_takes_over_knows_the_event_channels() {
    let bench = bench(AggregatorConfig::default());
    bench.push(event("deploys", "released")).await.0.unwrap();
    let mut decider = Decider::take_over(Clock::system(), AggregatorConfig::default(), &bench.log, [].into_iter());
    let mut decide = |reading| decider.decide_all([(Origin::Pushed, vec![reading])]).verdicts[0][0].clone();
    assert!(matches!(decide(value("deploys", json!({}))), Err(Refusal::OtherKind { is_state: false, .. })));
    assert_eq!(decide(event("deploys", "released")), Ok(()));
}

/// A new leader has its own monotonic clock, and windows that started with another node's.
#[tokio::test(start_paused = true)]
async fn windows_continue_when_another_decider_takes_over() {
    let (mut writer, log) = Log::create(LogConfig::default());
    let clock = clock_from(NOON);
    let take_over = |dumps: Vec<(String, String)>| {
        let dumps: Vec<_> = dumps.iter().map(|(_, dump)| serde_json::from_str(dump).unwrap()).collect();
        Decider::take_over(clock.clone(), AggregatorConfig::default(), &log, dumps.into_iter())
    };
    let rate = |decided: &Decided| {
        let change = decided.changes.iter().find(|change| change.channel.as_str() == "metrics.shop")?;
        Some(serde_json::from_slice::<Value>(&change.data).unwrap()["sold"]["rate"].clone())
    };
    let mut first = take_over(Vec::new());
    let decided = first.decide_all([(Origin::Pushed, vec![sample("shop.sold", "counter", 30)])]);
    assert_eq!(rate(&decided), Some(json!(3)));
    // A series continues if its channel is in the log.
    writer.append(decided.changes, jiff::Timestamp::UNIX_EPOCH);
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut next = take_over(first.dump(true));
    assert_eq!(rate(&next.decide_all([])), None, "it reads the same");
    let wake = next.wake().unwrap() - Instant::now();
    assert!(wake <= Duration::from_secs(1), "the numbers change with the next second, not in {wake:?}");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(rate(&next.decide_all([])), Some(json!(0)), "eleven seconds after the sample");
}

#[tokio::test]
async fn readings_of_one_push_are_judged_by_those_before_them() {
    let bench = bench(limited(Limits { max_channels: 2, max_body: Size(100), ..Limits::default() }));
    let push = async |readings| bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap().verdicts;
    let text = "y".repeat(60);
    let merges = push(vec![merge("a", json!({"x": text})), merge("a", json!({"y": text}))]).await;
    assert!(matches!(merges[..], [Ok(()), Err(Refusal::TooLarge { limit: 100, .. })]), "{merges:?}");
    let twice = push(vec![value("b", json!({})), value("b", json!({"x": 1})), event("b", "x")]).await;
    assert!(matches!(twice[..], [Ok(()), Ok(()), Err(Refusal::OtherKind { is_state: true, .. })]), "{twice:?}");
    assert_eq!(push(vec![value("c", json!({}))]).await, [Err(Refusal::TooManyChannels(2))]);
}

#[tokio::test]
async fn samples_and_events_of_one_push_do_not_share_a_channel() {
    let bench = bench(AggregatorConfig::default());
    let readings = vec![sample("shop.load", "gauge", 1), event("metrics.shop", "x")];
    let verdicts = bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap().verdicts;
    assert!(matches!(verdicts[..], [Ok(()), Err(Refusal::OtherKind { is_state: true, .. })]), "{verdicts:?}");
}

#[tokio::test]
async fn limits_are_exact_and_zero_means_none() {
    let exact = value("a", json!({"x": "y".repeat(92)}));
    let larger = value("a", json!({"x": "y".repeat(93)}));
    for (limit, refusal) in [
        (
            limited(Limits { max_body: Size(100), ..Limits::default() }),
            Refusal::TooLarge { channel: Channel::parse("a").unwrap(), bytes: 101, limit: 100 },
        ),
        (limited(Limits { max_state: Size(100), ..Limits::default() }), Refusal::StatesFull(100)),
        (AggregatorConfig { all_states: StateBudget::new(100), ..Default::default() }, Refusal::ServerFull(100)),
    ] {
        let bench = bench(limit);
        assert_eq!(bench.push(exact.clone()).await.0, Ok(()));
        assert_eq!(bench.push(larger.clone()).await.0, Err(refusal));
    }
    let bench = bench(limited(Limits {
        max_channels: 0,
        max_body: Size(0),
        max_snapshot: Size(0),
        max_state: Size(0),
        max_series: 0,
        ..Limits::default()
    }));
    for reading in [value("metrics.b", json!({"x": "y".repeat(5 << 20)})), larger, sample("shop.load", "gauge", 1)] {
        assert_eq!(bench.push(reading).await.0, Ok(()));
    }
}

/// The cost of merging one field does not depend on the value's size: work is counted, not timed. The text is copied once
/// per group.
#[tokio::test]
async fn a_merge_keeps_every_other_byte() {
    let bench = bench(AggregatorConfig::default());
    let wide: Map<String, Value> = (0..1_000).map(|n| (format!("f{n:04}"), json!({"n": n, "text": "\"},{"}))).collect();
    bench.push(Reading::value(Channel::parse("wide").unwrap(), wide.clone())).await.0.unwrap();
    let mut expected = wide;
    for n in [0, 500, 999, 1_000, 500] {
        let (name, number) = (format!("f{n:04}"), json!(n * 7));
        bench.push(merge("wide", json!({ (&name): number }))).await.0.unwrap();
        expected.insert(name, number);
        assert_eq!(bench.text("wide"), Value::Object(expected.clone()).to_string());
    }
    let head = bench.log.head();
    bench.push(merge("wide", json!({"f0500": 3_500, "f0000": 0}))).await.0.unwrap();
    assert_eq!(bench.log.head(), head, "nothing changes");
    bench.push(value("wide", json!({"a": 1}))).await.0.unwrap();
    bench.push(merge("wide", json!({"b": 2}))).await.0.unwrap();
    assert_eq!(bench.text("wide"), r#"{"a":1,"b":2}"#, "an index of the value before is not used");
    bench.push(merge("new", json!({}))).await.0.unwrap();
    assert_eq!(bench.text("new"), "{}");
}

/// Tenants share a thread: the turn of a writer ends after a number of pushes or bytes.
#[tokio::test]
async fn a_flood_of_one_tenant_delays_only_that_tenant() {
    for (bytes, pushes, in_a_turn) in [(10, 3 * GROUP, GROUP), (GROUP_BYTES / 4, 40, 4), (2 * GROUP_BYTES, 5, 1)] {
        let (writer, _log) = Log::create(LogConfig::default());
        let (aggregator, handle) = Aggregator::new(writer, Clock::system(), AggregatorConfig::default());
        let mut waiting: Vec<_> = (0..pushes)
            .map(|n| Box::pin(handle.publish(Origin::Pushed, vec![value("a", json!({"n": n}))], bytes)))
            .collect();
        // All of it in one poll of this test, so that only the writer itself ends a turn.
        tokio::task::coop::unconstrained(async {
            assert!(waiting.iter_mut().all(|push| push.now_or_never().is_none()), "handed in");
            let mut writer = Box::pin(aggregator.run());
            while !waiting.is_empty() {
                assert_eq!((&mut writer).now_or_never(), None, "the writer ends its turn");
                let before = waiting.len();
                waiting.retain_mut(|push| push.now_or_never().is_none());
                assert_eq!(before - waiting.len(), in_a_turn, "pushes of {bytes} bytes");
            }
        })
        .await;
    }
}

/// In a cluster all tenants share one queue: each may have a part of it only.
#[tokio::test(start_paused = true)]
async fn a_tenant_uses_only_its_part_of_a_shared_queue() {
    let (root, mut batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), watch::channel(true).1);
    let (busy, quiet) = (root.of_tenant("busy"), root.of_tenant("quiet"));
    let publish = |handle: &AggregatorHandle, bytes| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.publish(Origin::Pushed, vec![value("a", json!({}))], bytes).await })
    };
    let flood: Vec<_> =
        (0..100).map(|_| publish(&busy, 1 << 20)).chain((0..2_000).map(|_| publish(&busy, 10))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let quick = publish(&quiet, 10);
    tokio::task::yield_now().await;
    let mut before = 0;
    loop {
        let batch = batches.recv().await.unwrap();
        let (readings, reply) = {
            let is_quiet = &*batch.tenant == "quiet";
            let (readings, reply) = batch.into_parts();
            if is_quiet {
                reply.send(vec![Ok(()); readings.len()], Position::new(crate::position::Epoch::random(), 1));
                break;
            }
            (readings, reply)
        };
        before += 1;
        reply.send(vec![Ok(()); readings.len()], Position::new(crate::position::Epoch::random(), 1));
    }
    assert!(before <= 20, "{before} batches of the other tenant were in front");
    quick.await.unwrap().unwrap();
    flood.into_iter().for_each(|push| push.abort());
}

#[tokio::test]
async fn the_snapshot_has_a_higher_offset_than_its_values() {
    let bench = bench(AggregatorConfig::default());
    let (_, position) = bench.push(value("metrics.checkout", json!({"p95": 180}))).await;
    let own = bench.log.state(&Channel::parse("metrics.checkout").unwrap(), View::Full).unwrap();
    let snapshot = bench.log.snapshot(View::Full);
    assert_eq!((own.offset, snapshot.offset), (position - 1, position));
    assert!(bench.text("metrics").contains(r#""custom":{"checkout":{"p95":180}}"#));
    assert!(Arc::ptr_eq(&snapshot, &bench.log.snapshot(View::Full)), "assembled once");
}

/// Returns a clock that follows tokio's, starting at `start`.
fn clock_from(start: &str) -> Clock {
    let (start, started_at): (jiff::Timestamp, _) = (start.parse().unwrap(), Instant::now());
    Clock::from_fn(move || start + jiff::SignedDuration::try_from(started_at.elapsed()).unwrap())
}

/// Creates an aggregator whose day starts at Zurich's midnight.
fn sampling(start: &str, config: AggregatorConfig) -> Bench {
    let (writer, log) = Log::create(LogConfig::default());
    let zone = TimeZone::get("Europe/Zurich").unwrap();
    let (aggregator, handle) = Aggregator::new(writer, clock_from(start), AggregatorConfig { zone, ..config });
    tokio::spawn(aggregator.run());
    Bench { handle, log }
}

fn labelled(metric: &str, kind: &str, value: impl Into<Value>, labels: Value) -> Reading {
    Reading::Sample(Box::new(Sample::parse(metric, kind, &value.into(), labels.as_object().unwrap()).unwrap()))
}

fn sample(metric: &str, kind: &str, value: impl Into<Value>) -> Reading {
    labelled(metric, kind, value, json!({}))
}

impl Bench {
    fn data(&self, channel: &str) -> Value {
        serde_json::from_str(&self.text(channel)).unwrap()
    }

    async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

const NOON: &str = "2026-03-28T11:00:00Z";

#[tokio::test(start_paused = true)]
async fn a_sample_is_in_the_log_at_the_position_of_its_answer() {
    let bench = sampling(NOON, AggregatorConfig::default());
    let (_, first) = bench.push(sample("checkout.latency", "timing", 12.5)).await;
    assert_eq!(bench.log.snapshot(View::Full).offset, first);
    let expected = json!({"latency": {
        "type": "timing", "count": 1, "avg": 12.5, "p50": 12.5, "p95": 12.5, "p99": 12.5, "max": 12.5,
        "today": {"count": 1, "avg": 12.5, "p50": 12.5, "p95": 12.5, "p99": 12.5, "max": 12.5},
    }});
    assert_eq!(bench.data("metrics.checkout"), expected);
    assert_eq!(bench.data("metrics")["custom"]["checkout"], expected);
    let readings = (0..1_000).map(|n| sample("checkout.sold", "counter", n % 3)).collect();
    let outcome = bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap();
    assert_eq!(outcome.position.offset, first + 2, "one version of the channel and one of the snapshot");
    assert_eq!(bench.data("metrics.checkout")["sold"]["total"], 999);
}

#[tokio::test(start_paused = true)]
async fn figures_change_with_time_until_the_window_is_empty() {
    let bench = sampling(NOON, AggregatorConfig::default());
    bench.pass(2_300).await;
    bench.push(sample("shop.sold", "counter", 30)).await.0.unwrap();
    bench.push(sample("shop.load", "gauge", 7)).await.0.unwrap();
    assert_eq!(bench.data("metrics.shop")["sold"]["rate"], 3);
    let before = bench.log.head();
    bench.pass(10_600).await;
    assert_eq!(bench.log.head(), before, "in second 12 it reads the same");
    bench.pass(200).await;
    let expected = json!({
        "sold": {"type": "counter", "total": 30, "rate": 0, "today": {"total": 30}},
        "load": {"type": "gauge", "last": 7, "min": null, "max": null, "avg": null, "today": {"min": 7, "max": 7, "avg": 7}},
    });
    assert_eq!(bench.data("metrics.shop"), expected);
    assert_eq!(bench.log.head(), before + 2, "all series of a channel change in one version");
    bench.pass(60_000).await;
    assert_eq!(bench.log.head(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn at_midnight_of_the_zone_today_restarts_without_any_push() {
    // Daylight saving starts in the night: midnight is at 23:00 UTC, the next one at 22:00.
    let bench = sampling("2026-03-28T22:30:00Z", AggregatorConfig::default());
    for (kind, value) in [("gauge", json!(5)), ("counter", json!(5)), ("timing", json!(5)), ("set", json!("a"))] {
        bench.push(sample(&format!("day.{kind}"), kind, value)).await.0.unwrap();
    }
    bench.pass(29 * 60_000).await;
    let day = bench.data("metrics.day");
    assert_eq!((&day["set"]["today"], &day["set"]["count"]), (&json!({"count": 1}), &json!(0)));
    bench.pass(61_000).await;
    let day = bench.data("metrics.day");
    assert_eq!(day["gauge"]["today"], json!({"min": null, "max": null, "avg": null}));
    assert_eq!((&day["gauge"]["last"], &day["counter"]["total"]), (&json!(5), &json!(5)));
    assert_eq!((&day["counter"]["today"], &day["set"]["today"]), (&json!({"total": 0}), &json!({"count": 0})));
    assert_eq!(day["timing"]["today"]["count"], 0);
    bench.push(sample("day.counter", "counter", 2)).await.0.unwrap();
    bench.pass(22 * 3_600_000).await;
    assert_eq!(bench.data("metrics.day")["counter"]["today"]["total"], 2);
    bench.pass(3_600_000).await;
    assert_eq!(bench.data("metrics.day")["counter"]["today"]["total"], 0, "this day had 23 hours");
}

#[tokio::test(start_paused = true)]
async fn an_idle_aggregator_does_not_read_the_clock() {
    let looks = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (counted, inner) = (Arc::clone(&looks), clock_from(NOON));
    let clock = Clock::from_fn(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        inner.now()
    });
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, clock, AggregatorConfig::default());
    tokio::spawn(aggregator.run());
    let bench = Bench { handle, log };
    let looks_in = async |ms: u64| {
        let before = looks.load(std::sync::atomic::Ordering::Relaxed);
        bench.pass(ms).await;
        looks.load(std::sync::atomic::Ordering::Relaxed) - before
    };
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    assert_eq!(looks_in(48 * 3_600_000).await, 0, "no samples");
    bench.push(sample("a.b", "gauge", 1)).await.0.unwrap();
    assert!(looks_in(12_000).await >= 10, "a window");
    assert!(looks_in(6 * 3_600_000).await <= 24, "a day that will end");
    looks_in(24 * 3_600_000).await;
    assert_eq!(looks_in(48 * 3_600_000).await, 0, "nothing in the window, nothing today");
}

#[tokio::test(start_paused = true)]
async fn a_plain_value_replaces_the_series_until_their_next_change() {
    let bench = sampling(NOON, AggregatorConfig::default());
    bench.push(sample("shop.load", "gauge", 7)).await.0.unwrap();
    bench.push(sample("shop.sold", "counter", 1)).await.0.unwrap();
    bench.push(value("metrics.shop", json!({"name": "eu", "load": "high"}))).await.0.unwrap();
    assert_eq!(bench.data("metrics.shop"), json!({"name": "eu", "load": "high"}));
    bench.push(sample("shop.sold", "counter", 1)).await.0.unwrap();
    let data = bench.data("metrics.shop");
    assert_eq!((&data["load"], &data["name"], &data["sold"]["total"]), (&json!("high"), &json!("eu"), &json!(2)));
    bench.pass(12_000).await;
    assert_eq!(bench.data("metrics.shop")["load"]["min"], Value::Null, "its window changed");
    let Reading::Value { channel, data, .. } = value("metrics.shop", json!({"sold": 0})) else { panic!() };
    bench.push(Reading::Value { channel, data, merge: true, ttl: None }).await.0.unwrap();
    let data = bench.data("metrics.shop");
    assert_eq!((&data["sold"], &data["load"]["last"], &data["name"]), (&json!(0), &json!(7), &json!("eu")));
    // In one batch the later one takes precedence too.
    let readings = vec![sample("shop.sold", "counter", 1), value("metrics.shop", json!({"x": 1}))];
    bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap();
    assert_eq!(bench.data("metrics.shop"), json!({"x": 1}));
    let readings = vec![value("metrics.shop", json!({"x": 2})), sample("shop.sold", "counter", 1)];
    bench.handle.publish(Origin::Pushed, readings, 0).await.unwrap();
    assert_eq!(
        (&bench.data("metrics.shop")["x"], &bench.data("metrics.shop")["sold"]["total"]),
        (&json!(2), &json!(4))
    );
}

#[tokio::test(start_paused = true)]
async fn samples_are_refused_where_values_are() {
    let bench = sampling(NOON, limited(Limits { max_channels: 2, max_series: 3, ..Limits::default() }));
    assert!(matches!(bench.push(sample("api.error_rate", "gauge", 1)).await.0, Err(Refusal::BuiltIn(_))));
    bench.push(event("metrics.deploys", "released")).await.0.unwrap();
    assert!(matches!(bench.push(sample("deploys.load", "gauge", 1)).await.0, Err(Refusal::OtherKind { .. })));
    bench.push(sample("a.x", "gauge", 1)).await.0.unwrap();
    assert_eq!(bench.push(sample("b.x", "gauge", 1)).await.0, Err(Refusal::TooManyChannels(2)));
    assert!(matches!(bench.push(sample("a.x", "set", 1)).await.0, Err(Refusal::OtherType { .. })));
    bench.push(labelled("a.x", "gauge", 1, json!({"n": "1"}))).await.0.unwrap();
    bench.push(labelled("a.x", "gauge", 1, json!({"n": "2"}))).await.0.unwrap();
    assert_eq!(bench.push(labelled("a.x", "gauge", 1, json!({"n": "3"}))).await.0, Err(Refusal::TooManySeries(3)));
    assert_eq!(bench.push(sample("a.y", "gauge", 1)).await.0, Err(Refusal::TooManySeries(3)));
    bench.push(labelled("a.x", "gauge", 5, json!({"n": "2"}))).await.0.unwrap();
    let data = bench.data("metrics.a");
    assert_eq!((data.as_object().unwrap().len(), &data["x{n=\"2\"}"]["avg"]), (3, &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn series_reserve_their_room_and_are_never_refused_later() {
    let config = limited(Limits { max_body: Size(2_000), max_snapshot: Size(3_000), ..Limits::default() });
    let bench = sampling(NOON, config);
    let mut taken = 0;
    let refused = loop {
        let pushed = bench.push(sample(&format!("wide.f{taken:03}"), "gauge", 1)).await.0;
        match pushed {
            Ok(()) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refused, Refusal::TooLarge { limit: 2_000, .. }) && taken >= 4, "{taken}: {refused}");
    let longest = -1.234_567_890_123_456_7e-300;
    for round in 1..20 {
        for n in 0..taken {
            bench.push(sample(&format!("wide.f{n:03}"), "gauge", longest * f64::from(round))).await.0.unwrap();
        }
        bench.pass(700).await;
        assert!(bench.text("metrics.wide").len() <= 2_000);
    }
    assert!(matches!(
        bench.push(value("metrics.wide", json!({"x": "y".repeat(1_000)}))).await.0,
        Err(Refusal::TooLarge { .. })
    ));
    bench.push(value("metrics.wide", json!({"x": "y"}))).await.0.unwrap();
    // The room of the series is reserved in the snapshot too.
    assert_eq!(
        bench.push(value("metrics.b", json!({"x": "y".repeat(1_500)}))).await.0,
        Err(Refusal::SnapshotFull(3_000))
    );
    bench.push(value("metrics.b", json!({"x": "y".repeat(900)}))).await.0.unwrap();
}

/// Durations of every magnitude make sketches as large as possible, one for each second and one for the day.
#[tokio::test(start_paused = true)]
async fn the_memory_of_series_is_bounded_and_released_with_time() {
    let budget = StateBudget::new(0);
    let bench = sampling(
        NOON,
        AggregatorConfig {
            limits: Limits { max_state: Size(150_000), ..Limits::default() },
            all_states: budget.clone(),
            ..Default::default()
        },
    );
    bench.push(sample("a.load", "gauge", 1)).await.0.unwrap();
    bench.push(value("c", json!({"x": "y"}))).await.0.unwrap();
    let every_magnitude = || (-9..=20).map(|exponent| sample("a.time", "timing", 10f64.powi(exponent))).collect();
    let (mut refused, mut seconds) = (None, 0);
    while refused.is_none() && seconds < 11 {
        bench.pass(1_000).await;
        let outcome = bench.handle.publish(Origin::Pushed, every_magnitude(), 0).await.unwrap();
        refused = outcome.verdicts.into_iter().find_map(Result::err);
        seconds += 1;
    }
    assert_eq!(refused, Some(Refusal::StatesFull(150_000)));
    assert!(seconds >= 5, "{seconds} seconds of 16 KiB each");
    let most = 150_000 + 2 * 16_384;
    assert!((150_000..most).contains(&budget.used()), "{} bytes", budget.used());
    assert_eq!(bench.push(sample("a.names", "set", "x")).await.0, Err(Refusal::StatesFull(150_000)));
    assert_eq!(bench.push(value("b", json!({"x": "y"}))).await.0, Err(Refusal::StatesFull(150_000)));
    assert_eq!(bench.push(sample("a.load", "gauge", 2)).await.0, Ok(()), "it grows no further");
    assert_eq!(bench.push(value("c", json!({"x": "z"}))).await.0, Ok(()), "it takes no more than before");
    // The seconds leave the window, and at midnight the day does.
    bench.pass(12_000).await;
    assert!((16_384..40_000).contains(&budget.used()), "{} bytes", budget.used());
    bench.push(sample("a.time", "timing", 1)).await.0.unwrap();
    bench.pass(24 * 3_600_000).await;
    assert!(budget.used() < 8_000, "{} bytes", budget.used());
    drop(bench.handle);
    while budget.used() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Another tenant's series count for the limit of all tenants.
#[tokio::test(start_paused = true)]
async fn series_of_all_tenants_are_bounded_together() {
    let budget = StateBudget::new(60_000);
    let config = AggregatorConfig { all_states: budget.clone(), ..AggregatorConfig::default() };
    let (one, other) = (sampling(NOON, config.clone()), sampling(NOON, config));
    let every_magnitude = |name: &str| (-9..=20).map(|n| sample(name, "timing", 10f64.powi(n))).collect();
    for n in 0..2 {
        let outcome = one.handle.publish(Origin::Pushed, every_magnitude(&format!("a.t{n}")), 0).await.unwrap();
        assert_eq!(outcome.verdicts.iter().all(Result::is_ok), n == 0);
    }
    assert_eq!(other.push(sample("a.time", "timing", 1)).await.0, Err(Refusal::ServerFull(60_000)));
    one.pass(12_000).await;
    other.push(sample("a.time", "timing", 1)).await.0.unwrap();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_samples_in_any_batches_give_the_same_value(
        samples in proptest::collection::vec((0usize..4, 0u32..2_000, 0u32..3), 1..300),
        cuts in proptest::collection::vec(1usize..50, 1..20),
    ) {
        let readings: Vec<_> = samples.iter().map(|(kind, value, shop)| {
            let kind = ["gauge", "counter", "timing", "set"][*kind];
            labelled(&format!("a.{kind}"), kind, f64::from(*value) / 7.0, json!({"shop": shop.to_string()}))
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let value_of = |batches: Vec<Vec<Reading>>| runtime.block_on(async {
            let bench = sampling(NOON, AggregatorConfig::default());
            for batch in batches {
                let outcome = bench.handle.publish(Origin::Pushed, batch, 0).await.unwrap();
                assert!(outcome.verdicts.iter().all(Result::is_ok));
            }
            bench.text("metrics.a")
        });
        let whole = value_of(vec![readings.clone()]);
        let (mut rest, mut batches) = (&readings[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            batches.push(batch.to_vec());
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        proptest::prop_assert_eq!(value_of(batches), whole);
    }
}

#[tokio::test]
async fn a_lost_reply_does_not_stop_publishers_in_a_cluster() {
    let (handle, mut batches) = AggregatorHandle::new(Some(Duration::from_secs(60)), watch::channel(true).1);
    let reading = || vec![value("metrics.a", json!({"x": 1}))];
    let forgetful = tokio::spawn(async move {
        for _ in 0..2 {
            let batch: Batch = batches.recv().await.unwrap();
            assert!(batch.take());
        }
    });
    assert_eq!(handle.publish(Origin::Pushed, reading(), 0).await.unwrap_err(), PublishError::Unknown);
    assert_eq!(handle.publish_own(reading()).await, Ok(()));
    forgetful.await.unwrap();
    assert_eq!(handle.publish_own(reading()).await, Err(Stopped), "no more batches are accepted");
    assert_eq!(handle.publish(Origin::Pushed, reading(), 0).await.unwrap_err(), PublishError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_not_taken_is_refused_and_a_taken_one_is_awaited() {
    let (handle, mut batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), watch::channel(true).1);
    let reading = || vec![value("metrics.a", json!({"x": 1}))];
    assert_eq!(handle.publish(Origin::Pushed, reading(), 0).await.unwrap_err(), PublishError::Unavailable);
    let refused = batches.recv().await.unwrap();
    assert!(!refused.take(), "its sender has given up");
    let late = tokio::spawn({
        let handle = handle.clone();
        async move { handle.publish(Origin::Pushed, reading(), 0).await }
    });
    let taken = batches.recv().await.unwrap();
    assert!(taken.take());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (readings, reply) = taken.into_parts();
    reply.send(vec![Ok(()); readings.len()], Position::new(crate::position::Epoch::random(), 7));
    assert_eq!(late.await.unwrap().unwrap().position.offset, 7);
    // Readings of this program wait without a limit.
    let own = tokio::spawn(async move { handle.publish_own(vec![value("metrics.a", json!({}))]).await });
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (readings, reply) = batches.recv().await.unwrap().into_parts();
    reply.send(vec![Ok(()); readings.len()], Position::new(crate::position::Epoch::random(), 8));
    assert_eq!(own.await.unwrap(), Ok(()));
}

fn restored(channel: &str, data: Value, second: i64) -> Restored {
    let Reading::Value { channel, data, .. } = value(channel, data) else { panic!() };
    Restored { channel, at: Timestamp::from_second(second).unwrap(), data }
}

#[tokio::test]
async fn restored_values_keep_their_time_until_a_write_and_reach_no_built_in_channel() {
    let (writer, log) = Log::create(LogConfig::default());
    let (mut aggregator, handle) = Aggregator::new(writer, Clock::system(), AggregatorConfig::default());
    let old = |channel: &str, second: i64| restored(channel, json!({"x": 1}), second);
    let mut changed = log.watch();
    changed.mark_unchanged();
    aggregator.restore(vec![old("metrics.a", 20), old("metrics.api", 30), old("metrics.b", 10)]);
    assert_eq!((*changed.borrow(), log.head()), (3, 3), "two values and the snapshot");
    assert!(changed.has_changed().unwrap());
    tokio::spawn(aggregator.run());
    let bench = Bench { handle, log };
    let state = |name: &str| bench.log.state(&Channel::parse(name).unwrap(), View::Full).unwrap();
    assert_eq!((state("metrics.a").timestamp.as_second(), state("metrics.b").timestamp.as_second()), (20, 10));
    assert!(state("metrics.a").is_restored() && bench.log.snapshot(View::Full).timestamp.as_second() == 20);
    assert!(bench.log.state(&Channel::parse("metrics.api").unwrap(), View::Full).is_none());

    // The same value too: readers are notified that it is current.
    let before = bench.log.head();
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    assert!(!state("metrics.a").is_restored() && state("metrics.a").timestamp.as_second() > 20);
    assert!(state("metrics.a").offset > before);
    let before = bench.log.head();
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    assert_eq!(bench.log.head(), before);
    bench.push(value("metrics.b", json!({"x": 2}))).await.0.unwrap();
    assert!(!state("metrics.b").is_restored() && state("metrics.b").timestamp.as_second() > 20);
}

#[tokio::test]
async fn values_restored_late_do_not_replace_pushed_ones_and_are_accepted_once() {
    let bench = bench(AggregatorConfig::default());
    let state = |name: &str| bench.log.state(&Channel::parse(name).unwrap(), View::Full);
    bench.push(value("metrics.a", json!({"x": 1}))).await.0.unwrap();
    let late = Reading::Restored(vec![
        restored("metrics.a", json!({"x": 7, "y": 7}), 20),
        restored("metrics.b", json!({"x": 7, "y": 7}), 20),
        restored("metrics.c", json!({"x": 7, "y": 7}), 20),
    ]);
    // In one group: a merge into a restored value makes it a current one.
    let merged = Reading::Value {
        channel: Channel::parse("metrics.c").unwrap(),
        data: serde_json::from_value(json!({"x": 8})).unwrap(),
        merge: true,
        ttl: None,
    };
    bench.handle.publish_own(vec![late, merged]).await.unwrap();
    let [a, b, c] = ["metrics.a", "metrics.b", "metrics.c"].map(|name| state(name).unwrap());
    assert_eq!((&a.data[..], a.is_restored()), (&br#"{"x":1}"#[..], false));
    assert_eq!((&b.data[..], b.is_restored(), b.timestamp.as_second()), (&br#"{"x":7,"y":7}"#[..], true, 20));
    assert_eq!((&c.data[..], c.is_restored()), (&br#"{"x":8,"y":7}"#[..], false));
    bench.handle.publish_own(vec![Reading::Restored(vec![restored("metrics.d", json!({"x": 1}), 20)])]).await.unwrap();
    assert!(state("metrics.d").is_none());
}

#[tokio::test]
async fn values_restored_late_do_not_bring_ended_channels_back() {
    let end = |channel: &str| Reading::End { channel: Channel::parse(channel).unwrap() };
    let ttl = |channel: &str| {
        let Reading::Value { channel, data, merge, .. } = value(channel, json!({"x": 1})) else { panic!() };
        Reading::Value { channel, data, merge, ttl: Some(50) }
    };
    let bench = bench(AggregatorConfig::default());
    let is_there = |name: &str| bench.log.kind(&Channel::parse(name).unwrap()).is_some();
    for name in ["metrics.deleted", "metrics.now"] {
        bench.push(value(name, json!({"x": 1}))).await.0.unwrap();
    }
    bench.push(end("metrics.deleted")).await.0.unwrap();
    let never = Channel::parse("metrics.never").unwrap();
    assert_eq!(bench.push(end("metrics.never")).await.0, Err(Refusal::NoChannel(never)));
    bench.push(ttl("metrics.expired")).await.0.unwrap();
    while is_there("metrics.expired") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let names = ["metrics.deleted", "metrics.expired", "metrics.now", "metrics.kept"];
    let late = Reading::Restored(names.map(|name| restored(name, json!({"x": 7}), 20)).into());
    bench.handle.publish_own(vec![end("metrics.now"), late]).await.unwrap();
    assert_eq!(names.map(is_there), [false, false, false, true]);
}

/// Restores `metrics.kept` after the ends of `count` channels. Returns whether it exists then.
fn is_restored_after_ends(count: usize) -> bool {
    let mut decider = Decider::new(Clock::system(), AggregatorConfig::default());
    for n in 0..count {
        let channel = Channel::parse(&format!("metrics.c{n}")).unwrap();
        let push = vec![Reading::value(channel.clone(), Map::new()), Reading::End { channel }];
        decider.decide_all([(Origin::Pushed, push)]);
    }
    let late = Reading::Restored(vec![restored("metrics.kept", json!({"x": 7}), 20)]);
    !decider.decide_all([(Origin::Internal, vec![late])]).changes.is_empty()
}

#[test]
fn with_too_many_ends_to_remember_nothing_is_restored() {
    assert_eq!([10_000, 10_001].map(is_restored_after_ends), [true, false]);
}

#[test]
fn the_next_leader_does_not_bring_ended_channels_back() {
    let (mut writer, log) = Log::create(LogConfig::default());
    let ended = Channel::parse("metrics.ended").unwrap();
    writer.append(vec![Change::state(ended.clone(), "{}".into())], Timestamp::now());
    writer.append(vec![Change::end(ended, Gone::Deleted)], Timestamp::now());
    let mut decider = Decider::take_over(Clock::system(), AggregatorConfig::default(), &log, std::iter::empty());
    let late = ["metrics.ended", "metrics.kept"].map(|name| restored(name, json!({"x": 7}), 20));
    let decided = decider.decide_all([(Origin::Internal, vec![Reading::Restored(late.into())])]);
    let names: Vec<_> = decided.changes.iter().map(|change| change.channel.as_str()).collect();
    assert_eq!(names, ["metrics.kept"]);
}

#[test]
fn values_older_than_the_time_to_live_of_channels_are_not_restored() {
    let now = Timestamp::from_second(1_000).unwrap();
    let config = limited(Limits { channel_ttl: Span::from_secs(60), ..Limits::default() });
    let mut decider = Decider::new(Clock::from_fn(move || now), config);
    let values = [("metrics.old", 939), ("metrics.limit", 940), ("metrics.new", 1_001)];
    let values = values.map(|(name, second)| restored(name, json!({"x": 7}), second));
    let decided = decider.decide_all([(Origin::Internal, vec![Reading::Restored(values.into())])]);
    let names: Vec<_> = decided.restored.iter().map(|(channel, _)| channel.as_str()).collect();
    assert_eq!(names, ["metrics.limit", "metrics.new"]);
}

#[tokio::test(start_paused = true)]
async fn a_series_without_samples_leaves_the_value_and_the_other_fields_stay() {
    let config = limited(Limits { channel_ttl: Span::from_secs(60), ..Limits::default() });
    let bench = sampling(NOON, config);
    for region in ["eu", "us"] {
        bench.push(labelled("shop.load", "gauge", 1, json!({"region": region}))).await.0.unwrap();
    }
    bench.pass(30_000).await;
    bench.push(labelled("shop.load", "gauge", 2, json!({"region": "us"}))).await.0.unwrap();
    let names = || {
        let Value::Object(value) = bench.data("metrics.shop") else { panic!() };
        value.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    bench.pass(29_900).await;
    let [all, eu, us] = ["load", "load{region=\"eu\"}", "load{region=\"us\"}"];
    assert_eq!(names(), [all, eu, us]);
    bench.pass(200).await;
    assert_eq!(names(), [all, us], "at once, although nobody writes");
}

#[tokio::test(start_paused = true)]
async fn after_a_takeover_channels_without_writes_end_and_built_in_ones_stay() {
    let (mut writer, log) = Log::create(LogConfig::default());
    let states = ["metrics.a", "metrics.api"].map(|name| Change::state(Channel::parse(name).unwrap(), "{}".into()));
    writer.append(states.into(), Timestamp::now());
    let config = limited(Limits { channel_ttl: Span::from_secs(60), ..Limits::default() });
    let mut decider = Decider::take_over(Clock::system(), config, &log, std::iter::empty());
    let mut ended_after = async |ms: u64| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let changes = decider.decide_all([]).changes;
        changes.into_iter().map(|change| (change.channel.to_string(), change.gone)).collect::<Vec<_>>()
    };
    assert_eq!(ended_after(59_900).await, []);
    assert_eq!(ended_after(200).await, [("metrics.a".to_owned(), Some(Gone::Expired))]);
}

fn with_ttl(reading: Reading, seconds: u64) -> Reading {
    let own = Some(seconds * 1_000);
    match reading {
        Reading::Value { channel, data, merge, .. } => Reading::Value { channel, data, merge, ttl: own },
        Reading::Event { channel, event, data, .. } => Reading::Event { channel, event, data, ttl: own },
        Reading::Sample(sample) => Reading::Sample(Box::new(Sample { ttl: own, ..*sample })),
        other => other,
    }
}

impl Bench {
    fn has(&self, channel: &str) -> bool {
        self.log.kind(&Channel::parse(channel).unwrap()).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn series_end_by_their_own_time_to_live_and_the_channel_with_the_last_one() {
    let bench = sampling(NOON, AggregatorConfig::default());
    let job = |n: u32| labelled("jobs.progress", "gauge", n, json!({"job": n.to_string()}));
    bench.push(with_ttl(job(1), 30)).await.0.unwrap();
    bench.push(with_ttl(job(2), 60)).await.0.unwrap();
    bench.pass(20_000).await;
    bench.push(with_ttl(job(3), 10)).await.0.unwrap();
    let names = || {
        let Value::Object(value) = bench.data("metrics.jobs") else { panic!() };
        value.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let [all, one, two, three] = ["progress", "progress{job=\"1\"}", "progress{job=\"2\"}", "progress{job=\"3\"}"];
    assert_eq!(names(), [all, one, two, three]);
    bench.pass(11_000).await;
    assert_eq!(names(), [all, two], "the channel outlives the time of its last sample");
    bench.pass(28_500).await;
    assert!(bench.has("metrics.jobs"));
    bench.pass(1_000).await;
    let end = bench.log.end_of(&Channel::parse("metrics.jobs").unwrap()).unwrap();
    assert_eq!(end.gone, Some(Gone::Expired));
    // A plain field keeps the channel, which then has the time to live of its own.
    bench.push(with_ttl(job(4), 5)).await.0.unwrap();
    bench.push(with_ttl(merge("metrics.jobs", json!({"queue": 3})), 20)).await.0.unwrap();
    bench.pass(6_000).await;
    assert_eq!(bench.data("metrics.jobs"), json!({"queue": 3}));
    bench.pass(15_000).await;
    assert!(!bench.has("metrics.jobs"));
}

#[tokio::test(start_paused = true)]
async fn channels_of_a_pattern_and_event_channels_end_by_their_time_to_live() {
    let channel_ttls = ChannelTtls::parse(&["metrics.ci.*=10s", "metrics.ci.slow=0"]).unwrap();
    let limits = Limits { channel_ttl: Span::from_secs(60), ..Limits::default() };
    let bench = sampling(NOON, AggregatorConfig { limits, channel_ttls: channel_ttls.into(), ..Default::default() });
    for name in ["metrics.ci.a", "metrics.ci.slow", "metrics.other"] {
        bench.push(value(name, json!({"n": 1}))).await.0.unwrap();
    }
    bench.push(with_ttl(value("metrics.ci.own", json!({})), 30)).await.0.unwrap();
    bench.push(with_ttl(event("deploys", "released"), 20)).await.0.unwrap();
    bench.push(event("audits", "done")).await.0.unwrap();
    let all = ["metrics.ci.a", "deploys", "metrics.ci.own", "metrics.other", "audits", "metrics.ci.slow"];
    let left = || all.iter().filter(|name| bench.has(name)).count();
    for (ms, expected) in [(9_900, 6), (600, 5), (9_000, 5)] {
        bench.pass(ms).await;
        assert_eq!(left(), expected);
    }
    bench.push(event("deploys", "released")).await.0.unwrap();
    for (ms, expected) in [(10_000, 5), (1_000, 4), (8_000, 4), (2_000, 3), (20_000, 1), (1_000_000, 1)] {
        bench.pass(ms).await;
        assert_eq!(left(), expected, "a later event keeps the time to live of the channel");
    }
    assert!(bench.has("metrics.ci.slow"));
}

/// Deadlines of the former leader hold, and the time without a leader does not count.
#[tokio::test(start_paused = true)]
async fn a_takeover_keeps_deadlines() {
    let (mut writer, log) = Log::create(LogConfig::default());
    let clock = clock_from(NOON);
    let take_over = |dumps: Vec<(String, String)>| {
        let dumps: Vec<_> = dumps.iter().map(|(_, dump)| serde_json::from_str(dump).unwrap()).collect();
        Decider::take_over(clock.clone(), AggregatorConfig::default(), &log, dumps.into_iter())
    };
    let mut first = take_over(Vec::new());
    let mut write = async |decider: &mut Decider, readings: Vec<Reading>, pause: u64| {
        let changes = decider.decide_all([(Origin::Pushed, readings)]).changes;
        writer.append(changes, clock.now());
        tokio::time::sleep(Duration::from_secs(pause)).await;
    };
    let ended = |decided: Decided| {
        let ends = decided.changes.into_iter().filter(|change| change.gone.is_some());
        ends.map(|change| change.channel.to_string()).collect::<Vec<_>>()
    };
    let old = [value("metrics.a", json!({"n": 1})), sample("b.x", "gauge", 1)];
    write(&mut first, old.into_iter().map(|reading| with_ttl(reading, 60)).collect(), 40).await;
    write(&mut first, vec![with_ttl(value("metrics.c", json!({"n": 1})), 58)], 18).await;
    write(&mut first, vec![with_ttl(value("metrics.d", json!({"n": 1})), 60)], 1).await;
    // A channel that lost its time to live stays.
    write(&mut first, vec![with_ttl(value("metrics.e", json!({})), 1), value("metrics.e", json!({"n": 1}))], 0).await;
    let dumps = first.dump(true);
    assert!(first.dump(false).is_empty());
    tokio::time::sleep(Duration::from_secs(300)).await;
    let mut next = take_over(dumps);
    assert_eq!(ended(next.decide_all([])), [""; 0]);
    let mut ends = Vec::new();
    for second in 0..70 {
        ends.extend(ended(next.decide_all([])).into_iter().map(|channel| (second, channel)));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ends.sort();
    let expected = [(5, "metrics.a"), (5, "metrics.b"), (39, "metrics.c"), (59, "metrics.d")];
    assert_eq!(ends, expected.map(|(second, channel)| (second, channel.to_owned())));
}

#[test]
fn a_time_to_live_that_was_removed_is_removed_from_what_is_saved() {
    let mut decider = Decider::new(Clock::system(), AggregatorConfig::default());
    let mut dump_after = |reading: Reading| {
        decider.decide_all([(Origin::Pushed, vec![reading])]);
        decider.dump(false)
    };
    let saved = dump_after(with_ttl(value("metrics.a", json!({})), 60));
    assert_eq!(saved, [("metrics.a".to_owned(), r#"{"channel":"metrics.a","ttl":60000}"#.to_owned())]);
    assert_eq!(dump_after(value("metrics.a", json!({}))), [("metrics.a".to_owned(), String::new())]);
    assert_eq!(dump_after(value("metrics.a", json!({"n": 1}))), []);
}
