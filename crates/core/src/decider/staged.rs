//! What a group of batches changes, before it is written.

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{channel::Channel, log::Change};

/// What a group of batches changes. States are staged by channel and written out once, however often they were pushed:
/// the last value wins.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) states: IndexMap<Channel, State>,
    /// Events, and ends of channels.
    pub(super) in_order: Vec<Change>,
    /// Names of what was saved and is no more.
    pub(super) ended: Vec<String>,
}

/// A value that is being put together.
pub(super) struct State {
    /// The fields that are new, or all of them.
    pub(super) fields: Map<String, Value>,
    /// The fields of the present value that are not named stay.
    pub(super) keeps_others: bool,
    /// Except for these.
    pub(super) removed: Vec<String>,
    /// The value is at most this large, whatever its series do; exact again once it is written.
    pub(super) bound: usize,
    /// When it was written, of a value from history that nothing was added to.
    pub(super) restored: Option<Timestamp>,
}

impl Staged {
    /// The staged value of `channel`, which begins as the present one with at most `bound` bytes.
    pub(super) fn state(&mut self, channel: &Channel, bound: usize) -> &mut State {
        let present = || State { fields: Map::new(), keeps_others: true, bound, removed: Vec::new(), restored: None };
        let state = self.states.entry(channel.clone()).or_insert_with(present);
        state.restored = None;
        state
    }

    /// Stages a whole value.
    pub(super) fn replace(&mut self, channel: &Channel, fields: Map<String, Value>, bound: usize) {
        let state = State { fields, keeps_others: false, removed: Vec::new(), bound, restored: None };
        self.states.insert(channel.clone(), state);
    }
}

/// One line of JSON with sorted keys: the same value has the same bytes on every transport and every node.
pub(super) fn canonical(data: Map<String, Value>) -> Bytes {
    Bytes::from(Value::Object(data).to_string())
}

/// The length that [`canonical`] makes of it.
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
    // Counting can't fail.
    drop(serde_json::to_writer(&mut count, data));
    count.0
}
