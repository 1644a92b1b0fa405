//! A log that follows another one is equal to it, and readers continue in it.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::{notices::NOTICES, *};
use crate::{
    built_in,
    channel::{Channel, ChannelKind, EventName, Gone, Selector},
    hub::Hub,
    reader::{CatchUp, Reader, Sink},
    settings::Size,
    snapshot::SNAPSHOT,
};

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn change((place, n): (usize, u32)) -> Change {
    let (name, event) = [("metrics.a", None), ("entity.b", None), ("deploys", Some("x")), ("orders", Some("y"))][place];
    let event = event.map(|event| EventName::parse(event).unwrap());
    Change { channel: channel(name), event, gone: None, data: Bytes::from(format!(r#"{{"n":{n}}}"#)) }
}

fn batches() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let changes = prop::collection::vec((0..4usize, 0..9u32).prop_map(change), 1..9);
    prop::collection::vec(changes, 1..12)
}

fn small() -> LogConfig {
    LogConfig { events: 5, bytes: Size(usize::MAX), ends: 3, ..LogConfig::default() }
}

fn same(one: &StoredLog, other: &StoredLog) {
    let channels = |stored: &StoredLog| {
        let mut channels = stored.event_channels.clone();
        channels.sort_by(|one, other| one.0.cmp(&other.0));
        channels
    };
    assert_eq!(
        (one.head, one.discarded_ends, one.snapshot, &one.states, &one.events),
        (other.head, other.discarded_ends, other.snapshot, &other.states, &other.events)
    );
    assert_eq!((one.dropped, channels(one)), (other.dropped, channels(other)));
}

/// Sink that collects the deliveries to a reader.
#[derive(Default)]
struct Received {
    offsets: Vec<(bool, u64)>,
    gaps: Vec<Selector>,
    cursor: Option<Position>,
}

impl Sink for Received {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        self.offsets.push((publication.event.is_some(), publication.offset));
        self.cursor = Some(cursor.unwrap_or_else(|| publication.own_cursor()));
    }

    fn gap(&mut self, channels: &[Selector], cursor: Position) {
        self.gaps.extend(channels.iter().cloned());
        self.cursor = Some(cursor);
    }
}

/// Returns the list of `GET /api/channels` for a log.
fn listed(log: &Log) -> Vec<(Channel, ChannelKind, u64, Option<Timestamp>)> {
    log.channels().into_iter().map(|info| (info.channel, info.kind, info.version, info.changed)).collect()
}

proptest! {
    #[test]
    fn applying_chunks_gives_the_log_of_the_writer(batches in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        let mut head = 0;
        for changes in batches {
            let chunks = assign_offsets(head, changes.clone());
            head = chunks.last().and_then(Chunk::head).unwrap();
            one.append(changes, now);
            other.apply(chunks, now);
            prop_assert_eq!(log.head(), head);
            same(&log.export(), &copy.export());
        }
    }

    #[test]
    fn a_replaced_log_equals_the_original_and_continues_alike(before in batches(), after in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        for changes in before {
            one.append(changes, now);
        }
        let mut changed = copy.watch();
        changed.mark_unchanged();
        other.replace(log.export());
        prop_assert!(changed.has_changed().unwrap());
        same(&log.export(), &copy.export());
        prop_assert_eq!(log.position(), copy.position());
        prop_assert_eq!(listed(&log), listed(&copy));
        for offset in 0..=log.head() {
            let wanted = |channel: &Channel, at| channel.as_str() == "orders" && at > offset;
            let lost = |log: &Log| !log.events_after(offset, log.head(), usize::MAX, wanted).lost.is_empty();
            // Losses of a channel before the replacement are known only by its newest event.
            let newest = log.export().event_channels.iter().find(|(channel, ..)| channel.as_str() == "orders").unwrap().1;
            prop_assert!(lost(&copy) == lost(&log) || (lost(&copy) && newest > offset), "a gap without a loss");
        }
        prop_assert_eq!(&log.snapshot(View::Full).data, &copy.snapshot(View::Full).data);
        for changes in after {
            one.append(changes.clone(), now);
            other.append(changes, now);
        }
        same(&log.export(), &copy.export());
    }

    #[test]
    fn a_reader_continues_in_a_replaced_log(before in batches(), missed in batches()) {
        let now = Timestamp::from_second(1).unwrap();
        let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
        for changes in before {
            one.append(changes, now);
        }
        other.replace(log.export());
        let hub = Hub::new(Arc::clone(&copy));
        let mut reader = Reader::open(&hub, CatchUp::EventsFirst);
        for name in ["metrics.a", "entity.b", "deploys", "orders"] {
            reader.subscribe(Selector::Exact(channel(name)), Duration::ZERO, None);
        }
        reader.collect(usize::MAX, &mut Received::default());
        let stood = copy.head();
        for changes in missed {
            one.append(changes, now);
        }
        other.replace(log.export());
        hub.follow();
        let mut received = Received::default();
        reader.collect(usize::MAX, &mut received);
        let stored = log.export();
        let events: Vec<u64> = received.offsets.iter().filter(|(event, _)| *event).map(|(_, offset)| *offset).collect();
        let expected: Vec<u64> = stored.events.iter().map(|event| event.offset).filter(|offset| *offset > stood).collect();
        prop_assert_eq!(events, expected, "every kept event, once and in order");
        prop_assert_eq!(!received.gaps.is_empty(), stored.dropped > stood, "and dropped events are a gap");
        for state in stored.states.iter().filter(|state| state.offset > stood) {
            prop_assert!(received.offsets.contains(&(false, state.offset)));
        }
        same(&stored, &copy.export());
    }
}

/// Returns a log of another epoch, as after a bootstrap.
fn another(stored: &StoredLog, base: u64) -> StoredLog {
    let mut next = stored.clone();
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
    let mut received = Received::default();
    reader.collect(usize::MAX, &mut received);
    let before = received.cursor.unwrap();
    let next = another(&log.export(), 1_000);
    let epoch = next.epoch.clone();
    writer.replace(next);
    hub.follow();
    let mut received = Received::default();
    reader.collect(usize::MAX, &mut received);
    assert_eq!(received.gaps, [Selector::Exact(channel("deploys"))]);
    assert_eq!(received.offsets, [(false, 1_001), (false, 1_002)], "the value and the snapshot");
    let cursor = received.cursor.unwrap();
    assert_eq!((cursor.epoch, cursor.offset), (epoch.clone(), 1_002));
    assert_ne!(before.epoch, epoch);
    // A cached snapshot of the other log is not used for this one.
    assert_eq!(log.snapshot(View::Full).epoch, epoch);
    assert_eq!(log.state(&channel("metrics.a"), View::Full).unwrap().epoch, epoch);
    writer.append(vec![change((2, 2))], now);
    hub.follow();
    let mut received = Received::default();
    reader.collect(usize::MAX, &mut received);
    assert_eq!((received.offsets, received.gaps), (vec![(true, 1_003)], vec![]));
}

#[test]
fn a_notice_reaches_current_readers_once() {
    let now = Timestamp::from_second(1).unwrap();
    let (_writer, log) = Log::create(small());
    let hub = Hub::new(Arc::clone(&log));
    let reader = |name: &str| {
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        reader.subscribe(Selector::Exact(channel(name)), Duration::ZERO, None);
        reader.collect(usize::MAX, &mut Received::default());
        reader
    };
    let (mut subscriber, mut other) = (reader("system"), reader("orders"));
    let notice = Change {
        channel: channel("system"),
        event: EventName::parse("degraded").ok(),
        gone: None,
        data: Bytes::from("{}"),
    };
    log.notice(notice, now, "bus", false);
    hub.follow();
    let mut received = Received::default();
    subscriber.collect(usize::MAX, &mut received);
    assert_eq!(received.offsets.len(), 1);
    assert_eq!(received.cursor.map(|cursor| (cursor.offset, cursor.state)), Some((0, 0)), "it covers nothing new");
    for reader in [&mut subscriber, &mut other, &mut reader("system")] {
        let mut received = Received::default();
        reader.collect(usize::MAX, &mut received);
        assert!(received.offsets.is_empty());
    }
}

#[test]
fn notices_wake_readers_and_only_the_last_ones_are_kept() {
    let (_writer, log) = Log::create(small());
    let mut changed = log.watch();
    changed.mark_unchanged();
    for n in 1..=20 {
        let event = EventName::parse("degraded").ok();
        let data = Bytes::from(format!(r#"{{"n":{n}}}"#));
        log.notice(
            Change { channel: channel("system"), event, gone: None, data },
            Timestamp::UNIX_EPOCH,
            "bus",
            n == 20,
        );
        assert!(changed.has_changed().unwrap(), "readers are woken");
        changed.mark_unchanged();
    }
    let (kept, count) = log.notices_after(0);
    assert_eq!((kept.len(), count), (NOTICES, 20));
    assert_eq!(&kept[0].data[..], br#"{"n":13}"#);
    assert_eq!((log.notices_after(18).0.len(), log.notices_after(20).0.len()), (2, 0));
    let in_force = log.notices_in_force(&Selector::parse("system").unwrap());
    assert_eq!(in_force.len(), 1, "only the last one is still to be sent");
    assert_eq!(&in_force[0].data[..], br#"{"n":20}"#);
    assert!(log.notices_in_force(&Selector::parse("orders").unwrap()).is_empty());
}

#[test]
fn channels_of_built_in_events_are_known_before_their_first_event() {
    let (_writer, log) = Log::create(small());
    let listed = log.channels();
    for name in ["orders", "alerts", "dashboards", "system"] {
        let info = listed.iter().find(|info| info.channel.as_str() == name).unwrap();
        assert_eq!((info.kind, info.version, info.changed), (ChannelKind::Event, 0, None), "{name}");
        assert_eq!(log.kind(&channel(name)), Some(ChannelKind::Event));
    }
    assert_eq!((listed[0].channel.as_str(), listed[0].version, listed[0].changed), (SNAPSHOT, 0, None));
    assert_eq!(log.kind(&channel(SNAPSHOT)), Some(ChannelKind::State), "it is a state, though it has no value yet");
    assert_eq!(log.kind(&channel("metrics.a")), None);
}

#[test]
fn a_state_has_only_its_newest_offset() {
    let (mut writer, log) = Log::create(small());
    for n in 0..10 {
        writer.append(vec![change((0, n)), change((1, n))], Timestamp::UNIX_EPOCH);
    }
    let states = log.states_after(0, 0, View::Full, |channel| channel.as_str() != SNAPSHOT);
    let head = log.head();
    assert_eq!(states.iter().map(|state| state.offset).collect::<Vec<_>>(), [head - 2, head - 1]);
    assert_eq!(log.inner.read().by_offset.len(), 3, "with the snapshot; earlier versions are removed");
    assert_eq!(log.first_state_after(0, 0, |_| true), Some(head - 2));
}

#[test]
fn the_ring_is_bounded_and_a_reader_at_the_last_dropped_event_lost_none() {
    let (mut writer, log) = Log::create(small());
    for n in 0..12 {
        writer.append(vec![change((2, n))], Timestamp::UNIX_EPOCH);
    }
    assert_eq!((log.sizes().events, log.dropped()), (5, 7));
    let read = |after| log.events_after(after, log.head(), usize::MAX, |_, offset| offset > after);
    let at_the_edge = read(7);
    assert_eq!((at_the_edge.events.len(), at_the_edge.lost), (5, vec![]));
    assert_eq!(
        log.events_after(7, log.head(), usize::MAX, |_, _| true).lost,
        [],
        "the last dropped event was delivered"
    );
    assert_eq!(read(6).lost, [channel("deploys")]);
}

#[test]
fn states_below_a_prefix_are_read_within_a_budget_of_bytes() {
    let (mut writer, log) = Log::create(small());
    for name in ["wide.a", "wide.b", "wide.c", "other"] {
        let change = Change::state(channel(name), Bytes::from_static(b"{}"));
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
    }
    let read = |after, budget| {
        let (states, through) = log.states_below("wide.", after, 0, budget);
        (states.iter().map(|state| state.offset).collect::<Vec<_>>(), through)
    };
    assert_eq!(read(0, 0), (vec![1], 1));
    assert_eq!(read(1, 0), (vec![2], 2));
    assert_eq!(read(1, usize::MAX), (vec![2, 3], u64::MAX));
    assert_eq!(read(2, 0), (vec![3], u64::MAX), "nothing is left");
}

#[test]
fn the_ring_is_bounded_in_bytes() {
    let (mut writer, log) =
        Log::create(LogConfig { events: 1_000, bytes: Size(10_000), ends: 10, ..LogConfig::default() });
    for n in 0..100 {
        writer.append(vec![change((2, n))], Timestamp::UNIX_EPOCH);
        let Sizes { events, event_bytes: bytes, .. } = log.sizes();
        assert!(bytes <= 10_000 && (log.dropped() == 0 || bytes + bytes / events > 10_000), "{events}, {bytes}");
    }
    assert!(log.dropped() > 0);
}

#[test]
fn a_log_covers_its_own_positions_and_earlier_logs_only() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((2, 1))], Timestamp::UNIX_EPOCH);
    let (before, other) = (log.epoch(), Epoch::random());
    assert!(log.follows(&other), "earlier logs are unknown");
    let at = |epoch: &Epoch, offset| Position::new(epoch.clone(), offset);
    assert!(log.covers(&at(&before, 1)) && !log.covers(&at(&before, 2)) && !log.covers(&at(&other, 1)));
    let next = another(&log.export(), 1_000);
    writer.set_earlier(vec![before.clone()]);
    writer.replace(next);
    assert!(log.follows(&before) && log.covers(&at(&before, 2)));
    assert!(!log.follows(&other) && !log.covers(&at(&other, 1)) && !log.follows(&log.epoch()));
    assert_eq!(log.beginning(), at(&log.epoch(), 1_000));
}

#[test]
fn the_list_of_channels_has_times_and_paces() {
    let second = |second| Timestamp::from_second(second).unwrap();
    let (mut writer, log) = Log::create(small());
    for at in [10, 15, 20] {
        writer.append(vec![change((0, at as u32)), change((2, 1))], second(at));
    }
    let listed = log.channels();
    let of = |name: &str| listed.iter().find(|info| info.channel.as_str() == name).unwrap();
    assert_eq!((of("metrics.a").changed, of("metrics.a").pace_ms), (Some(second(20)), Some(5_000)));
    assert_eq!((of("deploys").changed, of("deploys").version), (Some(second(20)), log.head() - 1));
    assert_eq!((of(SNAPSHOT).changed, of(SNAPSHOT).version), (Some(second(20)), log.head()));
}

#[test]
fn a_selector_is_known_if_a_matching_channel_was_published() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((0, 1)), change((2, 1))], Timestamp::UNIX_EPOCH);
    for (selector, kind, is_known, has_state) in [
        ("metrics.a", Some(ChannelKind::State), true, true),
        ("metrics.*", None, true, true),
        ("deploys", Some(ChannelKind::Event), true, false),
        ("deploys.*", None, false, false),
        ("metrics.b", None, false, false),
        ("entity.*", None, false, false),
    ] {
        let named = Selector::parse(selector).unwrap();
        let found = (log.kind_of(&named), log.has_channel(&named), log.has_state(&named));
        assert_eq!(found, (kind, is_known, has_state), "{selector}");
    }
}

