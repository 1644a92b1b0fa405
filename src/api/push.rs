//! `POST /api/metrics`: values, events, samples and ends of channels from clients (docs/protocol.md, section 7).

use std::{ops::RangeInclusive, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use bytes::Bytes;
use serde::{
    Deserializer as _,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::openapi::shapes;
use crate::web::{
    authorized::{Authorized, WriteMetrics},
    body::Body,
    channels,
    problem::Problem,
    state::State,
};
use tricast_core::{
    aggregator::PublishError,
    channel::{Channel, EventName},
    counters::Limit,
    depth,
    protocol::{RESERVED_EVENTS, error::Code, nul},
    reading::{Origin, Reading, Refusal},
    sample::Sample,
    span::Span,
};

/// Bodies above this size are parsed on another thread, because they would occupy the worker for more than a millisecond.
const PARSE_ELSEWHERE: usize = 64 * 1024;

/// Time after which to retry a push while the log cannot be written.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Most refused lines that are listed with their reasons; further ones are only counted.
const LISTED: usize = 100;

/// Shortest and longest time to live of a channel.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// Pushed line: a reading, or the reason for its refusal.
type Line = Result<Reading, Problem>;

/// Handles `POST /api/metrics` and its alias: one object, an array, or NDJSON.
///
/// 202 if all lines are in the log, 207 with the verdicts of the lines if some were refused. A single refused object gets
/// its problem as the response.
#[utoipa::path(
    post,
    path = "/api/metrics",
    tag = "Push",
    operation_id = "push",
    summary = "Push values, events, samples and ends of channels",
    description = "One object, an array, or one object a line (NDJSON), at most `limits.max_lines` of them; needs the \
        permission `write:metrics`. All of it is accepted, or with 207 each line has a verdict; a single object that is \
        refused is answered with its problem. A body may be compressed (`Content-Encoding: gzip`, `deflate` or `br`); \
        `max_body` is for it and for what it holds.",
    request_body(
        description = "Values, events, samples or ends of channels",
        content(
            (shapes::Lines = "application/json", examples(
                ("value" = (summary = "A value", value = json!({"channel": "metrics.checkout", "data": {"latency": 12.5}}))),
                ("event" = (summary = "An event", value = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2.3"}}))),
                ("sample" = (summary = "A sample", value = json!({"metric": "checkout.duration", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}))),
                ("end" = (summary = "The end of a channel", value = json!({"channel": "metrics.checkout", "delete": true}))),
                ("several" = (summary = "Several lines", value = json!([{"channel": "metrics.checkout", "data": {"carts": 3}, "merge": true}, {"metric": "shop.visitors", "type": "set", "value": "ada"}]))),
            )),
            ("application/x-ndjson", example = json!("{\"channel\":\"metrics.checkout\",\"data\":{\"carts\":3}}\n{\"metric\":\"shop.visitors\",\"type\":\"set\",\"value\":\"ada\"}\n")),
        )
    ),
    responses(
        (status = 202, description = "All lines are in the log", body = shapes::Accepted),
        (status = 207, description = "Some lines were refused", body = shapes::Mixed),
        (status = 409, description = "The channel has the other kind, or the series another type"),
        (status = 413, description = "The body is too large, or has too many lines"),
        (status = 504, description = "Timed out waiting for the cluster leader; the push may still be accepted"),
    )
)]
pub async fn post(request: HttpRequest, access: Authorized<WriteMetrics>, body: Body) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller, arrived, .. } = access;
    let body = body.bytes().await?;
    let (ndjson, weight, most) = (is_ndjson(&request), body.len(), state.shared.body.max_lines);
    let parsed = if weight > PARSE_ELSEWHERE {
        let parsed = web::block(move || parse(&body, ndjson, most)).await;
        parsed.map_err(|_| Problem::internal("the parsing thread is gone"))?
    } else {
        parse(&body, ndjson, most)
    };
    let Batch { lines, line_numbers, readings, mut refused, single } =
        parsed.map_err(|fault| fault.into_problem(&state, most))?;

    let has_ends = readings.iter().any(|reading| matches!(reading, Reading::End { .. }));
    let outcome = caller.tenant.aggregator.publish(Origin::Pushed, readings, weight).await;
    let outcome = outcome.map_err(not_published)?;
    let mut accepted = Vec::new();
    for (place, verdict) in line_numbers.into_iter().zip(outcome.verdicts) {
        match verdict {
            Ok(()) => accepted.push(place),
            Err(refusal) => {
                count(&state, &refusal);
                refused.add(place, || Problem::from(&refusal));
            }
        }
    }
    state.shared.counters.accepted.add(accepted.len() as u64);
    state.shared.counters.refused.add(refused.count as u64);
    state.shared.counters.publish_latency.observe(arrived.elapsed(), 1);

    if single && let Some((_, problem)) = refused.listed.pop() {
        return Err(problem);
    }
    let status = if refused.count == 0 { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    let mut answer = json!({"accepted": accepted.len(), "cursor": outcome.position.to_string()});
    if has_ends && !caller.tenant.has_stored_ends(&outcome.position).await {
        answer["stored"] = false.into();
    }
    if refused.count > 0 {
        debug_assert_eq!(accepted.len() + refused.count, lines);
        answer["refused"] = refused.count.into();
        answer["results"] = refused.results(accepted).into();
    }
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Handles `DELETE /api/metrics/{channel}`: ends a channel.
#[utoipa::path(
    delete,
    path = "/api/metrics/{channel}",
    tag = "Push",
    operation_id = "deleteChannel",
    summary = "End a pushed channel",
    description = "Its readers are told once, it leaves the snapshot and the list of channels, and makes room in the limits. \
        Its history stays. A later push makes the channel anew. Needs the permission `write:metrics`.",
    params(("channel" = String, Path, description = "Its name", pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.checkout")),
    responses(
        (status = 202, description = "The channel has ended, but its end is not stored yet: until then a crash may bring it back", body = shapes::NotStored),
        (status = 204, description = "The channel has ended"),
        (status = 404, description = "There is no such channel"),
        (status = 410, description = "The channel had already ended"),
        (status = 504, description = "Timed out waiting for the cluster leader; the channel may still end"),
    )
)]
pub async fn delete(channel: web::Path<String>, access: Authorized<WriteMetrics>) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller, .. } = access;
    let channel = channels::parse_one(&channel)?;
    let end = Reading::End { channel: channel.clone() };
    let outcome = caller.tenant.aggregator.publish(Origin::Pushed, vec![end], 0).await.map_err(not_published)?;
    match outcome.verdicts.into_iter().next() {
        Some(Err(refusal)) => {
            state.shared.counters.refused.inc();
            let ended = caller.tenant.log.end_of(&channel).filter(|_| matches!(refusal, Refusal::NoChannel(_)));
            Err(ended.map_or_else(|| Problem::from(&refusal), |end| Problem::gone(&end)))
        }
        _ => {
            state.shared.counters.accepted.inc();
            if caller.tenant.has_stored_ends(&outcome.position).await {
                Ok(HttpResponse::NoContent().finish())
            } else {
                Ok(HttpResponse::Accepted().json(json!({"stored": false})))
            }
        }
    }
}

