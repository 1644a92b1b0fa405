//! Socket.IO packets (protocol 5, <https://github.com/socketio/socket.io-protocol>).
//!
//! ```text
//! <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//!
//! 0/tricast,{"token":"..."}     2["subscribe-metrics","main"]     2/dashboard,7["subscribe",{...}]
//! 51-["upload",{"_placeholder":true,"num":0}]                     3/dashboard,7[{"status":"ok"}]
//! ```

use std::fmt::Write;

use serde_json::{Map, Value};

/// Names that an event cannot have: clients use them for themselves.
pub(super) const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Longest namespace, in bytes.
const MAX_NAMESPACE: usize = 128;

/// A packet of the Socket.IO protocol, revision 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Namespace; `/` where the packet names none.
    pub namespace: String,
    /// Id of the acknowledgement that is asked for, or given.
    pub ack: Option<u64>,
    /// Binary attachments that follow.
    pub attachments: usize,
    /// Type of the packet, with its data.
    pub content: Content,
}

/// Content of a packet, by its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Joins a namespace; the object is the client's `auth`, or the server's answer.
    Connect(Option<Map<String, Value>>),
    /// The sender leaves the namespace.
    Disconnect,
    /// An event: its name or number, then its arguments.
    Event(Vec<Value>),
    /// Acknowledgement of the event with the packet's id, with its arguments.
    Ack(Vec<Value>),
    /// The server refuses a namespace.
    ConnectError(Value),
}

/// Why something is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The first character is not a type.
    #[error("an unknown packet type")]
    UnknownType,
    /// The number of attachments is missing or 0, or there are too many.
    #[error("a wrong number of attachments")]
    Attachments,
    /// The namespace is too long.
    #[error("a namespace that is too long")]
    Namespace,
    /// The acknowledgement id is out of range, or missing.
    #[error("a wrong acknowledgement id")]
    AckId,
    /// The JSON is not JSON, or does not fit the type.
    #[error("a payload that does not fit the packet type")]
    Payload,
}

/// Reads a packet with at most `max_attachments` attachments.
///
/// # Errors
/// [`PacketError`].
pub fn parse(text: &str, max_attachments: usize) -> Result<Packet, PacketError> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(PacketError::UnknownType)?;
    if !('0'..='6').contains(&kind) {
        return Err(PacketError::UnknownType);
    }
    let mut rest = chars.as_str();
    let mut attachments = 0;
    if matches!(kind, '5' | '6') {
        let (number, after) = rest.split_once('-').ok_or(PacketError::Attachments)?;
        attachments = digits(number).ok_or(PacketError::Attachments)?;
        // The reference implementation refuses a binary packet without attachments, too.
        if attachments == 0 || attachments > max_attachments {
            return Err(PacketError::Attachments);
        }
        rest = after;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        if namespace.len() > MAX_NAMESPACE {
            return Err(PacketError::Namespace);
        }
    }
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, json) = rest.split_at(end);
    let ack = match number {
        "" => None,
        number => Some(digits(number).ok_or(PacketError::AckId)?),
    };
    let payload = match json {
        "" => None,
        json => Some(serde_json::from_str::<Value>(json).map_err(|_| PacketError::Payload)?),
    };
    let content = match (kind, payload) {
        ('0', None) => Content::Connect(None),
        ('0', Some(Value::Object(auth))) => Content::Connect(Some(auth)),
        ('1', None) => Content::Disconnect,
        ('2' | '5', Some(Value::Array(event))) if is_event(&event) => Content::Event(event),
        ('3' | '6', Some(Value::Array(arguments))) => Content::Ack(arguments),
        ('4', Some(error @ (Value::Object(_) | Value::String(_)))) => Content::ConnectError(error),
        _ => return Err(PacketError::Payload),
    };
    if matches!(content, Content::Ack(_)) && ack.is_none() {
        return Err(PacketError::AckId);
    }
    Ok(Packet { namespace: namespace.to_owned(), ack, attachments, content })
}

/// Reads a number that clients can represent exactly.
fn digits<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|number| plain && *number < 1 << 53)?;
    T::try_from(number).ok()
}

fn is_event(event: &[Value]) -> bool {
    match event.first() {
        Some(Value::Number(_)) => true,
        Some(Value::String(name)) => !RESERVED.contains(&name.as_str()),
        _ => false,
    }
}

/// Appends the beginning of a packet: type, attachments, namespace and acknowledgement id.
pub fn write_head(out: &mut String, kind: char, attachments: usize, namespace: &str, ack: Option<u64>) {
    out.push(kind);
    // Writing to a String can't fail.
    if matches!(kind, '5' | '6') {
        let _ = write!(out, "{attachments}-");
    }
    if namespace != "/" {
        let _ = write!(out, "{namespace},");
    }
    if let Some(ack) = ack {
        let _ = write!(out, "{ack}");
    }
}