#[test]
fn a_log_counts_the_bytes_of_the_newest_values_only() {
    let (mut writer, log) = Log::create(small());
    for data in ["{}", r#"{"n":123456}"#, r#"{"n":1}"#] {
        let change = |name| Change::state(channel(name), Bytes::from_static(data.as_bytes()));
        writer.append(vec![change("a"), change("b")], Timestamp::UNIX_EPOCH);
    }
    assert_eq!(log.sizes().state_bytes, 2 * r#"{"n":1}"#.len());
}

#[test]
fn changes_contain_each_changed_channel_and_no_earlier_change() {
    let (mut writer, log) =
        Log::create(LogConfig { events: 2, bytes: Size(usize::MAX), ends: 3, ..LogConfig::default() });
    writer.append([2, 2, 3, 0, 2].map(|place| change((place, 1))).into(), Timestamp::UNIX_EPOCH);
    let changed = |after| {
        let Changes { changed, head, .. } = log.changes_after(after);
        assert_eq!(head, log.head());
        let visible = changed.iter().filter(|(channel, ..)| channel.as_str() != SNAPSHOT);
        visible.map(|(channel, offset, _)| (channel.to_string(), *offset)).collect::<Vec<_>>()
    };
    let expected =
        |list: &[(&str, u64)]| list.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect::<Vec<_>>();
    // The ring has dropped the first two: their readers have to be notified.
    assert_eq!(changed(1), expected(&[("metrics.a", 4), ("deploys", 2), ("orders", 3), ("deploys", 5)]));
    assert_eq!(changed(2), expected(&[("metrics.a", 4), ("orders", 3), ("deploys", 5)]));
    assert_eq!(changed(3), expected(&[("metrics.a", 4), ("deploys", 5)]));
    assert_eq!(changed(5), expected(&[]));
}

#[test]
fn channels_that_lost_events_are_named_and_delivered_events_are_not_repeated() {
    let (mut writer, log) =
        Log::create(LogConfig { events: 1, bytes: Size(usize::MAX), ends: 3, ..LogConfig::default() });
    let event = |name: &str| Change::event(channel(name), EventName::parse("x").unwrap(), Bytes::from("{}"));
    writer.append(["f", "b", "e", "a", "d", "c", "last"].map(event).into(), Timestamp::UNIX_EPOCH);
    let all = log.events_after(0, log.head(), usize::MAX, |_, _| true);
    let lost: Vec<_> = all.lost.iter().map(Channel::as_str).filter(|name| name.len() == 1).collect();
    assert_eq!(lost, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(all.events.len(), 1);
    assert!(log.events_after(log.head(), log.head(), usize::MAX, |_, _| true).events.is_empty());
}

#[test]
fn a_write_has_as_many_states_as_fit_its_bytes() {
    let (mut writer, log) = Log::create(small());
    let change = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    writer.append(["wide.a", "wide.b", "wide.c", "wide.d"].map(change).into(), Timestamp::UNIX_EPOCH);
    let weight = log.state(&channel("wide.a"), View::Full).unwrap().weight();
    let taken = |budget| log.states_below("wide.", 0, 0, budget).0.len();
    assert_eq!([1, weight, weight + 1, 3 * weight, 4 * weight].map(taken), [1, 1, 2, 3, 4]);
}

#[test]
fn the_ring_keeps_the_newest_event_of_any_size() {
    let event = |bytes: usize| {
        let data = Bytes::from(format!(r#"{{"x":"{}"}}"#, "y".repeat(bytes)));
        Change::event(channel("deploys"), EventName::parse("x").unwrap(), data)
    };
    let kept = |limit: usize, sizes: &[usize]| {
        let (mut writer, log) =
            Log::create(LogConfig { events: 100, bytes: Size(limit), ends: 3, ..LogConfig::default() });
        writer.append(sizes.iter().map(|bytes| event(*bytes)).collect(), Timestamp::UNIX_EPOCH);
        (log.sizes().events, log.sizes().event_bytes)
    };
    let (_, weight) = kept(usize::MAX, &[10]);
    assert_eq!(kept(3 * weight, &[10; 5]), (3, 3 * weight));
    assert_eq!(kept(3 * weight - 1, &[10; 5]), (2, 2 * weight));
    assert_eq!(kept(weight, &[10, 10, 5_000]).0, 1, "the large one");
}

#[test]
fn a_view_of_the_snapshot_has_a_new_version_when_something_in_it_changed() {
    let (mut writer, log) = Log::create(small());
    assert_eq!(log.export().snapshot, None);
    let state = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    let mut moved = |names: &[&str]| {
        let offsets = || View::ALL.map(|view| log.snapshot(view).offset);
        let before = offsets();
        writer.append(names.iter().map(|name| state(name)).collect(), Timestamp::UNIX_EPOCH);
        let after = offsets();
        [after[0] > before[0], after[1] > before[1]]
    };
    for (names, expected) in [
        (&["metrics.a"][..], [true, true]),
        (&["metrics.business"], [true, false]),
        (&["metrics.a", "metrics.business"], [true, true]),
        (&["metrics.business", "entity.b"], [true, false]),
        (&["entity.b"], [false, false]),
    ] {
        assert_eq!(moved(names), expected, "the whole, and without business: {names:?}");
    }
}

fn end(name: &str) -> Change {
    Change::end(channel(name), Gone::Deleted)
}

#[test]
fn an_ended_channel_leaves_only_its_end() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((0, 1)), change((1, 1)), change((2, 1))], Timestamp::UNIX_EPOCH);
    let snapshot = log.snapshot_offset();
    writer.append(vec![end("metrics.a")], Timestamp::UNIX_EPOCH);
    assert!(log.snapshot_offset() > snapshot, "the snapshot is another one");
    assert!(!String::from_utf8_lossy(&log.snapshot(View::Full).data).contains("\"a\""));
    writer.append(vec![end("entity.b"), end("deploys")], Timestamp::UNIX_EPOCH);
    assert!(log.channels().iter().all(|info| built_in::contains(&info.channel)));
    for name in ["metrics.a", "entity.b", "deploys"] {
        let channel = channel(name);
        assert!(log.state(&channel, View::Full).is_none() && log.kind(&channel).is_none());
        assert!(!log.has_channel(&Selector::Exact(channel.clone())) && log.end_of(&channel).is_some(), "{name}");
    }
    let Sizes { state_bytes, ends, .. } = log.sizes();
    assert_eq!((state_bytes, ends), (0, 3));
    assert!(log.states_after(0, u64::MAX, View::Full, |channel| channel.as_str() != SNAPSHOT).is_empty());
    // An event channel that is written again still has its earlier events.
    writer.append(vec![change((2, 2))], Timestamp::UNIX_EPOCH);
    assert_eq!(log.kind(&channel("deploys")), Some(ChannelKind::Event));
    assert_eq!(log.events_after(0, log.head(), usize::MAX, |_, _| true).events.len(), 2);
    assert_eq!(log.sizes().ends, 2);
}

#[test]
fn ends_are_discarded_when_they_are_too_many_or_too_old() {
    let (mut writer, log) = Log::create(small());
    for n in 0..1_000 {
        let name = format!("churn.{n}");
        let value = Change::state(channel(&name), Bytes::from_static(b"{}"));
        writer.append(vec![value, end(&name)], Timestamp::UNIX_EPOCH);
    }
    let inner = log.inner.read();
    assert_eq!(
        (inner.ends.len(), inner.names.len() - built_in::event_channels().count(), inner.by_offset.len()),
        (3, 3, 3)
    );
    assert_eq!(inner.channels.len() - built_in::event_channels().count(), 3);
    drop(inner);
    assert_eq!(log.discarded_ends(), log.head() - 6);
    let day = Timestamp::from_second(86_400).unwrap();
    writer.append(vec![end("churn.1001")], day);
    assert_eq!((log.sizes().ends, log.end_of(&channel("churn.999")).is_some()), (1, false));
}

#[test]
fn a_replaced_log_has_the_ends() {
    let now = Timestamp::UNIX_EPOCH;
    let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
    let value = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    one.append(vec![change((2, 1)), value("a"), value("b"), value("c"), value("d"), value("e")], now);
    one.append(vec![end("a"), end("b"), end("c"), end("d"), end("deploys")], now);
    other.replace(log.export());
    same(&log.export(), &copy.export());
    assert_eq!((copy.discarded_ends(), copy.sizes()), (log.discarded_ends(), log.sizes()));
    assert!(copy.kind(&channel("deploys")).is_none(), "its events are there, and it is not");
    for log in [&mut one, &mut other] {
        log.append(vec![end("e"), value("a")], now);
    }
    same(&log.export(), &copy.export());
    assert_eq!(copy.discarded_ends(), log.discarded_ends());
}

#[test]
fn a_query_after_an_offset_has_nothing_at_that_offset() {
    let (mut writer, log) = Log::create(small());
    let value = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    writer.append(["x.a", "x.b", "x.c"].map(value).into(), Timestamp::UNIX_EPOCH);
    writer.append(vec![end("x.a"), end("x.b")], Timestamp::UNIX_EPOCH);
    let states = |after, ends| {
        let states = log.states_after(after, ends, View::Full, |_| true);
        states.iter().map(|state| state.offset).collect::<Vec<_>>()
    };
    assert_eq!((states(2, u64::MAX), states(3, u64::MAX)), (vec![3], vec![]));
    assert_eq!((states(3, 3), states(3, 4), states(4, 0)), (vec![4, 5], vec![5], vec![5]));
    let first_state = |after, ends| log.first_state_after(after, ends, |_| true);
    assert_eq!([2, 3].map(|after| first_state(after, u64::MAX)), [Some(3), None]);
    assert_eq!([3, 4].map(|ends| first_state(3, ends)), [Some(4), Some(5)]);
    assert_eq!(first_state(5, 0), None);
    let first_end = |after| log.first_end_after(after, |_| true);
    assert_eq!([0, 4, 5].map(first_end), [Some(4), Some(5), None]);
    assert_eq!(log.first_end_after(0, |channel| channel.as_str() == "x.b"), Some(5));
    let Changes { changed, ended, .. } = log.changes_after(4);
    assert_eq!((changed, ended), (vec![(channel("x.b"), 5, ChannelKind::State)], vec![(channel("x.b"), 5)]));
    let Changes { changed, ended, .. } = log.changes_after(5);
    assert!(changed.is_empty() && ended.is_empty());
    assert_eq!(log.sizes().channels, log.channels().len() - 1, "all but the snapshot, and no ended one");
}

#[test]
fn the_snapshot_is_among_the_changed_states_if_its_view_changed() {
    let (mut writer, log) = Log::create(small());
    let value = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    writer.append(vec![value("metrics.a")], Timestamp::UNIX_EPOCH);
    let states = |after, view| {
        let states = log.states_after(after, 0, view, |_| true);
        states.iter().map(|state| state.offset).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2].map(|after| states(after, View::Full)), [vec![1, 2], vec![2], vec![]]);
    writer.append(vec![value("metrics.business")], Timestamp::UNIX_EPOCH);
    assert_eq!((states(2, View::Full), states(2, View::WithoutBusiness)), (vec![3, 4], vec![3]));
    assert!(log.states_after(2, 0, View::Full, |channel| channel.as_str() == "other").is_empty());
}

