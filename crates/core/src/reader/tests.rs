//! Invariants of a reader, compared with a model, with a clock that moves only on request.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::{sync::watch, task::LocalSet};

use super::{collect::SLACK, *};
use crate::{
    channel::EventName,
    log::{Change, Log, LogConfig, LogWriter},
    resume::{Resume, resume},
    settings::Size,
};

/// Two event channels and two states; the second state belongs to the snapshot as well.
const EVENTS: [&str; 2] = ["orders", "shop.deploys"];
const STATES: [&str; 2] = ["shop.load", "metrics.load"];

#[derive(Clone, Debug)]
enum Step {
    Event(usize),
    State(usize),
    /// Let this many milliseconds pass.
    Wait(u64),
    /// Collect with this budget.
    Collect(usize),
    /// Collect before the hub has processed the last publications.
    CollectAtOnce(usize),
    Pause(usize),
    Resume(usize),
    /// Subscribe again with the same selector.
    Again(usize),
    /// Cut the connection after this many deliveries of a write with this budget; another one resumes from the last cursor.
    Cut(CatchUp, usize, usize),
    /// End the subscription of a state, and keep its value for the cutover of the next one.
    Cutover(usize),
    /// Start it again, with that value.
    Begin(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2usize).prop_map(Step::Event),
        4 => (0..2usize).prop_map(Step::State),
        3 => (0..150u64).prop_map(Step::Wait),
        6 => budget().prop_map(Step::Collect),
        2 => budget().prop_map(Step::CollectAtOnce),
        1 => (0..4usize).prop_map(Step::Pause),
        2 => (0..4usize).prop_map(Step::Resume),
        1 => (0..4usize).prop_map(Step::Again),
        2 => (order(), 1..6usize, budget()).prop_map(|(order, kept, budget)| Step::Cut(order, kept, budget)),
        1 => (0..2usize).prop_map(Step::Cutover),
        3 => (0..2usize).prop_map(Step::Begin),
    ];
    prop::collection::vec(step, 1..120)
}

fn budget() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0..2_000usize]
}

fn order() -> impl Strategy<Value = CatchUp> {
    prop_oneof![Just(CatchUp::StatesFirst), Just(CatchUp::EventsFirst)]
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn selector(number: usize) -> Selector {
    Selector::Exact(channel(if number < 2 { EVENTS[number] } else { STATES[number - 2] }))
}

/// Data that the client has received, over all its connections.
struct Client {
    /// Number of deliveries that still arrive before the connection is cut.
    room: usize,
    /// Whether received events may be repeated: the connection was cut during the replay of a resumed channel.
    again: bool,
    events: BTreeMap<Channel, Vec<u64>>,
    states: BTreeMap<Channel, (u64, Instant)>,
    intervals: BTreeMap<Channel, Duration>,
    /// Whether a value may come before the interval: the subscription or a resume has just requested it.
    asked: BTreeMap<Channel, bool>,
    cursor: Option<Position>,
    /// Whether a resumed channel may go back to missed data.
    resumed: bool,
    /// Offset that the last gap covers.
    gap: u64,
    /// Required next version of a state.
    first: BTreeMap<Channel, u64>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            room: usize::MAX,
            again: false,
            events: BTreeMap::new(),
            states: BTreeMap::new(),
            intervals: BTreeMap::new(),
            asked: BTreeMap::new(),
            cursor: None,
            resumed: false,
            gap: 0,
            first: BTreeMap::new(),
        }
    }
}

impl Client {
    /// Returns whether the next delivery arrives.
    fn is_there(&mut self) -> bool {
        let there = self.room > 0;
        self.room = self.room.saturating_sub(1);
        there
    }
}

impl Sink for Client {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        if !self.is_there() {
            return;
        }
        let channel = publication.channel.clone();
        if publication.event.is_some() {
            let seen = self.events.entry(channel).or_default();
            if !(self.again && seen.contains(&publication.offset)) {
                assert!(seen.last().is_none_or(|last| *last < publication.offset), "twice or out of order");
                seen.push(publication.offset);
            }
        } else {
            if let Some(first) = self.first.remove(&channel) {
                assert_eq!(publication.offset, first, "the value of the cutover comes first");
            }
            let now = Instant::now();
            let asked = self.asked.insert(channel.clone(), false).unwrap_or(true);
            if let Some((before, at)) = self.states.insert(channel.clone(), (publication.offset, now)) {
                assert!(before <= publication.offset, "the state went back");
                let interval = self.intervals.get(&channel).copied().unwrap_or_default();
                assert!(asked || now - at + SLACK >= interval, "{channel} after {:?} of {interval:?}", now - at);
            }
        }
        let cursor = cursor.unwrap_or_else(|| publication.own_cursor());
        let forward = self.cursor.as_ref().is_none_or(|before| before.offset <= cursor.offset);
        assert!(forward || self.resumed, "the cursor went back");
        self.cursor = Some(cursor);
    }

    fn gap(&mut self, channels: &[Selector], cursor: Position) {
        assert!(!channels.is_empty());
        if !self.is_there() {
            return;
        }
        self.asked.values_mut().for_each(|asked| *asked = true);
        self.gap = self.gap.max(cursor.offset);
        self.cursor = Some(cursor);
    }
}

struct World {
    writer: LogWriter,
    hub: Rc<Hub>,
    client: Client,
    paused: [bool; 4],
    /// States that are not subscribed at the moment.
    cutovers: [Option<Vec<Arc<Publication>>>; 2],
    /// Whether nothing was delivered since one of them was started again.
    has_restarted: bool,
    /// Whether a resumed channel has not caught up yet.
    settling: bool,
    /// Offsets of all events, per channel.
    truth: BTreeMap<Channel, Vec<u64>>,
    counter: u64,
}

