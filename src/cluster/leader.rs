//! The elected node: decides about what is in the inbox, and writes the log.
//!
//! Each step decides about some groups, places what follows from them, and hands Redis one script: the entry that all
//! nodes follow, the newest values for nodes that come later, and how far the inbox is decided. It is done as a whole or
//! not at all, and only while this node leads. Whoever is elected next goes on just there; of samples, whose series are
//! written only now and then, it counts again those that came since.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use indexmap::IndexMap;
use jiff::Timestamp;
use redis::ScriptInvocation;
use tokio::time::{Instant, sleep};

use super::{
    connection::Connection,
    ended::Ended,
    founding,
    node::{Node, Seen},
    scripts,
    stream::{self, Item},
    wire::{Answered, Entry, Head, Pushed, WireChunk, WireKept, Written, json},
};
use crate::{
    core::{
        decider::{Decided, Decider},
        log::{Chunk, Log, place},
        position::Epoch,
        reading::{Origin, Reading},
        snapshot::View,
    },
    shutdown::random,
};

mod succession;

/// How long Redis waits for a group before it answers that there is none.
const WAIT: Duration = Duration::from_secs(1);

/// After a term ended.
const PAUSE: Duration = Duration::from_millis(200);

/// How long this node may take to read what was decided before its term.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Groups that are decided together. A group is a mebibyte at most, or one batch.
const GROUPS: usize = 64;

/// How often series and the cached snapshots are written.
const KEEP: Duration = Duration::from_secs(5);

/// Groups after which they are written sooner: the inbox is bounded, and lets go of them only then.
const KEEP_AFTER: usize = 2_000;

/// How long a cached snapshot lives.
const SNAPSHOT_LIVES: Duration = Duration::from_secs(86_400);

/// Entries of the log that are kept, and their bytes. A node that was away for longer loads everything.
const ENTRIES: (usize, usize) = (10_000, 32 << 20);

/// Leads whenever this node is elected, until the task is ended.
pub(super) async fn run(node: Arc<Node>) {
    let mut seen = node.seen.subscribe();
    // The sender lives as long as the node.
    while seen.wait_for(|seen| seen.elected).await.is_ok() {
        let ended = lead(&node).await;
        node.leads.send_replace(false);
        match ended {
            Ok(()) => tracing::info!(node = node.id, "leads no more"),
            Err(error @ (Ended::Kept(_) | Ended::Behind)) => {
                // Another node may be able to, such as a newer one.
                node.figures.failures.inc();
                tracing::error!(node = node.id, %error, "can't lead: another one may");
                node.stands.send_replace(false);
                node.hurry.notify_one();
                sleep(node.config.lease).await;
                node.stands.send_replace(!*node.leaving.borrow());
            }
            Err(error) => {
                node.figures.failures.inc();
                tracing::debug!(node = node.id, %error, "can't lead");
            }
        }
        sleep(PAUSE).await;
    }
}

async fn lead(node: &Arc<Node>) -> Result<(), Ended> {
    let mut connection = node.link.connect(WAIT).await?;
    let epoch = founding::found(node, &mut connection).await?;
    let mut term = Term::begin(node, connection, epoch).await?;
    founding::clean_up(node, &mut term.connection).await?;
    node.figures.elections.inc();
    node.leads.send_replace(true);
    tracing::info!(node = node.id, epoch = %term.epoch, "leads");
    let result = term.run().await;
    if let Err(error) = &result {
        tracing::warn!(node = node.id, %error, "a term ended");
    }
    *node.series.lock() =
        term.deciding.iter_mut().map(|(name, of)| (Arc::clone(name), of.decider.dump(true))).collect();
    result
}

/// What the elected node knows.
struct Term<'a> {
    node: &'a Arc<Node>,
    connection: Connection,
    epoch: Epoch,
    /// The newest entry of the log, and its word.
    seq: u64,
    word: String,
    /// Groups that were decided since series were last kept. As long as the inbox holds them there is less room in it.
    since_kept: usize,
    /// The last group of the inbox that is decided.
    inbox: String,
    deciding: HashMap<Arc<str>, Deciding>,
    /// Newest entries, and how large each is.
    sizes: VecDeque<usize>,
    size: usize,
    /// Entries of this term were let go already.
    is_full: bool,
    keep_at: Instant,
}

/// One tenant.
struct Deciding {
    decider: Decider,
    log: Arc<Log>,
    head: Head,
    /// The version of the snapshot that is cached.
    cached: u64,
}