#[test]
fn a_built_in_channel_without_a_value_has_not_ended() {
    let (mut writer, log) = Log::create(small());
    let value = Change::state(channel("live"), Bytes::from_static(b"{}"));
    writer.append(vec![value], Timestamp::UNIX_EPOCH);
    writer.append(["a", "b", "c", "d"].map(end).into(), Timestamp::UNIX_EPOCH);
    let discarded = log.discarded_ends();
    assert!(discarded > 0);
    let may_have_ended = |name, offset| log.may_have_discarded_end(&Selector::parse(name).unwrap(), offset);
    for (name, expected) in [("metrics.api", false), ("live", false), ("d", false), ("a", true), ("a.*", true)] {
        assert_eq!(may_have_ended(name, discarded - 1), expected, "{name}");
        assert!(!may_have_ended(name, discarded), "{name}");
    }
}

#[test]
fn a_log_is_unused_until_a_client_writes() {
    let (mut writer, log) = Log::create(small());
    let value = |name: &str| Change::state(channel(name), Bytes::from_static(b"{}"));
    let event = |name: &str| Change::event(channel(name), EventName::parse("x").unwrap(), Bytes::from_static(b"{}"));
    assert!(log.is_unused(Timestamp::UNIX_EPOCH));
    writer.append(vec![value("metrics.api"), event("system")], Timestamp::UNIX_EPOCH);
    assert!(log.is_unused(Timestamp::UNIX_EPOCH), "the server publishes these itself");
    writer.append(vec![value("metrics.a")], Timestamp::UNIX_EPOCH);
    assert!(!log.is_unused(Timestamp::UNIX_EPOCH));
    writer.append(vec![end("metrics.a")], Timestamp::UNIX_EPOCH);
    assert!(log.is_unused(Timestamp::UNIX_EPOCH), "it has ended");
    let later = Timestamp::from_second(10).unwrap();
    writer.append(vec![event("orders")], later);
    writer.append(vec![event("system")], Timestamp::from_second(20).unwrap());
    assert!(!log.is_unused(Timestamp::UNIX_EPOCH));
    assert!(log.is_unused(later), "an event of the server's own channels is in the store");
    writer.append(vec![event("deploys")], later);
    assert!(!log.is_unused(Timestamp::MAX), "one of a client is not");
}

