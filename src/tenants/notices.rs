//! Events and notices of the channel `system`, for all tenants.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Tenants;
use tricast_core::{
    aggregator::Stopped,
    channel::{Channel, EventName},
    log::Change,
};
use tricast_domain::sources;

impl Tenants {
    /// Sends a notice outside of the log to the readers of `system` on this node, for every tenant: the condition `reason`
    /// has begun (`degraded`), or ended (`recovered`). While it lasts, readers and tenants that start later get it too.
    pub fn notice(&self, reason: &'static str, has_begun: bool) {
        let Some(notice) = notice(reason, has_begun) else { return };
        let now = self.inner.deps.clock.now();
        let mut known = self.inner.known.write();
        for slot in known.tenants.values() {
            slot.tenant.log.notice(notice.clone(), now, reason, has_begun);
        }
        known.notices.retain(|(of, _)| *of != reason);
        known.notices.extend(has_begun.then_some((reason, notice)));
    }

    /// Publishes that the condition `reason` has begun (`degraded`), or ended (`recovered`), as [`Tenants::announce`] does.
    /// While it lasts, readers of this node that subscribe to `system` later get a notice of it.
    ///
    /// # Errors
    /// [`Stopped`] if the server is shutting down.
    pub async fn announce_condition(&self, reason: &'static str, has_begun: bool) -> Result<(), Stopped> {
        let late = notice(reason, has_begun).filter(|_| has_begun);
        {
            let now = self.inner.deps.clock.now();
            let mut known = self.inner.known.write();
            for slot in known.tenants.values() {
                slot.tenant.log.set_late_notice(late.clone(), now, reason);
            }
            known.notices.retain(|(of, _)| *of != reason);
            known.notices.extend(late.map(|notice| (reason, notice)));
        }
        self.announce(name_of(has_begun), &json!({"reason": reason})).await
    }

    /// Publishes an event of the channel `system` to every tenant. In a cluster only the leader does.
    ///
    /// # Errors
    /// [`Stopped`] if the server is shutting down.
    pub async fn announce(&self, event: &str, details: &Value) -> Result<(), Stopped> {
        if self.leads() { self.announce_here(event, details).await } else { Ok(()) }
    }

    /// Publishes an event of the channel `system` about this node to every tenant, whether it leads or not.
    ///
    /// # Errors
    /// [`Stopped`] if the server is shutting down.
    pub async fn announce_here(&self, event: &str, details: &Value) -> Result<(), Stopped> {
        for tenant in self.all() {
            sources::announce(&tenant.aggregator, event, details.clone()).await?;
        }
        Ok(())
    }
}

/// Returns the name of the event about a condition.
fn name_of(has_begun: bool) -> &'static str {
    if has_begun { "degraded" } else { "recovered" }
}

fn notice(reason: &str, has_begun: bool) -> Option<Change> {
    let (channel, event) = (Channel::parse("system").ok()?, EventName::parse(name_of(has_begun)).ok()?);
    Some(Change::event(channel, event, Bytes::from(json!({"reason": reason}).to_string())))
}
