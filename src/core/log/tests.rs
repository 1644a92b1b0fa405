//! A log that somebody else keeps is the same log, and readers go on in it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::{
    channel::EventName,
    hub::Hub,
    reader::{CatchUp, Reader, Sink},
};

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn change((place, n): (usize, u32)) -> Change {
    let (name, event) = [("metrics.a", None), ("entity.b", None), ("deploys", Some("x")), ("orders", Some("y"))][place];
    let event = event.map(|event| EventName::parse(event).unwrap());
    Change { channel: channel(name), event, data: Bytes::from(format!(r#"{{"n":{n}}}"#)) }
}

fn batches() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let changes = prop::collection::vec((0..4usize, 0..9u32).prop_map(change), 1..9);
    prop::collection::vec(changes, 1..12)
}

fn small() -> LogConfig {
    LogConfig { events: 5, bytes: usize::MAX }
}

fn same(one: &Contents, other: &Contents) {
    let channels = |contents: &Contents| {
        let mut channels = contents.event_channels.clone();
        channels.sort_by(|one, other| one.0.cmp(&other.0));
        channels
    };
    assert_eq!(
        (one.head, one.snapshot, &one.states, &one.events),
        (other.head, other.snapshot, &other.states, &other.events)
    );
    assert_eq!((one.dropped, channels(one)), (other.dropped, channels(other)));
}

/// Takes what a reader is given.
#[derive(Default)]
struct Given {
    offsets: Vec<(bool, u64)>,
    gaps: Vec<Channel>,
    cursor: Option<Position>,
}

impl Sink for Given {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        self.offsets.push((publication.event.is_some(), publication.offset));
        self.cursor = Some(cursor.unwrap_or_else(|| publication.own_cursor()));
    }

    fn gap(&mut self, channels: &[Channel], cursor: Position) {
        self.gaps.extend(channels.iter().cloned());
        self.cursor = Some(cursor);
    }
}

proptest! {
    #[test]
    fn whoever_applies_what_was_placed_has_what_the_writer_has(batches in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        let mut head = 0;
        for changes in batches {
            let chunks = place(head, changes.clone());
            head = chunks.last().and_then(Chunk::head).unwrap();
            one.append(changes, now);
            other.apply(chunks, now);
            prop_assert_eq!(log.head(), head);
            same(&log.contents(), &copy.contents());
        }
    }

    #[test]
    fn whoever_takes_a_log_over_has_it_and_goes_on_alike(before in batches(), after in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        for changes in before {
            one.append(changes, now);
        }
        other.take_over(log.contents());
        same(&log.contents(), &copy.contents());
        prop_assert_eq!(log.position(), copy.position());
        prop_assert_eq!(&log.snapshot(View::Full).data, &copy.snapshot(View::Full).data);
        for changes in after {
            one.append(changes.clone(), now);
            other.append(changes, now);
        }
        same(&log.contents(), &copy.contents());
    }

    #[test]
    fn a_reader_goes_on_in_a_log_that_is_taken_over(before in batches(), missed in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        for changes in before {
            one.append(changes, now);
        }
        other.take_over(log.contents());
        let hub = Hub::new(Arc::clone(&copy));
        let mut reader = Reader::open(&hub, CatchUp::EventsFirst);
        for name in ["metrics.a", "entity.b", "deploys", "orders"] {
            reader.subscribe(Selector::Exact(channel(name)), Duration::ZERO, None);
        }
        reader.collect(usize::MAX, &mut Given::default());
        let stood = copy.head();
        for changes in missed {
            one.append(changes, now);
        }
        other.take_over(log.contents());
        hub.follow();
        let mut given = Given::default();
        reader.collect(usize::MAX, &mut given);
        let contents = log.contents();
        let events: Vec<u64> = given.offsets.iter().filter(|(event, _)| *event).map(|(_, offset)| *offset).collect();
        let expected: Vec<u64> = contents.events.iter().map(|event| event.offset).filter(|offset| *offset > stood).collect();
        prop_assert_eq!(events, expected, "every event that is kept, once and in order");
        prop_assert_eq!(!given.gaps.is_empty(), contents.dropped > stood, "and what is not kept is told");
        for state in contents.states.iter().filter(|state| state.offset > stood) {
            prop_assert!(given.offsets.contains(&(false, state.offset)));
        }
    }
}

/// A log of another epoch, as it is begun when the one before was lost.
fn another(contents: &Contents, base: u64) -> Contents {
    let mut next = contents.clone();
    next.epoch = Epoch::random();
    (next.dropped, next.events, next.head) = (base, Vec::new(), base);
    for state in &mut next.states {
        next.head += 1;
        state.offset = next.head;
    }
    next.head += 1;
    next.snapshot = next.snapshot.map(|(_, at)| (next.head, at));
    next.event_channels.iter_mut().for_each(|(_, last, _)| *last = base);
    next
}

#[test]
fn a_log_of_another_epoch_is_a_gap_and_fresh_state_for_readers() {
    let now = Timestamp::from_second(1).unwrap();
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((0, 1)), change((2, 1))], now);
    let hub = Hub::new(Arc::clone(&log));
    let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
    for name in ["metrics.a", "deploys", "metrics"] {
        reader.subscribe(Selector::Exact(channel(name)), Duration::ZERO, None);
    }
    let mut given = Given::default();
    reader.collect(usize::MAX, &mut given);
    let before = given.cursor.unwrap();
    let next = another(&log.contents(), 1_000);
    let epoch = next.epoch.clone();
    writer.take_over(next);
    hub.follow();
    let mut given = Given::default();
    reader.collect(usize::MAX, &mut given);
    assert_eq!(given.gaps, [channel("deploys")]);
    assert_eq!(given.offsets, [(false, 1_001), (false, 1_002)], "the value and the snapshot");
    let cursor = given.cursor.unwrap();
    assert_eq!((cursor.epoch, cursor.offset), (epoch.clone(), 1_002));
    assert_ne!(before.epoch, epoch);
    // What was assembled of the other log is not taken for that of this one.
    assert_eq!(log.snapshot(View::Full).epoch, epoch);
    writer.append(vec![change((2, 2))], now);
    hub.follow();
    let mut given = Given::default();
    reader.collect(usize::MAX, &mut given);
    assert_eq!((given.offsets, given.gaps), (vec![(true, 1_003)], vec![]));
}

