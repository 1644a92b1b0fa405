//! One connection, as far as the server has to know it.
//!
//! A client has a limited time for the head of a request, and for its next request. These deadlines are kept here and not by
//! actix-http, which knows nothing of pauses of this process ([`tricast_core::pause`]), gives every head but the first any time, and
//! counts from a clock that stands still during a pause.

use std::{
    cell::Cell,
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
};
use bytes::Bytes;

use super::{admission::Admission, config::AccessConfig};
use tricast_core::{
    counters::{Counters, Limit},
    pause::Pause,
};

/// How long after its deadline a client is called late. Meanwhile the socket is read again: what lies in it may not have been
/// noticed yet, when this worker was held up or many sockets have something at once.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// What every connection is given.
pub struct ConnectionConfig {
    /// Where connections are counted.
    pub counters: Arc<Counters>,
    /// Longest time for the head of a request, from its first byte; of the first request, from when the connection was opened.
    pub header_timeout: Duration,
    /// Longest time between an answer and the next request.
    pub keep_alive: Duration,
    /// Who may open one more.
    pub admission: Arc<Admission>,
    /// Which proxies are trusted.
    pub access: Arc<AccessConfig>,
}

/// What is known about a connection, by its stream ([`super::watched::Watched`]) and by the requests that come over it.
pub struct Connection {
    config: Arc<ConnectionConfig>,
    asked: Cell<bool>,
    unparsed: Cell<usize>,
    upgraded: Cell<bool>,
    last: Cell<bool>,
    /// A request is being answered: its client is waited for by nobody.
    answering: Cell<bool>,
    /// The head of a request has begun and is not complete.
    within_head: Cell<bool>,
    /// When the client is late.
    deadline: Cell<Instant>,
    /// The deadline has passed, and was put off for [`SECOND_LOOK`].
    overdue: Cell<bool>,
}

/// What a late client did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It did not complete the head of a request, or did not begin its first one.
    Head,
    /// It did not send another request.
    Idle,
}

impl Connection {
    /// A connection that was just opened.
    pub fn open(config: &Arc<ConnectionConfig>) -> Rc<Self> {
        config.counters.sockets.add(1);
        Rc::new(Self {
            config: Arc::clone(config),
            asked: Cell::new(false),
            unparsed: Cell::new(0),
            upgraded: Cell::new(false),
            last: Cell::new(false),
            answering: Cell::new(false),
            within_head: Cell::new(false),
            deadline: Cell::new(Instant::now() + config.header_timeout),
            overdue: Cell::new(false),
        })
    }

    /// Counts bytes that came in; returns how many had come before, since the last request was complete.
    pub(super) fn received(&self, bytes: usize) -> usize {
        self.unparsed.replace(self.unparsed.get().saturating_add(bytes))
    }

    /// Bytes that came in since the last request was complete.
    pub(super) fn unparsed(&self) -> usize {
        self.unparsed.get()
    }

    /// Whether the connection is a WebSocket: what goes over it is no HTTP.
    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.get()
    }

    /// Whether the answer that closes the connection was given.
    pub(super) fn is_closing(&self) -> bool {
        self.last.get()
    }

    /// Longest time for the head of a request.
    pub(super) fn header_timeout(&self) -> Duration {
        self.config.header_timeout
    }

    /// Notes whether what came in so far ends within the head of a request.
    pub(super) fn set_within_head(&self, within: bool) {
        let before = self.within_head.replace(within);
        // The time for the first head began with the connection.
        if within && !before && self.asked.get() {
            self.wait_from(Instant::now());
        }
    }

    /// Notes that a part of an answer was taken. The client has its time from the last one.
    pub(super) fn wrote(&self) {
        if !self.answering.get() {
            self.wait_from(Instant::now());
        }
    }

    /// Whether the head of a request has begun and is not complete.
    pub(super) fn is_within_head(&self) -> bool {
        self.within_head.get()
    }

    /// When the client is late; `None` while nothing is expected of it. Changes of this are mostly to a later time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.answering.get() && !self.upgraded.get()).then(|| self.deadline.get())
    }

    /// Whether the client is late, after its socket was read and had nothing. `pause` is the last one of this process: what
    /// came during a pause may still lie in the socket, so the client has its whole time again after it.
    pub(super) fn late(&self, now: Instant, pause: Option<Pause>) -> Option<Late> {
        let after_pause = pause.map(|pause| pause.ended + self.patience());
        if after_pause.is_some_and(|deadline| deadline > self.deadline.get()) {
            self.wait_from(pause?.ended);
        }
        if now < self.deadline()? {
            return None;
        }
        if !self.overdue.replace(true) {
            self.deadline.set(now + SECOND_LOOK);
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
            Late::Head => self.config.header_timeout,
            Late::Idle => self.config.keep_alive,
        }
    }

    fn awaited(&self) -> Late {
        if self.within_head.get() || !self.asked.get() { Late::Head } else { Late::Idle }
    }
}

