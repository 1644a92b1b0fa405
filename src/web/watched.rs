//! A connection's stream, as actix-http gets it.
//!
//! A request that can't be parsed is answered by actix-http itself, before any handler and with an empty body. Such an
//! answer is recognised as it is written, and a problem takes its place (RFC 9457), with an id and a line in the log as every
//! other refusal has. A client that is late with a request is refused or left here, too: see [`super::connection`].

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
    connection::{Connection, ConnectionConfig, Late},
    connection_limit::Counted,
    framing::{Framing, MAX_NAME},
    malformed::{self, MOST_KEPT},
    problem::Problem,
    timer::Timer,
};
use tricast_core::{ids::random_u64, pause, protocol::error::Code};

/// What a refused client may still send, and for how long: closing before it was read would take the answer from it.
const MOST_IGNORED: u64 = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// What this worker's connections sent last. It belongs to one of them at a time, so idle ones keep nothing.
    static HEARD: RefCell<Heard> = const { RefCell::new(Heard { from: 0, bytes: Vec::new() }) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The beginning of a head.
struct Heard {
    /// The number of the connection that it came over.
    from: u64,
    bytes: Vec<u8>,
}

/// Any stream that connections come by.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Stream for T {}

/// A stream with what is known about its connection.
pub struct Watched {
    /// Gone once it is left to [`say`].
    io: Option<Box<dyn Stream>>,
    connection: Rc<Connection>,
    counted: Rc<Counted>,
    framing: Framing,
    timer: Timer,
    number: u64,
    /// What is said instead of actix-http's own answer.
    answer: Option<String>,
}

impl Watched {
    /// The stream of a connection from `peer` that was just opened. `None`: the peer has so many that this one is to be closed
    /// at once.
    pub fn new(io: impl Stream, config: &Arc<ConnectionConfig>, peer: Option<IpAddr>) -> Option<Self> {
        let counted = Counted::open(&config.admission, &config.access.proxies, &config.counters, peer)?;
        let number = NUMBER.get() + 1;
        NUMBER.set(number);
        Some(Self {
            io: Some(Box::new(io)),
            connection: Connection::open(config),
            counted,
            framing: Framing::default(),
            timer: Timer::default(),
            number,
            answer: None,
        })
    }

    /// How the connection is counted, for its requests.
    pub fn counted(&self) -> Rc<Counted> {
        Rc::clone(&self.counted)
    }

    /// What is known about the connection, for its requests.
    pub fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Keeps what came in until it is parsed.
    fn hear(&self, bytes: &[u8]) {
        let before = self.connection.received(bytes.len());
        if bytes.is_empty() || before >= MOST_KEPT || self.connection.is_upgraded() {
            return;
        }
        HEARD.with_borrow_mut(|heard| {
            if before == 0 {
                heard.from = self.number;
                heard.bytes.clear();
            }
            if heard.from == self.number && heard.bytes.len() == before {
                heard.bytes.extend_from_slice(&bytes[..bytes.len().min(MOST_KEPT - before)]);
            }
        });
    }

    /// Decides what is said instead of an answer of actix-http with `status`.
    fn refuse(&mut self, status: StatusCode) {
        if self.answer.is_some() {
            return;
        }
        if self.connection.is_closing() {
            // Something was answered that closes the connection; nothing may follow (RFC 9112, section 9.6).
            self.answer = Some(String::new());
            return;
        }
        let unparsed = self.connection.unparsed();
        let (problem, given) = HEARD.with_borrow(|heard| {
            let whole = heard.from == self.number && heard.bytes.len() == unparsed.min(MOST_KEPT);
            let head = if whole { heard.bytes.as_slice() } else { &[] };
            let problem = malformed::problem(status, head, self.connection.header_timeout());
            (problem, malformed::given_id(head).map(str::to_owned))
        });
        let id = given.unwrap_or_else(new_id);
        // Browsers open connections that they then don't need.
        self.say_instead(&problem, &id, unparsed > 0 || self.connection.is_within_head());
    }

    /// Ends the connection if its client is late, once its socket had nothing to read, or took nothing.
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

    /// Sees to it that this is read again when the client is late. To be called at the end of each turn of actix-http.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let deadline = self.connection.deadline().filter(|_| self.io.is_some() && self.answer.is_none());
        self.timer.set(deadline, cx);
    }

    /// A header's name is longer than the parser can bear.
    fn refuse_name(&mut self) {
        if self.answer.is_none() {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let detail = format!("the name of a header has more than {MAX_NAME} bytes");
            self.say_instead(&Problem::new(status, Code::InvalidMessage, detail), &new_id(), true);
        }
    }

    /// Answers with `problem` once actix-http lets go of the connection.
    fn say_instead(&mut self, problem: &Problem, id: &str, worth_a_line: bool) {
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

/// Says why, and waits a little until the client has read it.
async fn say(mut io: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
    let saying = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(MOST_IGNORED), &mut tokio::io::sink()).await
    };
    // A client that is gone needs no answer.
    let _ = tokio::time::timeout(LINGER, saying).await;
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(io), Some(answer)) = (self.io.take(), self.answer.take()) {
            // actix-http lets go of a connection as soon as it has written its own answer.
            actix_web::rt::spawn(say(io, answer));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let before = buffer.filled().len();
        let outcome = Pin::new(io).poll_read(cx, buffer);
        let came = &buffer.filled()[before..];
        if !self.connection.is_upgraded() && self.framing.take(came).is_err() {
            // To actix-http this is the end of what the client sends.
            buffer.set_filled(before);
            self.refuse_name();
            return Poll::Ready(Ok(()));
        }
        self.hear(came);
        if !came.is_empty() {
            self.connection.set_within_head(self.framing.is_within_head());
        }
        if outcome.is_pending() && self.end_if_late() {
            // To actix-http this is the end of what the client sends, too.
            return Poll::Ready(Ok(()));
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = if self.connection.is_upgraded() { None } else { malformed::own_answer(bytes) };
        let before = match own {
            // Answers to the requests before this one are written first.
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
        // actix-http flushes at the end of each turn, also when nothing was written.
        self.set_timer(cx);
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answer.is_some() {
            // It is shut down when that is said.
            return Poll::Ready(Ok(()));
        }
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_shutdown(cx))
    }
}
