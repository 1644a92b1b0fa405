//! One TCP connection, as far as the server has to know it.

use std::{
    any::Any,
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, dev::Extensions};

use crate::counters::{Counters, Limit};

/// By how much actix's time-outs may be early.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// Watches whether a connection ever asks for something. One that does not, for as long as a request's head may take,
/// is counted: it was cut by the time-out, and nothing else hears of it.
struct Connection {
    counters: Arc<Counters>,
    header_timeout: Duration,
    opened: Instant,
    asked: Cell<bool>,
}

/// What to do with a new connection.
pub fn watch(counters: Arc<Counters>, header_timeout: Duration) -> impl Fn(&dyn Any, &mut Extensions) + Clone {
    move |_, extensions| {
        let counters = Arc::clone(&counters);
        counters.sockets.add(1);
        extensions.insert(Connection { counters, header_timeout, opened: Instant::now(), asked: Cell::new(false) });
    }
}

/// A request came in whole.
pub(super) fn asked(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Connection>() {
        connection.asked.set(true);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.sockets.add(-1);
        // actix's clock goes in steps of half a second, so a time-out may come so much early.
        let timed_out = self.opened.elapsed() + CLOCK_STEP >= self.header_timeout;
        if !self.asked.get() && timed_out {
            self.counters.limit(Limit::HeaderTimeout).inc();
        }
    }
}
