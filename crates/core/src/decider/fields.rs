//! Index of the fields of a JSON object, by which some are replaced without parsing the others.
//!
//! ```text
//! {"a":1,"b":[2],"c":{"d":3},"e":4}      the canonical text
//!  └── run ────┘ └── run ────────┘       the index: for each field the length of its name and of all of it
//! ```
//!
//! Merging a field costs a search, a new run, and a copy of the rest of the text. The index takes 8 bytes per field.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// Number of fields in a new run; a run of twice as many is split.
const RUN: usize = 64;

/// Positions of the fields of a canonical object in its text.
#[derive(Debug)]
pub(super) struct FieldIndex {
    /// Runs in the order of their fields. Empty for an empty object.
    runs: Vec<Run>,
}

/// Adjacent fields of the object, at most [`RUN`] times two.
#[derive(Debug)]
struct Run {
    /// Start of its text.
    start: usize,
    /// Length of its text: the fields and the commas between them.
    len: usize,
    fields: Vec<Span>,
}

/// Lengths of one field in the text, `"name":value`.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Length of the name as written, with its quotes.
    name: u32,
    /// Length of the whole field.
    len: u32,
}

impl FieldIndex {
    /// Creates the index of `text`, the canonical text of an object. `None` for any other text.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let fields = json.deserialize_map(Spans(text)).ok()?;
        Some(Self { runs: runs(1, fields) })
    }

    /// Returns the number of fields.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|run| run.fields.len()).sum()
    }

    /// Replaces the fields of `patch` in `text`, to which this index belongs. Returns the new text, to which the index
    /// belongs afterwards; `None` if all fields already have those values.
    pub(super) fn merge(&mut self, text: &[u8], patch: &Map<String, Value>) -> Option<Bytes> {
        let mut patch = patch.iter().peekable();
        let mut changed = Vec::new();
        while let Some((name, _)) = patch.peek() {
            // The last run that starts at or before the name; names before all others are put into the first run.
            let place = self.runs.partition_point(|run| *run.first(text) <= ***name).saturating_sub(1);
            let next = self.runs.get(place + 1).map(|run| run.first(text));
            let mut here = Vec::new();
            while let Some(field) = patch.next_if(|(name, _)| next.as_deref().is_none_or(|next| name.as_str() < next)) {
                here.push(field);
            }
            let nothing = Run { start: 1, len: 0, fields: Vec::new() };
            if let Some(rewritten) = self.runs.get(place).unwrap_or(&nothing).rewrite(text, here) {
                changed.push((place, rewritten));
            }
        }
        if changed.is_empty() {
            return None;
        }
        Some(self.replace(text, changed))
    }

    /// Replaces runs by rewritten ones.
    fn replace(&mut self, text: &[u8], changed: Vec<(usize, Rewritten)>) -> Bytes {
        let more: usize = changed.iter().map(|(_, run)| run.text.len()).sum();
        let mut out = Vec::with_capacity(text.len() + more);
        let mut copied = 0;
        let mut before = std::mem::take(&mut self.runs).into_iter().enumerate();
        for (place, Rewritten { text: piece, fields }) in changed {
            let (start, len) = loop {
                match before.next() {
                    Some((at, run)) if at == place => break (run.start, run.len),
                    Some((_, run)) => self.keep(run),
                    None => break (1, 0),
                }
            };
            out.extend_from_slice(&text[copied..start]);
            self.runs.extend(runs(out.len(), fields));
            out.extend_from_slice(&piece);
            copied = start + len;
        }
        before.for_each(|(_, run)| self.keep(run));
        out.extend_from_slice(&text[copied..]);
        Bytes::from(out)
    }

    /// Adds a run whose text is unchanged but may have moved.
    fn keep(&mut self, run: Run) {
        let start = self.runs.last().map_or(1, |last| last.start + last.len + 1);
        self.runs.push(Run { start, ..run });
    }
}

impl Run {
    /// Returns the name of its first field.
    fn first<'a>(&self, text: &'a [u8]) -> Cow<'a, str> {
        self.fields.first().map_or(Cow::Borrowed(""), |field| name(&text[self.start..][..field.name as usize]))
    }

    /// Returns the run with the fields of `patch`, which are sorted; `None` if they are unchanged.
    fn rewrite(&self, text: &[u8], patch: Vec<(&String, &Value)>) -> Option<Rewritten> {
        let mut new =
            Rewritten { text: Vec::with_capacity(self.len), fields: Vec::with_capacity(self.fields.len() + 1) };
        let mut patch = patch.into_iter().peekable();
        let mut is_changed = false;
        let mut rest = &text[self.start..self.start + self.len];
        for field in &self.fields {
            let (current, after) = rest.split_at(field.len as usize);
            // The rest starts with the comma.
            rest = after.get(1..).unwrap_or_default();
            let (written, own) = (&current[..field.name as usize], name(&current[..field.name as usize]));
            while let Some((name, value)) = patch.next_if(|(name, _)| ***name < *own) {
                new.push(&quoted(name), value);
                is_changed = true;
            }
            match patch.next_if(|(name, _)| ***name == *own) {
                Some((_, value)) => {
                    new.push(written, value);
                    is_changed |=
                        !new.text.ends_with(current) || new.fields.last().is_none_or(|new| new.len != field.len);
                }
                None => new.push_as_it_is(current, *field),
            }
        }
        for (name, value) in patch {
            new.push(&quoted(name), value);
            is_changed = true;
        }
        is_changed.then_some(new)
    }
}

