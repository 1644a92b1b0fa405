//! Delivery of due data.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    CatchUp, Collected, DueState, Pace, Reader, Sink, events::DueEvents, states::States, subscription::Subscription,
};
use crate::{
    hub::{Due, DueList, LatestState},
    position::Position,
    publication::Publication,
};

/// Timer tolerance: an update may be sent this much before its interval has passed, because workers are not exactly on time.
pub(super) const SLACK: Duration = Duration::from_millis(5);

impl Reader {
    /// Delivers due data to `sink`, in the order of the log, at most about `budget` bytes of events and as many of
    /// states, but at least one of each. The rest is due at once, each state with its newest value at that time.
    pub fn collect(&mut self, budget: usize, sink: &mut impl Sink) -> Collected {
        if let Some(DueState { publication, cursor, conflated, waiting_since }) = self.take_state() {
            sink.publication(&publication, cursor);
            return Collected { delivered: 1, conflated, waiting_since, ..Collected::default() };
        }
        let discarded_ends = self.hub.sync_discarded_ends();
        let mut due = DueList::new();
        let waiting_since = self.hub.take_due(self.slot, &mut due);
        let mut collected = Collected { waiting_since, ..Collected::default() };
        if !due.is_empty() {
            self.collect_due(&mut due, discarded_ends, budget, sink, &mut collected);
        }
        collected
    }

    /// Takes the due data if that is the newest state of one channel, as it is in most deliveries. Has the effect of
    /// [`Reader::collect`] without its lists. `None` without an effect if that has to be called.
    pub fn take_state(&mut self) -> Option<DueState> {
        let topic_of = |number| self.subscription_without_delay(number).map(|subscription| subscription.topic);
        let wants = |number, latest: &Publication| self.get(number).is_some_and(|s| s.wants(latest));
        let LatestState { subscription, publication, versions, waiting_since } =
            self.hub.take_state(self.slot, self.view, topic_of, wants)?;
        let ceiling = self.hub.seen();
        let offset = publication.offset;
        let subscription = self.subscriptions.get_mut(subscription as usize)?.as_mut()?;
        let conflated = versions.saturating_sub(subscription.versions).saturating_sub(1);
        subscription.versions = versions;
        subscription.state = offset;
        self.delivered_to = self.delivered_to.max(self.rewound_from).max(offset.min(ceiling));
        let cursor = self.cursor_of(&publication, self.delivered_to, None);
        Some(DueState { publication, cursor, conflated, waiting_since })
    }

    /// Returns a subscription to one channel, if nothing delays its states, and they delay nothing.
    fn subscription_without_delay(&self, number: u32) -> Option<&Subscription> {
        let paced = |s: &Subscription| !s.interval.is_zero();
        if self.catching_up
            || self.pace != Pace::FULL
            || !self.late_notices.is_empty()
            || self.hub.log().notice_count() != self.notices_seen
            || self.subscriptions.iter().flatten().any(paced)
        {
            return None;
        }
        self.get(number).filter(|s| !s.paused && !s.is_incomplete && s.cutover_states.is_none())
    }

    fn collect_due(
        &mut self,
        due: &mut DueList,
        discarded_ends: u64,
        budget: usize,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        let ceiling = self.hub.seen();
        due.retain(|due| {
            self.subscriptions.get(due.subscription as usize).is_some_and(|s| s.as_ref().is_some_and(|s| !s.paused))
        });
        self.postpone(due);
        let ends = self.take_lost_ends(due, discarded_ends);
        let mut events = self.take_events(due, ceiling, budget, ends, sink, collected);
        events.unfinished = events.complete_to < ceiling;
        if !events.unfinished && events.events.is_empty() {
            self.delivered_to = self.delivered_to.max(self.rewound_from);
        }
        // Delayed states are not delivered, and states of a cutover are followed by newer ones: cursors account for that.
        let state_limit = [self.before_delayed(due), self.cutover_offset()];
        let wait = self.catching_up && events.unfinished && self.pace.events && self.order == CatchUp::EventsFirst;
        let states = if wait { self.put_back(due) } else { self.take_states(due, discarded_ends, budget, collected) };
        let state_limit = state_limit.into_iter().chain([states.beyond.map(|beyond| beyond - 1)]).flatten().min();
        self.deliver_all(&states, &events, state_limit, sink, collected);
        self.catching_up &= states.left.is_some();
        self.deliver_notices(sink, collected);
    }

