//! Namespace `/tricast`: the commands of a WebSocket as events.

use serde_json::{Map, Value};

use super::{
    super::output::{CommandReplies, Packets, ack_request},
    ClientEvent, Socket,
};
use crate::transport::stream::commands::Replies;
use tricast_core::protocol::{command, error::Code, message::ServerMessage};

impl Socket {
    /// Carries out a command of the namespace `/tricast`: the same as the WebSocket message of that type.
    pub(super) fn command(&mut self, ClientEvent { name, mut arguments, ack }: ClientEvent, packets: &mut Packets) {
        let mut fields = match arguments.drain(..).next() {
            Some(Value::Object(fields)) => fields,
            None => Map::new(),
            Some(_) => return self.reject(ack, Code::InvalidMessage, "the argument has to be one object", packets),
        };
        if !matches!(
            name.as_str(),
            "subscribe" | "unsubscribe" | "pause" | "resume" | "request" | "refresh_token" | "ping"
        ) {
            let shown: String = name.chars().take(40).collect();
            let known = "subscribe, unsubscribe, pause, resume, request, refresh_token and ping";
            let message = format!("there is no event {shown:?}; there are {known}");
            return self.reject(ack, Code::InvalidMessage, message, packets);
        }
        fields.insert("type".into(), name.into());
        if ack.is_some() {
            // Replaced below by the acknowledgement; a request needs one of the two.
            fields.insert("requestId".into(), "ack".into());
        }
        let parsed = command::parse(&Value::Object(fields).to_string());
        if let Ok(command::Message { command: command::Command::Subscribe { channels, since }, .. }) = &parsed {
            // One that asks for history may still be refused, and must not advance the start of an earlier subscription then.
            let since = since.as_deref().filter(|_| channels.iter().all(|wanted| wanted.backfill.is_none()));
            for (selector, _) in channels.iter().filter_map(|wanted| wanted.parsed.as_ref().ok()) {
                self.note_started(selector.clone(), since);
            }
        }
        let Self { commands, stream, end, bad_messages, .. } = self;
        let mut replies = CommandReplies { packets, end, bad_messages };
        let ack_request = ack.map(ack_request);
        match parsed {
            Err(rejection) => {
                let request_id = ack_request.or(rejection.request_id.clone());
                replies.reject(command::Rejection { request_id, ..rejection });
            }
            Ok(command::Message { request_id, command }) => {
                let request_id = ack_request.or(request_id);
                match command {
                    command::Command::Ping => {
                        let timestamp = stream.timestamp();
                        replies.reply(&ServerMessage::Pong { request_id, latency: None, timestamp });
                    }
                    command => commands.execute(stream, request_id, command, &mut replies),
                }
            }
        }
    }

    /// Rejects an event as a WebSocket rejects a message.
    pub(super) fn reject(&mut self, ack: Option<u64>, code: Code, message: impl Into<String>, packets: &mut Packets) {
        let Self { end, bad_messages, .. } = self;
        let rejection = command::Rejection::new(ack.map(ack_request), code, message);
        CommandReplies { packets, end, bad_messages }.reject(rejection);
    }
}
