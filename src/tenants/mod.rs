//! Tenants. Each owner of data has its own log, writer, orders and users; nothing crosses from one to another.
//!
//! A tenant starts at the first request with a token of it. A [`Tenant`] gives access to its own data only, so code with one
//! tenant cannot read another's data.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::watch, time::Instant};

use tricast_auth::TenantName;
use tricast_cluster::{Behind, Cluster};
use tricast_core::{
    aggregator::{AggregatorHandle, EndCounts},
    counters::Counter,
    log::{Change, Log},
    position::Position,
    presence::Presence,
};
use tricast_domain::{
    alerts::{AlertService, Alerting},
    dashboards::DashboardService,
    history::History,
    orders::OrderService,
    relay::Relay,
    sources::own_http::OwnHttp,
};

mod deps;
mod notices;
mod peers;
mod release;
mod restoring;
mod resuming;
mod start;

pub use deps::TenantDeps;
use release::{LostLogs, Slot};

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
    /// Time of the last search for an unused tenant, to use its slot for another one.
    searched: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<TenantName, Slot>,
    lost_logs: LostLogs,
    /// Notices in force on this node, by their conditions. Tenants that start later receive them too.
    notices: Vec<(&'static str, Change)>,
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
        let most = self.inner.deps.limits.max_tenants;
        if most > 0 && known.tenants.len() >= most && !self.inner.make_room(&mut known) {
            return Err(TooManyTenants(most));
        }
        let tenant = Arc::new(self.inner.deps.start(name.clone(), known.lost_logs.of(name)));
        for &(condition, ref notice) in &known.notices {
            tenant.log.set_late_notice(Some(notice.clone()), self.inner.deps.clock.now(), condition);
        }
        known.tenants.insert(name.clone(), Slot::new(Arc::clone(&tenant)));
        Ok(tenant)
    }

    /// Returns the tenants that have started, in any order.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.inner.known.read().tenants.values().map(|known| Arc::clone(&known.tenant)).collect()
    }

    /// Returns the parts of alerting that all tenants share.
    pub fn alerting(&self) -> &Alerting {
        &self.inner.deps.alerting
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
    /// [`Behind`] if that took too long. A client with this cursor must not receive older data.
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

    /// Returns whether the orders of all initial tenants are loaded.
    pub fn orders_loaded(&self) -> bool {
        let loaded = &self.inner.loaded;
        // A tenant that starts later does not make the server unready.
        if !loaded.load(Ordering::Relaxed) && self.all().iter().all(|tenant| tenant.orders.is_loaded()) {
            loaded.store(true, Ordering::Relaxed);
        }
        loaded.load(Ordering::Relaxed)
    }
}
