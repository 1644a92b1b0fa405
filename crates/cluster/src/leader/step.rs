//! One step of the leader: deciding groups, and assembling the entry with the results.

use std::{collections::HashMap, sync::Arc};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    Term,
    inbox::{self, ParsedBatch},
    tenant::{TenantChanges, WaitingBatch},
};
use crate::{
    stream::Item,
    term_error::TermError,
    wire::{Entry, GroupReply, Unreadable, WireChunk, Written, json},
};
use tricast_core::{decider::Decided, ids::random_u64, log::Origins, reading::Refusal};

/// Largest step back of the clock that is ignored: a time that is earlier by less is moved up to that of the previous
/// entry. A clock that was set back by more is followed.
const SET_BACK: SignedDuration = SignedDuration::from_secs(60);

impl Term<'_> {
    /// Decides `items` and changes that are due by time, and writes the result.
    pub(super) async fn step(&mut self, items: Vec<Item>) -> Result<(), TermError> {
        let mut replies = Vec::with_capacity(items.len());
        let mut decided = HashMap::new();
        let mut by_tenant = IndexMap::<Arc<str>, Vec<WaitingBatch>>::new();
        for item in &items {
            let Some((reply, batches)) = self.parse_group(item) else { continue };
            for (number, batch) in batches {
                let tenant = Arc::from(&*batch.tenant);
                let waiting = WaitingBatch { reply: replies.len(), number, batch };
                by_tenant.entry(tenant).or_default().push(waiting);
            }
            if !reply.repeated {
                decided.insert(reply.node.clone(), reply.seq);
            }
            replies.push(reply);
        }
        let now = Instant::now();
        for (tenant, state) in &self.tenants {
            if state.decider.wake().is_some_and(|wake| wake <= now) {
                by_tenant.entry(Arc::clone(tenant)).or_default();
            }
        }
        self.pace.decided(items.len());
        let at = self.next_time();
        let (written, mut to_store) = self.decide_all(by_tenant, &mut replies, at).await?;
        // A later leader must not count ended series again: series are stored up to here with each end.
        let stores_series = self.pace.is_due() || self.tenants.values().any(|state| !state.ended.is_empty());
        if stores_series {
            for tenant in self.tenants.keys() {
                to_store.entry(Arc::clone(tenant)).or_default();
            }
        }
        let is_empty = written.is_empty() && replies.is_empty();
        if is_empty && !stores_series && items.is_empty() {
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
        self.append(&entry, entry_id, &decided, &to_store, at, stores_series).await?;
        if stores_series {
            self.pace.written();
            self.cache_snapshots().await?;
        }
        Ok(())
    }

    /// Decides the batches of each tenant at `at`. Returns the tenants' parts of the entry, and the changes to store.
    async fn decide_all(
        &mut self,
        by_tenant: IndexMap<Arc<str>, Vec<WaitingBatch>>,
        replies: &mut [GroupReply],
        at: Timestamp,
    ) -> Result<(Vec<Written>, IndexMap<Arc<str>, TenantChanges>), TermError> {
        let (mut written, mut to_store) = (Vec::new(), IndexMap::<Arc<str>, TenantChanges>::new());
        for (tenant, waiting) in by_tenant {
            if !self.tenants.contains_key(&tenant) {
                self.load_tenant(&tenant).await?;
            }
            let Some(state) = self.tenants.get_mut(&tenant) else { continue };
            let Decided { changes, same, restored, parts, .. } = state.decide(waiting, replies);
            let chunks = state.assign_offsets(changes, at);
            let times = state.times.record(&same, &chunks, Origins { restored: &restored, parts: &parts }, at);
            state.head.advance(&chunks, at);
            let wire = chunks.iter().map(WireChunk::of).collect::<Option<Vec<_>>>();
            let wire = wire.ok_or_else(|| TermError::Lost("a value is not JSON".into()))?;
            let published = state.head.publish(state.decider.published());
            if !wire.is_empty() || !same.is_empty() || !published.is_empty() {
                let (tenant, head, restored) = ((*tenant).to_owned(), state.head.head, restored.clone());
                written.push(Written { tenant, head, published, same, restored, parts: Some(parts), chunks: wire });
            }
            if !chunks.is_empty() || !times.is_empty() {
                to_store.insert(tenant, TenantChanges { chunks, restored, times });
            }
        }
        Ok((written, to_store))
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
    fn parse_group(&mut self, item: &Item) -> Option<(GroupReply, Vec<(usize, ParsedBatch)>)> {
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
}