#[test]
fn what_is_told_beside_the_log_reaches_those_who_are_there_once() {
    let now = Timestamp::from_second(1).unwrap();
    let (_writer, log) = Log::create(small());
    let hub = Hub::new(Arc::clone(&log));
    let reader = |name: &str| {
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        reader.subscribe(Selector::Exact(channel(name)), Duration::ZERO, None);
        reader.collect(usize::MAX, &mut Given::default());
        reader
    };
    let (mut told, mut other) = (reader("system"), reader("orders"));
    let notice =
        Change { channel: channel("system"), event: EventName::parse("degraded").ok(), data: Bytes::from("{}") };
    log.notice(notice, now, false);
    hub.follow();
    let mut given = Given::default();
    told.collect(usize::MAX, &mut given);
    assert_eq!(given.offsets.len(), 1);
    assert_eq!(given.cursor.map(|cursor| (cursor.offset, cursor.state)), Some((0, 0)), "it covers nothing new");
    for reader in [&mut told, &mut other, &mut reader("system")] {
        let mut given = Given::default();
        reader.collect(usize::MAX, &mut given);
        assert!(given.offsets.is_empty());
    }
}

#[test]
fn a_state_stands_at_its_newest_offset_and_at_no_other() {
    let (mut writer, log) = Log::create(small());
    for n in 0..10 {
        writer.append(vec![change((0, n)), change((1, n))], Timestamp::UNIX_EPOCH);
    }
    let states = log.states_after(0, View::Full, |channel| channel.as_str() != SNAPSHOT);
    let head = log.head();
    assert_eq!(states.iter().map(|state| state.offset).collect::<Vec<_>>(), [head - 2, head - 1]);
    assert_eq!(log.inner.read().by_offset.len(), 3, "with the snapshot; nothing is left of earlier versions");
    assert_eq!(log.first_state_after(0, |_| true), Some(head - 2));
}

#[test]
fn the_ring_keeps_as_many_events_as_it_may_and_a_reader_at_the_last_one_dropped_lost_none() {
    let (mut writer, log) = Log::create(small());
    for n in 0..12 {
        writer.append(vec![change((2, n))], Timestamp::UNIX_EPOCH);
    }
    assert_eq!((log.sizes().events, log.dropped()), (5, 7));
    let read = |after| log.events_after(after, log.head(), usize::MAX, |_, offset| offset > after);
    let at_the_edge = read(7);
    assert_eq!((at_the_edge.events.len(), at_the_edge.lost), (5, vec![]));
    assert_eq!(log.events_after(7, log.head(), usize::MAX, |_, _| true).lost, [], "the last one dropped was given");
    assert_eq!(read(6).lost, [channel("deploys")]);
}

#[test]
fn states_below_a_prefix_are_read_for_as_many_bytes_as_asked_for() {
    let (mut writer, log) = Log::create(small());
    for name in ["wide.a", "wide.b", "wide.c", "other"] {
        let change = Change { channel: channel(name), event: None, data: Bytes::from_static(b"{}") };
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
    }
    let read = |after, budget| {
        let (states, through) = log.states_below("wide.", after, budget);
        (states.iter().map(|state| state.offset).collect::<Vec<_>>(), through)
    };
    assert_eq!(read(0, 0), (vec![1], 1));
    assert_eq!(read(1, 0), (vec![2], 2));
    assert_eq!(read(1, usize::MAX), (vec![2, 3], u64::MAX));
    assert_eq!(read(2, 0), (vec![3], u64::MAX), "nothing is left");
}

#[test]
fn the_ring_keeps_as_many_bytes_as_it_may() {
    let (mut writer, log) = Log::create(LogConfig { events: 1_000, bytes: 10_000 });
    for n in 0..100 {
        writer.append(vec![change((2, n))], Timestamp::UNIX_EPOCH);
        let Sizes { events, event_bytes: bytes, .. } = log.sizes();
        assert!(bytes <= 10_000 && (log.dropped() == 0 || bytes + bytes / events > 10_000), "{events}, {bytes}");
    }
    assert!(log.dropped() > 0);
}

#[test]
fn a_log_knows_its_own_places_and_earlier_logs_and_no_others() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((2, 1))], Timestamp::UNIX_EPOCH);
    let (before, other) = (log.epoch(), Epoch::random());
    assert!(log.follows(&other), "nothing is known of before");
    let at = |epoch: &Epoch, offset| Position::new(epoch.clone(), offset);
    assert!(log.covers(&at(&before, 1)) && !log.covers(&at(&before, 2)) && !log.covers(&at(&other, 1)));
    let next = another(&log.contents(), 1_000);
    writer.set_earlier(vec![before.clone()]);
    writer.take_over(next);
    assert!(log.follows(&before) && log.covers(&at(&before, 2)));
    assert!(!log.follows(&other) && !log.covers(&at(&other, 1)) && !log.follows(&log.epoch()));
    assert_eq!(log.beginning(), at(&log.epoch(), 1_000));
}
