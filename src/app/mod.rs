//! The composition root: builds every part from the configuration, hands each its own section, binds the sockets.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use tracing_actix_web::TracingLogger;

mod listen;
mod routes;

use crate::{
    config::{Config, Listen},
    core::{
        aggregator::{Aggregator, AggregatorConfig, AggregatorHandle},
        clock::Clock,
        log::{Log, LogConfig},
    },
    counters::Counters,
    dashboards::DashboardService,
    http::{
        access::AccessConfig,
        body::BodyConfig,
        metrics_page::Routes,
        middleware,
        state::{Shared, State},
        telemetry::RequestSpan,
    },
    orders::OrderService,
    presence::Presence,
    shutdown::{Shutdown, random},
    sources::{self, Sources, own_http::OwnHttp},
    store::sqlite::{OpenError, SqliteStore},
};

/// Bytes of answers that a connection may hold in user space: above it the next value is not even read, so that a
/// client that was slow gets the newest one.
const WRITE_BUFFER: usize = 2_048;

/// The tenant of everybody, as long as there are no tokens.
const TENANT: &str = "default";

/// How long an idle connection is kept for the next poll.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, not ours, or not allowed.
    #[error("can't listen on {place}: {source}")]
    Listen {
        /// As it was written.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
    /// The time zone is not known.
    #[error("time_zone: {0}")]
    TimeZone(jiff::Error),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// A server that is bound and not yet running.
pub struct Application {
    server: Server,
    shared: Shared,
    addresses: Vec<SocketAddr>,
    writer: Writer,
    store: SqliteStore,
    drain_timeout: Duration,
    demo: bool,
}

impl Application {
    /// Builds every part and binds the sockets. Call it inside an actix or tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let zone = TimeZone::get(&config.time_zone).map_err(StartError::TimeZone)?;
        let (log_writer, log) = Log::create(LogConfig { events: config.log.events, bytes: config.log.bytes.0 });
        let limits = AggregatorConfig {
            max_channels: config.limits.max_channels,
            max_value: config.limits.max_body.0,
            max_snapshot: config.limits.max_snapshot.0,
        };
        let (aggregator, handle) = Aggregator::new(log_writer, clock.clone(), limits);
        let store = open_store(config)?;
        let kept = Arc::new(store.clone());
        let orders = OrderService::new(
            TENANT,
            Arc::<SqliteStore>::clone(&kept),
            handle.clone(),
            clock.clone(),
            zone.clone(),
            config.currency.clone(),
        );
        let dashboards = DashboardService::new(TENANT, kept, handle.clone(), clock.clone());
        let shared = Shared {
            log,
            aggregator: handle.clone(),
            counters: Arc::new(Counters::default()),
            presence: Presence::default(),
            shutdown: Shutdown::default(),
            clock: clock.clone(),
            own_http: Arc::new(OwnHttp::default()),
            routes: Arc::new(Routes::default()),
            orders: orders.clone(),
            dashboards: dashboards.clone(),
            access: Arc::new(AccessConfig {
                allowed_origins: config.allowed_origins.clone(),
                public_origin: config.public_url.as_deref().and_then(crate::config::origin_of),
            }),
            body: BodyConfig { max_bytes: config.limits.max_body.0, timeout: config.limits.body_timeout.0 },
            max_connection_age: config.max_connection_age.0,
            max_connections: config.limits.max_connections,
            probe: format!("{:016x}{:016x}", random(), random()).into(),
            addresses: Arc::new(OnceLock::new()),
        };
        let sources = Sources {
            aggregator: handle,
            own_http: Arc::clone(&shared.own_http),
            presence: shared.presence.clone(),
            counters: Arc::clone(&shared.counters),
            clock,
            zone,
        };
        let (server, addresses) = serve(config, &shared)?;
        // Nobody else sets it.
        drop(shared.addresses.set(addresses.clone()));
        let writer = Writer::start(aggregator, sources, orders, dashboards).map_err(StartError::Thread)?;
        Ok(Self { server, shared, addresses, writer, store, drain_timeout: config.drain_timeout.0, demo: false })
    }

    /// Opens the simulated shop once the server runs. It needs a TCP address to talk to.
    pub fn with_demo(mut self, demo: bool) -> Self {
        self.demo = demo;
        self
    }

    /// The TCP addresses it is bound to, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` completes, then drains: not ready, streams told to go, the rest answered, all within
    /// `drain_timeout`.
    ///
    /// # Errors
    /// What the server's accept loop failed with.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, shared, addresses, writer, store, drain_timeout, demo } = self;
        let handle = server.handle();
        let mut serving = tokio::spawn(server);
        let shop = addresses.first().filter(|_| demo).map(|address| tokio::spawn(sources::demo::run(*address)));
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = stop => None,
        };
        if let Some(shop) = shop {
            shop.abort();
        }
        let result = match ended {
            Some(ended) => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            None => {
                let deadline = Instant::now() + drain_timeout;
                drain(&shared, deadline).await;
                // The requests that still run have what is left of the time.
                if tokio::time::timeout_at(deadline, handle.stop(true)).await.is_err() {
                    handle.stop(false).await;
                }
                serving.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        drop(shared);
        writer.stop().await;
        // The last: what anybody above was still writing is written.
        store.close().await;
        tracing::info!("stopped");
        result
    }
}

