//! Positions of one subscription.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    channel::{Channel, Selector},
    hub::Hub,
    publication::Publication,
    snapshot::View,
};

/// Subscription of a reader, with the offsets up to which it has delivered.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) selector: Selector,
    /// Number of its topic in the hub.
    pub(super) topic: usize,
    /// Shortest time between two updates of one state; zero for none.
    pub(super) interval: Duration,
    /// Offset of the newest delivered state; 0 if all states are due.
    pub(super) state: u64,
    /// Offset up to which ends are irrelevant: those channels were never delivered, or their ends were.
    pub(super) ends: u64,
    /// Versions that the hub had seen at that time.
    pub(super) versions: u64,
    /// Earliest time of the next state: an interval after the last one.
    pub(super) not_before: Option<Instant>,
    /// Offset of the last state of an interval whose states did not fit into one write; 0 if none is left.
    pub(super) interval_end: u64,
    /// Offset up to which events were delivered.
    pub(super) events: u64,
    /// Whether the client has paused it: nothing is delivered.
    pub(super) paused: bool,
    /// Whether it has not caught up since it was resumed, or may have missed an end: ends are then known up to `ends` only.
    pub(super) is_incomplete: bool,
    /// States that are delivered first, although there may be newer ones by now.
    #[expect(clippy::box_collection, reason = "most have none, and there are many: a pointer is a third of a vector")]
    pub(super) cutover_states: Option<Box<Vec<Arc<Publication>>>>,
}

impl Subscription {
    /// Returns whether `state` is new to the client: a value, or the end of a delivered channel.
    pub(super) fn wants(&self, state: &Publication) -> bool {
        state.offset > self.state && (state.gone.is_none() || state.offset > self.ends)
    }

    /// Returns the offset up to which the ends of channels are known.
    pub(super) fn known_ends(&self) -> u64 {
        self.ends.max(self.state)
    }

    /// Makes all values due again, but not the ends that were delivered.
    pub(super) fn restart(&mut self) {
        self.ends = self.known_ends();
        self.state = 0;
    }

    /// Returns the first offset after `after` of a state of this subscription, as far as the hub has processed.
    pub(super) fn first_after(
        &self,
        after: u64,
        hub: &Hub,
        view: View,
        covered: impl Fn(&Channel) -> bool,
    ) -> Option<u64> {
        match &self.selector {
            Selector::Exact(_) => Some(hub.changed(self.topic, view)).filter(|changed| *changed > after),
            Selector::Below(_) => hub.log().first_state_after(after, self.ends, covered).filter(|at| *at <= hub.seen()),
        }
    }
}
