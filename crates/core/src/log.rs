//! Log of one tenant: the newest value of each state channel, a bounded ring of events, and wake-ups.
//!
//! There is one writer ([`LogWriter`], held by the aggregator), and any number of readers. Readers query what is newer
//! than a position, under a short read lock; nothing is queued for them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    built_in,
    channel::{Channel, ChannelKind, Selector},
    field_times::{FieldInfo, FieldTimes, Part, Write, WriteTimes},
    position::{Epoch, Position},
    publication::Publication,
    snapshot::{self, SNAPSHOT, View},
};

mod writer;

pub use writer::{Change, ChannelTimes, Chunk, Contents, Kept, LogWriter, Origins, assign_offsets};

/// Capacity of the ring of events, and of the memory of ended channels.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Most events kept. Default 10,000.
    pub events: usize,
    /// Most bytes of events kept. Default 16 MiB.
    pub bytes: usize,
    /// Most ends of channels kept. Default 10,000.
    pub ends: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { events: 10_000, bytes: 16 << 20, ends: 10_000 }
    }
}

/// Time for which the end of a channel is kept.
const ENDS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Number of notices that are kept for slow readers: one for the start of a condition, the next for its end.
const NOTICES: usize = 8;

/// Log of one tenant. See the module.
#[derive(Debug)]
pub struct Log {
    /// Epoch. It changes only when the log was lost, under the lock that makes the change visible.
    epoch: ArcSwap<Epoch>,
    config: LogConfig,
    /// Newest offset. Written under the lock that makes the change visible, so that no reader gets a cursor beyond it;
    /// read without the lock.
    head: AtomicU64,
    /// Offset up to which ends of channels may be discarded; written in the same way.
    forgotten: AtomicU64,
    /// Offset of the newest version of each view of the snapshot; written in the same way.
    snapshot_offsets: [AtomicU64; View::COUNT],
    inner: RwLock<Inner>,
    /// Notices outside of the log.
    notices: Mutex<Notices>,
    /// Number of notices; written under the lock of `notices`.
    noticed: AtomicU64,
    /// Assembled views of the snapshot. Locked before `inner`, never after.
    snapshots: Mutex<[Option<Arc<Publication>>; View::COUNT]>,
    /// Wakes the hubs.
    changed: watch::Sender<u64>,
}

/// Notices outside of the log.
#[derive(Debug, Default)]
struct Notices {
    /// Most recent notices, newest last.
    last: VecDeque<Arc<Publication>>,
    /// Whether the newest one is still in force, so that later readers get it too.
    stands: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// Epochs of the logs before this one, oldest first; `None` if they are unknown.
    earlier: Option<Vec<Epoch>>,
    channels: HashMap<Channel, Entry>,
    /// Names in order, for the snapshot and the list of channels.
    names: BTreeSet<Channel>,
    /// Times of fields, of channels that have such.
    fields: HashMap<Channel, FieldTimes>,
    /// Memory of `fields` in bytes.
    field_bytes: usize,
    /// Newest offset of each state channel, including `metrics`, and of each kept end; the index for states that changed
    /// after an offset.
    by_offset: BTreeMap<u64, Channel>,
    /// Kept ends, oldest first.
    ends: BTreeMap<u64, Channel>,
    /// Offset of the newest discarded end; 0 for none.
    forgotten: u64,
    /// Bytes of the newest values.
    state_bytes: usize,
    ring: VecDeque<Arc<Publication>>,
    ring_bytes: usize,
    /// Offset of the newest event that was dropped from the ring; 0 for none.
    dropped: u64,
    /// Time of the newest version of each view of the snapshot.
    snapshot_times: [Timestamp; View::COUNT],
}

#[derive(Debug)]
enum Entry {
    State(Arc<Publication>),
    Events {
        last: u64,
        last_time: Option<Timestamp>,
        dropped: u64,
    },
    /// The channel has ended.
    Gone(Arc<Publication>),
}

