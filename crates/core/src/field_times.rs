//! When each field of a state was last written, for channels in which different writes write different fields.
//!
//! A write of a whole value writes every field, and most channels are only written that way. Nothing is kept for them: the times of
//! the channel are those of each field. The first write of a part of a value begins [`FieldTimes`], which every copy of the log
//! computes from the same writes, so that all nodes of a cluster show the same ages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer as _, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::pace::Beats;

/// Most fields of a value whose times are kept. A value with more has the times of its channel only.
pub const MOST_FIELDS: usize = 256;

/// Longest name, in bytes, of a field whose times are kept.
pub const LONGEST_NAME: usize = 256;

/// Bytes of an entry in the table of fields, without its name.
const ENTRY_BYTES: usize = 96;

/// Fields that are closer to the channel's last write than this are as old as the channel.
const AS_OLD_MS: i64 = 1_000;

/// The fields that a write of a part of a value wrote.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Their names; `None` when they are not known, because the value has too many fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Vec<Box<str>>>,
    /// Names of fields that the write removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Box<str>>,
}

impl Part {
    /// A write of fields that are not known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// A write of `written` to a value that has `fields` fields after it.
    pub fn of<'a>(fields: usize, written: impl Iterator<Item = &'a str>, removed: Vec<String>) -> Self {
        if fields > MOST_FIELDS {
            return Self::unknown();
        }
        let name = |name: &'a str| (name.len() <= LONGEST_NAME).then(|| Box::from(name));
        Self { written: written.map(name).collect(), removed: removed.into_iter().map(Into::into).collect() }
    }
}

/// When something was last written, and how often.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct WriteTimes {
    /// In milliseconds since 1970, also of a write of the same value.
    pub written_ms: i64,
    /// How often.
    pub beats: Beats,
    /// The value is from history and was not written since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

impl WriteTimes {
    /// The times after a first write.
    pub fn new(at_ms: i64) -> Self {
        Self { written_ms: at_ms, beats: Beats::new(at_ms), restored: false }
    }

    /// The times with a write at `at_ms`. A write of the `same` value may be one that was applied before, and is not
    /// older than the times then.
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

/// A write to a channel.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The fields; `None` for all of them.
    pub part: Option<&'a Part>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The value was the same before.
    pub same: bool,
}

/// Times of the fields of one channel.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FieldTimes {
    /// Of all fields that have none of their own: they were last written with the whole value.
    others: WriteTimes,
    /// Times of the fields that were written in parts; `None` while they are not known.
    own: Option<BTreeMap<Box<str>, WriteTimes>>,
}

impl FieldTimes {
    /// The fields of a channel about which nothing is known until its whole value is written.
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
        // What was applied before is not older than what is known.
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

    /// Whether every field has the times of its channel.
    fn is_like(&self, channel: WriteTimes) -> bool {
        self.own.as_ref().is_some_and(|own| self.others == channel && own.values().all(|times| *times == channel))
    }

    /// Bytes that it keeps.
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

/// A field whose times differ from those of its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name.
    pub field: String,
    /// When it was last written, also with the same value.
    pub written: Timestamp,
    /// Usual time between two writes, in milliseconds; `None` before the second.
    pub pace_ms: Option<u64>,
    /// Its value was restored from history, and not written since.
    pub restored: bool,
}

impl FieldInfo {
    fn new(field: String, times: WriteTimes) -> Self {
        let WriteTimes { written_ms, beats, restored } = times;
        let written = Timestamp::from_millisecond(written_ms).unwrap_or_default();
        Self { field, written, pace_ms: beats.gap_ms(), restored }
    }
}

/// Returns the names of the fields of `value`; an error also when they are too many.
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
