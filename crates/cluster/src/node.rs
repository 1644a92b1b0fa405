//! State that the tasks of this node share: the logs as far as they are read, the election, and groups that wait for a reply.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{config::BusConfig, connection::Link, health::Health, keys::Keys, metrics::Metrics, time::Timekeeper};
use tricast_core::{
    aggregator::AggregatorConfig,
    clock::{Clock, ClockSetter},
    log::LogConfig,
    position::Epoch,
    published::Published,
};

mod pending;
mod replicas;

pub(super) use pending::Group;
use pending::{Decided, Pending};
use replicas::Replicas;
pub(super) use replicas::{Loaded, united};

/// Node of the cluster: this process.
pub(super) struct Node {
    /// Name with a unique suffix, which identifies the leader and the origin of groups.
    pub(super) id: String,
    pub(super) config: BusConfig,
    pub(super) link: Link,
    pub(super) keys: Keys,
    /// Clock of this machine.
    pub(super) own_clock: Clock,
    /// Clock of the cluster, set by `time`.
    pub(super) clock: Clock,
    pub(super) time: Timekeeper,
    pub(super) log: LogConfig,
    pub(super) aggregator: AggregatorConfig,
    /// Last reply of Redis to a heartbeat.
    pub(super) seen: watch::Sender<Seen>,
    /// End of the log when Redis was last asked.
    pub(super) confirmed: watch::Sender<Option<Confirmed>>,
    /// Epoch and newest entry of the log, as far as it is read.
    pub(super) followed: watch::Sender<Option<Followed>>,
    /// Whether this node is the leader.
    pub(super) leads: watch::Sender<bool>,
    /// Health of this node.
    pub(super) health: Health,
    /// Set when the node is stopping.
    pub(super) leaving: watch::Sender<bool>,
    pub(super) eligibility: Mutex<Eligibility>,
    /// Requests a heartbeat now.
    pub(super) heartbeat_now: Notify,
    pub(super) metrics: Metrics,
    /// Series by tenant, as they were at the end of this node's last term.
    pub(super) series: Mutex<HashMap<Arc<str>, Dumps>>,
    /// Number of logs that this node bootstrapped without all samples of the previous one.
    pub(super) samples_lost: watch::Sender<u64>,
    replicas: Mutex<Replicas>,
    /// Groups decided in entries that this node has applied, in any epoch.
    decided: Mutex<Decided>,
    /// Published events of stores by tenant, in any epoch.
    published: Mutex<HashMap<Arc<str>, Published>>,
    pending: Mutex<Pending>,
    /// Notifies the sender that a group is not pending any more.
    reply_received: Notify,
    /// Last group that Redis accepted.
    pub(super) last_sent: AtomicU64,
    /// Time of the newest read entry, in microseconds since 1970.
    pub(super) last_at: AtomicI64,
    /// Requests that groups are sent again, because Redis lost some.
    pub(super) resend: Notify,
}

/// Series by name, in the form in which another leader can continue them.
pub(super) type Dumps = Vec<(String, String)>;

/// Eligibility of this node in elections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Eligibility {
    /// It may be elected.
    Eligible,
    /// It could not lead, and is not eligible until then.
    Paused(Instant),
    /// It is stopping, and is not eligible any more.
    Stopping,
}

impl Eligibility {
    /// Returns whether the node may be elected, after some time without a leader: a paused node leads nevertheless if no
    /// other one does within a lease.
    pub(super) fn is_eligible(self, without_leader: Duration, lease: Duration) -> bool {
        match self {
            Self::Eligible => true,
            Self::Paused(until) => Instant::now() >= until || without_leader >= lease,
            Self::Stopping => false,
        }
    }
}

/// Position up to which the log is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Followed {
    /// Epoch of the log.
    pub(super) epoch: Epoch,
    /// Number of the newest read entry.
    pub(super) seq: u64,
    /// ID of that entry.
    pub(super) entry_id: String,
}

/// Last reply of Redis to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Epoch of the log; `None` while there is no log.
    pub(super) epoch: Option<Epoch>,
    /// Whether this node is elected.
    pub(super) elected: bool,
    /// Whether the log lost entries that some node had read.
    pub(super) suspect: bool,
}

/// End of the log at the time of a query: no node had read more of it, or of a later one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Confirmed {
    /// Time of the query.
    pub(super) asked: Instant,
    pub(super) epoch: Epoch,
    /// Number of the newest entry.
    pub(super) seq: u64,
}

impl Node {
    pub(super) fn new(
        config: BusConfig,
        link: Link,
        own_clock: Clock,
        (clock, setter): (Clock, ClockSetter),
        log: LogConfig,
        aggregator: AggregatorConfig,
    ) -> Self {
        let id = format!("{}/{:08x}", config.node, tricast_core::ids::random_u64() >> 32);
        Self {
            id,
            link,
            keys: Keys::new(&config.cluster.key_prefix),
            config,
            own_clock,
            clock,
            time: Timekeeper::new(setter),
            log,
            aggregator,
            seen: watch::Sender::default(),
            confirmed: watch::Sender::default(),
            followed: watch::Sender::default(),
            leads: watch::Sender::new(false),
            health: Health::new(),
            leaving: watch::Sender::new(false),
            eligibility: Mutex::new(Eligibility::Eligible),
            heartbeat_now: Notify::new(),
            metrics: Metrics::default(),
            series: Mutex::default(),
            samples_lost: watch::Sender::default(),
            replicas: Mutex::default(),
            decided: Mutex::default(),
            published: Mutex::default(),
            pending: Mutex::default(),
            reply_received: Notify::new(),
            last_sent: AtomicU64::new(0),
            last_at: AtomicI64::new(0),
            resend: Notify::new(),
        }
    }

    /// Marks a log that lost entries which this node had read: the leader has to bootstrap another one, or offsets would
    /// be assigned twice.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub(super) async fn suspect(&self, epoch: &Epoch) -> redis::RedisResult<()> {
        let mut mark = redis::cmd("HSET");
        mark.arg(self.keys.meta()).arg("suspect").arg(epoch.to_string());
        self.link.request(async |connection| mark.query_async(connection).await).await
    }

    /// Stops standing for election: another node may lead at once.
    pub(super) fn resign(&self) {
        *self.eligibility.lock() = Eligibility::Stopping;
        self.heartbeat_now.notify_one();
    }

    /// Passes the lead to another node, if there is one, and does not stand for election for `span`.
    pub(super) fn pause_candidacy(&self, span: Duration) {
        let until = Instant::now() + span;
        {
            let eligibility = &mut *self.eligibility.lock();
            if matches!(eligibility, Eligibility::Stopping) {
                return;
            }
            *eligibility = Eligibility::Paused(until);
        }
        self.health.unfit(until);
        self.heartbeat_now.notify_one();
    }

    /// Records a reply of Redis.
    pub(super) fn record_reply(&self, seen: Seen) {
        self.metrics.record_reply(Instant::now());
        self.seen.send_if_modified(|before| {
            let changed = *before != seen;
            *before = seen;
            changed
        });
    }
}