fn not_published(error: PublishError) -> Problem {
    match error {
        PublishError::Stopped => {
            Problem::unavailable("the server is shutting down", crate::shutdown::reconnect_after())
        }
        PublishError::Unavailable => Problem::unavailable(error.to_string(), RETRY_AFTER),
        PublishError::Unknown => Problem::unknown(error.to_string()),
    }
}

/// Refused lines, counted from 0: the first [`LISTED`] ones with their problems, and their total number.
#[derive(Default)]
struct Refused {
    count: usize,
    listed: Vec<(usize, Problem)>,
}

impl Refused {
    fn add(&mut self, line: usize, problem: impl FnOnce() -> Problem) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push((line, problem()));
        }
    }

    /// Returns the verdicts in the order of the lines. Lines without a verdict were refused.
    fn results(self, accepted: Vec<usize>) -> Vec<Value> {
        let accepted = accepted.into_iter().map(|place| (place, json!({"index": place, "status": 202})));
        let refused = self.listed.into_iter().map(|(place, problem)| {
            let Problem { status, code, detail, .. } = problem;
            let verdict = json!({"index": place, "status": status.as_u16(), "code": code.as_str(), "detail": detail});
            (place, verdict)
        });
        let mut results: Vec<_> = accepted.chain(refused).collect();
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, verdict)| verdict).collect()
    }
}

