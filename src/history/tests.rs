//! The recorder against a store that stands still, fails, and comes back. Time is tokio's, and stands still, too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
use crate::{
    core::{
        aggregator::{Aggregator, AggregatorConfig, AggregatorHandle},
        channel::Channel,
        clock::Clock,
        log::{Log, LogConfig},
        reading::{Origin, Reading},
    },
    counters::Counters,
    service::{ServiceError, StoreError},
};

/// Keeps points in a map, as long as nobody stops it.
#[derive(Default)]
struct Fake {
    points: Mutex<BTreeMap<(SeriesId, i64), f64>>,
    fails: AtomicBool,
    stands: watch::Sender<bool>,
}

impl Fake {
    /// What `work` comes to, once the store moves.
    fn answer<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> Answer<T> {
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

struct Shared(Arc<Fake>);

impl HistoryStore for Shared {
    fn series(&self, _: &str, names: Vec<SeriesName>, _: usize) -> Answer<Vec<Option<SeriesId>>> {
        if names.iter().any(|name| name.field.contains("odd")) {
            return async { Err(StoreError::Refused.into()) }.boxed();
        }
        // One series is enough.
        self.0.answer(move |_| names.iter().map(|_| Some(SeriesId(1))).collect())
    }

    fn write(&self, _: &str, points: Vec<Point>, _: &Calendar) -> Answer<()> {
        if points.iter().any(|point| point.value < 0.0) {
            return async { Err(StoreError::Refused.into()) }.boxed();
        }
        self.0.answer(move |fake| {
            fake.points.lock().extend(points.into_iter().map(|point| ((point.series, point.at), point.value)));
        })
    }

    fn read(&self, _: &str, query: Query) -> Answer<Vec<Track>> {
        self.0.answer(move |fake| {
            let points = fake.points.lock();
            let rows: Vec<Bucket> = points.iter().map(|((_, at), value)| Bucket::of_point(*at, *value)).collect();
            let rows = rows.into_iter().filter(|row| (query.from..query.ends[0]).contains(&row.at)).collect();
            vec![Track { field: "n".into(), rows, points_from: query.from, cut: false }]
        })
    }

    fn newest(&self, _: &str, _: usize) -> Answer<Vec<Newest>> {
        self.0.answer(|_| Vec::new())
    }

    fn roll_up(&self, _: &str, _: RollUp) -> Answer<Progress> {
        self.0.answer(|_| Progress::default())
    }

    fn forget(&self, _: &str, _: Forget) -> Answer<Progress> {
        self.0.answer(|_| Progress::default())
    }
}

struct Bench {
    fake: Arc<Fake>,
    history: History,
    handle: AggregatorHandle,
    log: Arc<Log>,
}

fn bench(buffer: usize) -> Bench {
    bench_with(HistoryConfig { buffer, ..HistoryConfig::default() })
}

fn bench_with(config: HistoryConfig) -> Bench {
    let begun = Instant::now();
    let clock = Clock::from_fn(move || {
        Timestamp::from_millisecond(1_790_000_000_000 + begun.elapsed().as_millis() as i64).unwrap()
    });
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, clock.clone(), AggregatorConfig::default());
    let fake = Arc::<Fake>::default();
    let store = Arc::new(Shared(Arc::clone(&fake)));
    let (history, recorder) =
        History::new("shop", config, store, Arc::clone(&log), clock, TimeZone::UTC, Arc::<Counters>::default());
    tokio::spawn(aggregator.run());
    tokio::spawn(recorder.run(handle.clone()));
    Bench { fake, history, handle, log }
}

fn channel() -> Channel {
    Channel::parse("metrics.shop").unwrap()
}

impl Bench {
    /// A value every second.
    async fn push(&self, numbers: std::ops::RangeInclusive<u32>) {
        for n in numbers {
            let data = Map::from_iter([("n".to_owned(), json!(n))]);
            self.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn ask(&self) -> Result<Chapter, HistoryError> {
        let asked = Asked { from: Some("-1h"), interval: Some("raw"), ..Asked::default() };
        let now = Timestamp::from_millisecond(1_790_000_000_000 + 3_500_000).unwrap();
        self.history.ask(Question::read(channel(), &asked, now).unwrap()).await
    }

    /// What was told on `system`.
    fn told(&self) -> Vec<(String, Value)> {
        let found = self.log.events_after(0, self.log.head(), usize::MAX, |channel, _| channel.as_str() == "system");
        let told = found.events.iter().map(|event| {
            let data = serde_json::from_slice(&event.data).unwrap();
            (event.event.as_ref().unwrap().as_str().to_owned(), data)
        });
        told.collect()
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<f64> {
    range.map(f64::from).collect()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stands_still_for_a_minute_loses_nothing_that_fits() {
    let bench = bench(1_000);
    bench.push(1..=5).await;
    bench.fake.stands.send_replace(true);
    bench.push(6..=70).await;
    assert_eq!(bench.told(), [("degraded".into(), json!({"reason": "history"}))], "once");
    let before = Instant::now();
    assert_eq!(bench.ask().await, Err(ServiceError::TimedOut.into()));
    assert!(before.elapsed() <= Duration::from_secs(6), "a question is not kept waiting");
    bench.fake.stands.send_replace(false);
    bench.push(71..=90).await;
    bench.history.finish().await;
    assert_eq!(bench.fake.values(), numbers(1..=90));
    let recovered = ("recovered".into(), json!({"reason": "history", "dropped": 0}));
    assert_eq!(bench.told()[1..], [recovered], "once");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_dropped_from_the_old_end_and_said() {
    let bench = bench(20);
    bench.fake.fails.store(true, Ordering::SeqCst);
    bench.push(1..=60).await;
    assert_eq!(bench.history.waiting(), 20);
    bench.fake.fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.fake.values(), numbers(41..=60));
    let told = bench.told();
    assert_eq!(told.len(), 2, "{told:?}");
    // What was lost before anybody noticed the trouble would have fitted.
    assert_eq!(told[1], ("recovered".into(), json!({"reason": "history", "dropped": 40})));
}

#[tokio::test(start_paused = true)]
async fn too_many_points_a_second_are_dropped_and_said_until_a_minute_has_passed_without() {
    let bench = bench_with(HistoryConfig { max_points_per_second: 1, ..HistoryConfig::default() });
    for n in 0..30 {
        let data = Map::from_iter(["a", "b", "c"].map(|field| (field.to_owned(), json!(n))));
        bench.handle.publish(Origin::Pushed, vec![Reading::value(channel(), data)], 0).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let limited = json!({"reason": "history_limit", "setting": "history.max_points_per_second"});
    assert_eq!(bench.told(), [("degraded".into(), limited)], "once");
    bench.push(1..=80).await;
    let told = bench.told();
    let (event, data) = &told[1];
    let dropped = data["dropped"].as_u64().unwrap();
    assert!(told.len() == 2 && event == "recovered" && (50..=70).contains(&dropped), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_store_yet_is_told_all_the_same() {
    let bench = bench(1_000);
    for n in 1..=12 {
        bench.push(n..=n).await;
        let chapter = bench.ask().await.unwrap();
        let told: Vec<f64> = chapter.fields[0].1.iter().map(|point| point.last).collect();
        assert_eq!(told, numbers(1..=n), "each once, wherever it is");
    }
    assert!(!bench.fake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_take_is_lost_alone() {
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
    assert_eq!((bench.history.waiting(), bench.told()), (0, vec![]), "the store works");
}
