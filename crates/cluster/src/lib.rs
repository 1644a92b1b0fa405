//! Several nodes with one log: what is pushed to any of them is decided once and read by all, at the same offsets.
//!
//! ```text
//! batches ─▶ sender ─▶ inbox ─▶ leader: one Decider a tenant ─▶ log ─▶ follower ─▶ LogWriter ─▶ readers
//!            each node  └────────────── Redis, one elected node ──┘     each node
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `sender` | hands in what this node's clients and sources push, in order and once |
//! | `election` | says that this node lives, hears who leads, notices a log that was lost |
//! | `leader`, `founding` | decides about what is in the inbox and writes the log (`succession`: goes on where another one ended); begins a log |
//! | `catch_up` | waits until this node has read as far as a cursor that was given elsewhere |
//! | `follower` | reads the log, or loads it where too much was missed |
//! | `health`, `time` | whether this node can read and write; its clock, compared with that of Redis |
//! | `preflight` | warns of settings of Redis with which it does not keep what it is told |
//! | `census` | what each node measured, and who is online |
//! | `scripts`, `keys`, `wire`, `stream` | what is said to Redis |
//! | `config`, `connection` | where it is: one server, sentinels, a cluster |
//!
//! What Redis was told of once is not lost by a node that dies: the next leader goes on where the last one ended. While
//! Redis can't be reached nobody decides; every node serves what it has, pushes wait for some time and are then refused.
//! A Redis that comes back without the log gets a new one, with the newest values and another epoch.

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

mod catch_up;
mod census;
mod config;
mod connection;
mod election;
mod ended;
mod figures;
mod follower;
mod founding;
mod health;
mod keys;
mod leader;
mod node;
mod preflight;
mod scripts;
mod sender;
#[cfg(test)]
mod simulation;
mod stream;
mod time;
mod wire;

pub use catch_up::Behind;
pub use census::{Census, Gathered};
pub use config::{ClusterConfig, check_bus_url};
pub use figures::Figures;
pub use health::{Fault, WriteRefusal};
use node::Node;
pub use time::TOLERANCE as CLOCK_TOLERANCE;

/// Longest time that a node waits for the end of its term when it goes.
const RESIGNING: Duration = Duration::from_secs(2);

/// Why a node can't take part.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// What is wrong with the URL, without its text.
    #[error("bus: {0}")]
    Url(String),
    /// The file of authorities.
    #[error("cluster.ca_file: {0}")]
    Authorities(io::Error),
}

/// Redis can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus can't be reached")]
pub struct Unreachable;

/// This process as a node of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
    handle: AggregatorHandle,
}

