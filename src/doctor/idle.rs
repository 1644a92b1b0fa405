//! How long a connection may be silent: the server's heartbeats hide a cut that would come later, and a cut that comes
//! sooner than they do ends every stream.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    events::{self, Deaf, Next},
    patient::{PATIENCE, Patient},
    report::{Check, Verdict, ms, spoken},
    socket::{self, Heard},
};
use tricast_core::protocol::remedy::Remedy;

/// Name of the check of event streams.
pub(super) const EVENTS: &str = "idle_events";
/// Name of the check of WebSockets.
const WEBSOCKET: &str = "idle_websocket";

/// What became of a silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silence {
    lasted: Duration,
    survived: bool,
}

/// Holds an event stream and a WebSocket without a word for `idle`; nothing where that is zero.
pub(super) async fn check(patient: &Patient, idle: Duration) -> Vec<Check> {
    if idle.is_zero() {
        return Vec::new();
    }
    let (events, websocket) = tokio::join!(events(patient, idle), websocket(patient, idle));
    vec![events, websocket]
}

fn skipped(id: &'static str, why: impl Into<String>) -> Check {
    Check::new(id, name(id), Verdict::Skipped, "not tested").detail(why)
}

fn name(id: &str) -> &'static str {
    if id == EVENTS { "Quiet events" } else { "Quiet socket" }
}

/// Two beats of the server's rhythm, with the silence between them.
async fn events(patient: &Patient, idle: Duration) -> Check {
    let mut stream = match events::open(patient, (2, ms(idle), 0), idle + PATIENCE).await {
        Ok(stream) => stream,
        Err(Deaf::Refused(_, Some(detail), _)) => return skipped(EVENTS, format!("The server says: {detail}.")),
        Err(_) => return skipped(EVENTS, "Event streams do not work."),
    };
    let deadline = Instant::now() + idle + PATIENCE;
    let Next::Beat(first) = stream.next(deadline).await else {
        return skipped(EVENTS, "Event streams do not work.");
    };
    let began = Instant::now();
    let heartbeat = Duration::from_millis(stream.seen["heartbeat"].as_u64().unwrap_or(15_000));
    match stream.next(deadline).await {
        // Both at once: held back, and the silence was not one.
        Next::Beat(second) if second.came.saturating_sub(first.came) < idle / 2 => {
            skipped(EVENTS, "Events are held back, so this can't be tested.")
        }
        Next::Beat(_) => judge(EVENTS, Silence { lasted: idle, survived: true }, heartbeat, Remedy::EventsTimeout),
        Next::End | Next::Cut(_) => {
            judge(EVENTS, Silence { lasted: began.elapsed(), survived: false }, heartbeat, Remedy::EventsTimeout)
        }
        Next::Refused(detail) => skipped(EVENTS, format!("The server says: {detail}.")),
    }
}

/// A WebSocket that was told to leave out its heartbeats.
async fn websocket(patient: &Patient, idle: Duration) -> Check {
    let Ok(mut socket) = socket::open(patient).await else { return skipped(WEBSOCKET, "No WebSocket can be opened.") };
    let heartbeat = match socket.wait_for(PATIENCE, |message| message["type"] == "connected").await {
        Heard::Message(greeting) => Duration::from_millis(greeting["heartbeatInterval"].as_u64().unwrap_or(25_000)),
        _ => return skipped(WEBSOCKET, "No WebSocket can be used."),
    };
    let interval = ms(idle + PATIENCE * 3);
    let settings = json!({"heartbeatInterval": interval, "heartbeatTimeout": 3 * interval});
    let _ = socket.say(json!({"type": "configure", "requestId": "quiet", "settings": settings}).to_string()).await;
    match socket.wait_for(PATIENCE, |message| message["requestId"] == "quiet").await {
        Heard::Message(answer) if answer["type"] == "configured" => {}
        Heard::Message(_) => return skipped(WEBSOCKET, "Without a token a WebSocket is not kept so long."),
        _ => return skipped(WEBSOCKET, "No WebSocket can be used."),
    }
    let began = Instant::now();
    let ends = began + idle;
    let judged = |lasted, survived| judge(WEBSOCKET, Silence { lasted, survived }, heartbeat, Remedy::WebSocketTimeout);
    loop {
        match socket.hear(ends).await {
            Heard::Nothing => break,
            Heard::Message(_) => {}
            Heard::Cut => return judged(began.elapsed(), false),
            Heard::Closed(code, reason) => {
                return skipped(WEBSOCKET, format!("The server closed it itself: {code} {reason}."));
            }
        }
    }
    // A connection that was dropped without a word only shows when it is used.
    let said = socket.say(json!({"type": "ping", "requestId": "still there"}).to_string()).await;
    match socket.wait_for(PATIENCE, |message| message["requestId"] == "still there").await {
        Heard::Message(_) if said => {
            socket.close().await;
            judged(idle, true)
        }
        _ => judged(idle, false),
    }
}

/// A cut is no fault as long as the server speaks well before it.
fn judge(id: &'static str, silence: Silence, heartbeat: Duration, remedy: Remedy) -> Check {
    let check = |verdict, headline: String| Check::new(id, name(id), verdict, headline);
    let Silence { lasted, survived } = silence;
    let speaks = format!("The server sends a heartbeat every {}", spoken(heartbeat));
    let after = spoken(lasted);
    if survived {
        return check(Verdict::Ok, format!("alive after {after} of silence")).figure("silent_ms", ms(lasted));
    }
    let check = match () {
        () if lasted <= heartbeat => check(Verdict::Fail, format!("cut after {after} of silence"))
            .detail(format!("{speaks}, which is too late."))
            .remedy(remedy),
        () if lasted < heartbeat * 3 / 2 => check(Verdict::Warn, format!("cut after {after} of silence"))
            .detail(format!("{speaks}, which is just in time."))
            .remedy(remedy),
        () => check(Verdict::Ok, format!("cut after {after} of silence, which never happens"))
            .detail(format!("{speaks}, well before that.")),
    };
    check.figure("cut_after_ms", ms(lasted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_a_fault_only_if_the_server_does_not_speak_before_it() {
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
