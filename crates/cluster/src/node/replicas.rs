//! Logs of all tenants on this node: applying entries, and replacing them by a loaded log.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use super::{Followed, Node};
use crate::wire::{Entry, WireChunk, Written};
use tricast_core::{
    built_in,
    channel::Channel,
    field_times::Part,
    log::{Chunk, Holes, Log, LogConfig, LogWriter, Origins, StoredLog},
    position::Epoch,
    published::Published,
};

/// Most epochs of earlier logs that are remembered.
const MOST_EARLIER: usize = 32;

/// Logs of all tenants on this node.
#[derive(Default)]
pub(super) struct Replicas {
    /// Epoch, once it is known.
    epoch: Option<Epoch>,
    /// Epochs of earlier logs, oldest first.
    earlier: Vec<Epoch>,
    /// Offset at which this epoch starts.
    base: u64,
    writers: HashMap<Arc<str>, LogWriter>,
    /// Number of the newest entry that the loaded times of values include, by tenant.
    times_from: HashMap<Arc<str>, u64>,
}

/// Loaded log of a tenant.
pub(crate) struct Loaded {
    pub(crate) stored: StoredLog,
    /// Number of the newest entry that the times in `stored` include.
    pub(crate) seq: u64,
}

impl Node {
    /// Returns the log of `tenant` on this node; an empty one if nothing was published yet.
    pub(crate) fn replica(&self, tenant: &str) -> Arc<Log> {
        let mut replicas = self.replicas.lock();
        Arc::clone(replicas.writer(tenant, self.log).log())
    }

    /// Returns the epochs of earlier logs and of the one that this node reads, oldest first.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        let replicas = self.replicas.lock();
        replicas.earlier.iter().cloned().chain(replicas.epoch.clone()).collect()
    }

    /// Returns the epochs of the logs before the one that this node reads, oldest first.
    pub(crate) fn earlier(&self) -> Vec<Epoch> {
        self.replicas.lock().earlier.clone()
    }

    /// Returns whether `epoch` is that of an earlier log.
    pub(crate) fn is_earlier(&self, epoch: &Epoch) -> bool {
        self.replicas.lock().earlier.contains(epoch)
    }

    /// Returns the contents of all logs on this node.
    pub(crate) fn export(&self) -> Vec<(Arc<str>, StoredLog)> {
        let logs: Vec<_> = {
            let replicas = self.replicas.lock();
            replicas.writers.iter().map(|(tenant, writer)| (Arc::clone(tenant), Arc::clone(writer.log()))).collect()
        };
        logs.into_iter().map(|(tenant, log)| (tenant, log.export())).collect()
    }

    /// Returns the published events of a tenant's stores, as far as this node has read.
    pub(crate) fn published(&self, tenant: &str) -> Published {
        self.published.lock().get(tenant).cloned().unwrap_or_default()
    }

    /// Records published events of a tenant's stores.
    pub(crate) fn record_published(&self, tenant: &str, published: &Published) {
        if !published.is_empty() {
            self.published.lock().entry(tenant.into()).or_default().merge(published);
        }
    }

    /// Replaces the logs with a loaded log, whose offsets start at `base` and which follows the epochs in `earlier`.
    /// Tenants without stored data start empty.
    pub(crate) fn replace_logs(
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
        let stored = loaded.values().map(|loaded| &loaded.stored);
        let newest =
            stored.flat_map(|stored| stored.states.iter().chain(&stored.events)).map(|publication| publication.at);
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
                    writer.replace(empty(epoch, base));
                }
            }
        }
        replicas.times_from.clear();
        for (tenant, Loaded { stored, seq }) in loaded {
            let writer = replicas.writer(&tenant, self.log);
            if is_new || stored.head > writer.log().head() {
                writer.replace(stored);
            } else {
                // Values may have been written again and be the same.
                writer.set_times(stored.states);
            }
            replicas.times_from.insert(tenant, seq);
        }
        drop(replicas);
        self.followed.send_replace(Some(followed));
    }

    /// Applies the entry `seq` of the log of `epoch`, and sends its replies to the waiting callers.
    pub(crate) fn apply(&self, epoch: &Epoch, seq: u64, entry: Entry) {
        let Entry { entry_id, at, tenants, replies, .. } = entry;
        let mut replicas = self.replicas.lock();
        for written in tenants {
            self.record_published(&written.tenant, &written.published);
            let Written { tenant, head, same, restored, parts, chunks, .. } = written;
            let chunks: Vec<_> = chunks.into_iter().map(WireChunk::into_chunk).collect();
            let parts = parts.unwrap_or_else(|| unknown_parts(&same, &chunks));
            let writer = replicas.writer(&tenant, self.log);
            // The loaded state may be newer.
            if head > writer.log().head() {
                writer.apply_from(chunks, at, Origins { restored: &restored, parts: &parts });
            }
            // And so may the times.
            let is_newer = replicas.times_from.get(&*tenant).is_none_or(|times_from| seq > *times_from);
            if !same.is_empty() && is_newer {
                replicas.writer(&tenant, self.log).confirm(&same, &parts, at);
            }
        }
        for reply in replies {
            self.decided.lock().record(&reply);
            if reply.node == self.id {
                self.deliver_reply(epoch, reply, &mut replicas);
            }
        }
        drop(replicas);
        self.last_at.store(at.as_microsecond(), Ordering::Release);
        self.metrics.applied.inc();
        self.followed.send_replace(Some(Followed { epoch: epoch.clone(), seq, entry_id }));
    }
}

impl Replicas {
    /// Returns the writer of the log of `tenant`, which is created if necessary.
    pub(super) fn writer(&mut self, tenant: &str, config: LogConfig) -> &mut LogWriter {
        if !self.writers.contains_key(tenant) {
            let (mut writer, _) = Log::create(config);
            // Before a log is read, the earlier epochs are unknown: no cursor counts as one of an earlier log.
            writer.set_earlier(self.earlier.clone());
            if let Some(epoch) = &self.epoch {
                writer.replace(empty(epoch, self.base));
            }
            self.writers.insert(tenant.into(), writer);
        }
        self.writers.get_mut(tenant).unwrap_or_else(|| unreachable!("it was just inserted"))
    }
}

/// Returns `epochs` with those of `more` that it lacks, the last [`MOST_EARLIER`] of them.
pub(crate) fn united(epochs: Vec<Epoch>, more: impl Iterator<Item = Epoch>) -> Vec<Epoch> {
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
fn empty(epoch: &Epoch, base: u64) -> StoredLog {
    StoredLog {
        epoch: epoch.clone(),
        head: base,
        snapshot: None,
        states: Vec::new(),
        event_channels: built_in::event_channels().map(|channel| (channel, base, None)).collect(),
        events: Vec::new(),
        dropped: base,
        discarded_ends: 0,
        holes: Holes::default(),
    }
}