impl World {
    fn publish(&mut self, name: &str, event: bool) {
        self.counter += 1;
        let data = Bytes::from(format!("{{\"n\":{}}}", self.counter));
        let event = event.then(|| EventName::parse("happened").unwrap());
        let is_event = event.is_some();
        let change = Change { channel: channel(name), event, gone: None, data };
        let position = self.writer.append(vec![change], Timestamp::UNIX_EPOCH);
        if is_event {
            self.truth.entry(channel(name)).or_default().push(position.offset);
        }
    }

    /// Checks that the client's cursor covers only received data.
    fn check_cursor(&self, collected: Collected) {
        let Some(cursor) = &self.client.cursor else { return };
        let away = self.has_restarted || self.cutovers.iter().any(Option::is_some);
        if away || self.settling || self.paused.iter().any(|paused| *paused) {
            // A cursor does not wait for data that its holder had paused.
            return;
        }
        for (channel, all) in &self.truth {
            let claimed = all.iter().filter(|offset| **offset <= cursor.offset && **offset > self.client.gap);
            let seen = self.client.events.get(channel).map_or(&[][..], |seen| seen);
            for offset in claimed {
                assert!(seen.contains(offset), "{cursor} claims event {offset} of {channel}, {collected:?}");
            }
        }
        for name in STATES {
            let Some(latest) = self.writer.log().state(&channel(name), View::Full) else { continue };
            let received = self.client.states.get(&channel(name)).map_or(0, |(offset, _)| *offset);
            assert!(
                latest.offset > cursor.state || received == latest.offset,
                "{cursor} claims {latest:?}, received was {received}"
            );
        }
    }
}

fn open(world: &mut World, order: CatchUp, intervals: &[Duration; 2]) -> Reader {
    let mut reader = Reader::open(&world.hub, order);
    let selectors: Vec<Selector> = (0..4).map(selector).collect();
    let cursor = world.client.cursor.as_ref().map(Position::to_string);
    let resumed = cursor.map(|cursor| resume(world.writer.log(), &cursor, &selectors));
    for (number, selector) in selectors.into_iter().enumerate() {
        let interval = if number < 2 { Duration::ZERO } else { intervals[number - 2] };
        match &resumed {
            Some((Resume::Replay(_), position)) if order == CatchUp::EventsFirst => {
                reader.resume_from(selector, interval, position);
            }
            Some((_, position)) => reader.subscribe(selector, interval, Some(position)),
            None => reader.subscribe(selector, interval, None),
        }
    }
    world.client.resumed = false;
    world.client.asked = STATES.iter().map(|name| (channel(name), true)).collect();
    world.client.first.clear();
    (world.paused, world.settling) = ([false; 4], false);
    (world.cutovers, world.has_restarted) = ([None, None], false);
    reader
}

/// Subscribes a state again.
fn begin(world: &mut World, reader: &mut Reader, which: usize, intervals: &[Duration; 2]) {
    let Some(states) = world.cutovers[which].take() else { return };
    let name = channel(STATES[which]);
    world.client.asked.insert(name.clone(), true);
    world.client.first.extend(states.first().map(|state| (name, state.offset)));
    reader.subscribe_with(selector(which + 2), intervals[which], None, states);
    world.has_restarted = true;
}

async fn play(steps: Vec<Step>, intervals: [Duration; 2], ring: usize) {
    let (writer, log) =
        Log::create(LogConfig { events: ring, bytes: Size(usize::MAX), ends: 10, ..LogConfig::default() });
    let hub = Hub::new(Arc::clone(&log));
    let (_drain, draining) = watch::channel(false);
    tokio::task::spawn_local(Rc::clone(&hub).run(draining));
    let intervals_by_channel = STATES.iter().map(|name| channel(name)).zip(intervals).collect();
    let client = Client { intervals: intervals_by_channel, cursor: Some(log.position()), ..Client::default() };
    let (paused, cutovers, truth) = ([false; 4], [None, None], BTreeMap::new());
    let mut world =
        World { writer, hub, client, paused, cutovers, has_restarted: false, settling: false, truth, counter: 0 };
    let mut reader = open(&mut world, CatchUp::StatesFirst, &intervals);
    for step in steps {
        match step {
            Step::Event(which) => world.publish(EVENTS[which], true),
            Step::State(which) => world.publish(STATES[which], false),
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Collect(budget) | Step::CollectAtOnce(budget) => {
                if matches!(step, Step::Collect(_)) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let collected = reader.collect(budget, &mut world.client);
                world.settling &= collected.more;
                world.client.resumed &= collected.more;
                world.has_restarted &= collected.delivered == 0;
                world.check_cursor(collected);
            }
            Step::Cutover(which) => {
                if world.cutovers[which].is_none() && !world.paused[which + 2] {
                    assert!(reader.unsubscribe(&selector(which + 2)));
                    world.client.first.remove(&channel(STATES[which]));
                    world.cutovers[which] = Some(log.state(&channel(STATES[which]), View::Full).into_iter().collect());
                }
            }
            Step::Begin(which) => begin(&mut world, &mut reader, which, &intervals),
            Step::Pause(which) | Step::Resume(which) if which >= 2 && world.cutovers[which - 2].is_some() => {}
            Step::Pause(which) => {
                assert!(reader.pause(&selector(which)));
                world.paused[which] = true;
            }
            Step::Resume(which) => {
                assert!(reader.resume(&selector(which)));
                world.paused[which] = false;
                (world.settling, world.client.resumed) = (true, true);
                if which >= 2 {
                    world.client.first.remove(&channel(STATES[which - 2]));
                    world.client.asked.insert(channel(STATES[which - 2]), true);
                }
            }
            Step::Again(which) if world.paused[which] || (which >= 2 && world.cutovers[which - 2].is_some()) => {}
            Step::Again(which) => {
                let interval = if which < 2 { Duration::ZERO } else { intervals[which - 2] };
                if which >= 2 {
                    world.client.first.remove(&channel(STATES[which - 2]));
                    world.client.asked.insert(channel(STATES[which - 2]), true);
                }
                reader.subscribe(selector(which), interval, None);
            }
            Step::Cut(order, kept, budget) => {
                // Missed data of a paused channel concern the connection that paused it: its cursor accounts for them
                // from the first delivery on.
                world.client.again |= world.settling || world.paused.iter().any(|paused| *paused);
                (0..2).for_each(|which| begin(&mut world, &mut reader, which, &intervals));
                world.client.first.clear();
                (0..4).filter(|which| world.paused[*which]).for_each(|which| assert!(reader.resume(&selector(which))));
                world.client.asked.values_mut().for_each(|asked| *asked = true);
                (world.client.resumed, world.client.room) = (true, kept);
                while world.client.room > 0 && reader.collect(budget, &mut world.client).delivered > 0 {}
                world.client.room = usize::MAX;
                drop(reader);
                reader = open(&mut world, order, &intervals);
            }
        }
    }
    // Writing stops and no subscription is paused; one interval later the client has everything.
    (0..2).for_each(|which| begin(&mut world, &mut reader, which, &intervals));
    world.client.first.clear();
    (0..4).for_each(|which| assert!(reader.resume(&selector(which))));
    world.client.asked.values_mut().for_each(|asked| *asked = true);
    world.client.resumed = true;
    (world.paused, world.settling) = ([false; 4], false);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        while reader.collect(500, &mut world.client).more {}
    }
    world.check_cursor(Collected::default());
    for (channel, all) in &world.truth {
        let seen = world.client.events.get(channel).cloned().unwrap_or_default();
        let missing: Vec<_> = all.iter().filter(|offset| !seen.contains(offset)).collect();
        assert!(missing.iter().all(|offset| **offset <= world.client.gap), "{channel}: {missing:?} silently lost");
        if ring > 1_000 {
            assert_eq!((&seen, world.client.gap), (all, 0), "{channel}");
        }
    }
    for name in STATES {
        if let Some(latest) = log.state(&channel(name), View::Full) {
            let received = world.client.states.get(&channel(name)).map(|(offset, _)| *offset);
            assert_eq!(received, Some(latest.offset), "{name} is not the newest");
        }
    }
    let events = log.sizes().events;
    assert!(events <= ring, "the ring is bounded");
}

