//! One event stream: the response body.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Display,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{config::SseConfig, event};
use crate::{
    core::{channel::Channel, clock::rfc3339, position::Position, publication::Publication, reader::Reader},
    counters::{Limit, Step, Transport},
    http::{
        access::Caller,
        problem::Problem,
        sessions::{self, Instruction, Letter},
        state::{State, StreamSlot},
    },
    protocol::{
        command::{Command, Rejection},
        error::Code,
        message::ServerMessage,
    },
    shutdown::{reconnect_after, reconnect_soon},
    transport::{
        expiry::{Expiring, Expiry},
        ladder::{self, Ladder, Move},
        outbox::{Format, Told, tell},
        subscriptions::{self, Rules},
    },
};

/// Events written at a time; more follow in the next write.
const BUDGET: usize = 256 * 1024;

/// One event stream.
pub(super) struct Session {
    state: Rc<State>,
    config: SseConfig,
    caller: Caller,
    expiry: Expiry,
    reader: Reader,
    /// Blocks that wait: the greeting, pings.
    out: String,
    next_comment: Instant,
    next_ping: Instant,
    retire_at: Option<Instant>,
    ladder: Ladder,
    /// Events are left for the next write.
    more: bool,
    /// The end has come, and what was due is told.
    told_last: bool,
    ended: bool,
    session: sessions::Session,
    _slot: StreamSlot,
}

