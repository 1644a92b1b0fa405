//! Times at which the fields of a state were last written, for channels in which different writes write different fields.
//!
//! A write of a whole value writes every field, and most channels are only written that way. Nothing is stored for them: the times of
//! the channel are those of each field. The first write of a part of a value creates [`FieldTimes`], which every copy of the log
//! computes from the same writes, so that all nodes of a cluster show the same ages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer as _, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::pace::Beats;

/// Most fields of a value with times of their own. A value with more has the times of its channel only.
pub const MOST_FIELDS: usize = 256;

/// Longest name, in bytes, of a field with times of its own.
pub const LONGEST_NAME: usize = 256;

/// Bytes of an entry in the table of fields, without its name.
const ENTRY_BYTES: usize = 96;

/// Fields that are closer to the channel's last write than this are as old as the channel.
const AS_OLD_MS: i64 = 1_000;

/// Fields of a write that wrote only a part of a value.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Names of the written fields; `None` when they are not known, because the value has too many fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Vec<Box<str>>>,
    /// Names of fields that the write removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Box<str>>,
}

impl Part {
    /// Creates the part of a write whose fields are not known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Creates the part of a write of `written` to a value that has `fields` fields afterwards.
    pub fn of<'a>(fields: usize, written: impl Iterator<Item = &'a str>, removed: Vec<String>) -> Self {
        if fields > MOST_FIELDS {
            return Self::unknown();
        }
        let name = |name: &'a str| (name.len() <= LONGEST_NAME).then(|| Box::from(name));
        Self { written: written.map(name).collect(), removed: removed.into_iter().map(Into::into).collect() }
    }
}

/// Time of the last write of a channel or field, and the rhythm of its writes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct WriteTimes {
    /// Time of the last write, also of the same value, in milliseconds since 1970.
    pub written_ms: i64,
    /// Rhythm of the writes, from which [`FieldInfo::pace_ms`] is computed.
    pub beats: Beats,
    /// Whether the value is from history and was not written since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

impl WriteTimes {
    /// Creates the times after a first write at `at_ms`, in milliseconds since 1970.
    pub fn new(at_ms: i64) -> Self {
        Self { written_ms: at_ms, beats: Beats::new(at_ms), restored: false }
    }

    /// Returns the times after a write at `at_ms`. A write of the `same` value may have been applied before; then it does
    /// not set the time back.
    #[must_use]
    pub fn write(self, at_ms: i64, same: bool) -> Self {
        if self.restored {
            // The time since a restored value is that of a restart.
            return Self::new(at_ms);
        }
        let written_ms = if same { self.written_ms.max(at_ms) } else { at_ms };
        Self { written_ms, beats: self.beats.beat(at_ms), restored: false }
    }
}

/// Write to a state channel.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Written fields; `None` for all of them.
    pub part: Option<&'a Part>,
    /// Time of the write in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether the value was the same before.
    pub same: bool,
}

/// Times of the fields of one channel.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FieldTimes {
    /// Times of all fields without times of their own: they were last written with the whole value.
    others: WriteTimes,
    /// Times of the fields that were written in parts; `None` while they are not known.
    own: Option<BTreeMap<Box<str>, WriteTimes>>,
}

impl FieldTimes {
    /// Creates the times of a channel whose fields are unknown until its whole value is written.
    pub fn unknown() -> Self {
        Self { others: WriteTimes::new(0), own: None }
    }

    /// Applies a write to the fields of a channel, whose own times were `channel` before it and are `now` after it.
    pub fn apply(times: &mut Option<Self>, channel: WriteTimes, now: WriteTimes, write: Write<'_>) {
        match (times.as_mut(), write.part) {
            (None, None) => {}
            (None, Some(part)) => {
                let mut new = Self { others: channel, own: Some(BTreeMap::new()) };
                new.write(part, write);
                *times = Some(new);
            }
            (Some(known), Some(part)) => known.write(part, write),
            (Some(known), None) => {
                known.write_all(write);
                if known.is_like(now) {
                    *times = None;
                }
            }
        }
    }

    fn write(&mut self, part: &Part, write: Write<'_>) {
        let (Some(own), Some(written)) = (&mut self.own, &part.written) else {
            self.own = None;
            return;
        };
        for name in &part.removed {
            own.remove(name);
        }
        // A write of the same value may have been applied before; then it does not set the time back.
        let first = if write.same { self.others.written_ms.max(write.at_ms) } else { write.at_ms };
        for name in written {
            match own.get_mut(name) {
                Some(times) => *times = times.write(write.at_ms, write.same),
                None => _ = own.insert(name.clone(), WriteTimes::new(first)),
            }
        }
        if own.len() > MOST_FIELDS {
            self.own = None;
        }
    }

    fn write_all(&mut self, write: Write<'_>) {
        match &mut self.own {
            Some(own) => {
                self.others = self.others.write(write.at_ms, write.same);
                own.values_mut().for_each(|times| *times = times.write(write.at_ms, write.same));
            }
            None => *self = Self { others: WriteTimes::new(write.at_ms), own: Some(BTreeMap::new()) },
        }
    }

    /// Returns whether every field has the times of its channel.
    fn is_like(&self, channel: WriteTimes) -> bool {
        self.own.as_ref().is_some_and(|own| self.others == channel && own.values().all(|times| *times == channel))
    }

    /// Returns the memory of the times in bytes.
    pub fn bytes(&self) -> usize {
        let own = self.own.iter().flatten();
        size_of::<Self>() + own.map(|(name, _)| name.len() + ENTRY_BYTES).sum::<usize>()
    }

    /// Returns the fields of `value`, the JSON text of an object, whose times differ from those of their `channel`. It
    /// returns none of a value with more than [`MOST_FIELDS`] fields.
    pub fn differing(&self, value: &[u8], channel: WriteTimes) -> Vec<FieldInfo> {
        let Some(own) = &self.own else { return Vec::new() };
        let names = names(value).unwrap_or_default().into_iter();
        names
            .filter_map(|field| {
                let times = own.get(&*field).copied().unwrap_or(self.others);
                times.differs(channel).then(|| FieldInfo::new(field, times))
            })
            .collect()
    }
}

impl WriteTimes {
    fn differs(self, channel: Self) -> bool {
        let seconds = |beats: Beats| beats.gap_ms().map(|ms| ms.div_ceil(1_000));
        self.restored != channel.restored
            || channel.written_ms - self.written_ms >= AS_OLD_MS
            || seconds(self.beats) != seconds(channel.beats)
    }
}

/// Field with other times than those of its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Name of the field in the channel's value.
    pub field: String,
    /// Time of its last write, also of the same value.
    pub written: Timestamp,
    /// Usual time between two writes, in milliseconds; `None` before the second.
    pub pace_ms: Option<u64>,
    /// Whether its value was restored from history, and not written since.
    pub restored: bool,
}

impl FieldInfo {
    fn new(field: String, times: WriteTimes) -> Self {
        let WriteTimes { written_ms, beats, restored } = times;
        let written = Timestamp::from_millisecond(written_ms).unwrap_or_default();
        Self { field, written, pace_ms: beats.gap_ms(), restored }
    }
}

/// Returns the names of the fields of `value`; an error also if there are more than [`MOST_FIELDS`].
fn names(value: &[u8]) -> serde_json::Result<Vec<String>> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if names.len() == MOST_FIELDS {
                    return Err(A::Error::custom("too many fields"));
                }
                names.push(name);
            }
            Ok(names)
        }
    }
    serde_json::Deserializer::from_slice(value).deserialize_map(Names)
}

#[cfg(test)]
mod tests;