fn run(steps: Vec<Step>, intervals: [u64; 2], ring: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let intervals = intervals.map(Duration::from_millis);
    LocalSet::new().block_on(&runtime, play(steps, intervals, ring));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_once_and_in_order_and_the_newest_state_at_last(
        steps in steps(), intervals in [0..300u64, 0..300u64],
    ) {
        run(steps, intervals, 100_000);
    }

    #[test]
    fn dropped_events_are_a_gap(steps in steps(), intervals in [0..300u64, 0..300u64], ring in 1..6usize) {
        run(steps, intervals, ring);
    }
}

#[test]
fn an_idle_topic_costs_nothing_and_a_closed_reader_leaves_no_state() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut writer, log) = Log::create(LogConfig::default());
        let hub = Hub::new(Arc::clone(&log));
        let readers: Vec<Reader> = (0..1_000)
            .map(|_| {
                let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
                reader.subscribe(selector(2), Duration::ZERO, None);
                reader.subscribe(Selector::parse("shop.*").unwrap(), Duration::from_secs(5), None);
                reader.collect(usize::MAX, &mut Client::default());
                reader
            })
            .collect();
        let change = Change { channel: channel("other"), event: None, gone: None, data: Bytes::from_static(b"{}") };
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
        hub.follow();
        assert!(readers.iter().all(|reader| !reader.has_due()));
        assert_eq!(hub.readers(), 1_000);
        drop(readers);
        assert_eq!((hub.readers(), hub.topics()), (0, 0));
    });
}

/// Returns a log with its hub.
fn world() -> (LogWriter, Rc<Hub>) {
    let (writer, log) = Log::create(LogConfig::default());
    (writer, Hub::new(log))
}

fn publish(writer: &mut LogWriter, name: &str, event: bool, bytes: usize) -> u64 {
    let data = Bytes::from(format!("{{\"x\":\"{}\"}}", "y".repeat(bytes)));
    let event = event.then(|| EventName::parse("happened").unwrap());
    let at = writer.append(vec![Change { channel: channel(name), event, gone: None, data }], Timestamp::UNIX_EPOCH);
    at.offset
}

/// Deliveries in order, with their cursors.
#[derive(Default)]
struct Received {
    offsets: Vec<u64>,
    cursors: Vec<Position>,
    gaps: usize,
    bytes: usize,
}

impl Sink for Received {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        self.offsets.push(publication.offset);
        self.cursors.push(cursor.unwrap_or_else(|| publication.own_cursor()));
        self.bytes += publication.weight();
    }

    fn gap(&mut self, _: &[Selector], cursor: Position) {
        self.gaps += 1;
        self.cursors.push(cursor);
    }
}

fn collect(reader: &mut Reader, budget: usize) -> Received {
    let mut received = Received::default();
    reader.collect(budget, &mut received);
    received
}

fn reader_of(hub: &Rc<Hub>, names: &[&str]) -> Reader {
    let mut reader = Reader::open(hub, CatchUp::StatesFirst);
    names.iter().for_each(|name| reader.subscribe(Selector::parse(name).unwrap(), Duration::ZERO, None));
    reader
}

