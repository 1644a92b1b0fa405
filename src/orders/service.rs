//! The face of one tenant's orders.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Answer, Change, Changes, Customer, Draft, IdempotencyKey, NewCustomer, NewOrder, NewVisits, Order, OrderError,
    OrderId, OrderStore, Query, Stats, Status, Tally,
    ledger::{self, Command, Done, Loading},
};
use crate::{
    core::{aggregator::AggregatorHandle, clock::Clock, version::IfMatch},
    relay::Relay,
};

/// Longest time a caller waits for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// Orders, customers and visits of one tenant. Cheap to clone; making one costs a queue and no I/O.
#[derive(Clone)]
pub struct OrderService {
    commands: mpsc::Sender<Command>,
    aggregator: AggregatorHandle,
    shared: Arc<ledger::Shared>,
}

/// A page of orders, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page begins, if there is one.
    pub next: Option<OrderId>,
}

/// What a change that succeeded makes known.
#[derive(Default)]
struct News {
    tally: Option<Tally>,
    /// The place of the event that was stored with it.
    event: Option<u64>,
}

impl OrderService {
    /// The orders of `tenant` in `store`, whose events `relay` publishes. Somebody has to drive [`OrderService::run`].
    pub fn new(
        tenant: &str,
        store: Arc<dyn OrderStore>,
        relay: Relay,
        aggregator: AggregatorHandle,
        clock: Clock,
        zone: TimeZone,
        currency: String,
    ) -> Self {
        let (commands, queue) = mpsc::channel(ledger::QUEUE);
        let shared = ledger::Shared {
            tenant: tenant.into(),
            store,
            relay,
            clock,
            zone,
            currency,
            numbers: Mutex::new(None),
            loading: watch::Sender::new(Loading::Begun),
            in_flight: AtomicUsize::new(0),
            commands: Mutex::new(Some(queue)),
        };
        Self { commands, aggregator, shared: Arc::new(shared) }
    }

    /// Reads the numbers from the store, then makes the changes and publishes the numbers, until the aggregator stops or the
    /// last other handle is dropped.
    pub async fn run(self) {
        let Self { commands, aggregator, shared } = self;
        // Or the ledger would wait for itself.
        drop(commands);
        ledger::run(shared, aggregator).await;
    }

    /// Whether no change waits or is being made.
    pub fn is_idle(&self) -> bool {
        self.commands.capacity() == self.commands.max_capacity() && self.shared.in_flight.load(Ordering::Acquire) == 0
    }

    /// Takes an order: it is in the store, and the event `order_created` is out, when this answers; while nobody can write
    /// the log, the event follows. With a key that is known, answers what the first request was answered, and nothing is
    /// made.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::KeyReused`], [`OrderError::Full`], [`OrderError::ReadOnly`],
    /// [`OrderError::Unavailable`], [`OrderError::Unknown`], [`OrderError::Stopped`].
    pub async fn create(&self, new: NewOrder, key: Option<IdempotencyKey>) -> Result<Order, OrderError> {
        new.check()?;
        let draft = Draft { new, key, at: self.now() };
        let created = self.submit(
            move |store, tenant| store.create(tenant, draft),
            |created| News { tally: created.tally, event: created.event },
        );
        let created = created.await?;
        self.is_out(created.event).await;
        Ok(created.order)
    }

    /// Changes an order's status or priority, and says so as the event `order_updated`. A change to what is already so
    /// makes no version and no event.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Moved`] when `if_match` does not hold, [`OrderError::Invalid`] when
    /// nothing is to change, [`OrderError::Full`], [`OrderError::ReadOnly`], [`OrderError::Unavailable`],
    /// [`OrderError::Unknown`], [`OrderError::Stopped`].
    pub async fn change(
        &self,
        id: &str,
        changes: Changes,
        if_match: Option<IfMatch>,
        by: &str,
    ) -> Result<Order, OrderError> {
        if changes.is_empty() {
            return Err(OrderError::Invalid("status or priority: one of them has to be there"));
        }
        let id = OrderId::parse(id).ok_or(OrderError::NotFound)?;
        let change = Change { id, changes, if_match, by: by.to_owned(), at: self.now() };
        let changed = self.submit(
            move |store, tenant| store.change(tenant, change),
            |changed| News { tally: changed.tally, event: changed.event },
        );
        let changed = changed.await?;
        self.is_out(changed.event).await;
        Ok(changed.order)
    }

