//! Link between a session and the requests that carry it.
//!
//! A polling session lives on the worker that opened it; its requests arrive at any worker. So both sides meet in a
//! [`Link`]: packets of the client in one direction, written bytes in the other. After an upgrade a WebSocket takes the
//! place of the requests. Everything in it is bounded.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{codec::engine::EnginePacket, recovery::Recovery};

/// Batches of packets that may wait for the session.
const MAX_WAITING: usize = 16;

/// Input from a transport.
pub(super) enum Input {
    /// Packets of the client, in order.
    Packets(Vec<EnginePacket>),
    /// The client broke the protocol of its transport, or went away: the session ends.
    Broken(&'static str),
}

/// Framing of the session's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A payload of packets, the body of a poll.
    Payload,
    /// WebSocket frames.
    Frames,
}

/// Sessions of this server by ID. Shared by all workers.
#[derive(Default)]
pub struct Registry {
    links: Mutex<HashMap<Arc<str>, Arc<Link>>>,
    pub(super) recovery: Arc<Recovery>,
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
    /// Waiting GET.
    poll: Option<oneshot::Sender<Bytes>>,
    /// WebSocket that is probed, or has taken over.
    socket: Option<SocketCarrier>,
}

#[derive(Default)]
struct SocketCarrier {
    /// Whether the client has sent its probe: it stops polling.
    is_probed: bool,
    is_upgraded: bool,
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

impl Registry {
    pub(super) fn insert(&self, sid: Arc<str>, link: Arc<Link>) {
        self.links.lock().insert(sid, link);
    }

    pub(super) fn remove(&self, sid: &str) {
        self.links.lock().remove(sid);
    }

    pub(super) fn get(&self, sid: &str) -> Option<Arc<Link>> {
        self.links.lock().get(sid).cloned()
    }
}

/// POST that is being read; the next one is possible after it.
pub(super) struct Posting<'a>(&'a Link);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.0.lock().is_posting = false;
    }
}

impl Posting<'_> {
    /// Passes the packets to the session.
    ///
    /// # Errors
    /// [`LinkError::Unusable`], [`LinkError::Full`].
    pub(super) fn send(&self, input: Input) -> Result<(), LinkError> {
        self.0.send(input)
    }
}

impl Link {
    /// Registers a GET and returns the receiver of its payload, which is dropped when the session ends.
    ///
    /// # Errors
    /// [`LinkError`]; a second GET also ends the session.
    pub(super) fn poll(&self) -> Result<oneshot::Receiver<Bytes>, LinkError> {
        let mut state = self.0.lock();
        if state.is_closed || state.carrier.socket.as_ref().is_some_and(|socket| socket.is_upgraded) {
            return Err(LinkError::Unusable);
        }
        if state.carrier.poll.is_some() {
            state.fail("two polls at once");
            return Err(LinkError::Duplicate);
        }
        let (sender, receiver) = oneshot::channel();
        state.carrier.poll = Some(sender);
        state.wake_session();
        Ok(receiver)
    }

