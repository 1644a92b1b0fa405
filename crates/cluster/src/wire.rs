//! Formats of the data that nodes exchange, as JSON.
//!
//! ```json
//! {"word": "9f2c41d0", "before": "03be77a1", "at": "2024-07-15T14:00:05.12Z",
//!  "tenants": [{"tenant": "acme", "head": 12, "same": ["metrics.api"],
//!               "chunks": [{"changes": [[11, "metrics.checkout", null, {"latency": 12.5}]],
//!                           "ended": [[12, "metrics.old", "deleted"]], "snapshot": 13}]}],
//!  "replies": [{"node": "a/5f3e", "seq": 7, "refused": [[0, 2, {"built_in": "metrics.api"}]]}]}
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use tricast_core::{
    channel::{Channel, EventName, Gone},
    field_times::Part,
    log::{Change, ChannelTimes, Chunk, Holes, StoredPublication},
    published::Published,
    reading::{Origin, Reading, Refusal},
};

/// Batch in the inbox.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Pushed<'a> {
    pub(super) tenant: Cow<'a, str>,
    pub(super) origin: Origin,
    pub(super) readings: Cow<'a, [Reading]>,
}

/// Entry of the log: the results of a group of batches.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Entry {
    /// Random ID of the entry, and that of the previous entry, by which two entries with the same number are distinguished.
    #[serde(rename = "word")]
    pub(super) entry_id: String,
    pub(super) before: String,
    /// Time of the entry and of all its changes.
    pub(super) at: Timestamp,
    pub(super) tenants: Vec<Written>,
    pub(super) replies: Vec<GroupReply>,
}

/// Changes of one tenant's log.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Written {
    pub(super) tenant: String,
    /// Newest offset after the entry.
    pub(super) head: u64,
    /// Events of stores that are published with it.
    #[serde(default, skip_serializing_if = "Published::is_empty")]
    pub(super) published: Published,
    /// State channels that were written again without a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) same: Vec<Channel>,
    /// State channels among the changes with values from history, and the times of those values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) restored: Vec<(Channel, Timestamp)>,
    /// State channels of which only some fields were written, and which. `None` from a leader of a version that does not say
    /// so: then the fields of no channel are known.
    #[serde(default)]
    pub(super) parts: Option<Vec<(Channel, Part)>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) chunks: Vec<WireChunk>,
}

/// Reply to one group of a node.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct GroupReply {
    pub(super) node: String,
    pub(super) seq: u64,
    /// Refusals: index of the batch in the group, index of the reading in it, and the reason. All other readings were
    /// accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "refusals")]
    pub(super) refused: Vec<(usize, usize, Refusal)>,
    /// Parts that the leader could not parse, and so refused.
    #[serde(default, skip_serializing_if = "Unreadable::is_nothing")]
    pub(super) unreadable: Unreadable,
    /// Whether the group was decided before and was in the inbox again: the earlier reply counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) repeated: bool,
}

impl GroupReply {
    /// Creates the reply that accepts all of a group.
    pub(super) fn to(node: &str, seq: u64) -> Self {
        Self { node: node.to_owned(), seq, refused: Vec::new(), unreadable: Unreadable::Nothing, repeated: false }
    }
}

/// Parts of a group that could not be parsed, besides single readings.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unreadable {
    /// All parts could be parsed.
    #[default]
    Nothing,
    /// These batches of the group, by their index.
    Batches(Vec<usize>),
    /// The group as a whole.
    All,
}

impl Unreadable {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    pub(super) fn has(&self, batch: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Batches(batches) => batches.contains(&batch),
            Self::All => true,
        }
    }
}

/// Parses refusals. Those of a newer version become one that this version knows: it is a refusal nevertheless.
fn refusals<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(usize, usize, Refusal)>, D::Error> {
    let refused = Vec::<(usize, usize, serde_json::Value)>::deserialize(from)?;
    let read =
        |(batch, reading, refusal)| (batch, reading, serde_json::from_value(refusal).unwrap_or(Refusal::Unreadable));
    Ok(refused.into_iter().map(read).collect())
}

/// Serialized form of a [`Chunk`].
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WireChunk {
    changes: Vec<(u64, Channel, Option<EventName>, Box<RawValue>)>,
    /// Channels that end. A node of a version without ends keeps their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<(u64, Channel, Gone)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<u64>,
}

