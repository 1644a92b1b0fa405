//! Slots of the readers of one hub: the due data of each, and the queue of readers to wake.

use std::{
    rc::{Rc, Weak},
    task::Waker,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::pass::Deliver;
use crate::throttle_group::Member;

/// Flag: a state is due for the subscription.
pub(super) const STATE: u8 = 1;
/// Flag: an event is due for the subscription.
pub(super) const EVENT: u8 = 2;

/// Due data of one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Number of the subscription in the reader.
    pub subscription: u32,
    /// Whether a state changed and the interval has passed.
    pub state: bool,
    /// Whether there was an event.
    pub event: bool,
}

/// Due data of one reader, which mostly has few subscriptions.
pub type DueList = SmallVec<[Due; 8]>;

/// Slots of all readers on this worker.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) by_id: Slab<Slot>,
    /// Readers to wake, each once.
    pub(super) to_wake: Vec<u32>,
}

/// Slot of one reader.
#[derive(Default)]
pub(super) struct Slot {
    /// Called in place of the waker.
    deliver: Option<Weak<dyn Deliver>>,
    /// The task has something to do besides delivering due data, so that it has to be woken.
    needs_task: bool,
    /// Due flags per subscription, [`STATE`] and [`EVENT`].
    flags: SmallVec<[u8; 8]>,
    /// Subscriptions with a flag, each once: bounded by the subscriptions, however slow the reader.
    pub(super) due: SmallVec<[u32; 4]>,
    /// Time since which the reader has due data that it has not taken.
    waiting_since: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    /// Whether the reader is in the queue of those to wake.
    queued: bool,
    pub(super) waker: Option<Waker>,
}

impl Slots {
    /// Marks data of a subscription as due, and queues its reader.
    #[inline]
    pub(super) fn notify(&mut self, member: Member, flag: u8, now: Instant) {
        if let Some(slot) = self.by_id.get_mut(member.slot as usize) {
            slot.mark(member.subscription, flag);
            slot.waiting_since.get_or_insert(now);
            slot.queue(member.slot, &mut self.to_wake);
        }
    }

    /// Queues a reader whose deadline `at` has passed, for its task.
    pub(super) fn end_deadline(&mut self, id: usize, at: Instant) {
        if let Some(slot) = self.by_id.get_mut(id).filter(|slot| slot.deadline == Some(at)) {
            slot.deadline = None;
            slot.needs_task = true;
            slot.queue(id as u32, &mut self.to_wake);
        }
    }

    /// Queues all readers, for their tasks.
    pub(super) fn queue_all(&mut self) {
        for (id, slot) in &mut self.by_id {
            slot.needs_task = true;
            slot.queue(id as u32, &mut self.to_wake);
        }
    }
}

impl Slot {
    /// Marks data of a subscription as due.
    #[inline]
    pub(super) fn mark(&mut self, subscription: u32, flag: u8) {
        if let Some(flags) = self.flags.get_mut(subscription as usize) {
            if *flags == 0 && flag != 0 {
                self.due.push(subscription);
            }
            *flags |= flag;
        }
    }

    /// Removes the reader from the queue and returns what delivers its data, if that is not its task.
    #[inline]
    pub(super) fn take_turn(&mut self) -> Option<Rc<dyn Deliver>> {
        self.queued = false;
        if self.needs_task { None } else { self.deliver.as_ref()?.upgrade() }
    }

    /// Wakes the task, which is responsible for the reader until it calls [`Slot::set_deliver`].
    pub(super) fn wake(&mut self) {
        self.needs_task = true;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Sets what delivers the data from now on.
    pub(super) fn set_deliver(&mut self, deliver: &Weak<dyn Deliver>) {
        self.needs_task = false;
        if self.deliver.is_none() {
            self.deliver = Some(Weak::clone(deliver));
        }
    }

    #[inline]
    fn queue(&mut self, id: u32, to_wake: &mut Vec<u32>) {
        if !std::mem::replace(&mut self.queued, true) {
            to_wake.push(id);
        }
    }

    /// Makes room for the flags of a subscription.
    pub(super) fn add_subscription(&mut self, subscription: usize) {
        if self.flags.len() <= subscription {
            self.flags.resize(subscription + 1, 0);
        }
    }

    /// Discards the due data of a subscription.
    pub(super) fn remove_subscription(&mut self, subscription: u32) {
        self.flags[subscription as usize] = 0;
        self.due.retain(|due| *due != subscription);
    }

    /// Returns whether data are due for some subscription.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Returns whether an event is due for some subscription.
    #[inline]
    pub(super) fn has_due_events(&self) -> bool {
        self.flags.iter().any(|flags| flags & EVENT != 0)
    }

    /// Returns the subscription for which a state is due, if nothing else is.
    #[inline]
    pub(super) fn one_due_state(&self) -> Option<u32> {
        match self.due[..] {
            [subscription] if self.flags.get(subscription as usize) == Some(&STATE) => Some(subscription),
            _ => None,
        }
    }

    /// Takes what [`Slot::one_due_state`] returned. Returns the time since which it was due.
    #[inline]
    pub(super) fn take_state(&mut self, subscription: u32) -> Option<Instant> {
        self.flags[subscription as usize] = 0;
        self.due.clear();
        self.waiting_since.take()
    }

    /// Moves the due data into `into`. Returns the time since which they were due.
    #[inline]
    pub(super) fn take_due(&mut self, into: &mut DueList) -> Option<Instant> {
        for subscription in self.due.drain(..) {
            let flags = std::mem::take(&mut self.flags[subscription as usize]);
            into.push(Due { subscription, state: flags & STATE != 0, event: flags & EVENT != 0 });
        }
        self.waiting_since.take()
    }
}
