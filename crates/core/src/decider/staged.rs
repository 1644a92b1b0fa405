//! Changes of a group of batches, before they are written.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{channel::Channel, log::Change};

/// Changes of a group of batches. States are staged by channel and written out once, regardless of the number of pushes:
/// the last value counts.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) states: IndexMap<Channel, State>,
    /// Events and ends of channels.
    pub(super) in_order: Vec<Change>,
    /// Names of saved entries that no longer exist.
    pub(super) ended: Vec<String>,
}

/// Value that is being assembled.
pub(super) struct State {
    /// New fields, or all fields.
    pub(super) fields: Map<String, Value>,
    /// Whether the other fields of the current value stay.
    pub(super) keeps_others: bool,
    /// Fields of the current value that are removed.
    pub(super) removed: Vec<String>,
    /// Fields among the new ones that changed because time passed, without a write.
    pub(super) aged: HashSet<Arc<str>>,
    /// Largest size that the value can reach with its series; exact again once it is written.
    pub(super) bound: usize,
    /// Time of a value from history to which nothing was added.
    pub(super) restored: Option<Timestamp>,
}

impl Staged {
    /// Returns the staged value of `channel`, which starts as the current one with at most `bound` bytes.
    pub(super) fn state(&mut self, channel: &Channel, bound: usize) -> &mut State {
        let state = self.states.entry(channel.clone()).or_insert_with(|| State::new(Map::new(), true, bound));
        state.restored = None;
        state
    }

    /// Stages a whole value.
    pub(super) fn replace(&mut self, channel: &Channel, fields: Map<String, Value>, bound: usize) {
        self.states.insert(channel.clone(), State::new(fields, false, bound));
    }
}

impl State {
    fn new(fields: Map<String, Value>, keeps_others: bool, bound: usize) -> Self {
        Self { fields, keeps_others, removed: Vec::new(), aged: HashSet::new(), bound, restored: None }
    }
}

/// Serializes a value as one line of JSON with sorted keys: the same value has the same bytes on every transport and
/// every node.
pub(super) fn canonical(data: Map<String, Value>) -> Bytes {
    Bytes::from(Value::Object(data).to_string())
}

/// Returns the length of the result of [`canonical`].
pub(super) fn canonical_len(data: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    drop(serde_json::to_writer(&mut count, data));
    count.0
}