/// New text of a run, and its fields.
struct Rewritten {
    text: Vec<u8>,
    fields: Vec<Span>,
}

impl Rewritten {
    fn push(&mut self, name: &[u8], value: &Value) {
        self.comma();
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text.push(b':');
        // Neither writing to memory nor a value of this type can fail.
        drop(serde_json::to_writer(&mut self.text, value));
        self.fields.push(Span { name: short(name.len()), len: short(self.text.len() - start) });
    }

    fn push_as_it_is(&mut self, text: &[u8], field: Span) {
        self.comma();
        self.text.extend_from_slice(text);
        self.fields.push(field);
    }

    fn comma(&mut self) {
        if !self.fields.is_empty() {
            self.text.push(b',');
        }
    }
}

/// Splits `fields` into runs, the first of which starts at `start`.
fn runs(start: usize, fields: Vec<Span>) -> Vec<Run> {
    let most = if fields.len() <= 2 * RUN { 2 * RUN } else { RUN };
    let mut start = start;
    let run = |fields: &[Span]| {
        let len = fields.iter().map(|field| field.len as usize + 1).sum::<usize>() - 1;
        let run = Run { start, len, fields: fields.to_vec() };
        start += len + 1;
        run
    };
    fields.chunks(most).map(run).collect()
}

/// Parses a name as written in `text`, with its quotes.
fn name(text: &[u8]) -> Cow<'_, str> {
    if text.contains(&b'\\') {
        return Cow::Owned(serde_json::from_slice(text).unwrap_or_default());
    }
    String::from_utf8_lossy(text.get(1..text.len().saturating_sub(1)).unwrap_or_default())
}

fn quoted(name: &str) -> Vec<u8> {
    serde_json::to_vec(name).unwrap_or_default()
}

/// Converts a length, which is below that of the largest value.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Parser of the spans of the fields of a text.
struct Spans<'a>(&'a [u8]);

impl<'de> Visitor<'de> for Spans<'de> {
    type Value = Vec<Span>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        let mut start = 1;
        while let Some((IgnoredAny, value)) = map.next_entry::<IgnoredAny, &RawValue>()? {
            let at = value.get().as_ptr() as usize - self.0.as_ptr() as usize;
            let end = at + value.get().len();
            if self.0.get(start) != Some(&b'"') || self.0.get(at - 1) != Some(&b':') || end > u32::MAX as usize {
                return Err(serde::de::Error::custom("not canonical"));
            }
            fields.push(Span { name: short(at - 1 - start), len: short(end - start) });
            start = end + 1;
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical(object: &Value) -> Bytes {
        Bytes::from(object.to_string())
    }

    fn map(object: Value) -> Map<String, Value> {
        let Value::Object(map) = object else { panic!("an object") };
        map
    }

    #[test]
    fn a_field_is_replaced_added_and_left_alone() {
        let before = canonical(&json!({"b": [1, {"c": "}"}], "d": "x,\"y"}));
        let mut index = FieldIndex::of(&before).unwrap();
        let after = index.merge(&before, &map(json!({"a": 1, "d": null, "e": {}}))).unwrap();
        assert_eq!(after, r#"{"a":1,"b":[1,{"c":"}"}],"d":null,"e":{}}"#);
        assert_eq!(index.merge(&after, &map(json!({"d": null, "a": 1}))), None, "nothing changes");
        let mut empty = FieldIndex::of(b"{}").unwrap();
        assert_eq!(empty.merge(b"{}", &Map::new()), None);
        assert_eq!(empty.merge(b"{}", &map(json!({"a": 1}))).unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn other_texts_have_no_index() {
        for text in ["", "[1]", "5", r#"{"a": 1}"#, r#"{ "a":1}"#, r#"{"a":1"#] {
            assert!(FieldIndex::of(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        /// For any merges, the text is that of the object with all fields, and the index matches it.
        #[test]
        fn merging_into_the_text_is_merging_into_the_object(
            width in 0usize..400,
            patches in proptest::collection::vec(
                proptest::collection::btree_map("[a-c\"\\\\\u{1}é]{0,3}|f[0-9]{1,3}", 0u32..2_000, 0..80), 1..8),
        ) {
            let mut object: Map<String, Value> = (0..width).map(|n| (format!("f{n}"), json!(n))).collect();
            let mut text = canonical(&Value::Object(object.clone()));
            let mut index = FieldIndex::of(&text).unwrap();
            for patch in patches {
                let patch: Map<String, Value> = patch.into_iter().map(|(name, n)| (name, json!([n]))).collect();
                let before = object.clone();
                object.extend(patch.clone());
                match index.merge(&text, &patch) {
                    Some(new) => text = new,
                    None => prop_assert_eq!(&before, &object),
                }
                prop_assert_eq!(&text, &canonical(&Value::Object(object.clone())));
                let runs: usize = index.runs.iter().map(|run| run.fields.len()).sum();
                prop_assert_eq!(runs, object.len());
            }
        }
    }
}
