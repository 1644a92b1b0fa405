//! Release of unused tenants, which would otherwise occupy memory, tasks and slots of `limits.max_tenants`.
//!
//! No data is lost. Stored data is read again at the next request of the tenant. Its log starts with a new epoch (in a
//! cluster the log stays), and contained only the server's own measurements.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Inner, Tenant, Tenants};
use tricast_auth::TenantName;

/// Interval of the search for unused tenants.
const EVERY: Duration = Duration::from_secs(5);

/// Shortest time between two searches for a slot that is needed, however many requests need one.
const SEARCH_PAUSE: Duration = Duration::from_millis(500);

/// Tenant with the time since which it is unused.
pub(super) struct Slot {
    pub(super) tenant: Arc<Tenant>,
    idle_since: Option<Instant>,
}

impl Slot {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, idle_since: None }
    }

    /// Returns whether the tenant has no clients, no pending work, and nothing that a release would lose.
    fn is_unused(&self) -> bool {
        let Tenant { presence, log, alerts, orders, dashboards, relay, .. } = &*self.tenant;
        // The caller holds the lock of the map, so no new reference can appear.
        Arc::strong_count(&self.tenant) == 1
            && presence.online().current == 0
            && log.is_unused()
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
        let now = Instant::now();
        let slots = &mut self.known.write().tenants;
        for slot in slots.values_mut() {
            // A release would lose the day's peak of users, so such a tenant stays until midnight.
            let is_unused = slot.is_unused() && slot.tenant.presence.online().peak_today == 0;
            slot.idle_since = is_unused.then_some(slot.idle_since.unwrap_or(now));
        }
        if !idle.is_zero() {
            let over = slots.extract_if(|_, slot| slot.idle_since.is_some_and(|since| now - since >= idle));
            over.for_each(|(_, slot)| self.release(slot));
        }
    }

    /// Releases the tenant that was unused for longest. Returns false if there is none.
    pub(super) fn make_room(&self, slots: &mut HashMap<TenantName, Slot>) -> bool {
        {
            let mut searched = self.searched.lock();
            if searched.is_some_and(|searched| searched.elapsed() < SEARCH_PAUSE) {
                return false;
            }
            *searched = Some(Instant::now());
        }
        let unused = slots.iter().filter(|(_, slot)| slot.is_unused());
        let oldest = unused.min_by_key(|(_, slot)| slot.idle_since.unwrap_or_else(Instant::now));
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return false };
        // There may be more unused tenants, so the next search need not wait.
        *self.searched.lock() = None;
        slots.remove(&name).into_iter().for_each(|slot| self.release(slot));
        true
    }

    /// Releases a tenant. Its tasks end when they have finished their pending work.
    fn release(&self, slot: Slot) {
        let Slot { tenant, .. } = slot;
        tracing::info!(tenant = %tenant.name, "released an unused tenant");
        self.released.inc();
        let history = tenant.history.clone();
        self.deps.readers.spawn(async move { history.finish().await });
    }
}
