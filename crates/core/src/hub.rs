//! Hub: one per worker thread and log. It is notified of publications once and wakes the local readers with data to send.
//!
//! All of its state belongs to one thread. A publication crosses threads once per worker, not once per client. Wake-ups
//! are sent in chunks with a pause in between, so that a poll on the same worker does not wait for all of them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use slab::Slab;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    channel::{Channel, ChannelKind, Selector},
    log::{Changes, Log},
    publication::Publication,
    snapshot::View,
    throttle_group::{Member, ThrottleGroups},
};

/// Readers that are woken before other tasks of the worker get their turn.
const WAKE_CHUNK: usize = 128;

/// Flag: a state is due for the subscription.
const STATE: u8 = 1;
/// Flag: an event is due for the subscription.
const EVENT: u8 = 2;

/// Wake-ups of the readers of one log on one worker.
#[derive(Debug)]
pub struct Hub {
    log: Arc<Log>,
    inner: RefCell<Inner>,
    /// Offset up to which the log was processed; readers never get more.
    seen: Cell<u64>,
    /// Offset of the newest discarded end of a channel that this hub knows of.
    forgotten: Cell<u64>,
    /// Number of notices that readers were woken for.
    noticed: Cell<u64>,
    draining: Cell<bool>,
    /// Wakes the task because a timer moved to the front.
    rearm: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Slab<Slot>,
    topics: Slab<Topic>,
    by_selector: HashMap<Selector, usize>,
    timers: BTreeSet<(Instant, Timer)>,
    to_wake: Vec<u32>,
    /// Ends of channels that were processed and are kept in the log.
    ends: VecDeque<(Channel, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Slot(usize),
    Topic(usize),
    Member(Member),
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    /// Due flags per subscription, [`STATE`] and [`EVENT`].
    flags: Vec<u8>,
    /// Subscriptions with a flag, each once: bounded by the subscriptions, however slow the reader.
    due: Vec<u32>,
    /// Time since which the reader has due data that it has not taken.
    waiting_since: Option<Instant>,
    deadline: Option<Instant>,
    queued: bool,
}

#[derive(Debug)]
struct Topic {
    selector: Selector,
    groups: ThrottleGroups,
    /// Offset of the newest processed state.
    changed: u64,
    /// Offset of the newest discarded end of a channel of the topic.
    forgotten: u64,
    /// Number of versions; a reader's difference to it was conflated.
    versions: u64,
    /// Newest value for each view of the snapshot; other channels are equal in all views.
    latest: [Latest; View::COUNT],
    timer: Option<Instant>,
}

/// Newest value of a topic, if it was fetched.
#[derive(Debug, Default)]
struct Latest {
    value: Option<Arc<Publication>>,
    /// Value of the topic's `changed` for which it is the newest one.
    at: u64,
}

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

impl Hub {
    /// Creates a hub on `log`. The caller has to run [`Hub::run`] on the same thread.
    pub fn new(log: Arc<Log>) -> Rc<Self> {
        // In this order: ends that are discarded later are processed later.
        let forgotten = log.forgotten();
        let (seen, noticed) = (log.head(), log.noticed());
        Rc::new(Self {
            log,
            inner: RefCell::default(),
            seen: Cell::new(seen),
            forgotten: Cell::new(forgotten),
            noticed: Cell::new(noticed),
            draining: Cell::new(false),
            rearm: Notify::new(),
        })
    }

    /// Returns its log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Returns the offset up to which readers may get data.
    pub fn seen(&self) -> u64 {
        self.seen.get()
    }

    /// Returns whether the server is shutting down and readers should end.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns the number of readers on this worker.
    pub fn readers(&self) -> usize {
        self.inner.borrow().slots.len()
    }

    /// Returns the number of selectors with subscriptions on this worker.
    pub fn topics(&self) -> usize {
        self.inner.borrow().topics.len()
    }

