//! State that the tasks of this node share: the logs as far as they are read, the election, and groups that wait for a reply.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    config::ClusterConfig,
    connection::Link,
    health::Health,
    keys::Keys,
    metrics::Metrics,
    time::Timekeeper,
    wire::{Entry, GroupReply, WireChunk, Written},
};
use tricast_core::{
    aggregator::{AggregatorConfig, Reply},
    built_in,
    channel::Channel,
    clock::{Clock, ClockSetter},
    decider::Verdicts,
    field_times::Part,
    log::{Chunk, Contents, Log, LogConfig, LogWriter, Origins},
    position::{Epoch, Position},
    published::Published,
    reading::Refusal,
};

/// Node of the cluster: this process.
pub(super) struct Node {
    /// Name with a unique suffix, which identifies the leader and the origin of groups.
    pub(super) id: String,
    pub(super) config: ClusterConfig,
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
    /// Notifies of a reply to a group.
    answered: Notify,
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
    /// It is stopping.
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

/// Most epochs of earlier logs that are remembered.
const MOST_EARLIER: usize = 32;

/// Logs of all tenants on this node.
#[derive(Default)]
struct Replicas {
    /// Epoch, once it is known.
    epoch: Option<Epoch>,
    /// Epochs of earlier logs, oldest first.
    earlier: Vec<Epoch>,
    /// Offset at which this epoch starts.
    base: u64,
    writers: HashMap<Arc<str>, LogWriter>,
    /// By tenant: the entry whose writes are in the times that were loaded.
    timed: HashMap<Arc<str>, u64>,
}

/// What was loaded of a tenant.
pub(super) struct Loaded {
    pub(super) contents: Contents,
    /// The newest entry whose writes are in the times of `contents`.
    pub(super) seq: u64,
}

/// Groups of this node that were sent without a reply yet.
#[derive(Default)]
struct Pending {
    last: u64,
    groups: BTreeMap<u64, Group>,
}

/// Most nodes whose decided groups are remembered. Each start of a process counts as another node.
const MOST_DECIDED: usize = 256;

/// Last decided group of each node, and a number that grows with each group.
#[derive(Default)]
struct Decided(HashMap<String, (u64, u64)>);

impl Decided {
    fn note(&mut self, answer: &GroupReply) {
        let newest = self.0.values().map(|(_, at)| at + 1).max().unwrap_or(0);
        match self.0.get_mut(&answer.node) {
            Some(of) => *of = (of.0.max(answer.seq), newest),
            None => _ = self.0.insert(answer.node.clone(), (answer.seq, newest)),
        }
        if self.0.len() > MOST_DECIDED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| node.clone())
        {
            self.0.remove(&oldest);
        }
    }
}

/// Batches that are sent to the inbox together.
pub(super) struct Group {
    /// Encoded batches.
    pub(super) payload: Arc<str>,
    /// Tenant, number of readings, and reply channel of each batch.
    pub(super) batches: Vec<(Arc<str>, usize, Reply)>,
}

/// Most groups that wait for a reply; further ones wait before they are sent.
const MOST_PENDING: usize = 256;

