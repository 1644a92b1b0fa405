//! A client of Socket.IO, packet by packet.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::helpers::{ApiClient, soon};

/// Minimal client of Socket.IO.
pub(crate) struct Client {
    pub(crate) visitor: ApiClient,
    pub(crate) open: Value,
    pub(crate) socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    pub(crate) packets: VecDeque<String>,
    pub(crate) acks: u64,
}

pub(crate) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
pub(crate) const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

pub(crate) async fn websocket(visitor: &ApiClient, query: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let address = format!("ws://{}{WEBSOCKET}{query}", visitor.address);
    soon("the upgrade", tokio_tungstenite::connect_async(address)).await.unwrap().0
}

impl Client {
    pub(crate) async fn polling(visitor: &ApiClient) -> Self {
        let response = visitor.get(POLLING).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=UTF-8");
        let open: Value = serde_json::from_str(response.text().await.unwrap().strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!(["websocket"]));
        Self { visitor: visitor.clone(), open, socket: None, packets: VecDeque::new(), acks: 0 }
    }

    pub(crate) async fn websocket(visitor: &ApiClient) -> Self {
        let mut socket = websocket(visitor, "").await;
        let first = soon("the open packet", socket.next()).await.unwrap().unwrap().into_text().unwrap();
        let open: Value = serde_json::from_str(first.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!([]));
        Self { visitor: visitor.clone(), open, socket: Some(socket), packets: VecDeque::new(), acks: 0 }
    }

    /// Returns a client of each transport.
    pub(crate) async fn of_both(visitor: &ApiClient) -> [Self; 2] {
        [Self::polling(visitor).await, Self::websocket(visitor).await]
    }

    pub(crate) fn path(&self) -> String {
        format!("{POLLING}&sid={}", self.open["sid"].as_str().unwrap())
    }

    /// Posts a payload and returns the status.
    pub(crate) async fn post(&self, payload: &str) -> u16 {
        let request = self.visitor.request(Method::POST, &self.path()).header("content-type", "text/plain");
        soon("the post", request.body(payload.to_owned()).send()).await.unwrap().status().as_u16()
    }

    /// Polls once and returns the payload, or the status if it is not 200.
    pub(crate) async fn poll(&self) -> Result<String, u16> {
        let response = self.visitor.get(&self.path()).await;
        match response.status().as_u16() {
            200 => Ok(response.text().await.unwrap()),
            status => Err(status),
        }
    }

    pub(crate) async fn send(&mut self, packet: &str) {
        match &mut self.socket {
            Some(socket) => socket.send(Message::text(packet.to_owned())).await.unwrap(),
            None => assert_eq!(self.post(packet).await, 200, "{packet}"),
        }
    }

    /// Returns the next packet; `None` at the end. Replies to pings.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                match packet.as_str() {
                    "2" => self.send("3").await,
                    "6" => {}
                    "1" => return None,
                    _ => return Some(packet),
                }
                continue;
            }
            match &mut self.socket {
                Some(socket) => match soon("a packet", socket.next()).await {
                    Some(Ok(Message::Text(text))) => self.packets.push_back(text.to_string()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                },
                None => match self.poll().await {
                    Ok(payload) => self.packets.extend(payload.split('\u{1e}').map(str::to_owned)),
                    Err(_) => return None,
                },
            }
        }
    }

    /// Waits for the next ping and replies to it; no other packet may come before.
    pub(crate) async fn heartbeat(&mut self) {
        let ping = match &mut self.socket {
            Some(socket) => soon("a ping", socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string(),
            None => soon("a ping", self.poll()).await.unwrap(),
        };
        assert_eq!(ping, "2");
        self.send("3").await;
    }

    /// Returns the rest of the next packet with this beginning; skips others.
    pub(crate) async fn next_of(&mut self, beginning: &str) -> String {
        soon(beginning, async {
            loop {
                let packet = self.next().await.unwrap_or_else(|| panic!("the session ended before {beginning}"));
                if let Some(rest) = packet.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
        })
        .await
    }

    /// Joins a namespace and returns the server's answer.
    pub(crate) async fn join(&mut self, namespace: &str, auth: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{name}{auth}")).await;
        serde_json::from_str(&self.next_of(&format!("40{name}")).await).unwrap()
    }

    /// Leaves a namespace and joins it again.
    pub(crate) async fn join_again(&mut self, namespace: &str, auth: Value) -> Value {
        self.send(&format!("41{namespace},")).await;
        self.join(namespace, auth).await
    }

    /// Joins a namespace that refuses, and returns the error.
    pub(crate) async fn refused(&mut self, namespace: &str, auth: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{name}{auth}")).await;
        serde_json::from_str(&self.next_of(&format!("44{name}")).await).unwrap()
    }

    /// Emits an event with an acknowledgement and returns it.
    pub(crate) async fn ask(&mut self, namespace: &str, event: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.acks += 1;
        let id = self.acks;
        self.send(&format!("42{name}{id}{event}")).await;
        let ack: Value = serde_json::from_str(&self.next_of(&format!("43{name}{id}")).await).unwrap();
        ack[0].clone()
    }

    /// Returns the next event of this name, with all its arguments; skips others.
    pub(crate) async fn event(&mut self, namespace: &str, name: &str) -> Value {
        let prefix = if namespace == "/" { "42".to_owned() } else { format!("42{namespace},") };
        let start = format!("{prefix}[\"{name}\"");
        let rest = self.next_of(&start).await;
        serde_json::from_str(&format!("[\"{name}\"{rest}")).unwrap()
    }
}
