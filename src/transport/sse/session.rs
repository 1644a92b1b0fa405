//! One event stream: its control messages and heartbeat on the stream engine.

use std::{
    collections::HashMap,
    fmt::Display,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{
    chunk,
    config::SseConfig,
    control::{Control, ControlMessage, Registration},
    event,
};
use crate::{
    shutdown::reconnect_after,
    transport::stream::{
        Encoder, End, Notice, Output, Protocol, REVOKED, Session, Stream, StreamConfig, subscriptions,
    },
    web::{
        caller::Caller,
        problem::Problem,
        state::State,
        upgrade::{BodyFraming, Wire},
    },
};
use tricast_core::{
    channel::Selector,
    clock::rfc3339,
    counters::Transport,
    position::Position,
    protocol::{
        command::{Command, Rejection},
        error::Code,
        message::ServerMessage,
    },
    publication::Publication,
    reader::CatchUp,
};

/// Bytes of events per write.
const BUDGET: usize = 256 * 1024;

/// Bytes that a client may send on a connection with a stream. They are ignored: a pipelined request, or the body of the
/// request of the stream.
const MAX_IGNORED: usize = 64 * 1024;

/// Event stream without its deliveries. The first two fields are those of a delivery.
#[repr(C)]
pub(super) struct EventStream {
    wire: Wire,
    output: Blocks,
    /// Bytes of the client that were ignored.
    ignored: usize,
    comment_interval: Duration,
    ping_interval: Duration,
    next_comment: Instant,
    next_ping: Instant,
    registration: Registration,
}

/// The engine's settings for an event stream.
pub(super) const STREAM: StreamConfig =
    StreamConfig { transport: Transport::Sse, order: CatchUp::EventsFirst, budget: BUDGET };

/// Returns the session of a stream that begins with `greeting`, on a connection that was taken over.
pub(super) fn open(
    stream: Stream,
    config: &SseConfig,
    greeting: &str,
    registration: Registration,
    wire: Wire,
    framing: BodyFraming,
) -> Session<EventStream> {
    let now = Instant::now();
    let mut output = Blocks { state: Rc::clone(&stream.state), pending: Vec::new(), framing, is_ended: false };
    output.push(greeting);
    let protocol = EventStream {
        wire,
        ignored: 0,
        comment_interval: config.comment_interval,
        ping_interval: config.ping_interval,
        next_comment: now + config.comment_interval,
        next_ping: now + config.ping_interval,
        output,
        registration,
    };
    Session::new(stream, protocol)
}

impl Protocol for EventStream {
    type Output = Blocks;

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn output(&mut self) -> &mut Blocks {
        &mut self.output
    }

    fn receive(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        self.ignore_input(cx);
        while self.output.is_open()
            && let Poll::Ready(message) = self.registration.inbox.poll(cx.waker())
        {
            let ControlMessage { request_id, control, reply } = message;
            let result = carry_out(stream, request_id, control);
            // The requesting client may have disconnected.
            drop(reply.send(result.map(|message| message.to_json())));
        }
    }

    fn keep_alive(&mut self, stream: &mut Stream, now: Instant) {
        if !self.output.is_open() {
            return;
        }
        if now >= self.next_comment {
            self.next_comment = now + self.comment_interval;
            self.output.push(event::COMMENT);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.ping_interval;
            let ping = json!({"timestamp": stream.timestamp(), "serverLoad": stream.state.shared.counters.load()});
            self.output.write(|out| event::write_json(out, None, "ping", &ping));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next_comment.min(self.next_ping))
    }

    fn is_finished(&self) -> bool {
        self.output.is_ended
    }
}

impl EventStream {
    /// Reads what the client sends, to notice the end of its connection.
    fn ignore_input(&mut self, cx: &mut Context<'_>) {
        while self.ignored <= MAX_IGNORED {
            match self.wire.poll_read(cx, |bytes| self.ignored += bytes.len()) {
                Poll::Pending => return,
                Poll::Ready(true) => {}
                Poll::Ready(false) => break,
            }
        }
        // The client is gone, or sends what nobody asked for.
        self.output.abandon();
    }
}

/// Carries out a control message and returns its reply.
fn carry_out<'a>(
    stream: &mut Stream,
    request_id: Option<serde_json::Value>,
    control: Control,
) -> Result<ServerMessage<'a>, Rejection> {
    let reader = &mut stream.reader;
    match control {
        Control::Command(Command::Subscribe { channels, .. })
            if channels.iter().any(|wanted| wanted.backfill.is_some()) =>
        {
            let message = "backfill: open a stream with ?backfill=, or ask GET /api/history";
            Err(Rejection::new(request_id, Code::InvalidMessage, message))
        }
        Control::Command(Command::Subscribe { channels, since }) => {
            let Some(Caller { identity, .. }) = stream.caller().cloned() else {
                return Err(Rejection::new(request_id, Code::Unauthorized, "this stream has no user"));
            };
            Ok(stream.subscribe(&identity, request_id, channels, since, HashMap::new()))
        }
        Control::Command(Command::Unsubscribe(names)) => subscriptions::unsubscribe(reader, request_id, names),
        Control::Command(Command::Pause(names)) => subscriptions::pause(reader, request_id, names),
        Control::Command(Command::Resume(names)) => subscriptions::resume_paused(reader, request_id, names),
        Control::Command(_) => {
            Err(Rejection::new(request_id, Code::InvalidMessage, "an event stream does not understand this"))
        }
        Control::Refreshed(identity) => {
            let expires_at = identity.expires_at.map(rfc3339);
            let unsubscribed = stream.refresh(identity);
            Ok(ServerMessage::TokenRefreshed { request_id, expires_at, unsubscribed })
        }
    }
}

