//! Values that are restored from history into a log that starts empty. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::store::Newest;
use tricast_core::{channel::Channel, reading::Restored};

/// Combines the newest points of all series into values, oldest channel first. All fields of a version have the same
/// time, so a field that is older than another one of its channel was not in the last version.
pub(super) fn values(newest: Vec<Newest>) -> Vec<Restored> {
    let mut channels = BTreeMap::<Channel, Restored>::new();
    for Newest { name, at, value } in newest {
        let Some(value) = serde_json::Number::from_f64(value).map(shortest) else { continue };
        let Ok(at) = Timestamp::from_millisecond(at) else { continue };
        let restored = channels.entry(name.channel.clone()).or_insert_with(|| Restored {
            channel: name.channel.clone(),
            at,
            data: Map::new(),
        });
        if restored.at < at {
            (restored.at, restored.data) = (at, Map::new());
        }
        if restored.at == at {
            insert(&mut restored.data, &name.field, Value::Number(value));
        }
    }
    let mut values: Vec<_> = channels.into_values().collect();
    values.sort_by_key(|restored| restored.at);
    values
}

/// Writes an integer as such, as it most often was.
fn shortest(number: serde_json::Number) -> serde_json::Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(whole) if whole.fract() == 0.0 && whole.abs() < EXACT => (whole as i64).into(),
        _ => number,
    }
}

/// Sets the field at `path`; each part but the last is an object. A field whose parent is a number is left out.
fn insert(data: &mut Map<String, Value>, path: &str, value: Value) {
    match split(path) {
        (name, None) => drop(data.insert(name.into(), value)),
        (name, Some(rest)) => {
            let inner = data.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Returns the first part of a path and the rest. A dot inside labels, `latency{region="eu.west"}`, separates nothing.
fn split(path: &str) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped) = (false, false);
    for (place, byte) in path.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'.' if !quoted => return (&path[..place], Some(&path[place + 1..])),
            _ => {}
        }
    }
    (path, None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::SeriesName;

    fn point(channel: &str, field: &str, at: i64, value: f64) -> Newest {
        let name = SeriesName { channel: Channel::parse(channel).unwrap(), field: field.into() };
        Newest { name, at, value }
    }

    #[test]
    fn a_value_has_the_fields_of_its_last_version() {
        let values = values(vec![
            point("metrics.b", "gone", 10, 1.0),
            point("metrics.b", "x", 20, 2.5),
            point("metrics.b", "y.z", 20, -3.0),
            point("metrics.b", "older", 19, 1.0),
            point("metrics.a", "rate{host=\"a.b\\\"c\"}.p95", 15, 7.0),
            point("metrics.c", "x\\.y", 5, 1.0),
        ]);
        let restored_values: Vec<_> = values
            .into_iter()
            .map(|value| (value.channel.to_string(), value.at.as_millisecond(), Value::Object(value.data)))
            .collect();
        let labelled = json!({"rate{host=\"a.b\\\"c\"}": {"p95": 7}});
        assert_eq!(
            restored_values,
            [
                ("metrics.c".to_owned(), 5, json!({"x\\": {"y": 1}})),
                ("metrics.a".to_owned(), 15, labelled),
                ("metrics.b".to_owned(), 20, json!({"x": 2.5, "y": {"z": -3}})),
            ]
        );
    }
}
