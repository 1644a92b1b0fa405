//! Session: a connection that carries one stream.

use std::{
    rc::Weak,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{Output, Protocol, Stream};
use crate::web::upgrade::{Delivery, Upgraded, Wire};
use tricast_core::hub::{Deliver, Pass};

/// A connection that carries one stream.
#[repr(C)]
pub(in crate::transport) struct Session<P> {
    stream: Stream,
    protocol: P,
}

impl<P: Protocol> Session<P> {
    pub(in crate::transport) fn new(stream: Stream, protocol: P) -> Self {
        Self { stream, protocol }
    }
}

impl<P: Protocol + Unpin + 'static> Upgraded for Session<P> {
    fn wire(&mut self) -> &mut Wire {
        self.protocol.wire()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Self { stream, protocol } = self;
        protocol.receive(stream, cx);
        // After the input, because a token may have replaced the reader.
        stream.reader.set_waker(cx.waker());
        let pass = Pass::begin();
        protocol.keep_alive(stream, pass.now);
        if let Some(bytes) = stream.advance(&pass, protocol.output()) {
            return Poll::Ready(Some(bytes));
        }
        let pending = protocol.output().pending();
        if !pending.is_empty() {
            return Poll::Ready(Some(std::mem::take(pending).into()));
        }
        if protocol.is_finished() {
            return Poll::Ready(None);
        }
        let deadline = match protocol.output().is_open() {
            true => stream.deadline().into_iter().chain(protocol.deadline()).min(),
            false => protocol.deadline(),
        };
        if let Some(deadline) = deadline {
            stream.reader.set_deadline(deadline);
        }
        Poll::Pending
    }

    fn set_deliver(&mut self, deliver: &Weak<dyn Deliver>) {
        self.stream.reader.set_deliver(deliver);
    }

    fn deliver(&mut self, pass: &Pass) -> Delivery {
        self.stream.deliver(pass, self.protocol.output())
    }
}
