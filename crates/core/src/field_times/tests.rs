use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    channel::Channel,
    clock::Clock,
    decider::{AggregatorConfig, Decided, Decider, Saved},
    log::{ChannelTimes, Log, LogConfig, LogWriter, Origins, assign_offsets},
    reading::{Origin, Reading, Refusal, Restored},
    sample::Sample,
    settings::{Limits, Size},
    snapshot::View,
};

/// A decider and two logs that apply what it decides, at a time that the test sets.
struct Bench {
    decider: Decider,
    writers: Vec<LogWriter>,
    /// Time of the test in seconds since 1970.
    now: i64,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn host() -> Channel {
    Channel::parse("metrics.host").unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn whole(data: Value) -> Reading {
    Reading::value(host(), object(data))
}

fn merge(data: Value) -> Reading {
    Reading::Value { channel: host(), data: object(data), merge: true, ttl: None }
}

fn gauge(field: &str, value: f64) -> Reading {
    Reading::Sample(Box::new(Sample::parse(&format!("host.{field}"), "gauge", &value.into(), &Map::new()).unwrap()))
}

impl Bench {
    fn new() -> Self {
        Self::with(AggregatorConfig::default())
    }

    fn with(config: AggregatorConfig) -> Self {
        let decider = Decider::new(Clock::from_fn(|| at(1_000)), config);
        Self { decider, writers: vec![Log::create(LogConfig::default()).0], now: 1_000 }
    }

    fn log(&self) -> &Arc<Log> {
        self.writers[0].log()
    }

    fn push_at(&mut self, second: i64, reading: Reading) {
        self.now = second;
        assert_eq!(self.push(vec![reading]), [Ok(())]);
    }

    fn push(&mut self, readings: Vec<Reading>) -> Vec<Result<(), Refusal>> {
        self.decider.count_field_bytes(self.writers[0].log().field_bytes());
        let Decided { mut verdicts, changes, same, restored, parts, .. } =
            self.decider.decide_all([(Origin::Pushed, readings)]);
        let (now, chunks) = (at(self.now), assign_offsets(self.log().head(), changes));
        for writer in &mut self.writers {
            writer.confirm(&same, &parts, now);
            writer.apply_from(chunks.clone(), now, Origins { restored: &restored, parts: &parts });
        }
        verdicts.remove(0)
    }

    /// For each field whose times differ from those of the channel: seconds of its last write, and its pace in seconds.
    fn fields(&self) -> BTreeMap<String, (i64, Option<u64>)> {
        let fields = self.log().fields_of(&host()).into_iter();
        fields.map(|info| (info.field, (info.written.as_second(), info.pace_ms.map(|ms| ms / 1_000)))).collect()
    }

    fn channel(&self) -> (i64, Option<u64>) {
        let info = self.log().channels().into_iter().find(|info| info.channel == host()).unwrap();
        (info.written.unwrap().as_second(), info.pace_ms.map(|ms| ms / 1_000))
    }

    /// Adds a log that takes over what is kept of the first one.
    fn join(&mut self) {
        let (mut writer, _) = Log::create(LogConfig::default());
        let mut stored = self.log().export();
        for state in &mut stored.states {
            let times = serde_json::to_string(&state.times).unwrap();
            state.times = serde_json::from_str(&times).unwrap();
        }
        writer.replace(stored);
        self.writers.push(writer);
    }

    fn times(&self) -> Vec<HashMap<Channel, ChannelTimes>> {
        let states = |writer: &LogWriter| writer.log().export().states.into_iter();
        let times = |writer| states(writer).filter_map(|state| Some((state.change.channel, state.times?))).collect();
        self.writers.iter().map(times).collect()
    }
}

#[test]
fn a_source_that_stops_is_seen_while_another_one_writes_the_same_channel() {
    let mut bench = Bench::new();
    bench.push_at(1_000, merge(json!({"cpu": 1})));
    bench.push_at(1_000, merge(json!({"temp": 40})));
    for second in (1_010..=1_060).step_by(10) {
        bench.push_at(second, merge(json!({"cpu": second})));
        if second <= 1_020 {
            bench.push_at(second, merge(json!({"temp": 40})));
        }
    }
    assert_eq!(bench.channel(), (1_060, Some(10)));
    assert_eq!(bench.fields(), [("temp".to_owned(), (1_020, Some(10)))].into());
    bench.push_at(1_062, merge(json!({"temp": 41})));
    assert_eq!(bench.channel().0, 1_062);
    assert_eq!(bench.fields()["cpu"], (1_060, Some(10)));
    assert!(!bench.fields().contains_key("temp") || bench.fields()["temp"].0 == 1_062);
}

#[test]
fn a_channel_that_is_written_as_a_whole_keeps_no_times_of_fields() {
    let mut bench = Bench::new();
    for second in 1_000..1_010 {
        bench.push_at(second, whole(json!({"cpu": second / 3, "temp": 40})));
        // Naming all fields is writing the whole.
        bench.push_at(second, merge(json!({"cpu": second / 3, "temp": 41})));
    }
    assert_eq!((bench.log().field_bytes(), bench.fields()), (0, BTreeMap::new()));
}

#[test]
fn a_whole_value_writes_all_fields_and_the_pace_of_each_goes_on() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    bench.push_at(1_600, whole(json!({"cpu": 1, "temp": 40})));
    for second in 1_601..1_700 {
        bench.push_at(second, merge(json!({"cpu": 1})));
    }
    assert_eq!(bench.channel(), (1_699, Some(1)));
    assert_eq!(bench.fields(), [("temp".to_owned(), (1_600, Some(600)))].into(), "the same value, ten minutes apart");
    bench.push_at(2_200, whole(json!({"cpu": 2, "temp": 40})));
    assert_eq!((bench.channel().0, bench.fields()["temp"]), (2_200, (2_200, Some(600))));
}

#[test]
fn times_that_became_equal_again_are_dropped() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    bench.push_at(1_001, merge(json!({"cpu": 2})));
    assert!(bench.log().field_bytes() > 0);
    for second in 1_002..1_060 {
        bench.push_at(second, whole(json!({"cpu": 2, "temp": 40})));
    }
    assert_eq!(bench.log().field_bytes(), 0);
}

