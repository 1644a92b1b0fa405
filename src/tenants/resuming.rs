//! Tenants that start without a request, because they have work to do.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Tenants;
use tricast_auth::TenantName;
use tricast_domain::service::Retry;

/// Age at which a stored event that was not published is overdue; also the interval of the search for such events.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);

impl Tenants {
    /// Starts the tenants that have rules or alerts, because a rule may wait for the absence of values. Retries until the
    /// store lists them. A tenant beyond the limit starts at its first request.
    pub async fn resume(&self) {
        let store = Arc::clone(&self.alerting().store);
        let mut retry = Retry::loading("the tenants with alert rules", None);
        let names = loop {
            match store.tenants().await {
                Ok(names) => break names,
                Err(error) => retry.after(&error).await,
            }
        };
        for name in names {
            let opened = TenantName::parse(&name).map_err(|error| error.to_string());
            if let Err(error) = opened.and_then(|name| self.open(&name).map_err(|error| error.to_string())) {
                tracing::warn!(
                    tenant = name,
                    error,
                    "cannot start the tenant: its alert rules are not evaluated until its first request"
                );
            }
        }
    }

    /// Publishes overdue events, which were not published because the process that stored them ended or failed. If nodes share a store
    /// and a log, only the leader does it.
    pub async fn publish_overdue(&self) {
        loop {
            let deps = &self.inner.deps;
            if !deps.shares_events || self.leads() {
                match deps.events.overdue(OVERDUE_AFTER).await {
                    Ok(names) => names.iter().for_each(|name| self.publish_events_of(name)),
                    Err(error) => tracing::debug!(%error, "cannot list the tenants with unpublished events"),
                }
            }
            sleep(OVERDUE_AFTER).await;
        }
    }

    fn publish_events_of(&self, name: &str) {
        let opened = TenantName::parse(name).map_err(|error| error.to_string());
        match opened.and_then(|name| self.open(&name).map_err(|error| error.to_string())) {
            Ok(tenant) => tenant.relay.overdue(),
            Err(error) => tracing::debug!(
                tenant = name,
                error,
                "cannot start the tenant: its events are not published until its first request"
            ),
        }
    }
}