/// Channel in the list of `GET /api/channels`.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// Name of the channel.
    pub channel: Channel,
    /// Kind of the channel.
    pub kind: ChannelKind,
    /// Offset of its newest publication; 0 before the first.
    pub version: u64,
    /// Time of that publication.
    pub changed: Option<Timestamp>,
    /// Time of the last write of a state, even without a change.
    pub written: Option<Timestamp>,
    /// Usual time between two writes of a state, in milliseconds; `None` before the second.
    pub pace_ms: Option<u64>,
    /// Whether its value was restored from history, and not written since.
    pub restored: bool,
}

/// Sizes of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Events in the ring.
    pub events: usize,
    /// Bytes of the events.
    pub event_bytes: usize,
    /// Bytes of the newest values of all state channels.
    pub state_bytes: usize,
    /// Number of channels.
    pub channels: usize,
    /// Ends of channels that are kept.
    pub ends: usize,
}

/// Changes after an offset.
#[derive(Debug)]
pub struct Changes {
    /// Changed channels with their newest offsets; ended ones count as states.
    pub changed: Vec<(Channel, u64, ChannelKind)>,
    /// Ended channels, with the offsets of their ends.
    pub ended: Vec<(Channel, u64)>,
    /// Offset of the newest discarded end. If it is above the queried offset, other channels may have ended too.
    pub forgotten: u64,
    /// Newest offset that the result includes.
    pub head: u64,
}

/// Part of the ring.
#[derive(Debug, Default)]
pub struct Events {
    /// Events in order.
    pub events: Vec<Arc<Publication>>,
    /// Offset up to which `events` is complete. Below the ceiling if the budget was exhausted.
    pub through: u64,
    /// Channels that lost events between the queried position and the start of the ring.
    pub lost: Vec<Channel>,
}

impl Log {
    /// Creates an empty log with a new random epoch and unknown earlier logs, and its only writer.
    pub fn create(config: LogConfig) -> (LogWriter, Arc<Log>) {
        Self::create_as(config, Epoch::random(), None)
    }

