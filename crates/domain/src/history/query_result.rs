//! Result of a query of one channel, and its JSON.
//!
//! ```json
//! {"channel":"metrics.orders","interval":"minute","from":"...Z","to":"...Z","fields":{"ordersToday":[
//!   {"period":"2024-07-15T14:00:00.000Z","count":60,"total":3090,"average":51.5,"min":50,"max":53,"last":53}]}}
//! ```

use std::{collections::HashMap, io::Write};

use jiff::Timestamp;

use super::{Bucket, Level};
use tricast_core::{channel::Channel, clock::rfc3339};

/// History of one channel in a span of time: the result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// State channel of the result.
    pub channel: Channel,
    /// Level of the buckets.
    pub level: Level,
    /// Start of the span, in milliseconds since 1970; the first bucket begins there or later.
    pub from: i64,
    /// End of the span, not included.
    pub to: i64,
    /// Buckets of each field, in the order of time. A span without points has none.
    pub fields: Vec<(Box<str>, Vec<Bucket>)>,
    /// Whether neither a bucket nor the meaning of the query will change any more.
    pub closed: bool,
}

impl QueryResult {
    /// Returns the number of buckets of all fields.
    pub fn buckets(&self) -> usize {
        self.fields.iter().map(|(_, buckets)| buckets.len()).sum()
    }

    /// Writes the whole response. With `field`, it has the buckets of that field alone, as `buckets` beside its name.
    pub fn to_json(&self, field: Option<&str>) -> String {
        let mut out = Vec::with_capacity(200 + self.buckets() * 150);
        // Writing to a vector can't fail: the results are dropped.
        let _ = write!(out, r#"{{"channel":"{}","#, self.channel);
        match field {
            Some(field) => {
                let _ = write!(out, r#""field":{},"#, quoted(field));
                self.write_head(&mut out);
                out.extend_from_slice(br#""buckets":"#);
                let found = self.fields.iter().find(|(name, _)| **name == *field);
                write_buckets(&mut out, found.map_or(&[], |(_, buckets)| buckets), &mut Times::default());
            }
            None => self.write_all(&mut out),
        }
        out.push(b'}');
        text(out)
    }

    /// Writes the response without the name of the channel, for messages that have it elsewhere.
    pub fn data(&self) -> String {
        let mut out = Vec::with_capacity(200 + self.buckets() * 150);
        out.push(b'{');
        self.write_all(&mut out);
        out.push(b'}');
        text(out)
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let (from, to) = (time(self.from), time(self.to));
        let _ = write!(out, r#""interval":"{}","from":"{from}","to":"{to}","#, self.level.as_str());
    }

    fn write_all(&self, out: &mut Vec<u8>) {
        let mut times = Times::default();
        self.write_head(out);
        out.extend_from_slice(br#""fields":{"#);
        for (i, (field, buckets)) in self.fields.iter().enumerate() {
            let _ = write!(out, "{}{}:", if i > 0 { "," } else { "" }, quoted(field));
            write_buckets(out, buckets, &mut times);
        }
        out.push(b'}');
    }
}

/// Converts JSON to text; JSON is UTF-8.
fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_default()
}

fn write_buckets(out: &mut Vec<u8>, buckets: &[Bucket], times: &mut Times) {
    out.push(b'[');
    for (i, bucket) in buckets.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"period":""#);
        times.write(out, bucket.at);
        out.extend_from_slice(br#"","count":"#);
        to_json(out, &bucket.count);
        let values: [(&[u8], f64); 5] = [
            (br#","total":"#, bucket.total),
            (br#","average":"#, bucket.average()),
            (br#","min":"#, bucket.min),
            (br#","max":"#, bucket.max),
            (br#","last":"#, bucket.last),
        ];
        for (name, value) in values {
            out.extend_from_slice(name);
            write_number(out, value);
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// Writer of times. All fields have buckets at the same times, so each text is made once.
#[derive(Default)]
struct Times {
    /// Texts by minutes since 1970: `2024-07-15T14:00:`.
    minutes: HashMap<i64, Box<str>>,
}

/// Largest number of texts that are kept; a raw response of a long time has each minute once.
const MOST_MINUTES: usize = 10_000;

impl Times {
    /// Writes a time as every transport does.
    fn write(&mut self, out: &mut Vec<u8>, at: i64) {
        let minute = at.div_euclid(60_000);
        if self.minutes.len() >= MOST_MINUTES {
            self.minutes.clear();
        }
        let text = self.minutes.entry(minute).or_insert_with(|| {
            let text = time(minute.saturating_mul(60_000));
            text.get(..17).unwrap_or_default().into()
        });
        out.extend_from_slice(text.as_bytes());
        let rest = at.rem_euclid(60_000);
        if rest == 0 {
            out.extend_from_slice(b"00.000Z");
        } else {
            // Writing to a vector can't fail.
            let _ = write!(out, "{:02}.{:03}Z", rest / 1_000, rest % 1_000);
        }
    }
}

/// Writes integers without a fraction, as the values mostly were.
fn write_number(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        to_json(out, &(value as i64));
    } else {
        to_json(out, &if value.is_finite() { value } else { 0.0 });
    }
}

fn to_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Writing to a vector can't fail.
    let _ = serde_json::to_writer(out, value);
}

fn time(at: i64) -> String {
    rfc3339(Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX }))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_json_has_the_documented_form() {
        let buckets = vec![
            Bucket { at: 1_721_052_000_000, count: 3, total: 4.5, min: -1.0, max: 3.25, last: 2.25 },
            Bucket::of_point(1_721_052_005_120, 1e300),
        ];
        let result = QueryResult {
            channel: Channel::parse("metrics.a").unwrap(),
            level: Level::Minute,
            from: 1_721_052_000_000,
            to: 1_721_052_060_000,
            fields: vec![(r#"x{a="1"}"#.into(), buckets)],
            closed: true,
        };
        let expected = json!([
            {"period": "2024-07-15T14:00:00.000Z", "count": 3, "total": 4.5, "average": 1.5, "min": -1, "max": 3.25, "last": 2.25},
            {"period": "2024-07-15T14:00:05.120Z", "count": 1, "total": 1e300, "average": 1e300, "min": 1e300, "max": 1e300,
                "last": 1e300},
        ]);
        let head = json!({"interval": "minute", "from": "2024-07-15T14:00:00.000Z", "to": "2024-07-15T14:01:00.000Z"});
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let with = |more: Value| {
            let mut all = head.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(result.buckets(), 2);
        let fields = json!({r#"x{a="1"}"#: expected});
        assert_eq!(read(result.to_json(None)), with(json!({"channel": "metrics.a", "fields": fields})));
        assert_eq!(read(result.data()), with(json!({"fields": fields})));
        let one = with(json!({"channel": "metrics.a", "field": r#"x{a="1"}"#, "buckets": expected}));
        assert_eq!(read(result.to_json(Some(r#"x{a="1"}"#))), one);
        let none = with(json!({"channel": "metrics.a", "field": "no", "buckets": []}));
        assert_eq!(read(result.to_json(Some("no"))), none);
    }
}