impl Node {
    pub(super) fn new(
        config: ClusterConfig,
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
            keys: Keys::new(&config.key_prefix),
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
            answered: Notify::new(),
            last_sent: AtomicU64::new(0),
            last_at: AtomicI64::new(0),
            resend: Notify::new(),
        }
    }

    /// Returns the log of `tenant` on this node; an empty one if nothing was published yet.
    pub(super) fn replica(&self, tenant: &str) -> Arc<Log> {
        let mut replicas = self.replicas.lock();
        Arc::clone(replicas.writer(tenant, self.log).log())
    }

    /// Returns the epochs of earlier logs and of the one that this node reads, oldest first.
    pub(super) fn epochs(&self) -> Vec<Epoch> {
        let replicas = self.replicas.lock();
        replicas.earlier.iter().cloned().chain(replicas.epoch.clone()).collect()
    }

    /// Returns the epochs of the logs before the one that this node reads, oldest first.
    pub(super) fn earlier(&self) -> Vec<Epoch> {
        self.replicas.lock().earlier.clone()
    }

    /// Returns whether `epoch` is that of an earlier log.
    pub(super) fn is_earlier(&self, epoch: &Epoch) -> bool {
        self.replicas.lock().earlier.contains(epoch)
    }

    /// Returns the contents of all logs on this node.
    pub(super) fn contents(&self) -> Vec<(Arc<str>, Contents)> {
        let logs: Vec<_> = {
            let replicas = self.replicas.lock();
            replicas.writers.iter().map(|(tenant, writer)| (Arc::clone(tenant), Arc::clone(writer.log()))).collect()
        };
        logs.into_iter().map(|(tenant, log)| (tenant, log.contents())).collect()
    }

    /// Returns the published events of a tenant's stores, as far as this node has read.
    pub(super) fn published(&self, tenant: &str) -> Published {
        self.published.lock().get(tenant).cloned().unwrap_or_default()
    }

    /// Records published events of a tenant's stores.
    pub(super) fn note_published(&self, tenant: &str, published: &Published) {
        if !published.is_empty() {
            self.published.lock().entry(tenant.into()).or_default().merge(published);
        }
    }

    /// Returns the last decided group of each node, as far as this node has read.
    pub(super) fn decided(&self) -> Vec<(String, u64)> {
        self.decided.lock().0.iter().map(|(node, (group, _))| (node.clone(), *group)).collect()
    }

    /// Replaces the logs with a loaded log, whose offsets start at `base` and which follows the epochs in `earlier`.
    /// Tenants without stored data start empty.
    pub(super) fn take_over(
        &self,
        followed: Followed,
        base: u64,
        mut earlier: Vec<Epoch>,
        loaded: HashMap<Arc<str>, Loaded>,
    ) {
        let epoch = &followed.epoch;
        earlier.retain(|earlier| earlier != epoch);
        let mut replicas = self.replicas.lock();
        let is_new = replicas.epoch.as_ref() != Some(epoch);
        let contents = loaded.values().map(|loaded| &loaded.contents);
        let newest = contents.flat_map(|contents| contents.states.iter().chain(&contents.events)).map(|kept| kept.at);
        if let Some(newest) = newest.max() {
            self.last_at.store(newest.as_microsecond(), Ordering::Release);
        }
        let before = replicas.epoch.replace(epoch.clone()).filter(|before| before != epoch);
        replicas.base = base;
        let known = std::mem::take(&mut replicas.earlier);
        replicas.earlier = united(earlier, known.into_iter().chain(before).filter(|earlier| earlier != epoch));
        if is_new {
            let earlier = replicas.earlier.clone();
            replicas.writers.values_mut().for_each(|writer| writer.set_earlier(earlier.clone()));
            for (tenant, writer) in &mut replicas.writers {
                if !loaded.contains_key(tenant) {
                    writer.take_over(empty(epoch, base));
                }
            }
        }
        replicas.timed.clear();
        for (tenant, Loaded { contents, seq }) in loaded {
            let writer = replicas.writer(&tenant, self.log);
            if is_new || contents.head > writer.log().head() {
                writer.take_over(contents);
            } else {
                // Values may have been written again and be the same.
                writer.take_times(contents.states);
            }
            replicas.timed.insert(tenant, seq);
        }
        drop(replicas);
        self.followed.send_replace(Some(followed));
    }

    /// Applies the entry `seq` of the log of `epoch`, and sends its replies to the waiting callers.
    pub(super) fn apply(&self, epoch: &Epoch, seq: u64, entry: Entry) {
        let Entry { entry_id, at, tenants, replies, .. } = entry;
        let mut replicas = self.replicas.lock();
        for written in tenants {
            self.note_published(&written.tenant, &written.published);
            let Written { tenant, head, same, restored, parts, chunks, .. } = written;
            let chunks: Vec<_> = chunks.into_iter().map(WireChunk::into_chunk).collect();
            let parts = parts.unwrap_or_else(|| unknown_parts(&same, &chunks));
            let writer = replicas.writer(&tenant, self.log);
            // The loaded state may be newer.
            if head > writer.log().head() {
                writer.apply_from(chunks, at, Origins { restored: &restored, parts: &parts });
            }
            // And so may the times.
            let is_news = replicas.timed.get(&*tenant).is_none_or(|timed| seq > *timed);
            if !same.is_empty() && is_news {
                replicas.writer(&tenant, self.log).confirm(&same, &parts, at);
            }
        }
        for answer in replies {
            self.decided.lock().note(&answer);
            if answer.node == self.id {
                self.answer(epoch, answer, &mut replicas);
            }
        }
        drop(replicas);
        self.last_at.store(at.as_microsecond(), Ordering::Release);
        self.metrics.applied.inc();
        self.followed.send_replace(Some(Followed { epoch: epoch.clone(), seq, entry_id }));
    }

    fn answer(&self, epoch: &Epoch, answer: GroupReply, replicas: &mut Replicas) {
        let Some(group) = self.pending.lock().groups.remove(&answer.seq) else { return };
        self.answered.notify_one();
        if answer.repeated {
            // Earlier replies are not known here, so the callers get an unknown outcome.
            return;
        }
        let verdict = |batch| if answer.unreadable.has(batch) { Err(Refusal::Unreadable) } else { Ok(()) };
        let counts = group.batches.iter().map(|(_, count, _)| *count).enumerate();
        let mut verdicts: Vec<Verdicts> = counts.map(|(batch, count)| vec![verdict(batch); count]).collect();
        for (batch, reading, refusal) in answer.refused {
            if let Some(verdict) = verdicts.get_mut(batch).and_then(|verdicts| verdicts.get_mut(reading)) {
                *verdict = Err(refusal);
            }
        }
        for ((tenant, _, reply), verdicts) in group.batches.into_iter().zip(verdicts) {
            let head = replicas.writer(&tenant, self.log).log().head();
            reply.send(verdicts, Position::new(epoch.clone(), head));
        }
    }

    /// Records a group that will be sent, and returns its number.
    pub(super) fn expect(&self, group: Group) -> u64 {
        let mut pending = self.pending.lock();
        pending.last += 1;
        let seq = pending.last;
        pending.groups.insert(seq, group);
        seq
    }

    /// Withdraws a group that Redis did not accept.
    pub(super) fn withdraw(&self, seq: u64) -> Option<Group> {
        let group = self.pending.lock().groups.remove(&seq);
        self.answered.notify_one();
        group
    }

    /// Returns the groups without a reply, in order.
    pub(super) fn unanswered(&self) -> Vec<(u64, Arc<str>)> {
        let pending = self.pending.lock();
        pending.groups.iter().map(|(seq, group)| (*seq, Arc::clone(&group.payload))).collect()
    }

    /// Waits until there is room for another group.
    pub(super) async fn has_room(&self) {
        while self.pending.lock().groups.len() >= MOST_PENDING {
            self.answered.notified().await;
        }
    }

    /// Returns the number of groups without a reply.
    pub(super) fn pending(&self) -> usize {
        self.pending.lock().groups.len()
    }

    /// Drops the groups that were sent before `seq`; their callers get an unknown outcome. For a node that did not read
    /// the whole log, so that it may have missed the replies.
    pub(super) fn forget_replies(&self, seq: u64) {
        let mut pending = self.pending.lock();
        let kept = pending.groups.split_off(&seq);
        pending.groups = kept;
        self.answered.notify_one();
    }

    /// Returns the number of the next group.
    pub(super) fn next_group(&self) -> u64 {
        self.pending.lock().last + 1
    }

    /// Marks a log that lost entries which this node had read: the leader has to bootstrap another one, or offsets would
    /// be assigned twice.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub(super) async fn suspect(&self, epoch: &Epoch) -> redis::RedisResult<()> {
        let mut mark = redis::cmd("HSET");
        mark.arg(self.keys.meta()).arg("suspect").arg(epoch.to_string());
        self.link.ask(async |connection| mark.query_async(connection).await).await
    }

    /// Stops standing for election: another node may lead at once.
    pub(super) fn resign(&self) {
        *self.eligibility.lock() = Eligibility::Stopping;
        self.heartbeat_now.notify_one();
    }

    /// Passes the lead to another node, if there is one, and does not stand for election for `span`.
    pub(super) fn give_way(&self, span: Duration) {
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

impl Replicas {
    fn writer(&mut self, tenant: &str, config: LogConfig) -> &mut LogWriter {
        if !self.writers.contains_key(tenant) {
            let (mut writer, _) = Log::create(config);
            // Before a log is read, the earlier epochs are unknown: no cursor counts as one of an earlier log.
            writer.set_earlier(self.earlier.clone());
            if let Some(epoch) = &self.epoch {
                writer.take_over(empty(epoch, self.base));
            }
            self.writers.insert(tenant.into(), writer);
        }
        self.writers.get_mut(tenant).unwrap_or_else(|| unreachable!("it was put in"))
    }
}

/// Returns `epochs` with those of `more` that it lacks, the last [`MOST_EARLIER`] of them.
pub(super) fn united(epochs: Vec<Epoch>, more: impl Iterator<Item = Epoch>) -> Vec<Epoch> {
    let mut all = epochs;
    for epoch in more {
        if !all.contains(&epoch) {
            all.push(epoch);
        }
    }
    all.drain(..all.len().saturating_sub(MOST_EARLIER));
    all
}

/// Returns the parts of an entry that does not have them: no field is known.
fn unknown_parts(same: &[Channel], chunks: &[Chunk]) -> Vec<(Channel, Part)> {
    let changes = chunks.iter().flat_map(|chunk| &chunk.changes).map(|(_, change)| change);
    let states = changes.filter(|change| change.event.is_none() && change.gone.is_none()).map(|change| &change.channel);
    let pushed = states.chain(same).filter(|channel| !built_in::contains(channel));
    pushed.map(|channel| (channel.clone(), Part::unknown())).collect()
}

/// Returns a log without any publication.
fn empty(epoch: &Epoch, base: u64) -> Contents {
    Contents {
        epoch: epoch.clone(),
        head: base,
        snapshot: None,
        states: Vec::new(),
        event_channels: built_in::event_channels().map(|channel| (channel, base, None)).collect(),
        events: Vec::new(),
        dropped: base,
        forgotten: 0,
    }
}
