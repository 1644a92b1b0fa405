//! Echo that the official protocol suites of Engine.IO and Socket.IO expect, on the same sessions as the real namespaces.
//! `examples/conformance` serves it; the server itself does not.
//!
//! | suite | behaviour |
//! |---|---|
//! | Engine.IO | returns every message |
//! | Socket.IO | namespaces `/` and `/custom`: emits `auth` with the client's `auth`, answers `message` with `message-back` and `message-with-ack` with an acknowledgement |

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    EngineFailure, Registry, SocketIoConfig,
    codec::packet::{Content, Packet},
    get,
    output::{Outgoing, Packets},
    post,
};
use tricast_core::{
    settings::{Heartbeat, Limits, Size},
    span::Span,
};

/// Kind of the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Engine.IO: every message is returned.
    Messages,
    /// Socket.IO: events and acknowledgements of two namespaces.
    Events,
}

/// Namespaces of the suite.
const NAMESPACES: [&str; 2] = ["/", "/custom"];

/// Returns the limits that the suites expect of a server.
pub fn limits() -> Limits {
    Limits {
        max_message: Size(1_000_000),
        messages_per_second: 0,
        max_bad_messages: 0,
        auth_timeout: Span::from_secs(1),
        ..Limits::default()
    }
}

/// Adds the echo at `path`, with the times that the suites expect. The server needs [`limits`].
pub fn configure(services: &mut web::ServiceConfig, path: &str, echo: Echo, registry: &web::Data<Registry>) {
    let config = SocketIoConfig {
        // 200 ms to reply to a ping.
        heartbeat: Heartbeat { interval: Span::from_millis(300), timeout: Span::from_millis(500) },
        echo: Some(echo),
    };
    let resource = web::resource(path)
        .app_data(web::Data::new(config))
        .app_data(registry.clone())
        .route(web::get().to(get))
        .route(web::post().to(post))
        .default_service(web::to(|| async { HttpResponse::from(EngineFailure::BadMethod) }));
    services.service(resource);
}

/// Echo of one session.
#[derive(Debug)]
pub(super) struct EchoSession {
    echo: Echo,
    joined: Vec<String>,
}

impl EchoSession {
    pub(super) fn new(echo: Echo) -> Self {
        Self { echo, joined: Vec::new() }
    }

    /// Returns whether messages are returned unchanged.
    pub(super) fn takes_messages(&self) -> bool {
        self.echo == Echo::Messages
    }

    /// Returns whether the client has joined a namespace, or needs none.
    pub(super) fn has_joined(&self) -> bool {
        self.takes_messages() || !self.joined.is_empty()
    }

    /// Processes a packet and returns whether the protocol allows it.
    pub(super) fn handle(&mut self, packet: Packet, attachments: Vec<Bytes>, packets: &mut Packets) -> bool {
        let Packet { namespace, ack, content, .. } = packet;
        let is_joined = self.joined.contains(&namespace);
        match content {
            Content::Connect(_) if is_joined => {}
            Content::Connect(_) if !NAMESPACES.contains(&namespace.as_str()) => {
                send(
                    packets,
                    namespace,
                    None,
                    Content::ConnectError(json!({"message": "Invalid namespace"})),
                    Vec::new(),
                );
            }
            Content::Connect(auth) => {
                self.joined.push(namespace.clone());
                let connected = json!({"sid": format!("{}-{:p}", self.joined.len(), self)});
                let connected = Content::Connect(connected.as_object().cloned());
                send(packets, namespace.clone(), None, connected, Vec::new());
                let auth = Content::Event(vec!["auth".into(), Value::Object(auth.unwrap_or_default())]);
                send(packets, namespace, None, auth, Vec::new());
            }
            _ if !is_joined => return false,
            Content::Disconnect => self.joined.retain(|joined| *joined != namespace),
            Content::Event(mut event) => match (event.first().and_then(Value::as_str), ack) {
                (Some("message"), _) => {
                    event[0] = "message-back".into();
                    send(packets, namespace, None, Content::Event(event), attachments);
                }
                (Some("message-with-ack"), Some(ack)) => {
                    event.remove(0);
                    send(packets, namespace, Some(ack), Content::Ack(event), attachments);
                }
                _ => {}
            },
            Content::Ack(_) => {}
            Content::ConnectError(_) => return false,
        }
        true
    }
}

fn send(packets: &mut Packets, namespace: String, ack: Option<u64>, content: Content, attachments: Vec<Bytes>) {
    let packet = Packet { namespace, ack, attachments: attachments.len(), content };
    packets.push(Outgoing::Text(format!("4{}", packet.to_text())));
    packets.extend(attachments.into_iter().map(Outgoing::Binary));
}