    /// Creates an empty log of `epoch` that follows the logs of the epochs in `earlier`, oldest first; `None` if they are
    /// unknown.
    pub fn create_as(config: LogConfig, epoch: Epoch, earlier: Option<Vec<Epoch>>) -> (LogWriter, Arc<Log>) {
        let mut inner = Inner { earlier, ..Inner::default() };
        for channel in built_in::event_channels() {
            inner.names.insert(channel.clone());
            inner.channels.insert(channel, Entry::Events { last: 0, last_time: None, dropped: 0 });
        }
        let log = Arc::new(Log {
            epoch: ArcSwap::from_pointee(epoch),
            config,
            head: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            snapshot_offsets: Default::default(),
            inner: RwLock::new(inner),
            notices: Mutex::default(),
            noticed: AtomicU64::new(0),
            snapshots: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        (LogWriter { log: Arc::clone(&log) }, log)
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch::clone(&self.epoch.load())
    }

    /// Returns the newest offset.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Returns the offset of the newest discarded end of a channel; 0 for none.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Returns whether a channel of `selector` may have ended, with a discarded end, unknown to a reader with states up
    /// to `offset`. For a single channel it is known whether it exists or has ended; for a prefix it is not.
    pub fn has_forgotten(&self, selector: &Selector, offset: u64) -> bool {
        if offset >= self.forgotten() {
            return false;
        }
        match selector {
            Selector::Exact(channel) if built_in::contains(channel) => false,
            Selector::Exact(channel) => !self.inner.read().channels.contains_key(channel),
            Selector::Below(_) => true,
        }
    }

    /// Returns the end of `channel`, if it has ended and the end is kept.
    pub fn end_of(&self, channel: &Channel) -> Option<Arc<Publication>> {
        match self.inner.read().channels.get(channel) {
            Some(Entry::Gone(end)) => Some(Arc::clone(end)),
            _ => None,
        }
    }

    /// Returns the position of a reader that has everything.
    pub fn position(&self) -> Position {
        // Under the lock, so that both belong to one log.
        let _inner = self.inner.read();
        Position::new(self.epoch(), self.head())
    }

    /// Returns the position before the oldest kept event.
    pub fn beginning(&self) -> Position {
        let inner = self.inner.read();
        Position::new(self.epoch(), inner.dropped)
    }

    /// Returns whether this log can judge `position`: it belongs to this log and is not beyond its end, or belongs to an
    /// earlier log. Another node may know more about any other position.
    pub fn covers(&self, position: &Position) -> bool {
        let inner = self.inner.read();
        if position.epoch == **self.epoch.load() {
            return position.offset <= self.head();
        }
        inner.earlier.as_ref().is_some_and(|earlier| earlier.contains(&position.epoch))
    }

    /// Returns whether `epoch` is that of an earlier log. If the earlier ones are unknown, every other epoch counts as one.
    pub fn follows(&self, epoch: &Epoch) -> bool {
        let inner = self.inner.read();
        *epoch != **self.epoch.load() && inner.earlier.as_ref().is_none_or(|earlier| earlier.contains(epoch))
    }

    /// Sends readers a notice outside of the log, because it concerns this process only or because the log cannot be
    /// written. A notice that `stands` stays in force until the next one: readers that subscribe to its channel later get
    /// it too.
    pub fn notice(&self, change: Change, now: Timestamp, stands: bool) {
        let Change { channel, event, data, .. } = change;
        let (epoch, head) = (self.epoch(), self.head());
        let notice = Arc::new(Publication::new(epoch, channel, event, head, now, data));
        {
            let mut notices = self.notices.lock();
            notices.stands = stands;
            notices.last.push_back(notice);
            if notices.last.len() > NOTICES {
                notices.last.pop_front();
            }
            self.noticed.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.send_modify(|_| {});
    }

    /// Returns the number of notices.
    pub fn noticed(&self) -> u64 {
        self.noticed.load(Ordering::Acquire)
    }

    /// Returns the channel of the notice in force, if there is one, and the number of notices before it.
    pub fn standing_notice(&self) -> Option<(Channel, u64)> {
        if self.noticed() == 0 {
            return None;
        }
        let notices = self.notices.lock();
        let newest = notices.last.back().filter(|_| notices.stands)?;
        Some((newest.channel.clone(), self.noticed() - 1))
    }

    /// Returns the kept notices after the first `seen`, and the number of all notices.
    pub fn notices_after(&self, seen: u64) -> (Vec<Arc<Publication>>, u64) {
        let notices = self.notices.lock();
        let count = self.noticed();
        let new = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX).min(notices.last.len());
        (notices.last.range(notices.last.len() - new..).cloned().collect(), count)
    }

    /// Returns a watch of the newest offset.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the offset of the newest event that was dropped from the ring; 0 for none.
    pub fn dropped(&self) -> u64 {
        self.inner.read().dropped
    }

    /// Returns the offset of the newest version of the snapshot.
    pub fn snapshot_offset(&self) -> u64 {
        self.snapshot_offset_of(View::Full)
    }

    fn snapshot_offset_of(&self, view: View) -> u64 {
        self.snapshot_offsets[view.index()].load(Ordering::Acquire)
    }

    /// Returns the newest snapshot of `view`, assembled on first use per version. A view has a new version only if
    /// something in it changed, so its offset can be below that of the full one.
    pub fn snapshot(&self, view: View) -> Arc<Publication> {
        let cached = &mut self.snapshots.lock()[view.index()];
        if let Some(snapshot) = &*cached
            && snapshot.offset == self.snapshot_offset_of(view)
            && snapshot.epoch == **self.epoch.load()
        {
            return Arc::clone(snapshot);
        }
        let inner = self.inner.read();
        let offset = self.snapshot_offset_of(view);
        let below = Channel::parse(SNAPSHOT).unwrap_or_else(|_| unreachable!("a valid name"));
        let states =
            inner.names.range(below.clone()..).take_while(|c| c.as_str().starts_with(SNAPSHOT)).filter_map(|channel| {
                match inner.channels.get(channel) {
                    Some(Entry::State(publication)) => Some(&**publication),
                    _ => None,
                }
            });
        let data = Bytes::from(snapshot::assemble(states, view));
        let (time, epoch) = (inner.snapshot_times[view.index()], self.epoch());
        drop(inner);
        let snapshot = Arc::new(Publication::new(epoch, below, None, offset, time, data));
        *cached = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Returns the newest value of a state channel; `view` selects the view of the snapshot.
    pub fn state(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        match self.inner.read().channels.get(channel) {
            Some(Entry::State(publication)) => Some(Arc::clone(publication)),
            _ => None,
        }
    }

    /// Returns the newest value of a state channel, or its end.
    pub(super) fn latest(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        self.inner.read().channels.get(channel).and_then(Entry::latest).map(Arc::clone)
    }

    /// Returns the kind of `channel`, if it exists.
    pub fn kind(&self, channel: &Channel) -> Option<ChannelKind> {
        if channel.as_str() == SNAPSHOT {
            return Some(ChannelKind::State);
        }
        match self.inner.read().channels.get(channel)? {
            Entry::State(_) => Some(ChannelKind::State),
            Entry::Events { .. } => Some(ChannelKind::Event),
            Entry::Gone(_) => None,
        }
    }

    /// Returns the newest values of the state channels that changed after `offset` and that `wanted` selects, oldest
    /// first, including the snapshot of `view` if that changed, and ends of channels after `ends`.
    pub fn states_after(
        &self,
        offset: u64,
        ends: u64,
        view: View,
        wanted: impl Fn(&Channel) -> bool,
    ) -> Vec<Arc<Publication>> {
        let inner = self.inner.read();
        let mut snapshot = false;
        let mut states: Vec<_> = inner
            .by_offset
            .range(offset + 1..)
            .filter(|(_, channel)| wanted(channel))
            .filter_map(|(_, channel)| match inner.channels.get(channel) {
                Some(entry) => entry.state_after(ends).map(Arc::clone),
                None => {
                    snapshot |= channel.as_str() == SNAPSHOT;
                    None
                }
            })
            .collect();
        drop(inner);
        if snapshot {
            states.extend(Some(self.snapshot(view)).filter(|snapshot| snapshot.offset > offset));
        }
        states
    }

    /// Returns the newest values of the state channels below `prefix` that changed after `offset`, oldest first, at most
    /// about `budget` bytes of them but at least one, including ends of channels after `ends`. The second value is the
    /// offset up to which the result is complete; `u64::MAX` if nothing is left out.
    ///
    /// The cost depends on the channels below the prefix or on the changed ones, whichever are estimated to be fewer.
    pub fn states_below(&self, prefix: &str, offset: u64, ends: u64, budget: usize) -> (Vec<Arc<Publication>>, u64) {
        let inner = self.inner.read();
        let state_of = |channel: &Channel| inner.channels.get(channel).and_then(|entry| entry.state_after(ends));
        let within = |channel: &&Channel| channel.as_str().starts_with(prefix);
        if offset > 0 {
            let changed = inner.by_offset.range(offset + 1..).map(|(_, channel)| channel);
            return within_budget(changed.filter(within).filter_map(state_of), budget);
        }
        let below = inner.names.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let mut states: Vec<_> = below.take_while(within).filter_map(state_of).collect();
        states.sort_by_key(|state| state.offset);
        within_budget(states.into_iter(), budget)
    }

    /// Returns the first offset after `offset` of a state channel that `wanted` selects, or of its end if that is after
    /// `ends`.
    pub fn first_state_after(&self, offset: u64, ends: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        let inner = self.inner.read();
        let mut states = inner.by_offset.range(offset + 1..);
        let counts = |at: &u64| *at > ends || !inner.ends.contains_key(at);
        states.find(|(at, channel)| wanted(channel) && counts(at)).map(|(at, _)| *at)
    }

    /// Returns the first end after `offset` of a channel that `wanted` selects, among the kept ones.
    pub fn first_end_after(&self, offset: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        self.inner.read().ends.range(offset + 1..).find(|(_, channel)| wanted(channel)).map(|(at, _)| *at)
    }

    /// Returns the changes after `offset`.
    pub fn changes_after(&self, offset: u64) -> Changes {
        let inner = self.inner.read();
        let states =
            inner.by_offset.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at, ChannelKind::State));
        let mut changed: Vec<_> = states.collect();
        let ended = inner.ends.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at)).collect();
        if offset < inner.dropped {
            // Readers of events have to be notified of dropped ones.
            let lost = inner.channels.iter().filter_map(|(channel, entry)| match entry {
                Entry::Events { dropped, .. } if *dropped > offset => {
                    Some((channel.clone(), *dropped, ChannelKind::Event))
                }
                _ => None,
            });
            changed.extend(lost);
        }
        let from = inner.ring.partition_point(|event| event.offset <= offset);
        for event in inner.ring.range(from..) {
            // Events often come in runs of one channel.
            match changed.last_mut() {
                Some((channel, at, ChannelKind::Event)) if *channel == event.channel => *at = event.offset,
                _ => changed.push((event.channel.clone(), event.offset, ChannelKind::Event)),
            }
        }
        Changes { changed, ended, forgotten: inner.forgotten, head: self.head() }
    }

    /// Returns the events in `(after, ceiling]` that `wanted` selects, in order, at most about `budget` bytes of them but
    /// at least one.
    ///
    /// `wanted` gets the channel and the offset, for readers with subscriptions at different positions.
    pub fn events_after(
        &self,
        after: u64,
        ceiling: u64,
        budget: usize,
        wanted: impl Fn(&Channel, u64) -> bool,
    ) -> Events {
        let inner = self.inner.read();
        let mut found = Events { through: ceiling, ..Events::default() };
        if after < inner.dropped {
            found.lost = inner
                .channels
                .iter()
                .filter(|(channel, entry)| matches!(entry, Entry::Events { dropped, .. } if wanted(channel, *dropped)))
                .map(|(channel, _)| channel.clone())
                .collect();
            found.lost.sort();
        }
        let from = inner.ring.partition_point(|event| event.offset <= after);
        let mut spent = 0;
        for event in inner.ring.range(from..) {
            if event.offset > ceiling {
                break;
            }
            if wanted(&event.channel, event.offset) {
                if spent >= budget && !found.events.is_empty() {
                    found.through = event.offset - 1;
                    break;
                }
                spent += event.weight();
                found.events.push(Arc::clone(event));
            }
        }
        found
    }

    /// Returns all channels, by name, `metrics` first.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let inner = self.inner.read();
        let snapshot = Channel::parse(SNAPSHOT).ok().map(|channel| ChannelInfo {
            channel,
            kind: ChannelKind::State,
            version: self.snapshot_offset(),
            changed: (self.snapshot_offset() > 0).then_some(inner.snapshot_times[View::Full.index()]),
            written: None,
            pace_ms: None,
            restored: false,
        });
        let listed = inner.names.iter().filter_map(|channel| {
            Some(match inner.channels.get(channel)? {
                Entry::State(publication) => ChannelInfo {
                    channel: channel.clone(),
                    kind: ChannelKind::State,
                    version: publication.offset,
                    changed: Some(publication.timestamp),
                    written: Some(publication.last_written()),
                    pace_ms: publication.pace_ms(),
                    restored: publication.is_restored(),
                },
                Entry::Gone(_) => return None,
                Entry::Events { last, last_time, .. } => ChannelInfo {
                    channel: channel.clone(),
                    kind: ChannelKind::Event,
                    version: *last,
                    changed: *last_time,
                    written: None,
                    pace_ms: None,
                    restored: false,
                },
            })
        });
        snapshot.into_iter().chain(listed).collect()
    }

    /// Returns the fields of a state channel that were not written with the rest of it: see [`FieldTimes::differing`].
    pub fn fields_of(&self, channel: &Channel) -> Vec<FieldInfo> {
        let inner = self.inner.read();
        let (Some(times), Some(Entry::State(state))) = (inner.fields.get(channel), inner.channels.get(channel)) else {
            return Vec::new();
        };
        let (times, state, now) = (times.clone(), Arc::clone(state), state.times());
        // Reading the names costs by the size of the value.
        drop(inner);
        times.differing(&state.data, now)
    }

    /// Returns the memory of the times of fields of all channels, in bytes.
    pub fn field_bytes(&self) -> usize {
        self.inner.read().field_bytes
    }

    /// Returns whether a channel of the selector exists.
    pub fn knows(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.kind(channel).is_some(),
            Selector::Below(_) => {
                let inner = self.inner.read();
                let lives = |channel: &&Channel| !matches!(inner.channels.get(*channel), Some(Entry::Gone(_)));
                inner.names.iter().filter(lives).any(|channel| selector.matches(channel))
            }
        }
    }

    /// Returns the kind of the single channel of `selector`; `None` for an unknown one and for a prefix.
    pub fn kind_of(&self, selector: &Selector) -> Option<ChannelKind> {
        match selector {
            Selector::Exact(channel) => self.kind(channel),
            Selector::Below(_) => None,
        }
    }

    /// Returns whether a state channel of `selector` has a value.
    pub fn knows_state(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.kind(channel) == Some(ChannelKind::State),
            Selector::Below(_) => self.first_state_after(0, u64::MAX, |channel| selector.matches(channel)).is_some(),
        }
    }

    /// Returns whether it contains only data that a server publishes by itself for every tenant.
    pub fn is_unused(&self) -> bool {
        let inner = self.inner.read();
        inner.channels.iter().all(|(channel, entry)| built_in::contains(channel) || matches!(entry, Entry::Gone(_)))
            && inner.ring.iter().all(|event| event.channel.as_str() == "system")
    }

    /// Returns its sizes, for the metrics page.
    pub fn sizes(&self) -> Sizes {
        let inner = self.inner.read();
        let (events, event_bytes, state_bytes) = (inner.ring.len(), inner.ring_bytes, inner.state_bytes);
        let ends = inner.ends.len();
        Sizes { events, event_bytes, state_bytes, channels: inner.channels.len() - ends, ends }
    }
}

