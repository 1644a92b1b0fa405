//! Listening sockets. Options set on a listener are inherited by the sockets it accepts.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// Most connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Bytes that the kernel accepts before they can be sent. With the automatic size an unread socket holds up to 4 MB of
/// old values; with this a client that reads again gets a fresh one after 16 KB.
const NOT_SENT: u32 = 16 * 1024;

/// Send buffer of the kernel (which doubles the value for its own bookkeeping): enough for 1 MB/s at 100 ms to the client.
const SEND_BUFFER: usize = 64 * 1024;

/// Opens a TCP listener whose clients are disconnected if they accept no data for `stall_timeout`.
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

/// Opens a Unix listener. A stale socket is replaced; anything else at `path` is left alone.
///
/// Connecting requires the write permission: the umask decides about owner and group, and all others have none.
///
/// # Errors
/// `AddrInUse` if another process listens there, `AlreadyExists` if the file is not a socket, and errors of the system.
pub(super) fn unix(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(there) if there.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            // It is unknown whether a process listens.
            Err(error) => return Err(error),
        },
        Ok(_) => {
            let message = "the file exists and is not a socket; it was left unchanged: choose another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    let listener = UnixListener::bind(path)?;
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o770))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notes.txt");
        fs::write(&file, "keep me").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let dangling = directory.path().join("dangling");
        std::os::unix::fs::symlink(directory.path().join("nothing"), &dangling).unwrap();
        for path in [&file, &link, &dangling, &directory.path().to_owned()] {
            assert_eq!(unix(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "keep me");
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tricast.sock");
        let first = unix(&path).unwrap();
        assert_eq!(unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let _second = unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0, "others can't connect");
    }
}
