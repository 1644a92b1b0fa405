//! Tests of the engine by example and by property; the time is an argument.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::alerts::NewRule;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn rule(condition: &Value, hold: &str) -> Rule {
    let rule = json!({"id": "r", "name": "R", "channel": "metrics.a", "field": "x", "condition": condition,
        "for": hold, "severity": "critical"});
    serde_json::from_value::<NewRule>(rule).unwrap().build(at(0)).unwrap()
}

/// Engine with one rule, and a store that accepts every decision.
struct Bench {
    engine: Engine,
    /// Log of raised (`+`) and resolved (`-`) alerts with their seconds.
    log: Vec<(char, i64)>,
}

impl Bench {
    fn new(condition: &Value, hold: &str) -> Self {
        let mut engine = Engine::new(vec![Target::Webhook]);
        engine.watch(rule(condition, hold), at(0));
        Self { engine, log: Vec::new() }
    }

    fn value(&mut self, second: i64, value: f64) {
        self.engine.observe("r", true, Some(value), at(second));
        self.tick(second);
    }

    fn tick(&mut self, second: i64) {
        self.engine.sample(at(second));
        self.engine.evaluate(at(second));
        for decision in self.engine.pending() {
            match decision {
                Decision::Raise(alert) => {
                    self.log.push(('+', alert.raised_at.as_second() - 1_800_000_000));
                    self.engine.set_open("r", Some(alert));
                }
                Decision::Resolve(_, when) => {
                    self.log.push(('-', when.as_second() - 1_800_000_000));
                    self.engine.set_open("r", None);
                }
            }
        }
    }

    fn log(&mut self) -> Vec<(char, i64)> {
        std::mem::take(&mut self.log)
    }
}

#[test]
fn an_alert_has_the_measured_value() {
    let mut bench = Bench::new(&json!({"above": 90}), "0s");
    bench.value(1, 90.0);
    assert_eq!(bench.log(), []);
    bench.value(2, 97.5);
    assert_eq!(bench.log(), [('+', 2)]);
    let alert = bench.engine.alert("r").unwrap();
    assert_eq!((alert.value, alert.threshold, &*alert.metric), (Some(97.5), 90.0, "metrics.a.x"));
    assert_eq!(alert.message, "R: metrics.a.x is 97.5, above 90");
    assert_eq!((alert.raised_at, &alert.targets[..]), (at(2), &[Target::Webhook][..]));
    bench.value(3, 120.0);
    bench.value(4, 90.0);
    assert_eq!(bench.log(), [('-', 4)]);
}

#[test]
fn an_alert_of_an_absence_has_no_value() {
    let mut bench = Bench::new(&json!({"absentFor": "10s"}), "0s");
    bench.value(1, 5.0);
    bench.tick(11);
    assert_eq!((bench.log(), bench.engine.alert("r").unwrap().value), (vec![('+', 11)], None));
}

#[test]
fn a_pause_counts_neither_as_absence_nor_as_a_write() {
    let still = SignedDuration::from_secs;
    let mut bench = Bench::new(&json!({"absentFor": "60s"}), "0s");
    bench.value(10, 1.0);
    bench.engine.skip_pause(still(440), at(480));
    bench.tick(480);
    bench.tick(509);
    assert_eq!(bench.log(), [], "absent for 59 s");
    bench.tick(510);
    assert_eq!(bench.log(), [('+', 510)]);
    bench.engine.skip_pause(still(1_000_000), at(900));
    bench.tick(900);
    bench.value(901, 1.0);
    assert_eq!(bench.log(), [('-', 901)]);

    let mut bench = Bench::new(&json!({"absentFor": "60s"}), "0s");
    bench.engine.skip_pause(still(440), at(480));
    bench.tick(499);
    assert_eq!(bench.log(), [], "never seen, and watched for 59 s");
    bench.tick(500);
    assert_eq!(bench.log(), [('+', 500)]);

    let mut bench = Bench::new(&json!({"above": 1}), "60s");
    bench.value(10, 2.0);
    bench.engine.skip_pause(still(100), at(120));
    bench.tick(169);
    assert_eq!(bench.log(), [], "it held for 59 s");
    bench.tick(170);
    assert_eq!(bench.log(), [('+', 170)]);
}

