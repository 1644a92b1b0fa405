//! Release of a socket from HTTP: after its handshake a WebSocket has the socket to itself, and so has an event stream after the
//! head of its response.
//!
//! The request is one like any other: it passes the middleware, the guards and a handler, and actix-http writes the head of
//! its response. [`upgrade`] and [`stream`] leave the next protocol with the connection. As soon as the head is written,
//! [`super::watched::Watched`] gives up its socket: actix-http ends, with its buffers, and a task drives the protocol on the
//! socket alone. If the middleware replaces the response by a refusal, that is an ordinary response, and the protocol is never
//! started.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    dev,
    http::{ConnectionType, Version},
    web,
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::{Connection, Released},
    connection_limit::Counted,
    problem::Problem,
    socket::Socket,
};
use tricast_core::hub::{Deliver, Pass, Prepared};

/// Bytes that are read from a socket at once.
const READ_SIZE: usize = 8 * 1024;

/// Protocol on a socket that was taken over.
pub trait Upgraded: Unpin + 'static {
    /// Returns the socket of the connection, with its pending input and output.
    fn wire(&mut self) -> &mut Wire;

    /// Returns the next bytes to write; `None` at the end. It is called when the socket has accepted all earlier bytes,
    /// and reads its input with [`Wire::poll_read`].
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Sets what the hubs of its readers call when data is due, after each poll.
    fn set_deliver(&mut self, _deliver: &Weak<dyn Deliver>) {}

    /// Returns the due data, outside of the task. It is called when the socket has accepted all earlier bytes.
    fn deliver(&mut self, _pass: &Pass) -> Delivery {
        Delivery::by_the_task()
    }
}

/// Due data, delivered outside of the task of a connection.
pub struct Delivery {
    /// Bytes to write, if there are any.
    pub bytes: Option<Bytes>,
    /// Whether the task has something to do afterwards.
    pub needs_task: bool,
}

impl Delivery {
    /// Returns nothing: the data has to be delivered by the task.
    pub fn by_the_task() -> Self {
        Self { bytes: None, needs_task: true }
    }
}

/// Connection of a protocol that has taken over its socket. The first two fields are those of a delivery.
#[repr(C)]
pub struct Wire {
    socket: Socket,
    /// Bytes that the socket did not accept yet.
    rest: Bytes,
    /// Bytes that the client sent before it had the response.
    early: Bytes,
    _connection: Rc<Connection>,
    _counted: Rc<Counted>,
}

impl Wire {
    /// Passes received bytes to `take`, all that are available at the moment or the first part of them. `Ready(false)` at
    /// the end of the client's data, and if the connection is broken.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<bool> {
        if !self.early.is_empty() {
            take(&std::mem::take(&mut self.early));
            return Poll::Ready(true);
        }
        let mut memory = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory);
        match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                take(buffer.filled());
                Poll::Ready(true)
            }
            Ok(()) | Err(_) => Poll::Ready(false),
        }
    }

    /// Writes the bytes that wait, outside of the task. Returns whether the socket accepted all of them; the task writes the
    /// rest.
    #[inline]
    fn write(&mut self) -> bool {
        // An error is found again by the task, and ends it.
        let written = self.socket.try_write(&self.rest).unwrap_or(0);
        if written == self.rest.len() {
            self.rest = Bytes::new();
            return true;
        }
        self.rest.advance(written);
        false
    }

    /// Writes the bytes that wait; ready when none are left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.rest.advance(written),
            }
        }
        // The memory of a large write is released at once.
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

/// Completes `response`, the 101 to the handshake `request`: once it is written, the protocol that `open` returns has the
/// socket.
///
/// # Errors
/// A 500 if the server was built without watched connections.
pub fn upgrade<U: Upgraded>(
    request: &HttpRequest,
    response: HttpResponse,
    payload: web::Payload,
    open: impl FnOnce(Wire) -> U + 'static,
) -> Result<HttpResponse, Problem> {
    let mut payload = payload.into_inner();
    release_to(request, response, move |mut wire| {
        wire.early = received(&mut payload);
        open(wire)
    })
}

