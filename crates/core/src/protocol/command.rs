//! Parser of client messages, on a WebSocket or for an event stream: JSON in, a checked command out. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    error::{Code, shortened},
    message::RequestId,
    nul,
};
use crate::{
    channel::{NameError, Selector},
    interval::{IntervalError, parse_interval},
};

/// Most channels in one message; the answer has an entry for each.
const MAX_NAMES: usize = 1_000;

/// Longest `requestId`, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Message of a client after parsing.
#[derive(Debug)]
pub struct Message {
    /// ID for the answer.
    pub request_id: Option<RequestId>,
    /// Command of the message.
    pub command: Command,
}

/// Command of a client.
#[derive(Debug)]
pub enum Command {
    /// Start or change subscriptions, optionally from a cursor.
    Subscribe {
        /// Channels with their intervals.
        channels: Vec<Wanted>,
        /// Cursor as the client wrote it.
        since: Option<String>,
    },
    /// End the subscriptions of these channels and patterns.
    Unsubscribe(Vec<String>),
    /// Stop the deliveries of these subscriptions until they are resumed.
    Pause(Vec<String>),
    /// Start the deliveries of these subscriptions again: the newest states, and the missed events.
    Resume(Vec<String>),
    /// Request a `pong` message.
    Ping,
    /// Answer to a ping, with its timestamp.
    Pong(Option<String>),
    /// Change the heartbeat of this connection. `None` keeps the current value.
    Configure {
        /// Time between two pings.
        interval: Option<Duration>,
        /// Timeout without any message.
        timeout: Option<Duration>,
    },
    /// Close the connection with [`CloseReason::Normal`](super::close::CloseReason::Normal).
    Disconnect,
    /// Request for an action with an answer.
    Request {
        /// Name of the action.
        action: String,
        /// Parameters of the action.
        params: Map<String, Value>,
    },
    /// First token of an unauthenticated connection.
    Authenticate(Token),
    /// A newer token of the same user.
    RefreshToken(Token),
}

/// Token as it was sent; its `Debug` output hides it.
#[derive(Clone)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Channel of a `subscribe`.
#[derive(Debug)]
pub struct Wanted {
    /// Name as the client wrote it.
    pub name: String,
    /// Selector and interval, or the fault.
    pub parsed: Result<(Selector, Duration), WantedError>,
    /// Time span of the history to send first, as the client wrote it.
    pub backfill: Option<String>,
}

/// Reason why a channel of a `subscribe` is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The interval is not valid.
    #[error(transparent)]
    Interval(#[from] IntervalError),
}

/// Rejection of an invalid or refused message.
#[derive(Debug, PartialEq)]
pub struct Rejection {
    /// ID of the message, if it is valid.
    pub request_id: Option<RequestId>,
    /// Stable code, by which clients distinguish errors.
    pub code: Code,
    /// Explanation for the people who read the client's log.
    pub message: String,
    /// Time after which to retry.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    /// Creates the rejection of the message with that ID. A long `message` is shortened.
    pub fn new(request_id: Option<RequestId>, code: Code, message: impl Into<String>) -> Self {
        Self { request_id, code, message: shortened(message.into()), retry_after: None }
    }
}

/// Parses one text message.
///
/// # Errors
/// A [`Rejection`] with the fault and its place.
pub fn parse(text: &str) -> Result<Message, Rejection> {
    let mut request_id = None;
    let message = read(text, &mut request_id);
    message.map_err(|message| Rejection::new(request_id, Code::InvalidMessage, message))
}

/// Returns the `requestId` of a message that is not parsed any further.
pub fn request_id(text: &str) -> Option<RequestId> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Id {
        request_id: Option<Value>,
    }
    let Id { request_id } = serde_json::from_str(text).ok()?;
    request_id.filter(|id| match id {
        Value::String(text) => text.len() <= MAX_REQUEST_ID,
        id => id.is_number(),
    })
}

