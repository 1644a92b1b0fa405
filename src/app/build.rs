//! Building the parts of the server, each from its section of the configuration.

use std::{
    io,
    sync::{Arc, OnceLock, mpsc},
};

use jiff::tz::TimeZone;

use super::{Application, ExtraPaths, StartError, lives, notices, server, settings, thread::Thread};
use crate::{
    config::Config,
    shutdown::Shutdown,
    tenants::{TenantDeps, Tenants},
    web::{
        admission::Admission, clocks::Clocks, config::AccessConfig, diagnostics, machine_keys::MachineKeys,
        request_counts::RequestCounts, state::Shared,
    },
};
use tricast_auth::{Verifier, unguessable};
use tricast_cluster::Cluster;
use tricast_core::{aggregator::AggregatorConfig, clock::Clock, counters::Counters, lives::Lives, pause};
use tricast_domain::{
    alerts::{Alerting, Outbox},
    sources::SharedMeasurements,
};
use tricast_store::Store;

/// Clocks and membership of a node.
struct Node {
    /// Clock of this machine.
    own_clock: Clock,
    /// Clock that everything is dated with: that of the cluster, if there is one.
    clock: Clock,
    cluster: Option<Cluster>,
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
        let store_thread = config.database().map(|_| Thread::start("store")).transpose().map_err(StartError::Thread)?;
        let store = open_store(config, store_thread.as_ref())?;
        let writer = Thread::start("aggregator").map_err(StartError::Thread)?;
        let readers = Thread::start("inner-readers").map_err(StartError::Thread)?;
        pause::watch().map_err(StartError::Thread)?;
        let counters = Arc::<Counters>::default();
        let alerting = settings::alerting(config, &store);
        let aggregator = AggregatorConfig::new(config.limits, config.channel_ttls(), zone.clone());
        let node = join_cluster(config, clock, &aggregator, &writer)?;
        let verifier = config
            .auth
            .accepts_tokens()
            .then(|| Verifier::open(config.auth.clone(), node.clock.clone()))
            .transpose()?;
        let tenants = Tenants::new(TenantDeps {
            limits: config.limits,
            log: config.log,
            lives: config.data_dir.as_deref().map_or_else(Lives::unknown, lives::begin),
            aggregator,
            cluster: node.cluster.clone(),
            orders: store.orders(),
            events: store.events(),
            shares_events: store.is_shared(),
            dashboards: store.dashboards(),
            alerting: alerting.clone(),
            history_store: store.history(),
            history: config.history(),
            clock: node.clock.clone(),
            store_clock: store.clock(&node.clock),
            zone,
            currency: config.currency.clone(),
            counters: Arc::clone(&counters),
            measurements: SharedMeasurements::start(Arc::clone(&counters), Arc::new(store.clone()), &readers.runtime),
            runtime: writer.runtime.clone(),
            readers: readers.runtime.clone(),
        });
        start_notifications(config, alerting, &tenants, &node.clock, &readers)?;
        start_tenants(&tenants, config.auth.is_required(), &readers);
        let clock = store.clock(&node.clock);
        let keys = config.auth.is_required().then(|| MachineKeys::new(store.keys(), clock, config.limits.max_keys));
        let access = settings::access(config, verifier.clone(), keys.clone());
        let shared = shared(config, tenants, store.clone(), counters, &node, access)?;
        if let Some(keys) = keys {
            readers.runtime.spawn(keys.run(shared.shutdown.watch()));
        }
        if let Some(verifier) = verifier {
            writer.runtime.spawn(verifier.run(shared.shutdown.watch()));
        }
        start_notices(config, &shared, node.cluster, &readers);
        let (server, addresses) = server::start(config, &shared, &extra)?;
        // Set here only.
        drop(shared.addresses.set(addresses.clone()));
        Ok(Self {
            server,
            shared,
            addresses,
            writer,
            readers,
            store_thread,
            store,
            drain_timeout: config.drain_timeout.0,
            supervisor: None,
            greeting: None,
        })
    }
}

