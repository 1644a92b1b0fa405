//! Lookup of a field in a value.

use serde_json::Value;

/// Returns the field `path` of an object: the field with this very name, or else along the dots into objects; `None` if
/// it does not exist or is `null`. Names may contain dots, as those of samples with labels do.
pub(super) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    if let Some(found) = fields.get(path) {
        return Some(found).filter(|found| !found.is_null());
    }
    let dots = path.char_indices().filter(|(_, char)| *char == '.');
    dots.filter_map(|(dot, _)| find(fields.get(&path[..dot])?, &path[dot + 1..])).next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_or_its_path() {
        let value = json!({
            "x": 1, "a": {"b": {"c": 2}, "b.d": 3}, "a.b": {"e": 4}, "latency{path=\"/v1.0\"}": {"p95": 5}, "n": null, "s": "t",
        });
        for (path, found) in [
            ("x", Some(json!(1))),
            ("a.b.c", Some(json!(2))),
            ("a.b.d", Some(json!(3))),
            ("a.b.e", Some(json!(4))),
            ("latency{path=\"/v1.0\"}.p95", Some(json!(5))),
            ("s", Some(json!("t"))),
            ("n", None),
            ("a.n", None),
            ("x.y", None),
            (".", None),
            ("", None),
            ("a.", None),
        ] {
            assert_eq!(find(&value, path), found.as_ref(), "{path}");
        }
    }
}
