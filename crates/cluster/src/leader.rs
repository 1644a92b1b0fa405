//! Leader: decides the groups in the inbox and writes the log.
//!
//! Each step decides some groups, assigns offsets to the results, and passes one script to Redis: it appends the entry
//! that all nodes follow, stores the newest values for nodes that start later, and records how far the inbox is decided.
//! It takes effect as a whole or not at all, and only while this node leads. The next leader continues exactly there.
//! Series of samples are stored only at intervals, so it counts later samples again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use redis::ScriptInvocation;
use tokio::time::{Instant, sleep, timeout};

use super::{
    bootstrap,
    connection::Connection,
    health::{FAULT_AFTER, Writer},
    keys::{PARTS, TENANT_PARTS},
    node::{Node, Seen},
    scripts,
    stream::{self, Item},
    term_error::TermError,
    wire::{Entry, GroupReply, Head, Unreadable, WireChunk, WireKept, Written, json},
};
use tricast_core::{
    channel::Channel,
    decider::{Decided, Decider},
    ids::random_u64,
    log::{Chunk, Log, Origins, assign_offsets},
    position::Epoch,
    published::Published,
    reading::Refusal,
    snapshot::View,
};

mod backoff;
mod ends;
mod inbox;
mod retention;
mod takeover;
mod times;

use backoff::TermBackoff;
use ends::Ends;
use inbox::ParsedBatch;
use retention::{Pace, Retention};
use times::Times;

/// Longest time that Redis blocks for a group.
const WAIT: Duration = Duration::from_secs(1);

/// Pause after the end of a term.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time for reading the entries before the term.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Most groups that are decided together. A group has at most a mebibyte, or one batch.
const GROUPS: usize = 64;

/// Largest step back of the clock that is ignored: a time that is earlier by less is moved up to that of the previous
/// entry. A clock that was set back by more is followed.
const SET_BACK: SignedDuration = SignedDuration::from_secs(60);

/// Lifetime of a cached snapshot.
const SNAPSHOT_LIVES: Duration = Duration::from_secs(86_400);

/// Leads whenever this node is elected, until the task is cancelled.
pub(super) async fn run(node: Arc<Node>) {
    let mut seen = node.seen.subscribe();
    let mut backoff = TermBackoff::default();
    loop {
        if !seen.borrow_and_update().elected {
            node.health.idle(Writer::Leader);
            // The sender lives as long as the node.
            if seen.wait_for(|seen| seen.elected).await.is_err() {
                return;
            }
        }
        // If Redis refuses writes, no other node could lead either.
        node.health.writable().await;
        if !seen.borrow_and_update().elected {
            continue;
        }
        let begun = Instant::now();
        let ended = lead(&node).await;
        node.leads.send_replace(false);
        let gives_way = match ended {
            Ok(()) => {
                tracing::info!(node = node.id, "this node no longer leads");
                false
            }
            // Another node may be able to, such as a newer one.
            Err(TermError::Kept(_) | TermError::Behind) => true,
            Err(_) => node.health.failing_for(Writer::Leader) >= FAULT_AFTER,
        };
        if gives_way {
            let span = backoff.after(begun.elapsed());
            node.metrics.surrenders.inc();
            tracing::error!(node = node.id, ?span, "cannot lead: not standing for election for some time");
            node.give_way(span);
            drop(timeout(node.config.lease, seen.wait_for(|seen| !seen.elected)).await);
        }
        sleep(PAUSE).await;
    }
}

async fn lead(node: &Arc<Node>) -> Result<(), TermError> {
    let begun = Instant::now();
    let begin = async {
        let mut connection = node.link.connect(WAIT).await?;
        let epoch = bootstrap::current_or_new(node, &mut connection).await?;
        let mut term = Term::begin(node, connection, epoch).await?;
        bootstrap::clean_up(node, &mut term.connection).await?;
        Ok(term)
    };
    let mut term = begin.await.inspect_err(|error| note(node, begun, error))?;
    let result = async {
        term.decide_waiting().await?;
        node.metrics.elections.inc();
        node.leads.send_replace(true);
        tracing::info!(node = node.id, epoch = %term.epoch, "leads");
        term.run().await
    }
    .await;
    if let Err(error) = &result {
        note(node, term.attempt, error);
    }
    *node.series.lock() =
        term.deciding.iter_mut().map(|(name, of)| (Arc::clone(name), of.decider.dump(true))).collect();
    result
}

