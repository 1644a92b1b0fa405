//! Minimal database: orders, with their events as a transactional outbox.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tricast_domain::relay::{EventStore, Pending, PendingEvent, StoreFuture};

use super::{network::World, node::TENANT};

/// Stored events that wait to be published. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outbox {
    world: Arc<World>,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    last: u64,
    /// Order and its time, by the sequence number of its event.
    pending: BTreeMap<u64, (u64, Instant)>,
}

impl Outbox {
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), stored: Arc::default() }
    }

    /// Stores an order and its event in one transaction. Returns the sequence number of the event.
    pub(super) fn store(&self, order: u64) -> u64 {
        let stored = &mut *self.stored.lock();
        stored.last = (stored.last + 1).max(self.world.now());
        stored.pending.insert(stored.last, (order, Instant::now()));
        stored.last
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.world.random().u64(100..3_000))
    }
}

impl EventStore for Outbox {
    fn pending(&self, _tenant: &str, after: u64, limit: usize) -> StoreFuture<Pending> {
        let (stored, delay) = (Arc::clone(&self.stored), self.delay());
        Box::pin(async move {
            sleep(delay).await;
            let pending = &stored.lock().pending;
            let event = |(seq, (order, _)): (&u64, &(u64, Instant))| PendingEvent {
                seq: *seq,
                channel: "orders".into(),
                event: "order_created".into(),
                data: format!("{{\"id\":{order}}}"),
            };
            Ok(Pending {
                source: "database".into(),
                events: pending.range(after + 1..).take(limit).map(event).collect(),
            })
        })
    }

    fn count(&self, _tenant: &str, after: u64) -> StoreFuture<u64> {
        let (stored, delay) = (Arc::clone(&self.stored), self.delay());
        Box::pin(async move {
            sleep(delay).await;
            Ok(stored.lock().pending.range(after + 1..).count() as u64)
        })
    }

    fn remove(&self, _tenant: &str, through: u64) -> StoreFuture<()> {
        let (stored, delay) = (Arc::clone(&self.stored), self.delay());
        Box::pin(async move {
            sleep(delay).await;
            let stored = &mut *stored.lock();
            stored.pending = stored.pending.split_off(&(through + 1));
            Ok(())
        })
    }

    fn overdue(&self, age: Duration) -> StoreFuture<Vec<String>> {
        let (stored, delay) = (Arc::clone(&self.stored), self.delay());
        Box::pin(async move {
            sleep(delay).await;
            let is_old = stored.lock().pending.values().any(|(_, at)| at.elapsed() >= age);
            Ok(if is_old { vec![TENANT.to_owned()] } else { Vec::new() })
        })
    }
}
