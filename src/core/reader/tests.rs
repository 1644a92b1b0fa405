//! The invariants of a reader, against a model, with a clock that stands still unless it is moved.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::{sync::watch, task::LocalSet};

use super::*;
use crate::core::{
    channel::EventName,
    log::{Change, Log, LogConfig, LogWriter},
    resume::{Resume, resume},
};

/// Two event channels and two states; the second state belongs to the snapshot as well.
const EVENTS: [&str; 2] = ["orders", "shop.deploys"];
const STATES: [&str; 2] = ["shop.load", "metrics.load"];

#[derive(Clone, Debug)]
enum Step {
    Event(usize),
    State(usize),
    /// Milliseconds.
    Wait(u64),
    /// Collect with this budget.
    Collect(usize),
    Pause(usize),
    Resume(usize),
    /// The connection is cut; another one goes on from the last cursor.
    Cut(CatchUp),
    /// A state's subscription ends, and its value is kept as the seam of the next one.
    Seam(usize),
    /// It begins again, with that value.
    Begin(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2usize).prop_map(Step::Event),
        4 => (0..2usize).prop_map(Step::State),
        3 => (0..150u64).prop_map(Step::Wait),
        6 => prop_oneof![Just(usize::MAX), 0..2_000usize].prop_map(Step::Collect),
        1 => (0..4usize).prop_map(Step::Pause),
        2 => (0..4usize).prop_map(Step::Resume),
        1 => prop_oneof![Just(CatchUp::StatesFirst), Just(CatchUp::EventsFirst)].prop_map(Step::Cut),
        1 => (0..2usize).prop_map(Step::Seam),
        3 => (0..2usize).prop_map(Step::Begin),
    ];
    prop::collection::vec(step, 1..120)
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn selector(number: usize) -> Selector {
    Selector::Exact(channel(if number < 2 { EVENTS[number] } else { STATES[number - 2] }))
}

/// What the client has been given, over all its connections.
#[derive(Default)]
struct Client {
    events: BTreeMap<Channel, Vec<u64>>,
    states: BTreeMap<Channel, (u64, Instant)>,
    intervals: BTreeMap<Channel, Duration>,
    /// A value may come sooner than the interval: the subscription or a resume has just asked for it.
    asked: BTreeMap<Channel, bool>,
    cursor: Option<Position>,
    /// A resumed channel may go back to what it missed.
    resumed: bool,
    /// The last gap covers everything up to here.
    gap: u64,
    /// The version of a state that has to be the next one.
    first: BTreeMap<Channel, u64>,
}

impl Sink for Client {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        let channel = publication.channel.clone();
        if publication.event.is_some() {
            let seen = self.events.entry(channel).or_default();
            assert!(seen.last().is_none_or(|last| *last < publication.offset), "twice or out of order");
            seen.push(publication.offset);
        } else {
            if let Some(first) = self.first.remove(&channel) {
                assert_eq!(publication.offset, first, "the value at the seam comes first");
            }
            let now = Instant::now();
            let asked = self.asked.insert(channel.clone(), false).unwrap_or(true);
            if let Some((before, at)) = self.states.insert(channel.clone(), (publication.offset, now)) {
                assert!(before <= publication.offset, "a state went back");
                let interval = self.intervals.get(&channel).copied().unwrap_or_default();
                assert!(asked || now - at + SLACK >= interval, "{channel} after {:?} of {interval:?}", now - at);
            }
        }
        let cursor = cursor.unwrap_or_else(|| publication.own_cursor());
        let forward = self.cursor.as_ref().is_none_or(|before| before.offset <= cursor.offset);
        assert!(forward || self.resumed, "a cursor went back");
        self.cursor = Some(cursor);
    }

    fn gap(&mut self, channels: &[Channel], cursor: Position) {
        assert!(!channels.is_empty());
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
    seams: [Option<Vec<Arc<Publication>>>; 2],
    /// Nothing was given since one of them began again.
    begun: bool,
    /// A resumed channel has not caught up yet.
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
        let change = Change { channel: channel(name), event, data };
        let position = self.writer.append(vec![change], Timestamp::UNIX_EPOCH);
        if is_event {
            self.truth.entry(channel(name)).or_default().push(position.offset);
        }
    }

    /// The cursor that the client holds claims no more than it was given.
    fn check_cursor(&self, collected: Collected) {
        let Some(cursor) = &self.client.cursor else { return };
        let away = self.begun || self.seams.iter().any(Option::is_some);
        if away || self.settling || self.paused.iter().any(|paused| *paused) {
            // A cursor does not wait for what its holder did not want for a while.
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
            let Some(latest) = self.writer.log().state(&channel(name)) else { continue };
            let given = self.client.states.get(&channel(name)).map_or(0, |(offset, _)| *offset);
            assert!(
                latest.offset > cursor.state || given == latest.offset,
                "{cursor} claims {latest:?}, given was {given}"
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
                reader.go_on(selector, interval, position);
            }
            Some((_, position)) => reader.subscribe(selector, interval, Some(position)),
            None => reader.subscribe(selector, interval, None),
        }
    }
    world.client.resumed = false;
    world.client.asked = STATES.iter().map(|name| (channel(name), true)).collect();
    world.client.first.clear();
    (world.paused, world.settling) = ([false; 4], false);
    (world.seams, world.begun) = ([None, None], false);
    reader
}

