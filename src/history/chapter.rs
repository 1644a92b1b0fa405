//! The answer to a question about one channel, and its JSON.
//!
//! ```json
//! {"channel":"metrics.orders","interval":"minute","from":"...Z","to":"...Z","fields":{"ordersToday":[
//!   {"period":"2024-07-15T14:00:00.000Z","count":60,"total":3090,"average":51.5,"min":50,"max":53,"last":53}]}}
//! ```

use std::fmt::Write;

use jiff::Timestamp;

use super::{Bucket, Level};
use crate::core::{channel::Channel, clock::rfc3339};

/// What was of one channel in a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Chapter {
    /// The channel.
    pub channel: Channel,
    /// What the buckets are.
    pub level: Level,
    /// Where the first bucket may begin, in milliseconds since 1970.
    pub from: i64,
    /// The end, not included.
    pub to: i64,
    /// The buckets of each field, in the order of time. Where nothing was, there is none.
    pub fields: Vec<(Box<str>, Vec<Bucket>)>,
    /// No bucket will change any more, nor the question's meaning.
    pub closed: bool,
}

impl Chapter {
    /// All buckets, of all fields.
    pub fn buckets(&self) -> usize {
        self.fields.iter().map(|(_, buckets)| buckets.len()).sum()
    }

    /// The whole answer. With `field`, the buckets of that field alone, as `buckets` beside its name.
    pub fn to_json(&self, field: Option<&str>) -> String {
        let mut out = String::with_capacity(200 + self.buckets() * 150);
        let _ = write!(out, r#"{{"channel":"{}","#, self.channel);
        match field {
            Some(field) => {
                let _ = write!(out, r#""field":{},"#, quoted(field));
                self.write_head(&mut out);
                out.push_str(r#""buckets":"#);
                let found = self.fields.iter().find(|(name, _)| **name == *field);
                write_buckets(&mut out, found.map_or(&[], |(_, buckets)| buckets));
            }
            None => self.write_all(&mut out),
        }
        out.push('}');
        out
    }

    /// The same without the channel's name, for messages that say it elsewhere.
    pub fn data(&self) -> String {
        let mut out = String::with_capacity(200 + self.buckets() * 150);
        out.push('{');
        self.write_all(&mut out);
        out.push('}');
        out
    }

    // Writing to a String can't fail: the results are dropped.

    fn write_head(&self, out: &mut String) {
        let (from, to) = (time(self.from), time(self.to));
        let _ = write!(out, r#""interval":"{}","from":"{from}","to":"{to}","#, self.level.as_str());
    }

    fn write_all(&self, out: &mut String) {
        self.write_head(out);
        out.push_str(r#""fields":{"#);
        for (i, (field, buckets)) in self.fields.iter().enumerate() {
            let _ = write!(out, "{}{}:", if i > 0 { "," } else { "" }, quoted(field));
            write_buckets(out, buckets);
        }
        out.push('}');
    }
}

fn write_buckets(out: &mut String, buckets: &[Bucket]) {
    out.push('[');
    let mut numbers = Numbers::default();
    for (i, bucket) in buckets.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(r#"{"period":""#);
        numbers.time(out, bucket.at);
        let _ = write!(out, r#"","count":{}"#, bucket.count);
        let values = [
            (r#","total":"#, bucket.total),
            (r#","average":"#, bucket.average()),
            (r#","min":"#, bucket.min),
            (r#","max":"#, bucket.max),
            (r#","last":"#, bucket.last),
        ];
        for (name, value) in values {
            out.push_str(name);
            numbers.number(out, value);
        }
        out.push('}');
    }
    out.push(']');
}

/// Writes many times and numbers. Of times that follow one another most of the text is the same.
#[derive(Default)]
struct Numbers {
    minute: Option<i64>,
    text: String,
}

impl Numbers {
    /// As every transport writes it.
    fn time(&mut self, out: &mut String, at: i64) {
        let minute = at.div_euclid(60_000);
        if self.minute != Some(minute) {
            self.text = time(minute * 60_000);
            self.minute = Some(minute);
        }
        // "2024-07-15T14:00:" and the rest of the minute.
        out.push_str(self.text.get(..17).unwrap_or_default());
        let rest = at.rem_euclid(60_000);
        if rest == 0 {
            out.push_str("00.000Z");
        } else {
            let _ = write!(out, "{:02}.{:03}Z", rest / 1_000, rest % 1_000);
        }
    }

    /// Whole numbers without a fraction, as the values they come from are mostly written.
    fn number(&self, out: &mut String, value: f64) {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() < EXACT {
            let _ = write!(out, "{}", value as i64);
        } else {
            let _ = write!(out, "{}", serde_json::Number::from_f64(value).unwrap_or_else(|| 0.into()));
        }
    }
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
    fn the_json_is_that_of_the_contract() {
        let buckets = vec![
            Bucket { at: 1_721_052_000_000, count: 3, total: 4.5, min: -1.0, max: 3.25, last: 2.25 },
            Bucket::of_point(1_721_052_005_120, 1e300),
        ];
        let chapter = Chapter {
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
        let fields = json!({r#"x{a="1"}"#: expected});
        assert_eq!(read(chapter.to_json(None)), with(json!({"channel": "metrics.a", "fields": fields})));
        assert_eq!(read(chapter.data()), with(json!({"fields": fields})));
        let one = with(json!({"channel": "metrics.a", "field": r#"x{a="1"}"#, "buckets": expected}));
        assert_eq!(read(chapter.to_json(Some(r#"x{a="1"}"#))), one);
        let none = with(json!({"channel": "metrics.a", "field": "no", "buckets": []}));
        assert_eq!(read(chapter.to_json(Some("no"))), none);
    }
}
