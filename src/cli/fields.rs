//! Values as fields: nested objects become paths, as in the history (`latency.p95`).

use serde_json::{Map, Value};

use super::output::printable;

/// Returns the fields of a value with their paths. Lists are fields.
pub(super) fn flatten(data: &Value) -> Vec<(String, &Value)> {
    fn add<'a>(prefix: &str, map: &'a Map<String, Value>, fields: &mut Vec<(String, &'a Value)>) {
        for (name, value) in map {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Object(inner) if !inner.is_empty() => add(&path, inner, fields),
                value => fields.push((path, value)),
            }
        }
    }
    let mut fields = Vec::new();
    match data {
        Value::Object(map) => add("", map, &mut fields),
        value => fields.push(("value".into(), value)),
    }
    fields
}

/// Returns the field of a path, whole objects included. A name that has dots itself is found, too.
pub(super) fn find<'a>(data: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(value) = data.get(path) {
        return Some(value);
    }
    let mut ends = path.match_indices('.').map(|(at, _)| at);
    ends.find_map(|at| find(data.get(&path[..at])?, &path[at + 1..]))
}

/// Returns the selected fields that the value has; all of them if none are selected.
pub(super) fn select<'a>(data: &'a Value, selected: &[String]) -> Vec<(String, &'a Value)> {
    if selected.is_empty() {
        return flatten(data);
    }
    selected.iter().filter_map(|path| Some((path.clone(), find(data, path)?))).collect()
}

/// Writes a value by itself: a text without quotes, everything else as JSON.
pub(super) fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        value => printable(&value.to_string()),
    }
}

/// Writes a value between others: a text has quotes if it would be ambiguous without them.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        value => super::output::json(value),
    }
}

/// Returns whether a text can't be mistaken for another type, or for several fields.
fn is_plain(text: &str) -> bool {
    let is_simple = |char: char| char.is_alphanumeric() || "-_.:/+%@#".contains(char);
    !text.is_empty() && text.chars().all(is_simple) && serde_json::from_str::<Value>(text).is_err()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_objects_become_paths() {
        let data = json!({"latency": {"p95": 3, "today": {"max": 9}}, "tags": ["a"], "a.b": 1, "empty": {}});
        let paths: Vec<_> =
            flatten(&data).into_iter().map(|(path, value)| format!("{path}={}", inline(value))).collect();
        assert_eq!(paths, ["a.b=1", "empty={}", "latency.p95=3", "latency.today.max=9", "tags=[\"a\"]"]);
        for (path, expected) in
            [("latency.p95", json!(3)), ("a.b", json!(1)), ("latency.today", json!({"max": 9})), ("tags", json!(["a"]))]
        {
            assert_eq!(find(&data, path), Some(&expected), "{path}");
        }
        assert_eq!(find(&data, "latency.p99"), None);
    }

    #[test]
    fn texts_have_quotes_where_they_would_be_ambiguous() {
        for (value, expected) in [
            (json!("ok"), "ok"),
            (json!("1.2"), "\"1.2\""),
            (json!("v1.2"), "v1.2"),
            (json!("true"), "\"true\""),
            (json!("a b"), "\"a b\""),
            (json!(""), "\"\""),
            (json!(true), "true"),
            (json!(null), "null"),
        ] {
            assert_eq!(inline(&value), expected);
        }
    }
}