#[test]
fn a_cursor_during_a_replay_stops_before_the_first_missed_event() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["shop.load", "shop.deploys", "orders"]);
    publish(&mut writer, "shop.load", false, 1);
    collect(&mut reader, usize::MAX);
    for name in ["shop.load", "shop.deploys"] {
        reader.pause(&Selector::parse(name).unwrap());
    }
    let missed = publish(&mut writer, "shop.deploys", true, 1);
    publish(&mut writer, "orders", true, 1);
    hub.follow();
    collect(&mut reader, usize::MAX);
    for name in ["shop.load", "shop.deploys"] {
        reader.resume(&Selector::parse(name).unwrap());
    }
    let received = collect(&mut reader, usize::MAX);
    assert_eq!(received.offsets[..2], [1, missed], "the state first");
    assert!(received.cursors[0].offset < missed, "{}", received.cursors[0]);
}

#[test]
fn a_cursor_covers_only_what_the_hub_has_processed() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["shop.load", "orders"]);
    collect(&mut reader, usize::MAX);
    publish(&mut writer, "shop.load", false, 1);
    hub.follow();
    let event = publish(&mut writer, "orders", true, 1);
    let newest = publish(&mut writer, "shop.load", false, 2);
    let received = collect(&mut reader, usize::MAX);
    assert_eq!(received.offsets, [newest], "read from the log itself");
    assert!(received.cursors[0].offset < event, "{}", received.cursors[0]);
    hub.follow();
    assert!(collect(&mut reader, usize::MAX).offsets.contains(&event));
}

#[test]
fn a_resume_that_is_cut_among_its_events_gets_its_states_at_the_next_one() {
    let (mut writer, hub) = world();
    let begin = writer.log().position();
    let state = publish(&mut writer, "shop.load", false, 1);
    let events = [(); 5].map(|()| publish(&mut writer, "orders", true, 1));
    let resume_from = |from: &Position| {
        let mut reader = Reader::open(&hub, CatchUp::EventsFirst);
        for name in ["shop.load", "orders"] {
            reader.resume_from(Selector::parse(name).unwrap(), Duration::ZERO, from);
        }
        reader
    };
    let first = collect(&mut resume_from(&begin), 1);
    assert_eq!((&first.offsets[..], first.cursors[0].state), (&events[..1], state - 1));
    let mut next = resume_from(first.cursors.last().unwrap());
    assert_eq!(collect(&mut next, usize::MAX).offsets, [&events[1..], &[state]].concat());
}

#[test]
fn all_states_follow_a_gap_whose_cursor_covers_none() {
    let (writer, log) = Log::create(LogConfig { events: 2, bytes: Size(usize::MAX), ends: 10, ..LogConfig::default() });
    let (mut writer, hub) = (writer, Hub::new(log));
    let mut reader = reader_of(&hub, &["shop.load", "wide.*", "orders"]);
    let states = ["shop.load", "wide.load"].map(|name| publish(&mut writer, name, false, 1));
    hub.follow();
    assert_eq!(collect(&mut reader, usize::MAX).offsets, states);
    let events = [(); 5].map(|()| publish(&mut writer, "orders", true, 1));
    hub.follow();
    let received = collect(&mut reader, usize::MAX);
    assert_eq!((received.gaps, &received.offsets), (1, &[&states[..], &events[3..]].concat()));
    assert_eq!(received.cursors[0].state, 0, "the gap covers no state");
    assert!(collect(&mut reader, usize::MAX).offsets.is_empty());
}

#[test]
fn subscribing_again_keeps_the_events_that_are_due() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["orders"]);
    collect(&mut reader, usize::MAX);
    let event = publish(&mut writer, "orders", true, 1);
    hub.follow();
    reader.subscribe(Selector::parse("orders").unwrap(), Duration::from_secs(1), None);
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [event]);
}

fn with_paused_time(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test());
}

