//! State of one tenant during a term.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ends::Ends,
    inbox::{self, ParsedBatch},
    times::Times,
};
use crate::{
    bootstrap,
    wire::{GroupReply, Head},
};
use tricast_core::{
    channel::Channel,
    decider::{Decided, Decider},
    log::{Change, Chunk, Log, assign_offsets},
    published::Published,
};

/// State of one tenant, from which its readings are decided.
pub(super) struct TenantState {
    pub(super) decider: Decider,
    pub(super) log: Arc<Log>,
    pub(super) head: Head,
    /// Whether the log is as an earlier term left it.
    pub(super) follows_term: bool,
    /// Ends of channels that are stored.
    pub(super) ends: Ends,
    /// Times at which values were written.
    pub(super) times: Times,
    /// Names of series that ended and are still stored.
    pub(super) ended: Vec<String>,
    /// Version of the cached snapshot.
    pub(super) cached: u64,
}

/// Changes of a tenant to store in Redis.
#[derive(Default)]
pub(super) struct TenantChanges {
    pub(super) chunks: Vec<Chunk>,
    /// Restored channels, with the times of their values.
    pub(super) restored: Vec<(Channel, Timestamp)>,
    /// New times of channels, as [`Times::record`] returns them.
    pub(super) times: Vec<(Channel, String)>,
}

/// A batch of readings from the inbox that the leader has yet to decide.
pub(super) struct WaitingBatch {
    /// Index of the reply to its group.
    pub(super) reply: usize,
    /// Index of the batch in its group.
    pub(super) number: usize,
    pub(super) batch: ParsedBatch,
}

impl TenantState {
    /// Assigns offsets to `changes`, made at `at`. The first ones of a term are above all that earlier terms assigned, also to
    /// entries that Redis has lost: a cursor of such an entry lies in the hole.
    pub(super) fn assign_offsets(&mut self, changes: Vec<Change>, at: Timestamp) -> Vec<Chunk> {
        if !changes.is_empty() && std::mem::take(&mut self.follows_term) {
            let end = bootstrap::above(self.head.head, at);
            self.head.holes.add(self.head.head, end);
            self.head.head = end;
        }
        assign_offsets(self.head.head, changes)
    }

    /// Decides the batches and records refusals in `replies`.
    pub(super) fn decide(&mut self, waiting: Vec<WaitingBatch>, replies: &mut [GroupReply]) -> Decided {
        let (mut places, mut batches) = (Vec::new(), Vec::new());
        for WaitingBatch { reply, number, batch: ParsedBatch { origin, readings, unreadable, .. } } in waiting {
            places.push((reply, number, unreadable));
            batches.push((origin, readings));
        }
        // As of the entries that this node has read.
        self.decider.count_field_bytes(self.log.field_bytes());
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
    pub(super) fn publish(&mut self, published: &Published) -> Published {
        if self.published == *published {
            return Published::default();
        }
        self.published = published.clone();
        published.clone()
    }

    /// Moves the head past `chunks`, which are written at `at`.
    pub(super) fn advance(&mut self, chunks: &[Chunk], at: Timestamp) {
        for chunk in chunks {
            self.head = chunk.head().unwrap_or(self.head);
            self.snapshot = chunk.snapshot.map(|offset| (offset, at)).or(self.snapshot);
        }
    }
}
