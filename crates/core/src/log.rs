//! The log of one tenant: the newest value of each state channel, a bounded ring of events, and wake-ups.
//!
//! One writer ([`LogWriter`], held by the aggregator), any number of readers. Readers ask one question, "what is newer
//! than this position?", and get the answer under a short read lock; nothing is queued for anybody.

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
    position::{Epoch, Position},
    publication::Publication,
    snapshot::{self, SNAPSHOT, View},
};

mod writer;

pub use writer::{Change, Chunk, Contents, Kept, LogWriter, place};

/// How far back the ring of events reaches, and the memory of ended channels.
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

/// How long the end of a channel is kept.
const ENDS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Notices that are kept for readers that are slow. One tells that something goes, the next that it is back.
const NOTICES: usize = 8;

/// What is newer than a position. See the module.
#[derive(Debug)]
pub struct Log {
    /// Changes only when the log was lost; under the lock that makes the change visible.
    epoch: ArcSwap<Epoch>,
    config: LogConfig,
    /// The newest offset. Moved under the lock that makes the change visible, so that no reader is given a cursor
    /// beyond it; read without.
    head: AtomicU64,
    /// Ends of channels up to here may be forgotten; the same.
    forgotten: AtomicU64,
    /// Offset of the newest version of each view of the snapshot; the same.
    snapshot_offsets: [AtomicU64; View::COUNT],
    inner: RwLock<Inner>,
    /// What was told beside the log.
    notices: Mutex<Notices>,
    /// How many notices there were; moved under the lock of `notices`.
    noticed: AtomicU64,
    /// The assembled views of the snapshot. Locked before `inner`, never after.
    snapshots: Mutex<[Option<Arc<Publication>>; View::COUNT]>,
    /// Wakes the hubs.
    changed: watch::Sender<u64>,
}

/// What was told beside the log.
#[derive(Debug, Default)]
struct Notices {
    /// The last of them, newest last.
    last: VecDeque<Arc<Publication>>,
    /// The newest one still holds: later readers are told of it, too.
    stands: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// Epochs of the logs before this one, oldest first; `None` when nothing is known of them.
    earlier: Option<Vec<Epoch>>,
    channels: HashMap<Channel, Entry>,
    /// Names in order, for the snapshot and the list of channels.
    names: BTreeSet<Channel>,
    /// The newest offset of each state channel, `metrics` included, and of each end that is kept: answers "which states
    /// changed after x?".
    by_offset: BTreeMap<u64, Channel>,
    /// The ends that are kept, oldest first.
    ends: BTreeMap<u64, Channel>,
    /// Offset of the newest end that was forgotten; 0 for none.
    forgotten: u64,
    /// Bytes of the newest values.
    state_bytes: usize,
    ring: VecDeque<Arc<Publication>>,
    ring_bytes: usize,
    /// Offset of the newest event that the ring had to drop; 0 for none.
    dropped: u64,
    /// When the newest version of each view of the snapshot was made.
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
    /// It has ended.
    Gone(Arc<Publication>),
}

/// One channel, as `GET /api/channels` lists it.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// Its name.
    pub channel: Channel,
    /// What it carries.
    pub kind: ChannelKind,
    /// Offset of its newest publication; 0 before the first.
    pub version: u64,
    /// When that was.
    pub changed: Option<Timestamp>,
    /// When the value of a state was last written, also the same one again.
    pub written: Option<Timestamp>,
    /// Usual time between two writes of a state, in milliseconds; `None` before the second.
    pub pace_ms: Option<u64>,
    /// Its value was restored from history, and not written since.
    pub restored: bool,
}

/// How much a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Events in the ring.
    pub events: usize,
    /// Their bytes.
    pub event_bytes: usize,
    /// Bytes of the newest values of all state channels.
    pub state_bytes: usize,
    /// Channels.
    pub channels: usize,
    /// Ends of channels that are kept.
    pub ends: usize,
}

/// What changed after an offset.
#[derive(Debug)]
pub struct Changes {
    /// The channels with their newest offsets; ended ones are states.
    pub changed: Vec<(Channel, u64, ChannelKind)>,
    /// Those that ended, with the offsets of their ends.
    pub ended: Vec<(Channel, u64)>,
    /// Offset of the newest end that is forgotten. Above the offset that was asked about, other channels may have ended, too.
    pub forgotten: u64,
    /// The newest offset that was looked at.
    pub head: u64,
}

/// A piece of the ring.
#[derive(Debug, Default)]
pub struct Events {
    /// In order.
    pub events: Vec<Arc<Publication>>,
    /// Everything asked for up to here is in `events`. Less than the ceiling when the budget ran out.
    pub through: u64,
    /// Channels of which events between the position and the ring's beginning are gone.
    pub lost: Vec<Channel>,
}

