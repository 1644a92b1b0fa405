//! Due states.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Collected, Reader};
use crate::{
    channel::{Channel, Selector},
    hub::Due,
    publication::Publication,
};

/// States to deliver, oldest first.
pub(super) struct States {
    pub(super) taken: Vec<Arc<Publication>>,
    /// First offset of the states that are left for the next write.
    pub(super) left: Option<u64>,
    /// First state that waits for the next interval, of a subscription that was cut.
    pub(super) beyond: Option<u64>,
}

/// Due states of one subscription.
struct Found {
    number: u32,
    states: Vec<Arc<Publication>>,
    /// Offset after which there may be more.
    complete_to: u64,
    /// First state that has to wait for the next interval.
    beyond: Option<u64>,
    /// Whether they are the values of a cutover.
    is_cutover: bool,
}

impl Reader {
    /// Leaves the due states for the next write.
    pub(super) fn put_back(&self, due: &[Due]) -> States {
        let mut left = None;
        for Due { subscription: number, .. } in due.iter().filter(|due| due.state) {
            self.hub.mark(self.member(*number as usize), true, false);
            let Some(subscription) = self.get(*number) else { continue };
            let first =
                subscription.cutover_states.as_ref().and_then(|first| first.iter().map(|state| state.offset).min());
            // Fetches publications from before any reader of this worker followed the channel.
            self.hub.latest(subscription.topic, self.view);
            let covered = |channel: &Channel| self.deciding(channel).is_some_and(|(decides, _)| decides == *number);
            let next = subscription.first_after(subscription.state, &self.hub, self.view, covered);
            left = [left, first, next].into_iter().flatten().min();
        }
        // The resume is not complete yet, even if no state is left.
        States { taken: Vec::new(), left: left.or(Some(u64::MAX)), beyond: None }
    }

    /// Takes the due states, oldest first, at most about `budget` bytes of them but at least one. The rest is marked as
    /// due at once.
    pub(super) fn take_states(
        &mut self,
        due: &[Due],
        discarded_ends: u64,
        budget: usize,
        collected: &mut Collected,
    ) -> States {
        let found: Vec<_> =
            due.iter().filter(|due| due.state).filter_map(|due| self.find_states(due.subscription, budget)).collect();
        if self.hub.log().discarded_ends() > discarded_ends {
            // An end was discarded meanwhile, and may be missing here: the next collection detects it.
            for found in &found {
                if let Some(subscription) = self.subscriptions.get_mut(found.number as usize).and_then(Option::as_mut) {
                    subscription.ends = subscription.known_ends();
                    subscription.is_incomplete = true;
                }
            }
        }
        let mut states: Vec<_> = found.iter().flat_map(|found| found.states.iter().cloned()).collect();
        states.sort_by_key(|state| state.offset);
        // The states are not complete beyond this.
        let complete_to = found.iter().map(|found| found.complete_to).min().unwrap_or(u64::MAX);
        let mut spent = 0;
        let fits = |state: &&Arc<Publication>| {
            let fits = state.offset <= complete_to && (spent == 0 || spent < budget);
            spent += state.weight();
            fits
        };
        let taken = states.iter().take_while(fits).count();
        let next = states.get(taken).map(|state| state.offset);
        let unknown = (complete_to < u64::MAX).then(|| complete_to.saturating_add(1));
        let beyond = found.iter().filter_map(|found| found.beyond).min();
        states.truncate(taken);
        // All states up to here are taken.
        let cut = [next.map(|next| next - 1), unknown.map(|_| complete_to)].into_iter().flatten().min();
        for found in found {
            self.advance(found, cut.unwrap_or(u64::MAX), discarded_ends, collected);
        }
        States { taken: states, left: next.into_iter().chain(unknown).min(), beyond }
    }

