//! Methods for a WebSocket, which is probed while the requests continue, and then replaces them.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Input, Link, MAX_WAITING, SocketCarrier};

impl Link {
    /// Attaches a WebSocket to be probed; false if there is one already, or the session has ended.
    pub(in super::super) fn attach(&self) -> bool {
        let mut state = self.0.lock();
        if state.is_closed || state.carrier.socket.is_some() {
            return false;
        }
        state.carrier.socket = Some(SocketCarrier::default());
        true
    }

    /// Records that the client has probed the WebSocket: polls are released, and data wait for the upgrade.
    pub(in super::super) fn probe(&self) {
        let mut state = self.0.lock();
        if let Some(socket) = &mut state.carrier.socket {
            socket.is_probed = true;
        }
        state.wake_session();
    }

    /// Ends a failed probe; the session stays with polling.
    pub(in super::super) fn end_probe(&self) {
        let mut state = self.0.lock();
        if state.carrier.socket.as_ref().is_some_and(|socket| !socket.is_upgraded) {
            state.carrier.socket = None;
            state.wake_session();
        }
    }

    /// Completes the upgrade: from now on the WebSocket carries the session.
    pub(in super::super) fn upgrade(&self) {
        let mut state = self.0.lock();
        if let Some(socket) = &mut state.carrier.socket {
            socket.is_upgraded = true;
        }
        state.wake_session();
    }

    /// Passes packets to the session; `Pending` if too many wait.
    pub(in super::super) fn poll_send(&self, cx: &mut Context<'_>, input: &mut Option<Input>) -> Poll<()> {
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

    /// Returns the next bytes to write; `None` at the end of the session.
    pub(in super::super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
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

    /// Ends the session because its WebSocket has ended.
    pub(in super::super) fn lose(&self) {
        let mut state = self.0.lock();
        if let Some(socket) = &mut state.carrier.socket {
            socket.is_lost = true;
        }
        state.wake_session();
    }
}