impl Packet {
    /// Returns the packet as text.
    pub fn to_text(&self) -> String {
        let binary = self.attachments > 0;
        let (kind, payload) = match &self.content {
            Content::Connect(object) => ('0', object.as_ref().map(|object| Value::Object(object.clone()))),
            Content::Disconnect => ('1', None),
            Content::Event(event) => (if binary { '5' } else { '2' }, Some(Value::Array(event.clone()))),
            Content::Ack(arguments) => (if binary { '6' } else { '3' }, Some(Value::Array(arguments.clone()))),
            Content::ConnectError(error) => ('4', Some(error.clone())),
        };
        let mut out = String::new();
        write_head(&mut out, kind, self.attachments, &self.namespace, self.ack);
        if let Some(payload) = payload {
            out.push_str(&payload.to_string());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Packet, PacketError> {
        parse(text, 10)
    }

    #[test]
    fn packets_are_read_as_the_protocol_has_them() {
        let packet = read(r#"0/admin,{"token":"123"}"#).unwrap();
        assert_eq!(packet.namespace, "/admin");
        assert!(matches!(packet.content, Content::Connect(Some(auth)) if auth["token"] == "123"));
        assert!(matches!(read("0").unwrap().content, Content::Connect(None)));
        let packet = read("0/random").unwrap();
        assert_eq!((packet.namespace.as_str(), packet.content), ("/random", Content::Connect(None)));
        let packet = read(r#"2/admin,456["project:delete",123]"#).unwrap();
        assert_eq!(packet.ack, Some(456));
        assert_eq!(packet.content, Content::Event(vec![json!("project:delete"), json!(123)]));
        let packet = read(r#"51-["hello",{"_placeholder":true,"num":0}]"#).unwrap();
        assert_eq!((packet.attachments, packet.namespace.as_str()), (1, "/"));
        assert_eq!(read("3/admin,456[]").unwrap().content, Content::Ack(Vec::new()));
        assert_eq!(read("1/admin,").unwrap().content, Content::Disconnect);
        assert!(matches!(read("2[5,1]").unwrap().content, Content::Event(_)));
        // JSON may begin with white space.
        assert_eq!(read("27 [\"a\"]").unwrap().ack, Some(7));
    }

    #[test]
    fn malformed_packets_are_refused() {
        for (text, error) in [
            ("", PacketError::UnknownType),
            ("7", PacketError::UnknownType),
            ("abc", PacketError::UnknownType),
            ("2", PacketError::Payload),
            ("2{}", PacketError::Payload),
            ("2[]", PacketError::Payload),
            ("2[{}]", PacketError::Payload),
            (r#"2["connect"]"#, PacketError::Payload),
            (r#"2["disconnecting"]"#, PacketError::Payload),
            (r#"2["a""#, PacketError::Payload),
            ("2abc[]", PacketError::Payload),
            ("0null", PacketError::Payload),
            ("0[]", PacketError::Payload),
            ("1{}", PacketError::Payload),
            ("3[]", PacketError::AckId),
            (r#"299999999999999999999["a"]"#, PacketError::AckId),
            (r#"5["a"]"#, PacketError::Attachments),
            (r#"5x-["a"]"#, PacketError::Attachments),
            (r#"5-["a"]"#, PacketError::Attachments),
            (r#"50-["a"]"#, PacketError::Attachments),
            (r#"51 -["a"]"#, PacketError::Attachments),
            (r#"511-["a"]"#, PacketError::Attachments),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        let deep = format!("2[\"a\",{}{}]", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(read(&deep), Err(PacketError::Payload));
        assert_eq!(read(&format!("0/{}", "n".repeat(200))), Err(PacketError::Namespace));
    }

    fn content() -> impl Strategy<Value = Content> {
        let value = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        let values = proptest::collection::vec(value, 0..4);
        prop_oneof![
            Just(Content::Connect(None)),
            "[a-z]{0,8}".prop_map(|token| Content::Connect(json!({"token": token}).as_object().cloned())),
            Just(Content::Disconnect),
            ("[a-z]{1,3}", values.clone()).prop_map(|(name, values)| {
                Content::Event(std::iter::once(Value::from(name)).chain(values).collect())
            }),
            values.prop_map(Content::Ack),
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = read(&text);
        }

        #[test]
        fn near_misses_are_read_or_refused(text in r#"[0-7]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,3}[\[\]{}"a,0-9]{0,12}"#) {
            let _ = read(&text);
        }

        #[test]
        fn a_packet_is_read_as_it_was_written(
            content in content(),
            namespace in prop_oneof![Just("/".to_owned()), "/[a-z]{1,6}"],
            ack in proptest::option::of(0u64..1_000),
            attachments in 0usize..4,
        ) {
            let ack = match content {
                Content::Ack(_) => ack.or(Some(0)),
                Content::Event(_) => ack,
                _ => None,
            };
            let attachments = if matches!(content, Content::Event(_) | Content::Ack(_)) { attachments } else { 0 };
            let packet = Packet { namespace, ack, attachments, content };
            prop_assert_eq!(read(&packet.to_text()), Ok(packet));
        }
    }
}
