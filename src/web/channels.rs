//! Channels named by clients, and the list of channels that a caller may read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{caller::Caller, problem::Problem};
use tricast_auth::Identity;
use tricast_core::{
    built_in,
    channel::{Channel, ChannelKind, Selector},
    openapi::{ChannelName, Cursor},
    span::iso_8601,
};

/// Channels of a stream, or of a poll with `since`, that does not name any.
pub const DEFAULT: &str = "metrics,alerts";

/// Parses a list of selectors: `a,b.*,c`. Duplicates are dropped.
///
/// # Errors
/// 400 that names the invalid part.
pub fn parse_list(list: &str) -> Result<Vec<Selector>, Problem> {
    let mut selectors = Vec::new();
    for name in list.split(',') {
        let shown: String = name.chars().take(60).collect();
        let selector =
            Selector::parse(name).map_err(|error| Problem::bad_request(format!("channels: {shown:?}: {error}")))?;
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
    }
    Ok(selectors)
}

/// Returns the selectors of [`DEFAULT`] that `identity` may read.
///
/// # Errors
/// 403 if there are none.
pub fn default_for(identity: &Identity) -> Result<Vec<Selector>, Problem> {
    let mut selectors = parse_list(DEFAULT)?;
    selectors.retain(|selector| tricast_auth::may_read(identity, selector));
    if selectors.is_empty() {
        return Err(Problem::forbidden(format!("this token may read neither of {DEFAULT}: name channels that it may")));
    }
    Ok(selectors)
}

/// Parses the name of one channel.
///
/// # Errors
/// 400 with the fault.
pub fn parse_one(name: &str) -> Result<Channel, Problem> {
    Channel::parse(name).map_err(|error| Problem::bad_request(format!("channel: {error}")))
}

/// Parses the name of one channel that `identity` may read.
///
/// # Errors
/// 400 for a name that is not valid, 403.
pub fn parse_readable(name: &str, identity: &Identity) -> Result<Channel, Problem> {
    let channel = parse_one(name)?;
    if tricast_auth::may_read_channel(identity, &channel) {
        return Ok(channel);
    }
    Err(Problem::forbidden(format!("this token may not read {channel:?}")))
}

/// Channels that a caller may read.
#[derive(Serialize, ToSchema)]
pub struct ChannelList {
    channels: Vec<ListedChannel>,
    #[schema(value_type = Cursor)]
    cursor: String,
}

/// A channel of the list. Durations are ISO 8601.
#[derive(Serialize, ToSchema)]
struct ListedChannel {
    #[schema(value_type = ChannelName)]
    channel: Channel,
    kind: ChannelKind,
    source: ChannelSource,
    /// Offset of its newest publication.
    version: u64,
    /// Age of that publication; `null` before the first one.
    #[schema(required = true, example = "PT30S")]
    age: Option<String>,
    /// Time since its value was last written, even unchanged; `null` for event channels and built-in channels.
    #[schema(required = true, example = "PT2S")]
    idle: Option<String>,
    /// Usual time between two writes; `null` before the second. A source that is silent for many times as long has probably
    /// stopped.
    #[schema(required = true, example = "PT1S")]
    pace: Option<String>,
    /// `true` as long as the value is the one that was restored from history at the start; left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    restored: bool,
    /// Fields whose times differ from those of the channel, because they are not written with the rest of it. Only if the
    /// request names channels; left out if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, ListedField>,
}

/// Writer of a channel.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChannelSource {
    /// Clients, by pushes.
    Pushed,
    /// The server itself.
    Server,
}

/// A field of a channel in the list. Durations are ISO 8601.
#[derive(Serialize, ToSchema)]
struct ListedField {
    /// Time since the field was last written, even unchanged.
    #[schema(example = "PT4M")]
    idle: String,
    /// Usual time between two writes of the field; `null` before the second.
    #[schema(required = true, example = "PT10S")]
    pace: Option<String>,
    /// `true` as long as the value is the one that was restored from history at the start; left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    restored: bool,
}

/// Returns the channels that `caller` may read, restricted to `wanted` if given.
pub fn list(now: Timestamp, caller: &Caller, wanted: Option<&[Selector]>) -> ChannelList {
    let since = |time: Timestamp| iso_8601(now.duration_since(time).as_secs().max(0) as u64);
    let pace = |ms: u64| iso_8601(ms.div_ceil(1_000));
    let log = &caller.tenant.log;
    let fields = |channel: &Channel| {
        let fields = log.fields_of(channel).into_iter().map(|field| {
            let (idle, pace) = (since(field.written), field.pace_ms.map(pace));
            (field.field, ListedField { idle, pace, restored: field.restored })
        });
        fields.collect()
    };
    let channels = log
        .channels()
        .into_iter()
        .filter(|info| wanted.is_none_or(|wanted| wanted.iter().any(|selector| selector.matches(&info.channel))))
        .filter(|info| tricast_auth::may_read_channel(&caller.identity, &info.channel))
        .map(|info| {
            let is_built_in = built_in::contains(&info.channel);
            // Built-in channels are never late.
            let written = info.written.filter(|_| !is_built_in);
            let lists_fields = wanted.is_some() && written.is_some();
            ListedChannel {
                kind: info.kind,
                source: if is_built_in { ChannelSource::Server } else { ChannelSource::Pushed },
                version: info.version,
                age: info.changed.map(since),
                idle: written.map(since),
                pace: written.and(info.pace_ms).map(pace),
                restored: info.restored,
                fields: if lists_fields { fields(&info.channel) } else { BTreeMap::new() },
                channel: info.channel,
            }
        })
        .collect();
    ChannelList { channels, cursor: log.position().to_string() }
}