/// Logs the end of a term, and records in the health of this node whether its access to Redis is the cause. The failed
/// operation started at `begun`.
fn note(node: &Node, begun: Instant, error: &TermError) {
    node.metrics.failures.inc();
    tracing::warn!(node = node.id, %error, "a term ended");
    match error {
        TermError::Redis(error) => _ = node.health.failed(Writer::Leader, begun, Some(error)),
        TermError::Stuck => _ = node.health.failed(Writer::Leader, begun, None),
        TermError::Kept(_) | TermError::Lost(_) | TermError::Behind => {}
    }
}

/// State of a leader during its term.
struct Term<'a> {
    node: &'a Arc<Node>,
    connection: Connection,
    epoch: Epoch,
    /// Number of the newest entry, and its ID.
    seq: u64,
    entry_id: String,
    /// Time of the newest entry.
    at: Timestamp,
    /// Start of the current request.
    attempt: Instant,
    pace: Pace,
    retention: Retention,
    /// Last decided group of the inbox.
    inbox: String,
    /// Last decided group of each node: groups come in order, and a repeated one is not decided again.
    decided: HashMap<String, u64>,
    deciding: HashMap<Arc<str>, Deciding>,
}

/// State of one tenant.
struct Deciding {
    decider: Decider,
    log: Arc<Log>,
    head: Head,
    /// Ends of channels that are stored.
    ends: Ends,
    /// Times at which values were written.
    times: Times,
    /// Names of series that ended and are still stored.
    ended: Vec<String>,
    /// Version of the cached snapshot.
    cached: u64,
}

/// Changes of a tenant to store in Redis.
#[derive(Default)]
struct TenantChanges {
    chunks: Vec<Chunk>,
    /// Restored channels, with the times of their values.
    restored: Vec<(Channel, Timestamp)>,
    /// New times of channels, as [`Times::note`] returns them.
    times: Vec<(Channel, String)>,
}

/// Batch to decide: index of its reply, its number in the group, and its readings.
type Waiting = (usize, usize, ParsedBatch);

