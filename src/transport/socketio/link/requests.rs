//! Methods for the requests: a GET that waits for a payload, a POST with packets.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Input, Link, LinkError, MAX_WAITING};

/// POST that is being read; the next one is possible after it.
pub(in super::super) struct Posting<'a>(&'a Link);

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
    pub(in super::super) fn send(&self, input: Input) -> Result<(), LinkError> {
        self.0.send(input)
    }
}

impl Link {
    /// Registers a GET and returns the receiver of its payload, which is dropped when the session ends.
    ///
    /// # Errors
    /// [`LinkError`]; a second GET also ends the session.
    pub(in super::super) fn poll(&self) -> Result<oneshot::Receiver<Bytes>, LinkError> {
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
    pub(in super::super) fn post(&self) -> Result<Posting<'_>, LinkError> {
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
}
