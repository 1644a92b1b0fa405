//! Parts that the alerts of all tenants share.

use std::sync::Arc;

use tokio::sync::watch;

use super::{AlertConfig, AlertStore, Metrics, Target};

/// Store, settings and counters that the alerts of all tenants share. Cheap to clone.
#[derive(Clone)]
pub struct Alerting {
    /// Store of rules, alerts and deliveries.
    pub store: Arc<dyn AlertStore>,
    /// Limits of a tenant's alerts, and the times for which they are stored.
    pub config: AlertConfig,
    /// Targets that are configured.
    pub targets: Vec<Target>,
    /// Counters for the metrics page.
    pub metrics: Arc<Metrics>,
    /// Notifies the outbox of new deliveries.
    pub outgoing: watch::Sender<()>,
}
