//! Polling (`docs/protocol.md`, section 4), with one loop for two transports: a long poll is held by the server until something
//! changes, a plain poll repeats every few seconds. Both resume with `since`.

use std::time::Duration;

use serde_json::Value;

use super::{Emit, End, Message, Wants};
use crate::{error::Error, position::without_states, server::Server};

/// Time for which the server holds a long poll: below the 25 s that it allows and the 60 s after which common proxies cut.
const HOLD: Duration = Duration::from_secs(20);

/// Pause between two long polls, so that a fast channel does not cause as many requests.
const BREATH: Duration = Duration::from_millis(200);

/// Longest time of a request beyond the time for which it is held.
const PATIENCE: Duration = Duration::from_secs(8);

/// Follows the channels until a request fails.
pub(super) async fn run(server: &Server, wants: &Wants, emit: &Emit, is_long: bool) -> Result<(), End> {
    let (hold, pause) = if is_long { (HOLD, BREATH) } else { (Duration::ZERO, wants.poll_interval) };
    // The first request is not held and returns all states.
    let first = wants.since.as_deref().map(without_states);
    let mut body = ask(server, wants, first.as_deref(), Duration::ZERO).await?;
    emit.send(Message::Open).await?;
    loop {
        let cursor = report(body, wants, emit).await?;
        tokio::time::sleep(wants.interval.filter(|interval| *interval > pause).unwrap_or(pause)).await;
        body = ask(server, wants, Some(&cursor), hold).await?;
    }
}

async fn ask(server: &Server, wants: &Wants, since: Option<&str>, hold: Duration) -> Result<Value, Error> {
    let channels = wants.channels.join(",");
    let mut query = vec![("channels", &*channels)];
    query.extend(since.map(|since| ("since", since)));
    let prefer = (!hold.is_zero()).then(|| format!("wait={}", hold.as_secs()));
    server.get_within("api/metrics", &query, prefer.as_deref(), hold + PATIENCE).await
}

/// Reports what a response has, and returns its cursor.
async fn report(mut body: Value, wants: &Wants, emit: &Emit) -> Result<String, End> {
    let Some(cursor) = body["cursor"].as_str().map(str::to_owned) else {
        return Err(Error::Unreadable("a poll without a cursor".into()).into());
    };
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    let timestamp = text(&body, "timestamp");
    if body["gap"] == true {
        // The body has all channels that there are.
        emit.send(Message::Gap { reason: "too_old".into(), channels: wants.channels.clone() }).await?;
    }
    if let Value::Array(events) = body["events"].take() {
        for mut line in events {
            let (channel, event) =
                (text(&line, "channel").unwrap_or_default(), text(&line, "event").unwrap_or_default());
            let (timestamp, cursor) = (text(&line, "timestamp"), text(&line, "cursor"));
            let data = line["data"].take();
            emit.send(Message::Event { channel, event, data, timestamp, cursor }).await?;
        }
    }
    if let Value::Object(ends) = body["gone"].take() {
        for (channel, gone) in ends {
            let gone = gone.as_str().unwrap_or("unknown").to_owned();
            emit.send(Message::Gone { channel, gone, timestamp: timestamp.clone(), cursor: Some(cursor.clone()) })
                .await?;
        }
    }
    if let Value::Object(states) = body["channels"].take() {
        for (channel, data) in states {
            emit.send(Message::State { channel, data, timestamp: timestamp.clone(), cursor: Some(cursor.clone()) })
                .await?;
        }
    }
    emit.send(Message::Cursor(cursor.clone())).await?;
    Ok(cursor)
}