#[test]
fn between_limit_and_clear_no_alert_is_raised_or_resolved() {
    let mut bench = Bench::new(&json!({"above": 90, "clear": 80}), "0s");
    for (second, value) in [(1, 85.0), (2, 91.0), (3, 89.0), (4, 81.0), (5, 80.0), (6, 89.0), (7, 91.0)] {
        bench.value(second, value);
    }
    assert_eq!(bench.log(), [('+', 2), ('-', 5), ('+', 7)]);
}

#[test]
fn a_condition_has_to_hold_without_a_break() {
    let mut bench = Bench::new(&json!({"above": 90}), "10s");
    bench.value(0, 95.0);
    for second in 1..10 {
        bench.tick(second);
    }
    assert_eq!(bench.log(), []);
    bench.value(9, 85.0);
    bench.value(10, 95.0);
    for second in 11..20 {
        bench.tick(second);
    }
    assert_eq!(bench.log(), [], "the break counts");
    bench.tick(20);
    assert_eq!(bench.log(), [('+', 20)]);
    bench.value(21, 1.0);
    bench.value(22, 95.0);
    bench.tick(31);
    bench.tick(32);
    assert_eq!(bench.log(), [('-', 21), ('+', 32)], "the next takes as long");
}

#[test]
fn a_missing_value_neither_raises_nor_resolves() {
    let mut bench = Bench::new(&json!({"above": 90}), "5s");
    bench.value(0, 95.0);
    bench.engine.observe("r", false, None, at(3));
    bench.tick(3);
    bench.value(4, 95.0);
    bench.tick(8);
    assert_eq!(bench.log(), [], "the value was unknown for three seconds");
    bench.tick(9);
    bench.engine.observe("r", true, None, at(10));
    bench.tick(10);
    bench.tick(1_000);
    assert_eq!(bench.log(), [('+', 9)]);
}

#[test]
fn absence_counts_from_the_last_write() {
    let mut bench = Bench::new(&json!({"absentFor": "5m"}), "0s");
    bench.tick(299);
    assert_eq!(bench.log(), []);
    bench.tick(300);
    assert_eq!(bench.log(), [('+', 300)], "without a write it counts from the creation of the rule");
    let alert = bench.engine.alert("r").unwrap();
    assert_eq!((alert.value, alert.threshold), (None, 300.0));
    assert_eq!(alert.message, "R: metrics.a.x has not come for 5m");
    bench.value(400, 7.0);
    bench.tick(699);
    assert_eq!(bench.log(), [('-', 400)]);
    bench.engine.observe("r", true, Some(7.0), at(699));
    bench.tick(998);
    assert_eq!(bench.log(), [], "the same value again is a write");
    bench.tick(999);
    assert_eq!(bench.log(), [('+', 999)]);
}

#[test]
fn an_absence_ends_after_a_time_of_writes() {
    let mut bench = Bench::new(&json!({"absentFor": "1m", "clear": "2m"}), "0s");
    bench.tick(60);
    for second in (100..=220).step_by(30) {
        bench.value(second, 1.0);
    }
    assert_eq!(bench.log(), [('+', 60), ('-', 220)]);
    bench.tick(280);
    bench.value(300, 1.0);
    bench.tick(360);
    bench.value(400, 1.0);
    bench.value(450, 1.0);
    bench.value(500, 1.0);
    assert_eq!(bench.log(), [('+', 280)], "it was absent in between");
    bench.value(520, 1.0);
    assert_eq!(bench.log(), [('-', 520)]);
}

#[test]
fn a_restart_alone_neither_raises_nor_resolves() {
    for condition in
        [json!({"absentFor": "5m"}), json!({"above": 90}), json!({"dropsBelowRatio": 0.5, "comparedTo": "1h"})]
    {
        let mut engine = Engine::new(vec![]);
        engine.watch(rule(&condition, "0s"), at(10_000));
        let mut open = Bench::new(&condition, "0s").engine.watches.remove("r").unwrap().alert(at(0), None, &[]);
        open.message = "of before".into();
        engine.set_open("r", Some(open.clone()));
        let mut bench = Bench { engine, log: Vec::new() };
        for second in 10_000..10_299 {
            bench.tick(second);
        }
        assert_eq!((bench.log(), bench.engine.alert("r")), (vec![], Some(&open)), "{condition}");
    }
    let mut bench = Bench::new(&json!({"absentFor": "5m"}), "0s");
    bench.engine.observe("r", true, Some(1.0), at(-1_000));
    bench.tick(299);
    assert_eq!(bench.log(), [], "an old value does not count as a write");
}