#[test]
fn the_pace_of_a_slow_client_holds_for_one_that_follows_a_single_channel() {
    with_paused_time(async || {
        let (mut writer, hub) = world();
        let mut reader = reader_of(&hub, &["shop.load"]);
        reader.set_pace(Pace { interval: Duration::from_secs(5), events: true });
        let mut received = Vec::new();
        for _ in 0..10 {
            publish(&mut writer, "shop.load", false, 1);
            hub.follow();
            received.extend(collect(&mut reader, usize::MAX).offsets);
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        assert_eq!(received, [1, 10], "one at once, one after 5 s");
    });
}

#[test]
fn a_write_has_states_up_to_its_budget_each_with_its_newest_value() {
    const BUDGET: usize = 64 * 1024;
    for names in [vec!["wide.*"], (0..40).map(|n| ["wide.", &n.to_string()].concat().leak() as &str).collect()] {
        let (mut writer, hub) = world();
        for n in 0..40 {
            publish(&mut writer, &format!("wide.{n}"), false, 10_000);
        }
        let mut reader = reader_of(&hub, &names);
        let (mut received, mut writes) = (Vec::new(), 0);
        while reader.has_due() {
            let now = collect(&mut reader, BUDGET);
            assert!(now.bytes < BUDGET + 11_000, "{} bytes in one write", now.bytes);
            received.extend(now.offsets);
            if writes == 0 {
                // One that was delivered, and one that was not.
                for n in [0, 39] {
                    publish(&mut writer, &format!("wide.{n}"), false, 10_000);
                }
                hub.follow();
            }
            writes += 1;
            assert!(writes < 20, "the writes do not end");
        }
        assert!(writes > 5);
        assert_eq!(received, (1..=42).filter(|offset| *offset != 40).collect::<Vec<_>>());
    }
}

#[test]
fn refused_states_do_not_delay_later_ones() {
    let (mut writer, hub) = world();
    for n in 0..10 {
        publish(&mut writer, &format!("wide.{n}"), false, 1_000);
    }
    let mut reader = reader_of(&hub, &["wide.*"]);
    reader.set_filter(Some(Rc::new(|channel: &Channel| channel.as_str() == "wide.9")));
    let mut received = Vec::new();
    for _ in 0..20 {
        received.extend(collect(&mut reader, 1).offsets);
    }
    assert_eq!(received, [10]);
    assert!(!reader.has_due());
}

/// Many states below one prefix, and writes with room for few of them.
#[derive(Clone, Debug)]
enum WideStep {
    Publish(usize),
    Wait(u64),
    Collect(usize),
    Cut(CatchUp, usize, usize),
}

async fn play_wide(steps: Vec<WideStep>, interval: Duration) {
    let (mut writer, hub) = world();
    let log = Arc::clone(hub.log());
    let (_drain, draining) = watch::channel(false);
    tokio::task::spawn_local(Rc::clone(&hub).run(draining));
    let names: Vec<String> = (0..6).map(|n| format!("wide.{n}")).collect();
    let all_asked = || names.iter().map(|name| (channel(name), true)).collect::<BTreeMap<_, _>>();
    let selectors = ["wide.*", "wide.3"].map(|name| Selector::parse(name).unwrap());
    let intervals = names.iter().map(|name| (channel(name), interval)).collect();
    let mut client = Client { intervals, cursor: Some(log.position()), ..Client::default() };
    let open = |client: &mut Client, order| {
        let mut reader = Reader::open(&hub, order);
        let cursor = client.cursor.as_ref().unwrap().clone();
        for selector in selectors.clone() {
            match order {
                CatchUp::EventsFirst => reader.resume_from(selector, interval, &cursor),
                CatchUp::StatesFirst => reader.subscribe(selector, interval, Some(&cursor)),
            }
        }
        client.asked = all_asked();
        // A WebSocket starts with all states, regardless of its cursor.
        client.resumed = true;
        reader
    };
    let mut reader = open(&mut client, CatchUp::StatesFirst);
    let bytes = |which: usize| if which == 0 { 5_000 } else { 100 };
    let end = [WideStep::Wait(400), WideStep::Collect(usize::MAX), WideStep::Wait(400), WideStep::Collect(usize::MAX)];
    for step in steps.into_iter().chain(end) {
        match step {
            WideStep::Publish(which) => {
                publish(&mut writer, &names[which], false, bytes(which));
            }
            WideStep::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            WideStep::Collect(budget) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                reader.collect(budget, &mut client);
            }
            WideStep::Cut(order, kept, budget) => {
                client.room = kept;
                while client.room > 0 && reader.collect(budget, &mut client).delivered > 0 {}
                client.room = usize::MAX;
                drop(reader);
                reader = open(&mut client, order);
            }
        }
    }
    for name in &names {
        if let Some(latest) = log.state(&channel(name), View::Full) {
            assert_eq!(client.states.get(&channel(name)).map(|(offset, _)| *offset), Some(latest.offset), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_state_below_a_prefix_is_lost_or_too_early_with_small_writes(
        steps in prop::collection::vec(prop_oneof![
            6 => (0..6usize).prop_map(WideStep::Publish),
            2 => (0..150u64).prop_map(WideStep::Wait),
            4 => budget().prop_map(WideStep::Collect),
            1 => (order(), 1..6usize, budget()).prop_map(|(order, kept, budget)| WideStep::Cut(order, kept, budget)),
        ], 1..120),
        interval in prop_oneof![Just(0u64), 50..300u64],
    ) {
        with_paused_time(async || play_wide(steps, Duration::from_millis(interval)).await);
    }
}

#[test]
fn a_lasting_notice_is_delivered_to_later_readers_until_the_next_one() {
    let (writer, hub) = world();
    let notice = |name: &str, stands| {
        let event = EventName::parse(name).ok();
        let change = Change { channel: channel("system"), event, gone: None, data: Bytes::from_static(b"{}") };
        writer.log().notice(change, Timestamp::UNIX_EPOCH, "bus", stands);
        hub.follow();
    };
    let mut before = reader_of(&hub, &["system"]);
    collect(&mut before, usize::MAX);
    notice("degraded", true);
    let mut after = reader_of(&hub, &["orders"]);
    assert!(collect(&mut after, usize::MAX).offsets.is_empty());
    after.subscribe(Selector::parse("system").unwrap(), Duration::ZERO, None);
    for reader in [&mut before, &mut after, &mut reader_of(&hub, &["system"])] {
        assert_eq!(collect(reader, usize::MAX).offsets.len(), 1);
        assert!(collect(reader, usize::MAX).offsets.is_empty(), "once");
    }
    notice("recovered", false);
    assert_eq!(collect(&mut after, usize::MAX).offsets.len(), 1);
    assert!(collect(&mut reader_of(&hub, &["system"]), usize::MAX).offsets.is_empty());
}

#[test]
fn notices_of_two_conditions_are_in_force_independently_and_late_ones_are_for_later_readers_only() {
    let (writer, hub) = world();
    let change = || {
        let event = EventName::parse("degraded").ok();
        Change { channel: channel("system"), event, gone: None, data: Bytes::from_static(b"{}") }
    };
    let log = writer.log();
    let mut before = reader_of(&hub, &["system"]);
    collect(&mut before, usize::MAX);
    let later = || collect(&mut reader_of(&hub, &["system"]), usize::MAX).offsets.len();
    log.set_late_notice(Some(change()), Timestamp::UNIX_EPOCH, "store");
    hub.follow();
    assert_eq!((collect(&mut before, usize::MAX).offsets.len(), later()), (0, 1));
    log.notice(change(), Timestamp::UNIX_EPOCH, "bus", true);
    hub.follow();
    assert_eq!((collect(&mut before, usize::MAX).offsets.len(), later()), (1, 2));
    log.set_late_notice(None, Timestamp::UNIX_EPOCH, "store");
    assert_eq!(later(), 1);
    log.notice(change(), Timestamp::UNIX_EPOCH, "bus", false);
    assert_eq!(later(), 0);
}

/// Filter of channels only.
impl<F: Fn(&Channel) -> bool> Filter for F {
    fn allows_channel(&self, channel: &Channel) -> bool {
        self(channel)
    }

    fn allows_event(&self, _: &Publication) -> bool {
        true
    }
}

/// Offsets and values in the order of delivery.
#[derive(Default)]
struct Values(Vec<(u64, String)>);

impl Sink for Values {
    fn publication(&mut self, publication: &Arc<Publication>, _: Option<Position>) {
        self.0.push((publication.offset, String::from_utf8_lossy(&publication.data).into_owned()));
    }

    fn gap(&mut self, _: &[Selector], _: Position) {}
}

#[test]
fn a_restricted_reader_gets_only_the_versions_of_its_view() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let (mut writer, log) = Log::create(LogConfig::default());
    let hub = Hub::new(Arc::clone(&log));
    let open = |filter: Option<Rc<dyn Filter>>| {
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        reader.set_filter(filter);
        reader.subscribe(Selector::parse("metrics").unwrap(), Duration::ZERO, None);
        reader
    };
    let no_business: Rc<dyn Filter> = Rc::new(|channel: &Channel| channel.as_str() != "metrics.business");
    let (mut whole, mut first, mut second) = (open(None), open(Some(Rc::clone(&no_business))), open(Some(no_business)));
    let received = |reader: &mut Reader| {
        let mut values = Values::default();
        reader.collect(usize::MAX, &mut values);
        values.0
    };
    let mut append = |name: &str| {
        let change = Change { channel: channel(name), event: None, gone: None, data: Bytes::from_static(b"{\"n\":1}") };
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
    };
    for reader in [&mut whole, &mut first, &mut second] {
        assert!(received(reader).is_empty());
    }
    append("metrics.business");
    hub.follow();
    assert!(received(&mut first).is_empty(), "nothing in its view has changed");
    // The hub has not processed this yet; the whole snapshot is fetched nevertheless.
    append("metrics.a");
    assert_eq!(received(&mut whole)[0].0, 4);
    assert!(received(&mut second).is_empty());
    hub.follow();
    for reader in [&mut first, &mut second] {
        let values = received(reader);
        assert!(
            values.len() == 1 && values[0].0 == 4 && values[0].1.contains(r#""business":null,"custom":{"a""#),
            "{values:?}"
        );
    }
    append("metrics.business");
    hub.follow();
    assert!(received(&mut first).is_empty() && received(&mut second).is_empty());
    assert!(received(&mut whole)[0].1.contains(r#""business":{"n":1}"#));
    // Another token allows all of it.
    first.set_filter(None);
    first.reapply_filter();
    assert_eq!(received(&mut first)[0].0, 6);
}

#[test]
fn a_pending_snapshot_is_not_delivered_after_the_view_was_restricted() {
    let (mut writer, hub) = world();
    for name in ["metrics.business", "metrics.a"] {
        let change = Change::state(channel(name), Bytes::from_static(b"{\"revenue\":5}"));
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
    }
    hub.follow();
    let no_business: Rc<dyn Filter> = Rc::new(|channel: &Channel| channel.as_str() != "metrics.business");
    let given_after = |filter: Option<Rc<dyn Filter>>| {
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        let cutover = vec![hub.log().snapshot(View::Full)];
        reader.subscribe_with(Selector::parse("metrics").unwrap(), Duration::ZERO, None, cutover);
        reader.set_filter(filter);
        let mut values = Values::default();
        while reader.has_due() {
            reader.collect(usize::MAX, &mut values);
        }
        values.0
    };
    let less = given_after(Some(no_business));
    assert!(less.len() == 1 && less[0].1.contains("\"business\":null"), "{less:?}");
    let all = given_after(Some(Rc::new(|_: &Channel| true)));
    assert!(all.len() == 1 && all[0].1.contains("\"business\":{\"revenue\":5}"), "{all:?}");
}

#[test]
fn the_cursor_of_an_old_value_does_not_repeat_earlier_events() {
    let (mut writer, hub) = world();
    let state = publish(&mut writer, "shop.load", false, 1);
    let event = publish(&mut writer, "orders", true, 1);
    let received = collect(&mut reader_of(&hub, &["shop.load", "orders"]), usize::MAX);
    assert_eq!((&received.offsets[..], received.cursors[0].offset), (&[state][..], event));
    let mut single = reader_of(&hub, &["shop.load"]);
    let mut offset = state;
    for _ in 0..2 {
        let received = collect(&mut single, usize::MAX);
        assert_eq!(
            (&received.offsets[..], received.cursors[0].offset),
            (&[offset][..], offset),
            "its own offset is sufficient"
        );
        offset = publish(&mut writer, "shop.load", false, 2);
        hub.follow();
    }
}

#[test]
fn events_before_a_subscription_are_not_delivered_even_if_the_hub_lags() {
    let (mut writer, hub) = world();
    let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
    publish(&mut writer, "orders", true, 1);
    reader.subscribe(Selector::parse("orders").unwrap(), Duration::ZERO, None);
    hub.follow();
    assert!(collect(&mut reader, usize::MAX).offsets.is_empty());
    let next = publish(&mut writer, "orders", true, 1);
    hub.follow();
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [next]);
}

#[test]
fn a_channel_that_is_added_with_an_older_cursor_rewinds_the_cursor_of_the_connection() {
    let (mut writer, hub) = world();
    let begin = hub.log().position();
    let missed = publish(&mut writer, "shop.deploys", true, 1);
    publish(&mut writer, "orders", true, 1);
    let mut reader = reader_of(&hub, &["orders", "shop.load"]);
    let newest = publish(&mut writer, "orders", true, 1);
    hub.follow();
    collect(&mut reader, usize::MAX);
    let state = publish(&mut writer, "shop.load", false, 1);
    reader.subscribe(Selector::parse("shop.deploys").unwrap(), Duration::ZERO, Some(&begin));
    let received = collect(&mut reader, usize::MAX);
    assert_eq!(received.offsets, [state, missed], "the state first");
    assert!(received.cursors[0].offset < missed, "{:?}", received.cursors);
    assert!(received.cursors[1].offset >= newest, "and then the cursor is restored: {:?}", received.cursors);
}

#[test]
fn a_paused_channel_is_not_delivered_until_it_is_resumed() {
    let (mut writer, hub) = world();
    let selector = Selector::parse("shop.load").unwrap();
    let mut reader = reader_of(&hub, &["shop.load"]);
    reader.pause(&selector);
    publish(&mut writer, "shop.load", false, 1);
    let newest = publish(&mut writer, "shop.load", false, 2);
    hub.follow();
    assert!(collect(&mut reader, usize::MAX).offsets.is_empty());
    reader.resume(&selector);
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [newest]);
}

#[test]
fn the_value_of_a_cutover_comes_before_the_newest_one() {
    let (mut writer, hub) = world();
    let cutover = publish(&mut writer, "shop.load", false, 1);
    let value = hub.log().state(&channel("shop.load"), View::Full).unwrap();
    let newest = publish(&mut writer, "shop.load", false, 2);
    let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
    reader.subscribe_with(Selector::parse("shop.load").unwrap(), Duration::ZERO, None, vec![value]);
    let mut received = Vec::new();
    while reader.has_due() {
        received.extend(collect(&mut reader, usize::MAX).offsets);
    }
    assert_eq!(received, [cutover, newest]);
}

#[test]
fn conflated_versions_of_a_slow_client_are_counted() {
    let (mut writer, hub) = world();
    for other in [None, Some(Duration::ZERO), Some(Duration::from_secs(1))] {
        let mut reader = reader_of(&hub, &["shop.load"]);
        if let Some(interval) = other {
            reader.subscribe(Selector::parse("shop.other").unwrap(), interval, None);
        }
        collect(&mut reader, usize::MAX);
        for versions in [5, 1, 3] {
            for _ in 0..versions {
                publish(&mut writer, "shop.load", false, versions);
                hub.follow();
            }
            let collected = reader.collect(usize::MAX, &mut Received::default());
            assert_eq!((collected.delivered, collected.conflated), (1, versions as u64 - 1));
        }
    }
}

#[test]
fn a_notice_has_the_cursor_of_the_last_delivery() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["orders", "system"]);
    let event = publish(&mut writer, "orders", true, 1);
    let notice = Change {
        channel: channel("system"),
        event: EventName::parse("degraded").ok(),
        gone: None,
        data: Bytes::from_static(b"{}"),
    };
    hub.follow();
    collect(&mut reader, usize::MAX);
    hub.log().notice(notice, Timestamp::UNIX_EPOCH, "bus", false);
    hub.follow();
    let received = collect(&mut reader, usize::MAX);
    assert_eq!((received.cursors[0].offset, received.cursors[0].state), (event, 0));
}

#[test]
fn a_value_too_soon_after_a_late_one_follows_by_itself() {
    with_paused_time(async || {
        let (mut writer, hub) = world();
        let (_drain, draining) = watch::channel(false);
        tokio::task::spawn_local(Rc::clone(&hub).run(draining));
        let start = Instant::now();
        let at = async |ms| tokio::time::sleep_until(start + Duration::from_millis(ms)).await;
        publish(&mut writer, "shop.load", false, 1);
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        reader.subscribe(Selector::parse("shop.load").unwrap(), Duration::from_millis(100), None);
        assert_eq!(collect(&mut reader, usize::MAX).offsets, [1]);
        at(10).await;
        publish(&mut writer, "shop.load", false, 2);
        at(180).await;
        assert_eq!(collect(&mut reader, usize::MAX).offsets, [2], "the socket accepted it late");
        publish(&mut writer, "shop.load", false, 3);
        at(260).await;
        assert!(reader.has_due() && collect(&mut reader, usize::MAX).offsets.is_empty(), "too soon for this client");
        at(279).await;
        assert!(!reader.has_due());
        at(290).await;
        assert_eq!(collect(&mut reader, usize::MAX).offsets, [3]);
    });
}

#[test]
fn missed_events_come_after_the_states_or_before_them_and_later_ones_in_the_order_of_the_log() {
    for (order, expected) in [(CatchUp::StatesFirst, [2, 1, 3]), (CatchUp::EventsFirst, [1, 3, 2])] {
        let (mut writer, hub) = world();
        let begin = hub.log().position();
        let publish_three = |writer: &mut LogWriter| {
            [("orders", true), ("shop.load", false), ("orders", true)]
                .map(|(name, event)| publish(writer, name, event, 1))
        };
        publish_three(&mut writer);
        let mut reader = Reader::open(&hub, order);
        for name in ["orders", "shop.load"] {
            reader.resume_from(Selector::parse(name).unwrap(), Duration::ZERO, &begin);
        }
        assert_eq!(collect(&mut reader, usize::MAX).offsets, expected, "{order:?}");
        let later = publish_three(&mut writer);
        hub.follow();
        let received = collect(&mut reader, usize::MAX);
        assert_eq!(received.offsets, later, "{order:?}");
        assert_eq!(received.cursors.iter().map(|cursor| cursor.offset).collect::<Vec<_>>(), later);
    }
}

#[test]
fn the_rest_of_a_write_is_due_at_once_and_gaps_are_counted() {
    let (writer, log) = Log::create(LogConfig { events: 3, bytes: Size(usize::MAX), ends: 10, ..LogConfig::default() });
    let (mut writer, hub) = (writer, Hub::new(log));
    let mut reader = reader_of(&hub, &["orders"]);
    collect(&mut reader, usize::MAX);
    for n in 0..5 {
        publish(&mut writer, "orders", true, n);
    }
    hub.follow();
    for (delivered, gaps, more) in [(1, 1, true), (1, 0, true), (1, 0, false)] {
        assert!(reader.has_due());
        let collected = reader.collect(0, &mut Received::default());
        assert_eq!((collected.delivered, collected.gaps, collected.more), (delivered, gaps, more));
    }
    assert!(!reader.has_due());
}

#[test]
fn the_values_of_a_cutover_come_once_and_in_the_order_of_the_log() {
    let (mut writer, hub) = world();
    let states = ["wide.b", "wide.c", "wide.a"].map(|name| publish(&mut writer, name, false, 1));
    let mut cutover: Vec<_> = ["wide.a", "wide.b", "wide.c"]
        .iter()
        .map(|name| hub.log().state(&channel(name), View::Full).unwrap())
        .collect();
    cutover.reverse();
    let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
    reader.subscribe_with(Selector::parse("wide.*").unwrap(), Duration::ZERO, None, cutover);
    let mut received = Vec::new();
    for _ in 0..10 {
        received.extend(collect(&mut reader, 1).offsets);
    }
    assert_eq!(received, states);
    assert!(!reader.has_due());
}

#[test]
fn only_changed_states_of_a_prefix_are_delivered_again() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["wide.*"]);
    for names in [&["wide.a", "wide.b"][..], &["wide.c"], &["wide.a"]] {
        let offsets: Vec<_> = names.iter().map(|name| publish(&mut writer, name, false, 1)).collect();
        hub.follow();
        assert_eq!(collect(&mut reader, usize::MAX).offsets, offsets);
    }
}