fn read(text: &str, id: &mut Option<RequestId>) -> Result<Message, String> {
    // A byte order mark at the start may be ignored (RFC 8259, section 8.1).
    let text = text.trim_start_matches('\u{feff}');
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let fault = if nul::may_be_in(text.as_bytes()) { nul::fault(&value) } else { None };
    let Value::Object(mut fields) = value else { return Err("a message is one JSON object".into()) };
    match fields.remove("requestId") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.len() <= MAX_REQUEST_ID => *id = Some(Value::String(text)),
        Some(Value::Number(number)) => *id = Some(Value::Number(number)),
        Some(_) => return Err(format!("\"requestId\" is a string of at most {MAX_REQUEST_ID} bytes, or a number")),
    }
    if let Some(fault) = fault {
        return Err(fault);
    }
    let kind = match fields.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(_) => return Err("\"type\" has to be a string".into()),
        None => return Err("\"type\" is missing".into()),
    };
    let command = match kind.as_str() {
        "subscribe" => Command::Subscribe {
            channels: wanted(&fields)?,
            since: match fields.remove("since") {
                None | Some(Value::Null) => None,
                Some(Value::String(cursor)) => Some(cursor),
                Some(_) => return Err("\"since\" has to be a cursor, a string".into()),
            },
        },
        "unsubscribe" => Command::Unsubscribe(names(&fields)?),
        "pause" => Command::Pause(names(&fields)?),
        "resume" => Command::Resume(names(&fields)?),
        "ping" => Command::Ping,
        "pong" => Command::Pong(fields.get("timestamp").and_then(Value::as_str).map(str::to_owned)),
        "configure" => {
            let Some(Value::Object(settings)) = fields.get("settings") else {
                return Err("\"settings\" has to be an object".into());
            };
            if let Some(unknown) =
                settings.keys().find(|key| !matches!(key.as_str(), "heartbeatInterval" | "heartbeatTimeout"))
            {
                return Err(format!(
                    "there is no setting {unknown:?}; there are heartbeatInterval and heartbeatTimeout"
                ));
            }
            Command::Configure {
                interval: milliseconds(settings, "heartbeatInterval")?,
                timeout: milliseconds(settings, "heartbeatTimeout")?,
            }
        }
        "disconnect" => Command::Disconnect,
        "request" => {
            if id.is_none() {
                return Err("a request needs a \"requestId\"".into());
            }
            let action =
                fields.get("action").and_then(Value::as_str).ok_or("\"action\" has to be a string")?.to_owned();
            let params = match fields.remove("params") {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(params)) => params,
                Some(_) => return Err("\"params\" has to be an object".into()),
            };
            Command::Request { action, params }
        }
        "authenticate" => Command::Authenticate(token(&mut fields)?),
        "refresh_token" => Command::RefreshToken(token(&mut fields)?),
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(format!("there is no message type {shown:?}"));
        }
    };
    Ok(Message { request_id: id.clone(), command })
}

fn token(fields: &mut Map<String, Value>) -> Result<Token, String> {
    match fields.remove("token") {
        Some(Value::String(token)) => Ok(Token(token)),
        _ => Err("\"token\" has to be a string".into()),
    }
}

/// Returns the entries of `channels`, or `channel` alone.
fn entries(fields: &Map<String, Value>) -> Result<Vec<&Value>, String> {
    match (fields.get("channels"), fields.get("channel")) {
        (Some(Value::Array(list)), None) if list.is_empty() => Err("\"channels\" is empty".into()),
        (Some(Value::Array(list)), None) if list.len() > MAX_NAMES => {
            Err(format!("\"channels\" names more than {MAX_NAMES} channels"))
        }
        (Some(Value::Array(list)), None) => Ok(list.iter().collect()),
        (None, Some(one @ Value::String(_))) => Ok(vec![one]),
        (Some(_), Some(_)) => Err("write \"channels\" or \"channel\", not both".into()),
        (Some(_), None) => Err("\"channels\" has to be a list".into()),
        (None, Some(_)) => Err("\"channel\" has to be a string".into()),
        (None, None) => Err("\"channels\" is missing".into()),
    }
}

fn names(fields: &Map<String, Value>) -> Result<Vec<String>, String> {
    let name = |entry: &Value| match entry {
        Value::String(name) => Ok(name.clone()),
        _ => Err("\"channels\" has to be a list of names".to_owned()),
    };
    entries(fields)?.into_iter().map(name).collect()
}

fn wanted(fields: &Map<String, Value>) -> Result<Vec<Wanted>, String> {
    entries(fields)?
        .into_iter()
        .map(|entry| {
            let (name, interval, backfill) = match entry {
                Value::String(name) => (name, None, None),
                Value::Object(entry) => match entry.get("name") {
                    Some(Value::String(name)) => (name, entry.get("interval"), entry.get("backfill")),
                    _ => return Err("each of \"channels\" needs a \"name\", a string".to_owned()),
                },
                _ => return Err("each of \"channels\" is a name or {\"name\", \"interval\", \"backfill\"}".to_owned()),
            };
            let backfill = match backfill.or(fields.get("backfill")) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(_) => return Err("\"backfill\" has to be a string such as \"15m\"".to_owned()),
            };
            let interval = match interval.or(fields.get("interval")) {
                None | Some(Value::Null) => Ok(Duration::ZERO),
                Some(Value::String(text)) => parse_interval(text),
                Some(other) => parse_interval(&other.to_string()),
            };
            let parsed = Selector::parse(name)
                .map_err(WantedError::from)
                .and_then(|selector| Ok((selector, interval.map_err(WantedError::from)?)));
            Ok(Wanted { name: name.chars().take(130).collect(), parsed, backfill })
        })
        .collect()
}

