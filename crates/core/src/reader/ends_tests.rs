//! Ends of channels as readers see them, compared with a model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    channel::Gone,
    log::{Change, Log, LogConfig, LogWriter},
    resume::resume,
};

const NAMES: [&str; 6] = ["metrics.a", "metrics.b", "metrics.deep.c", "shop.a", "shop.b", "alone"];
const SELECTORS: [&str; 4] = ["metrics.*", "metrics.b", "shop.*", "alone"];

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    End(usize),
    Follow,
    Collect(usize),
    Pause(usize),
    Resume(usize),
    /// Subscribe again with the same selector.
    Again(usize),
    /// End a subscription and start it again: its knowledge is lost.
    Resubscribe(usize),
    /// Cut the connection after this many deliveries of a write with this budget; the next one resumes, as the same
    /// stream or as another one.
    Cut(usize, usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let budget = || prop_oneof![Just(usize::MAX), 0..1_500usize];
    let name = 0..NAMES.len();
    let selector = || 0..SELECTORS.len();
    let step = prop_oneof![
        5 => name.clone().prop_map(Step::Write),
        5 => name.prop_map(Step::End),
        3 => Just(Step::Follow),
        4 => budget().prop_map(Step::Collect),
        1 => selector().prop_map(Step::Pause),
        2 => selector().prop_map(Step::Resume),
        1 => selector().prop_map(Step::Again),
        1 => selector().prop_map(Step::Resubscribe),
        2 => (1..6usize, budget(), any::<bool>()).prop_map(|(kept, budget, same)| Step::Cut(kept, budget, same)),
    ];
    prop::collection::vec(step, 1..120)
}

fn selector(number: usize) -> Selector {
    Selector::parse(SELECTORS[number]).unwrap()
}

/// Client that follows the protocol.
#[derive(Default)]
struct Client {
    room: usize,
    holds: BTreeMap<Channel, u64>,
    /// Ends delivered by this connection.
    delivered_ends: BTreeSet<u64>,
    /// Ends delivered by any connection.
    ends: BTreeSet<u64>,
    cursor: Option<Position>,
    gaps: usize,
}

impl Client {
    fn takes(&mut self) -> bool {
        self.room = self.room.saturating_sub(1);
        self.room > 0
    }
}

impl Sink for Client {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        if !self.takes() {
            return;
        }
        if publication.gone.is_some() {
            assert!(self.delivered_ends.insert(publication.offset), "an end is delivered once: {publication:?}");
            self.ends.insert(publication.offset);
            self.holds.remove(&publication.channel);
        } else {
            self.holds.insert(publication.channel.clone(), publication.offset);
        }
        self.cursor = Some(cursor.unwrap_or_else(|| publication.own_cursor()));
    }

    fn gap(&mut self, channels: &[Selector], cursor: Position) {
        if !self.takes() {
            return;
        }
        self.gaps += 1;
        self.holds.retain(|held, _| !channels.iter().any(|lost| lost.matches(held)));
        self.cursor = Some(cursor);
    }
}

struct World {
    writer: LogWriter,
    client: Client,
    intervals: [Duration; SELECTORS.len()],
}

impl World {
    fn change(&mut self, number: usize, change: impl Fn(Channel) -> Change) {
        let channel = Channel::parse(NAMES[number]).unwrap();
        self.writer.append(vec![change(channel)], Timestamp::UNIX_EPOCH);
    }

    fn is_live(&self, number: usize) -> bool {
        self.writer.log().kind(&Channel::parse(NAMES[number]).unwrap()).is_some()
    }

    fn open(&mut self, hub: &Rc<Hub>, same: bool) -> Reader {
        let mut reader = Reader::open(hub, CatchUp::StatesFirst);
        let selectors: Vec<_> = (0..SELECTORS.len()).map(selector).collect();
        let cursor = self.client.cursor.as_ref().map(Position::to_string);
        let position = cursor.map(|cursor| resume(self.writer.log(), &cursor, &selectors).1);
        for (selector, interval) in selectors.into_iter().zip(self.intervals) {
            match &position {
                Some(position) if same => reader.resume_from(selector, interval, position),
                position => reader.subscribe(selector, interval, position.as_ref()),
            }
        }
        self.client.delivered_ends.clear();
        reader
    }
}

