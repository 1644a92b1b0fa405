//! Output to a client: packets, and publications as the events of a namespace.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    codec::{engine, packet},
    frames::{end_of, text_of},
    link::Framing,
    namespace::Namespace,
    rooms::Rooms,
};
use crate::transport::{
    stream::{Encoder, End, Notice, Output, commands::Replies},
    websocket::frame,
};
use tricast_core::{
    channel::Selector,
    position::Position,
    protocol::{close::CloseReason, command::Rejection, error::Code, message::ServerMessage},
    publication::Publication,
};

/// Event before the server ends a connection. `disconnecting`, its name on a WebSocket, is reserved here: clients fail on it.
pub(super) const GOING_AWAY: &str = "going_away";

/// A packet to the client, with its Engine.IO type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// Packet of text, with the digit of its Engine.IO type.
    Text(String),
    /// Attachment of the packet before it.
    Binary(Bytes),
}

impl Outgoing {
    /// Returns the size of its content, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Packets that wait for the transport, in order.
pub(super) type Packets = Vec<Outgoing>;

/// Appends a Socket.IO packet with the JSON text `payload`.
pub(super) fn push(packets: &mut Packets, kind: char, namespace: &str, ack: Option<u64>, payload: &str) {
    let mut text = String::with_capacity(payload.len() + 32);
    text.push('4');
    packet::write_head(&mut text, kind, 0, namespace, ack);
    text.push_str(payload);
    packets.push(Outgoing::Text(text));
}

/// Appends an event with one argument.
pub(super) fn push_event(packets: &mut Packets, namespace: Namespace, name: &str, argument: &Value) {
    push(packets, '2', namespace.as_str(), None, &json!([name, argument]).to_string());
}

/// Appends an acknowledgement with one argument.
pub(super) fn push_ack(packets: &mut Packets, namespace: Namespace, ack: u64, argument: &Value) {
    push(packets, '3', namespace.as_str(), Some(ack), &json!([argument]).to_string());
}

/// Appends the waiting packets to `out`.
pub(super) fn write(out: &mut Vec<u8>, packets: &mut Packets, framing: Framing) {
    for packet in packets.drain(..) {
        if framing == Framing::Payload && !out.is_empty() {
            out.push(engine::SEPARATOR);
        }
        match (framing, packet) {
            (Framing::Payload, Outgoing::Text(text)) => out.extend_from_slice(text.as_bytes()),
            (Framing::Payload, Outgoing::Binary(bytes)) => engine::write_base64(out, &bytes),
            (Framing::Frames, Outgoing::Text(text)) => frame::write_text(out, &text, false),
            (Framing::Frames, Outgoing::Binary(bytes)) => frame::write(out, frame::BINARY, false, &bytes),
        }
    }
}

/// Output of one namespace of a connection, in one framing.
pub(super) struct NamespaceOutput<'a, const PAYLOAD: bool> {
    pub(super) namespace: Namespace,
    pub(super) rooms: &'a Rooms,
    /// Whether publications have the second form, in a namespace with two.
    pub(super) is_second: bool,
    /// Whether events carry their cursor as last argument, for connection state recovery.
    pub(super) with_offset: bool,
    /// Bytes that come before the next publication.
    pub(super) out: Vec<u8>,
    /// Packets that are written after the publications.
    pub(super) packets: &'a mut Packets,
    pub(super) end: &'a mut Option<End>,
}

impl<const PAYLOAD: bool> Encoder for NamespaceOutput<'_, PAYLOAD> {
    const SEPARATOR: &'static [u8] = if PAYLOAD { &[engine::SEPARATOR] } else { &[] };

    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        let frames = self.rooms.encode(self.namespace, self.is_second, self.with_offset, publication, cursor);
        if PAYLOAD { payload_of(&frames) } else { frames }
    }

    fn gap(&self, channels: &[Selector], cursor: &Position) -> Bytes {
        let channels: Vec<String> = channels.iter().map(Selector::to_string).collect();
        let gap = json!({"channels": channels, "cursor": cursor.to_string()});
        let offset = self.with_offset.then(|| cursor.to_string());
        let frames = super::encode::event(self.namespace, "gap", &gap.to_string(), offset.as_deref());
        if PAYLOAD { payload_of(&frames) } else { frames }
    }
}