/// Takes states in order until `budget` bytes are used, at least one. Returns them and the offset of the last one, or
/// `u64::MAX` if nothing is left out.
fn within_budget<'a>(
    states: impl Iterator<Item = &'a Arc<Publication>>,
    budget: usize,
) -> (Vec<Arc<Publication>>, u64) {
    let (mut taken, mut spent) = (Vec::new(), 0);
    for state in states {
        let last = taken.last().map(|last: &Arc<Publication>| last.offset);
        if let Some(last) = last.filter(|_| spent >= budget) {
            return (taken, last);
        }
        spent += state.weight();
        taken.push(Arc::clone(state));
    }
    (taken, u64::MAX)
}

impl Entry {
    /// Returns the newest value of a state, or its end.
    fn latest(&self) -> Option<&Arc<Publication>> {
        match self {
            Self::State(latest) | Self::Gone(latest) => Some(latest),
            Self::Events { .. } => None,
        }
    }

    /// Does the same; an end only if it is after `ends`.
    fn state_after(&self, ends: u64) -> Option<&Arc<Publication>> {
        self.latest().filter(|latest| latest.gone.is_none() || latest.offset > ends)
    }
}

impl Inner {
    /// Inserts what was written just now; of a state only the fields in `part`, if there is one.
    fn write(&mut self, publication: Publication, part: Option<&Part>, config: LogConfig) {
        let publication = Arc::new(publication);
        if !self.has_fields(&publication.channel, part) {
            return self.insert(publication, config);
        }
        let before = match self.channels.get(&publication.channel) {
            Some(Entry::State(before)) if publication.gone.is_none() => Some(before.times()),
            _ => None,
        };
        self.insert(Arc::clone(&publication), config);
        let at_ms = publication.timestamp.as_millisecond();
        self.write_fields(&publication, before, Write { part, at_ms, same: false });
    }