#[test]
fn a_less_specific_subscription_delivers_states_that_an_ended_one_delayed() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["wide.*", "wide.a"]);
    let closer = Selector::parse("wide.a").unwrap();
    reader.pause(&closer);
    let held = publish(&mut writer, "wide.a", false, 1);
    let other = publish(&mut writer, "wide.b", false, 1);
    hub.follow();
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [other]);
    reader.unsubscribe(&closer);
    assert!(reader.has_due() && collect(&mut reader, usize::MAX).offsets.contains(&held));
}

#[test]
fn a_resumed_channel_delivers_its_newest_value_at_once_at_any_interval() {
    with_paused_time(async || {
        let (mut writer, hub) = world();
        publish(&mut writer, "shop.load", false, 1);
        let selector = Selector::parse("shop.load").unwrap();
        let mut reader = Reader::open(&hub, CatchUp::StatesFirst);
        reader.subscribe(selector.clone(), Duration::from_secs(60), None);
        assert_eq!(collect(&mut reader, usize::MAX).offsets, [1]);
        reader.pause(&selector);
        publish(&mut writer, "shop.load", false, 2);
        reader.resume(&selector);
        assert_eq!(collect(&mut reader, usize::MAX).offsets, [2]);
    });
}

#[test]
fn a_new_filter_makes_only_prefixes_and_the_snapshot_due_again() {
    let (mut writer, hub) = world();
    let mut reader = reader_of(&hub, &["shop.load", "metrics.*", "metrics", "orders"]);
    for (name, event) in [("shop.load", false), ("metrics.load", false), ("orders", true)] {
        publish(&mut writer, name, event, 1);
    }
    hub.follow();
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [1, 2, 3, 4]);
    reader.reapply_filter();
    assert_eq!(collect(&mut reader, usize::MAX).offsets, [2, 3], "the metric and the snapshot");
}

