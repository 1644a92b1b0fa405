//! Limit of the nesting of JSON.
//!
//! A value is parsed and serialized repeatedly: in a batch, in a group of batches, in an entry of the log, in a snapshot.
//! Each adds some levels, and parsers stop at 128 (serde_json). A lower limit that is checked at the entrance is the same
//! with every store, with and without a bus.

use serde_json::{Map, Value};

/// Most nested objects and arrays in one value, including the outermost object.
pub const MAX_DEPTH: usize = 100;

/// Returns whether `fields`, as one object, is nested deeper than [`MAX_DEPTH`].
pub fn is_too_deep(fields: &Map<String, Value>) -> bool {
    fields.values().any(|value| exceeds(value, MAX_DEPTH - 1))
}

/// Returns whether `value` has more than `levels` of objects and arrays.
fn exceeds(value: &Value, levels: usize) -> bool {
    let inside = |value| exceeds(value, levels - 1);
    match value {
        Value::Object(fields) => levels == 0 || fields.values().any(inside),
        Value::Array(items) => levels == 0 || items.iter().any(inside),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize, open: &str, close: &str) -> Map<String, Value> {
        let text = format!("{{\"x\":{}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_value_may_have_exactly_as_many_levels_as_the_limit() {
        for (open, close) in [("{\"y\":", "}"), ("[", "]")] {
            assert!(!is_too_deep(&nested(1, open, close)));
            assert!(!is_too_deep(&nested(MAX_DEPTH, open, close)));
            assert!(is_too_deep(&nested(MAX_DEPTH + 1, open, close)));
        }
        let inside = format!("{{\"y\":1,\"z\":{}1{},\"zz\":1}}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for outside in ["", "[1,"] {
            let text =
                format!("{{\"w\":1,\"x\":{outside}{inside}{},\"y\":1}}", if outside.is_empty() { "" } else { ",1]" });
            assert!(is_too_deep(&serde_json::from_str(&text).unwrap()), "a single deep field is too deep");
        }
        let empty = format!("{{\"x\":{}{}}}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(is_too_deep(&serde_json::from_str(&empty).unwrap()), "an empty array is a level too");
    }
}