#[test]
fn a_new_field_has_no_pace_before_its_second_write() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1})));
    bench.push_at(1_005, merge(json!({"temp": 40})));
    assert_eq!(bench.channel(), (1_005, Some(5)));
    assert_eq!(bench.fields(), [("cpu".into(), (1_000, None)), ("temp".into(), (1_005, None))].into());
}

#[test]
fn null_in_a_merge_is_a_write_and_a_field_that_a_whole_value_leaves_out_is_gone() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40, "fan": 2})));
    bench.push_at(1_100, merge(json!({"temp": null})));
    bench.push_at(1_200, merge(json!({"cpu": 2})));
    assert_eq!(
        bench.fields().into_iter().map(|(name, (at, _))| (name, at)).collect::<Vec<_>>(),
        [("cpu".to_owned(), 1_200), ("fan".to_owned(), 1_000), ("temp".to_owned(), 1_100),]
    );
    bench.push_at(1_300, whole(json!({"cpu": 1, "fan": 2})));
    bench.push_at(1_400, merge(json!({"cpu": 3})));
    assert!(!bench.fields().contains_key("temp"));
    assert_eq!(bench.fields()["fan"].0, 1_300);
}

#[test]
fn the_end_of_a_channel_forgets_its_fields() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    bench.push_at(1_100, merge(json!({"cpu": 2})));
    assert!(bench.log().field_bytes() > 0);
    bench.push_at(1_200, Reading::End { channel: host() });
    assert_eq!((bench.log().field_bytes(), bench.fields()), (0, BTreeMap::new()));
    bench.push_at(1_300, merge(json!({"temp": 1})));
    bench.push_at(1_300, merge(json!({"cpu": 1})));
    assert_eq!(bench.channel(), (1_300, None));
    assert_eq!(bench.fields(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_series_is_written_by_its_samples_and_not_by_time() {
    let mut bench = Bench::new();
    bench.push_at(1_000, gauge("cpu", 1.0));
    bench.push_at(1_000, gauge("temp", 40.0));
    let before = bench.log().state(&host(), View::Full).unwrap().data.clone();
    // The window of the other one is empty by then: its numbers change in the same group.
    tokio::time::advance(Duration::from_secs(60)).await;
    bench.push_at(1_060, gauge("cpu", 1.0));
    let after = bench.log().state(&host(), View::Full).unwrap().data.clone();
    assert_ne!(before, after);
    assert_eq!(bench.channel().0, 1_060);
    assert_eq!(bench.fields()["temp"].0, 1_000);
}

#[test]
fn fields_of_a_restored_value_stay_restored_until_each_is_written() {
    let mut bench = Bench::new();
    let data = object(json!({"cpu": 1, "temp": 40}));
    bench.push(vec![Reading::Restored(vec![Restored { channel: host(), at: at(400), data }])]);
    bench.push_at(1_000, merge(json!({"cpu": 1})));
    let [temp] = &*bench.log().fields_of(&host()) else { panic!("one field") };
    assert_eq!((&*temp.field, temp.written, temp.pace_ms, temp.restored), ("temp", at(400), None, true));
    bench.push_at(1_010, merge(json!({"temp": 41})));
    assert!(bench.log().fields_of(&host()).iter().all(|field| !field.restored));
}

#[test]
fn too_many_fields_have_the_times_of_their_channel_until_it_is_written_as_a_whole() {
    let mut bench = Bench::new();
    let wide: Map<String, Value> = (0..=MOST_FIELDS).map(|n| (format!("f{n}"), json!(n))).collect();
    bench.push_at(1_000, whole(json!({"f0": 0, "other": 1})));
    bench.push_at(1_010, merge(json!({"f0": 1})));
    assert!(bench.fields().contains_key("other"));
    bench.push_at(1_020, merge(Value::Object(wide)));
    bench.push_at(1_030, merge(json!({"f0": 2})));
    assert_eq!(bench.fields(), BTreeMap::new());
    bench.push_at(1_040, whole(json!({"f0": 0, "other": 1})));
    bench.push_at(1_050, merge(json!({"f0": 1})));
    assert_eq!(bench.fields()["other"], (1_040, None));
    let long = "x".repeat(LONGEST_NAME + 1);
    bench.push_at(1_060, merge(json!({(long): 1})));
    assert_eq!(bench.fields(), BTreeMap::new());
}

#[test]
fn names_that_come_and_go_do_not_pile_up() {
    let mut bench = Bench::new();
    for n in 0..3 * MOST_FIELDS {
        bench.push_at(1_000, whole(json!({"a": 1, "b": n})));
        bench.push_at(1_000, merge(json!({(format!("f{n}")): n})));
    }
    let entry = LONGEST_NAME + ENTRY_BYTES;
    assert!(bench.log().field_bytes() <= size_of::<FieldTimes>() + MOST_FIELDS * entry);
}

#[test]
fn times_of_fields_count_in_the_budget_of_states() {
    let config = AggregatorConfig {
        limits: Limits { max_state: Size(2_000), ..Limits::default() },
        ..AggregatorConfig::default()
    };
    let mut bench = Bench::with(config);
    let data: Map<String, Value> = (0..20).map(|n| (format!("f{n}"), json!(n))).collect();
    bench.push_at(1_000, whole(Value::Object(data)));
    let verdicts = (0..20).map(|n| bench.push(vec![merge(json!({(format!("f{n}")): n + 1}))]).remove(0));
    let verdicts: Vec<_> = verdicts.collect();
    assert_eq!(verdicts[0], Ok(()));
    assert!(matches!(verdicts.last(), Some(Err(Refusal::StatesFull(2_000)))), "{verdicts:?}");
}

#[test]
fn a_log_that_takes_over_has_the_times_also_of_a_value_that_was_written_again() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    for second in [1_010, 1_020, 1_030] {
        bench.push_at(second, merge(json!({"cpu": 1})));
    }
    bench.join();
    bench.push_at(1_040, merge(json!({"cpu": 1})));
    let [one, other] = &*bench.times() else { panic!("two logs") };
    assert_eq!(one, other);
    assert_eq!(bench.fields()["temp"].0, 1_000);
    assert_eq!(bench.writers[1].log().fields_of(&host()), bench.log().fields_of(&host()));
    // A log whose values are the same takes the times alone.
    let stored = bench.log().export();
    bench.push_at(1_050, merge(json!({"cpu": 1})));
    bench.writers[1].set_times(stored.states);
    assert_eq!(bench.times()[1][&host()].channel.written_ms, 1_050_000, "never back");
}

#[test]
fn what_is_not_known_of_fields_is_not_shown() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    let mut stored = bench.log().export();
    stored.states.iter_mut().for_each(|state| state.times = None);
    let (mut writer, log) = Log::create(LogConfig::default());
    writer.replace(stored);
    bench.writers = vec![writer];
    bench.push_at(1_100, merge(json!({"cpu": 2})));
    assert_eq!(log.fields_of(&host()), [], "another node may know that the field was written since");
    bench.push_at(1_200, whole(json!({"cpu": 1, "temp": 40})));
    bench.push_at(1_300, merge(json!({"cpu": 2})));
    assert_eq!(bench.fields()["temp"].0, 1_200);
}