/// A batch that is to be decided: of which answer, the how-manieth of it, and what is in it.
type Waiting = (usize, usize, Origin, Vec<Reading>);

impl<'a> Term<'a> {
    async fn run(&mut self) -> Result<(), Ended> {
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
            let wait = wait.min(self.keep_at.saturating_duration_since(now));
            let items = tokio::select! {
                items = stream::read(&mut self.connection, &key, &self.inbox, GROUPS, wait) => items?,
                was_elected = async { seen.wait_for(&over).await.is_ok_and(|seen| seen.elected) } => {
                    return if was_elected { Err(Ended::Lost("another log counts".into())) } else { Ok(()) };
                }
                () = async { drop(leaving.wait_for(|leaving| *leaving).await) }, if !resigned => {
                    self.keep_at = Instant::now();
                    self.step(Vec::new()).await?;
                    self.node.resign();
                    resigned = true;
                    continue;
                }
            };
            self.step(items).await?;
        }
    }

    /// Decides about `items`, and about what changes by itself, and writes it.
    async fn step(&mut self, items: Vec<Item>) -> Result<(), Ended> {
        let mut replies = Vec::with_capacity(items.len());
        let mut by_tenant = IndexMap::<Arc<str>, Vec<Waiting>>::new();
        for item in &items {
            let (Some(node), Some(seq)) = (item.get("n"), item.get("s")) else { continue };
            let batches = match pushed(item) {
                Ok(batches) => batches,
                Err(error) => {
                    // A newer node may say what this one does not understand. Nobody is told that it was accepted.
                    tracing::error!(%error, "a group in the inbox can't be read");
                    continue;
                }
            };
            for (number, batch) in batches.into_iter().enumerate() {
                let waiting = (replies.len(), number, batch.origin, batch.readings.into_owned());
                by_tenant.entry(Arc::from(&*batch.tenant)).or_default().push(waiting);
            }
            replies.push(Answered { node, seq, refused: Vec::new() });
        }
        let now = Instant::now();
        for (tenant, of) in &self.deciding {
            if of.decider.wake().is_some_and(|wake| wake <= now) {
                by_tenant.entry(Arc::clone(tenant)).or_default();
            }
        }
        self.since_kept += items.len();
        let keeps = now >= self.keep_at || self.since_kept >= KEEP_AFTER;
        let at = self.node.clock.now();
        let (mut written, mut kept) = (Vec::new(), Vec::new());
        for (tenant, waiting) in by_tenant {
            if !self.deciding.contains_key(&tenant) {
                self.take_up(&tenant).await?;
            }
            let Some(of) = self.deciding.get_mut(&tenant) else { continue };
            let (same, chunks) = of.decide(waiting, &mut replies);
            of.head.advance(&chunks, at);
            let wire = chunks.iter().map(WireChunk::of).collect::<Option<Vec<_>>>();
            let wire = wire.ok_or_else(|| Ended::Lost("a value is no JSON".into()))?;
            if !wire.is_empty() || !same.is_empty() {
                written.push(Written { tenant: (*tenant).to_owned(), head: of.head.head, same, chunks: wire });
            }
            if !chunks.is_empty() {
                kept.push((tenant, chunks));
            }
        }
        if keeps {
            for tenant in self.deciding.keys() {
                if kept.iter().all(|(other, _)| other != tenant) {
                    kept.push((Arc::clone(tenant), Vec::new()));
                }
            }
        }
        let is_empty = written.is_empty() && replies.is_empty();
        if is_empty && !keeps && items.is_empty() {
            return Ok(());
        }
        let word = format!("{:016x}", random());
        let entry = if is_empty {
            String::new()
        } else {
            let (word, before) = (word.clone(), self.word.clone());
            json(&Entry { word, before, at, tenants: written, replies })
        };
        if let Some(last) = items.last() {
            self.inbox.clone_from(&last.id);
        }
        self.append(&entry, word, &kept, at, keeps).await?;
        if keeps {
            self.since_kept = 0;
            self.keep_at = Instant::now() + KEEP;
            self.cache_snapshots().await?;
        }
        Ok(())
    }

    async fn append(
        &mut self,
        entry: &str,
        word: String,
        kept: &[(Arc<str>, Vec<Chunk>)],
        at: Timestamp,
        keeps: bool,
    ) -> Result<(), Ended> {
        let Node { keys, id, .. } = &**self.node;
        let seq = self.seq + u64::from(!entry.is_empty());
        let oldest = self.oldest(seq, entry.len());
        let mut append = scripts::APPEND.prepare_invoke();
        append.key(keys.meta()).key(keys.leader());
        for what in ["log", "state", "tenants", "inbox"] {
            append.key(keys.of(&self.epoch, what));
        }
        append.arg(id).arg(self.epoch.to_string()).arg(self.seq).arg(&self.word).arg(entry).arg(&word).arg(&self.inbox);
        append.arg(if keeps { &*self.inbox } else { "" }).arg(oldest);
        for (tenant, chunks) in kept {
            for what in ["states", "events", "series"] {
                append.key(keys.kept(&self.epoch, tenant, what));
            }
            let Some(of) = self.deciding.get_mut(tenant) else { continue };
            let series = if keeps { of.decider.dump(false) } else { Vec::new() };
            keep(&mut append, tenant, of, chunks, at, &series)?;
        }
        let answer: String = append.invoke_async(&mut self.connection).await?;
        if answer != "done" {
            return Err(Ended::Lost(answer));
        }
        self.node.figures.appended.inc();
        if !entry.is_empty() {
            (self.seq, self.word) = (seq, word);
        }
        Ok(())
    }

    /// The oldest entry to keep beside the new one `seq`. Entries of earlier terms go by their number.
    fn oldest(&mut self, seq: u64, bytes: usize) -> u64 {
        self.sizes.push_back(bytes);
        self.size += bytes;
        while self.sizes.len() > ENTRIES.0 || (self.size > ENTRIES.1 && self.sizes.len() > 1) {
            self.size -= self.sizes.pop_front().unwrap_or(0);
            self.is_full = true;
        }
        let kept = if self.is_full { self.sizes.len() } else { ENTRIES.0 };
        (seq + 1).saturating_sub(kept as u64)
    }

    async fn cache_snapshots(&mut self) -> Result<(), Ended> {
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
    /// Decides, and notes in `replies` what is refused. Answers what is written again and the same, and what is new.
    fn decide(
        &mut self,
        waiting: Vec<Waiting>,
        replies: &mut [Answered],
    ) -> (Vec<crate::core::channel::Channel>, Vec<Chunk>) {
        let places: Vec<_> = waiting.iter().map(|(reply, number, ..)| (*reply, *number)).collect();
        let batches = waiting.into_iter().map(|(_, _, origin, readings)| (origin, readings));
        let Decided { verdicts, changes, same } = self.decider.decide_all(batches);
        for ((reply, batch), verdicts) in places.into_iter().zip(verdicts) {
            let refused =
                verdicts.into_iter().enumerate().filter_map(|(reading, verdict)| Some((reading, verdict.err()?)));
            let refused = refused.map(|(reading, refusal)| (batch, reading, refusal));
            if let Some(reply) = replies.get_mut(reply) {
                reply.refused.extend(refused);
            }
        }
        (same, place(self.head.head, changes))
    }
}

