//! The WebSocket transport: a session that begins on it, and one that is upgraded to it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    dev,
};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep};

use super::{
    codec::engine::{self, EnginePacket},
    config::UPGRADE_TIMEOUT,
    connection::Connection,
    link::{Framing, Input, Link},
};
use crate::transport::websocket::{
    CLOSE_WAIT, FAILED_WAIT,
    frame::{self, Decoder, FrameError, Incoming},
};
use tricast_core::{
    counters::{Counters, Limit},
    protocol::close::CloseReason,
};

/// Messages carried out before the worker's other tasks run.
const MESSAGES_AT_ONCE: usize = 32;

/// The client's half of a WebSocket.
struct Socket {
    payload: dev::Payload,
    decoder: Decoder,
    counters: Arc<Counters>,
    /// Time that the client has for its own close frame, once the server has sent one.
    close_wait: Duration,
    closing: Option<Pin<Box<Sleep>>>,
}

/// Input of the client's half.
enum Received {
    Packet(EnginePacket),
    Ping(Bytes),
    /// The client has sent its close frame.
    Closed,
    /// The client is gone without a close frame.
    Gone,
    /// The client broke the protocol.
    Broken(CloseReason),
}

impl Socket {
    fn new(payload: dev::Payload, max_payload: usize, counters: Arc<Counters>) -> Self {
        Self { payload, decoder: Decoder::new(max_payload, false), counters, close_wait: CLOSE_WAIT, closing: None }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            match self.decoder.next_message() {
                Ok(Some(Incoming::Text(text))) => {
                    return Poll::Ready(match engine::parse(&text) {
                        Ok(packet) => Received::Packet(packet),
                        Err(_) => Received::Broken(CloseReason::ProtocolError),
                    });
                }
                Ok(Some(Incoming::Binary(bytes))) => {
                    return Poll::Ready(Received::Packet(EnginePacket::Binary(bytes.into())));
                }
                Ok(Some(Incoming::Ping(payload))) => return Poll::Ready(Received::Ping(payload)),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(_))) => return Poll::Ready(Received::Closed),
                Ok(None) => match Pin::new(&mut self.payload).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.decoder.feed(&bytes),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Received::Gone),
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => {
                    if matches!(error, FrameError::TooBig(_)) {
                        self.counters.limit(Limit::Message).inc();
                    }
                    // Its frames cannot be read any more, nor its close frame.
                    self.close_wait = FAILED_WAIT;
                    return Poll::Ready(Received::Broken(error.close_reason()));
                }
            }
        }
    }

    /// Waits, after the server's close frame, for the client's own one or the end of its data, and not for longer than
    /// `close_wait`: a connection that is closed with unread data is reset, and the reset may overtake the close frame.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.close_wait;
        let timeout = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        if timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match self.decoder.next_message() {
                Ok(Some(Incoming::Close(_))) => return Poll::Ready(()),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => match Pin::new(&mut self.payload).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.decoder.feed(&bytes),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

/// Appends a close frame.
fn write_close(out: &mut Vec<u8>, reason: CloseReason) {
    frame::write_close(out, reason.code(), reason.text());
}

/// A session that began on a WebSocket: the response body drives it.
pub(super) struct Direct {
    connection: Connection,
    socket: Socket,
    pending: Vec<u8>,
    is_over: bool,
}

impl Direct {
    pub(super) fn new(
        connection: Connection,
        payload: dev::Payload,
        max_payload: usize,
        counters: Arc<Counters>,
    ) -> Self {
        let socket = Socket::new(payload, max_payload, counters);
        Self { connection, socket, pending: Vec::new(), is_over: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut handled = 0;
        while !self.is_over && !self.connection.is_closing() && !self.connection.is_congested() {
            match self.socket.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Received::Packet(packet)) => {
                    self.connection.receive(packet);
                    if self.connection.has_left() {
                        write_close(&mut self.pending, CloseReason::Normal);
                    }
                }
                Poll::Ready(Received::Ping(payload)) => frame::write(&mut self.pending, frame::PONG, false, &payload),
                Poll::Ready(Received::Closed) => {
                    write_close(&mut self.pending, CloseReason::Normal);
                    self.connection.end();
                    self.is_over = true;
                }
                Poll::Ready(Received::Gone) => {
                    self.connection.end();
                    self.is_over = true;
                }
                Poll::Ready(Received::Broken(reason)) => {
                    write_close(&mut self.pending, reason);
                    self.connection.end();
                }
            }
            handled += 1;
            if handled >= MESSAGES_AT_ONCE {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.connection.poll(cx);
        if !self.pending.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.pending).into()));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        if !self.connection.is_done()
            && let Some(bytes) = self.connection.next_write(Instant::now(), Framing::Frames)
        {
            return Poll::Ready(Some(bytes));
        }
        if self.connection.is_done() {
            return self.socket.poll_closed(cx).map(|()| None);
        }
        self.connection.arm(None);
        Poll::Pending
    }
}