#[test]
fn a_decider_that_takes_over_goes_on_with_the_fields() {
    let mut bench = Bench::new();
    bench.push_at(1_000, whole(json!({"cpu": 1, "temp": 40})));
    bench.push_at(1_010, merge(json!({"cpu": 2})));
    let none = std::iter::empty::<Saved>();
    let clock = Clock::from_fn(|| at(1_000));
    bench.decider = Decider::take_over(clock, AggregatorConfig::default(), &Arc::clone(bench.log()), none);
    bench.push_at(1_020, merge(json!({"cpu": 2})));
    assert_eq!(bench.channel(), (1_020, Some(10)));
    assert_eq!(bench.fields()["temp"].0, 1_000);
}

#[derive(Clone, Debug)]
enum Step {
    Whole(BTreeMap<u8, u8>),
    Merge(BTreeMap<u8, u8>),
    End,
    Join,
}

fn step() -> impl Strategy<Value = Step> {
    let fields = || proptest::collection::btree_map(0u8..6, 0u8..2, 1..4);
    prop_oneof![
        2 => fields().prop_map(Step::Whole),
        8 => fields().prop_map(Step::Merge),
        1 => Just(Step::End),
        1 => Just(Step::Join),
    ]
}

proptest! {
    /// However a channel is written, each field is as old as its last write, and all copies of the log agree.
    #[test]
    fn every_field_is_as_old_as_its_last_write(
        steps in proptest::collection::vec((step(), 0i64..20), 1..60),
    ) {
        let mut bench = Bench::new();
        let mut model: Option<BTreeMap<String, i64>> = None;
        for (step, seconds) in steps {
            bench.now += seconds;
            let now = bench.now;
            let named = |fields: &BTreeMap<u8, u8>| -> Map<String, Value> {
                fields.iter().map(|(name, value)| (format!("f{name}"), json!(value))).collect()
            };
            let reading = match step {
                Step::Join => {
                    bench.join();
                    continue;
                }
                Step::End if model.is_none() => continue,
                Step::End => {
                    model = None;
                    Reading::End { channel: host() }
                }
                Step::Whole(fields) => {
                    model = Some(named(&fields).into_iter().map(|(name, _)| (name, now)).collect());
                    whole(Value::Object(named(&fields)))
                }
                Step::Merge(fields) => {
                    let model = model.get_or_insert_default();
                    model.extend(named(&fields).into_iter().map(|(name, _)| (name, now)));
                    merge(Value::Object(named(&fields)))
                }
            };
            bench.push_at(now, reading);
            let Some(model) = &model else {
                prop_assert_eq!(bench.log().field_bytes(), 0);
                continue;
            };
            let (channel, _) = bench.channel();
            prop_assert_eq!(channel, now);
            let shown = bench.fields();
            for (field, written) in model {
                prop_assert_eq!(shown.get(field).map_or(channel, |(at, _)| *at), *written, "{}", field);
            }
            prop_assert!(shown.keys().all(|field| model.contains_key(field)));
            let times = bench.times();
            prop_assert!(times.iter().all(|copy| *copy == times[0]));
        }
    }
}
