//! Handle of one tenant's orders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    Change, Changes, Customer, Draft, IdempotencyKey, Ledger, NewCustomer, NewOrder, NewVisits, Numbers, Order,
    OrderError, OrderId, OrderStore, Query, RowCounts, RowLimits, Stats, Status, StoreFuture, Tally,
    ledger::{self, Command, Completed, Loading},
};
use crate::{
    relay::Relay,
    service::{Commands, ServiceError, StoreError, in_time},
};
use tricast_core::{clock::Clock, version::IfMatch};

/// Longest time that a caller waits for the store.
const DEADLINE: Duration = Duration::from_secs(10);

/// Orders, customers and visits of one tenant. Cheap to clone; creating one does no I/O.
#[derive(Clone)]
pub struct OrderService {
    commands: Commands<Command>,
    shared: Arc<ledger::Shared>,
}

/// Largest number of rows that one call deletes: some milliseconds, for which orders wait.
const DELETED_AT_ONCE: usize = 1_000;

/// A page of orders, the newest first.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = OrderPage))]
pub struct Page {
    /// Orders of the page, the newest first.
    pub orders: Vec<Order>,
    /// Last order of this page: `after` of a request for the next one. `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<OrderId>,
}

/// Result of deleting old orders or customers.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"deleted": 1_000, "more": true})))]
pub struct Deletion {
    /// Number of orders or customers that were deleted.
    #[cfg_attr(feature = "openapi", schema(maximum = 1_000))]
    pub deleted: usize,
    /// Whether there may be more to delete: repeat the request.
    pub more: bool,
}

/// Consequences of a change that succeeded.
#[derive(Default)]
struct Effects {
    tally: Option<Tally>,
    /// Sequence number of the event that was stored with the change.
    event: Option<u64>,
}

impl OrderService {
    /// Creates the service for the orders that `store` has of `tenant`; `relay` publishes their events. Nothing is changed
    /// until the caller runs the returned [`Ledger`].
    pub fn new(
        tenant: &str,
        store: Arc<dyn OrderStore>,
        relay: Relay,
        clock: Clock,
        zone: TimeZone,
        currency: String,
        limits: RowLimits,
    ) -> (Self, Ledger) {
        let (commands, queue) = Commands::bounded(ledger::QUEUE);
        let shared = Arc::new(ledger::Shared {
            tenant: tenant.into(),
            store,
            relay,
            clock,
            zone,
            currency,
            limits,
            numbers: Mutex::new(None),
            loading: watch::Sender::new(Loading::Pending),
            in_flight: AtomicUsize::new(0),
        });
        (Self { commands, shared: Arc::clone(&shared) }, Ledger::new(shared, queue))
    }

