//! Upgrade of a connection: after its handshake a WebSocket has the socket to itself.
//!
//! The handshake is a request like any other: it passes the middleware, the guards and a handler, and actix-http writes
//! its response. [`upgrade`] leaves the next protocol with the connection. As soon as the response with status 101 is
//! written, [`super::watched::Watched`] gives up its socket: actix-http ends, with its buffers, and a task drives the
//! protocol on the socket alone. A response with another status is an ordinary one, and the protocol is never started.

use std::{
    cell::RefCell,
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
    dev, web,
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
use tricast_core::hub::Deliver;

/// Bytes that are read from a socket at once.
const READ_SIZE: usize = 8 * 1024;

/// Protocol on a socket that was taken over.
pub trait Upgraded: Unpin + 'static {
    /// Returns the socket of the connection, with its pending input and output.
    fn wire(&mut self) -> &mut Wire;

    /// Returns the next bytes to write; `None` at the end. It is called when the socket has accepted all earlier bytes,
    /// and reads its input with [`Wire::poll_read`].
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Sets what its readers call when data is due, after each poll.
    fn set_deliver(&mut self, _deliver: &Weak<dyn Deliver>) {}

    /// Returns the due data, outside of the task; `None` if the task is needed. It is called when the socket has accepted
    /// all earlier bytes.
    fn deliver(&mut self) -> Option<Bytes> {
        None
    }

    /// Returns whether the task has something to do after a [`Upgraded::deliver`].
    fn needs_task(&mut self) -> bool {
        true
    }
}

/// Connection of a protocol that has taken over its socket.
pub struct Wire {
    socket: Socket,
    /// Bytes that the client sent before it had the response.
    early: Bytes,
    /// Bytes that the socket did not accept yet.
    rest: Bytes,
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

    /// Writes `bytes`, outside of the task. Returns whether the socket accepted all of them; the task writes the rest.
    fn write(&mut self, mut bytes: Bytes) -> bool {
        // An error is found again by the task, and ends it.
        let written = self.socket.try_write(&bytes).unwrap_or(0);
        if written == bytes.len() {
            return true;
        }
        bytes.advance(written);
        self.rest = bytes;
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
    let connection = request.conn_data::<Rc<Connection>>();
    let connection = connection.ok_or_else(|| Problem::internal("the connection can't be taken over"))?;
    let mut payload = payload.into_inner();
    connection.set_next(Box::new(move |Released { socket, connection, counted }| {
        let early = received(&mut payload);
        let rest = Bytes::new();
        let wire = Wire { socket, early, rest, _connection: connection, _counted: counted };
        actix_web::rt::spawn(Driver::new(open(wire)));
    }));
    Ok(response.set_body(Handshake).map_into_boxed_body())
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

/// Body of the response to a handshake: it has no end, so that actix-http leaves the end of the connection to `Watched`.
struct Handshake;

impl MessageBody for Handshake {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Pending
    }
}

/// Task of a connection that was taken over. It reads, keeps time, and waits for a socket that is full. Data for a socket
/// that is not full is delivered by the hub, which calls [`Shared::deliver`].
struct Driver<U> {
    shared: Rc<Shared<U>>,
    deliver: Weak<dyn Deliver>,
}

/// Connection that its task and the hub drive, one at a time: both are on the thread of the worker.
struct Shared<U>(RefCell<U>);

impl<U: Upgraded> Driver<U> {
    fn new(upgraded: U) -> Self {
        let shared = Rc::new(Shared(RefCell::new(upgraded)));
        let deliver: Weak<Shared<U>> = Rc::downgrade(&shared);
        Self { shared, deliver }
    }
}

impl<U: Upgraded> Deliver for Shared<U> {
    fn deliver(&self) -> bool {
        let Ok(mut upgraded) = self.0.try_borrow_mut() else { return false };
        if !upgraded.wire().rest.is_empty() {
            // The task waits for the socket; what is due is read then.
            return true;
        }
        let Some(bytes) = upgraded.deliver() else { return false };
        upgraded.wire().write(bytes) && !upgraded.needs_task()
    }
}

impl<U: Upgraded> Future for Driver<U> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut upgraded = self.shared.0.borrow_mut();
        loop {
            if ready!(upgraded.wire().poll_flush(cx)).is_err() {
                return Poll::Ready(());
            }
            match upgraded.poll_write(cx) {
                Poll::Ready(Some(bytes)) => upgraded.wire().rest = bytes,
                Poll::Ready(None) => {
                    // The client may have closed the socket already.
                    let _ = ready!(Pin::new(&mut upgraded.wire().socket).poll_shutdown(cx));
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    upgraded.set_deliver(&self.deliver);
                    return Poll::Pending;
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

        fn deliver(&mut self) -> Option<Bytes> {
            self.due.pop()
        }

        fn needs_task(&mut self) -> bool {
            self.needs_task
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

    #[tokio::test]
    async fn a_delivery_needs_the_task_only_for_what_is_left() {
        let (driver, mut peer) = driver();
        let due = |bytes: &'static str| driver.shared.0.borrow_mut().due.push(bytes.into());
        due("one");
        assert!(driver.shared.deliver());
        assert!(!driver.shared.deliver(), "nothing is due: the task was to be woken for another reason");
        driver.shared.0.borrow_mut().needs_task = true;
        due("two");
        assert!(!driver.shared.deliver());
        assert_eq!(read(&mut peer, 6).await, b"onetwo");
    }

    #[tokio::test]
    async fn a_full_socket_gets_the_rest_first_and_then_what_is_due() {
        let (driver, mut peer) = driver();
        let large: Vec<u8> = (0..4 << 20).map(|n| (n % 251) as u8).collect();
        driver.shared.0.borrow_mut().due.push(large.clone().into());
        assert!(!driver.shared.deliver(), "the task has to wait for the socket");
        driver.shared.0.borrow_mut().due.push("later".into());
        assert!(driver.shared.deliver(), "the task waits already");
        assert_eq!(driver.shared.0.borrow().due.len(), 1, "what is due stays in the log");
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