    /// Follows the log for as long as the worker runs, and wakes readers when `drain` turns true.
    pub async fn run(self: Rc<Self>, mut drain: watch::Receiver<bool>) {
        let mut changed = self.log.watch();
        // Earlier publications count too.
        changed.mark_changed();
        loop {
            let timer = self.inner.borrow().timers.first().map(|(at, _)| *at);
            tokio::select! {
                result = changed.changed() => if result.is_err() { break },
                () = sleep_until(timer), if timer.is_some() => {}
                () = self.rearm.notified() => {}
                result = drain.changed(), if !self.draining.get() => {
                    if result.is_err() || *drain.borrow() {
                        self.draining.set(true);
                        self.queue_all();
                    }
                }
            }
            self.follow();
            self.fire(Instant::now());
            self.wake().await;
        }
    }

    /// Processes the publications since the last call.
    pub fn follow(&self) {
        self.follow_notices();
        if self.log.head() == self.seen.get() {
            return;
        }
        let Changes { changed, ended, forgotten, head } = self.log.changes_after(self.seen.get());
        let seen = self.seen.replace(head);
        self.forgotten.set(forgotten);
        let inner = &mut *self.inner.borrow_mut();
        if inner.topics.is_empty() {
            inner.ends.clear();
            return;
        }
        let now = Instant::now();
        inner.ends.extend(ended);
        while let Some((channel, offset)) = inner.ends.pop_front_if(|(_, offset)| *offset <= forgotten) {
            for selector in Selector::all_matching(&channel) {
                if let Some(&id) = inner.by_selector.get(&selector) {
                    let topic = &mut inner.topics[id];
                    topic.forgotten = offset;
                    // Members that did not get the value yet have to be notified.
                    topic.groups.state(now, |m| inner.slots.tell(m, STATE, now, &mut inner.to_wake));
                    topic.arm(id, &mut inner.timers);
                }
            }
        }
        if forgotten > seen {
            // Ends were discarded before this hub processed them: readers of such channels have to check.
            for (id, topic) in &mut inner.topics {
                (topic.changed, topic.forgotten) = (head, forgotten);
                topic.groups.state(now, |m| inner.slots.tell(m, STATE, now, &mut inner.to_wake));
                topic.arm(id, &mut inner.timers);
            }
        }
        for (channel, offset, kind) in changed {
            for selector in Selector::all_matching(&channel) {
                let Some(&id) = inner.by_selector.get(&selector) else { continue };
                let topic = &mut inner.topics[id];
                match kind {
                    ChannelKind::Event => topic.groups.event(|m| inner.slots.tell(m, EVENT, now, &mut inner.to_wake)),
                    ChannelKind::State => {
                        topic.changed = topic.changed.max(offset);
                        topic.versions += 1;
                        topic.groups.state(now, |m| inner.slots.tell(m, STATE, now, &mut inner.to_wake));
                        topic.arm(id, &mut inner.timers);
                    }
                }
            }
        }
    }

    /// Wakes the readers of a channel with a new notice.
    fn follow_notices(&self) {
        let noticed = self.log.noticed();
        let seen = self.noticed.replace(noticed);
        if noticed == seen {
            return;
        }
        let inner = &mut *self.inner.borrow_mut();
        let now = Instant::now();
        for notice in self.log.notices_after(seen).0 {
            for selector in Selector::all_matching(&notice.channel) {
                let Some(&id) = inner.by_selector.get(&selector) else { continue };
                inner.topics[id].groups.event(|m| inner.slots.tell(m, EVENT, now, &mut inner.to_wake));
            }
        }
    }

    /// Processes publications on behalf of a reader that collects now.
    ///
    /// [`Hub::run`], which sees the same change, wakes the other readers.
    pub(super) fn catch_up(&self) {
        if self.log.head() != self.seen.get() {
            self.follow();
        }
    }

    /// Processes publications if the log has discarded an end of a channel since. Returns the offset up to which ends are
    /// discarded, as far as this hub knows.
    pub(super) fn heed_forgotten(&self) -> u64 {
        if self.log.forgotten() > self.forgotten.get() {
            self.catch_up();
        }
        self.forgotten.get()
    }

    /// Returns the offset up to which ends of channels are discarded, as far as this hub knows.
    pub(super) fn heeded(&self) -> u64 {
        self.forgotten.get()
    }

