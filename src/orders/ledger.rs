//! The one task that makes the changes of a tenant's orders, and publishes the numbers.
//!
//! Changes wait in a bounded queue. They are handed to the store in that order, many at a time, so that the store can
//! write them together, and come back in that order. A caller that goes away in the middle leaves its change with the
//! ledger, which counts it all the same. Nothing here waits for the log: the relay publishes the events that the store made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesOrdered,
};
use jiff::{ToSpan, tz::TimeZone};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Numbers, OrderError, OrderStore, Rollup, Tally};
use crate::{
    core::{
        aggregator::{AggregatorHandle, Stopped},
        clock::Clock,
    },
    relay::Relay,
    sources,
};

/// Changes that wait for the ledger; more are refused.
pub(super) const QUEUE: usize = 1_024;

/// Changes that the store has and did not answer yet.
const IN_FLIGHT: usize = 1_024;

/// Changes that are taken together.
const GROUP: usize = 256;

/// The numbers of the last hour and of the day move without an order, too.
const REFRESH: Duration = Duration::from_secs(5);

/// Many orders in a moment make one new version of the numbers.
const SETTLE: Duration = Duration::from_millis(50);

/// How long after a failure the numbers are asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// A change: hands it to the store, and says afterwards what came of it.
pub(super) type Command = Box<dyn FnOnce(&dyn OrderStore) -> BoxFuture<'static, Done> + Send>;

/// A change that the store has answered.
pub(super) struct Done {
    /// What it makes of the numbers.
    pub(super) tally: Option<Tally>,
    /// The numbers as they are with everything before it, where the store has others who write.
    pub(super) rollup: Option<Rollup>,
    /// The place of the event that was stored with it.
    pub(super) event: Option<u64>,
    /// Answers the caller. It is called once the change is counted.
    pub(super) reply: Box<dyn FnOnce() + Send>,
}

/// Numbers on their way to the log.
type Publishing = BoxFuture<'static, Result<(), Stopped>>;

/// What the ledger and the callers share.
pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) relay: Relay,
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

/// Makes the changes until the aggregator stops or nobody can hand in one any more.
pub(super) async fn run(shared: Arc<Shared>, aggregator: AggregatorHandle) {
    let Some(mut commands) = shared.commands.lock().take() else {
        tracing::error!(tenant = &*shared.tenant, "the ledger runs already");
        return;
    };
    // So that the channels are there from the start. Where another node leads, they are.
    let mut publishing = Some(shared.publish_unknown(&aggregator));
    // First: a change that was made before it would be counted twice.
    let loaded = shared.load();
    tokio::pin!(loaded);
    tokio::select! {
        () = &mut loaded => {}
        published = OptionFuture::from(publishing.as_mut()) => {
            publishing = None;
            if published.is_some_and(|published| published.is_err()) {
                return;
            }
            loaded.await;
        }
    }
    let mut in_flight = FuturesOrdered::new();
    let mut waiting = Vec::with_capacity(GROUP);
    let mut due = Instant::now();
    let recount_every = shared.store.recount_every();
    let mut recount_due = Instant::now();
    loop {
        shared.in_flight.store(in_flight.len(), Ordering::Release);
        tokio::select! {
            count = commands.recv_many(&mut waiting, GROUP), if in_flight.len() < IN_FLIGHT => {
                if count == 0 {
                    // The handles are gone; what they began is ended.
                    while let Some(done) = in_flight.next().await {
                        shared.count(vec![done]);
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
                shared.count(done);
            }
            () = sleep_until(recount_due), if recount_every.is_some() && in_flight.len() < IN_FLIGHT => {
                in_flight.push_back(shared.recount());
                recount_due = Instant::now() + recount_every.unwrap_or(REFRESH);
            }
            // The log may not be writable for a while: changes go on meanwhile.
            published = OptionFuture::from(publishing.as_mut()), if publishing.is_some() => {
                publishing = None;
                if published.is_some_and(|published| published.is_err()) {
                    return;
                }
            }
            () = sleep_until(due), if publishing.is_none() => {
                publishing = Some(shared.publish_numbers(&aggregator));
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

    /// Counts what was done, has its events published, answers the callers.
    fn count(&self, done: Vec<Done>) {
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
                if let Some(seq) = event {
                    self.relay.stored(seq);
                }
                replies.push(reply);
            }
        }
        replies.into_iter().for_each(|reply| reply());
    }

    fn publish_unknown(&self, aggregator: &AggregatorHandle) -> Publishing {
        let (aggregator, values) = (aggregator.clone(), Numbers::unknown(&self.currency));
        Box::pin(async move { if aggregator.leads() { sources::publish(&aggregator, values).await } else { Ok(()) } })
    }

    fn publish_numbers(&self, aggregator: &AggregatorHandle) -> Publishing {
        let now = self.clock.now_in(&self.zone);
        let values = self.numbers.lock().as_mut().map(|numbers| numbers.read(&now, &self.currency));
        let aggregator = aggregator.clone();
        Box::pin(async move {
            match values.filter(|_| aggregator.leads()) {
                Some(values) => sources::publish(&aggregator, values).await,
                None => Ok(()),
            }
        })
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