fn milliseconds(settings: &Map<String, Value>, key: &str) -> Result<Option<Duration>, String> {
    match settings.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(ms) => Ok(Some(Duration::from_millis(ms))),
            None => Err(format!("{key:?} has to be a whole number of milliseconds")),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_the_fault() {
        for (text, part) in [
            ("", "not JSON"),
            ("[1]", "one JSON object"),
            ("{}", "\"type\" is missing"),
            (r#"{"type":5}"#, "\"type\" has to be"),
            (r#"{"type":"dance"}"#, "no message type \"dance\""),
            (r#"{"type":"subscribe"}"#, "\"channels\" is missing"),
            (r#"{"type":"subscribe","channels":[]}"#, "empty"),
            (r#"{"type":"subscribe","channels":"a"}"#, "has to be a list"),
            (r#"{"type":"subscribe","channels":[5]}"#, "a name or"),
            (r#"{"type":"subscribe","channels":[{"interval":5}]}"#, "needs a \"name\""),
            (r#"{"type":"subscribe","channels":["a"],"channel":"b"}"#, "not both"),
            (r#"{"type":"subscribe","channel":"a","since":7}"#, "\"since\""),
            (r#"{"type":"subscribe","channel":"a","backfill":7}"#, "\"backfill\""),
            (r#"{"type":"unsubscribe","channels":[{"name":"a"}]}"#, "list of names"),
            (r#"{"type":"configure"}"#, "\"settings\""),
            (r#"{"type":"configure","settings":{"heartbeatInterval":-1}}"#, "whole number"),
            (r#"{"type":"configure","settings":{"colour":1}}"#, "no setting \"colour\""),
            (r#"{"type":"request","action":"x"}"#, "needs a \"requestId\""),
            (r#"{"type":"ping","requestId":{}}"#, "\"requestId\" is a string"),
            (r#"{"type":"ping","requestId":"\ud800"}"#, "not JSON"),
            (r#"{"type":"request","requestId":1,"params":{"orderId":"\u0000"}}"#, "params.orderId: U+0000"),
        ] {
            let rejection = parse(text).unwrap_err();
            assert!(rejection.message.contains(part), "{text}: {}", rejection.message);
            assert_eq!(rejection.code, Code::InvalidMessage);
        }
        let deep = format!(r#"{{"type":"ping","x":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(&deep).unwrap_err().message.contains("not JSON"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert!(parse("\u{feff}{\"type\":\"ping\"}").is_ok());
    }

    #[test]
    fn a_rejection_keeps_the_id() {
        let rejection = parse(r#"{"requestId":"a-1","type":"nope"}"#).unwrap_err();
        assert_eq!(rejection.request_id, Some(Value::String("a-1".into())));
    }

    #[test]
    fn a_subscription_is_read_with_its_intervals() {
        let text = r#"{"type":"subscribe","channels":["a.*",{"name":"b","interval":"5s"},{"name":"c","interval":250},
            {"name":"no good"},{"name":"d","interval":"often"}],"since":"e:1"}"#;
        let Ok(Message { command: Command::Subscribe { channels, since }, .. }) = parse(text) else { panic!() };
        assert_eq!(since.as_deref(), Some("e:1"));
        let intervals: Vec<_> = channels.iter().map(|w| w.parsed.as_ref().ok().map(|p| p.1.as_millis())).collect();
        assert_eq!(intervals, [Some(0), Some(5_000), Some(250), None, None]);
    }

    #[test]
    fn ids_and_lists_of_channels_are_bounded() {
        let with_id = |length: usize| format!(r#"{{"type":"ping","requestId":"{}"}}"#, "x".repeat(length));
        assert!(parse(&with_id(MAX_REQUEST_ID)).is_ok() && request_id(&with_id(MAX_REQUEST_ID)).is_some());
        let refused = parse(&with_id(MAX_REQUEST_ID + 1)).unwrap_err();
        assert!(refused.message.contains("\"requestId\""), "{}", refused.message);
        assert_eq!((refused.request_id, request_id(&with_id(MAX_REQUEST_ID + 1))), (None, None));
        assert_eq!(request_id(r#"{"requestId":7}"#), Some(Value::from(7)));
        assert_eq!(request_id(r#"{"requestId":{}}"#), None);
        let names = |count: usize| json!({"type": "unsubscribe", "channels": vec!["a"; count]}).to_string();
        assert!(parse(&names(MAX_NAMES)).is_ok());
        assert!(parse(&names(MAX_NAMES + 1)).unwrap_err().message.contains("more than"));
        let Ok(Message { command: Command::Unsubscribe(one), .. }) = parse(r#"{"type":"unsubscribe","channel":"a"}"#)
        else {
            panic!()
        };
        assert_eq!(one, ["a"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
