//! JSON messages of the server on a WebSocket, and the parts that other transports share.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use serde::Serialize;

use super::error::Code;
use crate::{publication::Publication, snapshot::SNAPSHOT};

/// Returns a state or an event as a WebSocket message.
///
/// ```json
/// {"type":"metric","channel":"metrics.checkout","timestamp":"...Z","data":{...},"cursor":"k3f9x2ab:17"}
/// {"type":"event","channel":"orders","event":"order_created","data":{...},"timestamp":"...Z","cursor":"k3f9x2ab:18"}
/// {"type":"metric","channel":"metrics.checkout","timestamp":"...Z","gone":"deleted","cursor":"k3f9x2ab:19"}
/// ```
pub fn publication(publication: &Publication, cursor: impl Display) -> String {
    let channel = publication.channel.as_str();
    let data = String::from_utf8_lossy(&publication.data);
    let time = &publication.time_text;
    if let Some(gone) = publication.gone {
        let gone = gone.as_str();
        return format!(
            r#"{{"type":"metric","channel":"{channel}","timestamp":"{time}","gone":"{gone}","cursor":"{cursor}"}}"#
        );
    }
    match &publication.event {
        None => {
            let kind = if channel == SNAPSHOT { "metrics" } else { "metric" };
            format!(
                r#"{{"type":"{kind}","channel":"{channel}","timestamp":"{time}","data":{data},"cursor":"{cursor}"}}"#
            )
        }
        Some(event) => {
            let event = event.as_str();
            format!(
                r#"{{"type":"event","channel":"{channel}","event":"{event}","data":{data},"timestamp":"{time}","cursor":"{cursor}"}}"#
            )
        }
    }
}

/// Returns an event as an item of a poll: the fields of the WebSocket message without `type`.
pub fn listed_event(publication: &Publication, cursor: impl Display) -> String {
    let mut text = String::with_capacity(publication.data.len() + 160);
    let event = publication.event.as_ref().map_or("", |event| event.as_str());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"{{"channel":"{}","event":"{event}","data":{},"timestamp":"{}","cursor":"{cursor}"}}"#,
        publication.channel,
        String::from_utf8_lossy(&publication.data),
        publication.time_text
    );
    text
}

/// Returns the history of a channel as a WebSocket message; `data` is JSON.
///
/// ```json
/// {"type":"history","requestId":"1","channel":"metrics.checkout","data":{...},"cursor":"k3f9x2ab:17.0"}
/// ```
pub fn history(request_id: Option<&RequestId>, channel: &str, data: &str, cursor: impl Display) -> String {
    let id = request_id.map(|id| format!(r#""requestId":{id},"#)).unwrap_or_default();
    format!(r#"{{"type":"history",{id}"channel":"{channel}","data":{data},"cursor":"{cursor}"}}"#)
}

/// Server message other than a publication (docs/protocol.md, section 2.3).
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 2.3")]
pub enum ServerMessage<'a> {
    Connected {
        connection_id: &'a str,
        timestamp: String,
        server_version: &'a str,
        capabilities: &'a [&'a str],
        /// Left out until the client is authenticated, because the log depends on its tenant.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
        heartbeat_interval: u64,
        /// Whether other nodes may have newer values, which this one cannot read at the moment.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stale: bool,
    },
    Authenticated {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        user_id: &'a str,
        permissions: Vec<&'static str>,
        expires_at: Option<String>,
        capabilities: &'a [&'a str],
        cursor: String,
    },
    TokenRefreshed {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        expires_at: Option<String>,
        /// Subscriptions that the new token does not allow; on a WebSocket they are in a message of their own.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unsubscribed: Vec<String>,
    },
    AuthExpiring {
        expires_in: u64,
        message: &'a str,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        /// A line for each channel, except denied ones beyond [`MAX_LISTED`](super::error::MAX_LISTED).
        channels: Vec<SubscribedChannel>,
        active_subscriptions: usize,
        /// Number of denied channels, if they are not all listed.
        #[serde(skip_serializing_if = "Option::is_none")]
        denied: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        channels: Vec<String>,
        active_subscriptions: usize,
    },
    Paused {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        channels: Vec<String>,
        reason: &'static str,
    },
    Resumed {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        channels: Vec<String>,
        reason: &'static str,
    },
    /// Event about this connection only: it is in no log, so it has no cursor.
    Event {
        channel: &'static str,
        event: &'static str,
        data: serde_json::Value,
        timestamp: String,
    },
    Gap {
        channels: Vec<String>,
        cursor: String,
    },
    Response {
        request_id: RequestId,
        status: &'static str,
        data: serde_json::Value,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        code: Code,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<serde_json::Value>,
    },
    Ping {
        timestamp: String,
        server_load: &'static str,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        latency: Option<f64>,
        timestamp: String,
    },
    Configured {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        settings: Settings,
    },
    Disconnecting {
        reason: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reconnect_after: Option<f64>,
    },
}

/// ID that a client gave its message, returned unchanged: a string of at most 128 bytes, or a number.
pub type RequestId = serde_json::Value;

/// Result of one channel in a `subscribed` message.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 2.3")]
pub struct SubscribedChannel {
    pub name: String,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// Heartbeat in force on one connection, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 2.3")]
pub struct Settings {
    pub heartbeat_interval: u64,
    pub heartbeat_timeout: u64,
}

impl<'a> ServerMessage<'a> {
    /// Creates the message before the end of a connection, with the time after which to reconnect.
    pub fn disconnecting(reason: &'a str, message: &'a str, after: Option<Duration>) -> Self {
        let reconnect_after = after.map(|after| (after.as_secs_f64() * 1e3).round() / 1e3);
        Self::Disconnecting { reason, message, reconnect_after }
    }

    /// Returns the message as text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            // It contains only strings, numbers and checked JSON.
            tracing::error!(%error, "cannot serialize a server message");
            String::from(r#"{"type":"error","code":"SERVER_ERROR","message":"see the log of the server"}"#)
        })
    }
}