    fn fire(&self, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        while let Some(&(at, timer)) = inner.timers.first() {
            if at > now {
                break;
            }
            inner.timers.pop_first();
            match timer {
                Timer::Topic(id) => {
                    if let Some(topic) = inner.topics.get_mut(id).filter(|topic| topic.timer == Some(at)) {
                        topic.timer = None;
                        topic.groups.fire(now, |m| inner.slots.tell(m, STATE, now, &mut inner.to_wake));
                        topic.arm(id, &mut inner.timers);
                    }
                }
                Timer::Member(member) => inner.slots.tell(member, STATE, now, &mut inner.to_wake),
                Timer::Slot(id) => {
                    if let Some(slot) = inner.slots.get_mut(id).filter(|slot| slot.deadline == Some(at)) {
                        slot.deadline = None;
                        slot.queue(id as u32, &mut inner.to_wake);
                    }
                }
            }
        }
    }

    fn queue_all(&self) {
        let inner = &mut *self.inner.borrow_mut();
        for (id, slot) in &mut inner.slots {
            slot.queue(id as u32, &mut inner.to_wake);
        }
    }

    async fn wake(&self) {
        let queue = std::mem::take(&mut self.inner.borrow_mut().to_wake);
        for (index, chunk) in queue.chunks(WAKE_CHUNK).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            let mut inner = self.inner.borrow_mut();
            for id in chunk {
                if let Some(slot) = inner.slots.get_mut(*id as usize) {
                    slot.queued = false;
                    if let Some(waker) = &slot.waker {
                        waker.wake_by_ref();
                    }
                }
            }
        }
        let mut inner = self.inner.borrow_mut();
        if inner.to_wake.is_empty() {
            // Keeps the allocation for the next time.
            let mut queue = queue;
            queue.clear();
            inner.to_wake = queue;
        }
    }

    // Methods for readers. A reader never holds a borrow, so these cannot collide.

    pub(super) fn enter(&self) -> u32 {
        self.inner.borrow_mut().slots.insert(Slot::default()) as u32
    }

    pub(super) fn leave(&self, slot: u32) {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(slot_state) = inner.slots.try_remove(slot as usize)
            && let Some(at) = slot_state.deadline
        {
            inner.timers.remove(&(at, Timer::Slot(slot as usize)));
        }
    }

