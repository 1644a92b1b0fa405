//! Clients of the benchmark: many sockets, and one thread that reads them in turn.
//!
//! The thread reads all sockets, sleeps, and repeats. That is cheap enough for one core, and the sender never has to wake
//! a sleeping receiver. Deliveries are counted by a mark in the value that occurs nowhere else, so that nothing has to be
//! parsed.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, http, process::Process};

/// Transport of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A WebSocket with one subscription.
    WebSocket,
    /// An event stream of one channel.
    Sse,
    /// A WebSocket of Socket.IO in `/tricast`, with one subscription.
    SocketIo,
    /// The same by polling: a GET is always held.
    SocketIoPolling,
    /// Plain TCP without a request: the baseline.
    Bare,
}

impl Transport {
    /// Returns the name for the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "WebSocket",
            Self::Sse => "SSE",
            Self::SocketIo => "Socket.IO",
            Self::SocketIoPolling => "Socket.IO polling",
            Self::Bare => "bare",
        }
    }
}

/// Channel that all clients subscribe to.
pub(crate) const CHANNEL: &str = "metrics.bench";

/// Byte that occurs once in each value, and nowhere else on the wire: not in a text, and not in the length of a frame, as
/// long as frames have neither 124 bytes nor a multiple of 256 more.
const MARK: u8 = b'|';

/// Connected clients that read what the server sends.
pub(crate) struct Clients {
    sockets: Vec<TcpStream>,
    /// For each socket, the poll that it repeats, if it does.
    polls: Vec<Option<Poll>>,
    buffer: Vec<u8>,
    /// Number of clients that read; the others do not.
    pub(crate) reading: usize,
    /// Bytes read so far.
    pub(crate) bytes: u64,
    /// Values read so far.
    pub(crate) deliveries: u64,
}

impl Clients {
    /// Pause between two rounds of reads.
    pub(crate) const NAP: Duration = Duration::from_millis(2);

    /// Connects `count` clients, one after the other.
    pub(crate) fn connect(address: SocketAddr, transport: Transport, count: usize) -> Outcome<Self> {
        let clients = (0..count).map(|_| enter(address, transport)).collect::<io::Result<Vec<_>>>();
        let (sockets, polls) = clients.map_err(|error| format!("client refused: {error}"))?.into_iter().unzip();
        Ok(Self { sockets, polls, buffer: vec![0; 64 << 10], reading: count, bytes: 0, deliveries: 0 })
    }

    /// Adds other clients, which read, too.
    pub(crate) fn extend(&mut self, others: Self) {
        self.reading += others.reading;
        self.sockets.extend(others.sockets);
        self.polls.extend(others.polls);
    }

