//! Stream of a connection, between the socket and actix-http.
//!
//! actix-http itself answers requests that it cannot parse, before any handler and with an empty body. Such a response is
//! recognised when it is written, and replaced by a problem (RFC 9457) with an ID and a log line, like any other refusal.
//! A late client is refused or disconnected here too: see [`super::connection`].

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    connection::{Connection, ConnectionConfig, Late, Released},
    connection_limit::Counted,
    framing::{Framing, MAX_NAME},
    malformed::{self, MOST_KEPT},
    problem::Problem,
    socket::Socket,
    timer::Timer,
    turn::Turn,
};
use tricast_core::{ids::random_u64, pause, protocol::error::Code};

/// Limits of bytes and time for reading from a refused client: closing before its data was read would discard the response.
const MOST_IGNORED: u64 = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// Head that this worker received last. It belongs to one connection at a time, so that idle ones keep no buffer.
    static LAST_HEAD: RefCell<HeadBuffer> = const { RefCell::new(HeadBuffer { from: 0, bytes: Vec::new() }) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Start of a request head.
struct HeadBuffer {
    /// Number of the connection that sent it.
    from: u64,
    bytes: Vec<u8>,
}

/// Stream with the state of its connection.
pub struct Watched {
    /// `None` once it is passed to [`send_and_close`], or to the protocol that takes over.
    io: Option<Socket>,
    connection: Rc<Connection>,
    counted: Rc<Counted>,
    framing: Framing,
    timer: Timer,
    /// Turn of a request that may wait.
    turn: Turn,
    number: u64,
    /// Response in place of actix-http's own one.
    answer: Option<String>,
    /// The input was withheld from actix-http.
    is_withholding: bool,
}

impl Watched {
    /// Creates the stream of a new connection from `peer`. `None` if the peer has so many connections that this one has
    /// to be closed at once.
    pub fn new(io: Socket, config: &Arc<ConnectionConfig>, peer: Option<IpAddr>) -> Option<Self> {
        let counted = Counted::open(&config.admission, &config.access.proxies, &config.counters, peer)?;
        let number = NUMBER.get() + 1;
        NUMBER.set(number);
        Some(Self {
            io: Some(io),
            connection: Connection::open(config),
            counted,
            framing: Framing::default(),
            timer: Timer::default(),
            turn: Turn::default(),
            number,
            answer: None,
            is_withholding: false,
        })
    }

    /// Returns the permits of the connection, for its requests.
    pub fn counted(&self) -> Rc<Counted> {
        Rc::clone(&self.counted)
    }

    /// Returns the state of the connection, for its requests.
    pub fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Records received bytes until they are parsed.
    fn record(&self, bytes: &[u8]) {
        let before = self.connection.received(bytes.len());
        if bytes.is_empty() || before >= MOST_KEPT || self.connection.is_released() {
            return;
        }
        LAST_HEAD.with_borrow_mut(|head| {
            if before == 0 {
                head.from = self.number;
                head.bytes.clear();
            }
            if head.from == self.number && head.bytes.len() == before {
                head.bytes.extend_from_slice(&bytes[..bytes.len().min(MOST_KEPT - before)]);
            }
        });
    }

    /// Chooses the response in place of that of actix-http with `status`.
    fn refuse(&mut self, status: StatusCode) {
        if self.answer.is_some() {
            return;
        }
        if self.connection.is_closing() {
            // A response that closes the connection was sent; nothing may follow (RFC 9112, section 9.6).
            self.answer = Some(String::new());
            return;
        }
        let unparsed = self.connection.unparsed();
        let (problem, given) = LAST_HEAD.with_borrow(|head| {
            let whole = head.from == self.number && head.bytes.len() == unparsed.min(MOST_KEPT);
            let bytes = if whole { head.bytes.as_slice() } else { &[] };
            let problem = malformed::problem(status, bytes, self.connection.header_timeout());
            (problem, malformed::given_id(bytes).map(str::to_owned))
        });
        let id = given.unwrap_or_else(new_id);
        // Browsers open connections in advance and then do not use them.
        self.replace_answer(&problem, &id, unparsed > 0 || self.connection.is_within_head());
    }

    /// Returns whether the input has to wait for the response to a handshake: what follows may belong to the WebSocket.
    fn withholds(&self) -> bool {
        self.framing.is_upgrade() && !self.connection.has_answered_handshake()
    }

    /// Passes the socket to the protocol that takes over, if there is one. Call it when all is written that actix-http has.
    fn release(&mut self, cx: &mut Context<'_>) {
        if self.io.is_some()
            && let Some(start) = self.connection.take_next()
            && let Some(socket) = self.io.take()
        {
            start(Released { socket, connection: self.connection(), counted: self.counted() });
            // actix-http finds the end of the client's data.
            cx.waker().wake_by_ref();
        }
    }

    /// Ends the connection if its client is late. Call it after the socket had no data to read, or accepted none.
    fn end_if_late(&mut self) -> bool {
        if !self.timer.has_run_out() {
            return false;
        }
        match self.connection.late(Instant::now(), pause::last()) {
            None => return false,
            Some(Late::Head) => self.refuse(StatusCode::REQUEST_TIMEOUT),
            Some(Late::Idle) => self.io = None,
        }
        true
    }

    /// Sets the timer for the client's deadline. Call it at the end of each turn of actix-http.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let deadline = self.connection.deadline().filter(|_| self.io.is_some() && self.answer.is_none());
        self.timer.set(deadline, cx);
    }

    /// Refuses a header name that is too long for the parser.
    fn refuse_name(&mut self) {
        if self.answer.is_none() {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let detail = format!("the name of a header has more than {MAX_NAME} bytes");
            self.replace_answer(&Problem::new(status, Code::InvalidMessage, detail), &new_id(), true);
        }
    }

    /// Sends `problem` once actix-http drops the connection.
    fn replace_answer(&mut self, problem: &Problem, id: &str, worth_a_line: bool) {
        let (status, code, detail) = (problem.status.as_u16(), problem.code.as_str(), problem.detail.as_str());
        if worth_a_line {
            tracing::info!(id, status, code, detail, "refused");
        } else {
            tracing::debug!(id, status, code, detail, "refused");
        }
        self.answer = Some(malformed::answer(problem, id));
    }
}