impl Log {
    /// An empty log of a new random epoch that knows nothing of earlier logs, and the one handle that can write it.
    pub fn create(config: LogConfig) -> (LogWriter, Arc<Log>) {
        Self::create_as(config, Epoch::random(), None)
    }

    /// An empty log of `epoch` that follows the logs of the epochs in `earlier`, oldest first; `None` when nothing is known
    /// of them.
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

    /// The log's epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch::clone(&self.epoch.load())
    }

    /// The newest offset.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Offset of the newest end of a channel that was forgotten; 0 for none.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Whether the end of a channel of `selector` may have been forgotten that the holder of states up to `offset` was
    /// not told. One channel is known to live or to have ended; of many that is not known.
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

    /// The end of `channel`, if it has ended and that is not forgotten.
    pub fn end_of(&self, channel: &Channel) -> Option<Arc<Publication>> {
        match self.inner.read().channels.get(channel) {
            Some(Entry::Gone(end)) => Some(Arc::clone(end)),
            _ => None,
        }
    }

    /// The position of somebody who has been given everything.
    pub fn position(&self) -> Position {
        // Under the lock, so that both are of one log.
        let _inner = self.inner.read();
        Position::new(self.epoch(), self.head())
    }

    /// The position before the oldest event that is kept.
    pub fn beginning(&self) -> Position {
        let inner = self.inner.read();
        Position::new(self.epoch(), inner.dropped)
    }

    /// Whether `position` can be judged by what this log knows: it is of this log and not beyond its end, or of an earlier
    /// log. Of any other position somebody else may know more.
    pub fn covers(&self, position: &Position) -> bool {
        let inner = self.inner.read();
        if position.epoch == **self.epoch.load() {
            return position.offset <= self.head();
        }
        inner.earlier.as_ref().is_some_and(|earlier| earlier.contains(&position.epoch))
    }

    /// Whether `epoch` is that of an earlier log. A log that knows nothing of earlier ones takes every other epoch for one.
    pub fn follows(&self, epoch: &Epoch) -> bool {
        let inner = self.inner.read();
        *epoch != **self.epoch.load() && inner.earlier.as_ref().is_none_or(|earlier| earlier.contains(epoch))
    }

    /// Gives readers a notice that has no place in the log, because it is true for this process only or because the log can't
    /// be written. A notice that `stands` holds until the next one: readers that subscribe to its channel later get it, too.
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

    /// How many notices there were.
    pub fn noticed(&self) -> u64 {
        self.noticed.load(Ordering::Acquire)
    }

    /// The notice that holds at the moment, if there is one: its channel, and how many there were before it.
    pub fn standing_notice(&self) -> Option<(Channel, u64)> {
        if self.noticed() == 0 {
            return None;
        }
        let notices = self.notices.lock();
        let newest = notices.last.back().filter(|_| notices.stands)?;
        Some((newest.channel.clone(), self.noticed() - 1))
    }

    /// The notices after the first `seen`, as far as they are kept, and how many there were.
    pub fn notices_after(&self, seen: u64) -> (Vec<Arc<Publication>>, u64) {
        let notices = self.notices.lock();
        let count = self.noticed();
        let new = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX).min(notices.last.len());
        (notices.last.range(notices.last.len() - new..).cloned().collect(), count)
    }

    /// Changes whenever something was published; the value is the newest offset.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Offset of the newest event that the ring had to drop; 0 for none.
    pub fn dropped(&self) -> u64 {
        self.inner.read().dropped
    }

    /// Offset of the newest version of the snapshot.
    pub fn snapshot_offset(&self) -> u64 {
        self.snapshot_offset_of(View::Full)
    }

    fn snapshot_offset_of(&self, view: View) -> u64 {
        self.snapshot_offsets[view.index()].load(Ordering::Acquire)
    }

    /// The newest snapshot as `view` shows it, assembled on first use per version. A view has a new version only when
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

    /// The newest value of a state channel; `view` says how much of the snapshot is shown.
    pub fn state(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        match self.inner.read().channels.get(channel) {
            Some(Entry::State(publication)) => Some(Arc::clone(publication)),
            _ => None,
        }
    }

    /// The newest value of a state channel or its end, whichever counts now.
    pub(super) fn latest(&self, channel: &Channel, view: View) -> Option<Arc<Publication>> {
        if channel.as_str() == SNAPSHOT {
            return Some(self.snapshot(view));
        }
        self.inner.read().channels.get(channel).and_then(Entry::latest).map(Arc::clone)
    }

    /// What `channel` carries, if it is known and has not ended.
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

    /// The newest values of the state channels that changed after `offset` and that `wanted` names, oldest first; of the
    /// snapshot what `view` shows, if that changed. Ends of channels after `ends` are among them.
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

    /// The newest values of the state channels below `prefix` that changed after `offset`, oldest first, at most about
    /// `budget` bytes of them but at least one. Ends of channels after `ends` are among them. With them the offset up to which these are all; `u64::MAX` when nothing
    /// is left out.
    ///
    /// Costs by the channels below the prefix or by those that changed, whichever a first look takes to be fewer.
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

    /// The first offset after `offset` at which a state channel that `wanted` names stands, or its end if that is after
    /// `ends`.
    pub fn first_state_after(&self, offset: u64, ends: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        let inner = self.inner.read();
        let mut states = inner.by_offset.range(offset + 1..);
        let counts = |at: &u64| *at > ends || !inner.ends.contains_key(at);
        states.find(|(at, channel)| wanted(channel) && counts(at)).map(|(at, _)| *at)
    }

    /// The first end after `offset` of a channel that `wanted` names, as far as ends are kept.
    pub fn first_end_after(&self, offset: u64, wanted: impl Fn(&Channel) -> bool) -> Option<u64> {
        self.inner.read().ends.range(offset + 1..).find(|(_, channel)| wanted(channel)).map(|(at, _)| *at)
    }

    /// What changed after `offset`.
    pub fn changes_after(&self, offset: u64) -> Changes {
        let inner = self.inner.read();
        let states =
            inner.by_offset.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at, ChannelKind::State));
        let mut changed: Vec<_> = states.collect();
        let ended = inner.ends.range(offset + 1..).map(|(at, channel)| (channel.clone(), *at)).collect();
        if offset < inner.dropped {
            // Whoever waits for events has to be told that some are gone.
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

    /// The events in `(after, ceiling]` that `wanted` names, in order, at most about `budget` bytes of them but
    /// at least one.
    ///
    /// `wanted` gets the channel and the offset, for readers whose subscriptions stand at different places.
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

    /// All channels, by name, `metrics` first.
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

    /// Whether any known channel is below the prefix, or the channel itself is known.
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

    /// What the one channel of `selector` carries; `None` for an unknown one and for many.
    pub fn kind_of(&self, selector: &Selector) -> Option<ChannelKind> {
        match selector {
            Selector::Exact(channel) => self.kind(channel),
            Selector::Below(_) => None,
        }
    }

    /// Whether a state channel that `selector` names has a value.
    pub fn knows_state(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.kind(channel) == Some(ChannelKind::State),
            Selector::Below(_) => self.first_state_after(0, u64::MAX, |channel| selector.matches(channel)).is_some(),
        }
    }

    /// Whether it has nothing but what a server publishes by itself for every tenant.
    pub fn is_unused(&self) -> bool {
        let inner = self.inner.read();
        inner.channels.iter().all(|(channel, entry)| built_in::contains(channel) || matches!(entry, Entry::Gone(_)))
            && inner.ring.iter().all(|event| event.channel.as_str() == "system")
    }

    /// How much it holds: for the metrics page.
    pub fn sizes(&self) -> Sizes {
        let inner = self.inner.read();
        let (events, event_bytes, state_bytes) = (inner.ring.len(), inner.ring_bytes, inner.state_bytes);
        let ends = inner.ends.len();
        Sizes { events, event_bytes, state_bytes, channels: inner.channels.len() - ends, ends }
    }
}

/// Takes states in their order until `budget` bytes are spent, at least one. Answers them and the offset of the last one, or
/// `u64::MAX` when they are all.
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
    /// The newest value of a state, or its end.
    fn latest(&self) -> Option<&Arc<Publication>> {
        match self {
            Self::State(latest) | Self::Gone(latest) => Some(latest),
            Self::Events { .. } => None,
        }
    }

    /// The same; an end only when it is after `ends`.
    fn state_after(&self, ends: u64) -> Option<&Arc<Publication>> {
        self.latest().filter(|latest| latest.gone.is_none() || latest.offset > ends)
    }
}

impl Inner {
    fn insert(&mut self, publication: Publication, config: LogConfig) {
        self.keep(Arc::new(publication), config);
    }

    fn keep(&mut self, publication: Arc<Publication>, config: LogConfig) {
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
                // Its events of before stay in the ring, and are put there again when a log is taken over.
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

    /// Takes account of what something else took the place of.
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

    /// Forgets the oldest ends that are too many or too old at `now`. It depends on nothing but what is in the log, so that
    /// all nodes of a cluster forget the same.
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
