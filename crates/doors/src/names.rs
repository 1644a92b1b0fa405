//! The rule by which foreign names become names of channels, fields and labels. None is dropped.
//!
//! - A character that is not allowed becomes `_`.
//! - A name that is too long is cut, and ends in a hash of the whole, so that different names stay different.
//! - An empty name becomes `_`.
//! - A label name that occurs twice after that gets a number: `a_b`, `a_b_2`.

use std::{borrow::Cow, collections::HashSet};

use xxhash_rust::xxh3::xxh3_64;

/// Longest name of a channel below `metrics.`, in bytes.
const CHANNEL_BYTES: usize = 119;

/// Longest name of a field without labels, in bytes.
const FIELD_BYTES: usize = 64;

/// Longest name of a label, in bytes, with room for a number.
const LABEL_BYTES: usize = 60;

/// Longest value of a label, in bytes.
const VALUE_BYTES: usize = 256;

/// Returns the name of the channel below `metrics.`: `A-Z a-z 0-9 _ . : -`.
pub fn channel(name: &str) -> Cow<'_, str> {
    mapped(name, CHANNEL_BYTES, '-', |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-'))
}

/// Returns the name of a field: as that of a channel, without dots.
pub fn field(name: &str) -> Cow<'_, str> {
    mapped(name, FIELD_BYTES, '-', |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-'))
}

/// Returns the labels with valid names and values, each name once.
pub fn labels(labels: &[(String, String)]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut seen = HashSet::with_capacity(labels.len());
    labels
        .iter()
        .map(|(name, value)| {
            let mapped = label(name);
            let mut unique = mapped.clone();
            let mut number = 1;
            while !seen.insert(unique.clone()) {
                number += 1;
                unique = format!("{mapped}_{number}").into();
            }
            // U+0000 is not allowed in values.
            (unique, self::mapped(value, VALUE_BYTES, '~', |c| c != '\0'))
        })
        .collect()
}

fn label(name: &str) -> Cow<'_, str> {
    let name = mapped(name, LABEL_BYTES - 1, '_', |c| c.is_ascii_alphanumeric() || c == '_');
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}").into() } else { name }
}

fn mapped(name: &str, most: usize, mark: char, is_allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if name.len() <= most && name.chars().all(&is_allowed) {
        // An empty value of a label is allowed.
        return if name.is_empty() && mark != '~' { "_".into() } else { name.into() };
    }
    let mut text: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    if text.len() > most {
        let hash = format!("{mark}{:08x}", xxh3_64(name.as_bytes()) as u32);
        text.truncate(text.floor_char_boundary(most - hash.len()));
        text.push_str(&hash);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_names_stay_as_they_are() {
        for name in ["cpu", "node.cpu_seconds_total", "a:b-c.d", "A9"] {
            assert!(matches!(channel(name), Cow::Borrowed(same) if same == name), "{name}");
        }
        assert_eq!(field("usage-idle:1"), "usage-idle:1");
        assert_eq!(labels(&[("host".into(), "a b/ü".into())]), [("host".into(), "a b/ü".into())]);
    }

    #[test]
    fn characters_that_are_not_allowed_become_underscores() {
        assert_eq!(channel("disk io/ü"), "disk_io__");
        assert_eq!(channel(""), "_");
        assert_eq!(field("a.b"), "a_b");
        assert_eq!(field(""), "_");
        let pairs = [("a-b", "x"), ("a_b", "y"), ("9", "z"), ("", "")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let names: Vec<_> = labels(&pairs).into_iter().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["a_b", "a_b_2", "_9", "_"]);
    }

    #[test]
    fn long_names_stay_different() {
        let (one, other) = ("x".repeat(200), "x".repeat(201));
        assert_ne!(channel(&one), channel(&other));
        assert_ne!(field(&one), field(&other));
        let long = |value: String| labels(&[("a".into(), value)])[0].1.clone().into_owned();
        assert_ne!(long("é".repeat(200)), long("é".repeat(201)));
        assert_eq!(long("é".repeat(128)), "é".repeat(128));
    }

    proptest! {
        #[test]
        fn any_names_become_valid_ones(name in ".{0,200}", pairs in prop::collection::vec((".{0,100}", ".{0,300}"), 0..6)) {
            let is = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
            let (channel, field) = (channel(&name), field(&name));
            prop_assert!(is(&channel, "_.:-") && (1..=CHANNEL_BYTES).contains(&channel.len()));
            prop_assert!(is(&field, "_:-") && (1..=FIELD_BYTES).contains(&field.len()));
            let made = labels(&pairs);
            let names: HashSet<_> = made.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), pairs.len());
            for (name, value) in &made {
                prop_assert!(is(name, "_") && !name.starts_with(|c: char| c.is_ascii_digit()) && (1..=64).contains(&name.len()));
                prop_assert!(value.len() <= VALUE_BYTES && !value.contains('\0'));
            }
        }
    }
}