fn new_id() -> String {
    format!("{:016x}", random_u64())
}

/// Sends the response and waits a little for the client to read it.
async fn send_and_close(mut io: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
    let sending = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(MOST_IGNORED), &mut tokio::io::sink()).await
    };
    // A client that is disconnected needs no response.
    let _ = tokio::time::timeout(LINGER, sending).await;
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(io), Some(answer)) = (self.io.take(), self.answer.take()) {
            // actix-http drops the connection as soon as it has written its own response.
            actix_web::rt::spawn(send_and_close(io, answer));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.withholds() {
            self.is_withholding = true;
            return Poll::Pending;
        }
        if self.connection.is_patient()
            && let Self { io: Some(io), turn, .. } = &mut *self
            && io.poll_read_ready(cx).is_ready()
            && turn.poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let Some(io) = &mut self.io else {
            // A connection that was taken over ends here as if its client had closed it.
            let is_released = self.connection.is_released();
            return Poll::Ready(if is_released { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) });
        };
        let before = buffer.filled().len();
        let outcome = Pin::new(io).poll_read(cx, buffer);
        let came = &buffer.filled()[before..];
        if !self.connection.is_released() && self.framing.take(came).is_err() {
            // actix-http sees this as the end of the client's data.
            buffer.set_filled(before);
            self.refuse_name();
            return Poll::Ready(Ok(()));
        }
        self.record(came);
        if !came.is_empty() {
            self.connection.set_within_head(self.framing.is_within_head());
        }
        if outcome.is_pending() && self.end_if_late() {
            // actix-http sees this as the end of the client's data too.
            return Poll::Ready(Ok(()));
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = if self.connection.is_released() { None } else { malformed::own_answer(bytes) };
        let before = match own {
            // Responses to earlier requests are written first.
            Some((begin, _)) if begin > 0 => &bytes[..begin],
            Some((_, status)) => {
                self.refuse(status);
                return Poll::Ready(Ok(bytes.len()));
            }
            None => bytes,
        };
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let outcome = Pin::new(io).poll_write(cx, before);
        if outcome.is_ready() {
            self.connection.wrote();
        } else if self.end_if_late() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        } else {
            self.set_timer(cx);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // actix-http flushes at the end of each turn, even if nothing was written.
        self.release(cx);
        if self.is_withholding && !self.withholds() {
            self.is_withholding = false;
            cx.waker().wake_by_ref();
        }
        self.set_timer(cx);
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answer.is_some() {
            // The connection is shut down after the response.
            return Poll::Ready(Ok(()));
        }
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_shutdown(cx))
    }
}