#[test]
fn a_drop_needs_an_earlier_value() {
    let mut bench = Bench::new(&json!({"dropsBelowRatio": 0.5, "comparedTo": "1m", "clear": 0.8}), "0s");
    for second in 0..60 {
        bench.value(second, 100.0);
    }
    bench.value(59, 1.0);
    assert_eq!(bench.log(), [], "the value a minute ago is unknown");
    bench.value(60, 49.0);
    assert_eq!(bench.log(), [('+', 60)]);
    let alert = bench.engine.alert("r").unwrap();
    assert_eq!((alert.value, alert.threshold), (Some(49.0), 50.0));
    assert_eq!(alert.message, "R: metrics.a.x is 49, below 50, which is 0.5 of what it was 1m ago");
    for (second, value) in [(61, 79.0), (62, 80.0)] {
        bench.value(second, value);
    }
    assert_eq!(bench.log(), [('-', 62)]);
    bench.tick(500);
    bench.value(501, 1.0);
    assert_eq!(bench.log(), [], "there is no sample of a minute ago");
}

#[test]
fn a_decision_is_pending_until_it_is_stored() {
    let mut engine = Engine::new(vec![]);
    engine.watch(rule(&json!({"above": 1}), "0s"), at(0));
    engine.observe("r", true, Some(2.0), at(1));
    engine.evaluate(at(1));
    let decided = engine.pending();
    engine.observe("r", true, Some(0.0), at(2));
    engine.evaluate(at(2));
    assert_eq!(engine.pending(), decided, "though the value is good again");
    let Decision::Raise(alert) = decided[0].clone() else { panic!("{decided:?}") };
    assert_eq!((engine.open(), alert.raised_at), (0, at(1)));
    engine.set_open("r", Some(alert.clone()));
    assert_eq!(engine.open(), 1);
    engine.evaluate(at(3));
    assert_eq!(engine.pending(), [Decision::Resolve(alert.clone(), at(3))]);
    engine.observe("r", true, Some(2.0), at(4));
    engine.evaluate(at(4));
    engine.set_open("r", Some(alert.clone()));
    assert_eq!(engine.pending(), [Decision::Resolve(alert, at(3))], "a decided resolution stays pending");
    engine.set_open("r", None);
    engine.evaluate(at(5));
    assert!(matches!(engine.pending()[..], [Decision::Raise(_)]));
}

#[test]
fn another_name_keeps_the_state_and_another_condition_resets_it() {
    let mut bench = Bench::new(&json!({"above": 1}), "10s");
    bench.value(0, 2.0);
    let mut named = rule(&json!({"above": 1}), "10s");
    named.name = "Other".into();
    bench.engine.watch(named, at(5));
    bench.tick(10);
    assert_eq!(bench.log(), [('+', 10)]);
    assert!(bench.engine.alert("r").unwrap().message.starts_with("Other: "));
    bench.engine.watch(rule(&json!({"above": 3}), "10s"), at(11));
    assert_eq!((bench.engine.alert("r"), bench.engine.len()), (None, 1));
    bench.engine.forget("r");
    bench.tick(12);
    assert_eq!((bench.engine.len(), bench.log()), (0, vec![]));
}

fn conditions() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"above": 50})),
        Just(json!({"above": 50, "clear": 30})),
        Just(json!({"below": 50, "clear": 60})),
        Just(json!({"absentFor": "7s"})),
        Just(json!({"absentFor": "7s", "clear": "3s"})),
        Just(json!({"dropsBelowRatio": 0.5, "comparedTo": "10s", "clear": 0.7})),
    ]
}

