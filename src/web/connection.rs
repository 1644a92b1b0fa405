//! Deadlines and state of one connection.
//!
//! A client has a limited time for the head of a request, and until its next request. actix-http's own deadlines are not
//! used: they ignore pauses of this process ([`tricast_core::pause`]), give every head but the first unlimited time, and
//! use a clock that stands still during a pause.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    http::header::{self, HeaderMap},
};
use bytes::Bytes;

use super::{admission::Admission, config::AccessConfig, connection_limit::Counted, socket::Socket};
use tricast_core::{
    counters::{Counters, Limit},
    pause::Pause,
    settings::Limits,
};

/// Time between the deadline and the verdict. Meanwhile the socket is read again: data in it may not have been noticed
/// yet, if this worker was busy or many sockets have data at once.
const GRACE: Duration = Duration::from_millis(100);

/// Settings and shared parts of all connections.
pub struct ConnectionConfig {
    /// Metrics of the server itself.
    pub counters: Arc<Counters>,
    /// Limits of a connection.
    pub limits: Limits,
    /// Permits of connections and streams by address.
    pub admission: Arc<Admission>,
    /// Proxies that are trusted to name a client's address.
    pub access: Arc<AccessConfig>,
}

/// State of a connection, shared by its stream ([`super::watched::Watched`]) and its requests.
pub struct Connection {
    config: Arc<ConnectionConfig>,
    asked: Cell<bool>,
    unparsed: Cell<usize>,
    /// It carries no more HTTP than the head of a response.
    released: Cell<bool>,
    /// A request for a WebSocket has its response.
    handshake_answered: Cell<bool>,
    /// Protocol that takes over the socket.
    next: RefCell<Option<Start>>,
    last: Cell<bool>,
    /// A request is being answered, so the client has no deadline.
    answering: Cell<bool>,
    /// The next request may wait for its turn among those of its kind.
    patient: Cell<bool>,
    /// The head of a request has started and is not complete.
    within_head: Cell<bool>,
    /// Deadline of the client.
    deadline: Cell<Instant>,
    /// The deadline has passed, and was extended by [`GRACE`].
    overdue: Cell<bool>,
}

/// Starts the next protocol of a connection on its socket.
pub(super) type Start = Box<dyn FnOnce(Released)>;

/// Socket that HTTP has released, with what counts its connection.
pub(super) struct Released {
    pub(super) socket: Socket,
    pub(super) connection: Rc<Connection>,
    pub(super) counted: Rc<Counted>,
}

/// Missing input of a late client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The rest of the head of a request, or the first request.
    Head,
    /// The next request, on an idle connection.
    Idle,
}

impl Connection {
    /// Creates the state of a new connection.
    pub fn open(config: &Arc<ConnectionConfig>) -> Rc<Self> {
        config.counters.sockets.add(1);
        Rc::new(Self {
            config: Arc::clone(config),
            asked: Cell::new(false),
            unparsed: Cell::new(0),
            released: Cell::new(false),
            handshake_answered: Cell::new(false),
            next: RefCell::new(None),
            last: Cell::new(false),
            answering: Cell::new(false),
            patient: Cell::new(false),
            within_head: Cell::new(false),
            deadline: Cell::new(Instant::now() + config.limits.header_timeout.0),
            overdue: Cell::new(false),
        })
    }

    /// Counts received bytes; returns the number before, since the last request was complete.
    pub(super) fn received(&self, bytes: usize) -> usize {
        self.unparsed.replace(self.unparsed.get().saturating_add(bytes))
    }

    /// Returns the number of bytes received since the last request was complete.
    pub(super) fn unparsed(&self) -> usize {
        self.unparsed.get()
    }

    /// Returns whether another protocol has the socket, or will have it once the head of the response is written.
    pub(super) fn is_released(&self) -> bool {
        self.released.get()
    }

    /// Returns whether a request for a WebSocket has its response.
    pub(super) fn has_answered_handshake(&self) -> bool {
        self.handshake_answered.get()
    }

    /// Sets the protocol that takes over the socket, unless the response is replaced by a refusal.
    pub(super) fn set_next(&self, start: Start) {
        *self.next.borrow_mut() = Some(start);
    }

