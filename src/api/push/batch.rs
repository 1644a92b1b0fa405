//! Parser of the body of a push: one object, an array, or NDJSON.

use std::marker::PhantomData;

use actix_web::http::StatusCode;
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    line::{self, Line},
    results::Refused,
};
use crate::web::{access, problem::Problem, state::State};
use tricast_auth::Identity;
use tricast_core::{
    counters::Limit,
    protocol::{error::Code, nul},
    reading::Reading,
};

/// Lines of a body, parsed.
#[derive(Default)]
pub(in crate::api) struct Batch {
    /// Number of lines, or of members of an array, refused ones included.
    pub(in crate::api) lines: usize,
    /// Line number of each reading.
    pub(in crate::api) line_numbers: Vec<usize>,
    pub(in crate::api) readings: Vec<Reading>,
    pub(in crate::api) refused: Refused,
    /// Set for a single object, whose refusal is the response.
    pub(in crate::api) single: bool,
}

impl Batch {
    /// Adds a line, unless there are already `most` (0: no limit).
    fn add(&mut self, most: usize, line: impl FnOnce() -> Line) -> Result<(), Fault> {
        if most > 0 && self.lines >= most {
            return Err(Fault::TooManyLines);
        }
        match line() {
            Ok(reading) => {
                self.line_numbers.push(self.lines);
                self.readings.push(reading);
            }
            Err(problem) => self.refused.add(self.lines, || problem),
        }
        self.lines += 1;
        Ok(())
    }

    /// Refuses the lines for channels that `identity`, which may push to some channel, may not push to.
    pub(super) fn permitted_to(mut self, identity: &Identity) -> Self {
        // A permission is for all channels.
        if identity.binding().is_none() {
            return self;
        }
        let (places, readings) = (std::mem::take(&mut self.line_numbers), std::mem::take(&mut self.readings));
        for (line, reading) in places.into_iter().zip(readings) {
            match reading.channel().map_or(Ok(()), |channel| access::check_push(identity, channel)) {
                Ok(()) => {
                    self.line_numbers.push(line);
                    self.readings.push(reading);
                }
                Err(problem) => self.refused.add(line, || problem),
            }
        }
        self
    }
}

/// Reason for refusing a whole body.
#[derive(Debug)]
pub(super) enum Fault {
    /// The body is not valid, for the reason given.
    Bad(String),
    TooManyLines,
}

impl Fault {
    /// Returns the response to the push, and counts a reached limit.
    pub(super) fn into_problem(self, state: &State, most: usize) -> Problem {
        match self {
            Self::Bad(detail) => Problem::bad_request(detail),
            Self::TooManyLines => {
                state.shared.counters.limit(Limit::Lines).inc();
                let detail = format!("the body has more than {most} lines, which is the limit; nothing was accepted");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail)
            }
        }
    }
}

/// Parses a body of at most `most` lines. Several lines of JSON are treated as NDJSON, whatever their content type.
pub(super) fn parse(bytes: &Bytes, ndjson: bool, most: usize) -> Result<Batch, Fault> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(Fault::Bad("the body is empty: send an object, an array, or one object a line".into()));
    }
    let nul = nul::may_be_in(bytes);
    if !ndjson {
        let parsed = match text.first() {
            // An element that no value can hold (1e400, half a surrogate pair) is refused alone, by a second pass that
            // first only looks for the ends of elements.
            Some(b'[') => list(text, most, |value| line::parse(value, nul)).or_else(|error| {
                list(text, most, |element: &RawValue| parse_line(element.get().as_bytes(), nul)).map_err(|_| error)
            }),
            _ => serde_json::from_slice(text).map(|value| {
                let mut batch = Batch { single: true, ..Batch::default() };
                batch.add(0, || line::parse(value, nul))?;
                Ok(batch)
            }),
        };
        match parsed {
            Ok(batch) => return batch,
            Err(error) if is_lines(bytes, &error) => {}
            Err(error) => return Err(Fault::Bad(format!("the body is not JSON: {error}"))),
        }
    }
    let mut batch = Batch::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        // In joined files each part may begin with a byte order mark.
        batch.add(most, || parse_line(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line), nul))?;
    }
    Ok(batch)
}

fn parse_line(text: &[u8], nul: bool) -> Line {
    let value = serde_json::from_slice(text).map_err(|error| Problem::bad_request(format!("not JSON: {error}")))?;
    line::parse(value, nul)
}

