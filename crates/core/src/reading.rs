//! What goes into the aggregator: readings, and why one is refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    channel::{Channel, EventName},
    sample::{Sample, SampleKind},
};

/// One thing that somebody measured or reported.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A value of a state channel.
    Value {
        /// The channel it replaces the value of.
        channel: Channel,
        /// The new value, or with `merge` the fields that change.
        data: Map<String, Value>,
        /// Keep the top-level fields that `data` does not name. A named field is replaced whole, `null` included.
        merge: bool,
        /// The channel ends when it is not written for so many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<u64>,
    },
    /// An event of an event channel.
    Event {
        /// The channel it is appended to.
        channel: Channel,
        /// What happened.
        event: EventName,
        /// Its details: an object.
        data: Map<String, Value>,
    },
    /// A measurement that its series gathers.
    Sample(Box<Sample>),
    /// An event that a store keeps until it is published.
    Stored(Box<StoredEvent>),
    /// The last values of state channels from history, for a log that began without values. A log takes them once, and only
    /// for channels that have no value.
    Restored(Vec<Restored>),
    /// The end of a channel.
    End {
        /// The channel.
        channel: Channel,
    },
}

/// The last value of a state channel, as far as history has it: its numeric fields.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Restored {
    /// The channel.
    pub channel: Channel,
    /// When the value was written; of one whose points are gone, the minute.
    pub at: Timestamp,
    /// The value.
    pub data: Map<String, Value>,
}

/// An event that a store made together with the change it is about. It is published once, however often it is handed in;
/// events of one source have to be handed in in their order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StoredEvent {
    /// The store that made it.
    pub source: String,
    /// Its place among the events of the source.
    pub seq: u64,
    /// The channel it is appended to.
    pub channel: Channel,
    /// What happened.
    pub event: EventName,
    /// Its details: an object.
    pub data: Map<String, Value>,
}

impl Reading {
    /// A whole value.
    pub fn value(channel: Channel, data: Map<String, Value>) -> Self {
        Self::Value { channel, data, merge: false, ttl: None }
    }

    /// The channel it goes to; `None` for restored values, which go to several.
    pub fn channel(&self) -> Option<&Channel> {
        match self {
            Self::Value { channel, .. } | Self::Event { channel, .. } | Self::End { channel } => Some(channel),
            Self::Sample(sample) => Some(&sample.channel),
            Self::Stored(stored) => Some(&stored.channel),
            Self::Restored(_) => None,
        }
    }
}

/// Who hands in a reading.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A part of this program; may write the built-in channels.
    Internal,
    /// A client.
    Pushed,
}

/// Why a reading was not accepted. Each is something the sender can act on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A channel that only the server itself writes.
    #[error("{0:?} is a built-in channel and can't be pushed over or deleted")]
    BuiltIn(Channel),
    /// A value for an event channel, or an event for a state channel.
    #[error("{}", other_kind(channel, *is_state))]
    OtherKind {
        /// The channel.
        channel: Channel,
        /// What it is.
        is_state: bool,
    },
    /// A channel that is not there can't be deleted.
    #[error("there is no channel {0:?}")]
    NoChannel(Channel),
    /// The tenant has as many channels as it may.
    #[error("this tenant has {0} channels, which is the limit")]
    TooManyChannels(usize),
    /// A sample of another type than its series has.
    #[error("the field {field:?} of {channel:?} is a {kind}: its first sample said so")]
    OtherType {
        /// The channel.
        channel: Channel,
        /// The field, without labels.
        field: Box<str>,
        /// What it is.
        kind: SampleKind,
    },
    /// The tenant has as many series of samples as it may.
    #[error("this tenant may have {0} series of samples, and this one would be beyond")]
    TooManySeries(usize),
    /// The snapshot, which every reader of it is sent whole, holds no more.
    #[error("the pushed metrics are {0} bytes together, which is the limit of the snapshot")]
    SnapshotFull(usize),
    /// It reached the process that decides in a form that this one can't read, as between two versions.
    #[error("the node that decides can't read this; nothing of it was accepted")]
    Unreadable,
    /// The tenant's values, and what its series of samples keep, hold as many bytes as they may.
    #[error(
        "the values and series of this tenant are {0} bytes together, which is the limit; smaller values make room, and so \
         does time: series keep distributions for some ten seconds and for the day"
    )]
    StatesFull(usize),
    /// The values and series of all tenants hold as many bytes as they may.
    #[error("the values and series of all tenants are {0} bytes together, which is the limit of this server")]
    ServerFull(usize),
    /// The value is larger than a client would be sent.
    #[error("the value of {channel:?} could be {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The channel.
        channel: Channel,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

fn other_kind(channel: &Channel, is_state: bool) -> String {
    if is_state {
        return format!("{channel:?} is a state channel: push a value, without \"event\"");
    }
    let hint = match channel.with_or_without_metrics() {
        Some(other) if other.as_str().starts_with("metrics.") => format!(". For a value, did you mean {other:?}?"),
        _ => String::new(),
    };
    format!("{channel:?} is an event channel: push an event, with \"event\"{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_for_an_event_channel_is_shown_where_values_go() {
        let refusal =
            |name: &str, is_state| Refusal::OtherKind { channel: Channel::parse(name).unwrap(), is_state }.to_string();
        let hint = "For a value, did you mean \"metrics.shop\"?";
        assert!(refusal("shop", false).ends_with(hint), "{}", refusal("shop", false));
        for (name, is_state) in [("shop", true), ("metrics.shop", false), (&"x".repeat(128), false)] {
            assert!(!refusal(name, is_state).contains("did you mean"), "{name}");
        }
    }
}
