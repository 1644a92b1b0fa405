//! When readers are woken.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use tokio::task::LocalSet;

use super::*;
use crate::core::{
    channel::{Channel, EventName},
    log::{Change, LogConfig, LogWriter},
    reader::{CatchUp, Reader},
};

/// Counts how often it wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
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
        let begun = Instant::now();
        let mut readers = Vec::new();
        for ms in [1_000, 500, 50] {
            // The hub sleeps until the one before, or without an end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (reader, woken) = (Reader::open(&hub, CatchUp::StatesFirst), Arc::<Count>::default());
            reader.set_waker(&Arc::clone(&woken).into());
            reader.set_deadline(begun + Duration::from_millis(ms));
            readers.push((ms, reader, woken));
        }
        // The clock stands still but for these steps.
        for now in 4..=1_000 {
            tokio::time::sleep_until(begun + Duration::from_millis(now)).await;
            tokio::task::yield_now().await;
            for (ms, _, woken) in &readers {
                assert_eq!(woken.0.load(Ordering::Relaxed), usize::from(now >= *ms), "{ms} ms, after {now} ms");
            }
        }
    });
}