    /// Whether a write of `part` of a channel changes times of fields.
    fn has_fields(&self, channel: &Channel, part: Option<&Part>) -> bool {
        part.is_some() || self.fields.contains_key(channel)
    }

    /// Notes a write of a state whose channel had the times `before`; `None` when all fields began or ended with it.
    fn write_fields(&mut self, state: &Publication, before: Option<WriteTimes>, write: Write<'_>) {
        let mut times = self.drop_fields(&state.channel);
        let Some(before) = before else { return };
        FieldTimes::apply(&mut times, before, state.times(), write);
        self.keep_fields(&state.channel, times);
    }

    fn drop_fields(&mut self, channel: &Channel) -> Option<FieldTimes> {
        let times = self.fields.remove(channel)?;
        self.field_bytes -= times.bytes();
        Some(times)
    }

    fn keep_fields(&mut self, channel: &Channel, times: Option<FieldTimes>) {
        if let Some(times) = times {
            self.field_bytes += times.bytes();
            self.fields.insert(channel.clone(), times);
        }
    }

    fn insert(&mut self, publication: Arc<Publication>, config: LogConfig) {
        let channel = publication.channel.clone();
        if !self.channels.contains_key(&channel) {
            self.names.insert(channel.clone());
        }
        match publication.kind() {
            ChannelKind::State if publication.gone.is_some() => {
                let offset = publication.offset;
                let before = self.channels.insert(channel.clone(), Entry::Gone(publication));
                self.replaced(before);
                self.by_offset.insert(offset, channel.clone());
                self.ends.insert(offset, channel);
            }
            ChannelKind::State => {
                self.by_offset.insert(publication.offset, channel.clone());
                let state = Arc::clone(&publication);
                self.state_bytes += publication.data.len();
                let before = self.channels.insert(channel, Entry::State(publication));
                if let Some(Entry::State(before)) = &before {
                    state.follow(before);
                }
                self.replaced(before);
            }
            ChannelKind::Event => {
                // Its earlier events stay in the ring, and are added again when a log is replaced.
                let begins_anew =
                    matches!(self.channels.get(&channel), Some(Entry::Gone(end)) if end.offset < publication.offset);
                if begins_anew {
                    let ended = self.channels.remove(&channel);
                    self.replaced(ended);
                }
                let entry =
                    self.channels.entry(channel).or_insert(Entry::Events { last: 0, last_time: None, dropped: 0 });
                if let Entry::Events { last, last_time, .. } = entry {
                    *last = publication.offset;
                    *last_time = Some(publication.timestamp);
                }
                self.ring_bytes += publication.weight();
                self.ring.push_back(publication);
                while self.ring.len() > config.events || (self.ring_bytes > config.bytes && self.ring.len() > 1) {
                    self.drop_oldest();
                }
            }
        }
    }

