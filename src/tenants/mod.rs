//! Tenants. Each owner of data has its own log, writer, orders and users; nothing crosses from one to another.
//!
//! A tenant starts at the first request with a token of it. A [`Tenant`] gives access to its own data only, so code that is
//! given one cannot read another's.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use tricast_auth::TenantName;
use tricast_cluster::{Behind, Cluster};
use tricast_core::{
    aggregator::{Aggregator, AggregatorConfig, AggregatorHandle, EndCounts, Stopped},
    channel::{Channel, EventName},
    clock::Clock,
    counters::{Counter, Counters},
    lives::Lives,
    log::{Change, Log, LogConfig},
    position::Position,
    presence::Presence,
};
use tricast_domain::{
    alerts::{AlertService, Alerting},
    dashboards::{DashboardService, DashboardStore},
    history::{History, HistoryConfig, HistoryStore},
    orders::{OrderService, OrderStore, RowLimits},
    relay::{EventStore, Relay},
    service::Retry,
    sources::{self, Sources, host::HostReading, own_http::OwnHttp},
};

mod peers;
mod release;
mod restoring;

use peers::OtherNodes;
use release::Slot;

/// Age at which a stored event that was not published counts as left behind; also the interval of the search for such events.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// All parts of one tenant.
pub struct Tenant {
    /// Name of the tenant.
    pub name: TenantName,
    /// Log of its channels.
    pub log: Arc<Log>,
    /// Handle of the log's single writer.
    pub aggregator: AggregatorHandle,
    /// Orders of the tenant.
    pub orders: OrderService,
    /// Dashboards of the tenant.
    pub dashboards: DashboardService,
    /// Alerts and rules of the tenant.
    pub alerts: AlertService,
    /// Publishes the events that were stored with orders, dashboards and alerts.
    pub relay: Relay,
    /// Recorded values of the tenant's metrics.
    pub history: History,
    /// Online users of the tenant.
    pub presence: Presence,
    /// HTTP requests of the tenant.
    pub own_http: Arc<OwnHttp>,
    /// Stops the tenant's sources when it is dropped; all other tasks end with the last handle.
    _alive: watch::Sender<()>,
}

impl Tenant {
    /// Waits until no restart brings a channel back that ended at or before `position`: the ends are in the store, or in the
    /// log that several nodes share. Returns false if the store does not accept them in time.
    pub async fn has_stored_ends(&self, position: &Position) -> bool {
        self.aggregator.is_clustered() || self.history.has_stored_ends(position.offset).await
    }
}

/// Dependencies and settings that all tenants share.
pub struct TenantDeps {
    /// Capacity of each log.
    pub log: LogConfig,
    /// Earlier lives of this server, by which logs accept the cursors of its previous processes.
    pub lives: Lives,
    /// Limits of each aggregator.
    pub aggregator: AggregatorConfig,
    /// Store of orders.
    pub orders: Arc<dyn OrderStore>,
    /// Limits of a tenant's orders and customers.
    pub row_limits: RowLimits,
    /// Store of events that wait for publication.
    pub events: Arc<dyn EventStore>,
    /// Most events of a tenant that may wait; 0 means no limit.
    pub max_pending_events: usize,
    /// Whether other processes also publish events of that store.
    pub shares_events: bool,
    /// Store of dashboards.
    pub dashboards: Arc<dyn DashboardStore>,
    /// Store, limits and notifiers of alerts.
    pub alerting: Alerting,
    /// Store of history.
    pub history_store: Arc<dyn HistoryStore>,
    /// Recorded channels and retention of history.
    pub history: HistoryConfig,
    /// Wall-clock time.
    pub clock: Clock,
    /// Time of the store, which nodes may share. Orders and dashboards use it.
    pub store_clock: Clock,
    /// Time zone whose midnight starts a day.
    pub zone: TimeZone,
    /// Currency of revenue.
    pub currency: String,
    /// Metrics of the server itself.
    pub counters: Arc<Counters>,
    /// Measurements of the host; `None` before the first one.
    pub host: watch::Receiver<Option<HostReading>>,
    /// Measurements of the store, as in `metrics.database`.
    pub store: watch::Receiver<Value>,
    /// Connection to the other nodes, if there is a cluster.
    pub cluster: Option<Cluster>,
    /// Runtime of aggregators and sources.
    pub runtime: Handle,
    /// Runtime of internal readers, so that they never delay an aggregator or a worker.
    pub readers: Handle,
    /// Most tenants; 0 means no limit.
    pub max_tenants: usize,
    /// Time after which an unused tenant is released. Zero: only when another one needs its slot.
    pub tenant_idle: Duration,
}