/// Converts frames to the packets of a payload; a single frame is not copied.
fn payload_of(frames: &Bytes) -> Bytes {
    let mut rest = frames.clone();
    let mut out = Vec::new();
    while let Some(end) = end_of(&rest) {
        let text = text_of(&rest.slice(..end));
        rest = rest.slice(end..);
        if out.is_empty() && rest.is_empty() {
            return text;
        }
        if !out.is_empty() {
            out.push(engine::SEPARATOR);
        }
        out.extend_from_slice(&text);
    }
    out.into()
}

impl<const PAYLOAD: bool> Output for NamespaceOutput<'_, PAYLOAD> {
    fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn notify(&mut self, notice: Notice) {
        match notice {
            Notice::TokenExpiring(expires_in) => {
                let message = match self.namespace {
                    Namespace::Tricast => "your token expires soon: emit refresh_token with a new one",
                    _ => "your token expires soon: reconnect with a new one",
                };
                let notice = json!({"expiresIn": expires_in, "message": message});
                push_event(self.packets, self.namespace, "auth_expiring", &notice);
            }
            Notice::SlowClient { event, data, timestamp } => {
                let notice = json!({"channel": "system", "event": event, "data": data, "timestamp": timestamp});
                let name = if self.namespace == Namespace::Tricast { "event" } else { "system" };
                push_event(self.packets, self.namespace, name, &notice);
            }
        }
    }

    fn end(&mut self, end: End) {
        *self.end = Some(end);
    }

    fn is_open(&self) -> bool {
        self.end.is_none()
    }
}

/// Replies to the commands of the namespace `/tricast`: acknowledgements where the client asked for one, events otherwise.
pub(super) struct CommandReplies<'a> {
    pub(super) packets: &'a mut Packets,
    pub(super) end: &'a mut Option<End>,
    /// Bad messages since the connection counted them last.
    pub(super) bad_messages: &'a mut usize,
}

/// Returns the request id that stands for an acknowledgement.
pub(super) fn ack_request(ack: u64) -> Value {
    json!({"ack": ack})
}

fn ack_of(request_id: Option<&Value>) -> Option<u64> {
    request_id?.as_object()?.get("ack")?.as_u64()
}

impl Replies for CommandReplies<'_> {
    fn reply(&mut self, message: &ServerMessage<'_>) {
        self.reply_json(&message.to_json());
    }

    fn reply_json(&mut self, json: &str) {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(json) else { return };
        let name = fields.remove("type");
        let name = match name.as_ref().and_then(Value::as_str) {
            Some("disconnecting") => GOING_AWAY,
            Some(name) => name,
            None => return,
        };
        match ack_of(fields.get("requestId")) {
            // Only the first reply is the acknowledgement; `history` follows as events.
            Some(ack) if name != "history" => {
                fields.remove("requestId");
                fields.insert("status".into(), "ok".into());
                push_ack(self.packets, Namespace::Tricast, ack, &Value::Object(fields));
            }
            ack => {
                if ack.is_some() {
                    fields.remove("requestId");
                }
                push_event(self.packets, Namespace::Tricast, name, &Value::Object(fields));
            }
        }
    }

    fn reject(&mut self, Rejection { request_id, code, message, retry_after }: Rejection) {
        if code == Code::InvalidMessage {
            *self.bad_messages += 1;
        }
        let mut error = json!({"code": code, "message": message});
        if let Some(after) = retry_after {
            error["details"] = json!({"retryAfter": after.as_millis() as u64 + 1});
        }
        match ack_of(request_id.as_ref()) {
            Some(ack) => {
                error["status"] = "error".into();
                push_ack(self.packets, Namespace::Tricast, ack, &error);
            }
            None => {
                if let Some(request_id) = request_id {
                    error["requestId"] = request_id;
                }
                push_event(self.packets, Namespace::Tricast, "error", &error);
            }
        }
    }

    fn close(&mut self, reason: CloseReason) {
        *self.end = Some(match reason {
            CloseReason::TokenExpired | CloseReason::TokenInvalid => End::TokenExpired,
            _ => End::Retired(crate::shutdown::reconnect_soon()),
        });
    }

    fn has_ended(&self) -> bool {
        self.end.is_some()
    }
}
