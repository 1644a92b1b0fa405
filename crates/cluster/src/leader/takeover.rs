//! Takeover: a new leader continues with the values that this node has read, the series as they were last stored, and the
//! samples since then.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;
use redis::cmd;
use tokio::time::{Instant, timeout};

use super::{CATCH_UP, GROUPS, Pace, Retention, TenantState, Term, ends::Ends, inbox, times::Times};
use crate::{
    connection::Connection,
    node::{Followed, Node},
    stream,
    term_error::TermError,
    wire::{Entry, GroupReply, Head},
};
use tricast_core::{
    decider::{Decider, Saved},
    log::StoredLog,
    position::Epoch,
};

/// Samples that were not counted when they were decided.
#[derive(Default)]
struct Uncounted {
    /// Refused readings: node, group, batch, and index of the reading.
    refused: HashSet<(String, u64, usize, usize)>,
    /// Groups that were in the inbox again after they were decided, with their number.
    repeated: HashMap<(String, u64), usize>,
    /// Groups that were decided.
    decided: HashSet<(String, u64)>,
}

impl Uncounted {
    /// Returns whether the leader skipped the next group of the inbox.
    fn was_skipped(&mut self, group: &(String, u64)) -> bool {
        if self.decided.remove(group) {
            return false;
        }
        let times = self.repeated.get_mut(group).filter(|times| **times > 0);
        times.is_some_and(|times| {
            *times -= 1;
            true
        })
    }
}

/// Most nodes whose last decided group is stored before those that are gone for a day are removed.
const MANY_NODES: usize = 100;

impl<'a> Term<'a> {
    /// Continues the work of the previous leader, once this node has read everything that it wrote.
    pub(super) async fn begin(
        node: &'a Arc<Node>,
        mut connection: Connection,
        epoch: Epoch,
        is_new: bool,
    ) -> Result<Self, TermError> {
        let mut state = cmd("HMGET");
        state.arg(node.keys.of(&epoch, "state")).arg(&[
            "seq",
            "word",
            "inbox",
            "dumped",
            "dumped_seq",
            "oldest",
            "bytes",
        ]);
        let state: [Option<String>; 7] = state.query_async(&mut connection).await?;
        let [seq, entry_id, inbox, dumped, dumped_seq, oldest, bytes] = state;
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let (seq, oldest, bytes) = (number(seq), number(oldest), number(bytes));
        let (entry_id, inbox) = (entry_id.unwrap_or_default(), inbox.unwrap_or_else(|| "0-0".into()));
        let followed = has_read(node, &epoch, seq).await?;
        if followed.seq != seq || followed.entry_id != entry_id {
            return Err(TermError::Lost("entries of the log are gone".into()));
        }
        let tenants: Vec<String> =
            cmd("HKEYS").arg(node.keys.of(&epoch, "tenants")).query_async(&mut connection).await?;
        let mut term = Self {
            node,
            connection,
            epoch,
            is_new,
            seq,
            entry_id,
            at: Timestamp::from_microsecond(node.last_at.load(Ordering::Acquire)).unwrap_or_default(),
            attempt: Instant::now(),
            pace: Pace::new(),
            retention: Retention::of(oldest.max(1), seq, usize::try_from(bytes).unwrap_or(usize::MAX)),
            inbox,
            decided: HashMap::new(),
            tenants: HashMap::new(),
        };
        term.read_decided().await?;
        for tenant in tenants {
            term.load_tenant(&tenant).await?;
        }
        let uncounted = term.uncounted_since(dumped_seq.as_deref().unwrap_or("0")).await?;
        term.replay(&dumped.unwrap_or_else(|| "0-0".into()), uncounted).await?;
        Ok(term)
    }

    /// Waits until this node has read the entry `seq`.
    pub(super) async fn has_read(&self, seq: u64) -> Result<Followed, TermError> {
        has_read(self.node, &self.epoch, seq).await
    }

    /// Starts to decide for a tenant.
    pub(super) async fn load_tenant(&mut self, tenant: &str) -> Result<(), TermError> {
        let Node { keys, clock, aggregator, .. } = &**self.node;
        let series = keys.of_tenant(&self.epoch, tenant, "series");
        let saved: Vec<String> = cmd("HVALS").arg(series).query_async(&mut self.connection).await?;
        let saved = saved.iter().map(|saved| serde_json::from_str::<Saved>(saved)).collect::<Result<Vec<_>, _>>()?;
        let log = self.node.replica(tenant);
        let mut decider = Decider::take_over(clock.clone(), aggregator.clone(), &log, saved.into_iter());
        // This node has read all entries, and so all published events.
        let published = self.node.published(tenant);
        decider.follow(&published);
        let stored = log.export();
        let StoredLog { head, snapshot, dropped, discarded_ends, holes, states, .. } = stored;
        let ends = Ends::of(&states);
        let head = Head { head, snapshot, dropped, discarded_ends, holes, seq: self.seq, published };
        let times = Times::of(states);
        let (follows_term, ended) = (!self.is_new, Vec::new());
        self.tenants
            .insert(tenant.into(), TenantState { decider, log, head, follows_term, ends, times, ended, cached: 0 });
        Ok(())
    }

