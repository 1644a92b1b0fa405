//! State that the handlers of one worker share.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Ready, ready},
    net::IpAddr,
    rc::{Rc, Weak},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use super::{
    admission::{AddressPermit, Admission, Reached, UserPermit},
    base_path::BasePath,
    caller::{Caller, FORGET, LocalTenant, start_hub},
    client,
    config::AccessConfig,
    problem::Problem,
};
use crate::{
    shutdown::{Shutdown, reconnect_after},
    tenants::Tenants,
};
use tricast_auth::{Identity, TenantName};
use tricast_core::{
    clock::Clock,
    counters::{Counters, Limit, Transport},
    hub::Hub,
    ids::random_u64,
    log::Log,
    presence::StreamGuard,
    settings::Limits,
};
use tricast_store::Store;

/// Request header of the WebSocket handshake by which `/readyz` checks this server; its value is [`Shared::probe`].
pub const PROBE_HEADER: &str = "x-tricast-probe";

/// State that all workers share.
#[derive(Clone)]
pub struct Shared {
    /// Tenants that this process has open.
    pub tenants: Tenants,
    /// Store of orders, dashboards, alerts and history.
    pub store: Store,
    /// Metrics of the server itself.
    pub counters: Arc<Counters>,
    /// Whether the server drains or stops.
    pub shutdown: Shutdown,
    /// Wall clock; tests use their own.
    pub clock: Clock,
    /// Comparison of this machine's clock with those of the bus and the database.
    pub clocks: super::clocks::Clocks,
    /// Counts of requests by route.
    pub requests: Arc<super::request_counts::RequestCounts>,
    /// Authentication, origins and proxies.
    pub access: Arc<AccessConfig>,
    /// Limits of streams, handshakes and changes.
    pub admission: Arc<Admission>,
    /// Limits of clients, users, tenants and the server.
    pub limits: Limits,
    /// Permits of probe streams.
    pub doctors: Arc<Semaphore>,
    /// Approximate age at which a stream ends, so that clients spread over the nodes. Zero: never.
    pub max_connection_age: Duration,
    /// Number of open connections from which on none is kept alive, since file descriptors run short.
    pub fd_pressure_at: i64,
    /// Secret of this process that marks its own readiness check.
    pub probe: Arc<str>,
    /// Path under which the server is mounted.
    pub base_path: BasePath,
    /// Listen addresses, for the readiness check.
    pub addresses: Arc<std::sync::OnceLock<Vec<std::net::SocketAddr>>>,
    /// Whether the simulated shop runs.
    pub demo: Arc<AtomicBool>,
}

/// State that the handlers of one worker share. Belongs to the worker's thread.
pub struct State {
    /// State that all workers share.
    pub shared: Shared,
    /// Tenants that requests on this worker use.
    local_tenants: RefCell<HashMap<TenantName, Rc<LocalTenant>>>,
    /// Tenant of a server without tokens.
    single_tenant: Option<Rc<LocalTenant>>,
    /// Hub on an empty log, for streams that are not authenticated yet.
    unauthenticated_hub: Rc<Hub>,
    /// Counts of requests by route on this worker.
    pub request_counts: Arc<super::request_counts::WorkerRequestCounts>,
    id_prefix: String,
    ids: Cell<u64>,
}

impl State {
    /// Creates the state of a new worker and starts its hubs. Call it on the worker's thread.
    pub fn start(shared: Shared) -> Rc<Self> {
        actix_web::rt::spawn(watch_lag(Arc::clone(&shared.counters)));
        let id_prefix = format!("{:010x}", random_u64() >> 24);
        let request_counts = shared.requests.worker();
        let single_tenant = match shared.access.requires_tokens() {
            true => None,
            // The first tenant never exceeds the limit.
            false => shared.tenants.open(&TenantName::default_name()).ok(),
        };
        // Its writer is dropped: nothing is ever published.
        let (_, empty) = Log::create(tricast_core::log::LogConfig::default());
        let state = Rc::new(Self {
            single_tenant: single_tenant.map(|tenant| LocalTenant::start(tenant, &shared.shutdown)),
            unauthenticated_hub: start_hub(&empty, &shared.shutdown).0,
            local_tenants: RefCell::default(),
            shared,
            request_counts,
            id_prefix,
            ids: Cell::new(0),
        });
        actix_web::rt::spawn(forget_tenants(Rc::downgrade(&state)));
        if let Some(keys) = &state.shared.access.keys {
            actix_web::rt::spawn(wake_revoked(Rc::downgrade(&state), keys.revocations()));
        }
        state
    }

