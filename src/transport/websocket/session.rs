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
    commands::{self, Command, Message, Rejection, Wanted},
    config::WebSocketConfig,
    frame::{self, Decoder, Incoming},
    heartbeat::{Heartbeat, PING_PAYLOAD},
};
use crate::{
    auth::{self, Identity},
    core::{
        channel::{Channel, Selector},
        clock::rfc3339,
        interval::format_interval,
        position::Position,
        publication::Publication,
        reader::{CatchUp, Reader},
        resume::{Resume, resume},
    },
    counters::Transport,
    http::state::{State, StreamSlot},
    protocol::{
        SERVER_VERSION,
        close::CloseReason,
        error::Code,
        message::{self, RequestId, ServerMessage, SubscribedChannel},
        slot,
    },
    shutdown::reconnect_after,
    transport::outbox::{Format, Told, tell},
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
    state: Rc<State>,
    config: WebSocketConfig,
    identity: Identity,
    payload: dev::Payload,
    decoder: Decoder,
    reader: Reader,
    /// Ready frames: answers, pings, the close.
    out: Vec<u8>,
    compress: bool,
    heartbeat: Heartbeat,
    bad_messages: BadMessages,
    /// When the connection is old enough to be sent away.
    retire_at: Option<Instant>,
    closing: Option<Closing>,
    /// Events are left for the next write.
    more: bool,
    /// The server drains, and what was due is told.
    told_last: bool,
    _slot: StreamSlot,
}

struct BadMessages {
    since: Instant,
    count: usize,
}

enum Closing {
    /// Our close frame is out; the peer has until then to answer.
    Sent { until: Instant },
    /// Nothing more to do once `out` is written.
    Done,
}