proptest! {
    /// For any values: raised and resolved alternate, time does not run back, and between two raised alerts is at least
    /// `for`.
    #[test]
    fn raised_and_resolved_alternate(
        condition in conditions(),
        hold in 0_i64..20,
        steps in prop::collection::vec((0_i64..9, prop::option::of(0_f64..100.0), any::<bool>()), 1..300),
    ) {
        let mut bench = Bench::new(&condition, &format!("{hold}s"));
        let mut now = 0;
        for (seconds, value, there) in steps {
            now += seconds;
            match value {
                Some(value) => bench.value(now, value),
                None if there => bench.tick(now),
                None => {
                    bench.engine.observe("r", false, None, at(now));
                    bench.tick(now);
                }
            }
        }
        let log = bench.log();
        for (index, (kind, second)) in log.iter().enumerate() {
            prop_assert_eq!(*kind, if index % 2 == 0 { '+' } else { '-' });
            if index > 0 {
                prop_assert!(*second >= log[index - 1].1);
            }
            if index > 1 && *kind == '+' {
                prop_assert!(second - log[index - 1].1 >= hold, "{:?}", log);
                prop_assert!(second - log[index - 2].1 >= hold.max(1));
            }
        }
        if hold > 0 {
            prop_assert!(log.first().is_none_or(|(_, second)| *second >= hold));
        }
    }

    /// A value that oscillates around the threshold faster than `for` raises nothing.
    #[test]
    fn a_flapping_value_raises_nothing(period in 1_i64..29, seconds in 100_i64..400) {
        let mut bench = Bench::new(&json!({"above": 50}), "30s");
        for second in 0..seconds {
            bench.value(second, if (second / period) % 2 == 0 { 50.1 } else { 50.0 });
        }
        prop_assert_eq!(bench.log(), []);
    }
}

#[test]
fn samples_are_kept_as_long_as_a_rule_needs_them_and_survive_a_restart() {
    let drop = json!({"dropsBelowRatio": 0.5, "comparedTo": "1m"});
    let mut engine = Engine::new(vec![]);
    engine.watch(rule(&drop, "0s"), at(0));
    assert_eq!(engine.sample(at(0)), (vec![], vec![]), "there is no value yet");
    engine.observe("r", true, Some(100.0), at(0));
    let (samples, forget) = engine.sample(at(0));
    assert_eq!(samples, [Sample { rule: "r".into(), at: at(0), value: 100.0 }]);
    assert_eq!(forget, [("r".to_owned(), at(-62))], "two steps more than the rule needs");
    assert_eq!(engine.sample(at(0)), (vec![], vec![]), "one a second is enough");

    let mut bench = Bench::new(&drop, "0s");
    samples.iter().for_each(|sample| bench.engine.add_sample(sample));
    bench.value(60, 49.0);
    assert_eq!(bench.log(), [('+', 60)]);
}

/// Evaluates a value in a process that does not decide.
fn aside(engine: &mut Engine, second: i64, value: f64) {
    engine.observe("r", true, Some(value), at(second));
    engine.evaluate(at(second));
    engine.withdraw();
    assert!(engine.pending().is_empty());
}

#[test]
fn a_process_that_does_not_decide_can_take_over_at_once() {
    let mut bench = Bench::new(&json!({"above": 90}), "10s");
    for second in 1..=30 {
        aside(&mut bench.engine, second, 100.0);
    }
    assert_eq!(bench.log(), []);
    // The other process stopped silently: a condition that has been met for long is raised at the next evaluation, not
    // in ten seconds.
    bench.tick(31);
    assert_eq!(bench.log(), [('+', 31)]);

    // The other process had raised it, and the store says so: nothing is raised again.
    let mut bench = Bench::new(&json!({"above": 90}), "0s");
    aside(&mut bench.engine, 1, 100.0);
    let mut other = Bench::new(&json!({"above": 90}), "0s");
    other.value(1, 100.0);
    let open = other.engine.alert("r").cloned();
    bench.engine.reconcile("r", open.clone());
    bench.tick(2);
    assert_eq!(bench.log(), []);
    // An alert that the other process did not resolve is resolved, once.
    aside(&mut bench.engine, 3, 10.0);
    bench.engine.reconcile("r", open);
    bench.tick(4);
    bench.tick(5);
    assert_eq!(bench.log(), [('-', 4)]);
}

