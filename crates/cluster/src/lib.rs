//! Several nodes with one log: a push to any node is decided once and read by all, at the same offsets.
//!
//! ```text
//! batches ─▶ sender ─▶ inbox ─▶ leader: one Decider a tenant ─▶ log ─▶ follower ─▶ LogWriter ─▶ readers
//!            each node  └────────────── Redis, one elected node ──┘     each node
//! ```
//!
//! | file | task |
//! |---|---|
//! | `sender` | sends the pushes of this node's clients and sources to the inbox, in order and once |
//! | `election` | heartbeats: the election of a leader, detection of a lost log |
//! | `leader`, `bootstrap` | decides the groups in the inbox and writes the log (`takeover`: continues that of another leader); bootstraps a log |
//! | `catch_up` | waits until this node has read up to a cursor that another node issued |
//! | `follower` | reads the log, or loads it after a gap |
//! | `health`, `time` | health of this node: can it read and write; its clock, compared with that of Redis |
//! | `redis_settings` | warns of settings of Redis with which it may lose data |
//! | `node_reports` | measurements and online users of each node |
//! | `sessions` | sessions of clients that any node may continue |
//! | `scripts`, `keys`, `wire`, `stream` | commands and formats in Redis |
//! | `config`, `connection` | connections: one server, sentinels, a cluster |
//!
//! Data that Redis has confirmed survive the failure of a node: the next leader continues where the last one stopped.
//! While Redis cannot be reached nothing is decided; every node serves its current state, and pushes wait for some time
//! and are then refused. If Redis comes back without the log, a node bootstraps a new one, with the newest values and
//! another epoch.

use std::{fs, io, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::SignedDuration;
use redis::cmd;
use tokio::{runtime::Handle, sync::watch, time::timeout};

use tricast_core::{
    aggregator::{AggregatorConfig, AggregatorHandle},
    clock::{Clock, ClockSetter},
    log::{Log, LogConfig},
};

mod bootstrap;
mod catch_up;
mod config;
mod connection;
mod election;
mod follower;
mod health;
mod keys;
mod leader;
mod metrics;
mod node;
mod node_reports;
mod redis_settings;
mod scripts;
mod sender;
mod sessions;
#[cfg(test)]
mod simulation;
mod stream;
mod term_error;
mod time;
mod wire;

pub use catch_up::Behind;
pub use config::{BusConfig, ClusterConfig, check_bus_url};
pub use health::{Fault, WriteRefusal};
pub use metrics::Metrics;
use node::Node;
pub use node_reports::{Gathered, NodeReports};
pub use sessions::{Claimed, Edition, SessionCopy};
pub use time::TOLERANCE as CLOCK_TOLERANCE;

/// Longest time that a stopping node waits for the end of its term.
const RESIGNING: Duration = Duration::from_secs(2);

/// Reason why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Description of the fault of the URL, without the URL.
    #[error("bus: {0}")]
    Url(String),
    /// The file of authorities cannot be read.
    #[error("cluster.ca_file: {0}")]
    Authorities(io::Error),
}

/// Error: Redis cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus can't be reached")]
pub struct Unreachable;

/// Membership of this process in a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
    handle: AggregatorHandle,
}

