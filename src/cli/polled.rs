//! Bodies of polls (`docs/protocol.md`, section 4) as updates.

use serde_json::Value;
use tricast_client::Update;

/// Returns the contents of a response to a poll.
pub(super) fn updates(body: &mut Value) -> Vec<Update> {
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    let (timestamp, cursor) = (text(body, "timestamp"), text(body, "cursor"));
    let mut updates = Vec::new();
    if body["gap"] == true {
        updates.push(Update::Gap { reason: "too_old".into(), channels: Vec::new() });
    }
    if let Value::Array(events) = body["events"].take() {
        updates.extend(events.into_iter().map(event));
    }
    if let Value::Object(states) = body["channels"].take() {
        let state =
            |(channel, data)| Update::State { channel, data, timestamp: timestamp.clone(), cursor: cursor.clone() };
        updates.extend(states.into_iter().map(state));
    }
    updates
}

/// Converts an event of a response.
pub(super) fn event(mut line: Value) -> Update {
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    Update::Event {
        channel: text(&line, "channel").unwrap_or_default(),
        event: text(&line, "event").unwrap_or_default(),
        timestamp: text(&line, "timestamp"),
        cursor: text(&line, "cursor"),
        data: line["data"].take(),
    }
}
