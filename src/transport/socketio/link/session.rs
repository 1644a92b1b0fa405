//! Methods for the session: it takes the client's packets, and writes to the carrier.

use std::task::Context;

use bytes::Bytes;

use super::{Framing, Input, Link, SocketCarrier};

/// Readiness of a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ready {
    /// Bytes in this framing.
    For(Framing),
    /// Nothing at the moment; later in this framing.
    Busy(Framing),
    /// A WebSocket is probed: data waits, and a GET is released by a packet without content.
    Probing {
        /// Whether a GET waits for packets.
        has_poll: bool,
    },
    /// The WebSocket has taken over, and a GET is still open.
    LastPoll,
    /// The client gave up its GET, or its WebSocket has ended.
    Aborted,
}

impl Link {
    /// Returns the next input.
    pub(in super::super) fn take(&self, cx: &mut Context<'_>) -> Option<Input> {
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

    /// Returns the carrier that accepts bytes now. Notices an aborted GET, and a WebSocket that has ended.
    pub(in super::super) fn ready(&self, cx: &mut Context<'_>) -> Ready {
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
            Some(SocketCarrier { is_lost: true, .. }) => Ready::Aborted,
            Some(SocketCarrier { is_upgraded: true, .. }) if has_poll => Ready::LastPoll,
            Some(SocketCarrier { is_upgraded: true, ready: None, .. }) => Ready::For(Framing::Frames),
            Some(SocketCarrier { is_upgraded: true, .. }) => Ready::Busy(Framing::Frames),
            Some(SocketCarrier { is_probed: true, .. }) => Ready::Probing { has_poll },
            _ if has_poll => Ready::For(Framing::Payload),
            _ => Ready::Busy(Framing::Payload),
        }
    }

    /// Writes the bytes to the ready carrier.
    pub(in super::super) fn write(&self, bytes: Bytes) {
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

    /// Ends the link: requests that wait, and later ones, are refused.
    pub(in super::super) fn close(&self) {
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
