//! Client without a protocol: it writes any bytes, and reads frames as the standard defines them. And the echo server.

use std::{net::SocketAddr, sync::Arc, thread};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use crate::helpers::soon;

#[path = "../../../examples/conformance/echo.rs"]
mod echo;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Bits of a frame's first byte.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;

/// Echo server of the conformance example; stops when it is dropped.
pub(crate) struct EchoServer {
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// Starts an echo server on a free port.
pub(crate) fn spawn_echo() -> EchoServer {
    let (stop, stopped) = oneshot::channel::<()>();
    let (bound, address) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let server =
                echo::build("127.0.0.1:0".into(), tricast::config::Limits::default(), Arc::new(echo::configure))
                    .unwrap();
            bound.send(server.addresses()[0]).unwrap();
            // Dropped by a test that is over.
            server.run_until(async { drop(stopped.await) }).await.unwrap();
        });
    });
    EchoServer { address: address.recv().unwrap(), _stop: stop }
}

/// Frame of the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// First byte: FIN, the reserved bits, the opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = String::from_utf8_lossy(&self.payload[..self.payload.len().min(40)]);
        write!(f, "{:#x} of {}: {shown:?}", self.first, self.payload.len())
    }
}

impl Frame {
    pub(crate) fn whole(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: FIN | opcode, payload: payload.into() }
    }

    /// Returns the code of a close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        code.filter(|_| self.first == FIN | CLOSE)
    }
}

/// Returns a frame of a client: `first` is the first byte; the mask is always the same.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = announced(first, payload.len() as u64);
    let mask = frame[frame.len() - 4..].to_vec();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Returns the header of a frame of `length` bytes.
pub(crate) fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..65_536 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend([0x37, 0xfa, 0x21, 0x3d]);
    header
}

/// Returns a message in fragments.
pub(crate) fn fragments(opcode: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let fin = if i + 1 == pieces.len() { FIN } else { 0 };
        bytes.extend(frame(fin | if i == 0 { opcode } else { CONTINUATION }, piece));
    }
    bytes
}

/// Returns a close frame.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// Returns a handshake with more header lines.
pub(crate) fn handshake(address: SocketAddr, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// WebSocket connection on which a test sends frames of its own making.
pub(crate) struct Peer {
    pub stream: TcpStream,
    /// Head of the response, in lower case.
    pub head: String,
    read: Vec<u8>,
    /// Whether the ping that measures the first round trip was skipped.
    pinged: bool,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, "").await
    }

    /// Connects with more header lines.
    pub(crate) async fn connect_with(address: SocketAddr, path: &str, headers: &str) -> Self {
        Self::connect_by(address, handshake(address, path, headers).as_bytes()).await
    }

    /// Connects, and sends data without waiting for the response.
    pub(crate) async fn connect_with_data(address: SocketAddr, path: &str, data: &[u8]) -> Self {
        Self::connect_by(address, &[handshake(address, path, "").as_bytes(), data].concat()).await
    }

    async fn connect_by(address: SocketAddr, request: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(request).await.unwrap();
        let mut peer = Self { stream, head: String::new(), read: Vec::new(), pinged: false };
        soon("the head", async {
            loop {
                if let Some(end) = peer.read.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head: Vec<u8> = peer.read.drain(..end + 4).collect();
                    peer.head = String::from_utf8(head).unwrap().to_lowercase();
                    break;
                }
                assert!(peer.more().await, "closed before the head");
            }
        })
        .await;
        assert!(peer.head.starts_with("http/1.1 101"), "{}", peer.head);
        peer
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Returns the next frame except the ping after the greeting; `None` when the server has ended the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon("a frame", async {
            loop {
                if let Some((frame, length)) = parse(&self.read) {
                    self.read.drain(..length);
                    if !self.pinged && frame == Frame::whole(PING, "tricast") {
                        self.pinged = true;
                        continue;
                    }
                    return Some(frame);
                }
                if !self.more().await {
                    assert!(self.read.is_empty(), "half a frame: {:?}", self.read);
                    return None;
                }
            }
        })
        .await
    }

    /// Returns all frames until the server ends the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Sends `bytes` in pieces of `step` while reading; returns all frames until the server ends the connection.
    pub(crate) async fn exchange(self, bytes: &[u8], step: usize) -> Vec<Frame> {
        let (mut from, mut to) = self.stream.into_split();
        let mut read = self.read;
        let sending = async {
            for piece in bytes.chunks(step) {
                if to.write_all(piece).await.is_err() {
                    // The server has disconnected.
                    break;
                }
            }
            to
        };
        let reading = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                read.extend_from_slice(&buffer[..n]);
            }
        };
        soon("the end of TCP", async { tokio::join!(sending, reading) }).await;
        let (mut frames, mut rest) = (Vec::new(), &read[..]);
        while let Some((frame, length)) = parse(rest) {
            frames.push(frame);
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "half a frame of {} bytes after {frames:?}", rest.len());
        if let Some(ping) = frames.iter().position(|frame| !self.pinged && *frame == Frame::whole(PING, "tricast")) {
            frames.remove(ping);
        }
        frames
    }

    /// Reads more bytes; returns false at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(n @ 1..) => {
                self.read.extend_from_slice(&buffer[..n]);
                true
            }
            _ => false,
        }
    }
}

/// Parses the first frame and its length on the wire; frames of a server are never masked (section 5.1).
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let &[first, second, ..] = bytes else { return None };
    assert!(second & 0x80 == 0, "a masked frame of the server");
    let (length, at) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let payload = bytes.get(at..at + length as usize)?.to_vec();
    let total = at + payload.len();
    Some((Frame { first, payload }, total))
}