/// Opens the configured store. A database requires `store_thread`.
fn open_store(config: &Config, store_thread: Option<&Thread>) -> Result<Store, StartError> {
    if let (Some(database), Some(store_thread)) = (config.database(), store_thread) {
        let (result, opened) = mpsc::sync_channel(1);
        let runtime = store_thread.runtime.clone();
        store_thread.runtime.spawn(async move {
            // The caller below waits for it.
            let _ = result.send(Store::in_database(database, runtime).await);
        });
        // Nothing is served yet, so this thread may block; every wait of the other one is bounded.
        return Ok(opened.recv().map_err(|error| StartError::Thread(io::Error::other(error)))??);
    }
    match &config.data_dir {
        Some(directory) => {
            let store = Store::in_directory(directory, config.limits.max_store.0)?;
            tracing::info!(data_dir = %directory.display(), "orders, dashboards, history and alerts are stored");
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

/// Joins the cluster, if a bus is configured.
fn join_cluster(
    config: &Config,
    own_clock: Clock,
    aggregator: &AggregatorConfig,
    writer: &Thread,
) -> Result<Node, StartError> {
    let Some(bus) = config.bus() else {
        return Ok(Node { clock: own_clock.clone(), own_clock, cluster: None });
    };
    if config.database_url.is_empty() {
        tracing::warn!(
            "bus without database_url: orders, dashboards, history and alert rules exist only on the node that accepted them"
        );
    }
    // Redis sets the time of all nodes.
    let (clock, setter) = own_clock.settable();
    let cluster = Cluster::start(
        bus,
        own_clock.clone(),
        (clock.clone(), setter),
        config.log,
        aggregator.clone(),
        &writer.runtime,
    )?;
    Ok(Node { own_clock, clock, cluster: Some(cluster) })
}

/// Starts the task that sends the notifications of alerts.
fn start_notifications(
    config: &Config,
    alerting: Alerting,
    tenants: &Tenants,
    clock: &Clock,
    readers: &Thread,
) -> Result<(), StartError> {
    let outbox = Outbox::new(alerting, &config.smtp, &config.webhook, &notices::announcer(tenants), clock)?;
    readers.runtime.spawn(outbox.run());
    Ok(())
}

/// Starts the tasks that start and release tenants.
fn start_tenants(tenants: &Tenants, has_tokens: bool, readers: &Thread) {
    if has_tokens {
        let tenants = tenants.clone();
        readers.runtime.spawn(tenants.clone().release_unused());
        readers.runtime.spawn(async move { tenants.resume().await });
    }
    let tenants = tenants.clone();
    readers.runtime.spawn(async move { tenants.publish_overdue().await });
}

/// Starts the tasks that inform the readers of `system` about faults of the store, the bus and the clock.
fn start_notices(config: &Config, shared: &Shared, cluster: Option<Cluster>, readers: &Thread) {
    readers.runtime.spawn(shared.store.clone().watch());
    readers.runtime.spawn(notices::of_store(shared.store.available(), shared.tenants.clone()));
    if config.database().is_some() || cluster.is_some() {
        readers.runtime.spawn(notices::of_clock(shared.clocks.clone(), shared.tenants.clone()));
    }
    if let Some(cluster) = cluster {
        readers.runtime.spawn(notices::of_bus(cluster.fault(), shared.tenants.clone()));
        readers.runtime.spawn(notices::of_samples(cluster.samples_lost(), shared.tenants.clone()));
    }
}

/// Returns the state that all workers share.
fn shared(
    config: &Config,
    tenants: Tenants,
    store: Store,
    counters: Arc<Counters>,
    node: &Node,
    access: AccessConfig,
) -> Result<Shared, StartError> {
    let Node { own_clock, clock, cluster } = node;
    Ok(Shared {
        tenants,
        store: store.clone(),
        counters,
        shutdown: Shutdown::default(),
        clock: clock.clone(),
        clocks: Clocks {
            own: own_clock.clone(),
            node: cluster.as_ref().map_or_else(|| config.node_name(), |cluster| cluster.name().to_owned()),
            cluster: cluster.clone(),
            store,
        },
        requests: Arc::new(RequestCounts::default()),
        access: Arc::new(access),
        admission: Arc::new(Admission::new(settings::admission(config))),
        doctors: diagnostics::probe_permits(),
        limits: config.limits,
        max_connection_age: config.max_connection_age.0,
        fd_pressure_at: i64::try_from(settings::descriptors() / 2).unwrap_or(i64::MAX),
        probe: unguessable().ok_or(StartError::NoRandomBytes)?.into(),
        addresses: Arc::new(OnceLock::new()),
        demo: Arc::default(),
        base_path: config.base_path(),
    })
}
