//! The WebSocket transport: a session that begins on it, and one that is upgraded to it.

use std::{
    pin::Pin,
    rc::Weak,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Sleep;

use super::{
    codec::engine::{self, EnginePacket},
    config::UPGRADE_TIMEOUT,
    connection::Connection,
    link::{Framing, Input, Link},
};
use crate::{
    transport::websocket::{
        CLOSE_WAIT, FAILED_WAIT, FrameError,
        frame::{self, Decoder, Incoming},
    },
    web::upgrade::{Delivery, Upgraded, Wire},
};
use tricast_core::{
    counters::{Counters, Limit},
    hub::{Deliver, Pass},
    protocol::close::CloseReason,
};

/// Messages carried out before the worker's other tasks run.
const MESSAGES_AT_ONCE: usize = 32;

/// The client's half of a WebSocket.
struct Socket {
    wire: Wire,
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
    fn new(wire: Wire, max_payload: usize, counters: Arc<Counters>) -> Self {
        Self { wire, decoder: Decoder::new(max_payload, false), counters, close_wait: CLOSE_WAIT, closing: None }
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
                Ok(None) => match self.wire.poll_read(cx, |bytes| self.decoder.feed(bytes)) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Received::Gone),
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
                Ok(None) => match self.wire.poll_read(cx, |bytes| self.decoder.feed(bytes)) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(()),
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

/// A session that began on a WebSocket.
pub(super) struct Direct {
    connection: Connection,
    socket: Socket,
    pending: Vec<u8>,
    is_over: bool,
}

impl Direct {
    pub(super) fn new(connection: Connection, wire: Wire, max_payload: usize, counters: Arc<Counters>) -> Self {
        let socket = Socket::new(wire, max_payload, counters);
        Self { connection, socket, pending: Vec::new(), is_over: false }
    }
}

impl Upgraded for Direct {
    fn wire(&mut self) -> &mut Wire {
        &mut self.socket.wire
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
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
            && let Some(bytes) = self.connection.next_write(&Pass::begin(), Framing::Frames)
        {
            return Poll::Ready(Some(bytes));
        }
        if self.connection.is_done() {
            return self.socket.poll_closed(cx).map(|()| None);
        }
        self.connection.arm(true, None);
        Poll::Pending
    }

    fn set_deliver(&mut self, deliver: &Weak<dyn Deliver>) {
        self.connection.set_deliver(deliver);
    }

    fn deliver(&mut self, pass: &Pass) -> Delivery {
        if self.is_over { Delivery::by_the_task() } else { self.connection.deliver(pass) }
    }
}

/// Place of a WebSocket in the link of a polling session, which may live on another worker. It is released when it is
/// dropped, also if the WebSocket never opens.
pub(super) struct Place {
    link: Arc<Link>,
    stage: Stage,
}

impl Place {
    /// Takes the place in `link`. If the session has a WebSocket already, or has ended, the WebSocket is opened, and closed.
    pub(super) fn take(link: Arc<Link>) -> Self {
        let stage = if link.attach() { Stage::Probe } else { Stage::Closing };
        Self { link, stage }
    }

    /// Releases the session: after the upgrade it ends, before it stays with polling.
    fn release(&mut self, stage: Stage) {
        match std::mem::replace(&mut self.stage, stage) {
            Stage::Upgraded => self.link.lose(),
            Stage::Probe | Stage::Probed => self.link.end_probe(),
            Stage::Closing | Stage::Over => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release(Stage::Over);
    }
}

/// A WebSocket that a polling session is upgraded to.
pub(super) struct Upgrade {
    place: Place,
    socket: Socket,
    pending: Vec<u8>,
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
    pub(super) fn new(place: Place, wire: Wire, max_payload: usize, counters: Arc<Counters>) -> Self {
        let mut pending = Vec::new();
        if place.stage == Stage::Closing {
            write_close(&mut pending, CloseReason::ProtocolError);
        }
        Self {
            place,
            socket: Socket::new(wire, max_payload, counters),
            pending,
            timeout: Box::pin(tokio::time::sleep(UPGRADE_TIMEOUT)),
            waiting: None,
        }
    }

    /// Sends a close frame, and releases the session: after the upgrade it ends, before it stays with polling.
    fn close(&mut self, reason: CloseReason) {
        write_close(&mut self.pending, reason);
        self.place.release(Stage::Closing);
    }

    fn receive(&mut self, cx: &mut Context<'_>) {
        let mut handled = 0;
        while !matches!(self.place.stage, Stage::Closing | Stage::Over) {
            if self.waiting.is_some() && self.place.link.poll_send(cx, &mut self.waiting).is_pending() {
                return;
            }
            match self.socket.poll_receive(cx) {
                Poll::Pending => return,
                Poll::Ready(Received::Ping(payload)) => frame::write(&mut self.pending, frame::PONG, false, &payload),
                Poll::Ready(Received::Closed) => {
                    write_close(&mut self.pending, CloseReason::Normal);
                    self.place.release(Stage::Over);
                }
                Poll::Ready(Received::Gone) => self.place.release(Stage::Over),
                Poll::Ready(Received::Broken(reason)) => self.close(reason),
                Poll::Ready(Received::Packet(packet)) => match (self.place.stage, packet) {
                    (Stage::Probe, EnginePacket::Ping(text)) if text == "probe" => {
                        frame::write_text(&mut self.pending, "3probe", false);
                        self.place.link.probe();
                        self.place.stage = Stage::Probed;
                    }
                    (Stage::Probed, EnginePacket::Upgrade) => {
                        self.place.link.upgrade();
                        self.place.stage = Stage::Upgraded;
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

impl Upgraded for Upgrade {
    fn wire(&mut self) -> &mut Wire {
        &mut self.socket.wire
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receive(cx);
        if !self.pending.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.pending).into()));
        }
        match self.place.stage {
            Stage::Over => Poll::Ready(None),
            Stage::Closing => self.socket.poll_closed(cx).map(|()| None),
            Stage::Upgraded => match self.place.link.poll_receive(cx) {
                // The session has ended, with a close frame.
                Poll::Ready(None) => {
                    self.place.stage = Stage::Closing;
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
}
