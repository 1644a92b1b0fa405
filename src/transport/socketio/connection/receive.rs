//! Packets of the client: from Engine.IO packets to events in a namespace.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        codec::{
            engine::EnginePacket,
            packet::{self, Content, Packet},
        },
        config::MAX_ATTACHMENTS,
        namespace::Namespace,
        output::{Outgoing, push},
        socket::ClientEvent,
    },
    Connection,
};
use tricast_core::{counters::Limit, protocol::close::CloseReason};

/// A packet that waits for its attachments.
pub(super) struct Assembly {
    packet: Packet,
    attachments: Vec<Bytes>,
}

impl Connection {
    /// Takes a packet of the client.
    pub(in super::super) fn receive(&mut self, packet: EnginePacket) {
        if self.closing.is_some() {
            return;
        }
        match packet {
            // Only the reply to a ping that was sent proves that the client receives: a polling client could go on to send
            // pongs without polling.
            EnginePacket::Pong if self.pong_until.is_none() || self.has_unsent_ping() => {}
            EnginePacket::Pong => {
                let now = Instant::now();
                self.pong_until = None;
                self.next_ping = now + self.config.heartbeat.interval.0;
                // The client is here for certain: no other node has taken up its sessions.
                self.sockets.iter_mut().for_each(|socket| socket.renew(now));
            }
            EnginePacket::Message(text) if self.echoes_messages() => {
                self.packets.push(Outgoing::Text(format!("4{text}")));
            }
            EnginePacket::Binary(bytes) if self.echoes_messages() => self.packets.push(Outgoing::Binary(bytes)),
            EnginePacket::Message(text) => {
                if self.check_rate() {
                    self.receive_text(&text);
                }
            }
            EnginePacket::Binary(bytes) => self.receive_attachment(bytes),
            EnginePacket::Close => {
                self.has_left = true;
                self.end();
            }
            EnginePacket::Noop => {}
            // A client of protocol 4 does not ping, and an upgrade is handled by the transport.
            EnginePacket::Ping(_) | EnginePacket::Upgrade => self.fail("an unexpected packet"),
        }
    }

    fn echoes_messages(&self) -> bool {
        self.echo.as_ref().is_some_and(|echo| echo.takes_messages())
    }

    fn receive_text(&mut self, text: &str) {
        if self.assembly.is_some() {
            return self.fail("text instead of an attachment");
        }
        match packet::parse(text, MAX_ATTACHMENTS) {
            Err(error) => self.fail(&error.to_string()),
            Ok(packet) if packet.attachments > 0 => {
                self.assembly = Some(Assembly { packet, attachments: Vec::new() });
            }
            Ok(packet) => self.handle(packet, Vec::new()),
        }
    }

    fn receive_attachment(&mut self, bytes: Bytes) {
        let Some(mut assembly) = self.assembly.take() else { return self.fail("an attachment of nothing") };
        let held: usize = assembly.attachments.iter().map(Bytes::len).sum();
        let most = self.state.shared.limits.max_message.0;
        if most > 0 && held + bytes.len() > most {
            self.state.shared.counters.limit(Limit::Message).inc();
            return self.close(CloseReason::TooBig);
        }
        assembly.attachments.push(bytes);
        if assembly.attachments.len() < assembly.packet.attachments {
            self.assembly = Some(assembly);
        } else if self.check_rate() {
            self.handle(assembly.packet, assembly.attachments);
        }
    }

    pub(super) fn handle(&mut self, packet: Packet, attachments: Vec<Bytes>) {
        if let Some(echo) = &mut self.echo {
            if !echo.handle(packet, attachments, &mut self.packets) {
                self.fail("a packet of a namespace that was not joined");
            }
            return;
        }
        let Packet { namespace: name, ack, content, .. } = packet;
        let namespace = Namespace::parse(&name);
        let socket = self.sockets.iter_mut().position(|socket| Some(socket.namespace) == namespace);
        match (content, namespace, socket) {
            (Content::Connect(_), None, _) => {
                push(&mut self.packets, '4', &name, None, r#"{"message":"Invalid namespace"}"#);
            }
            // A second one is ignored, as by Socket.IO itself.
            (Content::Connect(_), Some(_), Some(_)) => {}
            (Content::Connect(auth), Some(namespace), None) => self.connect(namespace, auth.unwrap_or_default()),
            (Content::Disconnect, Some(_), Some(socket)) => {
                self.sockets.remove(socket).forget();
                self.await_connect();
            }
            (Content::Event(event), Some(_), Some(socket)) => {
                let mut arguments = event.into_iter();
                let name = match arguments.next() {
                    Some(Value::String(name)) => name,
                    Some(other) => other.to_string(),
                    None => return,
                };
                let mut arguments: Vec<Value> = arguments.collect();
                if !attachments.is_empty() {
                    // No event accepts binary data; the event is refused because of its argument.
                    arguments.iter_mut().for_each(remove_placeholders);
                }
                self.sockets[socket].handle(ClientEvent { name, arguments, ack }, &mut self.packets);
                self.settle();
            }
            // The server requests no acknowledgements.
            (Content::Ack(_), Some(_), Some(_)) => {}
            (Content::Disconnect, Some(namespace), None) => self.give_up_connect(namespace),
            (Content::Disconnect, None, _) => {}
            // Packets before the reply to its CONNECT are ignored.
            (_, Some(namespace), None) if self.is_pending(namespace) => {}
            _ => self.fail("a packet of a namespace that was not joined"),
        }
    }
}

/// Replaces the placeholders of attachments by `null`.
fn remove_placeholders(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => *value = Value::Null,
        Value::Object(fields) => fields.values_mut().for_each(remove_placeholders),
        Value::Array(items) => items.iter_mut().for_each(remove_placeholders),
        _ => {}
    }
}
