//! Start of a tenant: its log, its services and their tasks.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

use super::{Tenant, TenantDeps, peers::OtherNodes, restoring};
use tricast_auth::TenantName;
use tricast_core::{
    aggregator::{Aggregator, AggregatorHandle},
    log::Log,
    presence::Presence,
};
use tricast_domain::{
    alerts::AlertService,
    dashboards::DashboardService,
    history::History,
    orders::{OrderService, RowLimits},
    relay::Relay,
    sources::Sources,
};

impl TenantDeps {
    /// Starts all parts of a tenant that has had `lost_logs` in this process. Its data is loaded by the tasks.
    pub(super) fn start(&self, name: TenantName, lost_logs: u32) -> Tenant {
        let (aggregator, log, handle) = self.log(&name, lost_logs);
        let (relay, relay_task) =
            Relay::new(name.as_str(), Arc::clone(&self.events), handle.clone(), self.limits.max_pending_events);
        let (orders, ledger) = OrderService::new(
            name.as_str(),
            Arc::clone(&self.orders),
            relay.clone(),
            self.store_clock.clone(),
            self.zone.clone(),
            self.currency.clone(),
            RowLimits::from(&self.limits),
        );
        let (dashboards, dashboard_writer) =
            DashboardService::new(name.as_str(), Arc::clone(&self.dashboards), relay.clone(), self.store_clock.clone());
        let (alerts, watcher) = AlertService::new(
            name.as_str(),
            self.alerting.clone(),
            Arc::clone(&log),
            relay.clone(),
            self.clock.clone(),
        );
        let (history, recorder) = History::new(
            name.as_str(),
            self.history,
            Arc::clone(&self.history_store),
            Arc::clone(&log),
            self.clock.clone(),
            self.zone.clone(),
            Arc::clone(&self.counters),
        );
        let tenant = Tenant {
            name,
            log,
            history,
            aggregator: handle.clone(),
            orders,
            dashboards,
            alerts,
            relay,
            presence: Presence::default(),
            own_http: Arc::default(),
            _alive: watch::Sender::new(()),
        };
        self.readers.spawn(watcher.run(handle.clone()));
        if let Some(aggregator) = aggregator {
            self.run_aggregator(aggregator, &tenant);
        }
        self.restore_in_cluster(&tenant);
        self.run_while_alive(&tenant, relay_task.run());
        self.run_while_alive(&tenant, self.sources(&tenant).run());
        self.runtime.spawn(ledger.run(handle.clone()));
        self.runtime.spawn(dashboard_writer.run());
        self.readers.spawn(recorder.run(handle));
        tracing::info!(tenant = %tenant.name, "tenant ready");
        tenant
    }

    /// Returns the log of a tenant and the handle of its writer; without a cluster also the writer, which has to be run.
    fn log(&self, name: &TenantName, lost_logs: u32) -> (Option<Aggregator>, Arc<Log>, AggregatorHandle) {
        if let Some(cluster) = &self.cluster {
            let (log, handle) = cluster.join(name.as_str());
            return (None, log, handle);
        }
        let (epoch, earlier) = self.lives.epochs_of(name.as_str(), lost_logs);
        let (writer, log) = Log::create_as(self.log, epoch, earlier);
        let (aggregator, handle) = Aggregator::new(writer, self.clock.clone(), self.aggregator.clone());
        (Some(aggregator), log, handle)
    }

    /// Starts the aggregator of this process. The values from history are restored before other readings are accepted, unless
    /// the store is too slow.
    fn run_aggregator(&self, mut aggregator: Aggregator, tenant: &Tenant) {
        let history = tenant.history.clone();
        let later = restoring::restore(history.clone(), tenant.aggregator.clone(), tenant._alive.subscribe(), || false);
        // The task ends with the runtime; the owner of the runtime waits for that.
        self.runtime.spawn(async move {
            match history.last_values().await {
                Ok(values) => {
                    // It holds a handle, and the aggregator runs as long as there is one.
                    drop(later);
                    aggregator.restore(values);
                }
                Err(_) => drop(tokio::spawn(later)),
            }
            aggregator.run().await;
        });
    }

    /// Restores the values from history into the log of a cluster once that is loaded, unless another node has done it.
    fn restore_in_cluster(&self, tenant: &Tenant) {
        let Some(cluster) = self.cluster.clone() else { return };
        let (name, loaded) = (tenant.name.clone(), cluster.clone());
        let is_done = move || cluster.has_restored(name.as_str());
        let alive = tenant._alive.subscribe();
        let restore = restoring::restore(tenant.history.clone(), tenant.aggregator.clone(), alive, is_done);
        self.run_while_alive(tenant, async move {
            loaded.loaded().await;
            restore.await;
        });
    }

    /// Returns the built-in sources of a tenant.
    fn sources(&self, tenant: &Tenant) -> Sources {
        let peers = self.cluster.as_ref().map(|cluster| cluster.node_reports(tenant.name.as_str()));
        Sources {
            aggregator: tenant.aggregator.clone(),
            own_http: Arc::clone(&tenant.own_http),
            presence: tenant.presence.clone(),
            shared: self.measurements.clone(),
            clock: self.clock.clone(),
            zone: self.zone.clone(),
            log: Arc::clone(&tenant.log),
            peers: peers.map(|reports| Box::new(OtherNodes(reports)) as _),
        }
    }

    /// Runs a task until it completes, or the tenant is released.
    fn run_while_alive(&self, tenant: &Tenant, task: impl Future<Output = ()> + Send + 'static) {
        let mut gone = tenant._alive.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                () = task => {}
                // No value is ever sent; the end of the sender is the signal.
                _ = gone.changed() => {}
            }
        });
    }
}