impl WireChunk {
    /// Converts a chunk. `None` if its data are not JSON, which they always are.
    pub(super) fn of(chunk: &Chunk) -> Option<Self> {
        let (mut changes, mut ended) = (Vec::with_capacity(chunk.changes.len()), Vec::new());
        for (offset, Change { channel, event, gone, data }) in &chunk.changes {
            match gone {
                Some(gone) => ended.push((*offset, channel.clone(), *gone)),
                None => changes.push((*offset, channel.clone(), event.clone(), raw(data)?)),
            }
        }
        Some(Self { changes, ended, snapshot: chunk.snapshot })
    }

    pub(super) fn into_chunk(self) -> Chunk {
        let changes = self.changes.into_iter().map(|(offset, channel, event, data)| {
            let data = Bytes::from(String::from(Box::<str>::from(data)));
            (offset, Change { channel, event, gone: None, data })
        });
        let mut changes: Vec<_> = changes.collect();
        if !self.ended.is_empty() {
            let ended = self.ended.into_iter();
            changes.extend(ended.map(|(offset, channel, gone)| (offset, Change::end(channel, gone))));
            changes.sort_by_key(|(offset, _)| *offset);
        }
        Chunk { changes, snapshot: self.snapshot }
    }
}

/// When the value of a state channel and its fields were written. They are stored beside the value, since they also change with
/// writes of the same value.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WireTimes {
    /// Offset of the value. The times do not apply to another value, which a leader of an earlier version wrote.
    pub(super) offset: u64,
    pub(super) times: ChannelTimes,
}

/// Newest offsets of a tenant's stored log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Head {
    pub(super) head: u64,
    /// Version of the snapshot: offset and time.
    pub(super) snapshot: Option<(u64, Timestamp)>,
    /// Offset up to which events may be gone.
    pub(super) dropped: u64,
    /// Offset up to which ends of channels may be discarded.
    #[serde(default, rename = "forgotten")]
    pub(super) discarded_ends: u64,
    /// Offsets that the log skipped.
    #[serde(default, skip_serializing_if = "Holes::is_empty")]
    pub(super) holes: Holes,
    /// The newest entry whose writes are in the stored times.
    #[serde(default)]
    pub(super) seq: u64,
    /// Published events of stores.
    #[serde(default, skip_serializing_if = "Published::is_empty")]
    pub(super) published: Published,
}

/// Stored state of a channel, or a stored event.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WirePublication {
    offset: u64,
    at: Option<Timestamp>,
    /// Channel and name of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<(Channel, EventName)>,
    /// Whether the value was restored from history and not written since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    restored: bool,
    /// Reason for which the channel has ended; `None` while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Gone>,
    /// Value; `None` for an event channel, or an ended one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Stored state of a channel.
pub(super) enum StoredChannel {
    State(StoredPublication),
    Events(u64, Option<Timestamp>),
}

impl WirePublication {
    pub(super) fn state(offset: u64, at: Timestamp, data: &Bytes) -> Option<Self> {
        Some(Self { offset, at: Some(at), event: None, gone: None, restored: false, data: Some(raw(data)?) })
    }

    /// Creates a value that was written at `at`, from history if `restored` is true; otherwise like [`WirePublication::state`].
    pub(super) fn value(offset: u64, at: Timestamp, data: &Bytes, restored: bool) -> Option<Self> {
        Some(Self { restored, ..Self::state(offset, at, data)? })
    }

    pub(super) fn events(last: u64, at: Option<Timestamp>) -> Self {
        Self { offset: last, at, event: None, gone: None, restored: false, data: None }
    }

    pub(super) fn end(offset: u64, at: Timestamp, gone: Gone) -> Self {
        Self { offset, at: Some(at), event: None, gone: Some(gone), restored: false, data: None }
    }

    pub(super) fn event(
        offset: u64,
        at: Timestamp,
        channel: &Channel,
        event: &EventName,
        data: &Bytes,
    ) -> Option<Self> {
        let event = Some((channel.clone(), event.clone()));
        Some(Self { offset, at: Some(at), event, gone: None, restored: false, data: Some(raw(data)?) })
    }

    /// Converts it for the channel that it belongs to.
    pub(super) fn into_channel(self, channel: Channel) -> StoredChannel {
        match (self.data, self.gone, self.at) {
            (_, Some(gone), Some(at)) => {
                let (offset, change) = (self.offset, Change::end(channel, gone));
                StoredChannel::State(StoredPublication { offset, at, change, restored: false, times: None })
            }
            (Some(data), None, Some(at)) => {
                let data = Bytes::from(String::from(Box::<str>::from(data)));
                let (offset, restored) = (self.offset, self.restored);
                let change = Change::state(channel, data);
                StoredChannel::State(StoredPublication { offset, at, change, restored, times: None })
            }
            (_, _, at) => StoredChannel::Events(self.offset, at),
        }
    }

