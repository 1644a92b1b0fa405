//! The composition root: builds every part from the configuration, hands each its own section, binds the sockets.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering, mpsc},
    time::Duration,
};

use actix_web::dev::Server;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::{sync::watch, time::Instant};

mod listen;
mod lives;
mod notices;
pub mod openapi;
mod routes;
mod server;
mod supervisor;
mod thread;

pub use self::supervisor::Supervisor;
use self::thread::Thread;
use crate::{
    config::{AuthMode, Config, ForwardedHeader, Listen},
    shutdown::Shutdown,
    tenants::{TenantDeps, Tenants},
    web::{
        admission::{Admission, AdmissionConfig},
        client::{ForwardedBy, ProxyConfig},
        clocks::Clocks,
        config::{AccessConfig, BodyConfig},
        diagnostics,
        request_counts::RequestCounts,
        state::Shared,
    },
};
use tricast_auth::{KeyError, Tickets, Verifier, unguessable};
use tricast_cluster::{BusError, Cluster};
use tricast_core::{
    aggregator::{AggregatorConfig, EndCounts, StateBudget},
    clock::Clock,
    counters::Counters,
    lives::Lives,
    log::LogConfig,
    pause,
};
use tricast_domain::{
    alerts::{Alerting, Announce, Outbox, Target, TargetError},
    orders::RowLimits,
    sources::{self, demo::ServerAddress},
};
use tricast_store::{OpenError, Store};

/// Time for which a stopping server waits for the last requests on kept connections.
const LINGER: Duration = Duration::from_millis(500);

/// Longest time that a node waits for the log of its cluster before it serves without it.
const UNTIL_LOADED: Duration = Duration::from_secs(10);

/// Reason why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, not of this machine, or not allowed.
    #[error("can't listen on {place}: {}", listening_fault(source))]
    Listen {
        /// Address to listen on.
        place: Listen,
        /// Error of the system.
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
    /// The bus can't be used as it is configured.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The keys of tokens can't be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The settings of a notification target cannot be used.
    #[error("alerts can't be sent: {0}")]
    Target(#[from] TargetError),
    /// The system's random generator cannot be read, so that no secret can be made.
    #[error("the operating system's random generator cannot be read")]
    NoRandomBytes,
}

/// Describes an error of listening, and its remedy.
fn listening_fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it, or choose another address with --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => format!("{error}: this machine does not have this address"),
        _ => error.to_string(),
    }
}

/// Server that is bound and not running yet.
pub struct Application {
    server: Server,
    shared: Shared,
    addresses: Vec<SocketAddr>,
    writer: Thread,
    readers: Thread,
    /// Thread of the store, if it needs one.
    keeping: Option<Thread>,
    store: Store,
    drain_timeout: Duration,
    supervisor: Option<Supervisor>,
    greeting: Option<Box<dyn FnOnce() + Send>>,
}

/// Registers paths beside the server's own.
pub type ExtraPaths = Arc<dyn Fn(&mut actix_web::web::ServiceConfig) + Send + Sync>;

/// Applies settings to a running server.
pub struct Reload {
    verifier: Option<Verifier>,
}

impl Reload {
    /// Reads the keys of tokens again.
    pub fn keys(&self) {
        if let Some(verifier) = &self.verifier {
            verifier.refresh();
        }
    }
}