/// Blocks to the client, in the framing of the response's body.
pub(super) struct Blocks {
    state: Rc<State>,
    pending: Vec<u8>,
    framing: BodyFraming,
    is_ended: bool,
}

impl Blocks {
    fn push(&mut self, text: &str) {
        match self.framing {
            BodyFraming::Chunked => chunk::write(&mut self.pending, text.as_bytes()),
            BodyFraming::UntilClose => self.pending.extend_from_slice(text.as_bytes()),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut String)) {
        let mut out = String::new();
        write(&mut out);
        self.push(&out);
    }

    /// Returns the bytes of a chunk in the framing of the body.
    fn framed(&self, chunk: Bytes) -> Bytes {
        match self.framing {
            BodyFraming::Chunked => chunk,
            BodyFraming::UntilClose => chunk::data_of(&chunk),
        }
    }

    /// Ends the stream of a client that is gone.
    fn abandon(&mut self) {
        self.pending.clear();
        self.is_ended = true;
    }

    fn say_bye(&mut self, reason: &str, after: Duration) {
        let bye = json!({"reason": reason, "reconnectAfter": (after.as_secs_f64() * 1e3).round() / 1e3});
        self.write(|out| {
            event::write_retry(out, after);
            event::write_json(out, None, "bye", &bye);
        });
    }
}

impl Encoder for Blocks {
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        self.framed(event::chunk_of(publication, cursor.as_ref().map(|cursor| cursor as &dyn Display)))
    }

    fn gap(&self, channels: &[Selector], cursor: &Position) -> Bytes {
        let channels: Vec<_> = channels.iter().map(Selector::to_string).collect();
        let gap = json!({"channels": channels, "cursor": cursor.to_string(), "reason": "too_old"});
        let mut out = String::new();
        event::write_json(&mut out, Some(cursor), "gap", &gap);
        self.framed(chunk::of(&out))
    }
}

impl Output for Blocks {
    fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    fn notify(&mut self, notice: Notice) {
        match notice {
            Notice::TokenExpiring(expires_in) => {
                let message = "your token expires soon: post refresh_token with a new one to this session";
                let expiring = json!({"expiresIn": expires_in, "message": message});
                self.write(|out| event::write_json(out, None, "auth_expiring", &expiring));
            }
            Notice::SlowClient { event: name, data, timestamp } => {
                let event = json!({"channel": "system", "event": name, "timestamp": timestamp, "data": data});
                self.write(|out| event::write_json(out, None, "system", &event));
            }
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::Draining(after) => self.say_bye("SERVER_MAINTENANCE", after),
            End::Retired(after) => self.say_bye("CONNECTION_AGE", after),
            End::TooSlow(after) => self.say_bye("TOO_SLOW", after),
            End::TokenExpired | End::AuthTimeout | End::Revoked => {
                let why = if end == End::Revoked { REVOKED } else { "the token has expired" };
                let problem = Problem::unauthorized(Some("invalid_token"), why);
                let problem = problem.to_json(Some(&self.state.new_id()));
                self.write(|out| {
                    event::write_retry(out, reconnect_after());
                    event::write_block(out, None, "error", &problem);
                });
            }
        }
        if self.framing == BodyFraming::Chunked {
            self.pending.extend_from_slice(chunk::LAST);
        }
        self.is_ended = true;
    }

    fn is_open(&self) -> bool {
        !self.is_ended
    }
}
