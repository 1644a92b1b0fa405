//! Groups of batches that this node has sent and that wait for a reply.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Node, replicas::Replicas};
use crate::wire::GroupReply;
use tricast_core::{
    aggregator::Reply,
    decider::Verdicts,
    position::{Epoch, Position},
    reading::Refusal,
};

/// Groups of this node that were sent without a reply yet.
#[derive(Default)]
pub(super) struct Pending {
    last: u64,
    groups: BTreeMap<u64, Group>,
}

/// Most nodes whose decided groups are remembered. Each start of a process counts as another node.
const MOST_DECIDED: usize = 256;

/// Last decided group of each node, and a number that grows with each group.
#[derive(Default)]
pub(super) struct Decided(HashMap<String, (u64, u64)>);

impl Decided {
    pub(super) fn record(&mut self, reply: &GroupReply) {
        let newest = self.0.values().map(|(_, at)| at + 1).max().unwrap_or(0);
        match self.0.get_mut(&reply.node) {
            Some(of) => *of = (of.0.max(reply.seq), newest),
            None => _ = self.0.insert(reply.node.clone(), (reply.seq, newest)),
        }
        if self.0.len() > MOST_DECIDED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| node.clone())
        {
            self.0.remove(&oldest);
        }
    }
}

/// Batches that are sent to the inbox together.
pub(crate) struct Group {
    /// Encoded batches, as they are sent to Redis.
    pub(crate) payload: Arc<str>,
    /// Tenant, number of readings, and reply channel of each batch.
    pub(crate) batches: Vec<(Arc<str>, usize, Reply)>,
}

/// Most groups that wait for a reply; further ones wait before they are sent.
const MOST_PENDING: usize = 256;

impl Node {
    /// Returns the last decided group of each node, as far as this node has read.
    pub(crate) fn decided(&self) -> Vec<(String, u64)> {
        self.decided.lock().0.iter().map(|(node, (group, _))| (node.clone(), *group)).collect()
    }

    pub(super) fn deliver_reply(&self, epoch: &Epoch, group_reply: GroupReply, replicas: &mut Replicas) {
        let Some(group) = self.pending.lock().groups.remove(&group_reply.seq) else { return };
        self.reply_received.notify_one();
        if group_reply.repeated {
            // Earlier replies are not known here, so the callers get an unknown outcome.
            return;
        }
        let verdict = |batch| if group_reply.unreadable.has(batch) { Err(Refusal::Unreadable) } else { Ok(()) };
        let counts = group.batches.iter().map(|(_, count, _)| *count).enumerate();
        let mut verdicts: Vec<Verdicts> = counts.map(|(batch, count)| vec![verdict(batch); count]).collect();
        for (batch, reading, refusal) in group_reply.refused {
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
    pub(crate) fn expect(&self, group: Group) -> u64 {
        let mut pending = self.pending.lock();
        pending.last += 1;
        let seq = pending.last;
        pending.groups.insert(seq, group);
        seq
    }

    /// Withdraws a group that Redis did not accept.
    pub(crate) fn withdraw(&self, seq: u64) -> Option<Group> {
        let group = self.pending.lock().groups.remove(&seq);
        self.reply_received.notify_one();
        group
    }

    /// Returns the groups without a reply, in order.
    pub(crate) fn unreplied(&self) -> Vec<(u64, Arc<str>)> {
        let pending = self.pending.lock();
        pending.groups.iter().map(|(seq, group)| (*seq, Arc::clone(&group.payload))).collect()
    }

    /// Waits until there is room for another group.
    pub(crate) async fn wait_for_room(&self) {
        while self.pending.lock().groups.len() >= MOST_PENDING {
            self.reply_received.notified().await;
        }
    }

    /// Returns the number of groups without a reply.
    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().groups.len()
    }

    /// Drops the groups that were sent before `seq`; their callers get an unknown outcome. For a node that did not read
    /// the whole log, so that it may have missed the replies.
    pub(crate) fn drop_pending(&self, seq: u64) {
        let mut pending = self.pending.lock();
        pending.groups = pending.groups.split_off(&seq);
        self.reply_received.notify_one();
    }

    /// Returns the number of the next group.
    pub(crate) fn next_group(&self) -> u64 {
        self.pending.lock().last + 1
    }
}
