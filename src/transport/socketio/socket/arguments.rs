//! Arguments of the events of the documented namespaces.

use std::time::Duration;

use serde_json::Value;

use tricast_core::interval::parse_interval;

/// Longest id of a dashboard or an entity, in bytes.
const MAX_ID: usize = 100;

/// Rule for IDs, as error messages state it.
pub(super) const ID_RULE: &str = "an id is 1 to 100 letters, digits, '_', '-', ':' or '.'";

/// Returns an id that can be part of a channel's name.
pub(super) fn id_of(value: Option<&Value>) -> Option<String> {
    let id = match value? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte);
    (!id.is_empty() && id.len() <= MAX_ID && id.bytes().all(fits)).then_some(id)
}

/// Returns the `interval` of an argument, if it has one.
pub(super) fn interval_of(argument: Option<&Value>) -> Result<Option<Duration>, String> {
    let interval = match argument.and_then(|argument| argument.get("interval")) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => parse_interval(text),
        Some(other) => parse_interval(&other.to_string()),
    };
    interval.map(Some).map_err(|error| format!("interval: {error}"))
}