    /// Returns the due states of a subscription, oldest first.
    fn find_states(&self, number: u32, budget: usize) -> Option<Found> {
        let subscription = self.get(number)?;
        let decides = |channel: &Channel| self.deciding(channel).is_some_and(|(decides, _)| decides == number);
        let mut found = Found { number, states: Vec::new(), complete_to: u64::MAX, beyond: None, is_cutover: false };
        if let Some(first) = &subscription.cutover_states {
            found.states = first.iter().filter(|state| decides(&state.channel)).cloned().collect();
            found.states.sort_by_key(|state| state.offset);
            found.is_cutover = true;
            return Some(found);
        }
        match &subscription.selector {
            Selector::Exact(_) => {
                let latest = self.hub.latest(subscription.topic, self.view).0;
                found.states.extend(latest.filter(|latest| subscription.wants(latest)));
            }
            Selector::Below(prefix) => {
                let (state, ends) = (subscription.state, subscription.ends);
                (found.states, found.complete_to) = self.hub.log().states_below(prefix, state, ends, budget);
                let last = if subscription.interval_end > 0 { subscription.interval_end } else { u64::MAX };
                found.states.retain(|state| state.offset <= last && decides(&state.channel));
                if found.complete_to >= last {
                    found.complete_to = u64::MAX;
                }
                if last < u64::MAX {
                    found.beyond = subscription.first_after(last, &self.hub, self.view, decides);
                }
            }
        }
        Some(found)
    }

    /// Moves a subscription past its states up to `cut`, which were taken.
    fn advance(&mut self, found: Found, cut: u64, discarded_ends: u64, collected: &mut Collected) {
        let Found { number, states, complete_to, beyond, is_cutover } = found;
        let member = self.member(number as usize);
        let (head, log_discarded) = (self.hub.log().head(), self.hub.log().discarded_ends());
        let Some(subscription) = self.subscriptions.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let interval = subscription.interval.max(self.pace.interval);
        let versions = self.hub.latest(subscription.topic, self.view).1;
        let taken = states.partition_point(|state| state.offset <= cut);
        let is_left = taken < states.len() || complete_to < u64::MAX;
        if let Some(last) = taken.checked_sub(1).and_then(|last| states.get(last)) {
            subscription.state = subscription.state.max(last.offset);
        }
        if is_left {
            collected.more = true;
            self.hub.mark(member, true, false);
            if complete_to <= cut {
                // These were processed, whether or not another subscription decides about them.
                subscription.state = subscription.state.max(complete_to);
            }
            if is_cutover {
                subscription.cutover_states = Some(Box::new(states.into_iter().skip(taken).collect()));
            } else if !interval.is_zero() && subscription.interval_end == 0 {
                subscription.interval_end = head;
            }
            return;
        }
        if is_cutover {
            let newest =
                subscription.cutover_states.take().and_then(|first| first.iter().map(|state| state.offset).max());
            subscription.state = subscription.state.max(newest.unwrap_or(0));
            // Newer states follow.
            self.hub.mark(member, true, false);
        }
        if matches!(subscription.selector, Selector::Exact(_)) {
            collected.conflated += versions.saturating_sub(subscription.versions).saturating_sub(1);
            if taken == 0 && !is_cutover {
                // A change, if any, is not visible to this reader.
                subscription.state = subscription.state.max(self.hub.changed(subscription.topic, self.view));
            }
        }
        subscription.versions = versions;
        if beyond.is_none() && !is_cutover && log_discarded <= discarded_ends {
            // All ends so far were delivered, or do not concern it.
            subscription.ends = subscription.ends.max(self.hub.seen());
            subscription.is_incomplete = false;
        }
        let was_cut = std::mem::take(&mut subscription.interval_end) > 0;
        if !interval.is_zero() && (taken > 0 || was_cut) {
            let at = Instant::now() + interval;
            subscription.not_before = Some(at);
            if beyond.is_some() {
                self.hub.mark_at(member, at);
            }
        }
    }

    /// Returns the last offset before the first delayed state.
    pub(super) fn before_delayed(&self, due: &[Due]) -> Option<u64> {
        let waits = |number: usize| !due.iter().any(|due| due.state && due.subscription as usize == number);
        self.subscriptions
            .iter()
            .enumerate()
            .filter_map(|(number, s)| s.as_ref().map(|s| (number, s)))
            .filter(|(number, s)| !self.interval_of(s).is_zero() && !s.paused && waits(*number))
            .filter_map(|(number, s)| {
                let decides = |channel: &Channel| self.deciding(channel).is_some_and(|(d, _)| d as usize == number);
                s.first_after(s.state, &self.hub, self.view, decides)
            })
            .min()
            .map(|first| first - 1)
    }

    /// Returns the offset of the states that are delivered first: newer ones may follow.
    pub(super) fn cutover_offset(&self) -> Option<u64> {
        let first = self.subscriptions.iter().flatten().filter(|s| !s.paused).filter_map(|s| s.cutover_states.as_ref());
        first.filter_map(|first| first.iter().map(|state| state.offset).max()).min()
    }
}
