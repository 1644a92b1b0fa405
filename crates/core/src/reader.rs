//! Reader: the positions and subscriptions of one client. Nothing is queued for it.
//!
//! A transport opens a [`Reader`], subscribes, and calls [`Reader::collect`] whenever its socket accepts data. The data
//! are read at that moment: the newest value of a state, all events since the reader's position, and a gap if the log no
//! longer reaches back that far. The cursor of each delivery covers exactly the data that the client has received.

use std::{rc::Rc, sync::Arc, task::Waker, time::Duration};

use tokio::time::Instant;

use super::{
    channel::{Channel, ChannelKind, Selector},
    hub::{Due, Hub},
    log::Events,
    position::Position,
    publication::Publication,
    snapshot::View,
    throttle_group::Member,
};

/// Timer tolerance: an update may be sent this much before its interval has passed, because workers are not exactly on time.
const SLACK: Duration = Duration::from_millis(5);

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

/// Order in which a reader that resumes gets the missed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Newest states, then missed events (WebSocket).
    StatesFirst,
    /// Missed events, then newest states (SSE).
    EventsFirst,
}

/// Subscriptions and positions of one client. Belongs to the thread of its [`Hub`].
pub struct Reader {
    hub: Rc<Hub>,
    slot: u32,
    subscriptions: Vec<Option<Subscription>>,
    /// Offset up to which events were delivered, as far as cursors claim it.
    delivered_to: u64,
    /// Value of `delivered_to` to restore once a rewound subscription has caught up.
    rewound_from: u64,
    order: CatchUp,
    /// Whether a resume is not complete yet.
    catching_up: bool,
    /// Filter of deliverable data; `None` allows everything.
    filter: Option<Rc<dyn Filter>>,
    /// View of the snapshot that the filter allows.
    view: View,
    pace: Pace,
    /// Number of delivered notices.
    noticed: u64,
    due: Vec<Due>,
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
    /// No restriction.
    pub const FULL: Self = Self { interval: Duration::ZERO, events: true };
}

/// Filter of the data that one client may receive.
pub trait Filter {
    /// Returns whether it may receive data of this channel at all.
    fn allows_channel(&self, channel: &Channel) -> bool;
    /// Returns whether it may receive this event of an allowed channel.
    fn allows_event(&self, event: &Publication) -> bool;
}

#[derive(Debug)]
struct Subscription {
    selector: Selector,
    topic: usize,
    interval: Duration,
    /// Newest delivered state.
    state: u64,
    /// Offset up to which ends are irrelevant: those channels were never delivered, or their ends were.
    ends: u64,
    /// Versions that the hub had seen at that time.
    versions: u64,
    /// Earliest time of the next state: an interval after the last one.
    not_before: Option<Instant>,
    /// End of the states of an interval for which one write had no room: those up to here still belong to it. 0 if none
    /// is left.
    through: u64,
    /// Offset up to which events were delivered.
    events: u64,
    paused: bool,
    /// Whether it did not get everything yet since it was resumed, or may have missed an end: ends are then known up to
    /// `ends` only.
    is_incomplete: bool,
    /// States that are delivered first, although there may be newer ones by now.
    #[expect(clippy::box_collection, reason = "most have none, and there are many: a pointer is a third of a vector")]
    cutover_states: Option<Box<Vec<Arc<Publication>>>>,
}

impl Subscription {
    /// Returns whether `state` is new to the client: a value, or the end of a delivered channel.
    fn wants(&self, state: &Publication) -> bool {
        state.offset > self.state && (state.gone.is_none() || state.offset > self.ends)
    }

    /// Returns the offset up to which the ends of channels are known.
    fn knows_ends(&self) -> u64 {
        self.ends.max(self.state)
    }

    /// Makes all values due again, but no end that was delivered.
    fn restart(&mut self) {
        self.ends = self.knows_ends();
        self.state = 0;
    }

    /// Returns the first offset after `after` of a state of this subscription, as far as the hub has processed.
    fn first_after(&self, after: u64, hub: &Hub, view: View, covered: impl Fn(&Channel) -> bool) -> Option<u64> {
        match &self.selector {
            Selector::Exact(_) => Some(hub.changed(self.topic, view)).filter(|changed| *changed > after),
            Selector::Below(_) => hub.log().first_state_after(after, self.ends, covered).filter(|at| *at <= hub.seen()),
        }
    }
}

