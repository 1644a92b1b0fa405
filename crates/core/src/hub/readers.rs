//! Methods of the hub for its readers. A reader never holds a borrow of the hub, so these cannot collide.

use std::{
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Hub, Timer,
    pass::Deliver,
    slot::{DueList, EVENT, STATE, Slot},
    topic::{OfWorker, Topic},
};
use crate::{channel::Selector, publication::Publication, snapshot::View, throttle_group::Member};

/// Newest state of a channel that was due for a reader.
pub(crate) struct LatestState {
    /// Number of the subscription in the reader.
    pub(crate) subscription: u32,
    /// The newest value, or the end of the channel.
    pub(crate) publication: OfWorker,
    /// Number of versions that the hub has seen.
    pub(crate) versions: u64,
    /// Time since which it was due.
    pub(crate) waiting_since: Option<Instant>,
}

impl Hub {
    /// Adds a reader and returns its slot.
    pub(crate) fn add_reader(&self) -> u32 {
        self.inner.borrow_mut().slots.by_id.insert(Slot::default()) as u32
    }

    /// Removes a reader, which has to leave its topics first.
    pub(crate) fn remove_reader(&self, slot: u32) {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(removed) = inner.slots.by_id.try_remove(slot as usize)
            && let Some(at) = removed.deadline
        {
            inner.timers.remove(&(at, Timer::Slot(slot as usize)));
        }
    }

    pub(crate) fn set_waker(&self, slot: u32, waker: &Waker) {
        if let Some(slot) = self.inner.borrow_mut().slots.by_id.get_mut(slot as usize) {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                empty => *empty = Some(waker.clone()),
            }
        }
    }

    pub(crate) fn set_deliver(&self, slot: u32, deliver: &Weak<dyn Deliver>) {
        if let Some(slot) = self.inner.borrow_mut().slots.by_id.get_mut(slot as usize) {
            slot.set_deliver(deliver);
        }
    }

    /// Wakes the reader at `at` at the latest; replaces an earlier deadline.
    pub(crate) fn set_deadline(&self, slot: u32, at: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        let id = slot as usize;
        let Some(slot) = inner.slots.by_id.get_mut(id) else { return };
        if slot.deadline == Some(at) {
            return;
        }
        if let Some(before) = slot.deadline.replace(at) {
            inner.timers.remove(&(before, Timer::Slot(id)));
        }
        let first = inner.timers.first().is_none_or(|(first, _)| at < *first);
        inner.timers.insert((at, Timer::Slot(id)));
        if first {
            self.rearm.notify_one();
        }
    }

    /// Adds a subscription to the topic of its selector and returns the topic. `gets_value`: the subscriber gets the current
    /// state by other means, if there is one.
    pub(crate) fn join(&self, selector: &Selector, member: Member, interval: Duration, gets_value: bool) -> usize {
        let inner = &mut *self.inner.borrow_mut();
        let id = match inner.by_selector.get(selector) {
            Some(&id) => id,
            None => {
                let id = inner.topics.insert(Topic::new(selector.clone()));
                inner.by_selector.insert(selector.clone(), id);
                id
            }
        };
        inner.topics[id].groups.join(member, interval, Instant::now(), gets_value);
        if let Some(slot) = inner.slots.by_id.get_mut(member.slot as usize) {
            slot.add_subscription(member.subscription as usize);
        }
        id
    }

    /// Removes a subscription from its topic, and discards its due data.
    pub(crate) fn leave(&self, topic: usize, member: Member) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(entry) = inner.topics.get_mut(topic) else { return };
        entry.groups.leave(member);
        if entry.groups.is_empty() {
            let entry = inner.topics.remove(topic);
            inner.by_selector.remove(&entry.selector);
            if let Some(at) = entry.timer {
                inner.timers.remove(&(at, Timer::Topic(topic)));
            }
        }
        if let Some(slot) = inner.slots.by_id.get_mut(member.slot as usize) {
            slot.remove_subscription(member.subscription);
        }
    }

    /// Marks a subscription as due at the request of its reader.
    pub(crate) fn mark(&self, member: Member, state: bool, event: bool) {
        if let Some(slot) = self.inner.borrow_mut().slots.by_id.get_mut(member.slot as usize) {
            slot.mark(member.subscription, if state { STATE } else { 0 } | if event { EVENT } else { 0 });
        }
    }

    /// Marks the states of a subscription as due at `at`: the last one was sent too recently.
    pub(crate) fn mark_at(&self, member: Member, at: Instant) {
        let mut inner = self.inner.borrow_mut();
        let first = inner.timers.first().is_none_or(|(first, _)| at < *first);
        inner.timers.insert((at, Timer::Member(member)));
        if first {
            self.rearm.notify_one();
        }
    }

    /// Returns whether data are due for the reader.
    pub(crate) fn has_due(&self, slot: u32) -> bool {
        self.inner.borrow().slots.by_id.get(slot as usize).is_some_and(Slot::has_due)
    }

    /// Returns whether an event is due for some subscription of the reader.
    pub(crate) fn has_due_events(&self, slot: u32) -> bool {
        self.inner.borrow().slots.by_id.get(slot as usize).is_some_and(Slot::has_due_events)
    }

    /// Takes the due data of the reader if that is a state of one subscription and nothing else. Takes nothing if `topic_of`
    /// returns no topic for the subscription, if its channel does not exist, or if `wants` returns false for its newest state.
    pub(crate) fn take_state(
        &self,
        slot: u32,
        view: View,
        topic_of: impl FnOnce(u32) -> Option<usize>,
        wants: impl FnOnce(u32, &Publication) -> bool,
    ) -> Option<LatestState> {
        let inner = &mut *self.inner.borrow_mut();
        let slot = inner.slots.by_id.get_mut(slot as usize)?;
        let subscription = slot.one_due_state()?;
        let topic = inner.topics.get_mut(topic_of(subscription)?)?;
        let publication = topic.latest(view, &self.log).filter(|latest| wants(subscription, latest))?;
        let publication = Rc::clone(publication);
        let waiting_since = slot.take_state(subscription);
        Some(LatestState { subscription, publication, versions: topic.versions, waiting_since })
    }

    /// Moves the due data of the reader into `into`. Returns the time since which they were due.
    pub(crate) fn take_due(&self, slot: u32, into: &mut DueList) -> Option<Instant> {
        self.inner.borrow_mut().slots.by_id.get_mut(slot as usize)?.take_due(into)
    }

    /// Returns the newest value of a topic's channel, or its end, fetched from the log once per worker and version, with
    /// the number of versions that this hub has seen. For the snapshot it is the version of `view`, which may be older
    /// than the newest one.
    pub(crate) fn latest(&self, topic: usize, view: View) -> (Option<Arc<Publication>>, u64) {
        let mut inner = self.inner.borrow_mut();
        let Some(topic) = inner.topics.get_mut(topic) else { return (None, 0) };
        (topic.latest(view, &self.log).map(|latest| Arc::clone(latest)), topic.versions)
    }

    /// Returns the offset of the newest discarded end of a channel of a topic, since the topic was first joined; 0 for none.
    pub(crate) fn discarded_ends_of(&self, topic: usize) -> u64 {
        self.inner.borrow().topics.get(topic).map_or(0, |topic| topic.discarded_ends)
    }

    /// Returns the offset of the newest state of an exact topic, as far as this hub has processed; 0 for none. States
    /// published before the topic was joined count once they were fetched.
    pub(crate) fn changed(&self, topic: usize, view: View) -> u64 {
        self.inner.borrow().topics.get(topic).map_or(0, |topic| topic.changed.max(topic.latest[view.index()].at))
    }
}