#[test]
fn a_reader_knows_its_subscriptions() {
    let (_writer, hub) = world();
    let mut reader = reader_of(&hub, &["shop.load", "orders"]);
    let [load, orders, other] = ["shop.load", "orders", "other"].map(|name| Selector::parse(name).unwrap());
    assert!(reader.is_subscribed(&load) && !reader.is_subscribed(&other));
    assert!(reader.unsubscribe(&load) && !reader.unsubscribe(&load));
    assert!(!reader.is_subscribed(&load));
    assert_eq!((reader.active(), reader.selectors().collect::<Vec<_>>()), (1, vec![&orders]));
}

#[test]
fn a_reader_waits_for_due_data_for_its_deadline_or_for_the_drain() {
    with_paused_time(async || {
        let (mut writer, hub) = world();
        let (drain, draining) = watch::channel(false);
        tokio::task::spawn_local(Rc::clone(&hub).run(draining));
        let mut reader = reader_of(&hub, &["shop.load"]);
        let seconds = Duration::from_secs;
        let mut waited = async |wait: u64, meanwhile: &mut dyn FnMut()| {
            collect(&mut reader, usize::MAX);
            let start = Instant::now();
            let act = async {
                tokio::time::sleep(seconds(5)).await;
                meanwhile();
            };
            tokio::join!(reader.changed(start + seconds(wait)), act);
            start.elapsed().as_secs()
        };
        assert_eq!(waited(20, &mut || _ = publish(&mut writer, "shop.load", false, 1)).await, 5);
        assert_eq!(waited(20, &mut || {}).await, 20);
        assert_eq!(waited(20, &mut || _ = drain.send(true)).await, 5);
    });
}

#[test]
fn a_collection_has_the_time_since_which_its_data_were_due() {
    with_paused_time(async || {
        let (mut writer, hub) = world();
        let mut reader = reader_of(&hub, &["shop.load", "orders"]);
        reader.collect(usize::MAX, &mut Received::default());
        for (name, event) in [("shop.load", false), ("orders", true)] {
            publish(&mut writer, name, event, 1);
            hub.follow();
            let since = Instant::now();
            tokio::time::sleep(Duration::from_secs(3)).await;
            publish(&mut writer, name, event, 2);
            hub.follow();
            assert_eq!(reader.collect(usize::MAX, &mut Received::default()).waiting_since, Some(since), "{name}");
            assert_eq!(reader.collect(usize::MAX, &mut Received::default()).waiting_since, None, "{name}");
        }
    });
}