impl Application {
    /// Builds every part and binds the sockets. Call it inside an actix or tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build(config: &Config, clock: Clock) -> Result<Self, StartError> {
        Self::build_with(config, clock, Arc::new(|_| {}))
    }

    /// Builds every part with `extra` paths before the server's own: for the suites of `docs/conformance.md`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build_with(config: &Config, clock: Clock, extra: ExtraPaths) -> Result<Self, StartError> {
        let zone = TimeZone::get(&config.time_zone).map_err(StartError::TimeZone)?;
        let keeping = config.database().map(|_| Thread::start("store")).transpose().map_err(StartError::Thread)?;
        let store = open_store(config, keeping.as_ref())?;
        let writer = Thread::start("aggregator").map_err(StartError::Thread)?;
        let readers = Thread::start("inner-readers").map_err(StartError::Thread)?;
        pause::watch().map_err(StartError::Thread)?;
        let counters = Arc::<Counters>::default();
        let (smtp, webhook) = (config.smtp(), config.webhook());
        let targets = [smtp.as_ref().map(|_| Target::Email), webhook.as_ref().map(|_| Target::Webhook)];
        let alerting = Alerting {
            store: store.alerts(),
            config: config.alerts(),
            targets: targets.into_iter().flatten().collect(),
            metrics: Arc::default(),
            outgoing: watch::Sender::new(()),
        };
        let log = LogConfig { events: config.log.events, bytes: config.log.bytes.0, ends: config.log.ends };
        let aggregator = AggregatorConfig {
            max_channels: config.limits.max_channels,
            max_value: config.limits.max_body.0,
            max_snapshot: config.limits.max_snapshot.0,
            max_state: config.limits.max_state.0,
            all_states: StateBudget::new(config.limits.max_state_total.0),
            max_series: config.limits.max_series,
            channel_ttl: Some(config.limits.channel_ttl.0).filter(|ttl| !ttl.is_zero()),
            ended: EndCounts::default(),
            zone: zone.clone(),
        };
        let cluster = config.cluster().map(|bus| {
            if config.database_url.is_empty() {
                tracing::warn!(
                    "bus without database_url: orders, dashboards, history and alert rules exist only on the node that accepted them"
                );
            }
            // Redis sets the time of all nodes.
            let (shared, setter) = clock.settable();
            let started =
                Cluster::start(bus, clock.clone(), (shared.clone(), setter), log, aggregator.clone(), &writer.runtime);
            started.map(|cluster| (cluster, shared))
        });
        let own_clock = clock.clone();
        let (cluster, clock) = match cluster.transpose()? {
            Some((cluster, shared)) => (Some(cluster), shared),
            None => (None, clock),
        };
        let verifier = config.auth().map(|auth| Verifier::open(auth, clock.clone())).transpose()?;
        let tenants = Tenants::new(TenantDeps {
            log,
            lives: config.data_dir.as_deref().map_or_else(Lives::unknown, lives::begin),
            aggregator,
            cluster: cluster.clone(),
            orders: store.orders(),
            row_limits: RowLimits { orders: config.limits.max_orders, customers: config.limits.max_customers },
            events: store.events(),
            max_pending_events: config.limits.max_pending_events,
            shares_events: store.is_shared(),
            dashboards: store.dashboards(),
            alerting: alerting.clone(),
            history_store: store.history(),
            history: config.history(),
            clock: clock.clone(),
            store_clock: store.clock(&clock),
            zone,
            currency: config.currency.clone(),
            counters: Arc::clone(&counters),
            host: sources::host::start(Arc::clone(&counters)),
            store: sources::store::start(Arc::new(store.clone()), &readers.runtime),
            runtime: writer.runtime.clone(),
            readers: readers.runtime.clone(),
            max_tenants: config.limits.max_tenants,
            tenant_idle: config.limits.tenant_idle.0,
        });
        let outbox = Outbox::new(alerting, smtp.as_ref(), webhook.as_ref(), &announce(&tenants), &clock)?;
        readers.runtime.spawn(outbox.run());
        if verifier.is_some() {
            let tenants = tenants.clone();
            readers.runtime.spawn(tenants.clone().release_unused());
            readers.runtime.spawn(async move { tenants.resume().await });
        }
        let left_behind = tenants.clone();
        readers.runtime.spawn(async move { left_behind.publish_left_behind().await });
        let shared = Shared {
            tenants,
            store: store.clone(),
            counters,
            shutdown: Shutdown::default(),
            clock,
            clocks: Clocks {
                own: own_clock,
                node: cluster.as_ref().map_or_else(|| config.node_name(), |cluster| cluster.name().to_owned()),
                cluster: cluster.clone(),
                store: store.clone(),
            },
            requests: Arc::new(RequestCounts::default()),
            access: Arc::new(access(config, verifier.clone())),
            admission: Arc::new(Admission::new(admission(config))),
            doctors: diagnostics::probe_permits(),
            body: BodyConfig {
                max_bytes: config.limits.max_body.0,
                timeout: config.limits.body_timeout.0,
                max_lines: config.limits.max_lines,
            },
            max_connection_age: config.max_connection_age.0,
            fd_pressure_at: i64::try_from(descriptors() / 2).unwrap_or(i64::MAX),
            probe: unguessable().ok_or(StartError::NoRandomBytes)?.into(),
            addresses: Arc::new(OnceLock::new()),
            demo: Arc::default(),
            base_path: config.base_path(),
        };
        if let Some(verifier) = verifier {
            writer.runtime.spawn(verifier.run(shared.shutdown.watch()));
        }
        readers.runtime.spawn(store.clone().watch());
        readers.runtime.spawn(announce_store(store.available(), shared.tenants.clone()));
        if config.database().is_some() || cluster.is_some() {
            readers.runtime.spawn(notices::of_clock(shared.clocks.clone(), shared.tenants.clone()));
        }
        if let Some(cluster) = cluster {
            readers.runtime.spawn(notices::of_bus(cluster.fault(), shared.tenants.clone()));
            readers.runtime.spawn(notices::of_samples(cluster.samples_lost(), shared.tenants.clone()));
        }
        let (server, addresses) = server::start(config, &shared, &extra)?;
        // Set here only.
        drop(shared.addresses.set(addresses.clone()));
        Ok(Self {
            server,
            shared,
            addresses,
            writer,
            readers,
            keeping,
            store,
            drain_timeout: config.drain_timeout.0,
            supervisor: None,
            greeting: None,
        })
    }

    /// Starts the simulated shop once the server runs. It needs a TCP address.
    pub fn with_demo(self, demo: bool) -> Self {
        self.shared.demo.store(demo, Ordering::Relaxed);
        self
    }

    /// Notifies a service manager of readiness, liveness and the stop.
    pub fn with_supervisor(mut self, supervisor: Option<Supervisor>) -> Self {
        self.supervisor = supervisor;
        self
    }

    /// Calls `greeting` once the server serves.
    pub fn with_greeting(mut self, greeting: impl FnOnce() + Send + 'static) -> Self {
        self.greeting = Some(Box::new(greeting));
        self
    }

    /// Returns the handle for settings that can change while the server runs.
    pub fn reload(&self) -> Reload {
        Reload { verifier: self.shared.access.verifier.clone() }
    }

    /// Returns the bound TCP addresses, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` completes, then drains: it is not ready, asks streams to reconnect elsewhere, and answers pending
    /// requests, all within `drain_timeout`.
    ///
    /// # Errors
    /// The server's accept loop failed.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, shared, addresses, writer, readers, keeping, store, drain_timeout, .. } = self;
        let (supervisor, greeting) = (self.supervisor, self.greeting);
        if let Some(cluster) = shared.tenants.cluster()
            && !cluster.is_loaded(UNTIL_LOADED).await
        {
            tracing::error!("the bus does not respond: this node starts without the earlier values");
        }
        let handle = server.handle();
        let mut serving = tokio::spawn(server);
        let alive = supervisor.map(|supervisor| tokio::spawn(supervisor.keep_alive(shared.tenants.clone())));
        if let Some(supervisor) = supervisor {
            supervisor.ready().await;
        }
        if let Some(greeting) = greeting {
            wait_for_a_worker(&shared).await;
            greeting();
        }
        let shop = addresses.first().filter(|_| shared.demo.load(Ordering::Relaxed)).map(|address| {
            let server = ServerAddress { address: *address, base_path: shared.base_path.to_string() };
            tokio::spawn(sources::demo::run(server))
        });
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
                if let Some(supervisor) = supervisor {
                    supervisor.stopping().await;
                }
                drain(&shared, deadline).await;
                linger(&shared, deadline).await;
                // Running requests get the rest of the time.
                if tokio::time::timeout_at(deadline, handle.stop(true)).await.is_err() {
                    handle.stop(false).await;
                }
                serving.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        // Before the aggregators, which it checks.
        if let Some(alive) = alive {
            alive.abort();
        }
        let tenants = shared.tenants.clone();
        if let Some(cluster) = tenants.cluster() {
            cluster.leave().await;
        }
        drop(shared);
        writer.stop().await;
        // After the aggregators: nothing is published that they would miss.
        tenants.finish().await;
        drop(tenants);
        readers.stop().await;
        // Last, so that all pending writes are done.
        store.close().await;
        if let Some(keeping) = keeping {
            keeping.stop().await;
        }
        tracing::info!("stopped");
        result
    }
}