    /// Reads the last decided group of each node.
    async fn read_decided(&mut self) -> Result<(), TermError> {
        let Node { keys, .. } = &**self.node;
        let key = keys.of(&self.epoch, "decided");
        self.decided = cmd("HGETALL").arg(&key).query_async(&mut self.connection).await?;
        if self.decided.len() <= MANY_NODES {
            return Ok(());
        }
        let nodes: Vec<_> = self.decided.keys().cloned().collect();
        for node in nodes {
            let exists: bool =
                cmd("EXISTS").arg(keys.seen(&self.epoch, &node)).query_async(&mut self.connection).await?;
            if !exists {
                cmd("HDEL").arg(&key).arg(&node).query_async::<()>(&mut self.connection).await?;
                self.decided.remove(&node);
            }
        }
        Ok(())
    }

    /// Returns the samples that were not counted, by the entries after `seq`.
    async fn uncounted_since(&mut self, seq: &str) -> Result<Uncounted, TermError> {
        let key = self.node.keys.of(&self.epoch, "log");
        let (mut from, to) = (format!("({seq}-0"), format!("{}-0", self.seq));
        let mut uncounted = Uncounted::default();
        loop {
            let items = stream::range(&mut self.connection, &key, &from, &to, GROUPS).await?;
            let Some(last) = items.last() else { return Ok(uncounted) };
            from = format!("({}", last.id);
            for item in &items {
                let entry: Entry = serde_json::from_slice(&item.get::<Vec<u8>>("e").unwrap_or_default())?;
                for GroupReply { node, seq, refused: readings, repeated, .. } in entry.replies {
                    if repeated {
                        *uncounted.repeated.entry((node, seq)).or_default() += 1;
                        continue;
                    }
                    uncounted.decided.insert((node.clone(), seq));
                    let readings = readings.into_iter().map(|(batch, reading, _)| (node.clone(), seq, batch, reading));
                    uncounted.refused.extend(readings);
                }
            }
        }
    }

    /// Replays the accepted readings since the series were last stored.
    async fn replay(&mut self, dumped: &str, mut uncounted: Uncounted) -> Result<(), TermError> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        let mut from = format!("({dumped}");
        loop {
            let items = stream::range(&mut self.connection, &key, &from, &self.inbox, GROUPS).await?;
            let Some(last) = items.last() else { return Ok(()) };
            from = format!("({}", last.id);
            for item in &items {
                // Unreadable readings were refused when they were decided.
                let (Some(node), Some(seq), Some(batches)) =
                    (item.get::<String>("n"), item.get("s"), inbox::read(item))
                else {
                    continue;
                };
                if uncounted.was_skipped(&(node.clone(), seq)) {
                    continue;
                }
                for (number, batch) in batches.into_iter().enumerate() {
                    let Some(mut batch) = batch else { continue };
                    let Some(state) = self.tenants.get_mut(&*batch.tenant) else { continue };
                    let readings = std::mem::take(&mut batch.readings).into_iter().enumerate();
                    let accepted = readings
                        .filter(|(at, _)| !uncounted.refused.contains(&(node.clone(), seq, number, batch.index(*at))));
                    state.decider.replay(accepted.map(|(_, reading)| reading).collect());
                }
            }
        }
    }
}

/// Waits until `node` has read the entry `seq` of the log of `epoch`. Returns how far it has read.
async fn has_read(node: &Node, epoch: &Epoch, seq: u64) -> Result<Followed, TermError> {
    let mut followed = node.followed.subscribe();
    let reached = |followed: &Option<Followed>| matches!(followed, Some(of) if of.epoch == *epoch && of.seq >= seq);
    let Ok(Ok(followed)) = timeout(CATCH_UP, followed.wait_for(reached)).await else { return Err(TermError::Behind) };
    followed.clone().ok_or(TermError::Behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_was_twice_in_the_inbox_is_counted_once() {
        let group = |seq| ("a/1".to_owned(), seq);
        // The first was decided before the series were stored; the second too, and again after that.
        let mut uncounted = Uncounted::default();
        uncounted.repeated.extend([(group(1), 1), (group(2), 1)]);
        uncounted.decided.extend([group(2), group(3)]);
        let inbox = [group(1), group(2), group(2), group(3), group(4), group(1)];
        let skipped: Vec<_> = inbox.iter().map(|group| uncounted.was_skipped(group)).collect();
        assert_eq!(skipped, [true, false, true, false, false, false]);
    }
}
