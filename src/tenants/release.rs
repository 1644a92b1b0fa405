//! Release of unused tenants, which would otherwise occupy memory, tasks and slots of `limits.max_tenants`.
//!
//! No data is lost. Stored data is read again at the next request of the tenant. Its log starts with a new epoch (in a
//! cluster the log stays). It contained only the server's own measurements, and events of stored data that are older than
//! `limits.tenant_idle`: a reader that returns later gets a gap in their place.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Inner, Known, Tenant, Tenants};
use tricast_auth::TenantName;

/// Interval of the search for unused tenants.
const EVERY: Duration = Duration::from_secs(5);

/// Shortest time between two searches for a slot that is needed, however many requests need one.
const SEARCH_PAUSE: Duration = Duration::from_millis(500);

/// Most tenants whose earlier logs are counted.
const MAX_COUNTED: usize = 100_000;

/// Number of logs that each tenant has had in this process and lost by its release. The next one needs another epoch,
/// because its offsets begin again.
#[derive(Default)]
pub(super) struct LostLogs {
    counts: HashMap<TenantName, u32>,
    /// Number for tenants that are not counted: no log of them had it.
    others: u32,
}

impl LostLogs {
    /// Returns the number of a tenant's logs so far.
    pub(super) fn of(&self, name: &TenantName) -> u32 {
        self.counts.get(name).copied().unwrap_or(self.others)
    }

    fn add(&mut self, name: TenantName) {
        if self.counts.len() >= MAX_COUNTED && !self.counts.contains_key(&name) {
            self.others = self.counts.drain().map(|(_, count)| count).fold(self.others, u32::max) + 1;
        }
        let count = self.of(&name) + 1;
        self.counts.insert(name, count);
    }
}

/// Tenant with the time since which it is unused.
pub(super) struct Slot {
    pub(super) tenant: Arc<Tenant>,
    idle_since: Option<Instant>,
}

impl Slot {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, idle_since: None }
    }

    /// Returns whether the tenant has no clients, no pending work, no event newer than `since`, and nothing that a release
    /// would lose.
    fn is_unused(&self, since: Timestamp) -> bool {
        let Tenant { presence, log, alerts, orders, dashboards, relay, .. } = &*self.tenant;
        // The caller holds the lock of the map, so no new reference can appear.
        Arc::strong_count(&self.tenant) == 1
            && presence.online().current == 0
            && log.is_unused(since)
            && alerts.is_unused()
            && orders.is_idle()
            && dashboards.is_idle()
            && relay.waiting() == 0
    }
}

impl Tenants {
    /// Releases tenants after the configured idle time, until the task is cancelled.
    pub async fn release_unused(self) {
        let idle = self.inner.deps.limits.tenant_idle.0;
        loop {
            sleep(if idle.is_zero() { EVERY } else { EVERY.min(idle) }).await;
            self.inner.release_idle(idle);
        }
    }

    /// Returns the number of tenants released since the start.
    pub fn released(&self) -> u64 {
        self.inner.released.get()
    }
}

impl Inner {
    /// Records which tenants are unused, and releases those that were for `idle`.
    fn release_idle(&self, idle: Duration) {
        let (now, recent) = (Instant::now(), self.recent());
        let known = &mut *self.known.write();
        for slot in known.tenants.values_mut() {
            // A release would lose the day's peak of users, so such a tenant stays until midnight.
            let is_unused = slot.is_unused(Timestamp::MAX) && slot.tenant.presence.online().peak_today == 0;
            slot.idle_since = is_unused.then_some(slot.idle_since.unwrap_or(now));
        }
        if !idle.is_zero() {
            let is_over = |slot: &Slot| slot.idle_since.is_some_and(|since| now - since >= idle);
            let over = known.tenants.extract_if(|_, slot| is_over(slot) && slot.is_unused(recent));
            over.for_each(|(name, slot)| self.release(&mut known.lost_logs, name, slot));
        }
    }

    /// Returns the time after which an event is recent, so that readers may be about to return for it.
    fn recent(&self) -> Timestamp {
        self.deps.clock.now().checked_sub(self.deps.limits.tenant_idle.0).unwrap_or(Timestamp::MIN)
    }

    /// Releases the tenant that was unused for longest. Returns false if there is none.
    pub(super) fn make_room(&self, known: &mut Known) -> bool {
        {
            let mut searched = self.searched.lock();
            if searched.is_some_and(|searched| searched.elapsed() < SEARCH_PAUSE) {
                return false;
            }
            *searched = Some(Instant::now());
        }
        let recent = self.recent();
        let unused = known.tenants.iter().filter(|(_, slot)| slot.is_unused(recent));
        let oldest = unused.min_by_key(|(_, slot)| slot.idle_since.unwrap_or_else(Instant::now));
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return false };
        // There may be more unused tenants, so the next search need not wait.
        *self.searched.lock() = None;
        if let Some(slot) = known.tenants.remove(&name) {
            self.release(&mut known.lost_logs, name, slot);
        }
        true
    }

    /// Releases a tenant. Its tasks end when they have finished their pending work.
    fn release(&self, lost_logs: &mut LostLogs, name: TenantName, slot: Slot) {
        let Slot { tenant, .. } = slot;
        lost_logs.add(name);
        tracing::info!(tenant = %tenant.name, "released an unused tenant");
        self.released.inc();
        let history = tenant.history.clone();
        self.deps.readers.spawn(async move { history.finish().await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_is_not_counted_any_more_gets_a_number_that_it_never_had() {
        let name = |n: usize| TenantName::parse(&format!("t{n}")).unwrap();
        let mut lost = LostLogs::default();
        let mut had = Vec::new();
        for _ in 0..3 {
            had.push(lost.of(&name(0)));
            lost.add(name(0));
        }
        assert_eq!((had.as_slice(), lost.of(&name(0)), lost.of(&name(1))), (&[0, 1, 2][..], 3, 0));
        (1..=MAX_COUNTED).for_each(|n| lost.add(name(n)));
        assert!(lost.counts.len() <= MAX_COUNTED && lost.of(&name(0)) > 3);
        assert!(lost.of(&name(1)) > 1 && lost.of(&name(MAX_COUNTED)) > 0);
    }
}