    /// Updates the indices for an entry that was replaced.
    fn replaced(&mut self, before: Option<Entry>) {
        match before {
            Some(Entry::State(before)) => {
                self.by_offset.remove(&before.offset);
                self.state_bytes -= before.data.len();
            }
            Some(Entry::Gone(before)) => {
                self.by_offset.remove(&before.offset);
                self.ends.remove(&before.offset);
            }
            Some(Entry::Events { .. }) | None => {}
        }
    }

    /// Discards the oldest ends beyond the limits of number and age at `now`. The result depends only on the contents of
    /// the log, so that all nodes of a cluster discard the same.
    fn forget_ends(&mut self, now: Timestamp, config: LogConfig) {
        while let Some((&offset, channel)) = self.ends.first_key_value() {
            let at = self.channels.get(channel).and_then(Entry::latest).map_or(now, |end| end.timestamp);
            if self.ends.len() <= config.ends && now.duration_since(at) < ENDS_KEPT {
                return;
            }
            if let Some(channel) = self.ends.remove(&offset) {
                self.by_offset.remove(&offset);
                self.names.remove(&channel);
                self.channels.remove(&channel);
            }
            self.forgotten = offset;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.ring_bytes -= oldest.weight();
            self.dropped = oldest.offset;
            if let Some(Entry::Events { dropped, .. }) = self.channels.get_mut(&oldest.channel) {
                *dropped = oldest.offset;
            }
        }
    }
}

#[cfg(test)]
mod tests;