    /// Delivers notices. Their cursor covers only earlier deliveries.
    fn deliver_notices(&mut self, sink: &mut impl Sink, collected: &mut Collected) {
        if self.late_notices.is_empty() && self.hub.log().notice_count() == self.notices_seen {
            return;
        }
        let (newer, notices_seen) = self.hub.log().notices_after(self.notices_seen);
        self.notices_seen = notices_seen;
        let mut notices = std::mem::take(&mut self.late_notices);
        // A subscription may have begun just after a notice.
        notices.retain(|late| !newer.iter().any(|newer| Arc::ptr_eq(late, newer)));
        for notice in notices.into_iter().chain(newer) {
            if self.deciding(&notice.channel).is_some_and(|(_, subscription)| !subscription.paused) {
                collected.delivered += 1;
                sink.publication(&notice, Some(self.out_of_band_cursor()));
            }
        }
    }

    /// Delays states whose group was on time, but of which the socket accepted the last one late, by their interval.
    fn postpone(&self, due: &mut [Due]) {
        if self.subscriptions.iter().flatten().all(|s| s.not_before.is_none()) {
            return;
        }
        let now = Instant::now();
        for due in due.iter_mut().filter(|due| due.state) {
            let Some(subscription) = self.get(due.subscription) else { continue };
            if subscription.interval_end == 0
                && let Some(not_before) = subscription.not_before
                && now + SLACK.min(self.interval_of(subscription) / 2) < not_before
            {
                self.hub.mark_at(self.member(due.subscription as usize), not_before);
                due.state = false;
            }
        }
    }

    /// Delivers states and events in the order of the log, or in that of a resume.
    fn deliver_all(
        &mut self,
        states: &States,
        events: &DueEvents,
        state_limit: Option<u64>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        // No cursor covers a state that is still to come, because the connection may be cut at any point of a write.
        let covered = |next: Option<u64>| [state_limit, next.map(|next| next - 1)].into_iter().flatten().min();
        let offset_of = |number: usize| states.taken.get(number).map(|state| state.offset).or(states.left);
        if self.catching_up && self.order == CatchUp::EventsFirst {
            self.deliver_events(events, u64::MAX, covered(offset_of(0)), sink, collected);
        }
        for (number, state) in states.taken.iter().enumerate() {
            if !self.catching_up {
                self.deliver_events(events, state.offset, covered(Some(state.offset)), sink, collected);
            }
            // Never past an event that is still to come.
            let limit = events.peek().map_or(events.complete_to, |event| event.offset - 1);
            self.delivered_to = self.delivered_to.max(state.offset.min(limit));
            self.deliver(state, self.delivered_to, covered(offset_of(number + 1)), sink, collected);
        }
        self.deliver_events(events, u64::MAX, covered(states.left), sink, collected);
    }

    fn deliver_events(
        &mut self,
        events: &DueEvents,
        before: u64,
        states: Option<u64>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        while let Some(event) = events.peek().filter(|event| event.offset < before) {
            self.delivered_to = self.delivered_to.max(event.offset);
            if !events.unfinished && events.next.get() + 1 == events.events.len() {
                self.delivered_to = self.delivered_to.max(self.rewound_from);
            }
            self.deliver(event, self.delivered_to, states, sink, collected);
            events.next.set(events.next.get() + 1);
        }
    }

    /// Delivers one publication with a cursor that covers events up to `events` and states up to `states`.
    fn deliver(
        &self,
        publication: &Arc<Publication>,
        events: u64,
        states: Option<u64>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        collected.delivered += 1;
        sink.publication(publication, self.cursor_of(publication, events, states));
    }

    /// Returns the cursor that covers events up to `events` and states up to `states`; `None` for the publication's own.
    fn cursor_of(&self, publication: &Publication, events: u64, states: Option<u64>) -> Option<Position> {
        let states = states.unwrap_or(u64::MAX).min(events);
        let own = publication.offset == events && states == events;
        (!own).then(|| Position { epoch: self.hub.log().epoch(), offset: events, state: states })
    }
}
