//! Current values of channels, and setting them.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    fields::FieldIndex,
    staged::{State, canonical},
};
use crate::field_times::Part;

/// Kind of an existing channel, with the current value of a state channel.
pub(super) enum Known {
    /// State channel with its value.
    State(CurrentValue),
    Events,
}

/// Current value of a state channel.
#[derive(Default)]
pub(super) struct CurrentValue {
    /// Canonical JSON, shared with the log. Empty before the first value.
    pub(super) data: Bytes,
    /// Index of its fields, once there was a merge.
    index: Option<FieldIndex>,
    /// Whether it is from history and was not written since.
    pub(super) restored: bool,
}

impl CurrentValue {
    pub(super) fn new(data: Bytes, restored: bool) -> Self {
        Self { data, index: None, restored }
    }

    /// Sets a value; returns its text, or `None` if it is equal to the current one, and the written fields unless they are
    /// all. The first write of a restored value is always a change, because it makes the value a current one.
    pub(super) fn set(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        let was_restored = std::mem::replace(&mut self.restored, state.restored.is_some());
        let before = was_restored.then(|| self.data.clone());
        let (data, part) = self.put(state);
        (data.or(before), part)
    }

    /// Replaces the value or merges into it. Returns the same as [`Self::set`].
    fn put(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        if !state.removed.is_empty() {
            return self.set_without(state);
        }
        let State { fields, keeps_others, aged, .. } = state;
        if keeps_others && self.index.is_none() {
            self.index = FieldIndex::of(&self.data);
        }
        let (data, part) = match self.index.as_mut().filter(|_| keeps_others) {
            Some(index) => {
                let data = index.merge(&self.data, &fields);
                (data, part_of(index.len(), &fields, &aged, Vec::new()))
            }
            None => {
                let data = canonical(fields);
                if data == self.data {
                    return (None, None);
                }
                self.index = None;
                (Some(data), None)
            }
        };
        if let Some(data) = &data {
            self.data = data.clone();
        }
        (data, part)
    }

    /// Sets a value like [`Self::put`], and removes fields of the current one.
    fn set_without(&mut self, state: State) -> (Option<Bytes>, Option<Part>) {
        let State { fields, removed, aged, .. } = state;
        let mut all: Map<String, Value> = serde_json::from_slice(&self.data).unwrap_or_default();
        all.retain(|name, _| !removed.contains(name));
        let kept = fields.keys().fold(all.len(), |count, name| count + usize::from(!all.contains_key(name)));
        let part = part_of(kept, &fields, &aged, removed);
        all.extend(fields);
        let data = canonical(all);
        if data == self.data {
            return (None, part);
        }
        *self = Self::new(data.clone(), self.restored);
        (Some(data), part)
    }
}

/// Returns the written part of a value that has `count` fields now: those of `fields` that are not in `aged`. `None` if that is
/// the whole value.
fn part_of(count: usize, fields: &Map<String, Value>, aged: &HashSet<Arc<str>>, removed: Vec<String>) -> Option<Part> {
    if removed.is_empty() && aged.is_empty() && fields.len() == count {
        return None;
    }
    let written = fields.keys().map(String::as_str).filter(|name| !aged.contains(*name));
    Some(Part::of(count, written, removed))
}
