//! One connection, as far as the server has to know it.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::HttpRequest;

use super::{access::AccessConfig, admission::Admission};
use crate::counters::{Counters, Limit};

/// By how much actix's time-outs may be early.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// What every connection is given.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// Where connections are counted.
    pub counters: Arc<Counters>,
    /// Longest time for the first request's head.
    pub header_timeout: Duration,
    /// Who may open one more.
    pub admission: Arc<Admission>,
    /// Which proxies are trusted.
    pub access: Arc<AccessConfig>,
}

/// What is known about a connection, by its stream ([`super::watched::Watched`]) and by the requests that come over it.
///
/// One that never asks for anything, for as long as a request's head may take, is counted: it was cut by the time-out.
pub struct Connection {
    config: ConnectionConfig,
    opened: Instant,
    asked: Cell<bool>,
    unparsed: Cell<usize>,
    upgraded: Cell<bool>,
    last: Cell<bool>,
}

impl Connection {
    /// A connection that was just opened.
    pub fn open(config: &ConnectionConfig) -> Rc<Self> {
        config.counters.sockets.add(1);
        Rc::new(Self {
            config: config.clone(),
            opened: Instant::now(),
            asked: Cell::new(false),
            unparsed: Cell::new(0),
            upgraded: Cell::new(false),
            last: Cell::new(false),
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

    /// Longest time for the first request's head.
    pub(super) fn header_timeout(&self) -> Duration {
        self.config.header_timeout
    }
}

/// Notes that the head of a request was parsed.
pub(super) fn asked(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.asked.set(true);
        connection.unparsed.set(0);
    }
}

/// Notes that the request has its answer; `closes` where that is the last one.
pub(super) fn answered(request: &HttpRequest, upgrades: bool, closes: bool) {
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.unparsed.set(0);
        connection.upgraded.set(upgrades);
        connection.last.set(closes);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Self { config, opened, asked, .. } = self;
        config.counters.sockets.add(-1);
        // actix's clock goes in steps of half a second, so a time-out may come so much early.
        let timed_out = opened.elapsed() + CLOCK_STEP >= config.header_timeout;
        if !asked.get() && timed_out {
            config.counters.limit(Limit::HeaderTimeout).inc();
        }
    }
}
