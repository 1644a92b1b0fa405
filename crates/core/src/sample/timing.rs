//! Timings: durations and their percentiles, by a sketch instead of a list.
//!
//! A DDSketch (Masson, Rim, Lee: DDSketch, VLDB 2019) keeps counts in bins that grow by 2 % each. Its percentiles have an
//! error of at most 1 % for any distribution.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sketches_ddsketch::{Config, DDSketch};

use super::{
    COMPUTED, EXACT, number, number_or_null,
    window::{Moment, Window},
};

/// Relative error of a percentile; with the rounding to [`DIGITS`] it stays below 1 %.
const ACCURACY: f64 = 0.0099;

/// Digits of a percentile. More would be noise.
const DIGITS: usize = 5;

/// Most bins of 8 bytes in a sketch: sufficient for values that differ by a factor of 10^17. Beyond that the smallest
/// values share a bin.
const MAX_BINS: u32 = 2_048;

/// Duration below which percentiles are 0.
const MIN_VALUE: f64 = 1e-9;

/// Reported percentiles: name of the field and quantile.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// `{"type":"timing","count":..,"avg":..,"p50":..,"p95":..,"p99":..,"max":..,"today":{"count":..,...}}`
///
/// The unit is that of the pushed values. Without samples `count` is 0 and the others are `null`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Timing {
    pub(super) window: Window<Durations>,
    pub(super) today: Durations,
}

/// Distribution of the durations in some time.
pub(super) struct Durations(DDSketch);

impl Default for Durations {
    fn default() -> Self {
        Self(DDSketch::new(Config::new(ACCURACY, MAX_BINS, MIN_VALUE)))
    }
}

/// An empty sketch has an infinite minimum, which JSON cannot express: it is `null`.
impl Serialize for Durations {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0.count() > 0).then_some(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Durations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Self).unwrap_or_default())
    }
}

impl std::fmt::Debug for Durations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durations").field("count", &self.0.count()).field("bins", &self.0.length()).finish()
    }
}

impl Durations {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn merge(&mut self, other: &Self) {
        // All have the same configuration; a difference is the only possible error.
        drop(self.0.merge(&other.0));
    }

    /// Returns the memory of its bins in bytes. The vector may have reserved up to twice as much.
    fn heap_bytes(&self) -> usize {
        self.0.length() * size_of::<u64>()
    }

    /// Returns the quantile: of the sorted list the value at `quantile * (count - 1)`, rounded down.
    fn percentile(&self, quantile: f64) -> Option<f64> {
        let about = self.0.quantile(quantile).ok().flatten()?;
        // A bin may reach beyond all pushed values.
        Some(about.clamp(self.0.min()?, self.0.max()?))
    }

    fn read(&self) -> Map<String, Value> {
        let count = self.0.count();
        let average = self.0.sum().zip(self.0.min().zip(self.0.max()));
        let average = average.map(|(sum, (low, high))| (sum / count as f64).clamp(low, high));
        let mut fields = Map::new();
        fields.insert("count".into(), Value::from(count));
        fields.insert("avg".into(), number_or_null(average, COMPUTED));
        fields.insert("max".into(), number_or_null(self.0.max(), EXACT));
        for (name, quantile) in PERCENTILES {
            let value = self.percentile(quantile).map_or(Value::Null, |value| match self.0.max() {
                Some(max) if value >= max => number(max, EXACT),
                _ => number(value, DIGITS),
            });
            fields.insert(name.into(), value);
        }
        fields
    }
}

impl Timing {
    /// Longest text of [`Timing::read`] without its numbers, and the number of these.
    pub(super) const LENGTH: (usize, usize) = (130, 12);

    pub(super) fn add(&mut self, value: f64, moment: Moment) {
        self.window.add(moment.second(), |durations| durations.add(value));
        self.today.add(value);
    }

    /// Returns its memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.heap_bytes(Durations::heap_bytes) + self.today.heap_bytes()
    }

    pub(super) fn read(&self, moment: Moment) -> Value {
        let mut window = Durations::default();
        self.window.at(moment.second()).for_each(|(_, durations)| window.merge(durations));
        let mut fields = window.read();
        fields.insert("type".into(), json!("timing"));
        fields.insert("today".into(), Value::Object(self.today.read()));
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the exact value of the rank of [`Durations::percentile`].
    fn exact(values: &mut [f64], quantile: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[(quantile * (values.len() as f64 - 1.0)) as usize]
    }

    fn check(values: &mut [f64], read: &Map<String, Value>) {
        assert_eq!(read["count"], values.len());
        assert_eq!(read["max"].as_f64().unwrap(), values.iter().copied().fold(0.0, f64::max));
        for (name, quantile) in PERCENTILES {
            let (exact, found) = (exact(values, quantile), read[name].as_f64().unwrap());
            assert!((found - exact).abs() <= exact * 0.01 + MIN_VALUE, "{name}: {found} for {exact}");
        }
    }

    #[test]
    fn percentiles_of_one_value_are_that_value() {
        let mut one = Durations::default();
        one.add(1_234_567.8);
        let read = one.read();
        assert!(PERCENTILES.iter().all(|(name, _)| read[*name] == read["max"]), "{read:?}");
    }

    #[test]
    fn durations_without_a_sample_can_be_stored() {
        let stored = serde_json::to_string(&Durations::default()).unwrap();
        assert_eq!(serde_json::from_str::<Durations>(&stored).unwrap().read()["count"], json!(0));
    }

    proptest! {
        #[test]
        fn percentiles_are_within_one_percent(exponents in proptest::collection::vec(-9.0f64..7.0, 1..400), parts in 1usize..12) {
            let mut values: Vec<f64> = exponents.iter().map(|exponent| 10f64.powf(*exponent)).collect();
            let (mut whole, mut merged) = (Durations::default(), Durations::default());
            for chunk in values.chunks(values.len().div_ceil(parts)) {
                let mut part = Durations::default();
                chunk.iter().for_each(|value| part.add(*value));
                merged.merge(&part);
                chunk.iter().for_each(|value| whole.add(*value));
            }
            for (name, _) in PERCENTILES {
                prop_assert_eq!(&merged.read()[name], &whole.read()[name]);
            }
            check(&mut values, &merged.read());
        }

        #[test]
        fn any_durations_are_accepted_within_the_reserved_room(
            exponents in proptest::collection::vec(prop_oneof![-320.0f64..21.0, Just(21.0), Just(-9.0), Just(f64::NEG_INFINITY)], 1..600),
            parts in 1usize..12,
        ) {
            let values: Vec<f64> = exponents.iter().map(|exponent| 10f64.powf(*exponent)).collect();
            let mut merged = Durations::default();
            for chunk in values.chunks(values.len().div_ceil(parts)) {
                let mut part = Durations::default();
                chunk.iter().for_each(|value| part.add(*value));
                merged.merge(&part);
                prop_assert!(part.0.length() <= MAX_BINS as usize);
            }
            prop_assert!(merged.0.length() <= MAX_BINS as usize);
            let read = merged.read();
            prop_assert_eq!(&read["count"], &json!(values.len()));
            prop_assert!(PERCENTILES.iter().all(|(name, _)| read[*name].as_f64().unwrap() <= read["max"].as_f64().unwrap()));
        }
    }
}
