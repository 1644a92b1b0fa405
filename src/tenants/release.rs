//! Letting tenants go that have nothing and nobody: they would take up memory, tasks and a place among `limits.max_tenants`.
//!
//! Nothing is lost by it. What is in the store is read again when somebody comes back. The log begins anew (in a cluster it
//! stays), and had nothing in it but what the server measures by itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Inner, Tenant, Tenants};
use tricast_auth::TenantName;

/// How often it is looked who can go.
const EVERY: Duration = Duration::from_secs(5);

/// How often it is looked who can give up a place at most, however many want one.
const PRESSED: Duration = Duration::from_millis(500);

/// A tenant, and since when it could go.
pub(super) struct Place {
    pub(super) tenant: Arc<Tenant>,
    idle_since: Option<Instant>,
}

impl Place {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, idle_since: None }
    }

    /// Whether nobody holds it, nothing in it would be lost, and nothing is on its way.
    fn is_unused(&self) -> bool {
        let Tenant { presence, log, alerts, orders, dashboards, relay, .. } = &*self.tenant;
        // Under the lock of the map nobody can get another reference than from one that is there.
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
    /// Releases tenants that had nothing and nobody for as long as the blueprint says, until the task is ended.
    pub async fn tend(self) {
        let idle = self.inner.blueprint.tenant_idle;
        loop {
            sleep(if idle.is_zero() { EVERY } else { EVERY.min(idle) }).await;
            self.inner.look(idle);
        }
    }

    /// Tenants that were released since the start.
    pub fn released(&self) -> u64 {
        self.inner.released.get()
    }
}

impl Inner {
    /// Notes who could go, and releases those that could for `idle`.
    fn look(&self, idle: Duration) {
        let now = Instant::now();
        let places = &mut self.known.write().tenants;
        for place in places.values_mut() {
            // The day's peak of users ends with the tenant: it stays until midnight.
            let is_unused = place.is_unused() && place.tenant.presence.online().peak_today == 0;
            place.idle_since = is_unused.then_some(place.idle_since.unwrap_or(now));
        }
        if !idle.is_zero() {
            let over = places.extract_if(|_, place| place.idle_since.is_some_and(|since| now - since >= idle));
            over.for_each(|(_, place)| self.release(place));
        }
    }

    /// Releases the tenant that was unused for longest; false when there is none.
    pub(super) fn make_room(&self, places: &mut HashMap<TenantName, Place>) -> bool {
        {
            let mut pressed = self.pressed.lock();
            if pressed.is_some_and(|pressed| pressed.elapsed() < PRESSED) {
                return false;
            }
            *pressed = Some(Instant::now());
        }
        let unused = places.iter().filter(|(_, place)| place.is_unused());
        let oldest = unused.min_by_key(|(_, place)| place.idle_since.unwrap_or_else(Instant::now));
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return false };
        // It may be that more come: the next one need not wait.
        *self.pressed.lock() = None;
        places.remove(&name).into_iter().for_each(|place| self.release(place));
        true
    }

    /// Lets a tenant go. Its tasks end when they have done what was handed in.
    fn release(&self, place: Place) {
        let Place { tenant, .. } = place;
        tracing::info!(tenant = %tenant.name, "released: it had nothing and nobody");
        self.released.inc();
        let history = tenant.history.clone();
        self.blueprint.readers.spawn(async move { history.finish().await });
    }
}
