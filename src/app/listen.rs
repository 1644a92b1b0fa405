//! Listening sockets. Options set on a listener are inherited by the sockets it accepts.

use std::{io, net::SocketAddr, os::unix::net::UnixListener, path::Path, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Bytes that the kernel takes before they can be sent. With the automatic size an unread socket holds up to 4 MB of
/// old values; with this a client that reads again gets a fresh one after 16 KB.
const NOT_SENT: u32 = 16 * 1024;

/// The kernel's send buffer (it doubles the figure for its own books): enough for 1 MB/s at 100 ms to the client.
const SEND_BUFFER: usize = 64 * 1024;

/// A TCP listener whose clients are cut when they take nothing for `stall_timeout`.
pub(super) fn tcp(address: SocketAddr, stall_timeout: Duration) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT)?;
        socket.set_tcp_user_timeout(Some(stall_timeout))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stall_timeout, NOT_SENT);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A Unix listener. A socket file that nobody listens on any more is replaced.
pub(super) fn unix(path: &Path) -> io::Result<UnixListener> {
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
