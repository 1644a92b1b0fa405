//! Tests of the recorder with a store that hangs, fails and recovers. The clock is tokio's, which is paused.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::*;
use crate::service::{ServiceError, StoreError};
use tricast_core::{
    aggregator::{Aggregator, AggregatorConfig, AggregatorHandle, Batches},
    channel::Channel,
    clock::Clock,
    counters::Counters,
    log::{Change, Log, LogConfig, LogWriter, Origins, assign_offsets},
    reading::{Origin, Reading},
    settings::Size,
};

/// Store that keeps points in a map, and can be stopped.
#[derive(Default)]
struct Fake {
    points: Mutex<BTreeMap<(SeriesId, i64), f64>>,
    ends: Mutex<Vec<(Channel, i64)>>,
    fails: AtomicBool,
    stands: watch::Sender<bool>,
    /// Whether other processes write it.
    is_shared: AtomicBool,
    bytes: Mutex<Option<u64>>,
    /// Roll-ups: time, level, and the time up to which they roll up.
    rolled: Mutex<Vec<(i64, Level, i64)>>,
    /// Times before which rows were deleted, by level, one entry per step.
    forgotten: Mutex<Vec<[i64; 4]>>,
    /// Number of series that each step of deleting removes.
    removes: AtomicUsize,
    /// Number of queries for ids of series.
    asked: AtomicUsize,
}

impl Fake {
    /// Returns the result of `work` once the store is not stopped.
    fn answer<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> StoreFuture<T> {
        let this = Arc::clone(self);
        async move {
            let mut stands = this.stands.subscribe();
            drop(stands.wait_for(|stands| !*stands).await);
            if this.fails.load(Ordering::SeqCst) { Err(StoreError::Unavailable.into()) } else { Ok(work(&this)) }
        }
        .boxed()
    }

    fn values(&self) -> Vec<f64> {
        self.points.lock().values().copied().collect()
    }
}

struct Shared(Arc<Fake>, Clock);

impl HistoryStore for Shared {
    fn is_shared(&self) -> bool {
        self.0.is_shared.load(Ordering::SeqCst)
    }

    fn bytes(&self) -> StoreFuture<Option<u64>> {
        self.0.answer(|fake| *fake.bytes.lock())
    }

    fn series(&self, _: &str, names: Vec<SeriesName>, _: SeriesLimits) -> StoreFuture<Vec<Option<SeriesId>>> {
        if names.iter().any(|name| name.field.contains("odd")) {
            return async { Err(StoreError::Refused.into()) }.boxed();
        }
        // One series is enough.
        self.0.answer(move |fake| {
            fake.asked.fetch_add(1, Ordering::SeqCst);
            names.iter().map(|_| Some(SeriesId(1))).collect()
        })
    }

    fn write(&self, _: &str, points: Vec<Point>, _: &Calendar) -> StoreFuture<()> {
        if points.iter().any(|point| point.value < 0.0) {
            return async { Err(StoreError::Refused.into()) }.boxed();
        }
        self.0.answer(move |fake| {
            fake.points.lock().extend(points.into_iter().map(|point| ((point.series, point.at), point.value)));
        })
    }

    fn read(&self, _: &str, query: Query) -> StoreFuture<Vec<Track>> {
        self.0.answer(move |fake| {
            let points = fake.points.lock();
            if points.is_empty() {
                return Vec::new();
            }
            let rows: Vec<Bucket> = points.iter().map(|((_, at), value)| Bucket::of_point(*at, *value)).collect();
            let rows = rows.into_iter().filter(|row| (query.from..query.ends[0]).contains(&row.at)).collect();
            vec![Track { field: "n".into(), rows, points_from: query.from, cut: false }]
        })
    }

    fn end(&self, _: &str, ends: Vec<(Channel, i64)>) -> StoreFuture<()> {
        self.0.answer(move |fake| fake.ends.lock().extend(ends))
    }

