//! Session of one client: heartbeat, namespaces, limits. It knows no request and no socket; `polling` and `websocket`
//! carry its packets.

use std::{rc::Rc, sync::Arc, task::Context, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    codec::{
        engine::EnginePacket,
        packet::{self, Content, Packet},
    },
    config::{MAX_ATTACHMENTS, SocketIoConfig},
    conformance::EchoSession,
    link::Framing,
    namespace::Namespace,
    output::{self, Outgoing, Packets, push},
    recovery::{Hold, Recovery},
    socket::{ClientEvent, Socket},
};
use crate::{
    transport::{
        stream::{
            End,
            rate_limit::{FixedWindow, MessageRate, RateExceeded},
            rpc::InFlight,
        },
        websocket::frame,
    },
    web::{
        access,
        caller::Caller,
        problem::Problem,
        state::{State, StreamSlot},
    },
};
use tricast_auth::Identity;
use tricast_core::{
    counters::Limit,
    pause,
    protocol::close::CloseReason,
    reader::{CatchUp, Reader},
};

/// Bytes of replies that may wait for the client.
const MAX_PENDING: usize = 64 * 1024;

/// Replies that may wait for the client.
const MAX_PENDING_PACKETS: usize = 256;

/// Session of one client.
pub(super) struct Connection {
    state: Rc<State>,
    config: SocketIoConfig,
    sid: Arc<str>,
    caller: Option<Caller>,
    recovery: Arc<Recovery>,
    /// User that holds the connection's permit.
    user: Option<Identity>,
    slot: StreamSlot,
    /// Whether events carry their cursor.
    with_offset: bool,
    /// Wakes the session at its own deadlines and when the server drains.
    timer: Reader,
    packets: Packets,
    sockets: Vec<Socket>,
    connecting: InFlight<Connecting>,
    /// Namespaces whose `CONNECT` is in flight.
    pending: Vec<Namespace>,
    assembly: Option<Assembly>,
    next_ping: Instant,
    pong_until: Option<Instant>,
    /// Time within which the client has to join a namespace.
    connect_until: Option<Instant>,
    pauses: u64,
    rate: MessageRate,
    bad_messages: FixedWindow,
    closing: Option<Closing>,
    /// Whether the client has closed the session by a packet.
    has_left: bool,
    /// Echo in place of the namespaces, for the protocol suites.
    echo: Option<Box<EchoSession>>,
}

/// Result of a handshake.
pub(super) struct Handshake {
    /// Id of the session, which is secret.
    pub(super) sid: Arc<str>,
    /// Identity by the handshake's own credentials, for clients that send no token in `auth`.
    pub(super) caller: Option<Caller>,
    pub(super) slot: StreamSlot,
    /// Whether events carry their cursor, unless the client requests otherwise.
    pub(super) takes_offsets: bool,
}

/// Pending `CONNECT` with a known identity.
struct Connecting {
    namespace: Namespace,
    caller: Result<Caller, Problem>,
    with_offset: bool,
    /// Session that the client wants to recover, and the cursor of the data that it received.
    recovered: Option<(Hold, Option<String>)>,
}

/// A packet that waits for its attachments.
struct Assembly {
    packet: Packet,
    attachments: Vec<Bytes>,
}

/// State of the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The last packets are still to be written.
    Flush(CloseReason),
    /// Nothing is left.
    Done,
}

impl Connection {
    /// Opens a session whose first packets are written in `framing`.
    pub(super) fn open(
        state: Rc<State>,
        config: &SocketIoConfig,
        Handshake { sid, caller, slot, takes_offsets }: Handshake,
        recovery: Arc<Recovery>,
        framing: Framing,
    ) -> Self {
        let now = Instant::now();
        let upgrades = if framing == Framing::Payload { json!(["websocket"]) } else { json!([]) };
        let max_payload = if config.max_payload == 0 { u32::MAX as usize } else { config.max_payload };
        let open = json!({
            "sid": *sid,
            "upgrades": upgrades,
            "pingInterval": config.ping_interval.as_millis() as u64,
            "pingTimeout": config.ping_timeout.as_millis() as u64,
            "maxPayload": max_payload,
        });
        Self {
            timer: Reader::open(state.unauthenticated_hub(), CatchUp::StatesFirst),
            packets: vec![Outgoing::Text(format!("0{open}"))],
            sockets: Vec::new(),
            connecting: InFlight::new(),
            pending: Vec::new(),
            assembly: None,
            next_ping: now + config.ping_interval,
            pong_until: None,
            connect_until: Some(now + config.connect_timeout),
            pauses: pause::count(),
            rate: MessageRate::new(config.messages_per_second, config.message_burst, now),
            bad_messages: FixedWindow::new(now),
            closing: None,
            has_left: false,
            echo: config.echo.map(|echo| Box::new(EchoSession::new(echo))),
            config: *config,
            user: None,
            state,
            sid,
            caller,
            slot,
            with_offset: takes_offsets,
            recovery,
        }
    }