    /// Takes the protocol that takes over the socket now; `None` if none does.
    pub(super) fn take_next(&self) -> Option<Start> {
        if self.released.get() { self.next.borrow_mut().take() } else { None }
    }

    /// Returns whether the last response closes the connection.
    pub(super) fn is_closing(&self) -> bool {
        self.last.get()
    }

    /// Returns whether the next request may wait for its turn.
    pub(super) fn is_patient(&self) -> bool {
        self.patient.get()
    }

    /// Returns the longest time for the head of a request.
    pub(super) fn header_timeout(&self) -> Duration {
        self.config.limits.header_timeout.0
    }

    /// Records whether the received data ends within the head of a request.
    pub(super) fn set_within_head(&self, within: bool) {
        let before = self.within_head.replace(within);
        // The time for the first head started with the connection.
        if within && !before && self.asked.get() {
            self.wait_from(Instant::now());
        }
    }

    /// Records that the client accepted a part of the response. Its time starts again with each part.
    pub(super) fn wrote(&self) {
        if !self.answering.get() {
            self.wait_from(Instant::now());
        }
    }

    /// Returns whether the head of a request has started and is not complete.
    pub(super) fn is_within_head(&self) -> bool {
        self.within_head.get()
    }

    /// Returns the deadline of the client; `None` while nothing is expected of it. It mostly changes to a later time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.answering.get() && !self.released.get()).then(|| self.deadline.get())
    }

    /// Returns whether the client is late. Call it after its socket was read and had no data. `pause` is the last one of
    /// this process: data that arrived during a pause may still be in the socket, so the whole time starts again after
    /// it.
    pub(super) fn late(&self, now: Instant, pause: Option<Pause>) -> Option<Late> {
        let after_pause = pause.map(|pause| pause.ended + self.patience());
        if after_pause.is_some_and(|deadline| deadline > self.deadline.get()) {
            self.wait_from(pause?.ended);
        }
        if now < self.deadline()? {
            return None;
        }
        if !self.overdue.replace(true) {
            self.deadline.set(now + GRACE);
            return None;
        }
        let late = self.awaited();
        if late == Late::Head {
            self.config.counters.limit(Limit::HeaderTimeout).inc();
        }
        Some(late)
    }

    fn wait_from(&self, moment: Instant) {
        self.deadline.set(moment + self.patience());
        self.overdue.set(false);
    }

    fn patience(&self) -> Duration {
        match self.awaited() {
            Late::Head => self.config.limits.header_timeout.0,
            Late::Idle => self.config.limits.keep_alive.0,
        }
    }

    fn awaited(&self) -> Late {
        if self.within_head.get() || !self.asked.get() { Late::Head } else { Late::Idle }
    }
}

/// Request that is being answered. The time for the next one starts when this is dropped.
pub(super) struct Answering(Rc<Connection>);

impl Answering {
    /// Records that the head of a request was parsed.
    pub(super) fn begin(request: &HttpRequest) -> Option<Self> {
        let connection = request.conn_data::<Rc<Connection>>()?;
        connection.asked.set(true);
        connection.unparsed.set(0);
        connection.answering.set(true);
        connection.patient.set(false);
        Some(Self(Rc::clone(connection)))
    }
}

/// Lets the next request on the connection of `request` wait for its turn ([`super::turn`]): it is expected to be one of
/// many that arrive at the same time.
pub fn be_patient(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.patient.set(true);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(false);
        self.0.wait_from(Instant::now());
    }
}

/// Records that the request has its response, whose body is still to be written.
pub(super) fn answered(
    response: ServiceResponse<BoxBody>,
    answering: Option<Answering>,
    closes: bool,
) -> ServiceResponse<Body> {
    if let Some(Answering(connection)) = &answering {
        let is_refused = response.status().as_u16() >= 400;
        let next = connection.next.take().filter(|_| !is_refused);
        connection.unparsed.set(0);
        connection.released.set(next.is_some());
        *connection.next.borrow_mut() = next;
        connection.last.set(closes);
        if asks_for_websocket(response.request().headers()) {
            connection.handshake_answered.set(true);
        }
    }
    response.map_body(|_, body| Body { body, _answering: answering })
}