impl<'a> Term<'a> {
    /// Decides the groups that arrived while no node led, and waits until this node has read the result: the alerts that
    /// a leader evaluates must not miss a value that was pushed before its term.
    async fn decide_waiting(&mut self) -> Result<(), TermError> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        if let Some(last) = stream::last_id(&mut self.connection, &key).await? {
            loop {
                let after = format!("({}", self.inbox);
                let items = stream::range(&mut self.connection, &key, &after, &last, GROUPS).await?;
                if items.is_empty() {
                    break;
                }
                self.step(items).await?;
            }
        }
        self.has_read(self.seq).await.map(drop)
    }

    async fn run(&mut self) -> Result<(), TermError> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        let mut seen = self.node.seen.subscribe();
        let mut leaving = self.node.leaving.subscribe();
        let mut resigned = false;
        let over = {
            let epoch = self.epoch.clone();
            move |seen: &Seen| !seen.elected || seen.suspect || seen.epoch.as_ref() != Some(&epoch)
        };
        loop {
            let now = Instant::now();
            let wake = self.deciding.values().filter_map(|of| of.decider.wake()).min();
            let wait = wake.map_or(WAIT, |wake| wake.saturating_duration_since(now)).min(WAIT);
            let wait = wait.min(self.pace.left());
            self.attempt = Instant::now();
            let read = stream::read(&mut self.connection, &key, &self.inbox, GROUPS, wait);
            let items = tokio::select! {
                biased;
                items = timeout(wait + FAULT_AFTER, read) => items.map_err(|_| TermError::Stuck)??,
                was_elected = async { seen.wait_for(&over).await.is_ok_and(|seen| seen.elected) } => {
                    return if was_elected { Err(TermError::Lost("another log is current".into())) } else { Ok(()) };
                }
                () = async { drop(leaving.wait_for(|leaving| *leaving).await) }, if !resigned => {
                    self.pace.write_now();
                    self.step(Vec::new()).await?;
                    self.node.resign();
                    resigned = true;
                    continue;
                }
            };
            self.step(items).await?;
        }
    }

    /// Decides `items` and changes that are due by time, and writes the result.
    async fn step(&mut self, items: Vec<Item>) -> Result<(), TermError> {
        let mut replies = Vec::with_capacity(items.len());
        let mut decided = HashMap::new();
        let mut by_tenant = IndexMap::<Arc<str>, Vec<Waiting>>::new();
        for item in &items {
            let Some((answer, batches)) = self.open(item) else { continue };
            for (number, batch) in batches {
                let waiting = (replies.len(), number, batch);
                by_tenant.entry(Arc::from(&*waiting.2.tenant)).or_default().push(waiting);
            }
            if !answer.repeated {
                decided.insert(answer.node.clone(), answer.seq);
            }
            replies.push(answer);
        }
        let now = Instant::now();
        for (tenant, of) in &self.deciding {
            if of.decider.wake().is_some_and(|wake| wake <= now) {
                by_tenant.entry(Arc::clone(tenant)).or_default();
            }
        }
        self.pace.decided(items.len());
        let at = self.next_time();
        let (mut written, mut kept) = (Vec::new(), IndexMap::<Arc<str>, TenantChanges>::new());
        for (tenant, waiting) in by_tenant {
            if !self.deciding.contains_key(&tenant) {
                self.load_tenant(&tenant).await?;
            }
            let Some(of) = self.deciding.get_mut(&tenant) else { continue };
            let decided = of.decide(waiting, &mut replies);
            let Decided { changes, same, restored, parts, .. } = decided;
            let chunks = assign_offsets(of.head.head, changes);
            let times = of.times.note(&same, &chunks, Origins { restored: &restored, parts: &parts }, at);
            of.head.advance(&chunks, at);
            let wire = chunks.iter().map(WireChunk::of).collect::<Option<Vec<_>>>();
            let wire = wire.ok_or_else(|| TermError::Lost("a value is not JSON".into()))?;
            let published = of.head.publish(of.decider.published());
            if !wire.is_empty() || !same.is_empty() || !published.is_empty() {
                let (tenant, head, restored) = ((*tenant).to_owned(), of.head.head, restored.clone());
                written.push(Written { tenant, head, published, same, restored, parts: Some(parts), chunks: wire });
            }
            if !chunks.is_empty() || !times.is_empty() {
                kept.insert(tenant, TenantChanges { chunks, restored, times });
            }
        }
        // A later leader must not count ended series again: series are stored up to here with each end.
        let keeps = self.pace.is_due() || self.deciding.values().any(|of| !of.ended.is_empty());
        if keeps {
            for tenant in self.deciding.keys() {
                kept.entry(Arc::clone(tenant)).or_default();
            }
        }
        let is_empty = written.is_empty() && replies.is_empty();
        if is_empty && !keeps && items.is_empty() {
            return Ok(());
        }
        let entry_id = format!("{:016x}", random_u64());
        let entry = if is_empty {
            String::new()
        } else {
            let (entry_id, before) = (entry_id.clone(), self.entry_id.clone());
            json(&Entry { entry_id, before, at, tenants: written, replies })
        };
        if let Some(last) = items.last() {
            self.inbox.clone_from(&last.id);
        }
        self.append(&entry, entry_id, &decided, &kept, at, keeps).await?;
        if keeps {
            self.pace.written();
            self.cache_snapshots().await?;
        }
        Ok(())
    }

    /// Returns the time of the next entry: that of the cluster's clock, but not before the last entry.
    fn next_time(&mut self) -> Timestamp {
        let now = self.node.clock.now();
        let is_back = now < self.at && self.at.duration_since(now) < SET_BACK;
        if !is_back {
            self.at = now;
        }
        self.at
    }

    /// Parses a group as far as possible. Returns the reply, which refuses the unreadable rest, and the batches with
    /// their numbers. `None` if there is no node to reply to.
    fn open(&mut self, item: &Item) -> Option<(GroupReply, Vec<(usize, ParsedBatch)>)> {
        let (node, seq) = (item.get::<String>("n"), item.get::<u64>("s"));
        if let (Some(node), Some(seq)) = (&node, seq) {
            if self.decided.get(node).is_some_and(|decided| *decided >= seq) {
                tracing::warn!(from = node, group = seq, "a decided group was in the inbox again");
                return Some((GroupReply { repeated: true, ..GroupReply::to(node, seq) }, Vec::new()));
            }
            self.decided.insert(node.clone(), seq);
        }
        let (mut refused, mut unreadable, mut readable) = (Vec::new(), Vec::new(), Vec::new());
        let group = inbox::read(item);
        let is_group = group.is_some();
        for (number, batch) in group.into_iter().flatten().enumerate() {
            let Some(batch) = batch else {
                unreadable.push(number);
                continue;
            };
            refused.extend(batch.unreadable.iter().map(|reading| (number, *reading, Refusal::Unreadable)));
            readable.push((number, batch));
        }
        let unreadable = match (is_group, unreadable.is_empty()) {
            (false, _) => Unreadable::All,
            (true, true) => Unreadable::Nothing,
            (true, false) => Unreadable::Batches(unreadable),
        };
        if !unreadable.is_nothing() || !refused.is_empty() || node.is_none() || seq.is_none() {
            self.node.metrics.unreadable.inc();
            tracing::error!(
                from = node,
                group = seq,
                "cannot parse a group in the inbox, or a part of it, which is refused"
            );
        }
        Some((GroupReply { refused, unreadable, ..GroupReply::to(&node?, seq?) }, readable))
    }

    async fn append(
        &mut self,
        entry: &str,
        entry_id: String,
        decided: &HashMap<String, u64>,
        kept: &IndexMap<Arc<str>, TenantChanges>,
        at: Timestamp,
        keeps: bool,
    ) -> Result<(), TermError> {
        let Node { keys, id, .. } = &**self.node;
        let seq = self.seq + u64::from(!entry.is_empty());
        let (oldest, bytes) = if entry.is_empty() { (0, 0) } else { self.retention.add(seq, entry.len()) };
        let mut append = scripts::APPEND.prepare_invoke();
        append.key(keys.meta()).key(keys.leader());
        for what in PARTS {
            append.key(keys.of(&self.epoch, what));
        }
        append
            .arg(id)
            .arg(self.epoch.to_string())
            .arg(self.seq)
            .arg(&self.entry_id)
            .arg(entry)
            .arg(&entry_id)
            .arg(&self.inbox);
        append.arg(if keeps { &*self.inbox } else { "" }).arg(oldest).arg(bytes).arg(decided.len());
        for (node, group) in decided {
            append.arg(node).arg(*group);
        }
        for (tenant, changes) in kept {
            for what in TENANT_PARTS {
                append.key(keys.kept(&self.epoch, tenant, what));
            }
            let Some(of) = self.deciding.get_mut(tenant) else { continue };
            let mut series = if keeps { of.decider.dump(false) } else { Vec::new() };
            // Removes the ended series. They come first, because one may have started again.
            series.splice(..0, of.ended.drain(..).map(|name| (name, String::new())));
            of.head.seq = seq;
            keep(&mut append, tenant, of, changes, at, &series)?;
        }
        self.attempt = Instant::now();
        let answer = timeout(FAULT_AFTER, append.invoke_async::<String>(&mut self.connection)).await;
        let answer = answer.map_err(|_| TermError::Stuck)??;
        self.node.health.wrote(Writer::Leader);
        if answer != "done" {
            return Err(TermError::Lost(answer));
        }
        self.node.metrics.appended.inc();
        if !entry.is_empty() {
            (self.seq, self.entry_id) = (seq, entry_id);
        }
        Ok(())
    }

    async fn cache_snapshots(&mut self) -> Result<(), TermError> {
        let mut all = redis::pipe();
        for (tenant, of) in &mut self.deciding {
            let version = of.log.snapshot_offset();
            if std::mem::replace(&mut of.cached, version) != version {
                let key = self.node.keys.tenant(tenant, "snapshot");
                all.cmd("SET")
                    .arg(key)
                    .arg(&of.log.snapshot(View::Full).data[..])
                    .arg("EX")
                    .arg(SNAPSHOT_LIVES.as_secs())
                    .ignore();
            }
        }
        if all.is_empty() { Ok(()) } else { Ok(all.query_async(&mut self.connection).await?) }
    }
}

