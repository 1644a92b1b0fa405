//! WebSocket client as in a browser, which also returns the response if the handshake is refused.
//!
//! The handshake uses the same HTTP client as all other requests, so that TLS, certificates and forward proxies are the same.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, Upgraded, header};
use serde_json::Value;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::target::{Answer, PATIENCE, Target, explain, read};
use tricast_core::{ids::random_u64, protocol::SUBPROTOCOL};

/// WebSocket of a test, after its handshake.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    /// Duration of the handshake.
    pub(super) took: Duration,
}

/// Reason why the WebSocket could not be opened.
pub(super) enum Refused {
    /// A status other than 101.
    Answer(Box<Answer>),
    /// No response; the error as text.
    Lost(String),
    /// Status 101, but not from a WebSocket server.
    Forged,
}

/// Result of waiting for a message of the server.
pub(super) enum Incoming {
    /// The server sent a JSON message.
    Message(Value),
    /// A close frame: the server's own decision.
    Closed(u16, String),
    /// End of the connection without a close frame.
    Cut,
    /// Nothing arrived in time.
    Nothing,
}

/// Opens a WebSocket, with the `Origin` of the server's own page.
pub(super) async fn open(target: &Target) -> Result<Socket, Refused> {
    let start = Instant::now();
    let nonce = [random_u64(), random_u64()].map(u64::to_be_bytes);
    let key = BASE64.encode(nonce.as_flattened());
    let request = target
        .request(Method::GET, "ws")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::ORIGIN, target.origin())
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let opening = async {
        let mut response = request.send().await.map_err(|error| Refused::Lost(explain(&error)))?;
        let (status, head) = (response.status().as_u16(), response.headers().clone());
        if status != 101 {
            let body = read(&mut response).await.unwrap_or_default();
            return Err(Refused::Answer(Box::new(Answer { status, head, body, took: start.elapsed() })));
        }
        let accept = head.get(header::SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes());
        if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(Refused::Forged);
        }
        response.upgrade().await.map_err(|error| Refused::Lost(explain(&error)))
    };
    let opened = tokio::time::timeout(PATIENCE, opening).await;
    let upgraded = opened.unwrap_or_else(|_| Err(Refused::Lost("no response to the handshake in time".into())))?;
    let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    Ok(Socket { stream, took: start.elapsed() })
}

impl Socket {
    /// Sends a message. Returns whether it was sent.
    pub(super) async fn send(&mut self, message: String) -> bool {
        let saying = self.stream.send(Message::text(message));
        matches!(tokio::time::timeout(PATIENCE, saying).await, Ok(Ok(())))
    }

    /// Waits for the next item until `deadline`.
    pub(super) async fn receive(&mut self, deadline: Instant) -> Incoming {
        loop {
            match tokio::time::timeout_at(deadline.into(), self.stream.next()).await {
                Err(_) => return Incoming::Nothing,
                Ok(Some(Ok(Message::Text(text)))) => {
                    if let Ok(message) = serde_json::from_str(&text) {
                        return Incoming::Message(message);
                    }
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return Incoming::Closed(code, reason);
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Incoming::Cut,
            }
        }
    }

    /// Waits for the message that `fits`.
    pub(super) async fn wait_for(&mut self, patience: Duration, fits: impl Fn(&Value) -> bool) -> Incoming {
        let deadline = Instant::now() + patience;
        loop {
            match self.receive(deadline).await {
                Incoming::Message(message) if !fits(&message) => {}
                other => return other,
            }
        }
    }

    /// Closes the connection; waits at most a second for the server's close frame.
    pub(super) async fn close(mut self) {
        // The result does not matter: the connection ends either way.
        drop(tokio::time::timeout(Duration::from_secs(1), self.stream.close(None)).await);
    }
}
