//! WebSocket (`docs/protocol.md`, section 2). The handshake uses the HTTP client of all other requests, so that TLS, certificates
//! and forward proxies are the same; the token is in its header.
//!
//! ```text
//! <- connected   -> subscribe {since}   <- subscribed, states, missed events, changes
//! ```

use std::time::Duration;

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode, Upgraded, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, handshake::derive_accept_key, protocol::Role},
};

use super::{Down, Dropped, Emit, End, Message, Silence, Wants};
use crate::{
    answer::{self, Asked},
    error::{Error, Problem},
    server::{PATIENCE, Server},
};

/// Time between two pings of the client. They show that the connection is alive.
const PING: Duration = Duration::from_secs(10);

/// Silence after which the connection is dead.
const DEAD: Duration = Duration::from_secs(30);

/// Close codes from here on ask the client not to reconnect (`docs/protocol.md`, section 2.6).
const FINAL_CODES: std::ops::Range<u16> = 4500..5000;

/// Close code of a token that is missing or expired.
const UNAUTHORIZED: u16 = 4401;

/// Message of the server, with the fields of all types.
#[derive(Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "requestId")]
    request_id: Option<Value>,
    channel: Option<String>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    gone: Option<String>,
    timestamp: Option<String>,
    cursor: Option<String>,
    #[serde(default)]
    channels: Vec<Value>,
    resume: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    code: Option<String>,
    #[serde(default)]
    details: Value,
    #[serde(rename = "reconnectAfter")]
    reconnect_after: Option<f64>,
    #[serde(default)]
    denied: Value,
}

/// Follows the channels until the connection ends.
pub(super) async fn run(server: &Server, wants: &Wants, emit: &Emit) -> Result<(), End> {
    let asked = server.asked("ws");
    let mut socket = Socket { stream: open(server, &asked).await?, asked, farewell: None, expired: false };
    let mut silence = Silence::new(DEAD);
    let mut pings = interval_at(Instant::now() + PING, PING);
    // After a pause of the reader one ping is enough.
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            input = silence.limit(&socket.asked.host, socket.stream.next()) => {
                if let Some(message) = socket.read(input?)? {
                    socket.handle(message, wants, emit).await?;
                }
            }
            _ = pings.tick() => socket.send(&json!({"type": "ping"})).await?,
        }
    }
}

struct Socket {
    stream: WebSocketStream<Upgraded>,
    asked: Asked,
    /// Reason that the server sent before closing.
    farewell: Option<Down>,
    /// Whether the server has reported that the token is not valid any more.
    expired: bool,
}