/// Opens the configured store. `keeping` is required for a database.
fn open_store(config: &Config, keeping: Option<&Thread>) -> Result<Store, StartError> {
    if let (Some(database), Some(keeping)) = (config.database(), keeping) {
        let (result, opened) = mpsc::sync_channel(1);
        let runtime = keeping.runtime.clone();
        keeping.runtime.spawn(async move {
            // The caller below waits for it.
            let _ = result.send(Store::in_database(database, runtime).await);
        });
        // Nothing is served yet, so this thread may block; every wait of the other one is bounded.
        return Ok(opened.recv().map_err(|error| StartError::Thread(io::Error::other(error)))??);
    }
    match &config.data_dir {
        Some(directory) => {
            let store = Store::in_directory(directory, config.limits.max_store.0)?;
            tracing::info!(data_dir = %directory.display(), "orders, dashboards, history and alerts are kept");
            Ok(store)
        }
        None => {
            tracing::info!(
                "no data_dir: orders, dashboards, history and alerts are in memory and end with the process"
            );
            Ok(Store::in_memory()?)
        }
    }
}

/// Publishes to every tenant that the store is unavailable, and that it is available again, once each.
async fn announce_store(mut available: watch::Receiver<bool>, tenants: Tenants) {
    let mut was = true;
    loop {
        let is = *available.borrow_and_update();
        if is != was {
            let event = if is { "recovered" } else { "degraded" };
            // The aggregators may have stopped.
            let _ = tenants.announce(event, &json!({"reason": "store"})).await;
            was = is;
        }
        if available.changed().await.is_err() {
            return;
        }
    }
}

