//! The one task that makes the changes of a tenant's orders, publishes their events, and the numbers.
//!
//! Changes wait in a bounded queue. They are handed to the store in that order, many at a time, so that the store can
//! write them together, and come back in that order: readers are told of two changes of one order as they were made.
//! A caller that goes away in the middle leaves its change with the ledger, which tells of it all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use jiff::{ToSpan, tz::TimeZone};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Numbers, OrderError, OrderStore, Rollup, Tally};
use crate::{
    core::{
        aggregator::{AggregatorHandle, Stopped},
        channel::{Channel, EventName},
        clock::Clock,
        reading::Reading,
    },
    sources,
};

/// Changes that wait for the ledger; more are refused.
pub(super) const QUEUE: usize = 1_024;

/// Changes that the store has and did not answer yet.
const IN_FLIGHT: usize = 1_024;

/// Changes that are told together.
const GROUP: usize = 256;

/// The numbers of the last hour and of the day move without an order, too.
const REFRESH: Duration = Duration::from_secs(5);

/// Many orders in a moment make one new version of the numbers.
const SETTLE: Duration = Duration::from_millis(50);

/// How long after a failure the numbers are asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// A change: hands it to the store, and says afterwards what is to be told.
pub(super) type Command = Box<dyn FnOnce(&dyn OrderStore) -> BoxFuture<'static, Done> + Send>;

/// A change that the store has answered.
pub(super) struct Done {
    /// What it makes of the numbers.
    pub(super) tally: Option<Tally>,
    /// The numbers as they are with everything before it, where the store has others who write.
    pub(super) rollup: Option<Rollup>,
    /// The event that readers of `orders` are given.
    pub(super) event: Option<(&'static str, Value)>,
    /// Answers the caller. It is called once the event is out.
    pub(super) reply: Box<dyn FnOnce() + Send>,
}

/// What the ledger and the callers share.
pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) clock: Clock,
    pub(super) zone: TimeZone,
    pub(super) currency: String,
    /// `None` until the store has said them.
    pub(super) numbers: Mutex<Option<Numbers>>,
    /// Whether the numbers are there.
    pub(super) loading: watch::Sender<Loading>,
    /// Changes that the store has and did not answer yet.
    pub(super) in_flight: AtomicUsize,
    /// Taken by the ledger when it begins.
    pub(super) commands: Mutex<Option<mpsc::Receiver<Command>>>,
}

/// How far the ledger is with reading the numbers at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loading {
    /// It will be there in a moment.
    Begun,
    /// The store does not answer, so nobody needs to wait for it; it is tried again and again.
    Failing,
    /// They are there.
    Done,
}

/// Says at its end how many changes were on their way then: the store makes them all the same, but nobody tells of them.
/// No reader is left believing otherwise, for the log ends as well.
struct OnTheirWay {
    tenant: Arc<str>,
    count: usize,
}

impl Drop for OnTheirWay {
    fn drop(&mut self) {
        if self.count > 0 {
            tracing::warn!(tenant = &*self.tenant, count = self.count, "changes of orders ended without an event");
        }
    }
}

/// Makes the changes until the aggregator stops or nobody can hand in one any more.
pub(super) async fn run(shared: Arc<Shared>, aggregator: AggregatorHandle) {
    let Some(mut commands) = shared.commands.lock().take() else {
        tracing::error!(tenant = &*shared.tenant, "the ledger runs already");
        return;
    };
    // So that the channels are there from the start. Where another node leads, they are.
    if aggregator.leads() && sources::publish(&aggregator, Numbers::unknown(&shared.currency)).await.is_err() {
        return;
    }
    // First: a change that was made before it would be counted twice.
    shared.load().await;
    let mut in_flight = FuturesOrdered::new();
    let mut on_their_way = OnTheirWay { tenant: Arc::clone(&shared.tenant), count: 0 };
    let mut waiting = Vec::with_capacity(GROUP);
    let mut due = Instant::now();
    let recount_every = shared.store.recount_every();
    let mut recount_due = Instant::now();
    loop {
        on_their_way.count = in_flight.len();
        shared.in_flight.store(in_flight.len(), Ordering::Release);
        tokio::select! {
            count = commands.recv_many(&mut waiting, GROUP), if in_flight.len() < IN_FLIGHT => {
                if count == 0 {
                    // The handles are gone; what they began is ended.
                    while let Some(done) = in_flight.next().await {
                        shared.tell(vec![done], &aggregator).await;
                        on_their_way.count = in_flight.len();
                    }
                    return;
                }
                in_flight.extend(waiting.drain(..).map(|command| command(&*shared.store)));
            }
            Some(first) = in_flight.next() => {
                let mut done = vec![first];
                while done.len() < GROUP && let Some(Some(next)) = in_flight.next().now_or_never() {
                    done.push(next);
                }
                if done.iter().any(|done| done.tally.is_some() || done.rollup.is_some()) {
                    due = due.min(Instant::now() + SETTLE);
                }
                shared.tell(done, &aggregator).await;
            }
            () = sleep_until(recount_due), if recount_every.is_some() && in_flight.len() < IN_FLIGHT => {
                in_flight.push_back(shared.recount());
                recount_due = Instant::now() + recount_every.unwrap_or(REFRESH);
            }
            () = sleep_until(due) => {
                if shared.publish_numbers(&aggregator).await.is_err() {
                    return;
                }
                due = Instant::now() + shared.until_midnight().min(REFRESH);
            }
        }
    }
}