#[test]
fn times_of_another_copy_are_taken_for_the_same_value_only() {
    let second = |second| Timestamp::from_second(second).unwrap();
    let ((mut one, log), (mut other, copy)) = (Log::create(small()), Log::create(small()));
    one.append(["a", "b"].map(|name| Change::state(channel(name), Bytes::from_static(b"{}"))).into(), second(10));
    other.replace(log.export());
    one.confirm(&[channel("a"), channel("b")], &[], second(20));
    other.append(vec![Change::state(channel("b"), Bytes::from_static(br#"{"n":1}"#))], second(15));
    other.set_times(log.export().states);
    let written = |name| copy.state(&channel(name), View::Full).unwrap().last_written();
    assert_eq!((written("a"), written("b")), (second(20), second(15)));
}

#[test]
fn only_values_are_exported_with_times() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((0, 1)), change((1, 1)), change((2, 1))], Timestamp::UNIX_EPOCH);
    writer.append(vec![end("entity.b")], Timestamp::UNIX_EPOCH);
    let StoredLog { states, events, .. } = log.export();
    let with_times: Vec<_> = states.iter().chain(&events).filter(|stored| stored.times.is_some()).collect();
    assert_eq!(with_times.iter().map(|stored| stored.change.channel.as_str()).collect::<Vec<_>>(), ["metrics.a"]);
}

#[test]
fn a_value_of_another_log_replaces_one_with_the_same_offset() {
    let (mut writer, log) = Log::create(small());
    writer.append(vec![change((1, 1))], Timestamp::UNIX_EPOCH);
    let mut next = log.export();
    next.states[0].change.data = Bytes::from_static(br#"{"n":2}"#);
    writer.replace(StoredLog { epoch: Epoch::random(), ..next });
    let state = log.state(&channel("entity.b"), View::Full).unwrap();
    assert_eq!((&state.data[..], &state.epoch), (&br#"{"n":2}"#[..], &log.epoch()));
}
