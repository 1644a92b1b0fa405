//! The order book, and the one task that publishes its numbers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::{Changes, NewOrder, Numbers, Order, OrderError, Status};
use crate::{
    core::{
        aggregator::{AggregatorHandle, Stopped},
        channel::{Channel, EventName},
        clock::Clock,
        reading::{Origin, Reading},
    },
    sources,
};

/// Most orders kept. At about 300 bytes each that is 30 MB.
const MAX_ORDERS: usize = 100_000;

/// The numbers of the last hour and of the day move without an order, too.
const REFRESH: Duration = Duration::from_secs(10);

/// Many orders in a moment make one new version of the numbers.
const SETTLE: Duration = Duration::from_millis(50);

/// Orders, customers and visits of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct OrderService {
    shared: Arc<Inner>,
}

struct Inner {
    book: Mutex<Book>,
    changed: Notify,
    aggregator: AggregatorHandle,
    clock: Clock,
    zone: TimeZone,
    currency: String,
}

#[derive(Default)]
struct Book {
    /// By number, which grows: the newest are last.
    orders: BTreeMap<u64, Order>,
    numbers: Numbers,
    next: u64,
    customers: u64,
}

/// A page of orders, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl OrderService {
    /// An empty book. Somebody has to drive [`OrderService::run`].
    pub fn new(aggregator: AggregatorHandle, clock: Clock, zone: TimeZone, currency: String) -> Self {
        let shared = Inner { book: Mutex::default(), changed: Notify::new(), aggregator, clock, zone, currency };
        Self { shared: Arc::new(shared) }
    }

    /// Publishes the numbers after each change and every few seconds, until the aggregator stops.
    pub async fn run(self) {
        loop {
            let now = self.shared.clock.now_in(&self.shared.zone);
            let values = self.shared.book.lock().numbers.read(&now, &self.shared.currency);
            if sources::publish(&self.shared.aggregator, values).await.is_err() {
                return;
            }
            // Not changed within the time: only the clock moved.
            drop(tokio::time::timeout(REFRESH, self.shared.changed.notified()).await);
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Takes an order: it is in the book, and the event `order_created` is out, when this answers.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::Full`], or [`OrderError::Stopped`].
    pub async fn create(&self, new: NewOrder) -> Result<Order, OrderError> {
        new.check()?;
        let now = self.shared.clock.now();
        let order = {
            let mut book = self.shared.book.lock();
            if book.orders.len() >= MAX_ORDERS {
                return Err(OrderError::Full(MAX_ORDERS));
            }
            book.next += 1;
            let number = book.next;
            let order = Order {
                order_id: format!("ord-{number:08}"),
                status: new.status,
                items: new.items,
                total: new.total,
                customer_name: new.customer_name,
                customer_id: new.customer_id,
                priority: new.priority,
                created_at: now,
                updated_at: now,
            };
            book.numbers.add(now, order.status, order.total.cents);
            book.orders.insert(number, order.clone());
            order
        };
        self.tell("order_created", json!(order)).await?;
        Ok(order)
    }

    /// Changes an order's status or priority, and says so as the event `order_updated`.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Invalid`] when nothing is to change, or [`OrderError::Stopped`].
    pub async fn change(
        &self,
        id: &str,
        changes: Changes,
        _if_match: Option<u64>,
        by: &str,
    ) -> Result<Order, OrderError> {
        if changes.status.is_none() && changes.priority.is_none() {
            return Err(OrderError::Invalid("status or priority: one of them has to be there"));
        }
        let now = self.shared.clock.now();
        let order = {
            let mut book = self.shared.book.lock();
            let Book { orders, numbers, .. } = &mut *book;
            let order = number(id).and_then(|number| orders.get_mut(&number)).ok_or(OrderError::NotFound)?;
            if let Some(status) = changes.status {
                numbers.change(order.created_at, order.status, status, order.total.cents);
                order.status = status;
            }
            order.priority = changes.priority.unwrap_or(order.priority);
            order.updated_at = now;
            order.clone()
        };
        self.tell("order_updated", json!({"orderId": id, "changes": changes, "updatedBy": by})).await?;
        Ok(order)
    }

    /// One order.
    ///
    /// # Errors
    /// [`OrderError::NotFound`].
    pub async fn get(&self, id: &str) -> Result<Order, OrderError> {
        let book = self.shared.book.lock();
        number(id).and_then(|number| book.orders.get(&number)).cloned().ok_or(OrderError::NotFound)
    }

    /// A page of at most `limit` orders, the newest first, from `after` (an order's id) on.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] when `after` is no order's id.
    pub async fn list(&self, status: Option<Status>, limit: usize, after: Option<&str>) -> Result<Page, OrderError> {
        let before = match after {
            None => u64::MAX,
            Some(id) => number(id).ok_or(OrderError::Invalid("after: not the id of an order"))?,
        };
        let book = self.shared.book.lock();
        let wanted = |order: &&Order| status.is_none_or(|status| order.status == status);
        let mut orders: Vec<Order> =
            book.orders.range(..before).rev().map(|(_, order)| order).filter(wanted).take(limit + 1).cloned().collect();
        let more = orders.len() > limit;
        orders.truncate(limit);
        Ok(Page { next: more.then(|| orders.last().map(|order| order.order_id.clone())).flatten(), orders })
    }

    /// A customer came for the first time; answers the id.
    pub fn customer(&self) -> String {
        let mut book = self.shared.book.lock();
        book.customers += 1;
        book.numbers.customer(self.shared.clock.now());
        self.shared.changed.notify_one();
        format!("cus-{:08}", book.customers)
    }

    /// Somebody visited.
    pub fn visit(&self) {
        self.shared.book.lock().numbers.visit(self.shared.clock.now());
        self.shared.changed.notify_one();
    }

    async fn tell(&self, event: &str, details: Value) -> Result<(), OrderError> {
        self.shared.changed.notify_one();
        let data = if let Value::Object(data) = details { data } else { Map::new() };
        let (Ok(channel), Ok(event)) = (Channel::parse("orders"), EventName::parse(event)) else {
            return Err(OrderError::Invalid("an event's name"));
        };
        let published =
            self.shared.aggregator.publish(Origin::Internal, vec![Reading::Event { channel, event, data }], 0);
        published.await.map(drop).map_err(|Stopped| OrderError::Stopped)
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("ord-").filter(|digits| digits.len() == 8)?.parse().ok()
}
