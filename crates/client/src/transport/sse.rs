//! Server-Sent Events (`docs/protocol.md`, section 3).

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Down, Emit, End, Message, Silence, Wants};
use crate::{
    answer::{self, Asked, Wire},
    error::{Error, Problem},
    server::{PATIENCE, Server},
};

/// Silence after which the connection is dead: the server sends a comment every 15 s.
const DEAD: Duration = Duration::from_secs(40);

/// Largest event that is read, in bytes.
const MAX_EVENT: usize = 64 << 20;

/// Follows the channels until the stream ends.
pub(super) async fn run(server: &Server, wants: &Wants, emit: &Emit) -> Result<(), End> {
    let asked = server.asked("events");
    let mut stream = Stream { response: open(server, wants, &asked).await?, bytes: Vec::new() };
    let mut silence = Silence::new(DEAD);
    loop {
        let block = stream.next(&asked, &mut silence).await?;
        if let Some(event) = Event::parse(&block)? {
            event.report(wants, emit).await?;
        }
    }
}

/// Requests the stream.
async fn open(server: &Server, wants: &Wants, asked: &Asked) -> Result<Response, Error> {
    let channels = wants.channels.join(",");
    let interval = wants.interval.map(|interval| interval.as_millis().to_string());
    let mut query = vec![("channels", &*channels), ("strict", "1")];
    query.extend(wants.since.as_deref().map(|since| ("since", since)));
    query.extend(interval.as_deref().map(|interval| ("interval", interval)));
    let request = server.request(Method::GET, "events", &query)?.header("accept", "text/event-stream");
    let response = answer::accepted(asked, server.send(asked, request, PATIENCE).await?).await?;
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if response.status() == StatusCode::OK && kind.starts_with("text/event-stream") {
        return Ok(response);
    }
    let status = response.status().as_u16();
    Err(Error::NotTricast { url: asked.url.clone(), found: format!("it returns {status}, {kind}"), status })
}

struct Stream {
    response: Response,
    /// Received bytes after the last complete event.
    bytes: Vec<u8>,
}

impl Stream {
    /// Returns the next block of lines.
    async fn next(&mut self, asked: &Asked, silence: &mut Silence) -> Result<String, Down> {
        let mut searched = 0;
        loop {
            let end = self.bytes[searched..].windows(2).position(|bytes| bytes == b"\n\n");
            if let Some(end) = end.map(|end| end + searched) {
                let rest = self.bytes.split_off(end + 2);
                let block = std::mem::replace(&mut self.bytes, rest);
                return Ok(String::from_utf8_lossy(&block).into_owned());
            }
            searched = self.bytes.len().saturating_sub(1);
            if self.bytes.len() > MAX_EVENT {
                return Err(Error::Unreadable(format!("an event is larger than {} MiB", MAX_EVENT >> 20)).into());
            }
            let chunk = silence.limit(&asked.host, self.response.chunk()).await?;
            match chunk.map_err(|error| Error::of_http(&error, &asked.host, asked.is_https))? {
                Some(chunk) => self.bytes.extend_from_slice(&chunk),
                None => return Err(Error::Lost { host: asked.host.clone(), cause: "end of the stream".into() }.into()),
            }
        }
    }
}

/// One event of the stream.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    body: Value,
}

impl Event {
    /// Parses a block; returns `None` for comments and blocks without data.
    fn parse(block: &str) -> Result<Option<Self>, Error> {
        let (mut name, mut id, mut data) = ("message", None, String::new());
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value,
                "id" => id = Some(value.to_owned()),
                "data" => data.push_str(value),
                _ => {}
            }
        }
        if data.is_empty() {
            return Ok(None);
        }
        let body = serde_json::from_str(&data).map_err(|error| Error::Unreadable(error.to_string()))?;
        Ok(Some(Self { name: name.to_owned(), id, body }))
    }

    async fn report(mut self, wants: &Wants, emit: &Emit) -> Result<(), End> {
        let text = |body: &Value, name: &str| body[name].as_str().map(str::to_owned);
        let (timestamp, cursor) = (text(&self.body, "timestamp"), self.id);
        let mut data = self.body["data"].take();
        let body = &mut self.body;
        match &*self.name {
            "connected" => {
                emit.send(Message::Open).await?;
                let reason = text(body, "reason").unwrap_or_default();
                if body["resume"] == "reset" && reason != "too_old" {
                    emit.send(Message::Gap { reason, channels: Vec::new() }).await?;
                }
                if let (None, Some(cursor)) = (&wants.since, text(body, "cursor")) {
                    emit.send(Message::Start(cursor)).await?;
                }
            }
            "metrics" => {
                let state = Message::State { channel: "metrics".into(), data: body.take(), timestamp, cursor };
                emit.send(state).await?;
            }
            "metric" => {
                let channel = text(body, "channel").unwrap_or_default();
                let state = match text(body, "gone") {
                    Some(gone) => Message::Gone { channel, gone, timestamp, cursor },
                    None => Message::State { channel, data, timestamp, cursor },
                };
                emit.send(state).await?;
            }
            // `connected` reports the other reasons.
            "gap" if body["reason"] == "too_old" => {
                let names = body["channels"].as_array().into_iter().flatten();
                let channels = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
                emit.send(Message::Gap { reason: "too_old".into(), channels }).await?;
                if let Some(cursor) = text(body, "cursor") {
                    emit.send(Message::Cursor(cursor)).await?;
                }
            }
            "alert" => {
                let action = text(body, "action").unwrap_or_default();
                data = body.take();
                if let Some(fields) = data.as_object_mut() {
                    fields.remove("action");
                }
                let timestamp = text(&data, &format!("{action}At"));
                let (channel, event) = ("alerts".into(), format!("alert_{action}"));
                emit.send(Message::Event { channel, event, data, timestamp, cursor }).await?;
            }
            "bye" => {
                let retry_after =
                    body["reconnectAfter"].as_f64().and_then(|after| Duration::try_from_secs_f64(after).ok());
                let reason = text(body, "reason").unwrap_or_default();
                return Err(Down { retry_after, ..Error::Closed(reason).into() }.into());
            }
            "error" => {
                let retry_after = body["retryAfter"].as_f64().and_then(|after| Duration::try_from_secs_f64(after).ok());
                let wire = serde_json::from_value::<Wire>(body.take())
                    .map_err(|error| Error::Unreadable(error.to_string()))?;
                return Err(Error::Problem(Box::new(Problem { retry_after, ..wire.into() })).into());
            }
            "gap" | "ping" | "auth_expiring" | "history" => {}
            _ => {
                let event = text(body, "event").unwrap_or(self.name);
                let channel = text(body, "channel").unwrap_or_default();
                emit.send(Message::Event { channel, event, data, timestamp, cursor }).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_parsed_as_the_standard_says() {
        let event = Event::parse("event: metric\nid: a:5\ndata: {\"channel\":\ndata: \"x\"}\n\n").unwrap().unwrap();
        assert_eq!((&*event.name, event.id.as_deref(), &event.body["channel"]), ("metric", Some("a:5"), &"x".into()));
        assert!(Event::parse(": a comment\n\n").unwrap().is_none());
        assert!(Event::parse("retry: 500\n\n").unwrap().is_none());
        assert!(Event::parse("data: {\n\n").is_err());
    }
}
