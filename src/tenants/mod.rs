//! Tenants: each owner of data has a log, a writer, orders and users of its own, and nothing crosses.
//!
//! A tenant begins when somebody with a token of it comes for the first time. Whoever holds a [`Tenant`] can reach the
//! data of this one alone, so code that is given a tenant can't ask for another's.

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
    counters::{Count, Counters},
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

use peers::Others;
use release::Place;

/// After this time an event that was stored and not published is left behind; how often that is looked for.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Everything that belongs to one tenant.
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Its log.
    pub log: Arc<Log>,
    /// The writer of the log.
    pub aggregator: AggregatorHandle,
    /// Its orders.
    pub orders: OrderService,
    /// Its boards.
    pub dashboards: DashboardService,
    /// Its alerts.
    pub alerts: AlertService,
    /// What publishes the events that were stored with its orders, boards and alerts.
    pub relay: Relay,
    /// What its numbers were.
    pub history: History,
    /// Its users.
    pub presence: Presence,
    /// Its HTTP traffic.
    pub own_http: Arc<OwnHttp>,
    /// Ends its sources when it is dropped; everything else ends with the last handle.
    _alive: watch::Sender<()>,
}

/// What every tenant is made from.
pub struct Blueprint {
    /// How far back events are kept, for each.
    pub log: LogConfig,
    /// By them logs of this process know cursors of earlier ones.
    pub lives: Lives,
    /// Limits of each one's data.
    pub aggregator: AggregatorConfig,
    /// Where orders are kept.
    pub orders: Arc<dyn OrderStore>,
    /// Limits of each one's orders and customers.
    pub row_limits: RowLimits,
    /// Where events are kept until they are published.
    pub events: Arc<dyn EventStore>,
    /// Number of them that may wait of each tenant; 0 means any number.
    pub max_pending_events: usize,
    /// Whether other processes publish events of that store, too.
    pub shares_events: bool,
    /// Where boards are kept.
    pub dashboards: Arc<dyn DashboardStore>,
    /// What the alerts of all share.
    pub alerting: Alerting,
    /// Where history is kept.
    pub history_store: Arc<dyn HistoryStore>,
    /// What is recorded of each, and how long it is kept.
    pub history: HistoryConfig,
    /// Wall-clock time.
    pub clock: Clock,
    /// The time that orders and dashboards go by: that of the store, which other nodes may share.
    pub store_clock: Clock,
    /// Where midnight is.
    pub zone: TimeZone,
    /// Of revenue.
    pub currency: String,
    /// The server's own numbers.
    pub counters: Arc<Counters>,
    /// This host, measured; `None` until it was.
    pub host: watch::Receiver<Option<HostReading>>,
    /// The store, as `metrics.database` shows it.
    pub store: watch::Receiver<Value>,
    /// The other nodes, where there may be some.
    pub cluster: Option<Cluster>,
    /// Where writers and sources run.
    pub runtime: Handle,
    /// Where inner readers of the logs run: they never make a writer or a worker wait.
    pub readers: Handle,
    /// Most tenants; 0 means no limit.
    pub max_tenants: usize,
    /// A tenant that has nothing and nobody is released after this time; zero: only where another one needs its place.
    pub tenant_idle: Duration,
}

/// All tenants of this server. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    inner: Arc<Inner>,
}

struct Inner {
    known: RwLock<Known>,
    /// The orders of all tenants could be served once.
    loaded: AtomicBool,
    blueprint: Blueprint,
    released: Count,
    /// When it was last looked whether a tenant can give up its place to another one.
    pressed: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<TenantName, Place>,
    /// What holds on this node at the moment: tenants that begin later are told of it, too.
    standing: Option<Change>,
}

/// The server has as many tenants as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this server has {0} tenants, which is the limit")]
pub struct TooManyTenants(pub usize);

