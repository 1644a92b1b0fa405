//! Checks of idle connections. A proxy that cuts them before the server's heartbeat ends every stream; the heartbeat
//! hides later cuts.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    events::{self, Next, NoStream},
    report::{Check, Verdict, ms, spoken},
    socket::{self, Incoming},
    target::{PATIENCE, Target},
};
use tricast_core::protocol::remedy::Remedy;

/// Name of the check of event streams.
pub(super) const EVENTS: &str = "idle_events";
/// Name of the check of WebSockets.
const WEBSOCKET: &str = "idle_websocket";

/// Outcome of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silence {
    lasted: Duration,
    survived: bool,
}

/// Keeps an event stream and a WebSocket idle for `idle`; skips both if that is zero.
pub(super) async fn check(target: &Target, idle: Duration) -> Vec<Check> {
    if idle.is_zero() {
        return Vec::new();
    }
    let (events, websocket) = tokio::join!(events(target, idle), websocket(target, idle));
    vec![events, websocket]
}

fn skipped(id: &'static str, why: impl Into<String>) -> Check {
    Check::new(id, name(id), Verdict::Skipped, "not tested").detail(why)
}

fn name(id: &str) -> &'static str {
    if id == EVENTS { "Quiet events" } else { "Quiet socket" }
}

/// Reads two timed events with the idle time between them.
async fn events(target: &Target, idle: Duration) -> Check {
    let mut stream = match events::open(target, (2, ms(idle), 0), idle + PATIENCE).await {
        Ok(stream) => stream,
        Err(NoStream::Refused(_, Some(detail), _)) => return skipped(EVENTS, format!("The server says: {detail}.")),
        Err(_) => return skipped(EVENTS, "Event streams do not work."),
    };
    let deadline = Instant::now() + idle + PATIENCE;
    let Next::ProbeEvent(first) = stream.next(deadline).await else {
        return skipped(EVENTS, "Event streams do not work.");
    };
    let start = Instant::now();
    let heartbeat = Duration::from_millis(stream.seen["heartbeat"].as_u64().unwrap_or(15_000));
    match stream.next(deadline).await {
        // Both arrived together: the stream is buffered, so the connection was not idle.
        Next::ProbeEvent(second) if second.arrived.saturating_sub(first.arrived) < idle / 2 => {
            skipped(EVENTS, "Events are held back, so this can't be tested.")
        }
        Next::ProbeEvent(_) => {
            judge(EVENTS, Silence { lasted: idle, survived: true }, heartbeat, Remedy::EventsTimeout)
        }
        Next::End | Next::Cut(_) => {
            judge(EVENTS, Silence { lasted: start.elapsed(), survived: false }, heartbeat, Remedy::EventsTimeout)
        }
        Next::Refused(detail) => skipped(EVENTS, format!("The server says: {detail}.")),
    }
}

/// Opens a WebSocket without heartbeats.
async fn websocket(target: &Target, idle: Duration) -> Check {
    let Ok(mut socket) = socket::open(target).await else { return skipped(WEBSOCKET, "No WebSocket can be opened.") };
    let heartbeat = match socket.wait_for(PATIENCE, |message| message["type"] == "connected").await {
        Incoming::Message(greeting) => Duration::from_millis(greeting["heartbeatInterval"].as_u64().unwrap_or(25_000)),
        _ => return skipped(WEBSOCKET, "No WebSocket can be used."),
    };
    let interval = ms(idle + PATIENCE * 3);
    let settings = json!({"heartbeatInterval": interval, "heartbeatTimeout": 3 * interval});
    let _ = socket.send(json!({"type": "configure", "requestId": "quiet", "settings": settings}).to_string()).await;
    match socket.wait_for(PATIENCE, |message| message["requestId"] == "quiet").await {
        Incoming::Message(answer) if answer["type"] == "configured" => {}
        Incoming::Message(_) => return skipped(WEBSOCKET, "Without a token a WebSocket is not kept open so long."),
        _ => return skipped(WEBSOCKET, "No WebSocket can be used."),
    }
    let start = Instant::now();
    let ends = start + idle;
    let judged = |lasted, survived| judge(WEBSOCKET, Silence { lasted, survived }, heartbeat, Remedy::WebSocketTimeout);
    loop {
        match socket.receive(ends).await {
            Incoming::Nothing => break,
            Incoming::Message(_) => {}
            Incoming::Cut => return judged(start.elapsed(), false),
            Incoming::Closed(code, reason) => {
                return skipped(WEBSOCKET, format!("The server closed it itself: {code} {reason}."));
            }
        }
    }
    // A connection that was dropped silently only fails when it is used.
    let sent = socket.send(json!({"type": "ping", "requestId": "still there"}).to_string()).await;
    match socket.wait_for(PATIENCE, |message| message["requestId"] == "still there").await {
        Incoming::Message(_) if sent => {
            socket.close().await;
            judged(idle, true)
        }
        _ => judged(idle, false),
    }
}

/// Rates a cut: it is no fault if the heartbeat is well before it.
fn judge(id: &'static str, silence: Silence, heartbeat: Duration, remedy: Remedy) -> Check {
    let check = |verdict, headline: String| Check::new(id, name(id), verdict, headline);
    let Silence { lasted, survived } = silence;
    let sends = format!("The server sends a heartbeat every {}", spoken(heartbeat));
    let after = spoken(lasted);
    if survived {
        return check(Verdict::Ok, format!("alive after {after} of silence")).figure("silent_ms", ms(lasted));
    }
    let check = match () {
        () if lasted <= heartbeat => check(Verdict::Fail, format!("cut after {after} of silence"))
            .detail(format!("{sends}, which is too late."))
            .remedy(remedy),
        () if lasted < heartbeat * 3 / 2 => check(Verdict::Warn, format!("cut after {after} of silence"))
            .detail(format!("{sends}, which is just in time."))
            .remedy(remedy),
        () => check(Verdict::Ok, format!("cut after {after} of silence, which never happens"))
            .detail(format!("{sends}, well before that.")),
    };
    check.figure("cut_after_ms", ms(lasted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_a_fault_only_if_it_comes_before_the_heartbeat() {
        for (seconds, survived, expected) in [
            (5, false, Verdict::Fail),
            (15, false, Verdict::Fail),
            (20, false, Verdict::Warn),
            (60, false, Verdict::Ok),
            (5, true, Verdict::Ok),
        ] {
            let silence = Silence { lasted: Duration::from_secs(seconds), survived };
            let check = judge(EVENTS, silence, Duration::from_secs(15), Remedy::EventsTimeout);
            assert_eq!(check.verdict, expected, "{silence:?}");
            assert_eq!(check.remedies.is_empty(), expected == Verdict::Ok);
        }
    }
}