impl Deciding {
    /// Decides the batches and records refusals in `replies`.
    fn decide(&mut self, waiting: Vec<Waiting>, replies: &mut [GroupReply]) -> Decided {
        let (mut places, mut batches) = (Vec::new(), Vec::new());
        for (reply, number, ParsedBatch { origin, readings, unreadable, .. }) in waiting {
            places.push((reply, number, unreadable));
            batches.push((origin, readings));
        }
        // As of the entries that this node has read.
        self.decider.weigh_fields(self.log.field_bytes());
        let mut decided = self.decider.decide_all(batches);
        let verdicts = std::mem::take(&mut decided.verdicts);
        for ((reply, batch, unreadable), verdicts) in places.into_iter().zip(verdicts) {
            let refused = verdicts.into_iter().enumerate().filter_map(|(index, verdict)| Some((index, verdict.err()?)));
            let refused = refused.map(|(index, refusal)| (batch, inbox::original_index(&unreadable, index), refusal));
            if let Some(reply) = replies.get_mut(reply) {
                reply.refused.extend(refused);
            }
        }
        self.ended.append(&mut decided.ended);
        decided
    }
}

impl Head {
    /// Records published events of a store; returns those that are new.
    fn publish(&mut self, published: &Published) -> Published {
        if self.published == *published {
            return Published::default();
        }
        self.published = published.clone();
        published.clone()
    }

