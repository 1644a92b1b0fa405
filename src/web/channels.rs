//! Channels named by clients, and the list of channels that a caller may read.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{caller::Caller, problem::Problem};
use tricast_auth::Identity;
use tricast_core::{
    built_in,
    channel::{Channel, Selector},
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

/// Returns `{channels, cursor}`: the channels that `caller` may read, restricted to `wanted` if given.
///
/// Each has a kind, a version (the offset of its newest publication) and an age (ISO 8601; `null` before the first one).
/// A channel that clients write also has `idle`, the time since it was last written, and `pace`, the usual time between
/// two writes. A value that was restored from history, and not written since, has a mark; with `wanted` fields whose times differ
/// from those of their channel are listed.
pub fn list(now: Timestamp, caller: &Caller, wanted: Option<&[Selector]>) -> Value {
    let since = |time: Timestamp| iso_8601(now.duration_since(time).as_secs().max(0) as u64);
    let pace = |ms: u64| iso_8601(ms.div_ceil(1_000));
    let log = &caller.tenant.log;
    let fields = |channel: &Channel| {
        let fields = log.fields_of(channel).into_iter().map(|field| {
            let mut times = json!({"idle": since(field.written), "pace": field.pace_ms.map(pace)});
            if field.restored {
                times["restored"] = true.into();
            }
            (field.field, times)
        });
        fields.collect::<Map<_, _>>()
    };
    let channels: Vec<Value> = log
        .channels()
        .into_iter()
        .filter(|info| wanted.is_none_or(|wanted| wanted.iter().any(|selector| selector.matches(&info.channel))))
        .filter(|info| tricast_auth::may_read_channel(&caller.identity, &info.channel))
        .map(|info| {
            // Built-in channels are never late.
            let written = info.written.filter(|_| !built_in::contains(&info.channel));
            let mut line = json!({
                "channel": info.channel,
                "kind": info.kind,
                "version": info.version,
                "age": info.changed.map(since),
                "idle": written.map(since),
                "pace": written.and(info.pace_ms).map(pace),
            });
            if info.restored {
                line["restored"] = true.into();
            }
            if wanted.is_some() && written.is_some() {
                let fields = fields(&info.channel);
                if !fields.is_empty() {
                    line["fields"] = fields.into();
                }
            }
            line
        })
        .collect();
    json!({"channels": channels, "cursor": log.position().to_string()})
}