/// Completes `response`, whose body has no end of its own: once the head is written, the protocol that `open` returns has the
/// socket. It gets the framing in which it has to write the body. The connection is closed after the body, and what the client
/// sends after the request is no request (RFC 9112, section 9.6).
///
/// # Errors
/// A 500 if the server was built without watched connections.
pub fn stream<U: Upgraded>(
    request: &HttpRequest,
    mut response: HttpResponse,
    open: impl FnOnce(Wire, BodyFraming) -> U + 'static,
) -> Result<HttpResponse, Problem> {
    let framing = if request.version() < Version::HTTP_11 { BodyFraming::UntilClose } else { BodyFraming::Chunked };
    let head = response.head_mut();
    head.set_connection_type(ConnectionType::Close);
    head.no_chunking(framing == BodyFraming::UntilClose);
    release_to(request, response, move |wire| open(wire, framing))
}

/// Framing of a body without a known length (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// Chunks, the last of which is empty.
    Chunked,
    /// For HTTP/1.0: none, the body ends with the connection.
    UntilClose,
}

fn release_to<U: Upgraded>(
    request: &HttpRequest,
    response: HttpResponse,
    open: impl FnOnce(Wire) -> U + 'static,
) -> Result<HttpResponse, Problem> {
    let connection = request.conn_data::<Rc<Connection>>();
    let connection = connection.ok_or_else(|| Problem::internal("the connection can't be taken over"))?;
    connection.set_next(Box::new(move |Released { socket, connection, counted }| {
        let (early, rest) = (Bytes::new(), Bytes::new());
        let wire = Wire { socket, early, rest, _connection: connection, _counted: counted };
        actix_web::rt::spawn(Driver::new(open(wire)));
    }));
    Ok(response.set_body(Endless).map_into_boxed_body())
}

/// Returns the bytes that were received behind the head of the request.
fn received(payload: &mut dev::Payload) -> Bytes {
    let mut early = BytesMut::new();
    // Nothing is missing: `Watched` reads nothing between the head and the response.
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(bytes))) = Pin::new(&mut *payload).poll_next(&mut cx) {
        early.extend_from_slice(&bytes);
    }
    early.freeze()
}

/// Body of a response after which the connection is taken over: it has no end, so that actix-http leaves the end of the
/// connection to `Watched`.
struct Endless;

impl MessageBody for Endless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Pending
    }
}

/// Task of a connection that was taken over. It reads, keeps time, and waits for a socket that is full. Data for a socket
/// that is not full is delivered by the hub, which calls [`Deliver`].
struct Driver<U> {
    shared: Rc<Shared<U>>,
    deliver: Weak<dyn Deliver>,
}

/// Connection that its task and the hub drive, one at a time: both are on the thread of the worker.
struct Shared<U> {
    /// A write of this pass of the hub is prepared.
    is_prepared: Cell<bool>,
    upgraded: RefCell<U>,
}

impl<U: Upgraded> Driver<U> {
    fn new(upgraded: U) -> Self {
        let shared = Rc::new(Shared { is_prepared: Cell::new(false), upgraded: RefCell::new(upgraded) });
        let deliver: Weak<Shared<U>> = Rc::downgrade(&shared);
        Self { shared, deliver }
    }
}

impl<U: Upgraded> Deliver for Shared<U> {
    fn prepare(&self, pass: &Pass) -> Prepared {
        let Ok(mut upgraded) = self.upgraded.try_borrow_mut() else { return Prepared::NeedsTask };
        if !upgraded.wire().rest.is_empty() {
            if !self.is_prepared.replace(false) {
                // The task waits for the socket; what is due is read then.
                return Prepared::Nothing;
            }
            // Another reader of the same connection comes first.
            if !upgraded.wire().write() {
                return Prepared::NeedsTask;
            }
        }
        let Delivery { bytes, needs_task } = upgraded.deliver(pass);
        let prepared = bytes.as_ref().map(Bytes::len);
        if let Some(bytes) = bytes {
            upgraded.wire().rest = bytes;
        }
        match prepared {
            // It writes the bytes, too.
            _ if needs_task => Prepared::NeedsTask,
            Some(length) => {
                self.is_prepared.set(true);
                Prepared::Write(length)
            }
            None => Prepared::Nothing,
        }
    }

    fn write(&self) -> bool {
        // The task does not run between the two.
        !self.is_prepared.replace(false)
            || self.upgraded.try_borrow_mut().is_ok_and(|mut upgraded| upgraded.wire().write())
    }
}

