//! Check of WebSockets: the handshake, the round trip, and frames with lengths of every kind in both directions.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    report::{Check, Verdict, ms, spoken},
    socket::{self, Incoming, Refused, Socket},
    target::{Answer, Target},
};
use tricast_core::protocol::remedy::Remedy;

/// Longest time for the answer to a message.
const ANSWER: Duration = Duration::from_secs(5);

/// Number of measured round trips; the median counts.
const ROUNDS: usize = 5;

/// Sizes of messages at both sides of the limits between the encodings of the length (RFC 6455, section 5.2), up to the
/// server's default limit.
const SIZES: [usize; 5] = [125, 126, 4_096, 65_535, 65_536];

/// Number and length of the names in the command that makes the server send a long answer.
const NAMES: (usize, usize) = (90, 120);

fn check_of(verdict: Verdict, headline: impl Into<String>) -> Check {
    Check::new("websocket", "WebSocket", verdict, headline)
}

/// Opens a WebSocket and exchanges messages.
pub(super) async fn check(target: &Target) -> Check {
    let mut socket = match socket::open(target).await {
        Ok(socket) => socket,
        Err(Refused::Lost(error)) => return check_of(Verdict::Fail, "does not work").detail(error),
        Err(Refused::Forged) => {
            return check_of(Verdict::Fail, "another server responds to the handshake")
                .detail("Status 101, but without the proof of a WebSocket server (Sec-WebSocket-Accept).");
        }
        Err(Refused::Answer(answer)) => return refused(&answer),
    };
    let took = socket.took;
    let check = talk(&mut socket).await.unwrap_or_else(|check| *check).figure("handshake_ms", ms(took));
    socket.close().await;
    check
}

/// Explains a status other than 101.
fn refused(answer: &Answer) -> Check {
    let fail = |headline: String| check_of(Verdict::Fail, headline);
    match (answer.status, answer.problem()) {
        (426, Some(_)) => fail("the handshake arrives without Upgrade".into())
            .detail("A proxy passes the request on as an ordinary one.")
            .remedy(Remedy::Upgrade),
        (400, Some(detail)) if detail.contains("HTTP/1.1") => {
            fail("the handshake arrives as HTTP/1.0".into()).detail("HTTP/1.0 has no upgrade.").remedy(Remedy::Upgrade)
        }
        (400, Some(detail)) => fail("the handshake arrives damaged".into())
            .detail(format!("The server says: {detail}."))
            .remedy(Remedy::Upgrade),
        (403, Some(_)) => fail("rejected: the server treats this page as cross-origin; check public_url".into())
            .detail(
                "Host, or the scheme where TLS ends in front of the server, does not arrive as the browser used it.",
            )
            .remedy(Remedy::Host),
        (401, Some(detail)) => check_of(Verdict::Skipped, "not tested: the token was refused")
            .detail(format!("The server says: {detail}.")),
        (429 | 503, Some(detail)) => {
            check_of(Verdict::Skipped, "not tested").detail(format!("The server says: {detail}."))
        }
        (404, None) => fail("404: the path is not forwarded".into()).remedy(Remedy::Passed),
        (status @ 200..300, None) => fail(format!("another server responds ({status})"))
            .detail("Not a WebSocket server, and not an error either: a login page, or another server."),
        (status, None) => fail(format!("refused by a proxy ({status})")),
        (_, Some(_)) => fail(format!("returned {}", answer.described())),
    }
}

/// Exchanges messages. Returns the result, or the failed check as an error.
async fn talk(socket: &mut Socket) -> Result<Check, Box<Check>> {
    match socket.wait_for(ANSWER, |message| message["type"] == "connected").await {
        Incoming::Message(_) => {}
        incoming => {
            return Err(Box::new(lost(&incoming, "The handshake passes, but the server's greeting does not arrive.")));
        }
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        exchange(socket, &format!("round-{round}"), |id| json!({"type": "ping", "requestId": id}).to_string(), 0)
            .await?;
        rounds.push(start.elapsed());
    }
    rounds.sort_unstable();
    let round_trip = rounds.get(ROUNDS / 2).copied().unwrap_or_default();
    let mut largest = 0;
    for size in SIZES {
        match exchange(socket, &format!("size-{size}"), |id| padded(id, size), size).await {
            Ok(_) => largest = size,
            // The server's own limit is below the default, which is no fault of the path.
            Err(check) if check.figures.get("close_code").is_some_and(|code| code == 1009) => {
                return Ok(works(round_trip, largest, 0));
            }
            Err(check) => return Err(check),
        }
    }
    let back = exchange(socket, "back", question, 0).await?;
    Ok(works(round_trip, largest, back))
}

fn works(round_trip: Duration, largest: usize, back: usize) -> Check {
    check_of(Verdict::Ok, format!("works, {}", spoken(round_trip)))
        .figure("round_trip_ms", (round_trip.as_secs_f64() * 1e5).round() / 100.0)
        .figure("largest_sent_bytes", largest as u64)
        .figure("largest_received_bytes", back as u64)
}

/// Sends a message, waits for the answer and returns its approximate size.
async fn exchange(
    socket: &mut Socket,
    id: &str,
    message: impl FnOnce(&str) -> String,
    size: usize,
) -> Result<usize, Box<Check>> {
    let sent = socket.send(message(id)).await;
    match socket.wait_for(ANSWER, |answer| answer["requestId"] == id).await {
        Incoming::Message(answer) if sent => Ok(answer.to_string().len()),
        incoming => {
            let detail = match (id, size) {
                ("back", _) => "A long response of the server did not arrive.".to_owned(),
                (_, 0) => "The greeting arrived, but a ping got no pong: one direction is blocked.".to_owned(),
                (_, size) => format!("A message of {size} bytes got no reply; smaller ones did."),
            };
            Err(Box::new(lost(&incoming, &detail)))
        }
    }
}

/// Creates a ping of `size` bytes.
fn padded(id: &str, size: usize) -> String {
    let bare = json!({"type": "ping", "requestId": id, "padding": ""}).to_string();
    json!({"type": "ping", "requestId": id, "padding": "-".repeat(size.saturating_sub(bare.len()))}).to_string()
}

/// Subscribes to channels that do not exist, because the answer lists them all. Without a token the server refuses, which is
/// a long answer too.
fn question(id: &str) -> String {
    let name = |n: usize| format!("{}{n:03}", "doctor.".repeat(NAMES.1 / 7));
    let names: Vec<_> = (0..NAMES.0).map(name).collect();
    json!({"type": "subscribe", "requestId": id, "channels": names}).to_string()
}

fn lost(incoming: &Incoming, detail: &str) -> Check {
    match incoming {
        Incoming::Closed(code, reason) => check_of(Verdict::Fail, format!("closed by the server ({code} {reason})"))
            .detail(detail)
            .figure("close_code", *code),
        Incoming::Cut => check_of(Verdict::Fail, "cut in the middle").detail(detail).remedy(Remedy::Inspection),
        Incoming::Nothing | Incoming::Message(_) => {
            check_of(Verdict::Fail, "frames do not arrive").detail(detail).remedy(Remedy::Inspection)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_ping_has_the_requested_size() {
        for size in SIZES {
            assert_eq!(padded(&format!("size-{size}"), size).len(), size);
        }
    }
}