    /// Leaves the first so many.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.sockets.truncate(count);
        self.polls.truncate(count);
        self.reading = self.reading.min(count);
    }

    /// Reads the available data of all sockets once.
    pub(crate) fn read(&mut self) -> Outcome<()> {
        for (socket, poll) in self.sockets.iter_mut().zip(&mut self.polls).take(self.reading) {
            loop {
                match socket.read(&mut self.buffer) {
                    Ok(0) => return Err("a client was disconnected".into()),
                    Ok(count) => {
                        let read = &self.buffer[..count];
                        self.bytes += count as u64;
                        self.deliveries += read.iter().filter(|byte| **byte == MARK).count() as u64;
                        if let Some(poll) = poll
                            && poll.is_answered_by(read)?
                        {
                            socket.write_all(poll.request.as_bytes())?;
                        }
                        if count < self.buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Subscribes all WebSockets to more channels, which have no values.
    pub(crate) fn subscribe_to_more(&mut self, channels: usize) -> io::Result<()> {
        let names: Vec<_> = (0..channels).map(|number| format!("\"metrics.more.{number}\"")).collect();
        let subscribe = frame(0x1, format!(r#"{{"type":"subscribe","channels":[{}]}}"#, names.join(",")).as_bytes());
        self.sockets.iter_mut().try_for_each(|socket| socket.write_all(&subscribe))
    }

    /// Reads for some time.
    pub(crate) fn read_for(&mut self, long: Duration) -> Outcome<()> {
        let until = Instant::now() + long;
        while Instant::now() < until {
            self.read()?;
            thread::sleep(Self::NAP);
        }
        Ok(())
    }

    /// Returns the sockets, so that they are no longer read.
    pub(crate) fn into_sockets(self) -> Vec<TcpStream> {
        self.sockets
    }

    /// Returns the local ports of the clients that do not read.
    pub(crate) fn silent_ports(&self) -> Vec<u16> {
        self.sockets[self.reading..].iter().filter_map(|s| s.local_addr().ok()).map(|address| address.port()).collect()
    }
}

/// A request that is sent again when it is answered.
struct Poll {
    request: String,
    /// The head of the answer so far.
    head: Vec<u8>,
    /// Bytes of its content that are still to come, once the head is there.
    left: Option<usize>,
}

impl Poll {
    /// Takes bytes of the answer; whether it is whole.
    fn is_answered_by(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        if self.left.is_none() {
            let known = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
            bytes = &bytes[end + 4 - known..];
            let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
            if !head.contains(" 200 ") {
                return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
            }
            self.left = Some(http::content_length(&head).unwrap_or(0));
            self.head.clear();
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes.len()));
        let is_whole = self.left == Some(0);
        if is_whole {
            self.left = None;
        }
        Ok(is_whole)
    }
}

/// Joins `/tricast` by polling, subscribes, and leaves a poll that is held.
fn poll_socketio(stream: &mut TcpStream, address: SocketAddr) -> io::Result<Poll> {
    let path = "/socket.io/?EIO=4&transport=polling";
    let open = http::exchange(stream, &http::get(address, path, ""))?;
    let sid = open.split_once(r#""sid":""#).and_then(|(_, rest)| rest.split('"').next());
    let path = format!("{path}&sid={}", sid.ok_or_else(|| io::Error::other(open.clone()))?);
    http::exchange(stream, &http::post(address, &path, JOIN))?;
    let request = http::get(address, &path, "");
    while !http::exchange(stream, &request)?.contains("40/tricast,{") {}
    http::exchange(stream, &http::post(address, &path, &subscribe_socketio()))?;
    stream.write_all(request.as_bytes())?;
    Ok(Poll { request, head: Vec::new(), left: None })
}

/// Joins the namespace as a client that is recovered after a cut.
const JOIN: &str = r#"40/tricast,{"recovery":true}"#;

fn subscribe_socketio() -> String {
    format!(r#"42/tricast,["subscribe",{{"channels":["{CHANNEL}"]}}]"#)
}

fn enter(address: SocketAddr, transport: Transport) -> io::Result<(TcpStream, Option<Poll>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let expected = match transport {
        Transport::Bare | Transport::SocketIoPolling => None,
        Transport::Sse => {
            let path = format!("/events?channels={CHANNEL}");
            stream.write_all(http::get(address, &path, "Accept: text/event-stream\r\n").as_bytes())?;
            Some(" 200 ")
        }
        Transport::WebSocket | Transport::SocketIo => {
            let path = if transport == Transport::WebSocket { "/ws" } else { "/socket.io/?EIO=4&transport=websocket" };
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            stream.write_all(http::get(address, path, upgrade).as_bytes())?;
            Some(" 101 ")
        }
    };
    if let Some(expected) = expected {
        let (head, _) = http::read_head(&mut stream)?;
        if !head.contains(expected) {
            return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
        }
    }
    if transport == Transport::WebSocket {
        let subscribe = format!(r#"{{"type":"subscribe","channels":["{CHANNEL}"]}}"#);
        stream.write_all(&frame(0x1, subscribe.as_bytes()))?;
    }
    if transport == Transport::SocketIo {
        stream.write_all(&frame(0x1, JOIN.as_bytes()))?;
        let mut seen = Vec::new();
        let mut buffer = [0; 4_096];
        while !seen.windows(12).any(|bytes| bytes == b"40/tricast,{") {
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => seen.extend_from_slice(&buffer[..count]),
            }
        }
        stream.write_all(&frame(0x1, subscribe_socketio().as_bytes()))?;
    }
    let poll = if transport == Transport::SocketIoPolling { Some(poll_socketio(&mut stream, address)?) } else { None };
    stream.set_nonblocking(true)?;
    Ok((stream, poll))
}

/// Returns a frame of a client with fewer than 65,536 bytes. Its mask is 0, which leaves the bytes unchanged.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Pushes values by `POST /api/metrics`, without waiting for the responses.
pub(crate) struct Pusher {
    stream: TcpStream,
    address: SocketAddr,
    padding: String,
    /// Number of values pushed so far.
    pub(crate) pushed: u64,
}

impl Pusher {
    /// Opens a pusher of values of about `size` bytes. Pushes one and waits until it is accepted, so that the channel exists.
    pub(crate) fn open(server: &Process, size: usize) -> Outcome<Self> {
        let address = server.address;
        let mut pusher = Self {
            stream: TcpStream::connect(address)?,
            address,
            padding: "x".repeat(size.saturating_sub(40)),
            pushed: 0,
        };
        pusher.stream.set_nodelay(true)?;
        pusher.push()?;
        let (head, _) = http::read_head(&mut pusher.stream)?;
        if !head.contains(" 202 ") {
            return Err(format!("a push was answered {}", head.lines().next().unwrap_or_default()).into());
        }
        pusher.stream.set_nonblocking(true)?;
        Ok(pusher)
    }

    fn push(&mut self) -> io::Result<()> {
        self.pushed += 1;
        let (mark, padding, number) = (char::from(MARK), &self.padding, self.pushed);
        let json =
            format!(r#"{{"channel":"{CHANNEL}","data":{{"mark":"{mark}","number":{number},"padding":"{padding}"}}}}"#);
        self.stream.write_all(http::post(self.address, "/api/metrics", &json).as_bytes())
    }

    /// Pushes every `period` for `long`, while `clients` read, and waits for pending responses.
    pub(crate) fn fan_out(&mut self, clients: &mut Clients, period: Duration, long: Duration) -> Outcome<()> {
        let mut answers = [0; 16 << 10];
        let start = Instant::now();
        let mut next = start;
        while start.elapsed() < long {
            if Instant::now() >= next {
                next += period;
                self.push()?;
            }
            clients.read()?;
            match self.stream.read(&mut answers) {
                Ok(0) => return Err("the pusher was disconnected".into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            thread::sleep(Clients::NAP);
        }
        clients.read_for(Duration::from_millis(250))
    }
}
