//! Reader: the positions and subscriptions of one client. Nothing is queued for it.
//!
//! A transport opens a [`Reader`], subscribes, and calls [`Reader::collect`] whenever its socket accepts data. The data
//! are read at that moment: the newest value of a state, all events since the reader's position, and a gap if the log no
//! longer reaches back that far. The cursor of each delivery covers exactly the data that the client has received.

use std::{
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    channel::{Channel, Selector},
    hub::{Deliver, Hub, OfWorker},
    position::Position,
    publication::Publication,
    snapshot::View,
    throttle_group::Member,
};

mod collect;
mod events;
mod states;
mod subscribe;
mod subscription;

use subscription::Subscription;

/// Receives the data of [`Reader::collect`].
pub trait Sink {
    /// Delivers a state or an event. `cursor` is `None` if it is the publication's own offset, so that the shared bytes
    /// are right.
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>);
    /// Reports that events of `channels` are lost, or that their ends may have been discarded. Everything up to `cursor`
    /// is lost or delivered; fresh state follows.
    fn gap(&mut self, channels: &[Selector], cursor: Position);
}

/// Result of one [`Reader::collect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of delivered publications.
    pub delivered: usize,
    /// Number of versions of states that were skipped for a newer one.
    pub conflated: u64,
    /// Number of reported gaps.
    pub gaps: usize,
    /// Whether the budget was exhausted, so that more is due now.
    pub more: bool,
    /// Time since which the reader had due data.
    pub waiting_since: Option<Instant>,
}

/// Newest state of a channel, taken by [`Reader::take_state`].
#[derive(Debug)]
pub struct DueState {
    /// The state, or the end of the channel.
    pub publication: OfWorker,
    /// Cursor that covers the delivery; `None` if it is the publication's own, so that the shared bytes are right.
    pub cursor: Option<Position>,
    /// Number of its versions that were skipped.
    pub conflated: u64,
    /// Time since which it was due.
    pub waiting_since: Option<Instant>,
}

/// Order in which a reader that resumes gets the missed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Newest states, then missed events (WebSocket).
    StatesFirst,
    /// Missed events, then newest states (SSE).
    EventsFirst,
}

/// Subscriptions and positions of one client. Belongs to the thread of its [`Hub`].
///
/// The fields are in this order in memory, with the first subscription among them: a delivery waits for few cache lines.
#[repr(C)]
pub struct Reader {
    hub: Rc<Hub>,
    slot: u32,
    order: CatchUp,
    /// Whether a resume is not complete yet.
    catching_up: bool,
    /// View of the snapshot that the filter allows.
    view: View,
    pace: Pace,
    /// Number of delivered notices.
    notices_seen: u64,
    /// Notices that were in force when a subscription to their channel began.
    late_notices: Vec<Arc<Publication>>,
    /// Offset up to which events were delivered, as far as cursors claim it.
    delivered_to: u64,
    /// Value of `delivered_to` to restore once a rewound subscription has caught up.
    rewound_from: u64,
    subscriptions: SmallVec<[Option<Subscription>; 1]>,
    /// Filter of deliverable data; `None` allows everything.
    filter: Option<Rc<dyn Filter>>,
}

/// Restrictions for a slow client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Shortest interval of states, regardless of that of the subscription.
    pub interval: Duration,
    /// Whether events are delivered; if not, they wait in the log, and no cursor passes them.
    pub events: bool,
}

impl Pace {
    /// Pace of a client that is not slow: no minimum interval, and events.
    pub const FULL: Self = Self { interval: Duration::ZERO, events: true };
}

/// Filter of the data that one client may receive.
pub trait Filter {
    /// Returns whether it may receive data of this channel at all.
    fn allows_channel(&self, channel: &Channel) -> bool;
    /// Returns whether it may receive this event of an allowed channel.
    fn allows_event(&self, event: &Publication) -> bool;
}

impl Reader {
    /// Opens a reader without subscriptions, at the current end of the log.
    pub fn open(hub: &Rc<Hub>, order: CatchUp) -> Self {
        hub.catch_up();
        Self {
            slot: hub.add_reader(),
            hub: Rc::clone(hub),
            subscriptions: SmallVec::new(),
            delivered_to: 0,
            rewound_from: 0,
            order,
            catching_up: false,
            filter: None,
            view: View::Full,
            pace: Pace::FULL,
            notices_seen: hub.log().notice_count(),
            late_notices: Vec::new(),
        }
    }