/// Parses an array, one element after the other, so that only one of them is in memory twice. `read` parses an element.
fn list<'de, T: Deserialize<'de>>(
    text: &'de [u8],
    most: usize,
    read: impl Fn(T) -> Line,
) -> serde_json::Result<Result<Batch, Fault>> {
    struct List<T, R> {
        most: usize,
        read: R,
        elements: PhantomData<T>,
    }

    impl<'de, T: Deserialize<'de>, R: Fn(T) -> Line> Visitor<'de> for List<T, R> {
        type Value = Result<Batch, Fault>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut batch = Batch::default();
            while let Some(element) = list.next_element()? {
                if let Err(fault) = batch.add(self.most, || (self.read)(element)) {
                    // The rest is read only to reach the end.
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(fault));
                }
            }
            Ok(Ok(batch))
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    let batch = json.deserialize_seq(List { most, read, elements: PhantomData })?;
    json.end()?;
    Ok(batch)
}

/// Returns whether the first line is a complete value and further lines follow.
fn is_lines(bytes: &[u8], error: &serde_json::Error) -> bool {
    let first = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    error.is_syntax() && error.line() > 1 && serde_json::from_slice::<IgnoredAny>(first).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use tricast_core::depth;
    use tricast_core::protocol::error::MAX_LISTED;

    fn lines(body: &str, ndjson: bool) -> Vec<Result<(), String>> {
        match parse(&Bytes::copy_from_slice(body.as_bytes()), ndjson, 0) {
            Ok(batch) => {
                let mut lines = vec![Ok(()); batch.lines];
                batch.refused.listed.into_iter().for_each(|(place, problem)| lines[place] = Err(problem.detail));
                assert_eq!(lines.iter().filter(|line| line.is_ok()).count(), batch.readings.len());
                lines
            }
            Err(Fault::Bad(detail)) => vec![Err(detail)],
            Err(Fault::TooManyLines) => panic!("there is no limit"),
        }
    }

    #[test]
    fn an_object_an_array_and_lines_are_read() {
        let one = r#"{"channel":"a","data":{}}"#;
        assert_eq!(lines(one, false), [Ok(())]);
        assert_eq!(lines(&format!("[{one},\n{one}]"), false).len(), 2);
        assert_eq!(lines(&format!("{one}\n{one}\n\n{one}\r\n"), false), [Ok(()), Ok(()), Ok(())]);
        let mixed = lines(&format!("{one}\nnonsense\n{one}"), true);
        assert!(mixed[0].is_ok() && mixed[1].is_err() && mixed[2].is_ok());
        assert_eq!(lines("{\n\"channel\":\"a\",\n\"data\":{}\n}", false), [Ok(())]);
        assert!(lines("[]", false).is_empty());
    }

    #[test]
    fn errors_name_the_fault() {
        let one = r#"{"channel":"a","data":{}}"#;
        for (body, part) in [
            ("", "empty"),
            ("{", "not JSON"),
            ("5", "has to be an object"),
            ("{}", "\"channel\" is missing"),
            (r#"{"channel":5,"data":{}}"#, "has to be a string"),
            (r#"{"channel":"a b","data":{}}"#, "' '"),
            (r#"{"channel":"a"}"#, "\"data\" is missing"),
            (r#"{"channel":"a","data":[1]}"#, "has to be an object"),
            (r#"{"channel":"a","data":{"x":NaN}}"#, "not JSON"),
            (r#"{"channel":"a","data":{"x":1e999}}"#, "not JSON"),
            (r#"{"channel":"a","data":{"x":"\ud800"}}"#, "not JSON"),
            (r#"{"channel":"a","data":{},"event":"gap"}"#, "itself uses"),
            (r#"{"channel":"a","event":"x","merge":true}"#, "can't be merged"),
            (r#"{"channel":"a","data":{},"colour":1}"#, "no field \"colour\""),
            (r#"{"channel":"a","data":{"x\u0000":1}}"#, "data: the name \"x\\0\" has U+0000"),
            (r#"{"channel":"a","event":"b","data":{"x":[{"y":"\u0000"}]}}"#, "data.x[0].y: U+0000"),
            (r#"{"metric":"a.b","type":"set","value":"\u0000"}"#, "value: U+0000"),
            (r#"{"metric":"a.b","type":"gauge","value":1,"labels":{"x":"\u0000"}}"#, "labels.x: U+0000"),
            (r#"{"metric":5,"type":"gauge","value":1}"#, "\"metric\" has to be a string"),
            (r#"{"metric":"a.b","value":1}"#, "\"type\" is missing"),
            (r#"{"metric":"a.b","type":1,"value":1}"#, "\"type\" has to be a string"),
            (r#"{"metric":"a.b","type":"mean","value":1}"#, "gauge, counter, timing and set"),
            (r#"{"metric":"a.b","type":"gauge"}"#, "\"value\" is missing"),
            (r#"{"metric":"latency","type":"gauge","value":1}"#, "write CHANNEL.FIELD"),
            (r#"{"metric":"a.b","type":"gauge","value":"1"}"#, "has to be a number"),
            (r#"{"metric":"a.b","type":"gauge","value":NaN}"#, "not JSON"),
            (r#"{"metric":"a.b","type":"gauge","value":1e999}"#, "not JSON"),
            (r#"{"metric":"a.b","type":"gauge","value":1e30}"#, "between"),
            (r#"{"metric":"a.b","type":"counter","value":-1}"#, "below 0"),
            (r#"{"metric":"a.b","type":"gauge","value":1,"labels":["x"]}"#, "\"labels\" has to be an object"),
            (r#"{"metric":"a.b","type":"gauge","value":1,"labels":{"x":1}}"#, "the value of \"x\""),
            (r#"{"metric":"a.b","type":"gauge","value":1,"channel":"c"}"#, "there are metric, type"),
        ] {
            let found = lines(body, false);
            assert!(matches!(&found[..], [Err(detail)] if detail.contains(part)), "{body}: {found:?}");
        }
        let value = |levels: usize| {
            format!(r#"{{"channel":"a","data":{{"x":{}{}}}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert_eq!(lines(&value(depth::MAX_DEPTH), false), [Ok(())]);
        let mixed = lines(&format!("{one}\n{}\n{one}", value(depth::MAX_DEPTH + 1)), true);
        assert!(mixed[0].is_ok() && mixed[2].is_ok(), "{mixed:?}");
        assert!(matches!(&mixed[1], Err(detail) if detail.contains("more than 100 deep")), "{mixed:?}");
        let deep = value(10_000);
        assert!(lines(&deep, false)[0].is_err());
    }

    #[test]
    fn an_element_that_no_value_can_hold_is_refused_alone() {
        let one = r#"{"channel":"a","data":{}}"#;
        for bad in ["1e400", "-1e999", r#""\ud800""#, r#"{"\udc00":1}"#] {
            let bad = format!(r#"{{"channel":"a","data":{{"x":{bad}}}}}"#);
            let found = lines(&format!("[{one}, {bad},{one}]"), false);
            assert!(
                matches!(&found[..], [Ok(()), Err(detail), Ok(())] if detail.contains("not JSON")),
                "{bad}: {found:?}"
            );
        }
        let broken = lines(&format!("[{one},NaN,{one}]"), false);
        assert!(matches!(&broken[..], [Err(detail)] if detail.contains("the body is not JSON")), "{broken:?}");
    }

    #[test]
    fn lines_are_bounded_in_every_form() {
        let (one, many) = (r#"{"channel":"a","data":{}}"#, [r#"{"channel":"a","data":{}}"#; 4]);
        let lines = |body: String, ndjson| parse(&Bytes::from(body), ndjson, 3).map(|batch| batch.lines);
        for (body, ndjson) in [
            (format!("[{}]", many.join(",")), false),
            (many.join("\n"), false),
            (many.join("\n"), true),
            ("x\n".repeat(4), true),
            ("[1,1,1,1]".into(), false),
        ] {
            assert!(matches!(lines(body.clone(), ndjson), Err(Fault::TooManyLines)), "{body}");
        }
        assert!(matches!(lines(many[..3].join("\n\n"), true), Ok(3)));
        assert!(matches!(lines(format!("[{}]", many[..3].join(",")), false), Ok(3)));
        assert!(matches!(lines("[1,1,1,1".into(), false), Err(Fault::Bad(_))));
        assert!(matches!(lines(one.into(), false), Ok(1)));
    }

    #[test]
    fn refusals_are_listed_up_to_a_number_and_then_counted() {
        let batch = parse(&Bytes::from("x\n".repeat(5_000)), true, 0).unwrap();
        assert_eq!((batch.refused.count, batch.refused.listed.len()), (5_000, MAX_LISTED));
        assert_eq!(batch.refused.results(vec![5_000]).len(), MAX_LISTED + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, ndjson: bool) {
            let _ = parse(&Bytes::from(body), ndjson, 10);
        }
    }
}
