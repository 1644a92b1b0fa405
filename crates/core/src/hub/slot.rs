//! Slots of the readers of one hub: the due data of each, and the queue of readers to wake.

use std::{rc::Weak, task::Waker};

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

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

/// Delivery of due data by the hub itself, on a connection whose socket accepts data: waking a task for it costs more
/// than the delivery.
pub trait Deliver {
    /// Delivers the due data of one reader. Returns `false` if its task has to continue.
    fn deliver(&self) -> bool;
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
    pub(super) waker: Option<Waker>,
    /// Called before the waker, which may then not be needed.
    pub(super) deliver: Option<Weak<dyn Deliver>>,
    /// Due flags per subscription, [`STATE`] and [`EVENT`].
    flags: SmallVec<[u8; 8]>,
    /// Subscriptions with a flag, each once: bounded by the subscriptions, however slow the reader.
    pub(super) due: SmallVec<[u32; 4]>,
    /// Time since which the reader has due data that it has not taken.
    waiting_since: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    /// Whether the reader is in the queue of those to wake.
    queued: bool,
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

    /// Queues one reader for the next turn of the hub.
    #[inline]
    pub(super) fn queue(&mut self, id: usize) {
        if let Some(slot) = self.by_id.get_mut(id) {
            slot.queue(id as u32, &mut self.to_wake);
        }
    }

    /// Queues every reader for the next turn of the hub.
    pub(super) fn queue_all(&mut self) {
        for (id, slot) in &mut self.by_id {
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
    pub(super) fn take_turn(&mut self) -> Option<Weak<dyn Deliver>> {
        self.queued = false;
        self.deliver.clone()
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
