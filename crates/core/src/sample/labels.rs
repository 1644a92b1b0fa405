//! Labels of a sample, and the name of their field.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Most labels of a sample.
pub const MAX_LABELS: usize = 32;

/// Longest value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Longest name of a label, in bytes.
pub const MAX_LABEL_NAME_BYTES: usize = 64;

/// Reason why labels are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The sample has more than [`MAX_LABELS`] labels.
    #[error("there are {0} of them, at most {MAX_LABELS} are allowed")]
    TooMany(usize),
    /// The name of a label is not valid.
    #[error("{0:?} is no name: [A-Za-z_][A-Za-z0-9_]{{0,63}} is")]
    BadName(String),
    /// A value that is not a string.
    #[error("the value of {0:?} has to be a string")]
    NotAString(String),
    /// A value above [`MAX_LABEL_BYTES`].
    #[error("the value of {0:?} is longer than {MAX_LABEL_BYTES} bytes")]
    TooLong(String),
}

/// Returns the field of a series with the labels of a pushed line, as [`labelled_field`] does.
///
/// # Errors
/// [`LabelError`].
pub(super) fn field_with(field: &str, labels: &Map<String, Value>) -> Result<Option<Box<str>>, LabelError> {
    let text = |(name, value): (&'_ String, &'_ Value)| match value {
        Value::String(_) => Ok(()),
        _ => Err(LabelError::NotAString(name.clone())),
    };
    labels.iter().filter(|(name, _)| is_name(name)).try_for_each(text)?;
    labelled_field(field, labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())))
}

/// Returns the field of a series with labels, as Prometheus writes it: `latency{region="eu",shop="1"}`, names sorted,
/// backslash, quote and line end escaped. `None` without labels. Names have to be different.
///
/// # Errors
/// [`LabelError`].
pub fn labelled_field<'a>(
    field: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Box<str>>, LabelError> {
    let mut sorted: Vec<(&str, &str)> = labels.into_iter().collect();
    if sorted.is_empty() {
        return Ok(None);
    }
    if sorted.len() > MAX_LABELS {
        return Err(LabelError::TooMany(sorted.len()));
    }
    for (name, value) in &sorted {
        if !is_name(name) {
            return Err(LabelError::BadName(name.chars().take(60).collect()));
        }
        if value.len() > MAX_LABEL_BYTES {
            return Err(LabelError::TooLong((*name).to_owned()));
        }
    }
    sorted.sort_unstable();
    let mut text = String::with_capacity(field.len() + 32 * sorted.len());
    text.push_str(field);
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push('}');
    Ok(Some(text.into()))
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_LABEL_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(labels: Value) -> Result<Option<String>, String> {
        let Value::Object(labels) = labels else { panic!("an object") };
        let made = field_with("latency", &labels).map_err(|error| error.to_string())?;
        Ok(made.map(String::from))
    }

    #[test]
    fn labels_are_sorted_and_escaped() {
        assert_eq!(field(json!({})), Ok(None));
        let made = field(json!({"shop": "1", "region": "eu"})).unwrap().unwrap();
        assert_eq!(made, r#"latency{region="eu",shop="1"}"#);
        let made = field(json!({"x": "a\"b\\c\nd", "_e": "é,}"})).unwrap().unwrap();
        assert_eq!(made, r#"latency{_e="é,}",x="a\"b\\c\nd"}"#);
    }

    #[test]
    fn labels_are_checked() {
        let many: Map<String, Value> = (0..=MAX_LABELS).map(|n| (format!("l{n}"), json!(""))).collect();
        assert!(field(Value::Object(many)).unwrap_err().contains("at most 32"));
        for bad in ["", "1a", "a-b", "é", "a.b", &"x".repeat(65)] {
            assert!(field(json!({bad: "x"})).unwrap_err().contains("is no name"), "{bad}");
        }
        assert!(field(json!({"x".repeat(64): "x".repeat(256)})).is_ok());
        assert!(field(json!({"a": 1})).unwrap_err().contains("has to be a string"));
        assert!(field(json!({"a": "é".repeat(129)})).unwrap_err().contains("longer than 256 bytes"));
    }
}