impl Tenants {
    /// No tenants yet.
    pub fn new(blueprint: Blueprint) -> Self {
        let (known, released, pressed) = Default::default();
        let loaded = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { known, loaded, blueprint, released, pressed }) }
    }

    /// The tenant of that name, begun if nobody was here before.
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
        let most = self.inner.blueprint.max_tenants;
        if most > 0 && known.tenants.len() >= most && !self.inner.make_room(&mut known.tenants) {
            return Err(TooManyTenants(most));
        }
        let tenant = Arc::new(self.inner.blueprint.begin(name.clone()));
        if let Some(standing) = known.standing.clone() {
            tenant.log.notice(standing, self.inner.blueprint.clock.now(), true);
        }
        known.tenants.insert(name.clone(), Place::new(Arc::clone(&tenant)));
        Ok(tenant)
    }

    /// Every tenant there is.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.inner.known.read().tenants.values().map(|known| Arc::clone(&known.tenant)).collect()
    }

    /// What the alerts of all tenants share.
    pub fn alerting(&self) -> &Alerting {
        &self.inner.blueprint.alerting
    }

    /// Begins the tenants that have rules or alerts, however long the store takes to say which: what a rule waits for may
    /// be that somebody does not come. One beyond the limit waits for its first visitor.
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
                tracing::warn!(tenant = name, error, "its alert rules are not watched until somebody comes");
            }
        }
    }

    /// Has events published that nobody has published in the moments after they were stored, because the process that stored
    /// them has ended or can't. Where several nodes share a store and a log, the one that leads does.
    pub async fn publish_left_behind(&self) {
        loop {
            let blueprint = &self.inner.blueprint;
            if !blueprint.shares_events || self.leads() {
                match blueprint.events.left_behind(LEFT_BEHIND).await {
                    Ok(names) => names.iter().for_each(|name| self.publish_events_of(name)),
                    Err(error) => tracing::debug!(%error, "the store does not say which events are pending"),
                }
            }
            sleep(LEFT_BEHIND).await;
        }
    }

    fn publish_events_of(&self, name: &str) {
        let opened = TenantName::parse(name).map_err(|error| error.to_string());
        match opened.and_then(|name| self.open(&name).map_err(|error| error.to_string())) {
            Ok(tenant) => tenant.relay.left_behind(),
            Err(error) => tracing::debug!(tenant = name, error, "its events wait until somebody comes"),
        }
    }

    /// Gives the readers of `system` of every tenant on this node alone a notice beside the log. One that `stands` holds until
    /// the next one: readers and tenants that come later are given it, too.
    pub fn notice(&self, event: &str, details: &Value, stands: bool) {
        let (Ok(channel), Ok(event)) = (Channel::parse("system"), EventName::parse(event)) else { return };
        let notice = Change::event(channel, event, Bytes::from(details.to_string()));
        let mut known = self.inner.known.write();
        for place in known.tenants.values() {
            place.tenant.log.notice(notice.clone(), self.inner.blueprint.clock.now(), stands);
        }
        known.standing = stands.then_some(notice);
    }

    /// How many channels of all tenants this process has ended.
    pub fn ended(&self) -> &EndCounts {
        &self.inner.blueprint.aggregator.ended
    }

    /// The other nodes, where there may be some.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.inner.blueprint.cluster.as_ref()
    }

    /// Whether there may be newer values elsewhere, which this node can't read at the moment.
    pub fn is_stale(&self) -> bool {
        self.cluster().is_some_and(Cluster::is_stale)
    }

    /// Waits until `log` covers `cursor`, or has all there is: another node may have read more than this one.
    ///
    /// # Errors
    /// [`Behind`]: this node can't, in time. Whoever holds the cursor must not be given what is here.
    pub async fn catch_up(&self, log: &Log, cursor: &Position) -> Result<(), Behind> {
        match self.cluster() {
            Some(cluster) if !log.covers(cursor) => cluster.catch_up(log, cursor).await,
            _ => Ok(()),
        }
    }

    /// The same at once: `cursor` as a position that `log` does not cover, although another node may; `None` for what is no
    /// cursor.
    pub fn ahead(&self, log: &Log, cursor: &str) -> Option<Position> {
        self.cluster()?;
        cursor.parse().ok().filter(|position| !log.covers(position))
    }

    /// Whether this process is the one that tells all tenants what concerns all nodes.
    fn leads(&self) -> bool {
        self.cluster().is_none_or(|cluster| *cluster.leads().borrow())
    }

    /// Whether the thread of the writers takes its turn.
    pub async fn respond(&self) -> bool {
        self.inner.blueprint.runtime.spawn(async {}).await.is_ok()
    }

    /// Ends what reads the logs from inside, once it has read all. After the writers, or something may be missed.
    pub async fn finish(&self) {
        futures_util::future::join_all(self.all().iter().map(|tenant| tenant.history.finish())).await;
    }

    /// Publishes an event of the channel `system` that is about this node to every tenant, whichever node leads.
    ///
    /// # Errors
    /// [`Stopped`] when the server is going away.
    pub async fn announce_here(&self, event: &str, details: &Value) -> Result<(), Stopped> {
        for tenant in self.all() {
            sources::announce(&tenant.aggregator, event, details.clone()).await?;
        }
        Ok(())
    }

    /// Whether the orders of all tenants with which the server began can be served.
    pub fn orders_loaded(&self) -> bool {
        let loaded = &self.inner.loaded;
        // A tenant that comes later makes a server no less ready.
        if !loaded.load(Ordering::Relaxed) && self.all().iter().all(|tenant| tenant.orders.is_loaded()) {
            loaded.store(true, Ordering::Relaxed);
        }
        loaded.load(Ordering::Relaxed)
    }

    /// Publishes an event of the channel `system` to every tenant. In a cluster the node that leads does, or nobody.
    ///
    /// # Errors
    /// [`Stopped`] when the server is going away.
    pub async fn announce(&self, event: &str, details: &Value) -> Result<(), Stopped> {
        if self.leads() { self.announce_here(event, details).await } else { Ok(()) }
    }
}

impl Blueprint {
    fn begin(&self, name: TenantName) -> Tenant {
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
            peers: self.cluster.as_ref().map(|cluster| Box::new(Others(cluster.census(tenant.name.as_str()))) as _),
        };
        let mut gone = tenant._alive.subscribe();
        // They end with the runtime, whose owner waits for it.
        if let Some(mut aggregator) = aggregator {
            let history = history.clone();
            let later = restoring::restore(history.clone(), handle.clone(), gone.clone(), || false);
            self.runtime.spawn(async move {
                // Before anything else is written, unless the store keeps that waiting.
                match history.last_values().await {
                    Ok(values) => {
                        // It holds a handle, and the aggregator runs until there is none.
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
                // Nothing is ever sent: the sender is gone.
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