fn count(state: &State, refusal: &Refusal) {
    let limit = match refusal {
        Refusal::TooManyChannels(_) => Limit::Channels,
        Refusal::SnapshotFull(_) => Limit::Snapshot,
        Refusal::TooManySeries(_) => Limit::Series,
        Refusal::StatesFull(_) => Limit::State,
        Refusal::ServerFull(_) => Limit::StateTotal,
        Refusal::BuiltIn(_)
        | Refusal::NoChannel(_)
        | Refusal::OtherKind { .. }
        | Refusal::OtherType { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Unreadable => {
            return;
        }
    };
    state.shared.counters.limit(limit).inc();
}

fn is_ndjson(request: &HttpRequest) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.contains("ndjson") || kind.contains("jsonl") || kind.contains("json-seq") || kind.contains("jsonlines")
}

/// Parsed body.
#[derive(Default)]
struct Batch {
    /// Number of lines.
    lines: usize,
    /// Line number of each reading.
    line_numbers: Vec<usize>,
    readings: Vec<Reading>,
    refused: Refused,
    /// Set for a single object, whose refusal is the response.
    single: bool,
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
}

/// Reason for refusing a whole body.
#[derive(Debug)]
enum Fault {
    /// Description of the fault.
    Bad(String),
    TooManyLines,
}