impl Session {
    /// A session that has just been upgraded. Greets the client.
    pub(super) fn open(
        state: Rc<State>,
        config: WebSocketConfig,
        identity: Identity,
        payload: dev::Payload,
        compression: Compression,
        stream_slot: StreamSlot,
    ) -> Self {
        let now = Instant::now();
        let reader = Reader::open(&state.hub, CatchUp::StatesFirst);
        let mut session = Self {
            decoder: Decoder::new(config.max_message, compression != Compression::None),
            reader,
            out: Vec::new(),
            compress: compression == Compression::Both,
            heartbeat: Heartbeat::new(config.heartbeat_interval, config.heartbeat_timeout, now),
            bad_messages: BadMessages { since: now, count: 0 },
            retire_at: state.retire_after().map(|age| now + age),
            closing: None,
            more: false,
            told_last: false,
            config,
            identity,
            payload,
            state,
            _slot: stream_slot,
        };
        let connected = ServerMessage::Connected {
            connection_id: &session.state.new_id(),
            timestamp: session.now(),
            server_version: SERVER_VERSION,
            capabilities: &auth::capabilities(&session.identity),
            cursor: session.state.log.position().to_string(),
            heartbeat_interval: config.heartbeat_interval.as_millis() as u64,
        };
        session.say(&connected);
        session
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.reader.set_waker(cx.waker());
        self.hear(cx);
        self.keep_time();
        if self.closing.is_none() {
            // What was accepted before the end is still told, for nobody could ask for it later: one last time.
            let last = self.state.hub.is_draining();
            let told = if self.told_last || !self.reader.has_due() { None } else { self.tell() };
            self.told_last = last && !self.more;
            if let Some(bytes) = told {
                return Poll::Ready(Some(bytes));
            }
            if last {
                self.send_away("SERVER_MAINTENANCE", "the server is going away, come back");
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
        loop {
            match self.decoder.next_message() {
                Ok(Some(incoming)) => {
                    self.take(incoming);
                    handled += 1;
                }
                Ok(None) => match Pin::new(&mut self.payload).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        self.heartbeat.seen();
                        self.decoder.feed(&bytes);
                    }
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
        match incoming {
            Incoming::Text(text) => match commands::parse(&text) {
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

    fn carry_out(&mut self, Message { request_id, command }: Message) {
        match command {
            Command::Subscribe { channels, since } => self.subscribe(request_id, channels, since),
            Command::Unsubscribe(names) => {
                if let Some(channels) = self.each(&request_id, names, Reader::unsubscribe) {
                    let active_subscriptions = self.reader.active();
                    self.say(&ServerMessage::Unsubscribed { request_id, channels, active_subscriptions });
                }
            }
            Command::Pause(names) => {
                if let Some(channels) = self.each(&request_id, names, Reader::pause) {
                    self.say(&ServerMessage::Paused { request_id, channels, reason: "requested" });
                }
            }
            Command::Resume(names) => {
                if let Some(channels) = self.each(&request_id, names, Reader::resume) {
                    self.say(&ServerMessage::Resumed { request_id, channels, reason: "requested" });
                }
            }
            Command::Ping => {
                let latency = self.heartbeat.latency_ms();
                let timestamp = self.now();
                self.say(&ServerMessage::Pong { request_id, latency, timestamp });
            }
            Command::Pong(timestamp) => self.heartbeat.pong_message(timestamp.as_ref()),
            Command::Configure { interval, timeout } => {
                let settings = self.heartbeat.configure(interval, timeout);
                self.say(&ServerMessage::Configured { request_id, settings });
            }
            Command::Disconnect => {
                self.say(&ServerMessage::Disconnecting {
                    reason: "CLIENT_REQUEST",
                    message: "good-bye",
                    reconnect_after: None,
                });
                self.close(CloseReason::Normal);
            }
            Command::Request { action, params } => self.request(request_id, &action, &params),
            Command::Authenticate => self.reject(Rejection {
                request_id,
                code: Code::InvalidMessage,
                message: "this server runs without authentication: go on without a token".into(),
            }),
        }
    }

    fn subscribe(&mut self, request_id: Option<RequestId>, channels: Vec<Wanted>, since: Option<String>) {
        let limit = self.config.max_subscriptions;
        // More than a connection may have are denied anyway.
        let most = if limit > 0 { limit } else { usize::MAX };
        let parsed = channels.iter().filter_map(|w| w.parsed.as_ref().ok());
        let selectors: Vec<Selector> = parsed.map(|(selector, _)| selector.clone()).take(most).collect();
        let resumed = since.map(|cursor| resume(&self.state.log, &cursor, &selectors));
        let from: Option<&Position> = resumed.as_ref().map(|(_, position)| position);
        let mut lines = Vec::with_capacity(channels.len());
        for Wanted { name, parsed } in channels {
            let denied = |name, code, message: String| SubscribedChannel {
                name,
                status: "denied",
                code: Some(code),
                message: Some(message),
                interval: None,
            };
            lines.push(match parsed {
                Err(error) => denied(name, Code::InvalidMessage, error.to_string()),
                Ok((selector, _)) if !self.may_read(&selector) => {
                    denied(name, Code::Forbidden, "this token may not read it".into())
                }
                Ok((selector, _))
                    if limit > 0 && self.reader.active() >= limit && !self.reader.is_subscribed(&selector) =>
                {
                    denied(name, Code::SubscriptionLimit, format!("a connection has at most {limit} subscriptions"))
                }
                Ok((selector, interval)) => {
                    self.reader.subscribe(selector, interval, from);
                    let interval = (!interval.is_zero()).then(|| format_interval(interval));
                    SubscribedChannel { name, status: "active", code: None, message: None, interval }
                }
            });
        }
        let (resume, reason) = match resumed {
            None => (None, None),
            Some((Resume::Reset(reason), _)) => (Some("reset"), Some(reason.as_str())),
            Some((Resume::Replay(_), _)) if self.only_states(&selectors) => (Some("snapshot"), None),
            Some((Resume::Replay(_), _)) => (Some("replayed"), None),
        };
        let active_subscriptions = self.reader.active();
        self.say(&ServerMessage::Subscribed { request_id, channels: lines, active_subscriptions, resume, reason });
    }

    fn only_states(&self, selectors: &[Selector]) -> bool {
        selectors.iter().all(|selector| match selector {
            Selector::Exact(channel) => self.state.log.kind(channel) == Some(crate::core::channel::ChannelKind::State),
            Selector::Below(_) => false,
        })
    }

    fn may_read(&self, selector: &Selector) -> bool {
        auth::reading(selector).is_none_or(|permission| self.identity.may(permission))
    }

    /// Does something to each subscription named; a name that is not subscribed refuses the whole message.
    fn each(
        &mut self,
        request_id: &Option<RequestId>,
        names: Vec<String>,
        act: fn(&mut Reader, &Selector) -> bool,
    ) -> Option<Vec<String>> {
        let parsed = names.iter().map(|name| {
            let selector = Selector::parse(name).map_err(|error| (Code::InvalidMessage, error.to_string()))?;
            if self.reader.is_subscribed(&selector) {
                Ok(selector)
            } else {
                Err((Code::ResourceNotFound, format!("{selector} is not subscribed")))
            }
        });
        match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(selectors) => {
                for selector in &selectors {
                    act(&mut self.reader, selector);
                }
                Some(names)
            }
            Err((code, message)) => {
                self.reject(Rejection { request_id: request_id.clone(), code, message });
                None
            }
        }
    }

    fn request(
        &mut self,
        request_id: Option<RequestId>,
        action: &str,
        params: &serde_json::Map<String, serde_json::Value>,
    ) {
        match super::actions::answer(&self.state, &self.identity, action, params) {
            Ok(data) => {
                let request_id = request_id.unwrap_or_default();
                self.say(&ServerMessage::Response { request_id, status: "success", data });
            }
            Err((code, message)) => self.reject(Rejection { request_id, code, message }),
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        self.state.counters.bad_messages.inc();
        let Rejection { request_id, code, message } = rejection;
        self.say(&ServerMessage::Error { request_id, code, message: &message, details: None });
        if code != Code::InvalidMessage {
            // Understood, and refused: that is no bad message.
            return;
        }
        let limit = self.config.max_bad_messages;
        let bad = &mut self.bad_messages;
        if bad.since.elapsed() > Duration::from_secs(60) {
            *bad = BadMessages { since: Instant::now(), count: 0 };
        }
        bad.count += 1;
        if limit > 0 && bad.count >= limit {
            self.close(CloseReason::TooManyBadMessages);
        }
    }

    /// Pings, time-outs, and the end of a connection that is old enough.
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
        if self.heartbeat.is_lost(now) {
            return self.close(CloseReason::HeartbeatLost);
        }
        if self.retire_at.is_some_and(|at| now >= at) {
            return self.send_away("CONNECTION_AGE", "this connection is old enough, open a new one");
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
            _ => {
                let heartbeat = self.heartbeat.deadline();
                self.retire_at.map_or(heartbeat, |at| at.min(heartbeat))
            }
        }
    }

    /// Everything that is due, in one piece, behind the answers that wait.
    fn tell(&mut self) -> Option<Bytes> {
        let counters = self.state.counters.of(Transport::WebSocket);
        let format = Frames { compress: self.compress };
        let Told { bytes, more } = tell(&mut self.reader, BUDGET, std::mem::take(&mut self.out), counters, &format);
        self.more = more;
        bytes
    }

    fn send_away(&mut self, reason: &str, message: &str) {
        let reconnect_after = Some((reconnect_after().as_secs_f64() * 1e3).round() / 1e3);
        self.say(&ServerMessage::Disconnecting { reason, message, reconnect_after });
        self.close(CloseReason::GoingAway);
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            frame::write_close(&mut self.out, reason.code(), reason.text());
            self.closing = Some(Closing::Sent { until: Instant::now() + CLOSE_WAIT });
        }
    }

    fn say(&mut self, message: &ServerMessage<'_>) {
        frame::write_text(&mut self.out, &message.to_json(), self.compress);
    }

    fn now(&self) -> String {
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