    /// Returns the session's id.
    pub(super) fn sid(&self) -> &Arc<str> {
        &self.sid
    }

    /// Takes a packet of the client.
    pub(super) fn receive(&mut self, packet: EnginePacket) {
        if self.closing.is_some() {
            return;
        }
        match packet {
            EnginePacket::Pong => {
                self.pong_until = None;
                self.next_ping = Instant::now() + self.config.ping_interval;
            }
            EnginePacket::Message(text) if self.echoes_messages() => {
                self.packets.push(Outgoing::Text(format!("4{text}")));
            }
            EnginePacket::Binary(bytes) if self.echoes_messages() => self.packets.push(Outgoing::Binary(bytes)),
            EnginePacket::Message(text) => {
                if self.check_rate() {
                    self.receive_text(&text);
                }
            }
            EnginePacket::Binary(bytes) => self.receive_attachment(bytes),
            EnginePacket::Close => {
                self.has_left = true;
                self.end();
            }
            EnginePacket::Noop => {}
            // A client of protocol 4 does not ping, and an upgrade is handled by the transport.
            EnginePacket::Ping(_) | EnginePacket::Upgrade => self.fail("an unexpected packet"),
        }
    }

    fn echoes_messages(&self) -> bool {
        self.echo.as_ref().is_some_and(|echo| echo.takes_messages())
    }

    /// Returns whether the client has joined a namespace.
    fn has_joined(&self) -> bool {
        !self.sockets.is_empty() || self.echo.as_ref().is_some_and(|echo| echo.has_joined())
    }

    /// Ends the session of a client that disconnected or has left.
    pub(super) fn end(&mut self) {
        self.sockets.clear();
        self.closing = Some(Closing::Done);
    }

    /// Ends the session of a client that broke the protocol.
    pub(super) fn fail(&mut self, reason: &str) {
        tracing::debug!(reason, "a Socket.IO client broke the protocol");
        self.close(CloseReason::ProtocolError);
    }

