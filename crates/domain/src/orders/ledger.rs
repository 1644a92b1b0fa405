//! Task that applies the changes of a tenant's orders and publishes the figures.
//!
//! Changes wait in a bounded queue. The ledger passes them to the store in order, many at a time so that the store can
//! write them together, and receives the results in the same order. A change is counted even if its caller has stopped
//! waiting. The ledger never waits for the log: the relay publishes the stored events.

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
    time::{Instant, sleep_until},
};

use super::{Numbers, OrderError, OrderStore, Rollup, RowLimits, Tally};
use crate::{relay::Relay, service::Retry, sources};
use tricast_core::{
    aggregator::{AggregatorHandle, Stopped},
    clock::Clock,
};

/// Largest number of changes that wait for the ledger; more are refused.
pub(super) const QUEUE: usize = 1_024;

/// Largest number of changes that the store has and did not answer yet.
const IN_FLIGHT: usize = 1_024;

/// Largest number of changes that are taken from the queue at once.
const GROUP: usize = 256;

/// Interval at which the figures are published without an order: those of the last hour and of the day move with time.
const REFRESH: Duration = Duration::from_secs(5);

/// Time for which orders are gathered before the figures are published.
const SETTLE: Duration = Duration::from_millis(50);

/// Change of orders: calls the store and returns what follows from the result.
pub(super) type Command = Box<dyn FnOnce(&dyn OrderStore) -> BoxFuture<'static, Completed> + Send>;

/// Change with its result from the store.
pub(super) struct Completed {
    /// Change of the figures.
    pub(super) tally: Option<Tally>,
    /// Figures that include everything before this change, where other nodes change the store as well.
    pub(super) rollup: Option<Rollup>,
    /// Sequence number of the event that was stored with the change.
    pub(super) event: Option<u64>,
    /// Sends the result to the caller. Called after the change is counted.
    pub(super) reply: Box<dyn FnOnce() + Send>,
}

/// Publication of the figures that is under way.
type Publishing = BoxFuture<'static, Result<(), Stopped>>;

/// State that the ledger and the handles share.
pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) relay: Relay,
    pub(super) clock: Clock,
    pub(super) zone: TimeZone,
    pub(super) currency: String,
    pub(super) limits: RowLimits,
    /// Figures; `None` until they are loaded.
    pub(super) numbers: Mutex<Option<Numbers>>,
    /// Progress of loading the figures.
    pub(super) loading: watch::Sender<Loading>,
    /// Number of changes that the store has and did not answer yet.
    pub(super) in_flight: AtomicUsize,
}

/// Progress of loading the figures when the ledger starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loading {
    /// The first attempt has not ended.
    Pending,
    /// The store does not work; the ledger keeps trying and callers are refused at once.
    Failing,
    /// The figures are loaded.
    Loaded,
}

/// Task that applies the changes of one tenant's orders.
pub struct Ledger {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
}

impl Ledger {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        Self { shared, commands }
    }

    /// Loads the figures, then applies changes and publishes the figures until the aggregator stops or the last handle is
    /// dropped.
    pub async fn run(self, aggregator: AggregatorHandle) {
        let Self { shared, mut commands } = self;
        // So that the channels exist from the start. On a node that does not lead, the leader does this.
        let mut publishing = Some(shared.publish_nulls(&aggregator));
        // Before any change: a change that was made earlier would be counted twice.
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
        let mut queued = Vec::with_capacity(GROUP);
        let mut due = Instant::now();
        let recount_every = shared.store.recount_every();
        let mut recount_due = Instant::now();
        loop {
            shared.in_flight.store(in_flight.len(), Ordering::Release);
            tokio::select! {
                count = commands.recv_many(&mut queued, GROUP), if in_flight.len() < IN_FLIGHT => {
                    if count == 0 {
                        // All handles are gone; changes that the store already has are completed.
                        while let Some(completed) = in_flight.next().await {
                            shared.count(vec![completed]);
                        }
                        return;
                    }
                    in_flight.extend(queued.drain(..).map(|command| command(&*shared.store)));
                }
                Some(first) = in_flight.next() => {
                    let mut completed = vec![first];
                    while completed.len() < GROUP && let Some(Some(next)) = in_flight.next().now_or_never() {
                        completed.push(next);
                    }
                    if completed.iter().any(|completed| completed.tally.is_some() || completed.rollup.is_some()) {
                        due = due.min(Instant::now() + SETTLE);
                    }
                    shared.count(completed);
                }
                () = sleep_until(recount_due), if recount_every.is_some() && in_flight.len() < IN_FLIGHT => {
                    in_flight.push_back(shared.recount());
                    recount_due = Instant::now() + recount_every.unwrap_or(REFRESH);
                }
                // Changes are applied even while the log can't be written.
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
}

impl Shared {
    /// Loads the figures from the store, however long it takes.
    async fn load(&self) {
        let mut retry = Retry::loading("the order figures", &*self.tenant);
        loop {
            let since = Numbers::horizon(&self.clock.now_in(&self.zone));
            match self.store.rollup(&self.tenant, since).await {
                Ok(rollup) => {
                    *self.numbers.lock() = Some(rollup.into());
                    self.loading.send_replace(Loading::Loaded);
                    return;
                }
                Err(error) => {
                    self.loading.send_replace(Loading::Failing);
                    retry.after(&error).await;
                }
            }
        }
    }

    /// Reads the figures from the store, in order with the changes.
    fn recount(&self) -> BoxFuture<'static, Completed> {
        let since = Numbers::horizon(&self.clock.now_in(&self.zone));
        let recount = self.store.recount(&self.tenant, since);
        recount
            // After a failure the next recount is soon enough.
            .map(|rollup: Result<_, OrderError>| Completed {
                tally: None,
                rollup: rollup.ok().flatten(),
                event: None,
                reply: Box::new(|| {}),
            })
            .boxed()
    }

    /// Counts completed changes, wakes the relay for their events, and sends the results to the callers.
    fn count(&self, completed: Vec<Completed>) {
        let mut replies = Vec::with_capacity(completed.len());
        {
            let mut numbers = self.numbers.lock();
            for Completed { tally, rollup, event, reply } in completed {
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

    fn publish_nulls(&self, aggregator: &AggregatorHandle) -> Publishing {
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

    /// Returns the time until the end of the day in the configured zone.
    fn until_midnight(&self) -> Duration {
        let now = self.clock.now_in(&self.zone);
        let next = now.checked_add(1.day()).and_then(|tomorrow| tomorrow.start_of_day());
        let rest = next.ok().and_then(|next| Duration::try_from(next.timestamp() - now.timestamp()).ok());
        // A few milliseconds later, so that the day has surely changed.
        rest.map_or(REFRESH, |rest| rest + Duration::from_millis(5))
    }
}