impl<U: Upgraded> Future for Driver<U> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut upgraded = self.shared.upgraded.borrow_mut();
        let poll = Self::drive(&mut upgraded, cx);
        if poll.is_pending() {
            upgraded.set_deliver(&self.deliver);
        }
        poll
    }
}

impl<U: Upgraded> Driver<U> {
    /// Writes until the socket is full or nothing is due; ready at the end of the connection.
    fn drive(upgraded: &mut U, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(upgraded.wire().poll_flush(cx)).is_err() {
                return Poll::Ready(());
            }
            match ready!(upgraded.poll_write(cx)) {
                Some(bytes) => upgraded.wire().rest = bytes,
                None => {
                    // The client may have closed the socket already.
                    let _ = ready!(Pin::new(&mut upgraded.wire().socket).poll_shutdown(cx));
                    return Poll::Ready(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::UnixStream};

    use super::*;
    use crate::web::connection::tests::unlimited;

    /// Protocol that writes what is due and reads nothing.
    struct Fake {
        wire: Wire,
        due: Vec<Bytes>,
        needs_task: bool,
    }

    impl Upgraded for Fake {
        fn wire(&mut self) -> &mut Wire {
            &mut self.wire
        }

        fn poll_write(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
            self.due.pop().map_or(Poll::Pending, |bytes| Poll::Ready(Some(bytes)))
        }

        fn deliver(&mut self, _pass: &Pass) -> Delivery {
            Delivery { bytes: self.due.pop(), needs_task: self.needs_task }
        }
    }

    fn driver() -> (Driver<Fake>, UnixStream) {
        let config = unlimited();
        let (socket, peer) = UnixStream::pair().unwrap();
        let counted = Counted::open(&config.admission, &config.access.proxies, &config.counters, None).unwrap();
        let wire = Wire {
            socket: Socket::Unix(socket),
            early: Bytes::new(),
            rest: Bytes::new(),
            _connection: Connection::open(&config),
            _counted: counted,
        };
        (Driver::new(Fake { wire, due: Vec::new(), needs_task: false }), peer)
    }

    async fn read(peer: &mut UnixStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        peer.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    impl Driver<Fake> {
        fn due(&self, bytes: impl Into<Bytes>) {
            self.shared.upgraded.borrow_mut().due.push(bytes.into());
        }

        fn prepare(&self) -> Prepared {
            self.shared.prepare(&Pass::begin())
        }
    }

    #[tokio::test]
    async fn a_delivery_needs_the_task_only_for_what_is_left() {
        let (driver, mut peer) = driver();
        assert_eq!(driver.prepare(), Prepared::Nothing);
        driver.due("one");
        assert_eq!((driver.prepare(), driver.shared.write()), (Prepared::Write(3), true));
        driver.shared.upgraded.borrow_mut().needs_task = true;
        driver.due("two");
        assert_eq!(driver.prepare(), Prepared::NeedsTask);
        let received = read(&mut peer, 6);
        tokio::select! {
            () = driver => panic!("the connection has ended"),
            received = received => assert_eq!(received, b"onetwo"),
        }
    }

    #[tokio::test]
    async fn two_readers_of_a_connection_deliver_in_one_pass() {
        let (driver, mut peer) = driver();
        driver.due("two");
        driver.due("one");
        assert_eq!((driver.prepare(), driver.prepare()), (Prepared::Write(3), Prepared::Write(3)));
        assert!(driver.shared.write());
        assert_eq!(read(&mut peer, 6).await, b"onetwo");
    }

    #[tokio::test]
    async fn a_full_socket_gets_the_rest_first_and_then_what_is_due() {
        let (driver, mut peer) = driver();
        let large: Vec<u8> = (0..4 << 20).map(|n| (n % 251) as u8).collect();
        driver.due(large.clone());
        assert_eq!(driver.prepare(), Prepared::Write(large.len()));
        assert!(!driver.shared.write(), "the task has to wait for the socket");
        driver.due("later");
        assert_eq!(driver.prepare(), Prepared::Nothing, "the task waits already");
        assert_eq!(driver.shared.upgraded.borrow().due.len(), 1, "what is due stays in the log");
        let received = async {
            assert_eq!(read(&mut peer, large.len()).await, large);
            assert_eq!(read(&mut peer, 5).await, b"later");
        };
        tokio::select! {
            () = driver => panic!("the connection has ended"),
            () = received => {}
        }
    }
}
