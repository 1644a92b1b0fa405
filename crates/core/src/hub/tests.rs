//! Tests of the wake-ups of readers.

use std::{
    rc::Weak,
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
    time::Duration,
};

use tokio::task::LocalSet;

use super::*;
use crate::{
    channel::{Channel, EventName},
    log::{Change, LogConfig, LogWriter},
    reader::{CatchUp, Reader},
};

/// Waker that counts its calls.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn so_far(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns a reader of one channel, and its number of wake-ups.
fn reader_of(hub: &Rc<Hub>, name: &str, interval: Duration) -> (Reader, Arc<Count>) {
    let (mut reader, woken) = (Reader::open(hub, CatchUp::StatesFirst), Arc::<Count>::default());
    reader.subscribe(Selector::parse(name).unwrap(), interval, None);
    reader.set_waker(&Arc::clone(&woken).into());
    (reader, woken)
}

/// Delivery by the hub, which counts its calls and is able to do all work or not.
struct Direct {
    calls: Cell<usize>,
    does_all: Cell<bool>,
}

impl Direct {
    /// Lets the hub deliver the data of `reader`.
    fn of(reader: &Reader) -> Rc<Self> {
        let direct = Rc::new(Self { calls: Cell::new(0), does_all: Cell::new(true) });
        reader.set_deliver(&direct.weak());
        direct
    }

    fn weak(self: &Rc<Self>) -> Weak<dyn Deliver> {
        let weak: Weak<Self> = Rc::downgrade(self);
        weak
    }
}

impl Deliver for Direct {
    fn prepare(&self, _pass: &Pass) -> Prepared {
        self.calls.set(self.calls.get() + 1);
        Prepared::Write(1)
    }

    fn write(&self) -> bool {
        self.does_all.get()
    }
}

/// Publishes a value of `metrics.a`.
fn publish(writer: &mut LogWriter, n: u32) {
    let data = format!(r#"{{"n":{n}}}"#).into();
    let change = Change::state(Channel::parse("metrics.a").unwrap(), data);
    writer.append(vec![change], jiff::Timestamp::UNIX_EPOCH);
}

/// Runs the hub until it has nothing to do.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn run(test: impl AsyncFnOnce(LogWriter, Rc<Hub>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (writer, log) = Log::create(LogConfig::default());
        let hub = Hub::new(log);
        let (_drain, draining) = watch::channel(false);
        tokio::task::spawn_local(Rc::clone(&hub).run(draining));
        test(writer, hub).await;
    });
}

#[test]
fn other_tasks_of_the_worker_get_their_turn_within_a_sweep() {
    run(async |mut writer, hub| {
        let selector = Selector::parse("orders").unwrap();
        let woken = Arc::<Count>::default();
        let _readers: Vec<Reader> = (0..3 * WAKE_CHUNK)
            .map(|_| {
                let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
                reader.subscribe(selector.clone(), Duration::ZERO, None);
                reader.set_waker(&Arc::clone(&woken).into());
                reader
            })
            .collect();
        let change = Change {
            channel: Channel::parse("orders").unwrap(),
            event: EventName::parse("created").ok(),
            gone: None,
            data: "{}".into(),
        };
        writer.append(vec![change], jiff::Timestamp::UNIX_EPOCH);
        let mut seen = Vec::new();
        while seen.last() != Some(&(3 * WAKE_CHUNK)) {
            tokio::task::yield_now().await;
            seen.push(woken.0.load(Ordering::Relaxed));
            assert!(seen.len() < 1_000, "{seen:?}");
        }
        for chunks in 1..3 {
            assert!(seen.contains(&(chunks * WAKE_CHUNK)), "{seen:?}");
        }
    });
}

#[test]
fn a_deadline_that_is_sooner_than_all_others_is_kept() {
    run(async |_writer, hub| {
        let start = Instant::now();
        let mut readers = Vec::new();
        for ms in [1_000, 500, 50] {
            // The hub sleeps until the earlier one, or without an end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (reader, woken) = (Reader::open(&hub, CatchUp::StatesFirst), Arc::<Count>::default());
            reader.set_waker(&Arc::clone(&woken).into());
            reader.set_deadline(start + Duration::from_millis(ms));
            readers.push((ms, reader, woken));
        }
        // The clock moves only by these steps.
        for now in 4..=1_000 {
            tokio::time::sleep_until(start + Duration::from_millis(now)).await;
            tokio::task::yield_now().await;
            for (ms, _, woken) in &readers {
                assert_eq!(woken.0.load(Ordering::Relaxed), usize::from(now >= *ms), "{ms} ms, after {now} ms");
            }
        }
    });
}