    /// Restricts deliveries to what `filter` allows; a prefix (`metrics.*`) may match other channels. In the snapshot the
    /// sections of refused channels are left out.
    pub fn set_filter(&mut self, filter: Option<Rc<dyn Filter>>) {
        let view = filter.as_ref().map_or(View::Full, |filter| View::of(|channel| filter.allows_channel(channel)));
        if std::mem::replace(&mut self.view, view) != view {
            // A snapshot that was to be delivered first has the previous view.
            let subscriptions = self.subscriptions.iter_mut().flatten();
            subscriptions
                .filter(|s| s.selector.is_snapshot())
                .for_each(|subscription| subscription.cutover_states = None);
        }
        self.filter = filter;
    }

    /// Returns the hub that wakes it.
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// Sets the waker for due data, deadlines and the drain of the server.
    pub fn set_waker(&self, waker: &Waker) {
        self.hub.set_waker(self.slot, waker);
    }

    /// Sets what the hub calls in place of waking the task, when data is due. That ends when it returns `false`, with a
    /// deadline, and with the drain of the server: then the task is woken, and has to call this again.
    pub fn set_deliver(&self, deliver: &Weak<dyn Deliver>) {
        self.hub.set_deliver(self.slot, deliver);
    }

    /// Wakes at `at` at the latest. Replaces an earlier deadline.
    pub fn set_deadline(&self, at: Instant) {
        self.hub.set_deadline(self.slot, at);
    }

    /// Returns whether [`Reader::collect`] has data to deliver.
    pub fn has_due(&self) -> bool {
        self.hub.has_due(self.slot)
    }

    /// Waits until data are due, the server drains, or `deadline`. For handlers; bodies use [`Reader::set_waker`].
    pub async fn changed(&self, deadline: Instant) {
        self.set_deadline(deadline);
        std::future::poll_fn(|cx| {
            self.set_waker(cx.waker());
            if self.has_due() || self.hub.is_draining() || Instant::now() >= deadline {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }

    /// Returns the number of subscriptions.
    pub fn active(&self) -> usize {
        self.subscriptions.iter().flatten().count()
    }

    /// Sets the pace of deliveries from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Returns the selectors of all subscriptions.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.subscriptions.iter().flatten().map(|subscription| &subscription.selector)
    }

    /// Returns the selectors of all subscriptions, with their intervals.
    pub fn intervals(&self) -> impl Iterator<Item = (&Selector, Duration)> {
        self.subscriptions.iter().flatten().map(|subscription| (&subscription.selector, subscription.interval))
    }

    /// Returns whether exactly this selector is subscribed.
    pub fn is_subscribed(&self, selector: &Selector) -> bool {
        self.find(selector).is_some()
    }

    /// Returns the cursor of deliveries outside of the log: it covers the delivered events, and no state.
    pub fn out_of_band_cursor(&self) -> Position {
        let seen = if self.hub.has_due_events(self.slot) { 0 } else { self.hub.seen() };
        Position { epoch: self.hub.log().epoch(), offset: self.delivered_to.max(seen), state: 0 }
    }

    fn interval_of(&self, subscription: &Subscription) -> Duration {
        subscription.interval.max(self.pace.interval)
    }

    /// Returns the subscription that decides about `channel`: the most specific one.
    fn deciding(&self, channel: &Channel) -> Option<(u32, &Subscription)> {
        if self.filter.as_ref().is_some_and(|filter| !filter.allows_channel(channel)) {
            return None;
        }
        self.subscriptions
            .iter()
            .enumerate()
            .filter_map(|(number, s)| s.as_ref().map(|s| (number as u32, s)))
            .filter(|(_, s)| s.selector.matches(channel))
            .max_by_key(|(_, s)| s.selector.specificity())
    }

    fn find(&self, selector: &Selector) -> Option<usize> {
        self.subscriptions.iter().position(|s| s.as_ref().is_some_and(|s| s.selector == *selector))
    }

    fn get(&self, number: u32) -> Option<&Subscription> {
        self.subscriptions.get(number as usize)?.as_ref()
    }

    fn member(&self, number: usize) -> Member {
        Member { slot: self.slot, subscription: number as u32 }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for number in 0..self.subscriptions.len() {
            self.remove(number);
        }
        self.hub.remove_reader(self.slot);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod ends_tests;