    pub(super) fn into_event(self) -> Option<StoredPublication> {
        let (channel, event) = self.event?;
        let data = Bytes::from(String::from(Box::<str>::from(self.data?)));
        let change = Change::event(channel, event, data);
        Some(StoredPublication { offset: self.offset, at: self.at?, change, restored: false, times: None })
    }
}

fn raw(data: &Bytes) -> Option<Box<RawValue>> {
    RawValue::from_string(std::str::from_utf8(data).ok()?.to_owned()).ok()
}

/// Serializes a value that is always valid JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tricast_core::log::assign_offsets;

    fn change(channel: &str, event: Option<&str>, data: &str) -> Change {
        Change {
            channel: Channel::parse(channel).unwrap(),
            event: event.map(|name| EventName::parse(name).unwrap()),
            gone: None,
            data: Bytes::copy_from_slice(data.as_bytes()),
        }
    }

    #[test]
    fn entries_are_read_back() {
        let end = Change::end(Channel::parse("metrics.b").unwrap(), Gone::Expired);
        let changes = vec![change("deploys", Some("released"), "{}"), end, change("metrics.a", None, r#"{"x":1.0}"#)];
        let chunks = assign_offsets(7, changes);
        let mut published = Published::default();
        published.note("store", 5);
        let wire: Vec<_> = chunks.iter().map(|chunk| WireChunk::of(chunk).unwrap()).collect();
        let parts = vec![(Channel::parse("metrics.a").unwrap(), Part::of(2, ["x"].into_iter(), vec!["y".into()]))];
        let refusal = Refusal::BuiltIn(Channel::parse("metrics.api").unwrap());
        let entry = Entry {
            entry_id: "b".into(),
            before: "a".into(),
            at: Timestamp::from_millisecond(1_721_052_005_120).unwrap(),
            tenants: vec![Written {
                tenant: "a".into(),
                head: 11,
                published: published.clone(),
                same: vec![],
                restored: vec![],
                parts: Some(parts.clone()),
                chunks: wire,
            }],
            replies: vec![GroupReply {
                node: "n".into(),
                seq: 3,
                refused: vec![(0, 2, refusal.clone())],
                unreadable: Unreadable::Batches(vec![4]),
                repeated: false,
            }],
        };
        let text = json(&entry);
        let read: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!(read.at, entry.at);
        assert_eq!(read.replies[0].refused, [(0, 2, refusal)]);
        assert_eq!([0, 4].map(|batch| read.replies[0].unreadable.has(batch)), [false, true]);
        let newer: Entry = serde_json::from_str(&text.replace("built_in", "a_newer_reason")).unwrap();
        assert_eq!(
            newer.replies[0].refused,
            [(0, 2, Refusal::Unreadable)],
            "a refusal of a newer node is a refusal too"
        );
        let written = read.tenants.into_iter().next().unwrap();
        assert_eq!(written.parts, Some(parts));
        assert_eq!(written.published, published, "otherwise the next leader would publish it again");
        assert_eq!(written.chunks.into_iter().map(WireChunk::into_chunk).collect::<Vec<_>>(), chunks);
    }

    #[test]
    fn a_reply_without_refusals_has_no_other_fields() {
        assert_eq!(json(&GroupReply::to("n", 3)), r#"{"node":"n","seq":3}"#);
    }

    #[test]
    fn stored_states_are_read_back() {
        let (at, data) = (Timestamp::from_second(1).unwrap(), Bytes::from_static(b"{\"x\":1}"));
        let channel = Channel::parse("a").unwrap();
        let back = |publication: WirePublication| serde_json::from_str::<WirePublication>(&json(&publication)).unwrap();
        let StoredChannel::State(state) =
            back(WirePublication::state(5, at, &data).unwrap()).into_channel(channel.clone())
        else {
            panic!("a state");
        };
        assert_eq!((state.offset, state.at, state.change.data), (5, at, data.clone()));
        let StoredChannel::State(end) = back(WirePublication::end(5, at, Gone::Deleted)).into_channel(channel.clone())
        else {
            panic!("an end");
        };
        assert_eq!((end.offset, end.at, end.change), (5, at, Change::end(channel.clone(), Gone::Deleted)));
        let StoredChannel::Events(5, None) = back(WirePublication::events(5, None)).into_channel(channel.clone())
        else {
            panic!("a channel of events");
        };
        let name = EventName::parse("x").unwrap();
        let event = back(WirePublication::event(6, at, &channel, &name, &data).unwrap()).into_event().unwrap();
        assert_eq!((event.offset, event.change.event), (6, Some(name)));
    }
}