/// A state that is not subscribed is again.
fn begin(world: &mut World, reader: &mut Reader, which: usize, intervals: &[Duration; 2]) {
    let Some(states) = world.seams[which].take() else { return };
    let name = channel(STATES[which]);
    world.client.asked.insert(name.clone(), true);
    world.client.first.extend(states.first().map(|state| (name, state.offset)));
    reader.subscribe_with(selector(which + 2), intervals[which], None, states);
    world.begun = true;
}

async fn play(steps: Vec<Step>, intervals: [Duration; 2], ring: usize) {
    let (writer, log) = Log::create(LogConfig { events: ring, bytes: usize::MAX, ahead: 0 });
    let hub = Hub::new(Arc::clone(&log));
    let (_drain, draining) = watch::channel(false);
    tokio::task::spawn_local(Rc::clone(&hub).run(draining));
    let intervals_by_channel = STATES.iter().map(|name| channel(name)).zip(intervals).collect();
    let client = Client { intervals: intervals_by_channel, cursor: Some(log.position()), ..Client::default() };
    let (paused, seams, truth) = ([false; 4], [None, None], BTreeMap::new());
    let mut world = World { writer, hub, client, paused, seams, begun: false, settling: false, truth, counter: 0 };
    let mut reader = open(&mut world, CatchUp::StatesFirst, &intervals);
    for step in steps {
        match step {
            Step::Event(which) => world.publish(EVENTS[which], true),
            Step::State(which) => world.publish(STATES[which], false),
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Collect(budget) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let collected = reader.collect(budget, &mut world.client);
                world.settling &= collected.more;
                world.client.resumed &= collected.more;
                world.begun &= collected.delivered == 0;
                world.check_cursor(collected);
            }
            Step::Seam(which) => {
                if world.seams[which].is_none() && !world.paused[which + 2] {
                    assert!(reader.unsubscribe(&selector(which + 2)));
                    world.client.first.remove(&channel(STATES[which]));
                    world.seams[which] = Some(log.state(&channel(STATES[which])).into_iter().collect());
                }
            }
            Step::Begin(which) => begin(&mut world, &mut reader, which, &intervals),
            Step::Pause(which) | Step::Resume(which) if which >= 2 && world.seams[which - 2].is_some() => {}
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
            Step::Cut(order) => {
                (0..2).for_each(|which| begin(&mut world, &mut reader, which, &intervals));
                // What a paused channel did not get is the business of the connection that paused it.
                world.client.first.clear();
                (0..4).for_each(|which| assert!(reader.resume(&selector(which))));
                world.client.asked.values_mut().for_each(|asked| *asked = true);
                world.client.resumed = true;
                while reader.collect(usize::MAX, &mut world.client).delivered > 0 {}
                drop(reader);
                reader = open(&mut world, order, &intervals);
            }
        }
    }
    // Writing stops; nobody is away or paused; one interval later everything is there.
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
        if let Some(latest) = log.state(&channel(name)) {
            let given = world.client.states.get(&channel(name)).map(|(offset, _)| *offset);
            assert_eq!(given, Some(latest.offset), "{name} is not the newest");
        }
    }
    let (events, _, _) = log.sizes();
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
    fn what_falls_off_the_ring_is_told(steps in steps(), intervals in [0..300u64, 0..300u64], ring in 1..6usize) {
        run(steps, intervals, ring);
    }
}

#[test]
fn an_idle_topic_costs_a_publish_nothing_and_a_reader_leaves_nothing_behind() {
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
        let change = Change { channel: channel("other"), event: None, data: Bytes::from_static(b"{}") };
        writer.append(vec![change], Timestamp::UNIX_EPOCH);
        hub.follow();
        assert!(readers.iter().all(|reader| !reader.has_due()));
        assert_eq!(hub.readers(), 1_000);
        drop(readers);
        assert_eq!((hub.readers(), hub.topics()), (0, 0));
    });
}
