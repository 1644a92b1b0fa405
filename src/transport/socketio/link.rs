//! Link between a session and the requests that carry it.
//!
//! A polling session lives on the worker that opened it; its requests arrive at any worker. So both sides meet in a
//! [`Link`]: packets of the client in one direction, written bytes in the other. After an upgrade a WebSocket takes the
//! place of the requests. Everything in it is bounded.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::engine::EnginePacket;

mod requests;
mod session;
mod websocket;

pub(super) use session::Ready;

/// Batches of packets that may wait for the session.
const MAX_WAITING: usize = 16;

/// Input from a transport.
pub(super) enum Input {
    /// Packets of the client, in order.
    Packets(Vec<EnginePacket>),
    /// The client broke the protocol of its transport: the session ends.
    Broken(&'static str),
}

/// Framing of the session's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A payload of packets, the body of a poll.
    Payload,
    /// One WebSocket frame for each packet.
    Frames,
}

/// Link between a session and the requests that carry it.
#[derive(Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Default)]
struct State {
    inbox: VecDeque<Input>,
    carrier: Carrier,
    /// Whether a POST is being read.
    is_posting: bool,
    session: Option<Waker>,
    is_closed: bool,
}

/// Carrier of the session's bytes to the client.
#[derive(Default)]
struct Carrier {
    /// Sender to the GET that waits for packets, if there is one.
    poll: Option<oneshot::Sender<Bytes>>,
    /// WebSocket that is probed, or has taken over.
    socket: Option<SocketCarrier>,
}

#[derive(Default)]
struct SocketCarrier {
    /// Whether the client has sent its probe: it stops polling.
    is_probed: bool,
    is_upgraded: bool,
    /// Whether it has ended after the upgrade: what the client sent before is still processed.
    is_lost: bool,
    ready: Option<Bytes>,
    body: Option<Waker>,
}

/// Reason why a request cannot carry the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkError {
    /// The session has ended, or a WebSocket carries it.
    Unusable,
    /// There is such a request already; the session ends.
    Duplicate,
    /// The client sends faster than the session takes its packets.
    Full,
}

impl State {
    /// Ends the session, after the packets that were accepted before.
    fn fail(&mut self, reason: &'static str) {
        if !matches!(self.inbox.back(), Some(Input::Broken(_))) {
            self.inbox.push_back(Input::Broken(reason));
        }
        self.wake_session();
    }

    fn register(&mut self, cx: &Context<'_>) {
        match &mut self.session {
            Some(known) => known.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }

    fn wake_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.wake();
        }
    }
}