    fn newest(&self, _: &str, _: usize) -> StoreFuture<Vec<Newest>> {
        self.0.answer(|_| Vec::new())
    }

    fn roll_up(&self, _: &str, step: RollUp) -> StoreFuture<Progress> {
        let now = self.1.now().as_millisecond();
        self.0.answer(move |fake| {
            fake.rolled.lock().push((now, step.level, step.through));
            Progress::default()
        })
    }

    fn forget(&self, _: &str, step: Forget) -> StoreFuture<Progress> {
        self.0.answer(move |fake| {
            fake.forgotten.lock().push(step.before);
            Progress { gone: fake.removes.load(Ordering::SeqCst), ..Progress::default() }
        })
    }
}

struct Bench {
    fake: Arc<Fake>,
    history: History,
    handle: AggregatorHandle,
    log: Arc<Log>,
    counters: Arc<Counters>,
}

fn bench(buffer: usize) -> Bench {
    bench_with(HistoryConfig { buffer, ..HistoryConfig::default() })
}

/// Start of a test, in milliseconds since 1970: 20 s after a full minute.
const START: i64 = 1_790_000_000_000;

/// Clock that follows tokio's.
fn clock() -> Clock {
    let start = Instant::now();
    Clock::from_fn(move || Timestamp::from_millisecond(START + start.elapsed().as_millis() as i64).unwrap())
}

fn bench_with(config: HistoryConfig) -> Bench {
    let clock = clock();
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, clock.clone(), AggregatorConfig::default());
    tokio::spawn(aggregator.run());
    Bench::new(config, Arc::default(), clock, handle, log)
}

fn channel() -> Channel {
    Channel::parse("metrics.shop").unwrap()
}

impl Bench {
    fn new(config: HistoryConfig, fake: Arc<Fake>, clock: Clock, handle: AggregatorHandle, log: Arc<Log>) -> Self {
        let store = Arc::new(Shared(Arc::clone(&fake), clock.clone()));
        let counters = Arc::<Counters>::default();
        let (history, recorder) =
            History::new("shop", config, store, Arc::clone(&log), clock, TimeZone::UTC, Arc::clone(&counters));
        tokio::spawn(recorder.run(handle.clone()));
        Self { fake, history, handle, log, counters }
    }

