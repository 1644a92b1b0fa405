//! Relays of one and of several processes on a store in memory.

use parking_lot::Mutex;
use tokio::time::timeout;

use super::*;
use crate::{relay::StoreFuture, service::StoreError};
use tricast_core::{
    aggregator::{Aggregator, AggregatorConfig, Batches},
    clock::Clock,
    log::{Log, LogConfig},
    position::{Epoch, Position as LogPosition},
};

/// Stored events by their sequence numbers; `None` while the store does not work.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Option<Vec<u64>>>>);

impl Events {
    fn with(numbers: impl IntoIterator<Item = u64>) -> Self {
        Self(Arc::new(Mutex::new(Some(numbers.into_iter().collect()))))
    }

    fn add(&self, seq: u64) {
        self.0.lock().as_mut().unwrap().push(seq);
    }

    fn left(&self) -> usize {
        self.0.lock().as_ref().map_or(0, Vec::len)
    }
}

impl EventStore for Events {
    fn pending(&self, _tenant: &str, after: u64, limit: usize) -> StoreFuture<Pending> {
        let Some(events) = self.0.lock().clone() else { return Box::pin(async { Err(StoreError::Unavailable) }) };
        let event = |seq| PendingEvent {
            seq,
            channel: "orders".into(),
            event: "order_created".into(),
            data: format!(r#"{{"seq":{seq}}}"#),
        };
        let events = events.into_iter().filter(|seq| *seq > after).take(limit).map(event).collect();
        Box::pin(async move {
            // Another relay may be faster.
            tokio::task::yield_now().await;
            Ok(Pending { source: "store".into(), events })
        })
    }

    fn count(&self, _tenant: &str, after: u64) -> StoreFuture<u64> {
        let events = self.0.lock().clone().ok_or(StoreError::Unavailable);
        Box::pin(async move { Ok(events?.into_iter().filter(|seq| *seq > after).count() as u64) })
    }

    fn remove(&self, _tenant: &str, through: u64) -> StoreFuture<()> {
        let store = self.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            store.0.lock().as_mut().ok_or(StoreError::Unavailable)?.retain(|seq| *seq > through);
            Ok(())
        })
    }

    fn overdue(&self, _age: Duration) -> StoreFuture<Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn aggregator() -> (Arc<Log>, AggregatorHandle) {
    let (writer, log) = Log::create(LogConfig::default());
    let (aggregator, handle) = Aggregator::new(writer, Clock::system(), AggregatorConfig::default());
    tokio::spawn(aggregator.run());
    (log, handle)
}

fn start(events: &Events, handle: &AggregatorHandle) -> Relay {
    start_with(events, handle, 0)
}

fn start_with(events: &Events, handle: &AggregatorHandle, max_pending: usize) -> Relay {
    let (relay, task) = Relay::new("shop", Arc::new(events.clone()), handle.clone(), max_pending);
    tokio::spawn(task.run());
    relay
}

fn numbers(log: &Log) -> Vec<u64> {
    let place = |data: &[u8]| serde_json::from_slice::<Value>(data).unwrap()["seq"].as_u64().unwrap();
    log.export().events.iter().map(|event| place(&event.change.data)).collect()
}

#[tokio::test(start_paused = true)]
async fn events_of_an_earlier_process_are_published_once_and_removed() {
    let (log, handle) = aggregator();
    let events = Events::with(1..=600);
    let relay = start(&events, &handle);
    relay.stored(600);
    relay.published(600).await;
    assert_eq!(numbers(&log), (1..=600).collect::<Vec<_>>());
    relay.wake();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((numbers(&log).len(), events.left()), (600, 0));
}

#[tokio::test(start_paused = true)]
async fn relays_of_several_nodes_publish_each_event_once_and_in_order() {
    let (log, handle) = aggregator();
    let events = Events::with([]);
    let relays = [start(&events, &handle), start(&events, &handle), start(&events, &handle)];
    for seq in 1..=300 {
        events.add(seq);
        relays[seq as usize % 3].stored(seq);
        if seq % 7 == 0 {
            relays[0].wake();
            relays[1].wake();
        }
        if seq % 5 == 0 {
            relays[seq as usize % 3].published(seq).await;
            assert!(numbers(&log).contains(&seq));
        }
    }
    relays[0].published(300).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(numbers(&log), (1..=300).collect::<Vec<_>>());
    assert_eq!(events.left(), 0);
}

/// Receives a batch and does not answer it.
async fn lose(batches: &mut Batches) -> Vec<Reading> {
    let batch = batches.recv().await.unwrap();
    assert!(batch.take());
    batch.into_parts().0
}

