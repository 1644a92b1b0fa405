//! The WebSocket transport: a session that begins on it, and one that is upgraded to it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BodyStream, MessageBody},
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
use crate::transport::websocket::frame::{self, Decoder, FrameError, Incoming};
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
}

/// Input of the client's half.
enum Received {
    Packet(EnginePacket),
    Ping(Bytes),
    /// The connection is over: closed, broken, or not readable, with what our close frame says.
    Over(Option<CloseReason>),
}

impl Socket {
    fn new(payload: dev::Payload, max_payload: usize, counters: Arc<Counters>) -> Self {
        Self { payload, decoder: Decoder::new(max_payload, false), counters }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            match self.decoder.next_message() {
                Ok(Some(Incoming::Text(text))) => {
                    return Poll::Ready(match engine::parse(&text) {
                        Ok(packet) => Received::Packet(packet),
                        Err(_) => Received::Over(Some(CloseReason::ProtocolError)),
                    });
                }
                Ok(Some(Incoming::Binary(bytes))) => {
                    return Poll::Ready(Received::Packet(EnginePacket::Binary(bytes.into())));
                }
                Ok(Some(Incoming::Ping(payload))) => return Poll::Ready(Received::Ping(payload)),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(_))) => return Poll::Ready(Received::Over(Some(CloseReason::Normal))),
                Ok(None) => match Pin::new(&mut self.payload).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.decoder.feed(&bytes),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Received::Over(None)),
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => {
                    if matches!(error, FrameError::TooBig(_)) {
                        self.counters.limit(Limit::Message).inc();
                    }
                    return Poll::Ready(Received::Over(Some(error.close_reason())));
                }
            }
        }
    }
}

/// Returns the frames that end a connection.
fn last_frames(reason: Option<CloseReason>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(reason) = reason {
        frame::write_close(&mut out, reason.code(), reason.text());
    }
    out
}

/// Returns the body of a WebSocket that is closed at once.
pub(super) fn closed() -> impl MessageBody<Error = Infallible> + 'static {
    let frames = Bytes::from(last_frames(Some(CloseReason::ProtocolError)));
    BodyStream::new(futures_util::stream::once(std::future::ready(Ok::<_, Infallible>(frames))))
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
                Poll::Ready(Received::Packet(packet)) => self.connection.receive(packet),
                Poll::Ready(Received::Ping(payload)) => frame::write(&mut self.pending, frame::PONG, false, &payload),
                Poll::Ready(Received::Over(reason)) => {
                    self.pending.extend(last_frames(reason));
                    self.connection.end();
                    self.is_over = true;
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
        if self.is_over || self.connection.is_done() {
            return Poll::Ready(None);
        }
        if let Some(bytes) = self.connection.next_write(Instant::now(), Framing::Frames) {
            return Poll::Ready(Some(bytes));
        }
        if self.connection.is_done() {
            return Poll::Ready(None);
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

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receive(cx);
        if !self.pending.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.pending).into()));
        }
        match self.stage {
            Stage::Over => Poll::Ready(None),
            Stage::Upgraded => self.link.poll_receive(cx),
            Stage::Probe | Stage::Probed => {
                if self.timeout.as_mut().poll(cx).is_ready() {
                    self.stage = Stage::Over;
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) {
        let mut handled = 0;
        while self.stage != Stage::Over {
            if self.waiting.is_some() && self.link.poll_send(cx, &mut self.waiting).is_pending() {
                return;
            }
            match self.socket.poll_receive(cx) {
                Poll::Pending => return,
                Poll::Ready(Received::Ping(payload)) => frame::write(&mut self.pending, frame::PONG, false, &payload),
                Poll::Ready(Received::Over(reason)) => {
                    self.pending.extend(last_frames(reason));
                    if self.stage == Stage::Upgraded {
                        self.link.lose();
                    }
                    self.stage = Stage::Over;
                }
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
                    (Stage::Upgraded, packet) => self.waiting = Some(Input::Packets(vec![packet])),
                    _ => {
                        self.pending.extend(last_frames(Some(CloseReason::ProtocolError)));
                        self.stage = Stage::Over;
                    }
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
        match self.stage {
            Stage::Upgraded => self.link.lose(),
            _ => self.link.end_probe(),
        }
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
