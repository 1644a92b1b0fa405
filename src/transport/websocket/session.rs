//! One WebSocket connection: the response body that reads the client's frames and writes ours.
//!
//! One task, one place ([`Session::poll`]) that looks at the peer, the clock, the server's life and the news. What is
//! due is read when the socket can take it; while it can't, nothing is read from the client either, so a client that
//! does not read costs its subscriptions' positions and no queue.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    dev,
};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use super::{
    Compression,
    actions::InFlight,
    config::WebSocketConfig,
    flood::{Flood, Minute, TooMany},
    frame::{self, Decoder, Incoming},
    heartbeat::{Heartbeat, PING_PAYLOAD},
    standing::Standing,
};
use crate::{
    auth,
    core::{
        channel::Channel,
        clock::rfc3339,
        position::Position,
        publication::Publication,
        reader::{CatchUp, Reader},
    },
    counters::{Limit, Step, Transport},
    http::{
        access::Caller,
        state::{State, StreamSlot},
    },
    pause,
    protocol::{
        SERVER_VERSION,
        close::CloseReason,
        command::{self, Rejection},
        error::Code,
        message::{self, ServerMessage},
        slot,
    },
    shutdown::{reconnect_after, reconnect_soon},
    transport::{
        ladder::{self, Ladder, Move},
        outbox::{Format, Told, tell},
        subscriptions,
    },
};

/// Events written at a time; more follow in the next write.
const BUDGET: usize = 64 * 1024;

/// Answers that may wait for the socket; beyond that the client's next messages are left unread.
const MAX_ANSWERS: usize = 64 * 1024;

/// Messages handled before the worker's other tasks get their turn.
const MESSAGES_AT_ONCE: usize = 32;

/// How long the peer has to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How long the connection stays open after we failed it, so that our close frame is not overtaken by a reset.
const FAILED_WAIT: Duration = Duration::from_millis(250);

/// One connection.
pub(super) struct Session {
    pub(super) state: Rc<State>,
    pub(super) config: WebSocketConfig,
    /// Whose it is.
    pub(super) standing: Standing,
    payload: dev::Payload,
    decoder: Decoder,
    pub(super) reader: Reader,
    /// Ready frames: answers, pings, the close.
    out: Vec<u8>,
    compress: bool,
    pub(super) heartbeat: Heartbeat,
    /// Pauses of this process that were seen.
    pauses: u64,
    flood: Flood,
    bad_messages: Minute,
    /// Requests and tokens that are looked at.
    pub(super) in_flight: InFlight<super::commands::Done>,
    /// A message is carried out that those after it wait for: a token is verified, or the log is caught up with.
    pub(super) holding: bool,
    ladder: Ladder,
    /// When the connection is old enough to be sent away.
    retire_at: Option<Instant>,
    closing: Option<Closing>,
    /// Events are left for the next write.
    more: bool,
    /// The server drains, and what was due is told.
    told_last: bool,
    pub(super) slot: StreamSlot,
}

enum Closing {
    /// Our close frame is out; the peer has until then to answer.
    Sent { until: Instant },
    /// Nothing more to do once `out` is written.
    Done,
}