impl MessageBody for Direct {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.poll(cx).map(|bytes| bytes.map(Ok))
    }
}

/// A WebSocket that a polling session is upgraded to. The session may live on another worker.
pub(super) struct Upgrade {
    link: Arc<Link>,
    socket: Socket,
    pending: Vec<u8>,
    stage: Stage,
    timeout: Pin<Box<Sleep>>,
    /// A packet that the session has no room for yet.
    waiting: Option<Input>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client has to send its probe.
    Probe,
    /// The client has to complete the upgrade.
    Probed,
    /// The WebSocket carries the session.
    Upgraded,
    /// The server's close frame is on its way.
    Closing,
    Over,
}

impl Upgrade {
    /// Returns the body of a WebSocket that was attached to `link`.
    pub(super) fn new(link: Arc<Link>, payload: dev::Payload, max_payload: usize, counters: Arc<Counters>) -> Self {
        Self {
            link,
            socket: Socket::new(payload, max_payload, counters),
            pending: Vec::new(),
            stage: Stage::Probe,
            timeout: Box::pin(tokio::time::sleep(UPGRADE_TIMEOUT)),
            waiting: None,
        }
    }

    /// Returns the body of a WebSocket that is closed at once, because `link` has one already or its session has ended.
    pub(super) fn refused(link: Arc<Link>, payload: dev::Payload, max_payload: usize, counters: Arc<Counters>) -> Self {
        let mut upgrade = Self::new(link, payload, max_payload, counters);
        upgrade.stage = Stage::Closing;
        write_close(&mut upgrade.pending, CloseReason::ProtocolError);
        upgrade
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receive(cx);
        if !self.pending.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.pending).into()));
        }
        match self.stage {
            Stage::Over => Poll::Ready(None),
            Stage::Closing => self.socket.poll_closed(cx).map(|()| None),
            Stage::Upgraded => match self.link.poll_receive(cx) {
                // The session has ended, with a close frame.
                Poll::Ready(None) => {
                    self.stage = Stage::Closing;
                    self.socket.poll_closed(cx).map(|()| None)
                }
                other => other,
            },
            Stage::Probe | Stage::Probed => {
                if self.timeout.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.close(CloseReason::ProtocolError);
                Poll::Ready(Some(std::mem::take(&mut self.pending).into()))
            }
        }
    }

    /// Sends a close frame, and releases the session: after the upgrade it ends, before it stays with polling.
    fn close(&mut self, reason: CloseReason) {
        write_close(&mut self.pending, reason);
        self.release(Stage::Closing);
    }

    fn release(&mut self, stage: Stage) {
        match std::mem::replace(&mut self.stage, stage) {
            Stage::Upgraded => self.link.lose(),
            Stage::Probe | Stage::Probed => self.link.end_probe(),
            Stage::Closing | Stage::Over => {}
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) {
        let mut handled = 0;
        while !matches!(self.stage, Stage::Closing | Stage::Over) {
            if self.waiting.is_some() && self.link.poll_send(cx, &mut self.waiting).is_pending() {
                return;
            }
            match self.socket.poll_receive(cx) {
                Poll::Pending => return,
                Poll::Ready(Received::Ping(payload)) => frame::write(&mut self.pending, frame::PONG, false, &payload),
                Poll::Ready(Received::Closed) => {
                    write_close(&mut self.pending, CloseReason::Normal);
                    self.release(Stage::Over);
                }
                Poll::Ready(Received::Gone) => self.release(Stage::Over),
                Poll::Ready(Received::Broken(reason)) => self.close(reason),
                Poll::Ready(Received::Packet(packet)) => match (self.stage, packet) {
                    (Stage::Probe, EnginePacket::Ping(text)) if text == "probe" => {
                        frame::write_text(&mut self.pending, "3probe", false);
                        self.link.probe();
                        self.stage = Stage::Probed;
                    }
                    (Stage::Probed, EnginePacket::Upgrade) => {
                        self.link.upgrade();
                        self.stage = Stage::Upgraded;
                    }
                    (Stage::Upgraded, EnginePacket::Close) => self.close(CloseReason::Normal),
                    (Stage::Upgraded, packet) => self.waiting = Some(Input::Packets(vec![packet])),
                    _ => self.close(CloseReason::ProtocolError),
                },
            }
            handled += 1;
            if handled >= MESSAGES_AT_ONCE {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.release(Stage::Over);
    }
}

impl MessageBody for Upgrade {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.poll(cx).map(|bytes| bytes.map(Ok))
    }
}