    /// Returns the state of the worker that serves `request`.
    ///
    /// # Errors
    /// A 500 if the application was built without it.
    pub fn of(request: &HttpRequest) -> Result<Rc<Self>, Problem> {
        request.app_data::<Rc<Self>>().cloned().ok_or_else(|| Problem::internal("no state in the application"))
    }

    /// Returns the tenant of a server without tokens.
    pub fn single_tenant(&self) -> Option<&Rc<LocalTenant>> {
        self.single_tenant.as_ref()
    }

    /// Returns the hub for streams that are not authenticated yet.
    pub fn unauthenticated_hub(&self) -> &Rc<Hub> {
        &self.unauthenticated_hub
    }

    /// Opens the tenant of `identity` on this worker.
    ///
    /// # Errors
    /// 429 if the server has reached its limit of tenants.
    pub fn caller(&self, identity: Identity) -> Result<Caller, Problem> {
        if let Some(tenant) = self.local_tenants.borrow().get(&identity.tenant) {
            tenant.touch();
            return Ok(Caller::new(identity, Rc::clone(tenant)));
        }
        let tenant = self.shared.tenants.open(&identity.tenant).map_err(|error| {
            self.shared.counters.limit(Limit::Tenants).inc();
            Problem::too_many(error.to_string(), Duration::from_secs(60))
        })?;
        let local = LocalTenant::start(tenant, &self.shared.shutdown);
        self.local_tenants.borrow_mut().insert(identity.tenant.clone(), Rc::clone(&local));
        Ok(Caller::new(identity, local))
    }