impl Session {
    /// A session that has just been upgraded, of nobody yet if there is no `caller`. Greets the client.
    pub(super) fn open(
        state: Rc<State>,
        config: WebSocketConfig,
        caller: Option<Caller>,
        payload: dev::Payload,
        compression: Compression,
        slot: StreamSlot,
    ) -> Self {
        let now = Instant::now();
        let hub = caller.as_ref().map_or(state.lobby(), |caller| &caller.tenant.hub);
        let mut reader = Reader::open(hub, CatchUp::StatesFirst);
        reader.set_filter(caller.as_ref().and_then(|caller| subscriptions::filter(&caller.identity)));
        let connection_id = state.new_id();
        let mut session = Self {
            decoder: Decoder::new(config.max_message, compression != Compression::None),
            reader,
            out: Vec::new(),
            compress: compression == Compression::Both,
            heartbeat: Heartbeat::new(config.heartbeat_interval, config.heartbeat_timeout, now),
            pauses: pause::count(),
            flood: Flood::new(config.messages_per_second, config.message_burst, now),
            bad_messages: Minute::new(now),
            in_flight: InFlight::new(),
            holding: false,
            ladder: Ladder::default(),
            retire_at: state.retire_after().map(|age| now + age),
            closing: None,
            more: false,
            told_last: false,
            standing: Standing::of(caller, config.auth_timeout, state.clock.now()),
            config,
            payload,
            state,
            slot,
        };
        let caller = session.standing.caller();
        let connected = ServerMessage::Connected {
            connection_id: &connection_id,
            timestamp: session.now(),
            server_version: SERVER_VERSION,
            capabilities: &caller.map(|caller| auth::capabilities(&caller.identity)).unwrap_or_default(),
            cursor: caller.map(|caller| caller.tenant.log.position().to_string()),
            heartbeat_interval: config.heartbeat_interval.as_millis() as u64,
            stale: session.state.tenants.is_stale(),
        };
        let connected = connected.to_json();
        session.say_json(&connected);
        // So that there is a round trip before the first heartbeat.
        frame::write(&mut session.out, frame::PING, false, PING_PAYLOAD);
        session
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.hear(cx);
        // Answers wait in their futures until the socket takes those before.
        while self.out.len() <= MAX_ANSWERS
            && let Some(done) = self.in_flight.next_done(cx)
        {
            self.finish(done);
            // What was answered may be what the next message waits for.
            self.hear(cx);
        }
        // After all of that, for a token may have brought another reader.
        self.reader.set_waker(cx.waker());
        self.keep_time();
        if self.closing.is_none() {
            // What was accepted before the end is still told, for nobody could ask for it later: one last time.
            let last = self.reader.hub().is_draining();
            let told = if self.told_last || !self.reader.has_due() { None } else { self.tell() };
            self.told_last = last && !self.more;
            if let Some(bytes) = told {
                return Poll::Ready(Some(bytes));
            }
            if last {
                self.send_away("SERVER_MAINTENANCE", "the server is going away, come back", reconnect_after());
            }
        }
        if !self.out.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.out).into()));
        }
        match self.closing {
            Some(Closing::Done) => Poll::Ready(None),
            _ => {
                self.reader.set_deadline(self.next_deadline());
                Poll::Pending
            }
        }
    }

    /// Reads what the client sent.
    fn hear(&mut self, cx: &mut Context<'_>) {
        let mut handled = 0;
        while !self.holding {
            match self.decoder.next_message() {
                Ok(Some(incoming)) => {
                    self.heartbeat.seen();
                    self.take(incoming);
                    handled += 1;
                }
                Ok(None) => match Pin::new(&mut self.payload).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.decoder.feed(&bytes),
                    Poll::Ready(Some(Err(_)) | None) => {
                        // The peer is gone without a word; there is nobody to tell.
                        self.out.clear();
                        self.closing = Some(Closing::Done);
                        return;
                    }
                    Poll::Pending => return,
                },
                Err(error) => {
                    tracing::debug!(%error, "a client's frames broke the protocol");
                    if matches!(error, frame::FrameError::TooBig(_)) {
                        self.state.counters.limit(Limit::Message).inc();
                    }
                    self.close(error.close_reason());
                    if let Some(Closing::Sent { until }) = &mut self.closing {
                        // Its frames can't be read any more, its answer neither: time enough to get ours out.
                        *until = Instant::now() + FAILED_WAIT;
                    }
                }
            }
            if matches!(self.closing, Some(Closing::Done)) {
                return;
            }
            if handled >= MESSAGES_AT_ONCE || self.out.len() > MAX_ANSWERS {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }

    fn take(&mut self, incoming: Incoming) {
        if self.closing.is_some() {
            // Only the peer's close matters now.
            if let Incoming::Close(_) = incoming {
                self.closing = Some(Closing::Done);
            }
            return;
        }
        if !matches!(incoming, Incoming::Close(_))
            && let Err(too_many) = self.flood.message()
        {
            return self.refuse_flood(too_many, &incoming);
        }
        match incoming {
            Incoming::Text(text) => match command::parse(&text) {
                Ok(message) => self.carry_out(message),
                Err(rejection) => self.reject(rejection),
            },
            Incoming::Binary(_) => self.close(CloseReason::Unsupported),
            Incoming::Ping(payload) => frame::write(&mut self.out, frame::PONG, false, &payload),
            Incoming::Pong(payload) => self.heartbeat.pong_frame(&payload),
            Incoming::Close(reason) => {
                let code = reason.map_or(CloseReason::Normal.code(), |(code, _)| code);
                frame::write_close(&mut self.out, code, "");
                self.closing = Some(Closing::Done);
            }
        }
    }

    /// A message too many is not carried out; who does not wait although it is told to is sent away.
    fn refuse_flood(&mut self, too_many: TooMany, incoming: &Incoming) {
        self.state.counters.limit(Limit::Messages).inc();
        match too_many {
            TooMany::Close => self.close(CloseReason::RateLimited),
            TooMany::Wait(wait) => {
                let request_id = match incoming {
                    Incoming::Text(text) => command::request_id(text),
                    _ => None,
                };
                let rejection = Rejection::new(request_id, Code::RateLimited, "too many messages: wait a moment");
                self.reject(Rejection { retry_after: Some(wait), ..rejection });
            }
        }
    }

    /// Answers a message that is not carried out.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        let Rejection { request_id, code, message, retry_after } = rejection;
        let details = retry_after.map(|after| serde_json::json!({"retryAfter": after.as_millis() as u64 + 1}));
        self.say(&ServerMessage::Error { request_id, code, message: &message, details });
        if code != Code::InvalidMessage {
            // Understood, and refused: that is no bad message.
            return;
        }
        self.state.counters.bad_messages.inc();
        let limit = self.config.max_bad_messages;
        if self.bad_messages.count() >= limit && limit > 0 {
            self.state.counters.limit(Limit::BadMessages).inc();
            self.close(CloseReason::TooManyBadMessages);
        }
    }

    /// Pings, time-outs, and the end of a connection or of its token.
    fn keep_time(&mut self) {
        let now = Instant::now();
        match self.closing {
            Some(Closing::Sent { until }) if now >= until => {
                self.closing = Some(Closing::Done);
                return;
            }
            Some(_) => return,
            None => {}
        }
        let pauses = pause::count();
        if self.pauses != pauses {
            // What the client sent meanwhile may not be here yet.
            self.pauses = pauses;
            self.heartbeat.renew(now);
            self.standing.renew(now, self.config.auth_timeout);
        }
        if self.heartbeat.is_lost(now) {
            return self.close(CloseReason::HeartbeatLost);
        }
        if self.retire_at.is_some_and(|at| now >= at) {
            let message = "this connection is old enough, open a new one";
            return self.send_away("CONNECTION_AGE", message, reconnect_soon());
        }
        self.watch_token(now);
        if self.closing.is_some() {
            return;
        }
        // While something waits for the client, that says how slow it is.
        if self.ladder.deadline(self.config.ladder).is_some_and(|at| now >= at) && !self.reader.has_due() {
            self.climb(Duration::ZERO, now);
        }
        let clock = &self.state.clock;
        if let Some(timestamp) = self.heartbeat.ping(now, || rfc3339(clock.now())) {
            self.say(&ServerMessage::Ping { timestamp, server_load: self.state.counters.load() });
            frame::write(&mut self.out, frame::PING, false, PING_PAYLOAD);
        }
    }

    fn next_deadline(&self) -> Instant {
        match self.closing {
            Some(Closing::Sent { until }) => until,
            _ => [self.retire_at, self.standing.deadline(), self.ladder.deadline(self.config.ladder)]
                .into_iter()
                .flatten()
                .fold(self.heartbeat.deadline(), Instant::min),
        }
    }

    /// Everything that is due, in one piece, behind the answers that wait.
    fn tell(&mut self) -> Option<Bytes> {
        let counters = self.state.counters.of(Transport::WebSocket);
        let format = Frames { compress: self.compress };
        let Told { bytes, more, waited } =
            tell(&mut self.reader, BUDGET, std::mem::take(&mut self.out), counters, &format);
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
        let (event, data) = ladder::event(moved, pace);
        self.say(&ServerMessage::Event { channel: "system", event, data, timestamp: self.now() });
        if let Move::Up(step) = moved {
            self.state.counters.step(step).inc();
            if step == Step::Closed {
                self.state.counters.limit(Limit::SlowClients).inc();
                self.close(CloseReason::TooSlow);
            }
        }
    }

    fn send_away(&mut self, reason: &str, message: &str, after: Duration) {
        self.say_good_bye(reason, message, after);
        self.close(CloseReason::GoingAway);
    }

    /// Says why the connection is about to be closed, and when to come back.
    pub(super) fn say_good_bye(&mut self, reason: &str, message: &str, after: Duration) {
        let reconnect_after = Some((after.as_secs_f64() * 1e3).round() / 1e3);
        self.say(&ServerMessage::Disconnecting { reason, message, reconnect_after });
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            frame::write_close(&mut self.out, reason.code(), reason.text());
            self.closing = Some(Closing::Sent { until: Instant::now() + CLOSE_WAIT });
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn say(&mut self, message: &ServerMessage<'_>) {
        self.say_json(&message.to_json());
    }

    pub(super) fn say_json(&mut self, json: &str) {
        frame::write_text(&mut self.out, json, self.compress);
    }

    pub(super) fn now(&self) -> String {
        rfc3339(self.state.clock.now())
    }
}

/// Frames, compressed where that was negotiated.
struct Frames {
    compress: bool,
}

impl Format for Frames {
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        let compress = self.compress;
        match cursor {
            Some(cursor) => frame::text(&message::publication(publication, cursor), compress),
            None => {
                let slot = if compress { slot::WEBSOCKET_DEFLATED } else { slot::WEBSOCKET };
                publication.encoded(slot, |p| frame::text(&message::publication(p, p.own_cursor()), compress)).clone()
            }
        }
    }

    fn gap(&self, channels: &[Channel], cursor: &Position) -> Bytes {
        let channels = channels.iter().map(Channel::as_str).collect();
        frame::text(&ServerMessage::Gap { channels, cursor: cursor.to_string() }.to_json(), self.compress)
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