/// A request that is being answered. The time for the next one begins when this is dropped.
pub(super) struct Answering(Rc<Connection>);

impl Answering {
    /// Notes that the head of a request was parsed.
    pub(super) fn begin(request: &HttpRequest) -> Option<Self> {
        let connection = request.conn_data::<Rc<Connection>>()?;
        connection.asked.set(true);
        connection.unparsed.set(0);
        connection.answering.set(true);
        Some(Self(Rc::clone(connection)))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(false);
        self.0.wait_from(Instant::now());
    }
}

/// Notes that the request has its answer, whose body is still to be written.
pub(super) fn answered(
    response: ServiceResponse<BoxBody>,
    answering: Option<Answering>,
    upgrades: bool,
    closes: bool,
) -> ServiceResponse<Body> {
    if let Some(Answering(connection)) = &answering {
        connection.unparsed.set(0);
        connection.upgraded.set(upgrades);
        connection.last.set(closes);
    }
    response.map_body(|_, body| Body { body, _answering: answering })
}

/// The body of an answer, which is dropped when it is written.
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
mod tests {
    use super::*;
    use crate::web::admission::AdmissionConfig;

    const HEAD: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(75);

    fn open() -> Rc<Connection> {
        let unlimited = AdmissionConfig {
            max_connections: 0,
            max_connections_per_address: 0,
            max_connections_per_user: 0,
            handshakes_per_second_per_address: 0,
            changes_per_second_per_user: 0,
        };
        Connection::open(&Arc::new(ConnectionConfig {
            counters: Arc::default(),
            header_timeout: HEAD,
            keep_alive: IDLE,
            admission: Arc::new(Admission::new(unlimited)),
            access: Arc::default(),
        }))
    }

    /// Answers a request on `connection`.
    fn answer(connection: &Rc<Connection>) {
        connection.asked.set(true);
        connection.answering.set(true);
        assert_eq!(connection.deadline(), None);
        drop(Answering(Rc::clone(connection)));
    }

    #[test]
    fn a_client_is_late_at_the_second_look() {
        let connection = open();
        let deadline = connection.deadline().unwrap();
        assert_eq!(connection.late(deadline - Duration::from_millis(1), None), None);
        // However late the first look is.
        let first = deadline + Duration::from_secs(9);
        assert_eq!((connection.late(first, None), connection.deadline()), (None, Some(first + SECOND_LOOK)));
        assert_eq!(connection.late(first + SECOND_LOOK, None), Some(Late::Head));
        assert_eq!(connection.config.counters.limit(Limit::HeaderTimeout).get(), 1);
    }

    #[test]
    fn every_head_has_a_deadline_and_an_idle_connection_another_one() {
        let connection = open();
        answer(&connection);
        let idle = connection.deadline().unwrap();
        connection.set_within_head(true);
        let head = connection.deadline().unwrap();
        assert!(head + IDLE - HEAD >= idle && head < idle, "the time for a head begins with its first byte");
        connection.set_within_head(true);
        assert_eq!(connection.deadline(), Some(head), "and not with each that follows");
        connection.set_within_head(false);
        answer(&connection);
        let idle = connection.deadline().unwrap();
        assert_eq!(connection.late(idle, None), None);
        assert_eq!(connection.late(idle + SECOND_LOOK, None), Some(Late::Idle));
        assert_eq!(connection.config.counters.limit(Limit::HeaderTimeout).get(), 0);
    }

    #[test]
    fn after_a_pause_a_client_has_its_whole_time_again() {
        let connection = open();
        for patience in [HEAD, IDLE] {
            let deadline = connection.deadline().unwrap();
            // It was overdue already when the process stood still.
            assert_eq!(connection.late(deadline, None), None);
            let pause = Pause { ended: deadline + Duration::from_secs(60), length: Duration::from_secs(60) };
            assert_eq!(connection.late(pause.ended + SECOND_LOOK, Some(pause)), None);
            let deadline = pause.ended + patience;
            assert_eq!(connection.deadline(), Some(deadline));
            assert_eq!(connection.late(deadline, Some(pause)), None);
            assert!(connection.late(deadline + SECOND_LOOK, Some(pause)).is_some(), "a pause counts once");
            answer(&connection);
        }
    }

    #[test]
    fn a_client_that_takes_its_answer_slowly_has_its_time_from_the_last_part() {
        let connection = open();
        answer(&connection);
        let idle = connection.deadline().unwrap();
        assert_eq!(connection.late(idle, None), None);
        connection.wrote();
        assert_eq!(connection.late(idle + SECOND_LOOK, None), None, "it is not overdue any more");
    }

    #[test]
    fn a_websocket_has_no_deadline() {
        let connection = open();
        answer(&connection);
        connection.upgraded.set(true);
        assert_eq!(connection.deadline(), None);
    }
}
