//! Parsing of groups in the inbox, in which an unreadable part does not affect the rest.
//!
//! A node of another version may write a format that this one does not know. If a group cannot be parsed as a whole, its
//! batches are parsed one by one, and if a batch cannot, its readings are.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{stream::Item, wire::Pushed};
use tricast_core::reading::{Origin, Reading};

/// Batch of a group.
#[derive(Debug)]
pub(super) struct ParsedBatch {
    pub(super) tenant: String,
    pub(super) origin: Origin,
    /// Readings that could be parsed.
    pub(super) readings: Vec<Reading>,
    /// Indices of the other readings, in order.
    pub(super) unreadable: Vec<usize>,
}

/// Batch before its readings are parsed.
#[derive(Deserialize)]
struct Envelope<'a> {
    tenant: String,
    origin: Origin,
    #[serde(borrow)]
    readings: Vec<&'a RawValue>,
}

impl ParsedBatch {
    /// Returns the index within the batch of the reading with the number `index` among those that could be parsed.
    pub(super) fn index(&self, index: usize) -> usize {
        original_index(&self.unreadable, index)
    }
}

/// Does the same as [`ParsedBatch::index`] for a list of unreadable readings.
pub(super) fn original_index(unreadable: &[usize], index: usize) -> usize {
    unreadable.iter().fold(index, |index, gap| if *gap <= index { index + 1 } else { index })
}

/// Returns the batches of a group, `None` for one that cannot be parsed; `None` for the whole if it is not a group.
pub(super) fn read(item: &Item) -> Option<Vec<Option<ParsedBatch>>> {
    parse(&item.get::<Vec<u8>>("p")?)
}

fn parse(payload: &[u8]) -> Option<Vec<Option<ParsedBatch>>> {
    if let Ok(batches) = serde_json::from_slice::<Vec<Pushed<'_>>>(payload) {
        let parsed = |batch: Pushed<'_>| ParsedBatch {
            tenant: batch.tenant.into_owned(),
            origin: batch.origin,
            readings: batch.readings.into_owned(),
            unreadable: Vec::new(),
        };
        return Some(batches.into_iter().map(|batch| Some(parsed(batch))).collect());
    }
    let batches: Vec<&RawValue> = serde_json::from_slice(payload).ok()?;
    Some(batches.into_iter().map(|batch| salvage(batch.get())).collect())
}

fn salvage(batch: &str) -> Option<ParsedBatch> {
    let Envelope { tenant, origin, readings } = serde_json::from_str(batch).ok()?;
    let mut batch =
        ParsedBatch { tenant, origin, readings: Vec::with_capacity(readings.len()), unreadable: Vec::new() };
    for (at, reading) in readings.into_iter().enumerate() {
        match serde_json::from_str(reading.get()) {
            Ok(reading) => batch.readings.push(reading),
            Err(_) => batch.unreadable.push(at),
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"event":{"channel":"a","event":"x","data":{}}}"#;

    fn batch(readings: &[&str]) -> String {
        format!(r#"{{"tenant":"t","origin":"pushed","readings":[{}]}}"#, readings.join(","))
    }

    #[test]
    fn an_unreadable_part_does_not_affect_the_rest() {
        let deep = format!(
            r#"{{"value":{{"channel":"a","data":{}1{},"merge":false}}}}"#,
            "{\"b\":".repeat(200),
            "}".repeat(200)
        );
        let newer = r#"{"tenant":"t","origin":"of_a_newer_version","readings":[]}"#;
        let group = format!("[{},{newer},{}]", batch(&[&deep, GOOD, "{\"newer\":1}", GOOD]), batch(&[GOOD]));
        let read = parse(group.as_bytes()).unwrap();
        let first = read[0].as_ref().unwrap();
        assert_eq!((first.readings.len(), &first.unreadable[..]), (2, &[0, 2][..]));
        assert_eq!([first.index(0), first.index(1)], [1, 3]);
        assert!(read[1].is_none());
        assert_eq!(read[2].as_ref().unwrap().readings.len(), 1);
        assert!(read[2].as_ref().unwrap().unreadable.is_empty());
    }

    #[test]
    fn other_items_are_no_group() {
        for payload in ["", "{}", "{\"batches\": []}", "[1", "nonsense"] {
            assert!(parse(payload.as_bytes()).is_none(), "{payload}");
        }
        assert!(parse(b"[]").unwrap().is_empty());
        assert!(parse(b"[5]").unwrap()[0].is_none());
    }
}
