//! Parser of one line of a push: a value, an event, a sample, or the end of a channel.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::web::problem::Problem;
use tricast_core::{
    channel::{Channel, EventName},
    decider::TTL,
    depth,
    protocol::{RESERVED_EVENTS, nul},
    reading::Reading,
    sample::Sample,
    span::Span,
};

/// Pushed line: a reading, or the reason for its refusal.
pub(super) type Line = Result<Reading, Problem>;

/// Parses a line. `nul`: it may contain U+0000, so it has to be checked.
pub(super) fn parse(value: Value, nul: bool) -> Line {
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
        (Some(_), _) if merge => Err(bad("an event can't be merged")),
        (Some(event), data) => Ok(Reading::Event { channel, event, data: data.unwrap_or_else(Map::new), ttl }),
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