/// Opens the store that the configuration names.
fn open_store(config: &Config) -> Result<SqliteStore, OpenError> {
    match &config.data_dir {
        Some(directory) => {
            let store = SqliteStore::open(directory)?;
            tracing::info!(data_dir = %directory.display(), "orders and dashboards are kept");
            Ok(store)
        }
        None => {
            tracing::info!("no data_dir: orders and dashboards are in memory and end with the process");
            SqliteStore::in_memory()
        }
    }
}

/// Tells every stream to go and waits until they are gone or the time is up.
async fn drain(shared: &Shared, deadline: Instant) {
    let streams = shared.counters.streams();
    tracing::info!(streams, "draining");
    // Those who follow `system` are told as they are told of everything else; the writer may be gone already.
    let _ = sources::announce(&shared.aggregator, "maintenance", json!({"reason": "SERVER_MAINTENANCE"})).await;
    shared.shutdown.start_draining();
    let gone = async {
        while shared.counters.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout_at(deadline, gone).await.is_err() {
        tracing::warn!(streams = shared.counters.streams(), "not all streams left in time");
    }
}

fn serve(config: &Config, shared: &Shared) -> Result<(Server, Vec<SocketAddr>), StartError> {
    let routes = routes::Routes::of(config);
    let factory = {
        let shared = shared.clone();
        move || {
            let state = State::start(shared.clone());
            App::new()
                .app_data(state)
                .wrap(from_fn(middleware::around))
                .configure(|services| routes.streams_and_polls(services))
                .service(
                    web::scope("")
                        .wrap(TracingLogger::<RequestSpan>::new())
                        .configure(|services| routes.plain(services)),
                )
        }
    };
    let mut server = HttpServer::new(factory)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(config.limits.header_timeout.0)
        // Or TCP stays open after a WebSocket's closing handshake.
        .client_disconnect_timeout(Duration::ZERO)
        // Or an event stream whose client went away is not noticed until the next write.
        .h1_allow_half_closed(false)
        .h1_write_buffer_size(WRITE_BUFFER)
        .tcp_nodelay(true)
        .max_connections(1_000_000)
        .shutdown_timeout(config.drain_timeout.0.as_secs().max(1));
    if config.workers > 0 {
        server = server.workers(config.workers);
    }
    let mut addresses = Vec::new();
    for place in config.listen_places() {
        let error = |source| StartError::Listen { place: format!("{place:?}"), source };
        server = match &place {
            Listen::Tcp(address) => {
                let listener = listen::tcp(*address, config.limits.stall_timeout.0).map_err(error)?;
                addresses.push(listener.local_addr().map_err(error)?);
                server.listen(listener).map_err(error)?
            }
            Listen::Unix(path) => server.listen_uds(listen::unix(path).map_err(error)?).map_err(error)?,
        };
    }
    Ok((server.run(), addresses))
}

/// The thread of the aggregator and of everything that feeds it from inside.
struct Writer {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    fn start(
        aggregator: Aggregator,
        sources: Sources,
        orders: OrderService,
        dashboards: DashboardService,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("aggregator".into()).spawn(move || {
            runtime.block_on(async move {
                let business = async {
                    tokio::join!(orders.run(), dashboards.run());
                };
                tokio::select! {
                    () = aggregator.run() => {}
                    () = sources.run() => {}
                    () = business => {}
                    // The sender is dropped or says so: both mean the end.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop, thread })
    }

    async fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let thread = self.thread;
        drop(tokio::task::spawn_blocking(move || thread.join()).await);
    }
}

/// What tests and other parts of the program may need of a built application.
impl Application {
    /// Hands in readings as the program itself does.
    pub fn aggregator(&self) -> AggregatorHandle {
        self.shared.aggregator.clone()
    }
}