/// All tenants of the server. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    inner: Arc<Inner>,
}

struct Inner {
    known: RwLock<Known>,
    /// Set once the orders of all tenants are loaded.
    loaded: AtomicBool,
    deps: TenantDeps,
    released: Counter,
    /// Time of the last search for a tenant whose slot can be given to another one.
    searched: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<TenantName, Slot>,
    /// Notice in force on this node. Tenants that start later receive it too.
    notice: Option<Change>,
}

/// The server has reached the limit of tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this server has {0} tenants, which is the limit")]
pub struct TooManyTenants(pub usize);

impl Tenants {
    /// Creates an empty set of tenants.
    pub fn new(deps: TenantDeps) -> Self {
        let (known, released, searched) = Default::default();
        let loaded = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { known, loaded, deps, released, searched }) }
    }

    /// Returns the tenant of that name and starts it if necessary.
    ///
    /// # Errors
    /// [`TooManyTenants`].
    pub fn open(&self, name: &TenantName) -> Result<Arc<Tenant>, TooManyTenants> {
        if let Some(known) = self.inner.known.read().tenants.get(name) {
            return Ok(Arc::clone(&known.tenant));
        }
        let mut known = self.inner.known.write();
        if let Some(known) = known.tenants.get(name) {
            return Ok(Arc::clone(&known.tenant));
        }
        let most = self.inner.deps.max_tenants;
        if most > 0 && known.tenants.len() >= most && !self.inner.make_room(&mut known.tenants) {
            return Err(TooManyTenants(most));
        }
        let tenant = Arc::new(self.inner.deps.start(name.clone()));
        if let Some(notice) = known.notice.clone() {
            tenant.log.notice(notice, self.inner.deps.clock.now(), true);
        }
        known.tenants.insert(name.clone(), Slot::new(Arc::clone(&tenant)));
        Ok(tenant)
    }

    /// Returns all tenants.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.inner.known.read().tenants.values().map(|known| Arc::clone(&known.tenant)).collect()
    }

    /// Returns the parts of alerting that all tenants share.
    pub fn alerting(&self) -> &Alerting {
        &self.inner.deps.alerting
    }

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

    /// Publishes events that were left behind because the process that stored them ended or failed. If nodes share a store
    /// and a log, only the leader does it.
    pub async fn publish_left_behind(&self) {
        loop {
            let deps = &self.inner.deps;
            if !deps.shares_events || self.leads() {
                match deps.events.left_behind(LEFT_BEHIND).await {
                    Ok(names) => names.iter().for_each(|name| self.publish_events_of(name)),
                    Err(error) => tracing::debug!(%error, "cannot list the tenants with unpublished events"),
                }
            }
            sleep(LEFT_BEHIND).await;
        }
    }

    fn publish_events_of(&self, name: &str) {
        let opened = TenantName::parse(name).map_err(|error| error.to_string());
        match opened.and_then(|name| self.open(&name).map_err(|error| error.to_string())) {
            Ok(tenant) => tenant.relay.left_behind(),
            Err(error) => tracing::debug!(
                tenant = name,
                error,
                "cannot start the tenant: its events are not published until its first request"
            ),
        }
    }

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

    /// Returns the number of ended channels by cause, for all tenants of this process.
    pub fn ended(&self) -> &EndCounts {
        &self.inner.deps.aggregator.ended
    }

    /// Returns the connection to the other nodes, if there is a cluster.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.inner.deps.cluster.as_ref()
    }

    /// Returns whether other nodes may have newer values, which this node cannot read at the moment.
    pub fn is_stale(&self) -> bool {
        self.cluster().is_some_and(Cluster::is_stale)
    }

    /// Waits until `log` covers `cursor`, or has reached the end of the shared log: another node may be ahead of this one.
    ///
    /// # Errors
    /// [`Behind`] if that took too long. A client with this cursor must not be given older data.
    pub async fn catch_up(&self, log: &Log, cursor: &Position) -> Result<(), Behind> {
        match self.cluster() {
            Some(cluster) if !log.covers(cursor) => cluster.catch_up(log, cursor).await,
            _ => Ok(()),
        }
    }

    /// Returns `cursor` as a position if `log` does not cover it but another node may; `None` for an invalid cursor. Does
    /// not wait.
    pub fn ahead(&self, log: &Log, cursor: &str) -> Option<Position> {
        self.cluster()?;
        cursor.parse().ok().filter(|position| !log.covers(position))
    }

    /// Returns whether this process publishes the events that concern all nodes.
    fn leads(&self) -> bool {
        self.cluster().is_none_or(|cluster| *cluster.leads().borrow())
    }

    /// Returns whether the runtime of the aggregators makes progress.
    pub async fn respond(&self) -> bool {
        self.inner.deps.runtime.spawn(async {}).await.is_ok()
    }

    /// Stops the recorders of history after they have read everything. Call it after the aggregators stopped, or changes
    /// may be missed.
    pub async fn finish(&self) {
        futures_util::future::join_all(self.all().iter().map(|tenant| tenant.history.finish())).await;
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

    /// Returns whether the orders of all initial tenants are loaded.
    pub fn orders_loaded(&self) -> bool {
        let loaded = &self.inner.loaded;
        // A tenant that starts later does not make the server unready.
        if !loaded.load(Ordering::Relaxed) && self.all().iter().all(|tenant| tenant.orders.is_loaded()) {
            loaded.store(true, Ordering::Relaxed);
        }
        loaded.load(Ordering::Relaxed)
    }

    /// Publishes an event of the channel `system` to every tenant. In a cluster only the leader does.
    ///
    /// # Errors
    /// [`Stopped`] if the server is shutting down.
    pub async fn announce(&self, event: &str, details: &Value) -> Result<(), Stopped> {
        if self.leads() { self.announce_here(event, details).await } else { Ok(()) }
    }
}