    /// One order.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Unavailable`].
    pub async fn get(&self, id: &str) -> Result<Order, OrderError> {
        let id = OrderId::parse(id).ok_or(OrderError::NotFound)?;
        in_time(self.shared.store.order(&self.shared.tenant, id)).await
    }

    /// A page of at most `limit` orders, the newest first, from `after` (an order's id) on.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] when `after` is no order's id, [`OrderError::Unavailable`].
    pub async fn list(&self, status: Option<Status>, limit: usize, after: Option<&str>) -> Result<Page, OrderError> {
        let before = match after {
            None => None,
            Some(id) => Some(OrderId::parse(id).ok_or(OrderError::Invalid("after: not the id of an order"))?),
        };
        // One more than asked for says whether there is another page.
        let query = Query { status, before, limit: limit.saturating_add(1) };
        let mut orders = in_time(self.shared.store.orders(&self.shared.tenant, query)).await?;
        let more = orders.len() > limit;
        orders.truncate(limit);
        Ok(Page { next: if more { orders.last().map(|order| order.order_id) } else { None }, orders })
    }

    /// Notes a customer; one without an id, or with one that was never seen, is new today.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::Full`], [`OrderError::ReadOnly`], [`OrderError::Unavailable`],
    /// [`OrderError::Unknown`], [`OrderError::Stopped`].
    pub async fn customer(&self, customer: NewCustomer) -> Result<Customer, OrderError> {
        customer.check()?;
        let at = self.now();
        self.submit(
            move |store, tenant| store.customer(tenant, customer, at),
            |customer| News { tally: customer.tally, event: None },
        )
        .await
    }

    /// Counts visits; answers how many.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::Full`], [`OrderError::ReadOnly`], [`OrderError::Unavailable`],
    /// [`OrderError::Unknown`], [`OrderError::Stopped`].
    pub async fn visit(&self, visits: NewVisits) -> Result<u32, OrderError> {
        visits.check()?;
        let (at, count) = (self.now(), visits.count);
        let counted = self.submit(
            move |store, tenant| store.visits(tenant, count, at),
            |tally| News { tally: Some(*tally), event: None },
        );
        counted.await.map(|_| count)
    }

    /// Whether the numbers were read, so that orders are taken.
    pub fn is_loaded(&self) -> bool {
        *self.shared.loading.borrow() == Loading::Done
    }

    /// What is active, and the revenue of today.
    ///
    /// # Errors
    /// [`OrderError::Unavailable`] when the store does not say the numbers in time.
    pub async fn stats(&self) -> Result<Stats, OrderError> {
        let mut loading = self.shared.loading.subscribe();
        let tried = async {
            let tried = loading.wait_for(|loading| *loading != Loading::Begun).await;
            tried.map(drop).map_err(|_| OrderError::Stopped)
        };
        in_time(tried).await?;
        let now = self.shared.clock.now_in(&self.shared.zone);
        let numbers = self.shared.numbers.lock();
        numbers.as_ref().map(|numbers| numbers.stats(&now)).ok_or(OrderError::Unavailable)
    }

    /// Waits for the event of a change, if it has one and somebody can publish it.
    async fn is_out(&self, event: Option<u64>) {
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
    }

    /// Now, in the whole milliseconds that stores keep and clients see.
    fn now(&self) -> Timestamp {
        let now = self.shared.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// Hands a change to the ledger and waits for its end.
    async fn submit<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn OrderStore, &str) -> Answer<T> + Send + 'static,
        news: impl FnOnce(&T) -> News + Send + 'static,
    ) -> Result<T, OrderError> {
        if *self.shared.loading.borrow() == Loading::Failing {
            return Err(OrderError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        let tenant = Arc::clone(&self.shared.tenant);
        let command: Command = Box::new(move |store| {
            let asked = ask(store, &tenant);
            asked
                .map(move |result| {
                    let News { tally, event } = result.as_ref().map(news).unwrap_or_default();
                    // A caller that went away does not want the answer.
                    Done { tally, rollup: None, event, reply: Box::new(move || drop(reply.send(result))) }
                })
                .boxed()
        });
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OrderError::Unavailable,
            mpsc::error::TrySendError::Closed(_) => OrderError::Stopped,
        })?;
        // From here on the store may make it, whatever becomes of this call.
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(OrderError::Unknown),
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, OrderError>>) -> Result<T, OrderError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(OrderError::Unavailable))
}
