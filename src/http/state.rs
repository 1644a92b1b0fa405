//! What the handlers of one worker share.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::HttpRequest;

use super::{access::AccessConfig, body::BodyConfig, problem::Problem};
use crate::{
    auth::Identity,
    core::{aggregator::AggregatorHandle, clock::Clock, hub::Hub, log::Log},
    counters::{Counters, Transport},
    dashboards::DashboardService,
    orders::OrderService,
    presence::{Presence, RecentPollers, StreamGuard},
    shutdown::{Shutdown, random, reconnect_after},
    sources::own_http::OwnHttp,
};

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The log that is read.
    pub log: Arc<Log>,
    /// The writer.
    pub aggregator: AggregatorHandle,
    /// The server's own numbers.
    pub counters: Arc<Counters>,
    /// Who is online.
    pub presence: Presence,
    /// Whether the server is going away.
    pub shutdown: Shutdown,
    /// Wall-clock time.
    pub clock: Clock,
    /// The server's own HTTP traffic.
    pub own_http: Arc<OwnHttp>,
    /// Requests by route.
    pub routes: Arc<super::metrics_page::Routes>,
    /// The business side.
    pub orders: OrderService,
    /// The boards that people look at.
    pub dashboards: DashboardService,
    /// Who may come in.
    pub access: Arc<AccessConfig>,
    /// Bodies of requests.
    pub body: BodyConfig,
    /// A stream is ended after about this time, so that clients spread over nodes. Zero: never.
    pub max_connection_age: Duration,
    /// Most streams open at once; 0 means no limit.
    pub max_connections: usize,
    /// Known to this process alone: by it the server knows its own check of itself.
    pub probe: Arc<str>,
    /// Where the server listens, for the check that it performs against itself.
    pub addresses: Arc<std::sync::OnceLock<Vec<std::net::SocketAddr>>>,
}

/// What the handlers of one worker share. Belongs to the worker's thread.
pub struct State {
    shared: Shared,
    /// The worker's hub.
    pub hub: Rc<Hub>,
    /// Requests by route on this worker.
    pub worker_routes: Arc<super::metrics_page::WorkerRoutes>,
    pollers: RefCell<RecentPollers>,
    id_prefix: String,
    ids: Cell<u64>,
}

impl std::ops::Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl State {
    /// The state of a new worker; starts its hub. Call it on the worker's thread.
    pub fn start(shared: Shared) -> Rc<Self> {
        let hub = Hub::new(Arc::clone(&shared.log));
        actix_web::rt::spawn(Rc::clone(&hub).run(shared.shutdown.watch()));
        actix_web::rt::spawn(watch_lag(Arc::clone(&shared.counters)));
        let id_prefix = format!("{:010x}", random() >> 24);
        let worker_routes = shared.routes.worker();
        Rc::new(Self { shared, hub, worker_routes, pollers: RefCell::default(), id_prefix, ids: Cell::new(0) })
    }

    /// The state that serves `request`.
    ///
    /// # Errors
    /// A 500 when the application was put together without it.
    pub fn of(request: &HttpRequest) -> Result<Rc<Self>, Problem> {
        request.app_data::<Rc<Self>>().cloned().ok_or_else(|| Problem::internal("no state in the application"))
    }

    /// A name that no other request or connection of this server has.
    pub fn new_id(&self) -> String {
        let id = self.ids.get() + 1;
        self.ids.set(id);
        format!("{}-{id:x}", self.id_prefix)
    }

    /// Takes a place for a stream.
    ///
    /// # Errors
    /// 503 while the server drains, or when it has as many streams as it may.
    pub fn open_stream(&self, transport: Transport, identity: &Identity) -> Result<StreamSlot, Problem> {
        if self.shutdown.is_draining() {
            return Err(Problem::unavailable("the server is going away", reconnect_after()));
        }
        if self.max_connections > 0 && self.counters.streams() >= self.max_connections as i64 {
            self.counters.refused_connections.inc();
            return Err(Problem::unavailable("the server has as many streams as it may", reconnect_after()));
        }
        let of = self.counters.of(transport);
        of.opened.inc();
        of.connections.add(1);
        Ok(StreamSlot {
            counters: Arc::clone(&self.counters),
            transport,
            _presence: Some(self.presence.stream(&identity.counted_as())),
        })
    }

    /// A place for the server's own check of itself: it counts as no user, and there is always one.
    pub fn open_probe(&self, transport: Transport) -> StreamSlot {
        self.counters.of(transport).connections.add(1);
        StreamSlot { counters: Arc::clone(&self.counters), transport, _presence: None }
    }

    /// Notes that `address` polled.
    pub fn note_poll(&self, identity: &Identity, address: Option<IpAddr>) {
        if address.is_none_or(|address| self.pollers.borrow_mut().is_due(address)) {
            self.presence.poll(&identity.counted_as());
        }
    }

    /// How long a connection may live: `max_connection_age` with a tenth of jitter, if there is one.
    pub fn retire_after(&self) -> Option<Duration> {
        let age = self.max_connection_age;
        (!age.is_zero()).then(|| age.mul_f64(0.9 + (random() % 1_000) as f64 / 5_000.0))
    }
}

/// A place that a stream holds; given back when it is dropped.
pub struct StreamSlot {
    counters: Arc<Counters>,
    transport: Transport,
    _presence: Option<StreamGuard>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.counters.of(self.transport).connections.add(-1);
    }
}

/// Measures by how much this worker is late: what every stream on it feels.
async fn watch_lag(counters: Arc<Counters>) {
    const EVERY: Duration = Duration::from_millis(500);
    loop {
        let due = tokio::time::Instant::now() + EVERY;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed().as_millis() as i64;
        // The level falls by half each time, so that the worst of the workers shows for a moment.
        counters.lag_ms.set(late.max(counters.lag_ms.get() / 2));
    }
}