impl Fault {
    fn into_problem(self, state: &State, most: usize) -> Problem {
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
fn parse(bytes: &Bytes, ndjson: bool, most: usize) -> Result<Batch, Fault> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(Fault::Bad("the body is empty: send an object, an array, or one object a line".into()));
    }
    let nul = nul::may_be_in(bytes);
    if !ndjson {
        let parsed = match text.first() {
            Some(b'[') => list(text, most, nul),
            _ => serde_json::from_slice(text).map(|value| {
                let mut batch = Batch { single: true, ..Batch::default() };
                batch.add(0, || reading(value, nul))?;
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
        batch.add(most, || {
            // In joined files each part may begin with a byte order mark.
            let value = serde_json::from_slice(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line));
            reading(value.map_err(|error| Problem::bad_request(format!("not JSON: {error}")))?, nul)
        })?;
    }
    Ok(batch)
}

/// Parses an array, one element after the other, so that only one of them is in memory twice.
fn list(text: &[u8], most: usize, nul: bool) -> serde_json::Result<Result<Batch, Fault>> {
    struct List {
        most: usize,
        nul: bool,
    }

    impl<'de> Visitor<'de> for List {
        type Value = Result<Batch, Fault>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut batch = Batch::default();
            while let Some(value) = list.next_element()? {
                if let Err(fault) = batch.add(self.most, || reading(value, self.nul)) {
                    // The rest is read only to reach the end.
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(fault));
                }
            }
            Ok(Ok(batch))
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    let batch = json.deserialize_seq(List { most, nul })?;
    json.end()?;
    Ok(batch)
}

/// Returns whether the first line is a complete value and further lines follow.
fn is_lines(bytes: &[u8], error: &serde_json::Error) -> bool {
    let first = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    error.is_syntax() && error.line() > 1 && serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok()
}

/// Parses a line. `nul`: it may contain U+0000, so it has to be checked.
fn reading(value: Value, nul: bool) -> Line {
    let bad = |detail: &str| Problem::bad_request(detail);
    if nul && let Some(fault) = nul::fault(&value) {
        return Err(Problem::bad_request(fault));
    }
    let Value::Object(mut fields) = value else { return Err(bad("each line has to be an object")) };
    if let Some(metric) = fields.remove("metric") {
        return sample(metric, fields);
    }
    let channel = match fields.remove("channel") {
        Some(Value::String(name)) => {
            Channel::parse(&name).map_err(|error| Problem::bad_request(format!("\"channel\": {error}")))?
        }
        Some(_) => return Err(bad("\"channel\" has to be a string")),
        None => return Err(bad("\"channel\" is missing")),
    };
    match fields.remove("delete") {
        None => {}
        Some(Value::Bool(true)) => {
            no_more(&fields, "channel and delete")?;
            return Ok(Reading::End { channel });
        }
        Some(_) => return Err(bad("\"delete\" has to be true")),
    }
    let ttl = ttl(&mut fields)?;
    let merge = match fields.remove("merge") {
        None => false,
        Some(Value::Bool(merge)) => merge,
        Some(_) => return Err(bad("\"merge\" has to be true or false")),
    };
    let data = match fields.remove("data") {
        Some(Value::Object(data)) if depth::is_too_deep(&data) => {
            return Err(Problem::bad_request(format!("\"data\" is nested more than {} deep", depth::MAX_DEPTH)));
        }
        Some(Value::Object(data)) => Some(data),
        Some(_) => return Err(bad("\"data\" has to be an object")),
        None => None,
    };
    let event = match fields.remove("event") {
        None => None,
        Some(Value::String(name)) if RESERVED_EVENTS.contains(&name.as_str()) => {
            return Err(Problem::bad_request(format!(
                "\"event\": {name:?} is a name that the event stream itself uses"
            )));
        }
        Some(Value::String(name)) => {
            Some(EventName::parse(&name).map_err(|error| Problem::bad_request(format!("\"event\": {error}")))?)
        }
        Some(_) => return Err(bad("\"event\" has to be a string")),
    };
    no_more(&fields, "channel, data, merge, ttl, delete and event")?;
    match (event, data) {
        (Some(_), _) if ttl.is_some() => Err(bad("\"ttl\" is for values and samples")),
        (Some(_), _) if merge => Err(bad("an event can't be merged")),
        (Some(event), data) => Ok(Reading::Event { channel, event, data: data.unwrap_or_else(Map::new) }),
        (None, Some(data)) => Ok(Reading::Value { channel, data, merge, ttl }),
        (None, None) => Err(bad("\"data\" is missing")),
    }
}

/// Parses a typed sample: `{"metric":"checkout.latency","type":"timing","value":12.5,"labels":{"region":"eu"}}`.
fn sample(metric: Value, mut fields: Map<String, Value>) -> Line {
    let bad = |detail: &str| Problem::bad_request(detail);
    let Value::String(metric) = metric else { return Err(bad("\"metric\" has to be a string")) };
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(bad("\"type\" has to be a string")),
        None => return Err(bad("\"type\" is missing: gauge, counter, timing or set")),
    };
    let value = fields.remove("value").ok_or_else(|| bad("\"value\" is missing"))?;
    let labels = match fields.remove("labels") {
        Some(Value::Object(labels)) => labels,
        Some(_) => return Err(bad("\"labels\" has to be an object")),
        None => Map::new(),
    };
    let ttl = ttl(&mut fields)?;
    no_more(&fields, "metric, type, value, labels and ttl")?;
    let sample = Sample::parse(&metric, &kind, &value, &labels);
    let reading = |sample| Reading::Sample(Box::new(Sample { ttl, ..sample }));
    sample.map(reading).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Removes and parses `ttl`, in milliseconds.
fn ttl(fields: &mut Map<String, Value>) -> Result<Option<u64>, Problem> {
    let ttl = match fields.remove("ttl") {
        None => return Ok(None),
        Some(Value::String(text)) => Span::parse(&text).ok().map(|span| span.0),
        Some(other) => other.as_u64().map(Duration::from_millis),
    };
    let ttl = ttl.filter(|ttl| TTL.contains(ttl)).and_then(|ttl| u64::try_from(ttl.as_millis()).ok());
    let wrong = "\"ttl\": write \"30s\", \"5m\", \"2h\", \"7d\" or a number of milliseconds, 1 s to 366 d";
    ttl.map(Some).ok_or_else(|| Problem::bad_request(wrong))
}

/// Refuses unknown fields, which are likely misspelt.
fn no_more(fields: &Map<String, Value>, known: &str) -> Result<(), Problem> {
    let Some(unknown) = fields.keys().next() else { return Ok(()) };
    let shown: String = unknown.chars().take(60).collect();
    Err(Problem::bad_request(format!("there is no field {shown:?}; there are {known}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        assert_eq!((batch.refused.count, batch.refused.listed.len()), (5_000, LISTED));
        assert_eq!(batch.refused.results(vec![5_000]).len(), LISTED + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, ndjson: bool) {
            let _ = parse(&Bytes::from(body), ndjson, 10);
        }
    }
}
