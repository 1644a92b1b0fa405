//! Typed samples: single measurements that are aggregated over the last seconds and over the day.
//!
//! ```text
//! {"metric": "checkout.latency", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}
//!             └ channel metrics.checkout, field latency, and field latency{region="eu"}
//! ```
//!
//! | type | pushed value | figures |
//! |---|---|---|
//! | gauge | a level | last, min, max, avg |
//! | counter | an increment | total, rate per second |
//! | timing | a duration in any unit | count, avg, p50, p95, p99, max |
//! | set | a name or a number | number of distinct ones |
//!
//! This module is pure: time is an argument ([`Moment`]). Memory is bounded by the number of series and by the bytes of
//! their data ([`SeriesTable::bytes`]), not by samples.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::channel::{Channel, NameError};

mod counter;
mod distinct;
mod gauge;
mod labels;
mod measure;
mod table;
mod timing;
mod window;

pub use labels::{LabelError, MAX_LABEL_BYTES, MAX_LABEL_NAME_BYTES, MAX_LABELS, labelled_field};
use measure::Measure;
pub use table::{Continued, Dump, Idle, Need, SeriesTable};
pub use window::Moment;

/// Largest absolute value of a sample: the sum of a day of them is far from overflowing.
pub const MAX_NUMBER: f64 = 1e21;

/// Type of a series, fixed by its first sample.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleKind {
    /// Levels: the last one is the current one.
    Gauge,
    /// Increments that are added up.
    Counter,
    /// Durations, whose distribution matters.
    Timing,
    /// Members, of which the distinct ones are counted.
    Set,
}

impl SampleKind {
    /// All kinds, in the order of docs/samples.md.
    pub const ALL: [Self; 4] = [Self::Gauge, Self::Counter, Self::Timing, Self::Set];

    /// Returns whether the data of a series grow with each sample, up to a limit: a sketch or members instead of sums.
    pub fn can_grow(self) -> bool {
        match self {
            Self::Timing | Self::Set => true,
            Self::Gauge | Self::Counter => false,
        }
    }

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Timing => "timing",
            Self::Set => "set",
        }
    }
}

impl fmt::Display for SampleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Value of a sample.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// A number of a gauge, a counter or a timing; finite, within [`MAX_NUMBER`].
    Number(f64),
    /// Member of a set, as 64 bits that are unique to it.
    Member(u64),
}

impl Measured {
    /// Checks the value of a gauge, a counter increment or a timing.
    ///
    /// # Errors
    /// [`SampleError::TooLarge`] beyond [`MAX_NUMBER`] and for what is not finite, [`SampleError::Negative`] for what has no sign.
    pub fn number(kind: SampleKind, number: f64) -> Result<Self, SampleError> {
        if !number.is_finite() || number.abs() > MAX_NUMBER {
            return Err(SampleError::TooLarge);
        }
        if number < 0.0 && kind != SampleKind::Gauge {
            return Err(SampleError::Negative(kind));
        }
        Ok(Self::Number(number))
    }
}

/// Sample on its way to its series.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sample {
    /// Channel whose value contains the series.
    pub channel: Channel,
    /// Field of the total, in which every sample counts: `latency`.
    pub field: Box<str>,
    /// Field of these labels: `latency{region="eu"}`.
    pub labelled: Option<Box<str>>,
    /// Type of the series.
    pub kind: SampleKind,
    /// Value of the sample.
    pub measured: Measured,
    /// Time in milliseconds without a sample after which the series ends, and without a write after which the channel does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// Reason why a line is not a sample.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The type is not a [`SampleKind`].
    #[error("\"type\" is {0:?}; there are gauge, counter, timing and set")]
    UnknownKind(String),
    /// A name without a dot, or with nothing on one side of the last one.
    #[error(
        "\"metric\" is {0:?}: write CHANNEL.FIELD, as in \"checkout.latency\" for the field latency of metrics.checkout"
    )]
    NoField(String),
    /// The name contains a character that channels cannot have.
    #[error("\"metric\": {0}")]
    BadName(#[from] NameError),
    /// The value is not a number; a string with digits is not one either.
    #[error("\"value\" of a {0} has to be a number")]
    NotANumber(SampleKind),
    /// The value is neither a string nor a number.
    #[error("\"value\" of a set has to be a string or a number")]
    NotAMember,
    /// The value is negative, which the type does not allow.
    #[error("\"value\" of a {0} can't be below 0")]
    Negative(SampleKind),
    /// The absolute value is above [`MAX_NUMBER`].
    #[error("\"value\" has to be between -1e21 and 1e21")]
    TooLarge,
    /// The labels are not valid.
    #[error("\"labels\": {0}")]
    BadLabels(#[from] LabelError),
}

impl Sample {
    /// Checks the parts of a pushed line and creates a sample.
    ///
    /// # Errors
    /// [`SampleError`] with the fault and its correction.
    pub fn parse(metric: &str, kind: &str, value: &Value, labels: &Map<String, Value>) -> Result<Self, SampleError> {
        let shown = |text: &str| text.chars().take(60).collect::<String>();
        let named = SampleKind::ALL.into_iter().find(|known| known.as_str() == kind);
        let kind = named.ok_or_else(|| SampleError::UnknownKind(shown(kind)))?;
        Channel::parse(metric)?;
        let (parent, field) = match metric.rsplit_once('.') {
            Some((parent, field)) if !parent.is_empty() && !field.is_empty() => (parent, field),
            _ => return Err(SampleError::NoField(shown(metric))),
        };
        let channel = Channel::parse(&format!("metrics.{parent}"))?;
        let measured = match kind {
            SampleKind::Set => Measured::Member(distinct::fingerprint(value).ok_or(SampleError::NotAMember)?),
            SampleKind::Gauge | SampleKind::Counter | SampleKind::Timing => {
                Measured::number(kind, value.as_f64().ok_or(SampleError::NotANumber(kind))?)?
            }
        };
        let labelled = labels::field_with(field, labels)?;
        Ok(Self { channel, field: field.into(), labelled, kind, measured, ttl: None })
    }
}

/// Returns a number as in a value: whole ones without a point, others with at most `digits` digits, so that the last bits
/// of a sum are not shown.
fn number(value: f64, digits: usize) -> Value {
    /// Limit of exactly represented whole numbers.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    let whole = |value: f64| value.fract() == 0.0 && value.abs() < WHOLE;
    let short = match digits {
        0..EXACT if !whole(value) => format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value),
        _ => value,
    };
    if whole(short) { Value::from(short as i64) } else { Value::from(short) }
}