    /// Closes the connection; the client reconnects by itself.
    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            self.sockets.clear();
            self.closing = Some(Closing::Flush(reason));
        }
    }

    /// Returns whether many replies wait for the client: until it reads them, its next packets are not processed.
    pub(super) fn is_congested(&self) -> bool {
        self.packets.len() > MAX_PENDING_PACKETS || self.packets.iter().map(Outgoing::len).sum::<usize>() > MAX_PENDING
    }

    /// Returns whether nothing more will be written.
    pub(super) fn is_done(&self) -> bool {
        self.closing == Some(Closing::Done)
    }

    /// Returns whether the client has closed the session by a packet.
    pub(super) fn has_left(&self) -> bool {
        self.has_left
    }

    /// Returns whether the session is about to end.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Returns whether a closed session has a last message for its client, in case it polls once more.
    pub(super) fn has_last_message(&self) -> bool {
        match self.closing {
            Some(Closing::Flush(reason)) => !matches!(reason, CloseReason::HeartbeatLost | CloseReason::ProtocolError),
            _ => false,
        }
    }

    /// Completes pending operations, and registers the waker.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(done) = self.connecting.poll_next(cx) {
            if self.closing.is_none() {
                self.finish_connect(done);
            }
        }
        // Results wait in their futures until the client reads the replies before them.
        let takes_results = !self.is_congested();
        for socket in &mut self.sockets {
            socket.poll(cx, takes_results, &mut self.packets);
        }
        self.timer.set_waker(cx.waker());
    }

    /// Returns the next bytes to write in `framing`; `None` if there are none at the moment.
    pub(super) fn next_write(&mut self, now: Instant, framing: Framing) -> Option<Bytes> {
        self.keep_time(now);
        let mut out = Vec::new();
        output::write(&mut out, &mut self.packets, framing);
        if self.closing.is_none() {
            for socket in &mut self.sockets {
                let written = socket.advance(now, framing, &mut out, &mut self.packets);
                match (written, framing) {
                    (None, _) => {}
                    // The next socket has its turn with the next write.
                    (Some(bytes), Framing::Frames) => {
                        self.settle();
                        return Some(bytes);
                    }
                    (Some(bytes), Framing::Payload) => out = bytes.into(),
                }
            }
            self.settle();
            output::write(&mut out, &mut self.packets, framing);
        }
        if let Some(Closing::Flush(reason)) = self.closing {
            match framing {
                // A late poll is refused like one of an unknown session.
                Framing::Payload if reason == CloseReason::HeartbeatLost => out.clear(),
                Framing::Payload => {
                    self.packets.push(Outgoing::Text("1".into()));
                    output::write(&mut out, &mut self.packets, framing);
                }
                Framing::Frames => frame::write_close(&mut out, reason.code(), reason.text()),
            }
            self.closing = Some(Closing::Done);
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// Sets the timers to the next time at which [`Connection::next_write`] has something to do, and to `also`.
    pub(super) fn arm(&mut self, also: Option<Instant>) {
        self.sockets.iter_mut().for_each(Socket::arm);
        let ping = self.pong_until.unwrap_or(self.next_ping);
        let connect = self.connect_until.filter(|_| !self.has_joined());
        let deadlines = [Some(ping), connect, also];
        if let Some(deadline) = deadlines.into_iter().flatten().min() {
            self.timer.set_deadline(deadline);
        }
    }

    /// Handles heartbeat, timeouts, and the end of the server.
    pub(super) fn keep_time(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        let pauses = pause::count();
        if self.pauses != pauses {
            // Data that the client sent during the pause may not have arrived yet.
            self.pauses = pauses;
            self.pong_until = self.pong_until.map(|_| now + self.config.ping_timeout);
            self.connect_until = self.connect_until.map(|_| now + self.config.connect_timeout);
        }
        if self.pong_until.is_some_and(|until| now >= until) {
            return self.close(CloseReason::HeartbeatLost);
        }
        if self.connect_until.is_some_and(|until| now >= until) && !self.has_joined() {
            self.state.shared.counters.limit(Limit::AuthTimeout).inc();
            return self.close(CloseReason::TokenExpired);
        }
        if self.pong_until.is_none() && now >= self.next_ping {
            self.sockets.iter_mut().for_each(|socket| socket.renew(now));
            self.packets.push(Outgoing::Text("2".into()));
            // From the time at which the ping was due, unless this server was late by more than the client can make up for.
            let timeout = self.config.ping_timeout;
            self.pong_until = Some((self.next_ping + timeout).max(now + timeout / 2));
        }
        if self.sockets.is_empty() && self.timer.hub().is_draining() {
            self.close(CloseReason::GoingAway);
        }
    }

    /// Processes events of the sockets' streams: ends, and bad messages.
    fn settle(&mut self) {
        let mut reason = None;
        let packets = &mut self.packets;
        let mut bad = 0;
        self.sockets.retain_mut(|socket| {
            bad += std::mem::take(&mut socket.bad_messages);
            let Some(end) = socket.end else { return true };
            let namespace = socket.namespace;
            match end {
                End::Draining(after) | End::Retired(after) | End::TooSlow(after) => {
                    let why = match end {
                        End::Draining(_) => "SERVER_MAINTENANCE",
                        End::Retired(_) => "CONNECTION_AGE",
                        _ => "TOO_SLOW",
                    };
                    let after = (after.as_secs_f64() * 1e3).round() / 1e3;
                    let notice = json!({"reason": why, "reconnectAfter": after});
                    output::push_event(packets, namespace, output::GOING_AWAY, &notice);
                    reason = Some(if why == "TOO_SLOW" { CloseReason::TooSlow } else { CloseReason::GoingAway });
                }
                End::TokenExpired | End::AuthTimeout => {
                    let code = if namespace == Namespace::Tricast { "UNAUTHORIZED" } else { "ANALYTICS_1101" };
                    let error = json!({"code": code, "message": "the token has expired"});
                    output::push_event(packets, namespace, "error", &error);
                    push(packets, '1', namespace.as_str(), None, "");
                    socket.forget();
                }
            }
            false
        });
        self.note_bad_messages(bad);
        if let Some(reason) = reason {
            self.close(reason);
        }
        self.await_connect();
    }

    /// Gives a client without a namespace the time to join one.
    fn await_connect(&mut self) {
        if !self.has_joined() && self.connect_until.is_none() {
            self.connect_until = Some(Instant::now() + self.config.connect_timeout);
        }
    }

    fn note_bad_messages(&mut self, number: usize) {
        for _ in 0..number {
            self.state.shared.counters.bad_messages.inc();
            let limit = self.config.max_bad_messages;
            if self.bad_messages.count() >= limit && limit > 0 {
                self.state.shared.counters.limit(Limit::BadMessages).inc();
                self.close(CloseReason::TooManyBadMessages);
            }
        }
    }

    /// Counts a message; false if it exceeds the rate limit.
    fn check_rate(&mut self) -> bool {
        match self.rate.check() {
            Ok(()) => true,
            Err(exceeded) => {
                self.state.shared.counters.limit(Limit::Messages).inc();
                match exceeded {
                    RateExceeded::Close => self.close(CloseReason::RateLimited),
                    RateExceeded::Wait(wait) => self.refuse_rate(wait),
                }
                false
            }
        }
    }

    fn refuse_rate(&mut self, wait: Duration) {
        let retry_after = wait.as_millis() as u64 + 1;
        for socket in &self.sockets {
            let code = if socket.namespace == Namespace::Tricast { "RATE_LIMITED" } else { "ANALYTICS_1103" };
            let message = "too many messages: wait a moment";
            let error = json!({"code": code, "message": message, "details": {"retryAfter": retry_after}});
            output::push_event(&mut self.packets, socket.namespace, "error", &error);
        }
    }

    fn receive_text(&mut self, text: &str) {
        if self.assembly.is_some() {
            return self.fail("text instead of an attachment");
        }
        match packet::parse(text, MAX_ATTACHMENTS) {
            Err(error) => self.fail(&error.to_string()),
            Ok(packet) if packet.attachments > 0 => {
                self.assembly = Some(Assembly { packet, attachments: Vec::new() });
            }
            Ok(packet) => self.handle(packet, Vec::new()),
        }
    }

    fn receive_attachment(&mut self, bytes: Bytes) {
        let Some(mut assembly) = self.assembly.take() else { return self.fail("an attachment of nothing") };
        let held: usize = assembly.attachments.iter().map(Bytes::len).sum();
        if self.config.max_payload > 0 && held + bytes.len() > self.config.max_payload {
            self.state.shared.counters.limit(Limit::Message).inc();
            return self.close(CloseReason::TooBig);
        }
        assembly.attachments.push(bytes);
        if assembly.attachments.len() < assembly.packet.attachments {
            self.assembly = Some(assembly);
        } else if self.check_rate() {
            self.handle(assembly.packet, assembly.attachments);
        }
    }

    fn handle(&mut self, packet: Packet, attachments: Vec<Bytes>) {
        if let Some(echo) = &mut self.echo {
            if !echo.handle(packet, attachments, &mut self.packets) {
                self.fail("a packet of a namespace that was not joined");
            }
            return;
        }
        let Packet { namespace: name, ack, content, .. } = packet;
        let namespace = Namespace::parse(&name);
        let socket = self.sockets.iter_mut().position(|socket| Some(socket.namespace) == namespace);
        match (content, namespace, socket) {
            (Content::Connect(_), None, _) => {
                push(&mut self.packets, '4', &name, None, r#"{"message":"Invalid namespace"}"#);
            }
            // A second one is ignored, as by Socket.IO itself.
            (Content::Connect(_), Some(_), Some(_)) => {}
            (Content::Connect(auth), Some(namespace), None) => self.connect(namespace, auth.unwrap_or_default()),
            (Content::Disconnect, Some(_), Some(socket)) => {
                self.sockets.remove(socket).forget();
                self.await_connect();
            }
            (Content::Event(event), Some(_), Some(socket)) => {
                let mut arguments = event.into_iter();
                let name = match arguments.next() {
                    Some(Value::String(name)) => name,
                    Some(other) => other.to_string(),
                    None => return,
                };
                let mut arguments: Vec<Value> = arguments.collect();
                if !attachments.is_empty() {
                    // No event accepts binary data; the event is refused because of its argument.
                    arguments.iter_mut().for_each(remove_placeholders);
                }
                self.sockets[socket].handle(ClientEvent { name, arguments, ack }, &mut self.packets);
                self.settle();
            }
            // The server requests no acknowledgements.
            (Content::Ack(_), Some(_), Some(_)) => {}
            // The client left, or its CONNECT is in flight: earlier packets are ignored.
            (Content::Disconnect, ..) => {}
            (_, Some(namespace), None) if self.pending.contains(&namespace) => {}
            _ => self.fail("a packet of a namespace that was not joined"),
        }
    }

    fn connect(&mut self, namespace: Namespace, auth: Map<String, Value>) {
        if self.pending.contains(&namespace) {
            return;
        }
        self.pending.push(namespace);
        let state = Rc::clone(&self.state);
        let address = self.slot.client();
        let handshake = self.caller.clone();
        let with_offset = auth.get("recovery").and_then(Value::as_bool).unwrap_or(self.with_offset);
        let recovery = with_offset.then(|| Arc::clone(&self.recovery));
        self.connecting.push(async move {
            let caller = identify(&state, &auth, handshake, address).await;
            let recovered = match (&caller, recovery) {
                (Ok(caller), Some(recovery)) => recover(&state, &recovery, caller, namespace, &auth).await,
                _ => None,
            };
            Connecting { namespace, caller, with_offset, recovered }
        });
    }

    fn finish_connect(&mut self, done: Connecting) {
        let Connecting { namespace, caller, with_offset, recovered } = done;
        self.pending.retain(|pending| *pending != namespace);
        let admitted = caller.and_then(|caller| self.admit(&caller).map(|()| caller));
        let caller = match admitted {
            Ok(caller) => caller,
            Err(Problem { code, detail, retry_after, .. }) => {
                let mut error = json!({"message": detail, "data": {"code": code, "message": detail}});
                if let Some(after) = retry_after {
                    error["data"]["retryAfter"] = (after.as_millis() as u64).into();
                }
                push(&mut self.packets, '4', namespace.as_str(), None, &error.to_string());
                return self.await_connect();
            }
        };
        let state = Rc::clone(&self.state);
        let restored = recovered.and_then(|(hold, offset)| {
            Socket::restore(namespace, Rc::clone(&state), &self.config, &caller, hold, offset.as_deref())
        });
        if let Some(socket) = restored {
            push(&mut self.packets, '0', namespace.as_str(), None, &socket.connected().to_string());
            self.sockets.push(socket);
        } else {
            // Not the session's ID, which is secret: a client that knows it can act as this one.
            let sid = state.new_id();
            let mut socket = Socket::open(namespace, state, &self.config, caller, sid, with_offset);
            if with_offset {
                socket.keep(&self.recovery);
            }
            push(&mut self.packets, '0', namespace.as_str(), None, &socket.connected().to_string());
            socket.join(&mut self.packets);
            self.sockets.push(socket);
        }
        self.connect_until = None;
    }

    /// Takes one of the user's connection permits, once for all namespaces.
    fn admit(&mut self, caller: &Caller) -> Result<(), Problem> {
        match &self.user {
            Some(user) if user.is_same_user(&caller.identity) => Ok(()),
            Some(_) => Err(Problem::forbidden("this connection is of another user: open one of its own")),
            None => {
                self.state.attribute_stream(&mut self.slot, caller)?;
                self.user = Some(caller.identity.clone());
                Ok(())
            }
        }
    }
}

/// Returns the identity of a `CONNECT`: by `auth.token`, or by the credentials of the handshake.
async fn identify(
    state: &State,
    auth: &Map<String, Value>,
    handshake: Option<Caller>,
    address: Option<std::net::IpAddr>,
) -> Result<Caller, Problem> {
    match auth.get("token") {
        Some(Value::String(token)) if state.shared.access.verifier.is_some() => {
            let identity = access::verify(state, token).await.map_err(access::token_problem)?;
            state.caller(identity.with_address(address))
        }
        None | Some(Value::Null | Value::String(_)) => match handshake {
            Some(caller) => Ok(caller),
            None => Err(Problem::unauthorized(None, "authentication is required: send a token in auth.token")),
        },
        Some(_) => Err(Problem::unauthorized(None, "auth.token has to be a string")),
    }
}

/// Returns the session that a `CONNECT` requests by `pid`, with the cursor of the data that its client received. This
/// node has then read up to that cursor.
async fn recover(
    state: &State,
    recovery: &Arc<Recovery>,
    caller: &Caller,
    namespace: Namespace,
    auth: &Map<String, Value>,
) -> Option<(Hold, Option<String>)> {
    let pid = auth.get("pid")?.as_str()?;
    let offset = auth.get("offset").and_then(Value::as_str).map(str::to_owned);
    let cluster = state.shared.tenants.cluster();
    let hold = recovery.restore(cluster, pid, namespace.as_str(), &caller.identity).await?;
    let log = &caller.tenant.log;
    let cursors = offset.iter().chain(hold.saved().subscriptions.iter().map(|subscription| &subscription.since));
    for ahead in cursors.filter_map(|cursor| state.shared.tenants.ahead(log, cursor)).collect::<Vec<_>>() {
        state.shared.tenants.catch_up(log, &ahead).await.ok()?;
    }
    Some((hold, offset))
}

/// Replaces the placeholders of attachments by `null`.
fn remove_placeholders(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => *value = Value::Null,
        Value::Object(fields) => fields.values_mut().for_each(remove_placeholders),
        Value::Array(items) => items.iter_mut().for_each(remove_placeholders),
        _ => {}
    }
}
