//! Session of one client: heartbeat, namespaces, limits. It knows no request and no socket; `polling` and `websocket`
//! carry its packets.

use std::{
    rc::{Rc, Weak},
    sync::Arc,
    task::Context,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{
    config::SocketIoConfig,
    conformance::EchoSession,
    link::Framing,
    namespace::Namespace,
    output::{self, Outgoing, Packets},
    recovery::Recovery,
    socket::Socket,
};
use crate::{
    transport::{
        stream::{
            rate_limit::{FixedWindow, MessageRate},
            rpc::InFlight,
        },
        websocket::frame,
    },
    web::{
        caller::Caller,
        state::{State, StreamSlot},
        upgrade::Delivery,
    },
};
use tricast_auth::Identity;
use tricast_core::{
    hub::{Deliver, Pass},
    pause,
    protocol::close::CloseReason,
    reader::{CatchUp, Reader},
};

mod end;
mod join;
mod limits;
mod receive;
mod time;

use end::Closing;
use join::Connecting;
use receive::Assembly;

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
    /// Namespaces whose `CONNECT` is in flight, with its number.
    pending: Vec<(Namespace, u64)>,
    /// Number of `CONNECT`s so far.
    connects: u64,
    assembly: Option<Assembly>,
    next_ping: Instant,
    pong_until: Option<Instant>,
    /// Time within which the client has to join a namespace.
    connect_until: Option<Instant>,
    pauses: u64,
    rate: MessageRate,
    bad_messages: FixedWindow,
    closing: Option<Closing>,
    /// Returns whether the client has closed the session by a packet.
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
        let limits = &state.shared.limits;
        let max_payload = if limits.max_message.0 == 0 { u32::MAX as usize } else { limits.max_message.0 };
        let open = json!({
            "sid": *sid,
            "upgrades": upgrades,
            "pingInterval": config.heartbeat.interval.0.as_millis() as u64,
            "pingTimeout": config.ping_timeout().as_millis() as u64,
            "maxPayload": max_payload,
        });
        Self {
            timer: Reader::open(state.unauthenticated_hub(), CatchUp::StatesFirst),
            packets: vec![Outgoing::Text(format!("0{open}"))],
            sockets: Vec::new(),
            connecting: InFlight::new(),
            pending: Vec::new(),
            connects: 0,
            assembly: None,
            next_ping: now + config.heartbeat.interval.0,
            pong_until: None,
            connect_until: time::connect_until(limits, now),
            pauses: pause::count(),
            rate: MessageRate::new(limits.messages_per_second, limits.message_burst, now),
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

    /// Returns whether the client has joined a namespace.
    fn has_joined(&self) -> bool {
        !self.sockets.is_empty() || self.echo.as_ref().is_some_and(|echo| echo.has_joined())
    }

    /// Returns whether many replies wait for the client: until it reads them, its next packets are not processed.
    pub(super) fn is_congested(&self) -> bool {
        self.packets.len() > MAX_PENDING_PACKETS || self.packets.iter().map(Outgoing::len).sum::<usize>() > MAX_PENDING
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

    /// Sets what the hub calls when data is due for a WebSocket.
    pub(super) fn set_deliver(&self, deliver: &Weak<dyn Deliver>) {
        self.sockets.iter().for_each(|socket| socket.set_deliver(deliver));
    }

    /// Returns the due data for a WebSocket: that of one stream, as each of them has its turn.
    pub(super) fn deliver(&mut self, pass: &Pass) -> Delivery {
        if self.closing.is_some() || !self.packets.is_empty() {
            return Delivery::by_the_task();
        }
        let packets = &mut self.packets;
        self.sockets.iter_mut().find_map(|socket| socket.deliver(pass, packets)).unwrap_or_else(Delivery::by_the_task)
    }

    /// Returns whether there are packets or due data to write.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.packets.is_empty() || self.sockets.iter().any(Socket::is_unfinished)
    }

    /// Returns the next bytes to write in `framing`; `None` if there are none at the moment.
    pub(super) fn next_write(&mut self, pass: &Pass, framing: Framing) -> Option<Bytes> {
        self.keep_time(pass.now);
        let mut out = Vec::new();
        output::write(&mut out, &mut self.packets, framing);
        if self.closing.is_none() {
            for socket in &mut self.sockets {
                let written = socket.advance(pass, framing, &mut out, &mut self.packets);
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
}