async fn play(steps: Vec<Step>, kept: usize, intervals: [u64; SELECTORS.len()]) {
    let (writer, log) = Log::create(LogConfig { ends: kept, ..LogConfig::default() });
    let hub = Hub::new(Arc::clone(&log));
    let (_drain, draining) = tokio::sync::watch::channel(false);
    tokio::task::spawn_local(Rc::clone(&hub).run(draining));
    let client = Client { room: usize::MAX, cursor: Some(log.position()), ..Client::default() };
    let mut world = World { writer, client, intervals: intervals.map(Duration::from_millis) };
    let mut reader = world.open(&hub, false);
    let mut counter = 0;
    let mut ended = BTreeSet::new();
    for step in steps {
        match step {
            Step::Write(number) => {
                counter += 1;
                let data = Bytes::from(format!("{{\"n\":{counter},\"x\":\"{}\"}}", "y".repeat(200)));
                world.change(number, |channel| Change::state(channel, data.clone()));
            }
            Step::End(number) if world.is_live(number) => {
                world.change(number, |channel| Change::end(channel, Gone::Deleted));
                ended.extend(log.end_of(&Channel::parse(NAMES[number]).unwrap()).map(|end| end.offset));
            }
            Step::End(_) => {}
            Step::Follow => tokio::time::sleep(Duration::from_millis(40)).await,
            Step::Collect(budget) => _ = reader.collect(budget, &mut world.client),
            Step::Pause(number) => _ = reader.pause(&selector(number)),
            Step::Resume(number) => _ = reader.resume(&selector(number)),
            Step::Again(number) => {
                // Undelivered data of the more specific one come by the other, and later ones are repeated.
                world.client.delivered_ends.clear();
                reader.subscribe(selector(number), world.intervals[number], None);
            }
            Step::Resubscribe(number) => {
                world.client.delivered_ends.clear();
                reader.unsubscribe(&selector(number));
                let selected = selector(number);
                let decides = |held: &Channel| {
                    let all = (0..SELECTORS.len()).map(selector).filter(|selector| selector.matches(held));
                    all.max_by_key(Selector::specificity) == Some(selected.clone())
                };
                world.client.holds.retain(|held, _| !decides(held));
                reader.subscribe(selected.clone(), world.intervals[number], None);
            }
            Step::Cut(room, budget, same) => {
                // A cursor does not wait for paused subscriptions, but returns to what they missed with the next delivery.
                (0..SELECTORS.len()).for_each(|number| _ = reader.resume(&selector(number)));
                world.client.room = room + 1;
                while reader.collect(budget, &mut world.client).more && world.client.room > room {}
                world.client.room = usize::MAX;
                drop(reader);
                reader = world.open(&hub, same);
            }
        }
        assert!(log.sizes().ends <= kept);
    }
    for number in 0..SELECTORS.len() {
        reader.resume(&selector(number));
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        while reader.collect(700, &mut world.client).more {}
    }
    let live: BTreeMap<_, _> = log
        .channels()
        .into_iter()
        .filter(|info| NAMES.contains(&info.channel.as_str()))
        .map(|info| (info.channel, info.version))
        .collect();
    assert_eq!(world.client.holds, live);
    assert!(world.client.ends.is_subset(&ended));
    if kept > 1_000 {
        assert_eq!(world.client.gaps, 0, "every end is kept");
    }
}

fn run(steps: Vec<Step>, kept: usize, intervals: [u64; SELECTORS.len()]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, play(steps, kept, intervals));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_has_the_live_channels_and_gets_each_end_once(
        steps in steps(), intervals in [0..2u64, 0..200u64, 0..2u64, 0..200u64],
    ) {
        run(steps, 100_000, intervals);
    }

    #[test]
    fn discarded_ends_are_a_gap(
        steps in steps(), kept in 1..4usize, intervals in [0..2u64, 0..200u64, 0..200u64, 0..2u64],
    ) {
        run(steps, kept, intervals);
    }
}

fn log_of(names: &[&str], kept: usize) -> (LogWriter, Rc<Hub>) {
    let (mut writer, log) = Log::create(LogConfig { ends: kept, ..LogConfig::default() });
    let value = |name: &&str| Change::state(Channel::parse(name).unwrap(), Bytes::from_static(b"{}"));
    writer.append(names.iter().map(value).collect(), Timestamp::UNIX_EPOCH);
    (writer, Hub::new(log))
}

fn end(writer: &mut LogWriter, names: &[&str]) {
    let end = |name: &&str| Change::end(Channel::parse(name).unwrap(), Gone::Expired);
    writer.append(names.iter().map(end).collect(), Timestamp::UNIX_EPOCH);
}

fn follow(hub: &Rc<Hub>, names: &[&str], client: &mut Client) -> Reader {
    let mut reader = Reader::open(hub, CatchUp::StatesFirst);
    names.iter().for_each(|name| reader.subscribe(Selector::parse(name).unwrap(), Duration::ZERO, None));
    client.room = usize::MAX;
    reader.collect(usize::MAX, client);
    reader
}

#[test]
fn a_later_reader_does_not_get_the_end() {
    let (mut writer, hub) = log_of(&["shop.a", "shop.b"], 10);
    end(&mut writer, &["shop.a"]);
    let mut client = Client::default();
    follow(&hub, &["shop.*", "shop.a"], &mut client);
    assert_eq!((client.holds.len(), client.delivered_ends.len()), (1, 0));
}

#[test]
fn the_ends_of_others_are_no_gap_for_a_reader_that_is_open() {
    let (mut writer, hub) = log_of(&["shop.a", "shop.b", "else.1", "else.2", "else.3"], 1);
    let mut client = Client::default();
    let mut reader = follow(&hub, &["shop.*", "shop.b"], &mut client);
    for name in ["else.1", "else.2", "else.3", "shop.a", "shop.b"] {
        end(&mut writer, &[name]);
        hub.follow();
        reader.collect(usize::MAX, &mut client);
    }
    assert_eq!((client.holds.len(), client.delivered_ends.len(), client.gaps), (0, 2, 0));
}

#[test]
fn ends_discarded_before_a_worker_reads_them_are_a_gap_for_holders_of_a_value() {
    let (mut writer, hub) = log_of(&["shop.a", "shop.b", "shop.c", "other.d"], 1);
    let (mut one, mut many, mut not) = (Client::default(), Client::default(), Client::default());
    let mut readers = [
        follow(&hub, &["shop.a"], &mut one),
        follow(&hub, &["shop.*"], &mut many),
        follow(&hub, &["other.d"], &mut not),
    ];
    end(&mut writer, &["shop.a", "shop.b", "shop.c"]);
    hub.follow();
    for (reader, client) in readers.iter_mut().zip([&mut one, &mut many, &mut not]) {
        while reader.collect(usize::MAX, client).more {}
    }
    assert_eq!((one.gaps, one.holds.len()), (1, 0));
    assert_eq!((many.gaps, many.holds.len(), many.delivered_ends.len()), (1, 0, 1), "the last end is kept");
    assert_eq!((not.gaps, not.holds.len()), (0, 1), "its channel exists");
}
