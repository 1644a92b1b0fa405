//! The one mapping from points of foreign protocols to readings (docs/in/README.md).
//!
//! | point | reading |
//! |---|---|
//! | name | channel `metrics.NAME` |
//! | field with labels | field `FIELD{label="value"}`, one series for each set of labels |
//! | gauge | sample of a gauge |
//! | text | field of a merged value |

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::{api::push::Batch, web::problem::Problem};
use tricast_core::{
    built_in,
    channel::Channel,
    reading::Reading,
    sample::{Measured, Sample, SampleKind, labelled_field},
};
use tricast_doors::{Field, Message, Point, Value, names};

/// Age in milliseconds beyond which a point is late: it would replace a newer value as the current one.
const LATE_MS: i64 = 5 * 60_000;

/// Readings of a message.
#[derive(Default)]
pub(super) struct Mapped {
    pub(super) batch: Batch,
    /// Number of values that are too old.
    pub(super) late: usize,
}

/// Maps the points of a message that arrived at `now`.
pub(super) fn readings(message: Message, now: Timestamp) -> Mapped {
    let Message { lines, mut points, faults } = message;
    let now = now.as_millisecond();
    let mut mapped = Mapped { batch: Batch { lines, ..Batch::default() }, late: 0 };
    for fault in faults {
        mapped.batch.refused.add(fault.line, || Problem::bad_request(fault.detail));
    }
    // Of several points of a series the newest becomes the current one.
    points.sort_by_key(|point| point.at.unwrap_or(now));
    for point in points {
        if is_late(&point, now) {
            mapped.late += point.fields.len();
        } else {
            add(&mut mapped.batch, &point);
        }
    }
    mapped
}

/// Returns whether a point is too old to be a current value. A reading has no time of its own: the values of all other points,
/// also of those from the future, are those of their arrival.
fn is_late(point: &Point, now: i64) -> bool {
    point.at.is_some_and(|at| at < now.saturating_sub(LATE_MS))
}

/// Adds the readings of a point.
fn add(batch: &mut Batch, point: &Point) {
    let labels = names::labels(&point.labels);
    let channel = channel(&point.name);
    for field in &point.fields {
        let labels = labels.iter().map(|(name, value)| (&**name, &**value));
        let name = names::field(&field.name);
        let reading = channel.clone().and_then(|channel| {
            let whole =
                labelled_field(&name, labels).map_err(|error| Problem::bad_request(format!("labels: {error}")))?;
            reading(channel, whole.unwrap_or_else(|| (&*name).into()), field)
        });
        match reading {
            Ok(reading) => {
                batch.line_numbers.push(point.line);
                batch.readings.push(reading);
            }
            Err(problem) => batch.refused.add(point.line, || problem),
        }
    }
}

/// Returns the channel of a name. The server's own channels can't be pushed over: such a name gets `_` at its end.
fn channel(name: &str) -> Result<Channel, Problem> {
    let bad = |error: tricast_core::channel::NameError| Problem::bad_request(error.to_string());
    let channel = Channel::parse(&format!("metrics.{}", names::channel(name))).map_err(bad)?;
    if built_in::contains(&channel) { Channel::parse(&format!("{channel}_")).map_err(bad) } else { Ok(channel) }
}

fn reading(channel: Channel, whole: Box<str>, field: &Field) -> Result<Reading, Problem> {
    match &field.value {
        Value::Gauge(number) => {
            let measured = Measured::number(SampleKind::Gauge, *number)
                .map_err(|error| Problem::bad_request(format!("{:?}: {error}", field.name)))?;
            // A level counts in its own series only: levels of different sets of labels have no common one.
            let sample = Sample { channel, field: whole, labelled: None, kind: SampleKind::Gauge, measured, ttl: None };
            Ok(Reading::Sample(Box::new(sample)))
        }
        Value::Text(text) => {
            let data = Map::from_iter([(whole.into(), Json::from(text.replace('\0', "_")))]);
            Ok(Reading::Value { channel, data, merge: true, ttl: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(name: &str, at: Option<i64>, labels: &[(&str, &str)], value: Value) -> Point {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Point { line: 0, name: name.into(), labels, at, fields: vec![Field { name: "x".into(), value }] }
    }

    fn map(points: Vec<Point>) -> Mapped {
        let message = Message { lines: points.len(), points, faults: Vec::new() };
        readings(message, Timestamp::from_millisecond(1_000_000_000).unwrap())
    }

    fn samples(mapped: &Mapped) -> Vec<(String, String, Measured)> {
        let sample = |reading: &Reading| match reading {
            Reading::Sample(one) => (one.channel.to_string(), one.field.to_string(), one.measured),
            other => panic!("{other:?}"),
        };
        mapped.batch.readings.iter().map(sample).collect()
    }

    #[test]
    fn a_field_with_labels_is_a_series_of_its_own() {
        let mapped = map(vec![point("disk io", None, &[("host", "a"), ("dev-ice", "b\"")], Value::Gauge(1.0))]);
        let expected = ("metrics.disk_io".to_owned(), r#"x{dev_ice="b\"",host="a"}"#.to_owned(), Measured::Number(1.0));
        assert_eq!(samples(&mapped), [expected]);
        let mapped = map(vec![point("api", None, &[], Value::Gauge(1.0))]);
        assert_eq!(samples(&mapped)[0].0, "metrics.api_", "the server's own channel");
    }

    #[test]
    fn a_text_is_merged() {
        let mapped = map(vec![point("a", None, &[("h", "1")], Value::Text("on\0".into()))]);
        let data = Map::from_iter([(r#"x{h="1"}"#.to_owned(), Json::from("on_"))]);
        let channel = Channel::parse("metrics.a").unwrap();
        assert_eq!(mapped.batch.readings, [Reading::Value { channel, data, merge: true, ttl: None }]);
    }

    #[test]
    fn the_newest_point_is_last_and_old_ones_are_late() {
        let at = |at: i64| point("a", Some(at), &[], Value::Gauge(at as f64));
        let limit = 1_000_000_000 - LATE_MS;
        let mapped = map(vec![at(2_000_000_000), at(999_999_999), at(limit), at(limit - 1), at(i64::MIN)]);
        let numbers: Vec<_> = samples(&mapped).into_iter().map(|(.., measured)| measured).collect();
        let expected = [limit, 999_999_999, 2_000_000_000].map(|at| Measured::Number(at as f64));
        assert_eq!((numbers, mapped.late), (expected.to_vec(), 2));
    }

    #[test]
    fn numbers_out_of_range_and_too_many_labels_are_refused() {
        let labels: Vec<(String, String)> = (0..33).map(|n| (format!("l{n}"), String::new())).collect();
        let many = Point { labels, ..point("a", None, &[], Value::Gauge(1.0)) };
        let mapped = map(vec![point("a", None, &[], Value::Gauge(1e22)), many]);
        assert_eq!((mapped.batch.refused.count, mapped.batch.readings.len()), (2, 0));
    }

    proptest! {
        #[test]
        fn any_names_make_readings(name in ".{0,300}", field in ".{0,300}", labels in prop::collection::vec((".{0,99}", ".{0,300}"), 0..9)) {
            let fields = vec![Field { name: field, value: Value::Gauge(1.0) }];
            let mapped = map(vec![Point { line: 0, name, labels, at: None, fields }]);
            prop_assert_eq!((mapped.batch.readings.len(), mapped.batch.refused.count), (1, 0));
        }
    }
}