/// Digits of computed numbers: a double has a little more than 15.
const COMPUTED: usize = 15;

/// Digits that distinguish all doubles, for pushed numbers.
const EXACT: usize = 17;

/// Returns a number, or `null` for `None`.
fn number_or_null(value: Option<f64>, digits: usize) -> Value {
    value.map_or(Value::Null, |value| number(value, digits))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(metric: &str, kind: &str, value: Value, labels: Value) -> Result<Sample, String> {
        let Value::Object(labels) = labels else { panic!("an object") };
        Sample::parse(metric, kind, &value, &labels).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_dot_separates_channel_and_field() {
        let sample = parse("a.b.c", "gauge", json!(-1.5), json!({})).unwrap();
        assert_eq!((sample.channel.as_str(), &*sample.field, sample.labelled), ("metrics.a.b", "c", None));
        assert_eq!(sample.measured, Measured::Number(-1.5));
        for bad in ["latency", ".latency", "checkout.", "."] {
            assert!(parse(bad, "gauge", json!(1), json!({})).unwrap_err().contains("write CHANNEL.FIELD"), "{bad}");
        }
        assert!(parse("a b.c", "gauge", json!(1), json!({})).unwrap_err().contains("' '"));
        assert!(parse(&format!("{}.c", "x".repeat(125)), "gauge", json!(1), json!({})).unwrap_err().contains("longer"));
    }

    #[test]
    fn meaningless_values_are_refused() {
        for (kind, value, part) in [
            ("gauge", json!("12"), "has to be a number"),
            ("gauge", json!(null), "has to be a number"),
            ("gauge", json!(1e22), "between"),
            ("gauge", json!(-1e300), "between"),
            ("counter", json!(-1), "of a counter can't be below 0"),
            ("timing", json!(-0.001), "of a timing can't be below 0"),
            ("timing", json!([1]), "has to be a number"),
            ("set", json!(true), "a string or a number"),
            ("set", json!({}), "a string or a number"),
            ("histogram", json!(1), "gauge, counter, timing and set"),
        ] {
            let error = parse("a.b", kind, value.clone(), json!({})).unwrap_err();
            assert!(error.contains(part), "{kind} {value}: {error}");
        }
    }

    #[test]
    fn the_largest_number_is_accepted() {
        for value in [MAX_NUMBER, -MAX_NUMBER] {
            let sample = parse("a.b", "gauge", json!(value), json!({})).unwrap();
            assert_eq!(sample.measured, Measured::Number(value));
        }
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let text = |value: f64, digits| number(value, digits).to_string();
        assert_eq!(text(0.1 + 0.2, COMPUTED), "0.3");
        assert_eq!(text(12.0, COMPUTED), "12");
        assert_eq!(text(-0.0, EXACT), "0");
        assert_eq!(text(1234.5678, 5), "1234.6");
        assert_eq!(text(11.999999, 5), "12");
        assert_eq!(text(0.1 + 0.2, EXACT), "0.30000000000000004");
        assert_eq!(text(9_007_199_254_740_991.0, COMPUTED), "9007199254740991");
    }
}