#[tokio::test(start_paused = true)]
async fn a_group_with_an_unknown_outcome_is_published_again_before_the_next() {
    let (handle, mut batches) =
        AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let events = Events::with(1..=3);
    let relay = start(&events, &handle);
    relay.wake();
    let lost = lose(&mut batches).await;
    events.add(4);
    let batch = batches.recv().await.unwrap();
    assert!(batch.take());
    let (readings, reply) = batch.into_parts();
    assert_eq!(readings[..3], lost, "starting with the first");
    assert_eq!((readings.len(), events.left()), (4, 4));
    reply.send(vec![Ok(()); 4], LogPosition::new(Epoch::random(), 4));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(events.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_wait_while_the_log_can_not_be_written() {
    let (handle, mut batches) =
        AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let events = Events::with([1]);
    let relay = start(&events, &handle);
    let start = tokio::time::Instant::now();
    relay.stored(1);
    relay.published(1).await;
    assert_eq!(start.elapsed(), STUCK, "the time until the relay counts as stuck");
    events.add(2);
    relay.stored(2);
    relay.published(2).await;
    assert_eq!(start.elapsed(), STUCK, "no other caller waits");
    for place in [1, 2] {
        let (readings, reply) = batches.recv().await.unwrap().into_parts();
        reply.send(vec![Ok(()); readings.len()], LogPosition::new(Epoch::random(), place));
    }
    tokio::time::sleep(RETRY).await;
    events.add(3);
    relay.stored(3);
    let waits = timeout(STUCK / 2, relay.published(3)).await;
    assert!(waits.is_err(), "it is published again");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_the_store_no_event_is_published_twice() {
    let (log, handle) = aggregator();
    let events = Events::with([1, 2]);
    let relay = start(&events, &handle);
    let away = events.0.lock().take();
    relay.stored(2);
    relay.published(2).await;
    assert_eq!(numbers(&log), [] as [u64; 0]);
    *events.0.lock() = away;
    tokio::time::sleep(RETRY * 2).await;
    assert_eq!(numbers(&log), [1, 2]);
    events.add(3);
    relay.stored(3);
    relay.published(3).await;
    assert_eq!(numbers(&log), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn events_that_reappear_in_the_store_are_removed_and_not_published() {
    let (log, handle) = aggregator();
    let events = Events::with([1, 2]);
    let relay = start(&events, &handle);
    relay.stored(2);
    relay.published(2).await;
    tokio::time::sleep(RETRY).await;
    assert_eq!(events.left(), 0);
    events.add(1);
    events.add(2);
    relay.overdue();
    tokio::time::sleep(RETRY).await;
    assert_eq!((numbers(&log), events.left()), (vec![1, 2], 0));
}

#[tokio::test]
async fn callers_do_not_wait_for_a_relay_that_has_ended() {
    let (handle, batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let relay = start(&Events::with([1]), &handle);
    drop(batches);
    relay.stored(1);
    relay.published(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_another_node_published_delays_no_caller() {
    let (_log, handle) = aggregator();
    let relay = start(&Events::with([]), &handle);
    relay.stored(5);
    timeout(STUCK / 2, relay.published(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn publishing_is_retried_after_a_pause() {
    let (handle, mut batches) =
        AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let relay = start(&Events::with([1]), &handle);
    relay.wake();
    for unreadable in [false, true] {
        let mut tries = 0;
        let writer = async {
            loop {
                let (_, reply) = batches.recv().await.unwrap().into_parts();
                if unreadable {
                    reply.send(vec![Err(Refusal::Unreadable)], LogPosition::new(Epoch::random(), 1));
                }
                tries += 1;
            }
        };
        assert!(timeout(RETRY * 20, writer).await.is_err());
        assert!((10..=21).contains(&tries), "{tries} times in 20 pauses");
    }
}

/// Answers every batch until the test ends.
fn answer_all(mut batches: Batches) {
    tokio::spawn(async move {
        while let Some(batch) = batches.recv().await {
            let (readings, reply) = batch.into_parts();
            reply.send(vec![Ok(()); readings.len()], LogPosition::new(Epoch::random(), 1));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn changes_are_refused_while_too_many_events_wait_and_accepted_once_they_are_published() {
    let (handle, batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let events = Events::with([]);
    let (relay, unbounded) = (start_with(&events, &handle, 3), start(&events, &handle));
    for seq in 1..=3 {
        assert_eq!((relay.waiting(), relay.check_room()), (seq - 1, Ok(())));
        events.add(seq);
        relay.stored(seq);
        tokio::time::sleep(RETRY * 4).await;
    }
    assert_eq!((relay.check_room(), unbounded.check_room()), (Err(ServiceError::EventsPending(3)), Ok(())));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(relay.waiting(), 3, "each is counted once, however often publishing is tried");
    answer_all(batches);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((relay.waiting(), relay.check_room()), (0, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn events_of_earlier_processes_and_other_nodes_count_as_waiting() {
    let (handle, batches) = AggregatorHandle::new(Some(Duration::from_secs(5)), watch::Sender::new(true).subscribe());
    let events = Events::with(1..=600);
    let relay = start_with(&events, &handle, 610);
    relay.wake();
    tokio::time::sleep(RETRY).await;
    assert_eq!((relay.waiting(), relay.check_room()), (600, Ok(())), "more than a group");
    (601..=620).for_each(|seq| events.add(seq));
    tokio::time::sleep(RECOUNT * 4).await;
    assert_eq!(relay.check_room(), Err(ServiceError::EventsPending(620)));
    answer_all(batches);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((relay.waiting(), events.left()), (0, 0));
}