    /// Returns whether no change is queued or being made.
    pub fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.shared.in_flight.load(Ordering::Acquire) == 0
    }

    /// Creates an order. On return the order is stored and the event `order_created` is published; if the log can't be
    /// written at the moment, the event is published later. A request with a known `key` creates nothing and returns the
    /// order that the first request created.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::KeyReused`], [`OrderError::TooManyOrders`],
    /// [`OrderError::TooManyCustomers`], [`OrderError::Store`], [`OrderError::Service`].
    pub async fn create(&self, new: NewOrder, key: Option<IdempotencyKey>) -> Result<Order, OrderError> {
        new.check()?;
        self.shared.relay.check_room()?;
        let draft = Draft { new, key, at: self.now(), limits: self.shared.limits };
        let created = self.submit(
            move |store, tenant| store.create(tenant, draft),
            |created| Effects { tally: created.tally, event: created.event },
        );
        let created = created.await?;
        self.published(created.event).await;
        Ok(created.order)
    }

    /// Changes an order's status or priority, and publishes the event `order_updated`. If the order already has the
    /// requested values, there is no new version and no event.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Moved`] when `if_match` does not match, [`OrderError::Invalid`] when
    /// `changes` is empty, [`OrderError::Store`], [`OrderError::Service`].
    pub async fn change(
        &self,
        id: &str,
        changes: Changes,
        if_match: Option<IfMatch>,
        by: &str,
    ) -> Result<Order, OrderError> {
        if changes.is_empty() {
            return Err(OrderError::Invalid("status or priority: at least one is required"));
        }
        let id = OrderId::parse(id).ok_or(OrderError::NotFound)?;
        self.shared.relay.check_room()?;
        let change = Change { id, changes, if_match, by: by.to_owned(), at: self.now() };
        let changed = self.submit(
            move |store, tenant| store.change(tenant, change),
            |changed| Effects { tally: changed.tally, event: changed.event },
        );
        let changed = changed.await?;
        self.published(changed.event).await;
        Ok(changed.order)
    }

    /// Returns one order.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Store`], [`OrderError::Service`].
    pub async fn get(&self, id: &str) -> Result<Order, OrderError> {
        let id = OrderId::parse(id).ok_or(OrderError::NotFound)?;
        in_time(DEADLINE, self.shared.store.order(&self.shared.tenant, id)).await
    }

    /// Returns a page of at most `limit` orders, newest first, beginning after the order with the id `after`.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] when `after` is not the id of an order, [`OrderError::Store`], [`OrderError::Service`].
    pub async fn list(&self, status: Option<Status>, limit: usize, after: Option<&str>) -> Result<Page, OrderError> {
        let before = match after {
            None => None,
            Some(id) => Some(OrderId::parse(id).ok_or(OrderError::Invalid("after: not the id of an order"))?),
        };
        // One more than requested shows whether there is another page.
        let query = Query { status, before, limit: limit.saturating_add(1) };
        let mut orders = in_time(DEADLINE, self.shared.store.orders(&self.shared.tenant, query)).await?;
        let more = orders.len() > limit;
        orders.truncate(limit);
        Ok(Page { next: if more { orders.last().map(|order| order.order_id) } else { None }, orders })
    }

    /// Records a customer. A customer without an id, or with an id that was never recorded, counts as new today.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::TooManyCustomers`], [`OrderError::Store`], [`OrderError::Service`].
    pub async fn customer(&self, customer: NewCustomer) -> Result<Customer, OrderError> {
        customer.check()?;
        let (at, limits) = (self.now(), self.shared.limits);
        self.submit(
            move |store, tenant| store.customer(tenant, customer, at, limits),
            |customer| Effects { tally: customer.tally, event: None },
        )
        .await
    }

    /// Counts visits and returns their number.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::Store`], [`OrderError::Service`].
    pub async fn visit(&self, visits: NewVisits) -> Result<u32, OrderError> {
        visits.check()?;
        let (at, count) = (self.now(), visits.count);
        let counted = self.submit(
            move |store, tenant| store.visits(tenant, count, at),
            |tally| Effects { tally: Some(*tally), event: None },
        );
        counted.await.map(|_| count)
    }

    /// Deletes the oldest orders that were created before `before` and are neither `PENDING` nor `PROCESSING`. One call
    /// deletes some of them; see [`Deletion::more`].
    ///
    /// # Errors
    /// [`OrderError::Invalid`] unless `before` is a day ago, [`OrderError::Store`], [`OrderError::Service`].
    pub async fn delete_orders(&self, before: Timestamp) -> Result<Deletion, OrderError> {
        self.check_age(before)?;
        let deleted = self.submit(
            move |store, tenant| store.delete_orders(tenant, before, DELETED_AT_ONCE),
            |deleted| Effects { tally: deleted.tally, event: None },
        );
        deleted.await.map(|deleted| self.deletion("orders", before, deleted.number))
    }

    /// Deletes the oldest customers who were first recorded before `before`. A deleted customer who returns counts as new.
    ///
    /// # Errors
    /// As [`OrderService::delete_orders`].
    pub async fn delete_customers(&self, before: Timestamp) -> Result<Deletion, OrderError> {
        self.check_age(before)?;
        let deleted = self.submit(
            move |store, tenant| store.delete_customers(tenant, before, DELETED_AT_ONCE),
            |deleted| Effects { tally: deleted.tally, event: None },
        );
        deleted.await.map(|deleted| self.deletion("customers", before, deleted.number))
    }

    /// Checks that no idempotency key names an order that was created before `before`.
    fn check_age(&self, before: Timestamp) -> Result<(), OrderError> {
        if before.as_millisecond() > IdempotencyKey::expired_at(self.now()) {
            return Err(OrderError::Invalid("before: a time that is at least 24 h ago"));
        }
        Ok(())
    }

    fn deletion(&self, rows: &'static str, before: Timestamp, deleted: usize) -> Deletion {
        if deleted > 0 {
            tracing::info!(tenant = &*self.shared.tenant, rows, %before, deleted, "deleted by an administrator");
        }
        Deletion { deleted, more: deleted == DELETED_AT_ONCE }
    }

    /// Returns the numbers of orders and customers that the store has; 0 until the figures are loaded.
    pub fn rows(&self) -> RowCounts {
        self.shared.numbers.lock().as_ref().map(Numbers::rows).unwrap_or_default()
    }

    /// Returns whether the figures are loaded, so that changes are accepted.
    pub fn is_loaded(&self) -> bool {
        *self.shared.loading.borrow() == Loading::Loaded
    }

    /// Returns the number of open orders and today's revenue.
    ///
    /// # Errors
    /// [`OrderError::Store`] while the figures can't be loaded, [`OrderError::Service`] when they are not loaded in time.
    pub async fn stats(&self) -> Result<Stats, OrderError> {
        let mut loading = self.shared.loading.subscribe();
        let attempted = async {
            let attempted = loading.wait_for(|loading| *loading != Loading::Pending).await;
            attempted.map(drop).map_err(|_| ServiceError::Stopped)
        };
        in_time(DEADLINE, attempted).await?;
        let now = self.shared.clock.now_in(&self.shared.zone);
        let numbers = self.shared.numbers.lock();
        numbers.as_ref().map(|numbers| numbers.stats(&now)).ok_or(StoreError::Unavailable.into())
    }

    /// Waits until the event of a change is published; returns earlier if the log can't be written at the moment.
    async fn published(&self, event: Option<u64>) {
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
    }

    /// Returns the current time in whole milliseconds, as stores keep it and clients see it.
    fn now(&self) -> Timestamp {
        self.shared.clock.now_ms()
    }

    /// Passes a change to the ledger and waits for its result.
    async fn submit<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn OrderStore, &str) -> StoreFuture<T> + Send + 'static,
        effects: impl FnOnce(&T) -> Effects + Send + 'static,
    ) -> Result<T, OrderError> {
        if *self.shared.loading.borrow() == Loading::Failing {
            return Err(StoreError::Unavailable.into());
        }
        let tenant = Arc::clone(&self.shared.tenant);
        let command = |reply: crate::service::Reply<T, OrderError>| -> Command {
            Box::new(move |store| {
                let result = call(store, &tenant);
                result
                    .map(move |result| {
                        let Effects { tally, event } = result.as_ref().map(effects).unwrap_or_default();
                        // The caller may have stopped waiting.
                        let reply = Box::new(move || drop(reply.send(result)));
                        Completed { tally, rollup: None, event, reply }
                    })
                    .boxed()
            })
        };
        self.commands.submit(DEADLINE, command).await
    }
}
