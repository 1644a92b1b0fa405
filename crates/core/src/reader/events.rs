//! Due events, and gaps.

use std::sync::Arc;

use super::{Collected, Reader, Sink};
use crate::{
    channel::{Channel, Selector},
    hub::{Due, DueList},
    log::Events,
    position::Position,
    publication::Publication,
};

/// Events that were read and are delivered between states.
#[derive(Debug, Default)]
pub(super) struct DueEvents {
    pub(super) events: Vec<Arc<Publication>>,
    pub(super) next: std::cell::Cell<usize>,
    pub(super) complete_to: u64,
    /// Whether the budget was exhausted before all were read.
    pub(super) unfinished: bool,
}

impl DueEvents {
    /// Returns the next event to deliver.
    pub(super) fn peek(&self) -> Option<&Arc<Publication>> {
        self.events.get(self.next.get())
    }
}

impl Reader {
    /// Returns the due subscriptions that may have lost the end of a channel because it was discarded, and marks these ends
    /// as known.
    pub(super) fn take_lost_ends(&mut self, due: &[Due], discarded_ends: u64) -> Vec<Selector> {
        if discarded_ends == 0 {
            return Vec::new();
        }
        let mut lost = Vec::new();
        for due in due.iter().filter(|due| due.state) {
            lost.extend(self.take_lost_ends_of(due.subscription as usize, discarded_ends));
        }
        lost
    }

    /// Returns the selector of a subscription if it lost ends.
    fn take_lost_ends_of(&mut self, number: usize, discarded_ends: u64) -> Option<Selector> {
        let subscription = self.subscriptions.get_mut(number)?.as_mut().filter(|s| !s.paused)?;
        let known = if subscription.is_incomplete { subscription.ends } else { subscription.known_ends() };
        let is_lost = (subscription.is_incomplete || known < self.hub.discarded_ends_of(subscription.topic))
            && self.hub.log().may_have_discarded_end(&subscription.selector, known);
        is_lost.then(|| {
            subscription.ends = subscription.ends.max(discarded_ends);
            subscription.selector.clone()
        })
    }

    /// Reads the due events and moves the positions of the subscriptions; reports a gap, also for lost ends.
    pub(super) fn take_events(
        &mut self,
        due: &mut DueList,
        ceiling: u64,
        budget: usize,
        ends: Vec<Selector>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) -> DueEvents {
        let nothing = DueEvents { complete_to: ceiling, ..DueEvents::default() };
        if !due.iter().any(|due| due.event) {
            self.report_gap(ends, due, sink, collected);
            return nothing;
        }
        // From the position of the last one: all are moved on together.
        let running = self.subscriptions.iter().flatten().filter(|s| !s.paused);
        let Some(from) = running.map(|s| s.events).min() else { return nothing };
        if !self.pace.events {
            self.report_gap(ends, due, sink, collected);
            for due in due.iter().filter(|due| due.event) {
                self.hub.mark(self.member(due.subscription as usize), false, true);
            }
            return DueEvents { complete_to: from.min(ceiling), ..DueEvents::default() };
        }
        let wanted = |channel: &Channel, offset| {
            self.deciding(channel).is_some_and(|(_, subscription)| !subscription.paused && offset > subscription.events)
        };
        let Events { mut events, complete_to, lost } = self.hub.log().events_after(from, ceiling, budget, wanted);
        if let Some(filter) = &self.filter {
            events.retain(|event| filter.allows_event(event));
        }
        for subscription in self.subscriptions.iter_mut().flatten().filter(|s| !s.paused) {
            subscription.events = subscription.events.max(complete_to);
        }
        if complete_to < ceiling {
            collected.more = true;
            // All of them, because a single marked one could be unsubscribed before the delivery.
            for due in due.iter().filter(|due| due.event) {
                self.hub.mark(self.member(due.subscription as usize), false, true);
            }
        }
        if !lost.is_empty() {
            let before_events = events.first().map_or(complete_to, |event| event.offset - 1);
            self.delivered_to = self.delivered_to.max(before_events);
        }
        let lost = lost.into_iter().map(Selector::Exact).chain(ends).collect();
        self.report_gap(lost, due, sink, collected);
        DueEvents { events, complete_to, ..DueEvents::default() }
    }

    /// Reports a gap, if there was a loss, and makes all states due.
    fn report_gap(
        &mut self,
        mut lost: Vec<Selector>,
        due: &mut DueList,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        if lost.is_empty() {
            return;
        }
        // All states are delivered now, including delayed ones.
        let discarded_ends = self.hub.discarded_ends();
        for number in 0..self.subscriptions.len() {
            lost.extend(self.take_lost_ends_of(number, discarded_ends));
        }
        collected.gaps += 1;
        // The cursor covers no state: a client that is disconnected right after the gap must receive the fresh states.
        sink.gap(&lost, Position { epoch: self.hub.log().epoch(), offset: self.delivered_to, state: 0 });
        for (number, subscription) in self.subscriptions.iter_mut().enumerate() {
            if let Some(subscription) = subscription.as_mut().filter(|s| !s.paused) {
                subscription.restart();
                match due.iter_mut().find(|due| due.subscription == number as u32) {
                    Some(due) => due.state = true,
                    None => due.push(Due { subscription: number as u32, state: true, event: false }),
                }
            }
        }
    }
}
