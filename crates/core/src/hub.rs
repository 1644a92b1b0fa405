//! Hub: one per worker thread and log. It is notified of publications once and wakes the local readers with data to send.
//!
//! All of its state belongs to one thread. A publication crosses threads once per worker, not once per client. Wake-ups
//! are sent in chunks with a pause in between, so that a poll on the same worker does not wait for all of them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use slab::Slab;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    channel::{Channel, ChannelKind, Selector},
    log::{Changes, Log},
    throttle_group::Member,
};

mod pass;
mod readers;
mod slot;
mod topic;

pub use pass::{Deliver, Pass, Prepared};
pub(crate) use readers::LatestState;
pub use slot::{Due, DueList};
use slot::{STATE, Slot, Slots};
pub use topic::OfWorker;
use topic::Topic;

/// Readers that are woken before other tasks of the worker get their turn.
const WAKE_CHUNK: usize = 128;

/// Bytes of prepared writes after which they are written: those that are not shared take memory.
const MAX_PREPARED: usize = 1024 * 1024;

/// Wake-ups of the readers of one log on one worker.
pub struct Hub {
    log: Arc<Log>,
    inner: RefCell<Inner>,
    /// Offset up to which the log was processed; readers never get more.
    seen: Cell<u64>,
    /// Offset of the newest discarded end of a channel that this hub knows of.
    discarded_ends: Cell<u64>,
    /// Number of notices that readers were woken for.
    notices_seen: Cell<u64>,
    draining: Cell<bool>,
    /// Wakes the task because a timer moved to the front.
    rearm: Notify,
}

/// Readers, topics and timers of a hub.
#[derive(Default)]
struct Inner {
    slots: Slots,
    topics: Slab<Topic>,
    by_selector: HashMap<Selector, usize>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Ends of channels that were processed and are kept in the log.
    ends: VecDeque<(Channel, u64)>,
}

/// Subject of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Deadline of a reader.
    Slot(usize),
    /// End of an interval of a topic's groups.
    Topic(usize),
    /// Time at which a reader requested its states: [`Hub::mark_at`].
    Member(Member),
}

impl Hub {
    /// Creates a hub on `log`. The caller has to run [`Hub::run`] on the same thread.
    pub fn new(log: Arc<Log>) -> Rc<Self> {
        // In this order: ends that are discarded later are processed later.
        let discarded_ends = log.discarded_ends();
        let (seen, notice_count) = (log.head(), log.notice_count());
        Rc::new(Self {
            log,
            inner: RefCell::default(),
            seen: Cell::new(seen),
            discarded_ends: Cell::new(discarded_ends),
            notices_seen: Cell::new(notice_count),
            draining: Cell::new(false),
            rearm: Notify::new(),
        })
    }