    fn advance(&mut self, chunks: &[Chunk], at: Timestamp) {
        for chunk in chunks {
            self.head = chunk.head().unwrap_or(self.head);
            self.snapshot = chunk.snapshot.map(|offset| (offset, at)).or(self.snapshot);
        }
    }
}

/// Collects the stored data of one tenant for the script.
fn keep(
    append: &mut ScriptInvocation<'_>,
    tenant: &str,
    of: &mut Deciding,
    TenantChanges { chunks, restored, times: written }: &TenantChanges,
    at: Timestamp,
    series: &[(String, String)],
) -> Result<(), TermError> {
    let times: HashMap<_, _> = restored.iter().map(|(channel, at)| (channel, *at)).collect();
    let (mut states, mut events) = (HashMap::new(), Vec::new());
    for (offset, change) in chunks.iter().flat_map(|chunk| &chunk.changes) {
        let (name, data) = (change.channel.as_str(), &change.data);
        let kept = match &change.event {
            Some(event) => {
                events.push((offset, WireKept::event(*offset, at, &change.channel, event, data)));
                Some(WireKept::events(*offset, Some(at)))
            }
            None => match change.gone {
                Some(gone) => Some(WireKept::end(*offset, at, gone)),
                None => {
                    let written = times.get(&change.channel).copied();
                    WireKept::value(*offset, written.unwrap_or(at), data, written.is_some())
                }
            },
        };
        of.ends.note(&change.channel, change.gone.map(|_| *offset));
        states.insert(name, kept);
    }
    // The ring of this node determines how far back events are stored: all nodes have the same limits.
    let dropped = of.log.dropped();
    let trims = dropped > of.head.dropped && !events.is_empty();
    if trims {
        of.head.dropped = dropped;
    }
    // Ends that this node's log has discarded: like events, every node discards the same ones.
    of.head.forgotten = of.log.forgotten();
    let forgotten = of.ends.forget(of.head.forgotten);
    append.arg(tenant).arg(json(&of.head)).arg(states.len() + forgotten.len());
    for channel in forgotten {
        append.arg(channel.as_str()).arg("");
    }
    for (name, kept) in states {
        append.arg(name).arg(json(&kept));
    }
    append.arg(events.len());
    for (offset, kept) in events {
        append.arg(*offset).arg(json(&kept));
    }
    append.arg(if trims { (dropped + 1).to_string() } else { String::new() }).arg(series.len());
    for (name, dump) in series {
        append.arg(name).arg(dump);
    }
    append.arg(written.len());
    for (channel, times) in written {
        append.arg(channel.as_str()).arg(times);
    }
    Ok(())
}
