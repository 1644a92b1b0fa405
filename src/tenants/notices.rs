//! Events and notices of the channel `system`, for all tenants.

use bytes::Bytes;
use serde_json::Value;

use super::Tenants;
use tricast_core::{
    aggregator::Stopped,
    channel::{Channel, EventName},
    log::Change,
};
use tricast_domain::sources;

impl Tenants {
    /// Sends a notice outside of the log to the readers of `system` on this node, for every tenant. A `lasting` notice stays
    /// in force until the next one: readers and tenants that start later receive it too.
    pub fn notice(&self, event: &str, details: &Value, lasting: bool) {
        let (Ok(channel), Ok(event)) = (Channel::parse("system"), EventName::parse(event)) else { return };
        let notice = Change::event(channel, event, Bytes::from(details.to_string()));
        let mut known = self.inner.known.write();
        for slot in known.tenants.values() {
            slot.tenant.log.notice(notice.clone(), self.inner.deps.clock.now(), lasting);
        }
        known.notice = lasting.then_some(notice);
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