    pub(super) fn set_waker(&self, slot: u32, waker: &Waker) {
        if let Some(slot) = self.inner.borrow_mut().slots.get_mut(slot as usize) {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                empty => *empty = Some(waker.clone()),
            }
        }
    }

    /// Wakes the reader at `at` at the latest; replaces an earlier deadline.
    pub(super) fn set_deadline(&self, slot: u32, at: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        let id = slot as usize;
        let Some(slot) = inner.slots.get_mut(id) else { return };
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

    /// Registers a subscription and returns its topic. `gets_value`: it gets the current state by other means, if there is one.
    pub(super) fn join(&self, selector: &Selector, member: Member, interval: Duration, gets_value: bool) -> usize {
        let inner = &mut *self.inner.borrow_mut();
        let id = match inner.by_selector.get(selector) {
            Some(&id) => id,
            None => {
                let id = inner.topics.insert(Topic {
                    selector: selector.clone(),
                    groups: ThrottleGroups::default(),
                    changed: 0,
                    forgotten: 0,
                    versions: 0,
                    latest: Default::default(),
                    timer: None,
                });
                inner.by_selector.insert(selector.clone(), id);
                id
            }
        };
        inner.topics[id].groups.join(member, interval, Instant::now(), gets_value);
        if let Some(slot) = inner.slots.get_mut(member.slot as usize) {
            let subscription = member.subscription as usize;
            if slot.flags.len() <= subscription {
                slot.flags.resize(subscription + 1, 0);
            }
        }
        id
    }

    pub(super) fn part(&self, topic: usize, member: Member) {
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
        if let Some(slot) = inner.slots.get_mut(member.slot as usize) {
            slot.flags[member.subscription as usize] = 0;
            slot.due.retain(|due| *due != member.subscription);
        }
    }

    /// Marks a subscription as due at the request of its reader.
    pub(super) fn mark(&self, member: Member, state: bool, event: bool) {
        if let Some(slot) = self.inner.borrow_mut().slots.get_mut(member.slot as usize) {
            slot.mark(member.subscription, if state { STATE } else { 0 } | if event { EVENT } else { 0 });
        }
    }

    /// Marks the states of a subscription as due at `at`: the last one was sent too recently.
    pub(super) fn mark_at(&self, member: Member, at: Instant) {
        let mut inner = self.inner.borrow_mut();
        let first = inner.timers.first().is_none_or(|(first, _)| at < *first);
        inner.timers.insert((at, Timer::Member(member)));
        if first {
            self.rearm.notify_one();
        }
    }

    pub(super) fn has_due(&self, slot: u32) -> bool {
        self.inner.borrow().slots.get(slot as usize).is_some_and(|slot| !slot.due.is_empty())
    }

    /// Returns whether an event is due for some subscription.
    pub(super) fn has_due_events(&self, slot: u32) -> bool {
        self.inner
            .borrow()
            .slots
            .get(slot as usize)
            .is_some_and(|slot| slot.flags.iter().any(|flags| flags & EVENT != 0))
    }

    /// Moves the due data into `into`. Returns the time since which they were due.
    pub(super) fn take_due(&self, slot: u32, into: &mut Vec<Due>) -> Option<Instant> {
        let mut inner = self.inner.borrow_mut();
        let slot = inner.slots.get_mut(slot as usize)?;
        for subscription in slot.due.drain(..) {
            let flags = std::mem::take(&mut slot.flags[subscription as usize]);
            into.push(Due { subscription, state: flags & STATE != 0, event: flags & EVENT != 0 });
        }
        slot.waiting_since.take()
    }

    /// Returns the newest value of a topic's channel, or its end, fetched from the log once per worker and version, with
    /// the number of versions that this hub has seen. For the snapshot it is the version of `view`, which may be older
    /// than the newest one.
    pub(super) fn latest(&self, topic: usize, view: View) -> (Option<Arc<Publication>>, u64) {
        let mut inner = self.inner.borrow_mut();
        let Some(topic) = inner.topics.get_mut(topic) else { return (None, 0) };
        let Selector::Exact(channel) = &topic.selector else { return (None, topic.versions) };
        let latest = &mut topic.latest[view.index()];
        if latest.value.is_none() || latest.at < topic.changed {
            latest.value = self.log.latest(channel, view);
            latest.at = latest.value.as_ref().map_or(0, |value| value.offset).max(topic.changed);
        }
        (latest.value.clone(), topic.versions)
    }

    /// Returns the offset of the newest discarded end of a channel of a topic, since the topic was first joined; 0 for none.
    pub(super) fn forgotten(&self, topic: usize) -> u64 {
        self.inner.borrow().topics.get(topic).map_or(0, |topic| topic.forgotten)
    }

    /// Returns the offset of the newest state of an exact topic, as far as this hub has processed; 0 for none. States
    /// published before the topic was joined count once they were fetched.
    pub(super) fn changed(&self, topic: usize, view: View) -> u64 {
        self.inner.borrow().topics.get(topic).map_or(0, |topic| topic.changed.max(topic.latest[view.index()].at))
    }
}

impl Topic {
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

impl Slot {
    fn mark(&mut self, subscription: u32, flag: u8) {
        if let Some(flags) = self.flags.get_mut(subscription as usize) {
            if *flags == 0 && flag != 0 {
                self.due.push(subscription);
            }
            *flags |= flag;
        }
    }

    fn queue(&mut self, id: u32, to_wake: &mut Vec<u32>) {
        if !std::mem::replace(&mut self.queued, true) {
            to_wake.push(id);
        }
    }
}

trait Tell {
    fn tell(&mut self, member: Member, flag: u8, now: Instant, to_wake: &mut Vec<u32>);
}

impl Tell for Slab<Slot> {
    fn tell(&mut self, member: Member, flag: u8, now: Instant, to_wake: &mut Vec<u32>) {
        if let Some(slot) = self.get_mut(member.slot as usize) {
            slot.mark(member.subscription, flag);
            slot.waiting_since.get_or_insert(now);
            slot.queue(member.slot, to_wake);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