impl Reader {
    /// Opens a reader without subscriptions, at the current end of the log.
    pub fn open(hub: &Rc<Hub>, order: CatchUp) -> Self {
        hub.catch_up();
        Self {
            slot: hub.enter(),
            hub: Rc::clone(hub),
            subscriptions: Vec::new(),
            delivered_to: 0,
            rewound_from: 0,
            order,
            catching_up: false,
            filter: None,
            view: View::Full,
            pace: Pace::FULL,
            noticed: hub.log().noticed(),
            due: Vec::new(),
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

    /// Returns whether exactly this selector is subscribed.
    pub fn is_subscribed(&self, selector: &Selector) -> bool {
        self.find(selector).is_some()
    }

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

    /// Returns the cursor of deliveries outside of the log: it covers the delivered events, and no state.
    pub fn cursor_aside(&self) -> Position {
        let seen = if self.hub.has_due_events(self.slot) { 0 } else { self.hub.seen() };
        Position { epoch: self.hub.log().epoch(), offset: self.delivered_to.max(seen), state: 0 }
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
        if let Some(again) = self.find(&selector) {
            // Undelivered data stay due.
            if let Some(before) = self.remove(again)
                && since.is_none()
            {
                (events, ends, is_incomplete) = (before.events, before.knows_ends(), true);
            }
        }
        let number = match self.subscriptions.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.subscriptions.push(None);
                self.subscriptions.len() - 1
            }
        };
        let member = self.member(number);
        // A reader that gets a value now has to wait for the next one; without a value it has not.
        let told = self.hub.log().knows_state(&selector);
        let topic = self.hub.join(&selector, member, interval, told);
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
            through: 0,
            events,
            paused: false,
            is_incomplete,
            cutover_states: None,
        };
        if let Some((channel, before)) = self.hub.log().standing_notice()
            && subscription.selector.matches(&channel)
        {
            self.noticed = self.noticed.min(before);
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

    /// Delivers due data to `sink`, in the order of the log, at most about `budget` bytes of events and as many of
    /// states, but at least one of each. The rest is due at once, each state with its newest value at that time.
    pub fn collect(&mut self, budget: usize, sink: &mut impl Sink) -> Collected {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let forgotten = self.hub.heed_forgotten();
        let waiting_since = self.hub.take_due(self.slot, &mut due);
        let mut collected = Collected { waiting_since, ..Collected::default() };
        match due[..] {
            [] => {}
            [Due { subscription, state: true, event: false }]
                if !self.needs_full_path(subscription)
                    && self.collect_one_state(subscription, sink, &mut collected) => {}
            _ => self.collect_due(&mut due, forgotten, budget, sink, &mut collected),
        }
        self.due = due;
        collected
    }

    /// Returns whether a state of this subscription needs the full path: others delay states, or it is a prefix.
    fn needs_full_path(&self, number: u32) -> bool {
        let paced = |s: &Subscription| !s.interval.is_zero();
        self.catching_up
            || self.pace != Pace::FULL
            || self.hub.log().noticed() != self.noticed
            || self.subscriptions.iter().flatten().any(paced)
            || !self.get(number).is_some_and(|s| {
                !s.paused && !s.is_incomplete && s.cutover_states.is_none() && matches!(s.selector, Selector::Exact(_))
            })
    }

    /// Fast path of most deliveries: the newest state of one channel, with nothing else due. Has the effect of
    /// [`Self::collect_due`] without its lists. Returns false without an effect if the channel does not exist.
    fn collect_one_state(&mut self, number: u32, sink: &mut impl Sink, collected: &mut Collected) -> bool {
        let ceiling = self.hub.seen();
        let Some(subscription) = self.subscriptions.get_mut(number as usize).and_then(Option::as_mut) else {
            return true;
        };
        let (latest, versions) = self.hub.latest(subscription.topic, self.view);
        let Some(latest) = latest else { return false };
        let skipped = versions.saturating_sub(subscription.versions).saturating_sub(1);
        subscription.versions = versions;
        collected.conflated += skipped;
        if !subscription.wants(&latest) {
            // A change, if any, is not visible to this reader.
            subscription.state = subscription.state.max(self.hub.changed(subscription.topic, self.view));
            return true;
        }
        subscription.state = latest.offset;
        self.delivered_to = self.delivered_to.max(self.rewound_from).max(latest.offset.min(ceiling));
        self.deliver(&latest, self.delivered_to, None, sink, collected);
        true
    }

    fn collect_due(
        &mut self,
        due: &mut Vec<Due>,
        forgotten: u64,
        budget: usize,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        let ceiling = self.hub.seen();
        due.retain(|due| {
            self.subscriptions.get(due.subscription as usize).is_some_and(|s| s.as_ref().is_some_and(|s| !s.paused))
        });
        self.postpone(due);
        let ends = self.take_lost_ends(due, forgotten);
        let mut events = self.take_events(due, ceiling, budget, ends, sink, collected);
        events.unfinished = events.through < ceiling;
        if !events.unfinished && events.events.is_empty() {
            self.delivered_to = self.delivered_to.max(self.rewound_from);
        }
        // Delayed states are not delivered, and states of a cutover are followed by newer ones: cursors account for that.
        let held = [self.before_delayed(due), self.cutover_offset()];
        let wait = self.catching_up && events.unfinished && self.pace.events && self.order == CatchUp::EventsFirst;
        let states = if wait { self.put_back(due) } else { self.take_states(due, forgotten, budget, collected) };
        let held = held.into_iter().chain([states.beyond.map(|beyond| beyond - 1)]).flatten().min();
        self.deliver_all(&states, &events, held, sink, collected);
        self.catching_up &= states.left.is_some();
        self.deliver_notices(sink, collected);
    }

    /// Delivers notices. Their cursor covers only earlier deliveries.
    fn deliver_notices(&mut self, sink: &mut impl Sink, collected: &mut Collected) {
        if self.hub.log().noticed() == self.noticed {
            return;
        }
        let (notices, noticed) = self.hub.log().notices_after(self.noticed);
        self.noticed = noticed;
        for notice in notices {
            if self.deciding(&notice.channel).is_some_and(|(_, subscription)| !subscription.paused) {
                collected.delivered += 1;
                sink.publication(&notice, Some(self.cursor_aside()));
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
            if subscription.through == 0
                && let Some(not_before) = subscription.not_before
                && now + SLACK.min(self.interval_of(subscription) / 2) < not_before
            {
                self.hub.mark_at(self.member(due.subscription as usize), not_before);
                due.state = false;
            }
        }
    }

    /// Returns the due subscriptions with ended channels unknown to this reader, whose ends are discarded, and marks them
    /// as known.
    fn take_lost_ends(&mut self, due: &[Due], forgotten: u64) -> Vec<Selector> {
        if forgotten == 0 {
            return Vec::new();
        }
        let mut lost = Vec::new();
        for due in due.iter().filter(|due| due.state) {
            lost.extend(self.take_lost_ends_of(due.subscription as usize, forgotten));
        }
        lost
    }

    /// Returns the selector of a subscription if it lost ends.
    fn take_lost_ends_of(&mut self, number: usize, forgotten: u64) -> Option<Selector> {
        let subscription = self.subscriptions.get_mut(number)?.as_mut().filter(|s| !s.paused)?;
        let known = if subscription.is_incomplete { subscription.ends } else { subscription.knows_ends() };
        let is_lost = (subscription.is_incomplete || known < self.hub.forgotten(subscription.topic))
            && self.hub.log().has_forgotten(&subscription.selector, known);
        is_lost.then(|| {
            subscription.ends = subscription.ends.max(forgotten);
            subscription.selector.clone()
        })
    }

    /// Reads the due events and moves the positions of the subscriptions; reports a gap, also for lost ends.
    fn take_events(
        &mut self,
        due: &mut Vec<Due>,
        ceiling: u64,
        budget: usize,
        ends: Vec<Selector>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) -> DueEvents {
        let nothing = DueEvents { through: ceiling, ..DueEvents::default() };
        if !due.iter().any(|due| due.event) {
            self.tell_gap(ends, due, sink, collected);
            return nothing;
        }
        // From the position of the last one: all are moved on together.
        let running = self.subscriptions.iter().flatten().filter(|s| !s.paused);
        let Some(from) = running.map(|s| s.events).min() else { return nothing };
        if !self.pace.events {
            self.tell_gap(ends, due, sink, collected);
            for due in due.iter().filter(|due| due.event) {
                self.hub.mark(self.member(due.subscription as usize), false, true);
            }
            return DueEvents { through: from.min(ceiling), ..DueEvents::default() };
        }
        let wanted = |channel: &Channel, offset| {
            self.deciding(channel).is_some_and(|(_, subscription)| !subscription.paused && offset > subscription.events)
        };
        let Events { mut events, through, lost } = self.hub.log().events_after(from, ceiling, budget, wanted);
        if let Some(filter) = &self.filter {
            events.retain(|event| filter.allows_event(event));
        }
        for subscription in self.subscriptions.iter_mut().flatten().filter(|s| !s.paused) {
            subscription.events = subscription.events.max(through);
        }
        if through < ceiling {
            collected.more = true;
            // Each of them: a single one that knows of the rest could be ended before the delivery.
            for due in due.iter().filter(|due| due.event) {
                self.hub.mark(self.member(due.subscription as usize), false, true);
            }
        }
        if !lost.is_empty() {
            let before_events = events.first().map_or(through, |event| event.offset - 1);
            self.delivered_to = self.delivered_to.max(before_events);
        }
        let lost = lost.into_iter().map(Selector::Exact).chain(ends).collect();
        self.tell_gap(lost, due, sink, collected);
        DueEvents { events, through, ..DueEvents::default() }
    }

    /// Reports a gap, if there was a loss, and makes all states due.
    fn tell_gap(
        &mut self,
        mut lost: Vec<Selector>,
        due: &mut Vec<Due>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        if lost.is_empty() {
            return;
        }
        // All states are delivered now, including delayed ones.
        let forgotten = self.hub.heeded();
        for number in 0..self.subscriptions.len() {
            lost.extend(self.take_lost_ends_of(number, forgotten));
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

    /// Delivers states and events in the order of the log, or in that of a resume.
    fn deliver_all(
        &mut self,
        states: &States,
        events: &DueEvents,
        held: Option<u64>,
        sink: &mut impl Sink,
        collected: &mut Collected,
    ) {
        // No cursor covers a state that is still to come, because the connection may be cut at any point of a write.
        let covered = |next: Option<u64>| [held, next.map(|next| next - 1)].into_iter().flatten().min();
        let offset_of = |number: usize| states.taken.get(number).map(|state| state.offset).or(states.left);
        if self.catching_up && self.order == CatchUp::EventsFirst {
            self.deliver_events(events, u64::MAX, covered(offset_of(0)), sink, collected);
        }
        for (number, state) in states.taken.iter().enumerate() {
            if !self.catching_up {
                self.deliver_events(events, state.offset, covered(Some(state.offset)), sink, collected);
            }
            // Never past an event that is still to come.
            let limit = events.peek().map_or(events.through, |event| event.offset - 1);
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
        let states = states.unwrap_or(u64::MAX).min(events);
        let own = publication.offset == events && states == events;
        let cursor = (!own).then(|| Position { epoch: self.hub.log().epoch(), offset: events, state: states });
        sink.publication(publication, cursor);
    }

    /// Leaves the due states for the next write.
    fn put_back(&self, due: &[Due]) -> States {
        let mut left = None;
        for Due { subscription: number, .. } in due.iter().filter(|due| due.state) {
            self.hub.mark(self.member(*number as usize), true, false);
            let Some(subscription) = self.get(*number) else { continue };
            let first =
                subscription.cutover_states.as_ref().and_then(|first| first.iter().map(|state| state.offset).min());
            // Fetches publications from before any reader of this worker followed the channel.
            self.hub.latest(subscription.topic, self.view);
            let covered = |channel: &Channel| self.deciding(channel).is_some_and(|(decides, _)| decides == *number);
            let next = subscription.first_after(subscription.state, &self.hub, self.view, covered);
            left = [left, first, next].into_iter().flatten().min();
        }
        // The resume is not complete yet, even if no state is left.
        States { taken: Vec::new(), left: left.or(Some(u64::MAX)), beyond: None }
    }

    /// Takes the due states, oldest first, at most about `budget` bytes of them but at least one. The rest is marked as
    /// due at once.
    fn take_states(&mut self, due: &[Due], forgotten: u64, budget: usize, collected: &mut Collected) -> States {
        let found: Vec<_> =
            due.iter().filter(|due| due.state).filter_map(|due| self.find_states(due.subscription, budget)).collect();
        if self.hub.log().forgotten() > forgotten {
            // An end was discarded meanwhile, and may be missing here: the next collection detects it.
            for found in &found {
                if let Some(subscription) = self.subscriptions.get_mut(found.number as usize).and_then(Option::as_mut) {
                    subscription.ends = subscription.knows_ends();
                    subscription.is_incomplete = true;
                }
            }
        }
        let mut states: Vec<_> = found.iter().flat_map(|found| found.states.iter().cloned()).collect();
        states.sort_by_key(|state| state.offset);
        // The states are not complete beyond this.
        let through = found.iter().map(|found| found.through).min().unwrap_or(u64::MAX);
        let mut spent = 0;
        let fits = |state: &&Arc<Publication>| {
            let fits = state.offset <= through && (spent == 0 || spent < budget);
            spent += state.weight();
            fits
        };
        let taken = states.iter().take_while(fits).count();
        let next = states.get(taken).map(|state| state.offset);
        let unknown = (through < u64::MAX).then(|| through.saturating_add(1));
        let beyond = found.iter().filter_map(|found| found.beyond).min();
        states.truncate(taken);
        // All states up to here are taken.
        let cut = [next.map(|next| next - 1), unknown.map(|_| through)].into_iter().flatten().min();
        for found in found {
            self.advance(found, cut.unwrap_or(u64::MAX), forgotten, collected);
        }
        States { taken: states, left: next.into_iter().chain(unknown).min(), beyond }
    }

    /// Returns the due states of a subscription, oldest first.
    fn find_states(&self, number: u32, budget: usize) -> Option<Found> {
        let subscription = self.get(number)?;
        let decides = |channel: &Channel| self.deciding(channel).is_some_and(|(decides, _)| decides == number);
        let mut found = Found { number, states: Vec::new(), through: u64::MAX, beyond: None, is_cutover: false };
        if let Some(first) = &subscription.cutover_states {
            found.states = first.iter().filter(|state| decides(&state.channel)).cloned().collect();
            found.states.sort_by_key(|state| state.offset);
            found.is_cutover = true;
            return Some(found);
        }
        match &subscription.selector {
            Selector::Exact(_) => {
                let latest = self.hub.latest(subscription.topic, self.view).0;
                found.states.extend(latest.filter(|latest| subscription.wants(latest)));
            }
            Selector::Below(prefix) => {
                let (state, ends) = (subscription.state, subscription.ends);
                (found.states, found.through) = self.hub.log().states_below(prefix, state, ends, budget);
                let last = if subscription.through > 0 { subscription.through } else { u64::MAX };
                found.states.retain(|state| state.offset <= last && decides(&state.channel));
                if found.through >= last {
                    found.through = u64::MAX;
                }
                if last < u64::MAX {
                    found.beyond = subscription.first_after(last, &self.hub, self.view, decides);
                }
            }
        }
        Some(found)
    }

    /// Moves a subscription past its states up to `cut`, which were taken.
    fn advance(&mut self, found: Found, cut: u64, forgotten: u64, collected: &mut Collected) {
        let Found { number, states, through, beyond, is_cutover } = found;
        let member = self.member(number as usize);
        let (head, log_forgotten) = (self.hub.log().head(), self.hub.log().forgotten());
        let Some(subscription) = self.subscriptions.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let interval = subscription.interval.max(self.pace.interval);
        let versions = self.hub.latest(subscription.topic, self.view).1;
        let taken = states.partition_point(|state| state.offset <= cut);
        let is_left = taken < states.len() || through < u64::MAX;
        if let Some(last) = taken.checked_sub(1).and_then(|last| states.get(last)) {
            subscription.state = subscription.state.max(last.offset);
        }
        if is_left {
            collected.more = true;
            self.hub.mark(member, true, false);
            if through <= cut {
                // These were processed, whether or not another subscription decides about them.
                subscription.state = subscription.state.max(through);
            }
            if is_cutover {
                subscription.cutover_states = Some(Box::new(states.into_iter().skip(taken).collect()));
            } else if !interval.is_zero() && subscription.through == 0 {
                subscription.through = head;
            }
            return;
        }
        if is_cutover {
            let newest =
                subscription.cutover_states.take().and_then(|first| first.iter().map(|state| state.offset).max());
            subscription.state = subscription.state.max(newest.unwrap_or(0));
            // Newer states follow.
            self.hub.mark(member, true, false);
        }
        if matches!(subscription.selector, Selector::Exact(_)) {
            collected.conflated += versions.saturating_sub(subscription.versions).saturating_sub(1);
            if taken == 0 && !is_cutover {
                // A change, if any, is not visible to this reader.
                subscription.state = subscription.state.max(self.hub.changed(subscription.topic, self.view));
            }
        }
        subscription.versions = versions;
        if beyond.is_none() && !is_cutover && log_forgotten <= forgotten {
            // All ends so far were delivered, or do not concern it.
            subscription.ends = subscription.ends.max(self.hub.seen());
            subscription.is_incomplete = false;
        }
        let was_cut = std::mem::take(&mut subscription.through) > 0;
        if !interval.is_zero() && (taken > 0 || was_cut) {
            let at = Instant::now() + interval;
            subscription.not_before = Some(at);
            if beyond.is_some() {
                self.hub.mark_at(member, at);
            }
        }
    }

    fn interval_of(&self, subscription: &Subscription) -> Duration {
        subscription.interval.max(self.pace.interval)
    }

    /// Returns the last offset before the first delayed state.
    fn before_delayed(&self, due: &[Due]) -> Option<u64> {
        let waits = |number: usize| !due.iter().any(|due| due.state && due.subscription as usize == number);
        self.subscriptions
            .iter()
            .enumerate()
            .filter_map(|(number, s)| s.as_ref().map(|s| (number, s)))
            .filter(|(number, s)| !self.interval_of(s).is_zero() && !s.paused && waits(*number))
            .filter_map(|(number, s)| {
                let decides = |channel: &Channel| self.deciding(channel).is_some_and(|(d, _)| d as usize == number);
                s.first_after(s.state, &self.hub, self.view, decides)
            })
            .min()
            .map(|first| first - 1)
    }

    /// Returns the offset of the states that are delivered first: newer ones may follow.
    fn cutover_offset(&self) -> Option<u64> {
        let first = self.subscriptions.iter().flatten().filter(|s| !s.paused).filter_map(|s| s.cutover_states.as_ref());
        first.filter_map(|first| first.iter().map(|state| state.offset).max()).min()
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
                subscription.through = 0;
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

    fn remove(&mut self, number: usize) -> Option<Subscription> {
        let subscription = self.subscriptions.get_mut(number)?.take()?;
        let known = subscription.knows_ends();
        let is_behind = subscription.is_incomplete || known < self.hub.forgotten(subscription.topic);
        let first_end = self.hub.log().first_end_after(known, |channel| subscription.selector.matches(channel));
        let ends = if is_behind { Some(known) } else { first_end.map(|first_end| first_end - 1) };
        self.hub.part(subscription.topic, self.member(number));
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
        self.hub.leave(self.slot);
    }
}

/// Events that were read and are delivered between states.
#[derive(Debug, Default)]
struct DueEvents {
    events: Vec<Arc<Publication>>,
    next: std::cell::Cell<usize>,
    through: u64,
    /// Whether the budget was exhausted before all were read.
    unfinished: bool,
}

/// States to deliver, oldest first.
struct States {
    taken: Vec<Arc<Publication>>,
    /// First offset of the states that are left for the next write.
    left: Option<u64>,
    /// First state that waits for the next interval, of a subscription that was cut.
    beyond: Option<u64>,
}

/// Due states of one subscription.
struct Found {
    number: u32,
    states: Vec<Arc<Publication>>,
    /// Offset after which there may be more.
    through: u64,
    /// First state that has to wait for the next interval.
    beyond: Option<u64>,
    /// Whether they are the values of a cutover.
    is_cutover: bool,
}

impl DueEvents {
    fn peek(&self) -> Option<&Arc<Publication>> {
        self.events.get(self.next.get())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod ends_tests;
