//! Starting, pausing, resuming and ending subscriptions.

use std::{sync::Arc, time::Duration};

use super::{Reader, subscription::Subscription};
use crate::{
    channel::{Channel, ChannelKind, Selector},
    position::Position,
    publication::Publication,
    throttle_group::Member,
};

impl Reader {
    /// Subscribes: the newest states are due at once, then changes, at most one per `interval` each. Events are due from
    /// `since` on, or from now. Subscribing again changes the interval and delivers the states again.
    pub fn subscribe(&mut self, selector: Selector, interval: Duration, since: Option<&Position>) {
        self.start(selector, interval, since, 0);
    }

    /// Subscribes a client that has received the history before `states`: these are delivered first, then newer ones.
    /// They are all that `selector` matched at one moment.
    pub fn subscribe_with(
        &mut self,
        selector: Selector,
        interval: Duration,
        since: Option<&Position>,
        states: Vec<Arc<Publication>>,
    ) {
        let number = self.start(selector, interval, since, 0);
        if let Some(subscription) = self.subscriptions.get_mut(number).and_then(Option::as_mut)
            && let Some(newest) = states.iter().map(|state| state.offset).max()
        {
            // Any of them may have ended since.
            subscription.ends = subscription.ends.min(newest);
            subscription.cutover_states = Some(Box::new(states));
        }
    }

    /// Resumes a subscription of a connection that was cut: like [`Reader::subscribe`], but states that the holder of
    /// `since` already has are not delivered again.
    pub fn resume_from(&mut self, selector: Selector, interval: Duration, since: &Position) {
        self.start(selector, interval, Some(since), since.state);
    }

    /// Starts a subscription and returns its number.
    fn start(&mut self, selector: Selector, interval: Duration, since: Option<&Position>, state: u64) -> usize {
        self.hub.catch_up();
        let mut events = since.map_or(self.hub.seen(), |since| since.offset);
        let mut ends = since.map_or(self.hub.seen(), |since| since.state);
        let mut is_incomplete = since.is_some();
        if let Some(existing) = self.find(&selector) {
            // Undelivered data stay due.
            if let Some(before) = self.remove(existing)
                && since.is_none()
            {
                (events, ends, is_incomplete) = (before.events, before.known_ends(), true);
            }
        }
        let number = self.free_number();
        let member = self.member(number);
        // A reader that gets a value now has to wait for the next one; without a value it has not.
        let gets_value = self.hub.log().has_state(&selector);
        let topic = self.hub.join(&selector, member, interval, gets_value);
        let versions = self.hub.latest(topic, self.view).1;
        let kind = self.hub.log().kind_of(&selector);
        let subscription = Subscription {
            selector,
            topic,
            interval,
            state,
            ends,
            versions,
            not_before: None,
            interval_end: 0,
            events,
            paused: false,
            is_incomplete,
            cutover_states: None,
        };
        for notice in self.hub.log().notices_in_force(&subscription.selector) {
            if !self.late_notices.iter().any(|known| Arc::ptr_eq(known, &notice)) {
                self.late_notices.push(notice);
            }
        }
        self.subscriptions[number] = Some(subscription);
        self.hub.mark(member, true, events < self.hub.seen());
        if since.is_none() && kind != Some(ChannelKind::State) && !self.hub.has_due_events(self.slot) {
            // Events before now are not requested, and a state that last changed long ago must not rewind to them; but no
            // cursor may pass an event that is due for another subscription.
            self.delivered_to = self.delivered_to.max(self.hub.seen());
        }
        if let Some(since) = since {
            if self.delivered_to == 0 {
                self.delivered_to = since.offset;
            } else {
                self.rewind(number);
            }
            if since.offset < self.hub.seen() {
                self.catching_up = true;
            }
        }
        number
    }

    fn free_number(&mut self) -> usize {
        self.subscriptions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.subscriptions.push(None);
            self.subscriptions.len() - 1
        })
    }

    /// Makes the newest states due again whose visibility the filter decides: of prefixes, which may match other channels
    /// now, and of the snapshot, which may have other sections.
    pub fn reapply_filter(&mut self) {
        for number in 0..self.subscriptions.len() {
            let member = self.member(number);
            if let Some(subscription) = self.subscriptions[number].as_mut()
                && (matches!(subscription.selector, Selector::Below(_)) || subscription.selector.is_snapshot())
            {
                subscription.restart();
                self.hub.mark(member, true, false);
            }
        }
    }

    /// Ends a subscription; returns false if there was none.
    pub fn unsubscribe(&mut self, selector: &Selector) -> bool {
        self.find(selector).and_then(|number| self.remove(number)).is_some()
    }

    /// Stops deliveries of a subscription; returns false if there is none.
    pub fn pause(&mut self, selector: &Selector) -> bool {
        self.set_paused(selector, true)
    }

    /// Starts deliveries again: the newest state and the missed events are due at once. Returns false if there is no
    /// subscription.
    pub fn resume(&mut self, selector: &Selector) -> bool {
        self.set_paused(selector, false)
    }

    fn set_paused(&mut self, selector: &Selector, paused: bool) -> bool {
        let Some(number) = self.find(selector) else { return false };
        let member = self.member(number);
        if let Some(subscription) = &mut self.subscriptions[number] {
            subscription.paused = paused;
            if !paused {
                self.hub.catch_up();
                subscription.restart();
                subscription.cutover_states = None;
                subscription.not_before = None;
                subscription.interval_end = 0;
                self.hub.mark(member, true, subscription.events < self.hub.seen());
            }
        }
        if !paused {
            self.rewind(number);
        }
        true
    }

    /// Rewinds the cursor to before the first event that a subscription missed, until all of them are delivered: after a
    /// cut during this replay, an event of another channel may be repeated, but none of this channel is lost.
    fn rewind(&mut self, number: usize) {
        let Some(subscription) = self.get(number as u32) else { return };
        let (events, seen) = (subscription.events, self.hub.seen());
        let wanted = |channel: &Channel, offset| offset > events && subscription.selector.matches(channel);
        let missed = self.hub.log().events_after(events, seen, 0, wanted).events;
        if let Some(first) = missed.first() {
            self.rewound_from = self.rewound_from.max(self.delivered_to);
            self.delivered_to = self.delivered_to.min(first.offset - 1);
        }
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<Subscription> {
        let subscription = self.subscriptions.get_mut(number)?.take()?;
        let known = subscription.known_ends();
        let is_behind = subscription.is_incomplete || known < self.hub.discarded_ends_of(subscription.topic);
        let first_end = self.hub.log().first_end_after(known, |channel| subscription.selector.matches(channel));
        let ends = if is_behind { Some(known) } else { first_end.map(|first_end| first_end - 1) };
        self.hub.leave(subscription.topic, self.member(number));
        // A less specific subscription decides from now on: it has to deliver the states that this one delayed.
        for (number, wider) in self.subscriptions.iter_mut().enumerate() {
            if let Some(wider) = wider.as_mut().filter(|wider| wider.selector.covers(&subscription.selector)) {
                wider.state = wider.state.min(subscription.state);
                if let Some(ends) = ends {
                    wider.ends = wider.ends.min(ends);
                    wider.is_incomplete |= is_behind;
                }
                self.hub.mark(Member { slot: self.slot, subscription: number as u32 }, true, false);
            }
        }
        Some(subscription)
    }
}