impl Session {
    /// A stream that begins with `greeting` and goes on with what `reader` is due.
    pub(super) fn open(
        state: Rc<State>,
        config: SseConfig,
        caller: Caller,
        reader: Reader,
        greeting: String,
        session: sessions::Session,
        slot: StreamSlot,
    ) -> Self {
        let now = Instant::now();
        Self {
            expiry: Expiry::of(&caller.identity, state.clock.now()),
            reader,
            out: greeting,
            next_comment: now + config.comment_interval,
            next_ping: now + config.ping_interval,
            retire_at: state.retire_after().map(|age| now + age),
            ladder: Ladder::default(),
            more: false,
            told_last: false,
            ended: false,
            config,
            caller,
            state,
            session,
            _slot: slot,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            let last = std::mem::take(&mut self.out);
            return Poll::Ready((!last.is_empty()).then(|| last.into()));
        }
        self.reader.set_waker(cx.waker());
        while let Poll::Ready(letter) = self.session.mailbox.poll(cx.waker()) {
            self.obey(letter);
        }
        let now = Instant::now();
        self.keep_alive(now);
        self.watch_token(now);
        let draining = self.reader.hub().is_draining();
        let last = draining || self.retire_at.is_some_and(|at| now >= at);
        if !self.ended {
            // What was accepted before the end is still told, for nobody could ask for it later: one last time.
            let told = if self.told_last || !self.reader.has_due() { None } else { self.tell() };
            self.told_last = last && !self.more;
            if let Some(bytes) = told {
                return Poll::Ready(Some(bytes));
            }
            if draining {
                self.say_bye("SERVER_MAINTENANCE", reconnect_after());
            } else if last {
                self.say_bye("CONNECTION_AGE", reconnect_soon());
            }
        }
        if !self.out.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.out).into()));
        }
        let deadlines = [self.retire_at, self.expiry.deadline(), self.ladder.deadline(self.config.ladder)];
        let next = self.next_comment.min(self.next_ping);
        self.reader.set_deadline(deadlines.into_iter().flatten().fold(next, Instant::min));
        Poll::Pending
    }

    /// Does what was posted to the session.
    fn obey(&mut self, Letter { request_id, instruction, reply }: Letter) {
        let reader = &mut self.reader;
        let answer = match instruction {
            Instruction::Command(Command::Subscribe { channels, .. })
                if channels.iter().any(|wanted| wanted.backfill.is_some()) =>
            {
                let message = "backfill: open a stream with ?backfill=, or ask GET /api/history";
                Err(Rejection::new(request_id, Code::InvalidMessage, message))
            }
            Instruction::Command(Command::Subscribe { channels, since }) => {
                let counters = &self.state.counters;
                let rules = Rules { identity: &self.caller.identity, max: self.config.max_subscriptions, counters };
                Ok(subscriptions::subscribe(reader, &rules, request_id, channels, since, HashMap::new()))
            }
            Instruction::Command(Command::Unsubscribe(names)) => subscriptions::unsubscribe(reader, request_id, names),
            Instruction::Command(Command::Pause(names)) => subscriptions::pause(reader, request_id, names),
            Instruction::Command(Command::Resume(names)) => subscriptions::resume_paused(reader, request_id, names),
            Instruction::Command(_) => {
                Err(Rejection::new(request_id, Code::InvalidMessage, "an event stream does not understand this"))
            }
            Instruction::Refreshed(identity) => {
                self.caller.identity = identity.with_address(self.caller.identity.address());
                self.expiry = Expiry::of(&self.caller.identity, self.state.clock.now());
                let unsubscribed = subscriptions::recheck(reader, &self.caller.identity);
                let expires_at = self.caller.identity.expires_at.map(rfc3339);
                Ok(ServerMessage::TokenRefreshed { request_id, expires_at, unsubscribed })
            }
        };
        // Whoever asked may be gone.
        drop(reply.send(answer.map(|message| message.to_json())));
    }

    fn keep_alive(&mut self, now: Instant) {
        if now >= self.next_comment {
            self.next_comment = now + self.config.comment_interval;
            self.out.push_str(event::COMMENT);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.config.ping_interval;
            let timestamp = rfc3339(self.state.clock.now());
            let ping = json!({"timestamp": timestamp, "serverLoad": self.state.counters.load()});
            event::write_json(&mut self.out, None, "ping", &ping);
        }
        // While something waits for the client, that says how slow it is.
        if self.ladder.deadline(self.config.ladder).is_some_and(|at| now >= at) && !self.reader.has_due() {
            self.climb(Duration::ZERO, now);
        }
    }

    /// Warns of a token that runs out, and ends a stream whose token did.
    fn watch_token(&mut self, now: Instant) {
        match self.expiry.due(now) {
            Some(Expiring::Soon(expires_in)) => {
                let message = "your token runs out: post refresh_token with a new one to this session";
                let expiring = json!({"expiresIn": expires_in, "message": message});
                event::write_json(&mut self.out, None, "auth_expiring", &expiring);
            }
            Some(Expiring::Over) => {
                let problem = Problem::unauthorized(Some("invalid_token"), "the token has run out");
                event::write_retry(&mut self.out, reconnect_after());
                event::write_block(&mut self.out, None, "error", &problem.to_json(Some(&self.state.new_id())));
                self.ended = true;
            }
            None => {}
        }
    }

    fn say_bye(&mut self, reason: &str, after: Duration) {
        event::write_retry(&mut self.out, after);
        let bye = json!({"reason": reason, "reconnectAfter": (after.as_secs_f64() * 1e3).round() / 1e3});
        event::write_json(&mut self.out, None, "bye", &bye);
        self.ended = true;
    }

    fn tell(&mut self) -> Option<Bytes> {
        let counters = self.state.counters.of(Transport::Sse);
        let waiting = std::mem::take(&mut self.out).into_bytes();
        let Told { bytes, more, waited } = tell(&mut self.reader, BUDGET, waiting, counters, &Blocks);
        self.more = more;
        self.climb(waited, Instant::now());
        bytes
    }

    /// Takes a client that does not keep up a step back, or one that does a step forth, and tells it.
    fn climb(&mut self, waited: Duration, now: Instant) {
        if self.state.is_late(self.config.ladder.slow_after) {
            // It is us who are slow.
            return self.ladder.put_off(now);
        }
        let Some(moved) = self.ladder.taken(self.config.ladder, waited, now) else { return };
        let pace = self.ladder.pace(self.config.ladder);
        self.reader.set_pace(pace);
        let (name, data) = ladder::event(moved, pace);
        let timestamp = rfc3339(self.state.clock.now());
        let event = json!({"channel": "system", "event": name, "timestamp": timestamp, "data": data});
        event::write_json(&mut self.out, None, "system", &event);
        if let Move::Up(step) = moved {
            self.state.counters.step(step).inc();
            if step == Step::Closed {
                self.state.counters.limit(Limit::SlowClients).inc();
                self.say_bye("TOO_SLOW", reconnect_after());
            }
        }
    }
}

/// Blocks of the stream.
struct Blocks;

impl Format for Blocks {
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        event::block(publication, cursor.as_ref().map(|cursor| cursor as &dyn Display))
    }

    fn gap(&self, channels: &[Channel], cursor: &Position) -> Bytes {
        let gap = json!({"channels": channels, "cursor": cursor.to_string(), "reason": "too_old"});
        let mut out = String::new();
        event::write_json(&mut out, Some(cursor), "gap", &gap);
        out.into()
    }
}

impl MessageBody for Session {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.poll(cx).map(|bytes| bytes.map(Ok))
    }
}