    /// Returns the log that this hub follows.
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
        self.inner.borrow().slots.by_id.len()
    }

    /// Returns the number of selectors with subscriptions on this worker.
    pub fn topics(&self) -> usize {
        self.inner.borrow().topics.len()
    }

    /// Wakes all readers, so that those whose client may no longer read can end.
    pub fn wake_all(&self) {
        self.inner.borrow_mut().slots.queue_all();
        self.rearm.notify_one();
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
                        self.inner.borrow_mut().slots.queue_all();
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
        let Changes { changed, ended, discarded_ends, head } = self.log.changes_after(self.seen.get());
        let seen = self.seen.replace(head);
        self.discarded_ends.set(discarded_ends);
        let inner = &mut *self.inner.borrow_mut();
        if inner.topics.is_empty() {
            inner.ends.clear();
            return;
        }
        let Inner { slots, topics, by_selector, timers, ends } = inner;
        let now = Instant::now();
        ends.extend(ended);
        while let Some((channel, offset)) = ends.pop_front_if(|(_, offset)| *offset <= discarded_ends) {
            for selector in Selector::all_matching(&channel) {
                if let Some(&id) = by_selector.get(&selector) {
                    let topic = &mut topics[id];
                    topic.discarded_ends = offset;
                    // Members that did not get the value yet have to be notified.
                    topic.notify_state(id, now, slots, timers);
                }
            }
        }
        if discarded_ends > seen {
            // Ends were discarded before this hub processed them: readers of such channels have to check.
            for (id, topic) in topics.iter_mut() {
                (topic.changed, topic.discarded_ends) = (head, discarded_ends);
                topic.notify_state(id, now, slots, timers);
            }
        }
        for (channel, offset, kind) in changed {
            for selector in Selector::all_matching(&channel) {
                let Some(&id) = by_selector.get(&selector) else { continue };
                let topic = &mut topics[id];
                match kind {
                    ChannelKind::Event => topic.notify_event(now, slots),
                    ChannelKind::State => {
                        topic.changed = topic.changed.max(offset);
                        topic.versions += 1;
                        topic.notify_state(id, now, slots, timers);
                    }
                }
            }
        }
    }

    /// Wakes the readers of a channel with a new notice.
    fn follow_notices(&self) {
        let notice_count = self.log.notice_count();
        let seen = self.notices_seen.replace(notice_count);
        if notice_count == seen {
            return;
        }
        let inner = &mut *self.inner.borrow_mut();
        let now = Instant::now();
        for notice in self.log.notices_after(seen).0 {
            for selector in Selector::all_matching(&notice.channel) {
                let Some(&id) = inner.by_selector.get(&selector) else { continue };
                inner.topics[id].notify_event(now, &mut inner.slots);
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
    pub(super) fn sync_discarded_ends(&self) -> u64 {
        if self.log.discarded_ends() > self.discarded_ends.get() {
            self.catch_up();
        }
        self.discarded_ends.get()
    }

    /// Returns the offset up to which ends of channels are discarded, as far as this hub knows.
    pub(super) fn discarded_ends(&self) -> u64 {
        self.discarded_ends.get()
    }

    /// Handles the timers that have fired by `now`.
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
                        topic.fire(id, now, &mut inner.slots, &mut inner.timers);
                    }
                }
                Timer::Member(member) => inner.slots.notify(member, STATE, now),
                Timer::Slot(id) => inner.slots.end_deadline(id, at),
            }
        }
    }

    /// Delivers to the queued readers, or wakes their tasks, in chunks.
    async fn wake(&self) {
        let queue = std::mem::take(&mut self.inner.borrow_mut().slots.to_wake);
        let mut writes = Vec::new();
        for (index, chunk) in queue.chunks(WAKE_CHUNK).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            self.deliver(chunk, &mut writes);
        }
        let mut inner = self.inner.borrow_mut();
        if inner.slots.to_wake.is_empty() {
            // Keeps the allocation for the next time.
            let mut queue = queue;
            queue.clear();
            inner.slots.to_wake = queue;
        }
    }

    /// Delivers to the readers in `chunk`, and wakes the tasks of those to which it can't. `writes` is an empty buffer.
    fn deliver(&self, chunk: &[u32], writes: &mut Vec<(u32, Rc<dyn Deliver>)>) {
        let pass = Pass::begin();
        let mut prepared = 0;
        for &id in chunk {
            let Some(deliver) = self.inner.borrow_mut().slots.by_id.get_mut(id as usize).map(Slot::take_turn) else {
                continue;
            };
            // Without a borrow: the delivery takes the data from this hub.
            match deliver.as_ref().map_or(Prepared::NeedsTask, |deliver| deliver.prepare(&pass)) {
                Prepared::Nothing => {}
                Prepared::Write(bytes) => {
                    writes.extend(deliver.map(|deliver| (id, deliver)));
                    prepared += bytes;
                    if prepared >= MAX_PREPARED {
                        self.write(writes);
                        prepared = 0;
                    }
                }
                Prepared::NeedsTask => self.wake_task(id),
            }
        }
        // The deliveries are counted before a client can have them.
        drop(pass);
        self.write(writes);
    }

    fn write(&self, writes: &mut Vec<(u32, Rc<dyn Deliver>)>) {
        for (id, deliver) in writes.drain(..) {
            if !deliver.write() {
                self.wake_task(id);
            }
        }
    }

    fn wake_task(&self, id: u32) {
        if let Some(slot) = self.inner.borrow_mut().slots.by_id.get_mut(id as usize) {
            slot.wake();
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