    /// Returns the address of the client of `request`.
    pub fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        client::address(&self.shared.access.proxies, request)
    }

    /// Returns an ID that no other request or connection of this server has.
    pub fn new_id(&self) -> String {
        let id = self.ids.get() + 1;
        self.ids.set(id);
        format!("{}-{id:x}", self.id_prefix)
    }

    /// Admits a stream from `address`. Check tokens after this, since they cost more.
    ///
    /// # Errors
    /// 503 while the server drains or if it has reached its limit of streams; 429 if the address has.
    pub fn open_stream(&self, transport: Transport, address: Option<IpAddr>) -> Result<StreamSlot, Problem> {
        if self.shared.shutdown.is_draining() {
            return Err(Problem::unavailable("the server is shutting down", reconnect_after()));
        }
        let open = self.shared.counters.streams();
        // A held poll is not a handshake: its client sends the next one as soon as it ends.
        let address_of_handshake = address.filter(|_| transport != Transport::LongPoll);
        let admitted = self
            .shared
            .admission
            .check_handshake(address_of_handshake, open)
            .and_then(|()| self.shared.admission.take_stream_permit(address));
        let permit = admitted.map_err(|reached| self.count(reached))?;
        let of = self.shared.counters.of(transport);
        of.opened.inc();
        of.connections.add(1);
        Ok(StreamSlot {
            counters: Arc::clone(&self.shared.counters),
            transport,
            client: address,
            _address: Some(permit),
            user: None,
            presence: None,
        })
    }

    /// Counts a request that needs no token, at the rate of handshakes.
    ///
    /// # Errors
    /// 429 when the address exceeds the rate.
    pub fn check_rate(&self, request: &HttpRequest) -> Result<(), Problem> {
        // Not limited by the number of streams: none is opened.
        self.shared.admission.check_handshake(self.address(request), 0).map_err(|reached| self.count(reached))
    }

    /// Counts a change of stored data. Check permissions before.
    ///
    /// # Errors
    /// 429 when the user makes changes too quickly.
    pub fn check_change_rate(&self, caller: &Caller) -> Result<(), Problem> {
        let Identity { tenant, .. } = &caller.identity;
        self.shared.admission.check_change(tenant, caller.identity.counted_as()).map_err(|reached| self.count(reached))
    }

    fn count(&self, reached: Reached) -> Problem {
        self.shared.counters.limit(reached.limit).inc();
        reached.into()
    }

    /// Assigns a stream to its user and takes one of the user's permits.
    ///
    /// # Errors
    /// 429 if the user has reached the limit of streams.
    pub fn attribute_stream(&self, slot: &mut StreamSlot, caller: &Caller) -> Result<(), Problem> {
        let identity = &caller.identity;
        if !identity.is_anonymous() {
            let permit = self.shared.admission.take_user_permit(&identity.tenant, &identity.user);
            slot.user = Some(permit.map_err(|reached| self.count(reached))?);
        }
        slot.presence = Some(caller.tenant.presence.stream(&identity.counted_as()));
        Ok(())
    }

    /// Returns the slot of the readiness check, which counts for no limit.
    pub fn open_probe(&self, transport: Transport) -> StreamSlot {
        self.shared.counters.of(transport).connections.add(1);
        StreamSlot {
            counters: Arc::clone(&self.shared.counters),
            transport,
            client: None,
            _address: None,
            user: None,
            presence: None,
        }
    }

    /// Returns whether the workers themselves are late by about `patience`, so that slowness is not the client's fault.
    pub fn is_late(&self, patience: Duration) -> bool {
        u128::from(self.shared.counters.lag_ms.get().unsigned_abs()) * 2 > patience.as_millis()
    }

    /// Returns whether file descriptors run short, so that idle connections have to be closed.
    pub fn has_fd_pressure(&self) -> bool {
        self.shared.counters.sockets.get() >= self.shared.fd_pressure_at
    }

    /// Returns the lifetime of a connection: `max_connection_age` with 10 % of jitter; `None` without a limit.
    pub fn retire_after(&self) -> Option<Duration> {
        let age = self.shared.max_connection_age;
        (!age.is_zero()).then(|| age.mul_f64(0.9 + fastrand::f64() / 5.0))
    }
}

/// Extractor of the [`State`] of the worker that serves the request.
pub struct WorkerState(pub Rc<State>);

impl FromRequest for WorkerState {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(State::of(request).map(Self))
    }
}

/// Permits and counters that a stream holds; released when it is dropped.
pub struct StreamSlot {
    counters: Arc<Counters>,
    transport: Transport,
    client: Option<IpAddr>,
    _address: Option<AddressPermit>,
    user: Option<UserPermit>,
    presence: Option<StreamGuard>,
}

impl StreamSlot {
    /// Address of the stream's client.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        (self.user, self.presence) = (None, None);
        self.counters.of(self.transport).connections.add(-1);
    }
}

/// Measures the lag of this worker, which delays every stream on it.
async fn watch_lag(counters: Arc<Counters>) {
    const EVERY: Duration = Duration::from_millis(500);
    loop {
        let due = tokio::time::Instant::now() + EVERY;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed().as_millis() as i64;
        // The value falls by half each time, so that that of the slowest worker stays visible for a moment.
        counters.lag_ms.set(late.max(counters.lag_ms.get() / 2));
    }
}

/// Wakes the streams of this worker when keys were revoked: those of these keys end.
async fn wake_revoked(state: Weak<State>, mut revocations: watch::Receiver<u64>) {
    while revocations.changed().await.is_ok() {
        let Some(state) = state.upgrade() else { return };
        state.local_tenants.borrow().values().for_each(|tenant| tenant.hub.wake_all());
    }
}

/// Drops tenants that this worker no longer uses, so that the process can release them.
async fn forget_tenants(state: Weak<State>) {
    loop {
        sleep(FORGET / 2).await;
        let Some(state) = state.upgrade() else { return };
        state.local_tenants.borrow_mut().retain(|_, tenant| !LocalTenant::is_unused(tenant));
    }
}
