//! Check for U+0000 in the input of clients. PostgreSQL can store it neither in texts nor in JSON, so it is refused with
//! every store: the accepted input does not depend on the store.

use serde_json::Value;

/// Most bytes of a name in an error.
const SHOWN: usize = 60;

/// Returns whether `json`, a JSON text, may contain U+0000. It can only be written as an escape sequence, so texts
/// without one need no further check.
pub fn may_be_in(json: &[u8]) -> bool {
    memchr::memmem::find(json, br"\u0000").is_some()
}

/// Describes the place of U+0000 in a value; `None` if there is none.
///
/// ```text
/// data.tags[2]: U+0000 can't be stored
/// data: the name "a\0b" has U+0000, which can't be stored
/// ```
pub fn fault(value: &Value) -> Option<String> {
    fault_below(value, &mut String::new())
}

fn fault_below(value: &Value, path: &mut String) -> Option<String> {
    let prefix = |path: &str| if path.is_empty() { String::new() } else { format!("{path}: ") };
    match value {
        Value::String(text) if text.contains('\0') => Some(format!("{}U+0000 can't be stored", prefix(path))),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(at, value)| below(path, &format!("[{at}]"), |path| fault_below(value, path))),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                let shown: String = name.chars().take(SHOWN).collect();
                return Some(format!("{}the name {shown:?} has U+0000, which can't be stored", prefix(path)));
            }
            let dot = if path.is_empty() { "" } else { "." };
            below(path, &format!("{dot}{name}"), |path| fault_below(value, path))
        }),
        _ => None,
    }
}

fn below<T>(path: &mut String, part: &str, look: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(part);
    let found = look(path);
    path.truncate(length);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_is_named() {
        for (text, fault) in [
            (r#"{"data":{"a\u0000b":1}}"#, Some(r#"data: the name "a\0b" has U+0000, which can't be stored"#)),
            (r#"{"data":{"tags":["x","\u0000"]}}"#, Some("data.tags[1]: U+0000 can't be stored")),
            (r#""\u0000""#, Some("U+0000 can't be stored")),
            (r#"{"\u0000":1}"#, Some(r#"the name "\0" has U+0000, which can't be stored"#)),
            (r#"{"a":"\\u0000"}"#, None),
        ] {
            assert!(may_be_in(text.as_bytes()), "{text}");
            assert_eq!(super::fault(&serde_json::from_str(text).unwrap()).as_deref(), fault, "{text}");
        }
        assert!(!may_be_in(br#"{"a":"\u0001"}"#));
    }
}