    /// Publishes a value every second.
    async fn push(&self, numbers: std::ops::RangeInclusive<u32>) {
        for n in numbers {
            let data = Map::from_iter([("n".to_owned(), json!(n))]);
            self.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn ask(&self) -> Result<QueryResult, HistoryError> {
        let asked = Asked { from: Some("-1h"), interval: Some("raw"), ..Asked::default() };
        let now = Timestamp::from_millisecond(1_790_000_000_000 + 3_500_000).unwrap();
        self.history.ask(Question::read(channel(), &asked, now).unwrap()).await
    }

    /// Returns the events on `system`.
    fn system_events(&self) -> Vec<(String, Value)> {
        let found = self.log.events_after(0, self.log.head(), usize::MAX, |channel, _| channel.as_str() == "system");
        let events = found.events.iter().map(|event| {
            let data = serde_json::from_slice(&event.data).unwrap();
            (event.event.as_ref().unwrap().as_str().to_owned(), data)
        });
        events.collect()
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<f64> {
    range.map(f64::from).collect()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_for_a_minute_loses_no_point_within_the_buffer() {
    let bench = bench(1_000);
    bench.push(1..=5).await;
    bench.fake.stands.send_replace(true);
    bench.push(6..=70).await;
    assert_eq!(bench.system_events(), [("degraded".into(), json!({"reason": "history"}))], "once");
    let before = Instant::now();
    assert_eq!(bench.ask().await, Err(ServiceError::TimedOut.into()));
    assert!(before.elapsed() <= Duration::from_secs(6), "a query does not wait");
    bench.fake.stands.send_replace(false);
    bench.push(71..=90).await;
    bench.history.finish().await;
    assert_eq!(bench.fake.values(), numbers(1..=90));
    let recovered = ("recovered".into(), json!({"reason": "history", "dropped": 0}));
    assert_eq!(bench.system_events()[1..], [recovered], "once");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_points_beyond_the_buffer_are_dropped_and_reported() {
    let bench = bench(20);
    bench.fake.fails.store(true, Ordering::SeqCst);
    bench.push(1..=60).await;
    assert_eq!(bench.history.waiting(), 20);
    bench.fake.fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.fake.values(), numbers(41..=60));
    let events = bench.system_events();
    assert_eq!(events.len(), 2, "{events:?}");
    // Points that were lost before the outage was noticed would have fitted.
    assert_eq!(events[1], ("recovered".into(), json!({"reason": "history", "dropped": 40})));
    let counted = &bench.counters.history;
    assert_eq!((counted.written.get(), counted.dropped.get()), (20, 40));
    bench.fake.fails.store(true, Ordering::SeqCst);
    bench.push(61..=90).await;
    bench.fake.fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(20)).await;
    let again = ("recovered".into(), json!({"reason": "history", "dropped": 10}));
    assert_eq!(
        (bench.system_events().pop(), counted.dropped.get()),
        (Some(again), 50),
        "each outage reports its own losses"
    );
}

#[tokio::test(start_paused = true)]
async fn values_pushed_just_before_the_end_are_stored() {
    let bench = bench(1_000);
    let data = Map::from_iter([("n".to_owned(), json!(7))]);
    bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
    let before = Instant::now();
    bench.history.finish().await;
    assert_eq!((bench.fake.values(), before.elapsed()), (vec![7.0], Duration::ZERO), "without waiting for anything");
}

#[tokio::test(start_paused = true)]
async fn each_minute_is_rolled_up_once_soon_after_it_is_over() {
    let bench = bench(1_000);
    bench.push(1..=200).await;
    let rolled = bench.fake.rolled.lock().clone();
    let of = |level| rolled.iter().filter(move |(_, of, _)| *of == level);
    let minutes: Vec<_> = of(Level::Minute).map(|(_, _, through)| (*through - START) / 1_000).collect();
    assert_eq!(minutes, [-20, 40, 100, 160]);
    for (at, _, through) in of(Level::Minute).skip(1) {
        let late = (at - through) / 1_000;
        assert!((2..=12).contains(&late), "{late} s after its end, for late points and the rhythm of the recorder");
    }
    assert_eq!((of(Level::Hour).count(), of(Level::Day).count()), (1, 1), "of the time before");
    let lag = bench.history.lag().as_secs();
    assert!((2..=72).contains(&lag), "{lag} s");
}

#[tokio::test(start_paused = true)]
async fn old_points_are_deleted_every_ten_minutes() {
    let bench = bench(1_000);
    sleep(Duration::from_secs(1_500)).await;
    let forgotten = bench.fake.forgotten.lock().clone();
    assert_eq!(forgotten.len(), 3);
    let hour = 3_600_000;
    assert_eq!(forgotten[0][0], START / hour * hour - 48 * hour, "points, after two days");
    assert_eq!(forgotten[0][3], i64::MIN, "days are kept");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_too_large_deletes_earlier_until_there_is_room() {
    let bench = bench_with(HistoryConfig { max_bytes: Size(100), ..HistoryConfig::default() });
    let kept = HistoryConfig::default().raw.0;
    *bench.fake.bytes.lock() = Some(101);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((bench.history.bytes(), bench.history.points_kept()), (101, kept / 4 * 3));
    sleep(Duration::from_secs(600)).await;
    let forgotten = bench.fake.forgotten.lock().clone();
    assert!((9..=11).contains(&forgotten.len()), "every minute: {}", forgotten.len());
    assert!(forgotten.is_sorted_by_key(|before| before[0]) && bench.history.points_kept() < kept / 2);
    *bench.fake.bytes.lock() = Some(50);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.history.points_kept(), kept);
}

#[tokio::test(start_paused = true)]
async fn fields_beyond_the_limit_of_series_are_counted() {
    let bench = bench_with(HistoryConfig { max_series: 1, ..HistoryConfig::default() });
    for n in 1..=3 {
        let data = Map::from_iter(["n", "x", "y"].map(|field| (field.to_owned(), json!(n))));
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!((bench.history.series(), bench.counters.history.refused.get()), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn one_channel_with_many_fields_leaves_room_for_the_others() {
    let bench = bench_with(HistoryConfig { max_series: 10, max_channel_series: 4, ..HistoryConfig::default() });
    let data = |fields: u32| Map::from_iter((0..fields).map(|field| (format!("f{field}"), json!(field))));
    let other = Channel::parse("metrics.other").unwrap();
    for readings in [Reading::value(channel(), data(12)), Reading::value(other, data(4))] {
        bench.handle.publish(Origin::Pushed, vec![readings], 0).await.unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!((bench.history.series(), bench.counters.history.refused.get()), (8, 8));
}

/// Node of a cluster, whose log the test writes.
struct Member {
    bench: Bench,
    writer: LogWriter,
    clock: Clock,
    leads: watch::Sender<bool>,
    // No leader processes its batches.
    _batches: Batches,
}

impl Member {
    fn new(leads: bool) -> Self {
        let leads = watch::Sender::new(leads);
        let (handle, batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), leads.subscribe());
        let (writer, log) = Log::create(LogConfig::default());
        let fake = Arc::<Fake>::default();
        fake.is_shared.store(true, Ordering::SeqCst);
        let clock = clock();
        let bench = Bench::new(HistoryConfig::default(), fake, clock.clone(), handle, log);
        Self { bench, writer, clock, leads, _batches: batches }
    }

    fn change(n: u32) -> Change {
        Change::state(channel(), format!(r#"{{"n":{n}}}"#).into())
    }

    /// Writes a value every second.
    async fn write(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        for n in numbers {
            self.writer.append(vec![Self::change(n)], self.clock.now());
            sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_leader_writes_and_its_successor_has_the_points_that_may_be_lost() {
    let mut member = Member::new(false);
    member.write(1..=200).await;
    assert_eq!(member.bench.fake.values(), [] as [f64; 0]);
    let waiting = member.bench.history.waiting();
    assert!((60..=66).contains(&waiting), "a minute of {waiting} points");
    member.leads.send_replace(true);
    member.write(201..=210).await;
    member.bench.history.finish().await;
    let values = member.bench.fake.values();
    assert_eq!(values, numbers(values[0] as u32..=210));
    assert!(values[0] <= 145.0, "from {} on", values[0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_lead_ends_without_writing() {
    let mut member = Member::new(false);
    member.write(1..=20).await;
    member.bench.history.finish().await;
    assert_eq!((member.bench.fake.values(), member.bench.history.waiting()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn values_that_were_restored_are_not_recorded_again() {
    let mut member = Member::new(true);
    let at = Timestamp::from_millisecond(START - 3_600_000).unwrap();
    let chunks = assign_offsets(member.writer.log().head(), vec![Member::change(1)]);
    member.writer.apply_from(chunks, at, Origins { restored: &[(channel(), at)], parts: &[] });
    sleep(Duration::from_secs(10)).await;
    member.write(2..=3).await;
    member.bench.history.finish().await;
    assert_eq!(member.bench.fake.values(), [2.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn points_beyond_the_rate_are_dropped_and_reported_until_a_calm_minute() {
    let bench = bench_with(HistoryConfig { max_points_per_second: 1, ..HistoryConfig::default() });
    for n in 0..30 {
        let data = Map::from_iter(["a", "b", "c"].map(|field| (field.to_owned(), json!(n))));
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let limited = json!({"reason": "history_limit", "setting": "history.max_points_per_second"});
    assert_eq!(bench.system_events(), [("degraded".into(), limited)], "once");
    bench.push(1..=45).await;
    assert_eq!(bench.system_events().len(), 1, "it has been quiet for less than a minute");
    bench.push(46..=80).await;
    let events = bench.system_events();
    let (event, data) = &events[1];
    let dropped = data["dropped"].as_u64().unwrap();
    assert!(events.len() == 2 && event == "recovered" && (50..=70).contains(&dropped), "{events:?}");
    assert_eq!(bench.counters.history.beyond.get(), dropped);
    for n in 0..10 {
        let data = Map::from_iter(["a", "b", "c"].map(|field| (field.to_owned(), json!(n))));
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    bench.push(81..=160).await;
    let last = bench.system_events().pop().unwrap();
    let again = last.1["dropped"].as_u64().unwrap();
    assert!(last.0 == "recovered" && (10..=30).contains(&again), "only the points dropped since: {last:?}");
}

#[tokio::test(start_paused = true)]
async fn points_that_are_not_stored_yet_are_returned() {
    let bench = bench(1_000);
    for n in 1..=12 {
        bench.push(n..=n).await;
        let result = bench.ask().await.unwrap();
        let events: Vec<f64> = result.fields[0].1.iter().map(|point| point.last).collect();
        assert_eq!(events, numbers(1..=n), "each point once, stored or not");
    }
    assert!(!bench.fake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_the_points_that_the_store_refuses_are_lost() {
    let bench = bench(1_000);
    for n in 1..=30 {
        // A series whose name is refused, and now and then a point that is.
        let number = if n % 10 == 0 { -1.0 } else { f64::from(n) };
        let data = Map::from_iter([("n".to_owned(), json!(number)), (format!("odd{n}"), json!(n))]);
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    bench.history.finish().await;
    let kept: Vec<_> = numbers(1..=30).into_iter().filter(|n| n % 10.0 != 0.0).collect();
    assert_eq!(bench.fake.values(), kept);
    assert_eq!((bench.history.waiting(), bench.system_events()), (0, vec![]), "the store works");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_stored_at_once_and_after_the_points_before_it() {
    let bench = bench(1_000);
    let data = Map::from_iter([("n".to_owned(), json!(7))]);
    bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
    let end = async || {
        let end = vec![Reading::End { channel: channel() }];
        bench.handle.publish(Origin::Pushed, end, 0).await.unwrap().position.offset
    };
    let before = Instant::now();
    assert!(bench.history.has_stored_ends(end().await).await);
    assert_eq!((bench.fake.values(), bench.fake.ends.lock().len()), (vec![7.0], 1));
    assert!(before.elapsed() <= Duration::from_millis(1), "{:?}: without waiting for anything", before.elapsed());

    bench.fake.stands.send_replace(true);
    bench.push(1..=1).await;
    let before = Instant::now();
    assert!(!bench.history.has_stored_ends(end().await).await);
    assert_eq!((before.elapsed(), bench.fake.ends.lock().len()), (Duration::from_secs(2), 1));
    bench.fake.stands.send_replace(false);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.fake.ends.lock().len(), 2, "it is stored later");
}

#[tokio::test(start_paused = true)]
async fn without_history_no_end_waits_for_the_store() {
    let bench = bench_with(HistoryConfig { enabled: false, ..HistoryConfig::default() });
    bench.push(1..=1).await;
    assert!(bench.history.has_stored_ends(bench.log.head()).await);
}

#[tokio::test(start_paused = true)]
async fn ids_are_queried_again_after_series_were_removed() {
    let bench = bench(1_000);
    let asked = || bench.fake.asked.load(Ordering::SeqCst);
    bench.push(1..=650).await;
    assert_eq!(asked(), 1, "nothing was removed");
    bench.fake.removes.store(1, Ordering::SeqCst);
    bench.push(651..=1_250).await;
    assert_eq!(asked(), 2, "otherwise points of a removed series would be left out");
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_series_is_released_an_hour_after_its_last_point() {
    let bench = bench(1_000);
    bench.push(1..=2).await;
    sleep(Duration::from_secs(3_500)).await;
    assert_eq!(bench.history.series(), 1);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(bench.history.series(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_rate_that_is_reached_again_within_a_minute_is_reported_once() {
    let bench = bench_with(HistoryConfig { max_points_per_second: 1, ..HistoryConfig::default() });
    for n in 0..6 {
        let data = Map::from_iter((0..12).map(|field| (format!("f{field}"), json!(n))));
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(40)).await;
    }
    assert_eq!(bench.system_events().len(), 1);
}

/// Asks for the last twelve minutes before [`START`].
async fn ask_auto(bench: &Bench, channel: &str) -> Result<QueryResult, HistoryError> {
    let asked = Asked { from: Some("-12m"), ..Asked::default() };
    let now = Timestamp::from_millisecond(START).unwrap();
    bench.history.ask(Question::read(Channel::parse(channel).unwrap(), &asked, now).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn auto_returns_points_as_long_as_they_are_few() {
    let bench = bench(100);
    for (count, level) in [(600, Level::Raw), (601, Level::Minute)] {
        bench.fake.points.lock().extend((1..=count).map(|n| ((SeriesId(1), START - n * 1_000), 1.0)));
        let result = ask_auto(&bench, "metrics.shop").await.unwrap();
        assert_eq!((result.level, result.fields.len()), (level, 1));
        assert_eq!(result.fields[0].1.iter().map(|bucket| bucket.count).sum::<u64>(), count as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn channels_without_history_are_refused_by_name() {
    let bench = bench(100);
    for (name, part) in [("metrics", "recorded by its sections"), ("orders", "an event channel")] {
        let refused = ask_auto(&bench, name).await;
        assert!(matches!(&refused, Err(HistoryError::Invalid(text)) if text.contains(part)), "{name}: {refused:?}");
    }
    assert_eq!(ask_auto(&bench, "metrics.shop").await, Err(HistoryError::NotFound("metrics.shop".into())));
    bench.push(1..=1).await;
    assert!(ask_auto(&bench, "metrics.shop").await.is_ok(), "it exists, and has no points at that time");
    let off = bench_with(HistoryConfig { enabled: false, ..HistoryConfig::default() });
    assert_eq!(ask_auto(&off, "metrics.shop").await, Err(HistoryError::Disabled));
}

#[tokio::test(start_paused = true)]
async fn a_channel_with_many_fields_has_to_be_queried_by_field() {
    for (fields, is_allowed) in [(MAX_FIELDS, true), (MAX_FIELDS + 1, false)] {
        let bench = bench(10_000);
        // The store names every series "n".
        let names = (1..fields).map(|n| format!("f{n}")).chain(["n".to_owned()]);
        let data: Map<String, Value> = names.map(|name| (name, json!(1))).collect();
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.history.series(), fields);
        assert_eq!(ask_auto(&bench, "metrics.shop").await.is_ok(), is_allowed, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backfill_ends_where_the_live_values_begin() {
    let bench = bench(100);
    bench.fake.points.lock().extend((1..=60).map(|n| ((SeriesId(1), START - n * 1_000), 1.0)));
    let count = async |span: u64, to: i64| {
        let results = bench.history.backfill(vec![(channel(), Duration::from_secs(span), to)]).await.unwrap();
        results[0].fields.iter().flat_map(|(_, buckets)| buckets).map(|bucket| bucket.count).sum::<u64>()
    };
    assert_eq!(count(30, START).await, 30);
    assert_eq!(count(30, START - 10_000).await, 20, "without the value at its end");
}