/// Returns the function that publishes an event of `system` to all tenants.
fn announce(tenants: &Tenants) -> Announce {
    let tenants = tenants.clone();
    Arc::new(move |event, details| {
        let tenants = tenants.clone();
        Box::pin(async move {
            // Without an aggregator there is no subscriber left.
            let _ = tenants.announce(event, &details).await;
        })
    })
}

/// Waits a moment until a worker has started, so that its log lines come before the greeting.
async fn wait_for_a_worker(shared: &Shared) {
    for _ in 0..100 {
        if shared.requests.workers() > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks every stream to end and waits until all have, or until the deadline.
async fn drain(shared: &Shared, deadline: Instant) {
    let streams = shared.counters.streams();
    tracing::info!(streams, "draining");
    if shared.tenants.cluster().is_none() {
        // Subscribers of `system` get this like any other event; the writer may have stopped already. In a cluster the
        // service continues: only this node's streams are notified, each by itself.
        let _ = shared.tenants.announce("maintenance", &json!({"reason": "SERVER_MAINTENANCE"})).await;
    }
    shared.shutdown.start_draining();
    let gone = async {
        while shared.counters.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout_at(deadline, gone).await.is_err() {
        tracing::warn!(streams = shared.counters.streams(), "not all streams ended in time");
    }
}

/// Waits a little for connections that a proxy keeps for later requests: each is closed with its next answer, and so not
/// under a request that is on its way. A push on such a connection could not be tried again by the proxy.
async fn linger(shared: &Shared, deadline: Instant) {
    let until = deadline.min(Instant::now() + LINGER);
    while shared.counters.sockets.get() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn access(config: &Config, verifier: Option<Verifier>) -> AccessConfig {
    AccessConfig {
        verifier,
        tickets: Tickets::default(),
        cookie: config.auth.cookie.clone(),
        proxies: ProxyConfig {
            trusted: config.trusted_networks(),
            trust_unix: config.trusted_proxies.iter().any(|text| text == "unix:"),
            header: match config.forwarded_header {
                ForwardedHeader::Auto => ForwardedBy::Either,
                ForwardedHeader::XForwardedFor => ForwardedBy::XForwardedFor,
                ForwardedHeader::Forwarded => ForwardedBy::Forwarded,
            },
        },
        allowed_origins: config.allowed_origins.clone(),
        public_origin: config.public_url.as_deref().and_then(crate::config::origin_of),
        pages_path: (config.public_url.as_deref().and_then(crate::config::path_of))
            .unwrap_or_else(|| format!("{}/", config.base_path())),
        local_only: config.auth.mode == AuthMode::None
            && config.trusted_proxies.is_empty()
            && config.listen_places().iter().all(|place| match place {
                Listen::Tcp(address) => address.ip().is_loopback(),
                Listen::Unix(_) => false,
            }),
    }
}

/// Returns the limit of open files and sockets of this process.
fn descriptors() -> usize {
    let now = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(now, _)| now);
    usize::try_from(now).unwrap_or(usize::MAX)
}

fn admission(config: &Config) -> AdmissionConfig {
    let limits = &config.limits;
    // Some descriptors are for polls, files and the server itself.
    let descriptors = descriptors();
    let most = (descriptors - descriptors / 10).saturating_sub(64).max(64);
    AdmissionConfig {
        max_connections: if limits.max_connections == 0 { most } else { limits.max_connections },
        max_connections_per_address: limits.max_connections_per_address,
        max_connections_per_user: limits.max_connections_per_user,
        handshakes_per_second_per_address: limits.handshakes_per_second_per_address,
        changes_per_second_per_user: limits.changes_per_second_per_user,
    }
}
