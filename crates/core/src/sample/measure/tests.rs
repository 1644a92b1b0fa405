use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The day of these tests.
const DAY_MS: u64 = 40_000;

fn moment(ms: u64) -> Moment {
    let day = jiff::civil::date(2026, 3, 1).saturating_add(jiff::Span::new().days((ms / DAY_MS) as i64));
    Moment { elapsed: Duration::from_millis(ms), day }
}

/// Keeps every sample with its time, and computes the figures from all of them.
#[derive(Default)]
struct Naive(Vec<(u64, f64)>);

impl Naive {
    fn window(&self, now: u64) -> Vec<f64> {
        self.0.iter().filter(|(of, _)| of / 1_000 + 10 >= now / 1_000).map(|(_, value)| *value).collect()
    }

    fn today(&self, now: u64) -> Vec<f64> {
        self.0.iter().filter(|(of, _)| of / DAY_MS == now / DAY_MS).map(|(_, value)| *value).collect()
    }

    fn rate(&self, now: u64) -> f64 {
        let part = |of: u64| match (now / 1_000).saturating_sub(of / 1_000) {
            0..=9 => 1.0,
            10 => 1.0 - (now % 1_000 / 100) as f64 / 10.0,
            _ => 0.0,
        };
        self.0.iter().map(|(of, value)| value * part(*of)).sum::<f64>() / 10.0
    }
}

fn close(found: &Value, expected: Option<f64>, error: f64) {
    match expected {
        None => assert!(found.is_null(), "{found} for nothing"),
        Some(expected) => {
            let found = found.as_f64().unwrap();
            assert!((found - expected).abs() <= expected.abs() * error + 1e-9, "{found} for {expected}");
        }
    }
}

fn smallest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::min)
}

fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn percentile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((quantile * (values.len() as f64 - 1.0).max(0.0)) as usize).copied()
}

fn check(kind: SampleKind, read: &Value, naive: &Naive, now: u64) {
    assert_eq!(read["type"], kind.as_str());
    let parts = [(read, naive.window(now)), (&read["today"], naive.today(now))];
    match kind {
        SampleKind::Counter => {
            close(&read["total"], Some(naive.0.iter().map(|(_, value)| value).sum()), 1e-12);
            close(&read["rate"], Some(naive.rate(now)), 1e-12);
            close(&read["today"]["total"], Some(naive.today(now).iter().sum()), 1e-12);
        }
        SampleKind::Gauge => {
            assert_eq!(read["last"].as_f64(), naive.0.last().map(|(_, value)| *value));
            for (read, values) in parts {
                close(&read["min"], smallest(&values), 0.0);
                close(&read["max"], largest(&values), 0.0);
                close(&read["avg"], average(&values), 1e-12);
            }
        }
        SampleKind::Timing => {
            for (read, values) in parts {
                assert_eq!(read["count"], values.len());
                close(&read["avg"], average(&values), 1e-12);
                close(&read["max"], largest(&values), 0.0);
                for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                    close(&read[name], percentile(&values, quantile), 0.01);
                }
            }
        }
        SampleKind::Set => {
            for (read, values) in parts {
                let distinct: HashSet<_> = values.iter().map(|value| value.to_bits()).collect();
                assert_eq!(read["count"], distinct.len());
            }
        }
    }
}

fn measured(kind: SampleKind, value: f64) -> Measured {
    match kind {
        SampleKind::Set => Measured::Member(super::super::distinct::fingerprint(&json!(value)).unwrap()),
        _ => Measured::Number(value),
    }
}

proptest! {
    #[test]
    fn a_measure_equals_the_figures_of_a_list_of_all_samples(
        steps in proptest::collection::vec((0u64..3_000, prop_oneof![0.0f64..1_000.0, (0u32..20).prop_map(f64::from)]), 1..120),
        quiet in 0u64..30_000,
    ) {
        for kind in SampleKind::ALL {
            let (mut measure, mut naive, mut now) = (Measure::new(kind), Naive::default(), 0);
            let pass = |measure: &mut Measure, from: u64, to: u64| {
                let some = measure.forget(moment(to));
                if moment(from).day != moment(to).day {
                    measure.begin_day();
                }
                some
            };
            for (wait, value) in &steps {
                pass(&mut measure, now, now + wait);
                now += wait;
                measure.add(measured(kind, *value), moment(now));
                naive.0.push((now, *value));
                check(kind, &measure.read(moment(now)), &naive, now);
            }
            let some = pass(&mut measure, now, now + quiet);
            now += quiet;
            prop_assert_eq!(some, !naive.window(now).is_empty());
            check(kind, &measure.read(moment(now)), &naive, now);
        }
    }

    #[test]
    fn no_text_is_longer_than_the_room_for_it(values in proptest::collection::vec((proptest::num::f64::NORMAL, 0u64..5_000), 1..50)) {
        for kind in SampleKind::ALL {
            let (mut measure, mut now) = (Measure::new(kind), 0);
            for (value, wait) in &values {
                now += wait;
                let value = if kind == SampleKind::Gauge { *value } else { value.abs() };
                measure.add(measured(kind, value % crate::sample::MAX_NUMBER), moment(now));
                let text = measure.read(moment(now)).to_string();
                prop_assert!(text.len() <= Measure::max_bytes(kind), "{} bytes: {}", text.len(), text);
            }
        }
    }
}

#[test]
fn a_steady_rate_reads_the_same_at_any_tenth_of_a_second() {
    let mut counter = Measure::new(SampleKind::Counter);
    for now in (0..60_000).step_by(100) {
        if now > 12_000 {
            assert_eq!(counter.read(moment(now))["rate"], 50, "at {now} ms");
        }
        counter.add(Measured::Number(5.0), moment(now));
    }
}

#[test]
fn a_counter_does_not_lose_small_increments() {
    let mut counter = Measure::new(SampleKind::Counter);
    counter.add(Measured::Number(1e15), moment(0));
    (0..1_000).for_each(|_| counter.add(Measured::Number(0.1), moment(0)));
    assert_eq!(counter.read(moment(0))["total"], json!(1_000_000_000_000_100_i64));
}