impl Cluster {
    /// Joins the cluster; all work is done on `runtime`. Redis need not be reachable yet. `own_clock` is the clock of
    /// this machine, `clock` the one that is set by Redis.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn start(
        config: BusConfig,
        own_clock: Clock,
        clock: (Clock, ClockSetter),
        log: LogConfig,
        aggregator: AggregatorConfig,
        runtime: &Handle,
    ) -> Result<Self, BusError> {
        let ca = config.cluster.ca_file.as_ref().map(fs::read).transpose().map_err(BusError::Authorities)?;
        let target = config::target(&config.url, ca).map_err(BusError::Url)?;
        let push_timeout = config.cluster.push_timeout.0;
        let node = Arc::new(Node::new(config, connection::Link::new(target), own_clock, clock, log, aggregator));
        let (cluster, tasks) = Self::of(node, push_timeout);
        tasks.into_iter().for_each(|task| drop(runtime.spawn(task)));
        runtime.spawn(redis_settings::run(Arc::clone(&cluster.node)));
        tracing::info!(node = cluster.node.id, "joined the cluster");
        Ok(cluster)
    }

    /// Returns the cluster of `node`, and the tasks of the node.
    fn of(node: Arc<Node>, push_timeout: Duration) -> (Self, [BoxFuture<'static, ()>; 4]) {
        let (handle, batches) = AggregatorHandle::new(Some(push_timeout), node.leads.subscribe());
        let tasks = [
            election::run(Arc::clone(&node)).boxed(),
            follower::run(Arc::clone(&node)).boxed(),
            leader::run(Arc::clone(&node)).boxed(),
            sender::run(Arc::clone(&node), batches).boxed(),
        ];
        (Self { node, handle }, tasks)
    }

    /// Returns the log of `tenant` as this node reads it, and the handle for writing it.
    pub fn join(&self, tenant: &str) -> (Arc<Log>, AggregatorHandle) {
        (self.node.replica(tenant), self.handle.of_tenant(tenant))
    }

    /// Waits until the log is read for the first time.
    pub async fn loaded(&self) {
        let mut followed = self.node.followed.subscribe();
        // The sender lives as long as the node.
        drop(followed.wait_for(Option::is_some).await);
    }

    /// Waits until the log is read for the first time; returns false if that takes longer than `patience`.
    pub async fn is_loaded(&self, patience: Duration) -> bool {
        timeout(patience, self.loaded()).await.is_ok()
    }

    /// Returns whether the log is read, and there is no fault.
    pub fn is_ready(&self) -> bool {
        self.node.followed.borrow().is_some() && self.node.health.fault().borrow().is_none()
    }

    /// Returns a watch of the current fault; `None` while there is none.
    pub fn fault(&self) -> watch::Receiver<Option<Fault>> {
        self.node.health.fault()
    }

    /// Returns the lead of this node's clock over that of Redis. `None` while it is unknown.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        self.node.time.ahead()
    }

    /// Returns a watch of the lead of this node's clock while it exceeds [`CLOCK_TOLERANCE`].
    pub fn clock_off(&self) -> watch::Receiver<Option<SignedDuration>> {
        self.node.time.off()
    }

    /// Returns a watch of the number of logs that this node bootstrapped without all samples of the previous one.
    pub fn samples_lost(&self) -> watch::Receiver<u64> {
        self.node.samples_lost.subscribe()
    }

    /// Returns whether the last values of history were restored into the log of `tenant`, as far as this node has read.
    pub fn has_restored(&self, tenant: &str) -> bool {
        self.node.published(tenant).has_restored()
    }

    /// Returns a watch of whether this node is the leader.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.node.leads.subscribe()
    }

    /// Returns the name of this node.
    pub fn name(&self) -> &str {
        &self.node.config.node
    }

    /// Returns the metrics of the node.
    pub fn metrics(&self) -> &Metrics {
        &self.node.metrics
    }

    /// Returns the number of groups of batches that wait for a reply.
    pub fn pending(&self) -> usize {
        self.node.pending()
    }

    /// Returns the node reports of one tenant.
    pub fn node_reports(&self, tenant: &str) -> NodeReports {
        NodeReports::new(Arc::clone(&self.node), tenant)
    }

    /// Passes the lead to another node, if this one leads. Later pushes are decided there.
    pub async fn leave(&self) {
        self.node.leaving.send_replace(true);
        let leads = *self.node.leads.borrow();
        if leads {
            let mut leads = self.node.leads.subscribe();
            // The lease of a leader that cannot end its term in time expires a moment later.
            drop(timeout(RESIGNING, leads.wait_for(|leads| !leads)).await);
        }
        self.node.resign();
    }

    /// Stores a value that one node may take, once, within some time.
    pub async fn store_once(&self, name: &str, value: &[u8], lifetime: Duration) {
        self.set(self.node.keys.one_time(name), value, lifetime).await;
    }

    /// Takes the value that was stored under `name`: no other node gets it. `None` if there is none (any more).
    ///
    /// # Errors
    /// [`Unreachable`]: the outcome is unknown.
    pub async fn take_once(&self, name: &str) -> Result<Option<Vec<u8>>, Unreachable> {
        let key = self.node.keys.one_time(name);
        let taken = self.node.link.request(async |connection| cmd("GETDEL").arg(key).query_async(connection).await);
        taken.await.map_err(|_| Unreachable)
    }

    /// Returns a response that was cached under `key` for a tenant and has not expired.
    pub async fn cached(&self, tenant: &str, key: &str) -> Option<Vec<u8>> {
        let key = self.node.keys.tenant(tenant, key);
        self.node.link.request(async |connection| cmd("GET").arg(key).query_async(connection).await).await.ok()?
    }

    /// Caches a response for some time. A failure is ignored.
    pub async fn cache(&self, tenant: &str, key: &str, response: &[u8], lifetime: Duration) {
        self.set(self.node.keys.tenant(tenant, key), response, lifetime).await;
    }

    async fn set(&self, key: String, value: &[u8], lifetime: Duration) {
        let stored = self.node.link.request(async |connection| {
            cmd("SET").arg(key).arg(value).arg("EX").arg(lifetime.as_secs().max(1)).query_async::<()>(connection).await
        });
        if let Err(error) = stored.await {
            tracing::debug!(%error, "cannot store a temporary value in Redis");
        }
    }
}
