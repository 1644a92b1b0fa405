//! Numeric fields of a value. Pure.

use serde_json::Value;

/// Longest path of a field, in bytes; longer ones are not recorded.
pub(super) const MAX_FIELD: usize = 256;

/// Largest depth of nested objects.
const MAX_DEPTH: usize = 4;

/// Returns the numeric fields of the object `data` by their paths: a field of a nested object is called `outer.inner`.
/// Lists, texts and `null` are not numeric.
pub(super) fn numeric_fields(data: &[u8]) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(data) {
        collect(String::new(), &value, MAX_DEPTH, &mut found);
    }
    found
}

fn collect(path: String, value: &Value, depth: usize, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) if !path.is_empty() && path.len() <= MAX_FIELD => {
            found.extend(number.as_f64().filter(|number| number.is_finite()).map(|number| (path, number)));
        }
        Value::Object(fields) if depth > 0 => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(path, value, depth - 1, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_fields_are_found_by_their_paths() {
        let data = br#"{"a":1,"b":"2","c":null,"d":[3],"e":{"f":4.5,"g":{"h":-5}},"i":true,"":7}"#;
        let found = numeric_fields(data);
        let found: Vec<_> = found.iter().map(|(path, number)| (path.as_str(), *number)).collect();
        assert_eq!(found, [("a", 1.0), ("e.f", 4.5), ("e.g.h", -5.0)]);
        let deep = format!("{}1{}", r#"{"x":"#.repeat(9), "}".repeat(9));
        assert!(numeric_fields(deep.as_bytes()).is_empty(), "only so deep");
        let named = |bytes: usize| numeric_fields(format!(r#"{{"{}":1}}"#, "x".repeat(bytes)).as_bytes()).len();
        assert_eq!([named(MAX_FIELD), named(MAX_FIELD + 1)], [1, 0]);
        for bad in ["", "1", "[1]", "{"] {
            assert!(numeric_fields(bad.as_bytes()).is_empty(), "{bad}");
        }
    }
}
