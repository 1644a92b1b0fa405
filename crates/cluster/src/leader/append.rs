//! Writing: the script that appends an entry and stores its results, and the cached snapshots.

use std::{collections::HashMap, sync::Arc, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use redis::ScriptInvocation;
use tokio::time::{Instant, timeout};

use super::{
    Term,
    tenant::{TenantChanges, TenantState},
};
use crate::{
    health::{FAULT_AFTER, Writer},
    keys::{PARTS, TENANT_PARTS},
    node::Node,
    scripts,
    term_error::TermError,
    wire::{WirePublication, json},
};
use tricast_core::snapshot::View;

/// Lifetime of a cached snapshot.
const SNAPSHOT_LIVES: Duration = Duration::from_secs(86_400);

impl Term<'_> {
    /// Writes an entry, and stores its results. `decided` are the newest groups of the nodes, `stores_series` requests that
    /// the series of all tenants in `to_store` are stored too.
    pub(super) async fn append(
        &mut self,
        entry: &str,
        entry_id: String,
        decided: &HashMap<String, u64>,
        to_store: &IndexMap<Arc<str>, TenantChanges>,
        at: Timestamp,
        stores_series: bool,
    ) -> Result<(), TermError> {
        let Node { keys, id, .. } = &**self.node;
        let seq = self.seq + u64::from(!entry.is_empty());
        let (oldest, bytes) = if entry.is_empty() { (0, 0) } else { self.retention.add(seq, entry.len()) };
        let mut append = scripts::APPEND.prepare_invoke();
        append.key(keys.meta()).key(keys.leader());
        for part in PARTS {
            append.key(keys.of(&self.epoch, part));
        }
        append
            .arg(id)
            .arg(self.epoch.to_string())
            .arg(self.seq)
            .arg(&self.entry_id)
            .arg(entry)
            .arg(&entry_id)
            .arg(&self.inbox);
        append.arg(if stores_series { &*self.inbox } else { "" }).arg(oldest).arg(bytes).arg(decided.len());
        for (node, group) in decided {
            append.arg(node).arg(*group);
        }
        for (tenant, changes) in to_store {
            for part in TENANT_PARTS {
                append.key(keys.of_tenant(&self.epoch, tenant, part));
            }
            let Some(state) = self.tenants.get_mut(tenant) else { continue };
            let mut series = if stores_series { state.decider.dump(false) } else { Vec::new() };
            // Removes the ended series. They come first, because one may have started again.
            series.splice(..0, state.ended.drain(..).map(|name| (name, String::new())));
            state.head.seq = seq;
            add_tenant(&mut append, tenant, state, changes, at, &series);
        }
        self.attempt = Instant::now();
        let reply = timeout(FAULT_AFTER, append.invoke_async::<String>(&mut self.connection)).await;
        let reply = reply.map_err(|_| TermError::Stuck)??;
        self.node.health.wrote(Writer::Leader);
        if reply != "done" {
            return Err(TermError::Lost(reply));
        }
        self.node.metrics.appended.inc();
        if !entry.is_empty() {
            (self.seq, self.entry_id) = (seq, entry_id);
        }
        Ok(())
    }

    /// Stores the snapshots that changed, for clients of any node.
    pub(super) async fn cache_snapshots(&mut self) -> Result<(), TermError> {
        let mut all = redis::pipe();
        for (tenant, state) in &mut self.tenants {
            let version = state.log.snapshot_offset();
            if std::mem::replace(&mut state.cached, version) != version {
                let key = self.node.keys.tenant(tenant, "snapshot");
                all.cmd("SET")
                    .arg(key)
                    .arg(&state.log.snapshot(View::Full).data[..])
                    .arg("EX")
                    .arg(SNAPSHOT_LIVES.as_secs())
                    .ignore();
            }
        }
        if all.is_empty() { Ok(()) } else { Ok(all.query_async(&mut self.connection).await?) }
    }
}

/// Adds the data of one tenant to the arguments of the script.
fn add_tenant(
    append: &mut ScriptInvocation<'_>,
    tenant: &str,
    state: &mut TenantState,
    TenantChanges { chunks, restored, times: written }: &TenantChanges,
    at: Timestamp,
    series: &[(String, String)],
) {
    let times: HashMap<_, _> = restored.iter().map(|(channel, at)| (channel, *at)).collect();
    let (mut states, mut events) = (HashMap::new(), Vec::new());
    for (offset, change) in chunks.iter().flat_map(|chunk| &chunk.changes) {
        let (name, data) = (change.channel.as_str(), &change.data);
        let stored = match &change.event {
            Some(event) => {
                events.push((offset, WirePublication::event(*offset, at, &change.channel, event, data)));
                Some(WirePublication::events(*offset, Some(at)))
            }
            None => match change.gone {
                Some(gone) => Some(WirePublication::end(*offset, at, gone)),
                None => {
                    let written = times.get(&change.channel).copied();
                    WirePublication::value(*offset, written.unwrap_or(at), data, written.is_some())
                }
            },
        };
        state.ends.record(&change.channel, change.gone.map(|_| *offset));
        states.insert(name, stored);
    }
    // The ring of this node determines how far back events are stored: all nodes have the same limits.
    let dropped = state.log.dropped();
    let trims = dropped > state.head.dropped && !events.is_empty();
    if trims {
        state.head.dropped = dropped;
    }
    // Ends that this node's log has discarded: like events, every node discards the same ones.
    state.head.discarded_ends = state.log.discarded_ends();
    let discarded_ends = state.ends.discard(state.head.discarded_ends);
    append.arg(tenant).arg(json(&state.head)).arg(states.len() + discarded_ends.len());
    for channel in discarded_ends {
        append.arg(channel.as_str()).arg("");
    }
    for (name, stored) in states {
        append.arg(name).arg(json(&stored));
    }
    append.arg(events.len());
    for (offset, stored) in events {
        append.arg(*offset).arg(json(&stored));
    }
    append.arg(if trims { (dropped + 1).to_string() } else { String::new() }).arg(series.len());
    for (name, dump) in series {
        append.arg(name).arg(dump);
    }
    append.arg(written.len());
    for (channel, times) in written {
        append.arg(channel.as_str()).arg(times);
    }
}