impl Head {
    fn advance(&mut self, chunks: &[Chunk], at: Timestamp) {
        for chunk in chunks {
            self.head = chunk.head().unwrap_or(self.head);
            self.snapshot = chunk.snapshot.map(|offset| (offset, at)).or(self.snapshot);
        }
    }
}

/// Says what is kept of one tenant, as the script takes it.
fn keep(
    append: &mut ScriptInvocation<'_>,
    tenant: &str,
    of: &mut Deciding,
    chunks: &[Chunk],
    at: Timestamp,
    series: &[(String, String)],
) -> Result<(), Ended> {
    let (mut states, mut events) = (HashMap::new(), Vec::new());
    for (offset, change) in chunks.iter().flat_map(|chunk| &chunk.changes) {
        let (name, data) = (change.channel.as_str(), &change.data);
        let kept = match &change.event {
            Some(event) => {
                events.push((offset, WireKept::event(*offset, at, &change.channel, event, data)));
                Some(WireKept::events(*offset, Some(at)))
            }
            None => WireKept::state(*offset, at, data),
        };
        states.insert(name, kept);
    }
    // The ring of this node says how far back events are kept: it has the same limits everywhere.
    let dropped = of.log.dropped();
    let trims = dropped > of.head.dropped && !events.is_empty();
    if trims {
        of.head.dropped = dropped;
    }
    append.arg(tenant).arg(json(&of.head)).arg(states.len());
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
    Ok(())
}

fn pushed(item: &Item) -> Result<Vec<Pushed<'static>>, serde_json::Error> {
    serde_json::from_slice(&item.get::<Vec<u8>>("p").unwrap_or_default())
}