impl Shared {
    /// Reads the numbers from the store, however long it takes.
    async fn load(&self) {
        let mut failures = 0;
        loop {
            let since = Numbers::horizon(&self.clock.now_in(&self.zone));
            match self.store.rollup(&self.tenant, since).await {
                Ok(rollup) => {
                    *self.numbers.lock() = Some(rollup.into());
                    self.loading.send_replace(Loading::Done);
                    return;
                }
                Err(error) if failures == 0 => {
                    tracing::error!(tenant = &*self.tenant, %error, "the order numbers can't be read; trying again");
                }
                Err(_) => {}
            }
            failures += 1;
            self.loading.send_replace(Loading::Failing);
            sleep(RETRY).await;
        }
    }

    /// Asks the store for the numbers, in their place among the changes.
    fn recount(&self) -> BoxFuture<'static, Done> {
        let since = Numbers::horizon(&self.clock.now_in(&self.zone));
        let asked = self.store.recount(&self.tenant, since);
        asked
            // What could not be read is tried again in its time.
            .map(|rollup: Result<_, OrderError>| Done {
                tally: None,
                rollup: rollup.ok().flatten(),
                event: None,
                reply: Box::new(|| {}),
            })
            .boxed()
    }

    /// Counts what was done, publishes the events, answers the callers.
    async fn tell(&self, done: Vec<Done>, aggregator: &AggregatorHandle) {
        let mut events = Vec::with_capacity(done.len());
        let mut replies = Vec::with_capacity(done.len());
        {
            let mut numbers = self.numbers.lock();
            for Done { tally, rollup, event, reply } in done {
                if let Some(rollup) = rollup {
                    *numbers = Some(rollup.into());
                }
                if let (Some(numbers), Some(tally)) = (numbers.as_mut(), tally) {
                    numbers.count(tally);
                }
                events.extend(event.and_then(|(name, data)| reading(name, data)));
                replies.push(reply);
            }
        }
        let count = events.len();
        if count > 0 && aggregator.tell(events).await.is_err() {
            // The store has them, so the callers are told the truth. The log ends with this process: every reader
            // finds a new epoch after the restart, is told of a gap, and reads afresh.
            tracing::warn!(
                tenant = &*self.tenant,
                count,
                "changes of orders are stored, but their events came too late"
            );
        }
        replies.into_iter().for_each(|reply| reply());
    }

    async fn publish_numbers(&self, aggregator: &AggregatorHandle) -> Result<(), Stopped> {
        if !aggregator.leads() {
            return Ok(());
        }
        let now = self.clock.now_in(&self.zone);
        let Some(values) = self.numbers.lock().as_mut().map(|numbers| numbers.read(&now, &self.currency)) else {
            return Ok(());
        };
        sources::publish(aggregator, values).await
    }

    /// Until today is over, as the clock goes now.
    fn until_midnight(&self) -> Duration {
        let now = self.clock.now_in(&self.zone);
        let next = now.checked_add(1.day()).and_then(|tomorrow| tomorrow.start_of_day());
        let rest = next.ok().and_then(|next| Duration::try_from(next.timestamp() - now.timestamp()).ok());
        // A moment later it is surely another day.
        rest.map_or(REFRESH, |rest| rest + Duration::from_millis(5))
    }
}

fn reading(event: &str, details: Value) -> Option<Reading> {
    let (Ok(channel), Ok(event)) = (Channel::parse("orders"), EventName::parse(event)) else { return None };
    let data = if let Value::Object(data) = details { data } else { Map::new() };
    Some(Reading::Event { channel, event, data })
}
