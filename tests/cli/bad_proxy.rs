//! Proxy with typical faults, as `tests/e2e/bad-proxy.mjs` has them for browsers. Each kind of traffic has a mode, which can be changed at any
//! time; the server behind it can be replaced.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What becomes of one kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// 400 to an upgrade, 502 to anything else.
    Refuse,
    /// Responds with the head of the response, and forwards nothing after it.
    Swallow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WebSocket,
    Sse,
    Poll,
    Other,
}

struct State {
    upstream: SocketAddr,
    websocket: Mode,
    sse: Mode,
    poll: Mode,
    open: Vec<TcpStream>,
    /// Requests of each kind so far: WebSocket, event stream, poll.
    seen: [usize; 3],
}

/// The proxy. It ends with the process of the test.
pub(crate) struct BadProxy {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl BadProxy {
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (pass, open) = (Mode::Pass, Vec::new());
        let state = State { upstream, websocket: pass, sse: pass, poll: pass, open, seen: [0; 3] };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A connection that breaks is nothing special here.
                thread::spawn(move || drop(serve(client, &state)));
            }
        });
        Self { url, state }
    }

    /// Sets the modes of WebSocket, event streams and polls.
    pub(crate) fn set(&self, websocket: Mode, sse: Mode, poll: Mode) {
        let mut state = self.state.lock().unwrap();
        (state.websocket, state.sse, state.poll) = (websocket, sse, poll);
    }

    /// Replaces the server.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        self.state.lock().unwrap().upstream = upstream;
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        for socket in std::mem::take(&mut self.state.lock().unwrap().open) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Returns the number of requests so far: of WebSockets, event streams and polls.
    pub(crate) fn seen(&self) -> [usize; 3] {
        self.state.lock().unwrap().seen
    }
}

/// Serves one request, with all that follows on its connection.
fn serve(mut client: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client)?;
    let kind = kind_of(&head);
    let (mode, upstream) = {
        let mut state = state.lock().unwrap();
        state.open.push(client.try_clone()?);
        if kind != Kind::Other {
            state.seen[kind as usize] += 1;
        }
        let mode = match kind {
            Kind::WebSocket => state.websocket,
            Kind::Sse => state.sse,
            Kind::Poll => state.poll,
            Kind::Other => Mode::Pass,
        };
        (mode, state.upstream)
    };
    if mode == Mode::Refuse {
        let status = if kind == Kind::WebSocket { "400 Bad Request" } else { "502 Bad Gateway" };
        let response =
            format!("HTTP/1.1 {status}\r\nServer: bad-proxy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return client.write_all(response.as_bytes());
    }
    let mut server = match TcpStream::connect(upstream) {
        Ok(server) => server,
        Err(_) => {
            return client.write_all(
                b"HTTP/1.1 502 Bad Gateway\r\nServer: bad-proxy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    };
    state.lock().unwrap().open.push(server.try_clone()?);
    // One request for each connection, so that each of them is looked at.
    let head = match kind {
        Kind::WebSocket => head,
        _ => head.replacen("\r\n", "\r\nConnection: close\r\n", 1),
    };
    server.write_all(head.as_bytes())?;
    server.write_all(&rest)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let swallows = mode == Mode::Swallow;
    thread::spawn(move || {
        if swallows {
            let _ = std::io::copy(&mut from_client, &mut std::io::sink());
        } else {
            let _ = std::io::copy(&mut from_client, &mut to_server);
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    if swallows {
        let (head, _) = read_head(&mut server)?;
        client.write_all(head.as_bytes())?;
        std::io::copy(&mut server, &mut std::io::sink())?;
    } else {
        std::io::copy(&mut server, &mut client)?;
    }
    client.shutdown(Shutdown::Both)
}

/// Reads up to the empty line; returns it, and what arrived after it.
fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

fn kind_of(head: &str) -> Kind {
    let path = head.split(' ').nth(1).unwrap_or_default();
    if head.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
        Kind::WebSocket
    } else if path.starts_with("/events") {
        Kind::Sse
    } else if head.starts_with("GET /api/metrics?") {
        Kind::Poll
    } else {
        Kind::Other
    }
}