impl Socket {
    async fn send(&mut self, message: &Value) -> Result<(), Error> {
        let sent = self.stream.send(tungstenite::Message::text(message.to_string())).await;
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    fn lost(&self, cause: &str) -> Error {
        Error::Lost { host: self.asked.host.clone(), cause: cause.to_owned() }
    }

    /// Reads one frame; returns `None` for those without a message.
    fn read(
        &mut self,
        input: Option<Result<tungstenite::Message, tungstenite::Error>>,
    ) -> Result<Option<Incoming>, Down> {
        match input {
            Some(Ok(tungstenite::Message::Text(text))) => {
                let unreadable = |error: serde_json::Error| Error::Unreadable(error.to_string());
                serde_json::from_str(&text).map(Some).map_err(|error| unreadable(error).into())
            }
            Some(Ok(tungstenite::Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                Err(self.closed(code, &reason))
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(self.farewell.take().unwrap_or_else(|| self.lost(&error.to_string()).into())),
            None => Err(self.farewell.take().unwrap_or_else(|| self.lost("without a reason").into())),
        }
    }

    /// Converts a close frame.
    fn closed(&mut self, code: u16, reason: &str) -> Down {
        let reason = if reason.is_empty() { format!("code {code}") } else { reason.to_owned() };
        if code == UNAUTHORIZED || self.expired {
            return unauthorized(reason).into();
        }
        if FINAL_CODES.contains(&code) {
            return Error::Ended(reason).into();
        }
        self.farewell.take().unwrap_or_else(|| Error::Closed(reason).into())
    }

    async fn handle(&mut self, mut message: Incoming, wants: &Wants, emit: &Emit) -> Result<(), End> {
        let (timestamp, cursor) = (message.timestamp.take(), message.cursor.take());
        match &*message.kind {
            "connected" => {
                let Some(cursor) = cursor else {
                    return Err(unauthorized("this server requires a token".into()).into());
                };
                if wants.since.is_none() {
                    emit.send(Message::Start(cursor)).await?;
                }
                self.send(&subscribe(wants)).await?;
            }
            "metric" | "metrics" => {
                let channel = message.channel.unwrap_or_else(|| "metrics".into());
                let state = match message.gone {
                    Some(gone) => Message::Gone { channel, gone, timestamp, cursor },
                    None => Message::State { channel, data: message.data, timestamp, cursor },
                };
                emit.send(state).await?;
            }
            "event" => {
                let (channel, event) = (message.channel.unwrap_or_default(), message.event.unwrap_or_default());
                emit.send(Message::Event { channel, event, data: message.data, timestamp, cursor }).await?;
            }
            "gap" => {
                let channels = message.channels.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
                emit.send(Message::Gap { reason: "too_old".into(), channels }).await?;
                if let Some(cursor) = cursor {
                    emit.send(Message::Cursor(cursor)).await?;
                }
            }
            "subscribed" => subscribed(&message, wants, emit).await?,
            "disconnecting" => {
                let reason = message.message.or(message.reason).unwrap_or_default();
                let retry_after = message.reconnect_after.and_then(|after| Duration::try_from_secs_f64(after).ok());
                self.farewell = Some(Down { retry_after, ..Error::Closed(reason).into() });
            }
            "error" => {
                let problem = problem(&message);
                self.expired |= problem.code == "UNAUTHORIZED";
                let down: Down = Error::Problem(Box::new(problem)).into();
                if message.request_id.is_some() {
                    return Err(down.into());
                }
                self.farewell = Some(down);
            }
            // Pings, pongs, and messages of newer servers.
            _ => {}
        }
        Ok(())
    }
}

/// Requests the handshake.
async fn open(server: &Server, asked: &Asked) -> Result<WebSocketStream<Upgraded>, Error> {
    let key = BASE64.encode(&std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
    let request = server
        .request(Method::GET, "ws", &[])?
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let response = answer::accepted(asked, server.send(asked, request, PATIENCE).await?).await?;
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS
        || accept != Some(derive_accept_key(key.as_bytes()).as_bytes())
    {
        let found = format!("it returns {} to a WebSocket handshake", response.status().as_u16());
        return Err(Error::NotTricast { url: asked.url.clone(), found, status: response.status().as_u16() });
    }
    let upgraded = response.upgrade().await.map_err(|error| Error::of_http(&error, &asked.host, asked.is_https))?;
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

fn subscribe(wants: &Wants) -> Value {
    let mut message = json!({"type": "subscribe", "requestId": "first", "channels": wants.channels});
    if let Some(interval) = wants.interval {
        message["interval"] = interval.as_millis().try_into().unwrap_or(u64::MAX).into();
    }
    if let Some(since) = &wants.since {
        message["since"] = since.as_str().into();
    }
    message
}

async fn subscribed(message: &Incoming, wants: &Wants, emit: &Emit) -> Result<(), Dropped> {
    emit.send(Message::Open).await?;
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    for line in message.channels.iter().filter(|line| line["status"] == "denied") {
        let denied =
            Message::Denied { channel: text(line, "name"), code: text(line, "code"), detail: text(line, "message") };
        emit.send(denied).await?;
    }
    if message.denied.is_u64() {
        // More are denied than the message lists; those that are active are all listed.
        let listed = |name: &String| message.channels.iter().any(|line| line["name"] == **name);
        for channel in wants.channels.iter().filter(|name| !listed(name)) {
            let denied = Message::Denied { channel: channel.clone(), code: "FORBIDDEN".into(), detail: String::new() };
            emit.send(denied).await?;
        }
    }
    // `gap` follows for a cursor that is too old.
    let reason = message.reason.as_deref().unwrap_or_default();
    if message.resume.as_deref() == Some("reset") && reason != "too_old" {
        emit.send(Message::Gap { reason: reason.to_owned(), channels: Vec::new() }).await?;
    }
    Ok(())
}

fn problem(message: &Incoming) -> Problem {
    let after = message.details["retryAfter"].as_u64().map(Duration::from_millis);
    Problem {
        status: 0,
        code: message.code.clone().unwrap_or_default(),
        detail: message.message.clone().unwrap_or_default(),
        retry_after: after,
        clock_ahead: None,
    }
}

fn unauthorized(detail: String) -> Error {
    let code = "UNAUTHORIZED".to_owned();
    Error::Problem(Box::new(Problem { status: 401, code, detail, retry_after: None, clock_ahead: None }))
}