/// Returns whether a request asks for a WebSocket, as actix-http sees it: all data that follows belong to it.
pub(super) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::UPGRADE);
    fields.any(|field| field.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Body of a response, which is dropped when it is written.
pub struct Body {
    body: BoxBody,
    _answering: Option<Answering>,
}

impl MessageBody for Body {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _answering } = self;
        body.try_into_bytes().map_err(|body| Self { body, _answering })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.config.counters.sockets.add(-1);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tricast_core::span::Span;

    use super::*;

    const HEAD: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(75);

    /// Returns the settings of connections without limits.
    pub(in crate::web) fn unlimited() -> Arc<ConnectionConfig> {
        let unlimited = Limits {
            max_connections: 0,
            max_connections_per_address: 0,
            max_connections_per_user: 0,
            handshakes_per_second_per_address: 0,
            changes_per_second_per_user: 0,
            header_timeout: Span(HEAD),
            keep_alive: Span(IDLE),
            ..Limits::default()
        };
        Arc::new(ConnectionConfig {
            counters: Arc::default(),
            limits: unlimited,
            admission: Arc::new(Admission::new(unlimited)),
            access: Arc::default(),
        })
    }

    fn open() -> Rc<Connection> {
        Connection::open(&unlimited())
    }

    /// Answers a request on `connection`.
    fn answer(connection: &Rc<Connection>) {
        connection.asked.set(true);
        connection.answering.set(true);
        assert_eq!(connection.deadline(), None);
        drop(Answering(Rc::clone(connection)));
    }

    #[test]
    fn a_client_is_late_at_the_second_check() {
        let connection = open();
        let deadline = connection.deadline().unwrap();
        assert_eq!(connection.late(deadline - Duration::from_millis(1), None), None);
        // The delay of the first check does not matter.
        let first = deadline + Duration::from_secs(9);
        assert_eq!((connection.late(first, None), connection.deadline()), (None, Some(first + GRACE)));
        assert_eq!(connection.late(first + GRACE, None), Some(Late::Head));
        assert_eq!(connection.config.counters.limit(Limit::HeaderTimeout).get(), 1);
    }

    #[test]
    fn every_head_has_a_deadline_and_an_idle_connection_another_one() {
        let connection = open();
        answer(&connection);
        let idle = connection.deadline().unwrap();
        connection.set_within_head(true);
        let head = connection.deadline().unwrap();
        assert!(head + IDLE - HEAD >= idle && head < idle, "the time for a head starts with its first byte");
        connection.set_within_head(true);
        assert_eq!(connection.deadline(), Some(head), "and not again with later bytes");
        connection.set_within_head(false);
        answer(&connection);
        let idle = connection.deadline().unwrap();
        assert_eq!(connection.late(idle, None), None);
        assert_eq!(connection.late(idle + GRACE, None), Some(Late::Idle));
        assert_eq!(connection.config.counters.limit(Limit::HeaderTimeout).get(), 0);
    }

    #[test]
    fn after_a_pause_a_client_has_its_whole_time_again() {
        let connection = open();
        for patience in [HEAD, IDLE] {
            let deadline = connection.deadline().unwrap();
            // It was overdue already before the pause.
            assert_eq!(connection.late(deadline, None), None);
            let pause = Pause { ended: deadline + Duration::from_secs(60), length: Duration::from_secs(60) };
            assert_eq!(connection.late(pause.ended + GRACE, Some(pause)), None);
            let deadline = pause.ended + patience;
            assert_eq!(connection.deadline(), Some(deadline));
            assert_eq!(connection.late(deadline, Some(pause)), None);
            assert!(connection.late(deadline + GRACE, Some(pause)).is_some(), "a pause counts once");
            answer(&connection);
        }
    }

    #[test]
    fn the_time_of_a_client_that_reads_slowly_starts_with_the_last_part() {
        let connection = open();
        answer(&connection);
        let idle = connection.deadline().unwrap();
        assert_eq!(connection.late(idle, None), None);
        connection.wrote();
        assert_eq!(connection.late(idle + GRACE, None), None, "it is not overdue any more");
    }

    #[test]
    fn a_websocket_has_no_deadline() {
        let connection = open();
        answer(&connection);
        connection.released.set(true);
        assert_eq!(connection.deadline(), None);
    }
}