    /// Registers a POST.
    ///
    /// # Errors
    /// [`LinkError`]; a second POST also ends the session.
    pub(super) fn post(&self) -> Result<Posting<'_>, LinkError> {
        let mut state = self.0.lock();
        if state.is_closed || state.carrier.socket.as_ref().is_some_and(|socket| socket.is_upgraded) {
            return Err(LinkError::Unusable);
        }
        if state.is_posting {
            state.fail("two posts at once");
            return Err(LinkError::Duplicate);
        }
        state.is_posting = true;
        drop(state);
        Ok(Posting(self))
    }

    fn send(&self, input: Input) -> Result<(), LinkError> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(LinkError::Unusable);
        }
        if state.inbox.len() >= MAX_WAITING {
            return Err(LinkError::Full);
        }
        state.inbox.push_back(input);
        state.wake_session();
        Ok(())
    }

    /// Attaches a WebSocket to be probed; false if there is one already, or the session has ended.
    pub(super) fn attach(&self) -> bool {
        let mut state = self.0.lock();
        if state.is_closed || state.carrier.socket.is_some() {
            return false;
        }
        state.carrier.socket = Some(SocketCarrier::default());
        true
    }

    /// Records that the client has probed the WebSocket: polls are released, and data wait for the upgrade.
    pub(super) fn probe(&self) {
        let mut state = self.0.lock();
        if let Some(socket) = &mut state.carrier.socket {
            socket.is_probed = true;
        }
        state.wake_session();
    }

    /// Ends a failed probe; the session stays with polling.
    pub(super) fn end_probe(&self) {
        let mut state = self.0.lock();
        if state.carrier.socket.as_ref().is_some_and(|socket| !socket.is_upgraded) {
            state.carrier.socket = None;
            state.wake_session();
        }
    }

    /// Completes the upgrade: from now on the WebSocket carries the session.
    pub(super) fn upgrade(&self) {
        let mut state = self.0.lock();
        if let Some(socket) = &mut state.carrier.socket {
            socket.is_upgraded = true;
        }
        state.wake_session();
    }

    /// Passes packets to the session, for the WebSocket; `Pending` if too many wait.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, input: &mut Option<Input>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.inbox.len() >= MAX_WAITING && !state.is_closed {
            if let Some(socket) = &mut state.carrier.socket {
                socket.body = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if let Some(input) = input.take()
            && !state.is_closed
        {
            state.inbox.push_back(input);
            state.wake_session();
        }
        Poll::Ready(())
    }

    /// Returns the next bytes to write, for the WebSocket; `None` at the end of the session.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.0.lock();
        let is_closed = state.is_closed;
        let Some(socket) = &mut state.carrier.socket else { return Poll::Ready(None) };
        match socket.ready.take() {
            Some(bytes) => {
                state.wake_session();
                Poll::Ready(Some(bytes))
            }
            None if is_closed => Poll::Ready(None),
            None => {
                socket.body = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ends the session because the WebSocket's client disconnected.
    pub(super) fn lose(&self) {
        self.0.lock().fail("the WebSocket was closed");
    }

    /// Returns the next input, for the session.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Input> {
        let mut state = self.0.lock();
        state.register(cx);
        let input = state.inbox.pop_front();
        if input.is_some()
            && let Some(socket) = &mut state.carrier.socket
            && let Some(body) = socket.body.take()
        {
            body.wake();
        }
        input
    }

    /// Returns the carrier that accepts bytes now, for the session. Notices an aborted GET.
    pub(super) fn ready(&self, cx: &mut Context<'_>) -> Ready {
        let mut state = self.0.lock();
        state.register(cx);
        if let Some(poll) = &mut state.carrier.poll
            && poll.poll_closed(cx).is_ready()
        {
            state.carrier.poll = None;
            return Ready::Aborted;
        }
        let has_poll = state.carrier.poll.is_some();
        match &state.carrier.socket {
            Some(SocketCarrier { is_upgraded: true, .. }) if has_poll => Ready::LastPoll,
            Some(SocketCarrier { is_upgraded: true, ready: None, .. }) => Ready::For(Framing::Frames),
            Some(SocketCarrier { is_upgraded: true, .. }) => Ready::Busy(Framing::Frames),
            Some(SocketCarrier { is_probed: true, .. }) => Ready::Probing { has_poll },
            _ if has_poll => Ready::For(Framing::Payload),
            _ => Ready::Busy(Framing::Payload),
        }
    }

    /// Writes the bytes to the ready carrier, for the session.
    pub(super) fn write(&self, bytes: Bytes) {
        let mut state = self.0.lock();
        if let Some(poll) = state.carrier.poll.take() {
            // A client that aborted at this moment is noticed at its next request.
            drop(poll.send(bytes));
        } else if let Some(socket) = &mut state.carrier.socket {
            socket.ready = Some(bytes);
            if let Some(body) = socket.body.take() {
                body.wake();
            }
        }
    }

    /// Ends the link, for the session.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        state.inbox.clear();
        state.carrier.poll = None;
        if let Some(socket) = &mut state.carrier.socket
            && let Some(body) = socket.body.take()
        {
            body.wake();
        }
    }
}

/// Readiness of a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Bytes in this framing.
    For(Framing),
    /// Nothing at the moment; later in this framing.
    Busy(Framing),
    /// A WebSocket is probed: data waits, and a GET is released by a packet without content.
    Probing {
        /// A GET waits.
        has_poll: bool,
    },
    /// The WebSocket has taken over, and a GET is still open.
    LastPoll,
    /// The client gave up its GET.
    Aborted,
}

impl State {
    /// Ends the session and everything that waits for it.
    fn fail(&mut self, reason: &'static str) {
        self.inbox.clear();
        self.inbox.push_back(Input::Broken(reason));
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