impl TenantDeps {
    fn start(&self, name: TenantName) -> Tenant {
        let (aggregator, log, handle) = match &self.cluster {
            Some(cluster) => {
                let (log, handle) = cluster.join(name.as_str());
                (None, log, handle)
            }
            None => {
                let (epoch, earlier) = self.lives.epochs_of(name.as_str());
                let (writer, log) = Log::create_as(self.log, epoch, earlier);
                let (aggregator, handle) = Aggregator::new(writer, self.clock.clone(), self.aggregator.clone());
                (Some(aggregator), log, handle)
            }
        };
        let (relay, relay_task) =
            Relay::new(name.as_str(), Arc::clone(&self.events), handle.clone(), self.max_pending_events);
        let (orders, ledger) = OrderService::new(
            name.as_str(),
            Arc::clone(&self.orders),
            relay.clone(),
            self.store_clock.clone(),
            self.zone.clone(),
            self.currency.clone(),
            self.row_limits,
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
            log: Arc::clone(&log),
            history: history.clone(),
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
        let sources = Sources {
            aggregator: handle.clone(),
            own_http: Arc::clone(&tenant.own_http),
            presence: tenant.presence.clone(),
            host: self.host.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            zone: self.zone.clone(),
            log,
            peers: self
                .cluster
                .as_ref()
                .map(|cluster| Box::new(OtherNodes(cluster.node_reports(tenant.name.as_str()))) as _),
        };
        let mut gone = tenant._alive.subscribe();
        // The tasks end with the runtime, whose owner waits for it.
        if let Some(mut aggregator) = aggregator {
            let history = history.clone();
            let later = restoring::restore(history.clone(), handle.clone(), gone.clone(), || false);
            self.runtime.spawn(async move {
                // Restored before anything else is written, unless the store is too slow.
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
        if let Some(cluster) = self.cluster.clone() {
            let (name, loaded) = (tenant.name.clone(), cluster.clone());
            let is_done = move || cluster.has_restored(name.as_str());
            let restore = restoring::restore(history.clone(), handle.clone(), gone.clone(), is_done);
            let mut gone = gone.clone();
            self.runtime.spawn(async move {
                tokio::select! {
                    () = loaded.loaded() => restore.await,
                    _ = gone.changed() => {}
                }
            });
        }
        let mut relay_gone = gone.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = relay_task.run() => {}
                _ = relay_gone.changed() => {}
            }
        });
        self.runtime.spawn(async move {
            tokio::select! {
                () = sources.run() => {}
                // No value is ever sent; the end of the sender is the signal.
                _ = gone.changed() => {}
            }
        });
        self.runtime.spawn(ledger.run(handle.clone()));
        self.runtime.spawn(dashboard_writer.run());
        self.readers.spawn(recorder.run(handle));
        tracing::info!(tenant = %tenant.name, "tenant ready");
        tenant
    }
}
