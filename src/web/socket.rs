//! Socket of a connection: TCP, or Unix behind a proxy on the same machine.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// Socket of a connection.
pub enum Socket {
    /// TCP connection of a client or proxy.
    Tcp(TcpStream),
    /// Connection of a proxy over a Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Returns whether there may be data to read, or the end of it; wakes the task if not.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is found by the read.
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx).map(drop),
            Self::Unix(socket) => socket.poll_read_ready(cx).map(drop),
        }
    }

    /// Writes as much as the socket accepts at once, without a task to be woken. The runtime's record of the socket, which
    /// says whether it accepts data, is neither read nor changed: it is in memory that the delivery would have to wait for.
    ///
    /// # Errors
    /// `WouldBlock` if that is nothing, and errors of the system.
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).send(bytes),
            Self::Unix(socket) => SockRef::from(socket).send(bytes),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
