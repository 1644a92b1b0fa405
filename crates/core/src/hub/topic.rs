//! Topics: one per selector with subscribers on this worker.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use tokio::time::Instant;

use super::{
    Timer,
    slot::{EVENT, STATE, Slots},
};
use crate::{channel::Selector, log::Log, publication::Publication, snapshot::View, throttle_group::ThrottleGroups};

/// Publication that the readers of one worker share: no other thread changes the outer count, so that a copy waits for no memory
/// that another worker writes.
pub type OfWorker = Rc<Arc<Publication>>;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) selector: Selector,
    pub(super) groups: ThrottleGroups,
    /// Offset of the newest processed state.
    pub(super) changed: u64,
    /// Offset of the newest discarded end of a channel of the topic.
    pub(super) discarded_ends: u64,
    /// Number of versions; a reader's difference to it was conflated.
    pub(super) versions: u64,
    /// Newest value for each view of the snapshot; other channels are equal in all views.
    pub(super) latest: [Latest; View::COUNT],
    pub(super) timer: Option<Instant>,
}

/// Newest value of a topic, if it was fetched.
#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) value: Option<OfWorker>,
    /// Value of the topic's `changed` for which it is the newest one.
    pub(super) at: u64,
}

impl Topic {
    pub(super) fn new(selector: Selector) -> Self {
        Self {
            selector,
            groups: ThrottleGroups::default(),
            changed: 0,
            discarded_ends: 0,
            versions: 0,
            latest: Default::default(),
            timer: None,
        }
    }

    /// Returns the newest value of the topic's channel, or its end, fetched from the log once per version; `None` if the channel
    /// does not exist, or the topic is a prefix.
    #[inline]
    pub(super) fn latest(&mut self, view: View, log: &Log) -> Option<&OfWorker> {
        let Selector::Exact(channel) = &self.selector else { return None };
        let latest = &mut self.latest[view.index()];
        if latest.value.is_none() || latest.at < self.changed {
            latest.value = log.latest(channel, view).map(Rc::new);
            latest.at = latest.value.as_ref().map_or(0, |value| value.offset).max(self.changed);
        }
        latest.value.as_ref()
    }

    /// Notifies the members whose interval has passed of a new state, and sets the timer for the others. `id` is the number of
    /// this topic.
    pub(super) fn notify_state(
        &mut self,
        id: usize,
        now: Instant,
        slots: &mut Slots,
        timers: &mut BTreeSet<(Instant, Timer)>,
    ) {
        self.groups.state(now, |member| slots.notify(member, STATE, now));
        self.arm(id, timers);
    }

    /// Notifies all members of an event.
    pub(super) fn notify_event(&self, now: Instant, slots: &mut Slots) {
        self.groups.event(|member| slots.notify(member, EVENT, now));
    }

    /// Notifies the waiting members whose interval has passed, when the timer of the topic has fired.
    pub(super) fn fire(&mut self, id: usize, now: Instant, slots: &mut Slots, timers: &mut BTreeSet<(Instant, Timer)>) {
        self.timer = None;
        self.groups.fire(now, |member| slots.notify(member, STATE, now));
        self.arm(id, timers);
    }

    /// Sets the timer of the topic to the next time at which a group may be notified.
    fn arm(&mut self, id: usize, timers: &mut BTreeSet<(Instant, Timer)>) {
        let next = self.groups.next_fire();
        if next != self.timer {
            if let Some(before) = self.timer {
                timers.remove(&(before, Timer::Topic(id)));
            }
            if let Some(at) = next {
                timers.insert((at, Timer::Topic(id)));
            }
            self.timer = next;
        }
    }
}