impl Cluster {
    /// Takes part in the cluster; all its work is done on `runtime`. Redis need not answer yet. `own_clock` is that of this
    /// machine, `clock` the one that is set by Redis.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn start(
        config: ClusterConfig,
        own_clock: Clock,
        clock: (Clock, ClockSetter),
        log: LogConfig,
        aggregator: AggregatorConfig,
        runtime: &Handle,
    ) -> Result<Self, BusError> {
        let ca = config.ca_file.as_ref().map(fs::read).transpose().map_err(BusError::Authorities)?;
        let target = config::target(&config.url, ca).map_err(BusError::Url)?;
        let push_timeout = config.push_timeout;
        let node = Arc::new(Node::new(config, connection::Link::new(target), own_clock, clock, log, aggregator));
        let (cluster, tasks) = Self::of(node, push_timeout);
        tasks.into_iter().for_each(|task| drop(runtime.spawn(task)));
        runtime.spawn(preflight::run(Arc::clone(&cluster.node)));
        tracing::info!(node = cluster.node.id, "takes part in a cluster");
        Ok(cluster)
    }

    /// Returns the cluster as `node` sees it, and the tasks that do the node's work.
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

    /// The log of `tenant` as this node reads it, and the way to write it.
    pub fn join(&self, tenant: &str) -> (Arc<Log>, AggregatorHandle) {
        (self.node.replica(tenant), self.handle.of_tenant(tenant))
    }

    /// Waits until the log is read for the first time.
    pub async fn loaded(&self) {
        let mut followed = self.node.followed.subscribe();
        // The sender lives as long as the node.
        drop(followed.wait_for(Option::is_some).await);
    }

    /// Waits until the log is read for the first time; false when that takes longer than `patience`.
    pub async fn is_loaded(&self, patience: Duration) -> bool {
        timeout(patience, self.loaded()).await.is_ok()
    }

    /// Whether the log is read, and this node can do its part.
    pub fn is_ready(&self) -> bool {
        self.node.followed.borrow().is_some() && self.node.health.fault().borrow().is_none()
    }

    /// Why this node can't do its part, and when that changes; `None` while it can.
    pub fn fault(&self) -> watch::Receiver<Option<Fault>> {
        self.node.health.fault()
    }

    /// By how much this node's clock is ahead of that of Redis. `None` while that is not known.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        self.node.time.ahead()
    }

    /// By how much this node's clock is ahead while it is off by more than [`CLOCK_TOLERANCE`], and when that changes.
    pub fn clock_off(&self) -> watch::Receiver<Option<SignedDuration>> {
        self.node.time.off()
    }

    /// How often this node began a log without all samples of the one before, and when that changes.
    pub fn samples_lost(&self) -> watch::Receiver<u64> {
        self.node.samples_lost.subscribe()
    }

    /// Whether the log of `tenant` was given the last values of history, as far as this node has read.
    pub fn has_restored(&self, tenant: &str) -> bool {
        self.node.published(tenant).has_restored()
    }

    /// Whether this node is the one that publishes what is the same for all, and when that changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.node.leads.subscribe()
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        &self.node.config.node
    }

    /// The node's own numbers.
    pub fn figures(&self) -> &Figures {
        &self.node.figures
    }

    /// Groups of batches that wait for an answer.
    pub fn pending(&self) -> usize {
        self.node.pending()
    }

    /// What this node tells of one tenant to the others.
    pub fn census(&self, tenant: &str) -> Census {
        Census::new(Arc::clone(&self.node), tenant)
    }

    /// Hands the lead to another node, if this one has it. What is pushed after that is decided there.
    pub async fn leave(&self) {
        self.node.leaving.send_replace(true);
        let leads = *self.node.leads.borrow();
        if leads {
            let mut leads = self.node.leads.subscribe();
            // A leader that can't end its term in time loses it a moment later.
            drop(timeout(RESIGNING, leads.wait_for(|leads| !leads)).await);
        }
        self.node.resign();
    }

    /// Keeps something that one node may take, once, within some time.
    pub async fn lend(&self, name: &str, what: &[u8], lives: Duration) {
        self.set(self.node.keys.lent(name), what, lives).await;
    }

    /// Takes what was kept under `name`: nobody else will. `None` where there is nothing (more).
    ///
    /// # Errors
    /// [`Unreachable`]: it is not known.
    pub async fn take(&self, name: &str) -> Result<Option<Vec<u8>>, Unreachable> {
        let key = self.node.keys.lent(name);
        let taken = self.node.link.ask(async |connection| cmd("GETDEL").arg(key).query_async(connection).await);
        taken.await.map_err(|_| Unreachable)
    }

    /// An answer that was kept under `key` for a tenant and has not expired.
    pub async fn cached(&self, tenant: &str, key: &str) -> Option<Vec<u8>> {
        let key = self.node.keys.tenant(tenant, key);
        self.node.link.ask(async |connection| cmd("GET").arg(key).query_async(connection).await).await.ok()?
    }

    /// Keeps an answer for some time. That it could not be kept is no matter.
    pub async fn cache(&self, tenant: &str, key: &str, answer: &[u8], lives: Duration) {
        self.set(self.node.keys.tenant(tenant, key), answer, lives).await;
    }

    async fn set(&self, key: String, what: &[u8], lives: Duration) {
        let kept = self.node.link.ask(async |connection| {
            cmd("SET").arg(key).arg(what).arg("EX").arg(lives.as_secs().max(1)).query_async::<()>(connection).await
        });
        if let Err(error) = kept.await {
            tracing::debug!(%error, "Redis does not keep something for a while");
        }
    }
}
