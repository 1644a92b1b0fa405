//! Readings, the input of the aggregator, and reasons for refusing one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    channel::{Channel, EventName},
    sample::{Sample, SampleKind},
};

/// Input of the aggregator.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A value of a state channel.
    Value {
        /// Channel whose value is replaced.
        channel: Channel,
        /// The new value, or with `merge` the fields that change.
        data: Map<String, Value>,
        /// Whether top-level fields that `data` does not name stay. A named field is replaced as a whole, `null` included.
        merge: bool,
        /// Time in milliseconds without a write after which the channel ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<u64>,
    },
    /// An event of an event channel.
    Event {
        /// Channel that it is appended to.
        channel: Channel,
        /// Name of the event.
        event: EventName,
        /// Details of the event: the fields of a JSON object.
        data: Map<String, Value>,
        /// Time in milliseconds without a write after which the channel ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<u64>,
    },
    /// Measurement of a series.
    Sample(Box<Sample>),
    /// Event that a store keeps until it is published.
    Stored(Box<StoredEvent>),
    /// Last values of state channels from history, for a log that started without values. A log accepts them once, and
    /// only for channels that were neither written nor ended before.
    Restored(Vec<Restored>),
    /// The end of a channel.
    End {
        /// Pushed channel that ends; a channel that does not exist has no effect.
        channel: Channel,
    },
}

/// Last value of a state channel in history: its numeric fields.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Restored {
    /// State channel of the value.
    pub channel: Channel,
    /// Time at which the value was written; the minute if its points are gone.
    pub at: Timestamp,
    /// Value as the fields of a JSON object.
    pub data: Map<String, Value>,
}

/// Event that a store keeps since the change that causes it. It is published once, even if it is sent repeatedly; events
/// of one source have to be sent in order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StoredEvent {
    /// Store of the event.
    pub source: String,
    /// Sequence number among the events of the source.
    pub seq: u64,
    /// Channel that it is appended to.
    pub channel: Channel,
    /// Name of the event.
    pub event: EventName,
    /// Details of the event: the fields of a JSON object.
    pub data: Map<String, Value>,
}

impl Reading {
    /// Creates a whole value.
    pub fn value(channel: Channel, data: Map<String, Value>) -> Self {
        Self::Value { channel, data, merge: false, ttl: None }
    }

    /// Returns the channel; `None` for restored values, which belong to several.
    pub fn channel(&self) -> Option<&Channel> {
        match self {
            Self::Value { channel, .. } | Self::Event { channel, .. } | Self::End { channel } => Some(channel),
            Self::Sample(sample) => Some(&sample.channel),
            Self::Stored(stored) => Some(&stored.channel),
            Self::Restored(_) => None,
        }
    }
}

/// Origin of a reading.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A part of this program, which may write the built-in channels.
    Internal,
    /// A client of this server, which may not write the built-in channels.
    Pushed,
}

/// Reason why a reading was refused. The sender can react to each.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The channel is built in.
    #[error("{0:?} is a built-in channel and can't be pushed over or deleted")]
    BuiltIn(Channel),
    /// A value for an event channel, or an event for a state channel.
    #[error("{}", other_kind(channel, *is_state))]
    OtherKind {
        /// Channel of the reading.
        channel: Channel,
        /// Whether it is a state channel.
        is_state: bool,
    },
    /// The channel to delete does not exist.
    #[error("there is no channel {0:?}")]
    NoChannel(Channel),
    /// The tenant has reached its limit of channels.
    #[error("this tenant has {0} channels, which is the limit")]
    TooManyChannels(usize),
    /// A sample of another type than that of its series.
    #[error("the field {field:?} of {channel:?} is a {kind}, the type of its first sample")]
    OtherType {
        /// Channel of the sample.
        channel: Channel,
        /// The field, without labels.
        field: Box<str>,
        /// Type of the series.
        kind: SampleKind,
    },
    /// The tenant has reached its limit of series of samples.
    #[error("this tenant may have {0} series of samples, and this one would be beyond")]
    TooManySeries(usize),
    /// The snapshot, which is sent to every reader as a whole, has reached its limit.
    #[error("the pushed metrics are {0} bytes together, which is the limit of the snapshot")]
    SnapshotFull(usize),
    /// The deciding process cannot parse the reading, as between two versions.
    #[error("the node that decides can't read this; nothing of it was accepted")]
    Unreadable,
    /// The tenant's values and series of samples have reached their limit of bytes.
    #[error(
        "the values and series of this tenant are {0} bytes together, which is the limit; smaller values make room, and so \
         does time: series keep distributions for some ten seconds and for the day"
    )]
    StatesFull(usize),
    /// The values and series of all tenants have reached their limit of bytes.
    #[error("the values and series of all tenants are {0} bytes together, which is the limit of this server")]
    ServerFull(usize),
    /// The value is larger than allowed for delivery.
    #[error("the value of {channel:?} could be {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Channel whose value would be too large.
        channel: Channel,
        /// Largest size in bytes that the value could reach.
        bytes: usize,
        /// Limit of a value in bytes.
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