#[test]
fn readers_are_woken_by_each_value_after_others_have_left() {
    run(async |mut writer, hub| {
        let [(mut gone, _), (stays, woken), (closed, _)] =
            [(); 3].map(|()| reader_of(&hub, "metrics.a", Duration::ZERO));
        assert_eq!((hub.readers(), hub.topics()), (3, 1));
        gone.unsubscribe(&Selector::parse("metrics.a").unwrap());
        assert!(!gone.has_due(), "an ended subscription is not due");
        drop(closed);
        assert_eq!((hub.readers(), hub.topics()), (2, 1));
        for n in 1..=3 {
            publish(&mut writer, n);
            settle().await;
            assert_eq!(woken.so_far(), n as usize);
        }
        drop((gone, stays));
        assert_eq!((hub.readers(), hub.topics()), (0, 0), "the hub has no state of closed readers");
    });
}

#[test]
fn a_delayed_state_is_due_when_its_interval_has_passed() {
    run(async |mut writer, hub| {
        let start = Instant::now();
        publish(&mut writer, 0);
        settle().await;
        let intervals = [50, 200, 1_000];
        let readers = intervals.map(|ms| reader_of(&hub, "metrics.a", Duration::from_millis(ms)));
        publish(&mut writer, 1);
        settle().await;
        // A joining reader's time may be delayed by a part of its interval, so that it joins a group.
        for (at, expected) in [(49, [0, 0, 0]), (60, [1, 0, 0]), (199, [1, 0, 0]), (220, [1, 1, 0]), (1_100, [1, 1, 1])]
        {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            settle().await;
            assert_eq!(readers.each_ref().map(|(_, woken)| woken.so_far()), expected, "after {at} ms");
        }
    });
}

#[test]
fn the_due_data_of_a_slow_reader_are_bounded_and_have_a_start_time() {
    run(async |mut writer, hub| {
        let (reader, _) = reader_of(&hub, "metrics.a", Duration::ZERO);
        let since = Instant::now();
        for n in 0..100 {
            publish(&mut writer, n);
            settle().await;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(hub.inner.borrow().slots.by_id.iter().map(|(_, slot)| slot.due.len()).collect::<Vec<_>>(), [1],);
        let mut due = DueList::new();
        assert_eq!(hub.take_due(0, &mut due), Some(since));
        assert_eq!((due.len(), hub.take_due(0, &mut due)), (1, None));
        drop(reader);
    });
}

#[test]
fn the_hub_delivers_itself_and_wakes_the_task_only_for_the_rest() {
    run(async |mut writer, hub| {
        let (reader, woken) = reader_of(&hub, "metrics.a", Duration::ZERO);
        let direct = Direct::of(&reader);
        publish(&mut writer, 1);
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far()), (1, 0));
        direct.does_all.set(false);
        publish(&mut writer, 2);
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far()), (2, 1), "the task has to continue");
        publish(&mut writer, 3);
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far()), (2, 2), "until the task is done the hub delivers nothing");
        reader.set_deliver(&direct.weak());
        drop(direct);
        publish(&mut writer, 4);
        settle().await;
        assert_eq!(woken.so_far(), 3, "the task is woken where nothing delivers");
    });
}

#[test]
fn a_deadline_that_fires_together_with_data_is_for_the_task() {
    run(async |mut writer, hub| {
        let (reader, woken) = reader_of(&hub, "metrics.a", Duration::ZERO);
        let direct = Direct::of(&reader);
        reader.set_deadline(Instant::now() + Duration::from_millis(50));
        settle().await;
        publish(&mut writer, 1);
        // The hub finds both when it has its next turn.
        tokio::time::advance(Duration::from_millis(50)).await;
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far(), reader.has_due()), (0, 1, true));
        reader.set_deliver(&direct.weak());
        publish(&mut writer, 2);
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far()), (1, 1), "the deadline is over");
    });
}

#[test]
fn a_drain_is_for_the_task() {
    run(async |mut writer, hub| {
        let (reader, woken) = reader_of(&hub, "metrics.a", Duration::ZERO);
        let direct = Direct::of(&reader);
        publish(&mut writer, 1);
        hub.inner.borrow_mut().slots.queue_all();
        settle().await;
        assert_eq!((direct.calls.get(), woken.so_far(), reader.has_due()), (0, 1, true));
    });
}