/// A condition that was met when the other process stopped is raised at the next evaluation, not after another `for`.
#[test]
fn a_withdrawn_decision_does_not_wait_again() {
    for end in 10..=32 {
        let mut bench = Bench::new(&json!({"above": 90}), "10s");
        for second in 0..=end {
            aside(&mut bench.engine, second, 100.0);
        }
        bench.tick(end + 1);
        assert_eq!(bench.log(), [('+', end + 1)]);
    }
}

#[test]
fn reconciling_keeps_a_pending_decision() {
    let mut engine = Engine::new(vec![]);
    engine.watch(rule(&json!({"above": 1}), "0s"), at(0));
    engine.observe("r", true, Some(2.0), at(1));
    engine.evaluate(at(1));
    let raise = engine.pending();
    let Decision::Raise(alert) = raise[0].clone() else { panic!("{raise:?}") };
    engine.reconcile("r", None);
    assert_eq!(engine.pending(), raise, "the store was read before it had the decision");
    engine.set_open("r", Some(alert.clone()));
    engine.observe("r", true, Some(0.0), at(2));
    engine.evaluate(at(2));
    let resolve = engine.pending();
    assert_eq!(resolve, [Decision::Resolve(alert.clone(), at(2))]);
    engine.reconcile("r", None);
    assert_eq!(engine.pending(), resolve);
    engine.set_open("r", None);
    engine.reconcile("r", Some(alert.clone()));
    assert_eq!(engine.alert("r"), Some(&alert), "without a pending decision the store counts");
    engine.observe("r", true, Some(0.0), at(3));
    engine.evaluate(at(3));
    let other = Alert { id: "other".into(), ..alert };
    engine.set_open("r", Some(other.clone()));
    assert_eq!((engine.pending(), engine.alert("r")), (vec![], Some(&other)), "it was not decided to resolve this one");
}

#[test]
fn two_alerts_without_for_are_a_second_apart() {
    let ms = |ms: i64| Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
    let mut engine = Engine::new(vec![]);
    engine.watch(rule(&json!({"above": 1}), "0s"), ms(0));
    let mut raised = Vec::new();
    for step in 0..=450 {
        let now = ms(step * 10);
        // Good and bad by turns, every ten milliseconds.
        engine.observe("r", true, Some(if step % 2 == 0 { 2.0 } else { 0.0 }), now);
        engine.evaluate(now);
        for decision in engine.pending() {
            match decision {
                Decision::Raise(alert) => {
                    raised.push(step * 10);
                    engine.set_open("r", Some(alert));
                }
                Decision::Resolve(..) => engine.set_open("r", None),
            }
        }
    }
    assert_eq!(raised, [0, 1_000, 2_000, 3_000, 4_000]);
    let mut bench = Bench::new(&json!({"above": 1}), "0s");
    for value in [2.0, 0.0, 2.0] {
        bench.value(1, value);
    }
    assert_eq!(bench.log(), [('+', 1), ('-', 1)], "also at the same moment");
}

#[test]
fn a_clock_that_is_set_back_does_not_delay_alerts() {
    let mut bench = Bench::new(&json!({"above": 1}), "0s");
    bench.value(3_600, 2.0);
    bench.value(3_601, 0.0);
    bench.value(10, 2.0);
    bench.value(11, 0.0);
    assert_eq!(bench.log(), [('+', 3_600), ('-', 3_601), ('+', 10), ('-', 11)]);
    let mut bench = Bench::new(&json!({"above": 1}), "5s");
    bench.value(3_600, 2.0);
    bench.tick(10);
    bench.tick(15);
    assert_eq!(bench.log(), [('+', 15)], "it has held since");
}

#[test]
fn a_condition_that_ended_while_another_process_decided_is_not_raised_later() {
    let mut bench = Bench::new(&json!({"above": 90}), "0s");
    aside(&mut bench.engine, 1, 100.0);
    aside(&mut bench.engine, 2, 10.0);
    bench.tick(3);
    assert_eq!(bench.log(), []);
}
