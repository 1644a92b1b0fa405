//! `POST /api/metrics`: values, events and samples from outside (contract, section 7).

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{access, body, openapi::shapes, problem::Problem, state::State};
use crate::{
    auth::Permission,
    core::{
        aggregator::PublishError,
        channel::{Channel, EventName},
        depth,
        reading::{Origin, Reading, Refusal},
        sample::Sample,
    },
    counters::Limit,
    protocol::RESERVED_EVENTS,
};

/// A body above this is parsed away from the worker, which would be busy for more than a millisecond.
const PARSE_ELSEWHERE: usize = 64 * 1024;

/// When a push is worth another try while the log can't be written.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A pushed line: a reading, or why it is none.
type Line = Result<Reading, Problem>;

/// `POST /api/metrics` and its alias: one object, an array, or NDJSON.
///
/// 202 when all is in the log, 207 with each line's verdict when some were refused; a single refused object is answered
/// with its problem.
#[utoipa::path(
    post,
    path = "/api/metrics",
    tag = "Push",
    operation_id = "push",
    summary = "Values, events and samples from outside",
    description = "One object, an array, or one object a line (NDJSON); needs the permission `write:metrics`. All of it \
        is accepted, or with 207 each line has a verdict; a single object that is refused is answered with its problem. \
        A body may be compressed (`Content-Encoding: gzip`, `deflate` or `br`); `max_body` is for it and for what it holds.",
    request_body(
        description = "What was measured or what happened",
        content(
            (shapes::Lines = "application/json", examples(
                ("value" = (summary = "A value", value = json!({"channel": "metrics.checkout", "data": {"latency": 12.5}}))),
                ("event" = (summary = "An event", value = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2.3"}}))),
                ("sample" = (summary = "A sample", value = json!({"metric": "checkout.duration", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}))),
                ("several" = (summary = "Several at once", value = json!([{"channel": "metrics.checkout", "data": {"carts": 3}, "merge": true}, {"metric": "shop.visitors", "type": "set", "value": "ada"}]))),
            )),
            ("application/x-ndjson", example = json!("{\"channel\":\"metrics.checkout\",\"data\":{\"carts\":3}}\n{\"metric\":\"shop.visitors\",\"type\":\"set\",\"value\":\"ada\"}\n")),
        )
    ),
    responses(
        (status = 202, description = "All of it is in the log", body = shapes::Accepted),
        (status = 207, description = "Some lines were refused", body = shapes::Mixed),
        (status = 409, description = "The channel is of the other kind, or the series of another type"),
        (status = 504, description = "Timed out waiting for the cluster leader; the push may still be accepted"),
    )
)]
pub async fn post(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let arrived = Instant::now();
    let state = State::of(&request)?;
    access::check_origin(&state, &request)?;
    let caller = access::identify(&state, &request).await?;
    caller.needs(Permission::WriteMetrics)?;
    let body = body::read(&state, &request, &mut payload.into_inner()).await?;
    let (ndjson, weight) = (is_ndjson(&request), body.len());
    let batch = if weight > PARSE_ELSEWHERE {
        let parsed = web::block(move || parse(&body, ndjson)).await;
        parsed.map_err(|_| Problem::internal("the parsing thread is gone"))??
    } else {
        parse(&body, ndjson)?
    };
    let Batch { lines, single } = batch;

    let mut problems = Vec::with_capacity(lines.len());
    let mut readings = Vec::with_capacity(lines.len());
    for line in lines {
        match line {
            Ok(reading) => {
                readings.push(reading);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let outcome = caller.tenant.aggregator.publish(Origin::Pushed, readings, weight).await;
    let outcome = outcome.map_err(|error| match error {
        PublishError::Stopped => Problem::unavailable("the server is going away", crate::shutdown::reconnect_after()),
        PublishError::Unavailable => Problem::unavailable(error.to_string(), RETRY_AFTER),
        PublishError::Unknown => Problem::unknown(error.to_string()),
    })?;
    outcome.verdicts.iter().filter_map(|verdict| verdict.as_ref().err()).for_each(|refusal| count(&state, refusal));
    let mut verdicts = outcome.verdicts.into_iter();
    for problem in problems.iter_mut().filter(|problem| problem.is_none()) {
        *problem = verdicts.next().and_then(Result::err).as_ref().map(Problem::from);
    }
    let refused = problems.iter().flatten().count();
    let accepted = problems.len() - refused;
    state.counters.accepted.add(accepted as u64);
    state.counters.refused.add(refused as u64);
    state.counters.publish_latency.observe(arrived.elapsed(), 1);

    if single && let Some(Some(problem)) = problems.pop_if(|problem| problem.is_some()) {
        return Err(problem);
    }
    let mut answer = json!({"accepted": accepted, "cursor": outcome.position.to_string()});
    let status = if refused == 0 { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    if refused > 0 {
        let verdict = |(index, problem): (usize, &Option<Problem>)| match problem {
            None => json!({"index": index, "status": 202}),
            Some(p) => {
                json!({"index": index, "status": p.status.as_u16(), "code": p.code.as_str(), "detail": p.detail})
            }
        };
        answer["results"] = problems.iter().enumerate().map(verdict).collect();
    }
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

fn count(state: &State, refusal: &Refusal) {
    let limit = match refusal {
        Refusal::TooManyChannels(_) => Limit::Channels,
        Refusal::SnapshotFull(_) => Limit::Snapshot,
        Refusal::TooManySeries(_) => Limit::Series,
        _ => return,
    };
    state.counters.limit(limit).inc();
}

fn is_ndjson(request: &HttpRequest) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.contains("ndjson") || kind.contains("jsonl") || kind.contains("json-seq") || kind.contains("jsonlines")
}

struct Batch {
    lines: Vec<Line>,
    /// One object by itself: its refusal is the answer.
    single: bool,
}

/// Reads a body. What is several lines of JSON is NDJSON, whatever it is called.
fn parse(bytes: &Bytes, ndjson: bool) -> Result<Batch, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::bad_request("the body is empty: send an object, an array, or one object a line"));
    }
    if !ndjson {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(Value::Array(list)) => {
                return Ok(Batch { lines: list.into_iter().map(reading).collect(), single: false });
            }
            Ok(value) => return Ok(Batch { lines: vec![reading(value)], single: true }),
            Err(error) if is_lines(bytes, &error) => {}
            Err(error) => return Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
        }
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let parse = |line: &[u8]| {
        // Where files were joined, each may begin with a byte order mark.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let value = serde_json::from_slice(line).map_err(|error| Problem::bad_request(format!("not JSON: {error}")))?;
        reading(value)
    };
    Ok(Batch { lines: lines.map(parse).collect(), single: false })
}

/// Whether the first line is a value by itself and more follows.
fn is_lines(bytes: &[u8], error: &serde_json::Error) -> bool {
    let first = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    error.is_syntax() && error.line() > 1 && serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok()
}

fn reading(value: Value) -> Line {
    let bad = |detail: &str| Problem::bad_request(detail);
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
    no_more(&fields, "channel, data, merge and event")?;
    match (event, data) {
        (Some(_), _) if merge => Err(bad("an event can't be merged")),
        (Some(event), data) => Ok(Reading::Event { channel, event, data: data.unwrap_or_else(Map::new) }),
        (None, Some(data)) => Ok(Reading::Value { channel, data, merge }),
        (None, None) => Err(bad("\"data\" is missing")),
    }
}

/// A typed sample: `{"metric":"checkout.latency","type":"timing","value":12.5,"labels":{"region":"eu"}}`.
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
    no_more(&fields, "metric, type, value and labels")?;
    let sample = Sample::parse(&metric, &kind, &value, &labels);
    sample.map(|sample| Reading::Sample(Box::new(sample))).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Refuses fields that nobody asked for: they are misspelt ones.
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
        match parse(&Bytes::copy_from_slice(body.as_bytes()), ndjson) {
            Ok(batch) => batch.lines.into_iter().map(|line| line.map(drop).map_err(|problem| problem.detail)).collect(),
            Err(problem) => vec![Err(problem.detail)],
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
    fn what_is_wrong_is_said() {
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

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, ndjson: bool) {
            let _ = parse(&Bytes::from(body), ndjson);
        }
    }
}
