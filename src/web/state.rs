//! What the handlers of one worker share.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::{Rc, Weak},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_web::HttpRequest;
use tokio::{sync::Semaphore, time::sleep};

use super::{
    admission::{AddressPlace, Admission, Reached, UserPlace},
    base_path::BasePath,
    caller::{Caller, FORGET, LocalTenant, start_hub},
    client,
    config::{AccessConfig, BodyConfig},
    problem::Problem,
};
use crate::{
    auth::{Identity, TenantName},
    core::{clock::Clock, hub::Hub, log::Log},
    counters::{Counters, Limit, Transport},
    ids::random_u64,
    presence::StreamGuard,
    shutdown::{Shutdown, reconnect_after},
    store::Store,
    tenants::Tenants,
};

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// Everybody's data.
    pub tenants: Tenants,
    /// Where data is kept.
    pub store: Store,
    /// The server's own numbers.
    pub counters: Arc<Counters>,
    /// Whether the server is going away.
    pub shutdown: Shutdown,
    /// Wall-clock time.
    pub clock: Clock,
    /// How this machine's own clock compares with others.
    pub clocks: super::clocks::Clocks,
    /// Requests by route.
    pub requests: Arc<super::request_counts::RequestCounts>,
    /// Who may come in.
    pub access: Arc<AccessConfig>,
    /// Who may open one more stream.
    pub admission: Arc<Admission>,
    /// Bodies of requests.
    pub body: BodyConfig,
    /// Places for streams that keep a doctor's rhythm.
    pub doctors: Arc<Semaphore>,
    /// A stream is ended after about this time, so that clients spread over nodes. Zero: never.
    pub max_connection_age: Duration,
    /// Connections, of whatever kind, from which on none is kept for a next request.
    pub crowded_at: i64,
    /// Known to this process alone: by it the server knows its own check of itself.
    pub probe: Arc<str>,
    /// Where the server is below its host.
    pub base_path: BasePath,
    /// Where the server listens, for the check that it performs against itself.
    pub addresses: Arc<std::sync::OnceLock<Vec<std::net::SocketAddr>>>,
    /// Whether the simulated shop is open.
    pub demo: Arc<AtomicBool>,
}

/// What the handlers of one worker share. Belongs to the worker's thread.
pub struct State {
    shared: Shared,
    /// The tenants that somebody on this worker asked for.
    tenants: RefCell<HashMap<TenantName, Rc<LocalTenant>>>,
    /// The one tenant of a server without tokens.
    home: Option<Rc<LocalTenant>>,
    /// A hub on a log that stays empty, for streams that have not said yet whose they are.
    lobby: Rc<Hub>,
    /// Requests by route on this worker.
    pub request_counts: Arc<super::request_counts::WorkerRequestCounts>,
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
    /// The state of a new worker; starts its hubs. Call it on the worker's thread.
    pub fn start(shared: Shared) -> Rc<Self> {
        actix_web::rt::spawn(watch_lag(Arc::clone(&shared.counters)));
        let id_prefix = format!("{:010x}", random_u64() >> 24);
        let request_counts = shared.requests.worker();
        let home = match shared.access.verifier {
            Some(_) => None,
            // The first tenant is never one too many.
            None => shared.tenants.open(&TenantName::default_name()).ok(),
        };
        // Its writer is dropped: nothing is ever published.
        let (_, empty) = Log::create(crate::core::log::LogConfig::default());
        let state = Rc::new(Self {
            home: home.map(|tenant| LocalTenant::start(tenant, &shared.shutdown)),
            lobby: start_hub(&empty, &shared.shutdown).0,
            tenants: RefCell::default(),
            shared,
            request_counts,
            id_prefix,
            ids: Cell::new(0),
        });
        actix_web::rt::spawn(forget_tenants(Rc::downgrade(&state)));
        state
    }

    /// The state that serves `request`.
    ///
    /// # Errors
    /// A 500 when the application was put together without it.
    pub fn of(request: &HttpRequest) -> Result<Rc<Self>, Problem> {
        request.app_data::<Rc<Self>>().cloned().ok_or_else(|| Problem::internal("no state in the application"))
    }

    /// The one tenant of a server without tokens.
    pub fn home(&self) -> Option<&Rc<LocalTenant>> {
        self.home.as_ref()
    }

    /// A hub for streams that have not said yet whose they are.
    pub fn lobby(&self) -> &Rc<Hub> {
        &self.lobby
    }

    /// `identity` with the data of its tenant.
    ///
    /// # Errors
    /// 429 when its tenant would be one too many.
    pub fn caller(&self, identity: Identity) -> Result<Caller, Problem> {
        if let Some(tenant) = self.tenants.borrow().get(&identity.tenant) {
            tenant.touch();
            return Ok(Caller { tenant: Rc::clone(tenant), identity });
        }
        let tenant = self.shared.tenants.open(&identity.tenant).map_err(|error| {
            self.counters.limit(Limit::Tenants).inc();
            Problem::too_many(error.to_string(), Duration::from_secs(60))
        })?;
        let local = LocalTenant::start(tenant, &self.shutdown);
        self.tenants.borrow_mut().insert(identity.tenant.clone(), Rc::clone(&local));
        Ok(Caller { tenant: local, identity })
    }

    /// Where the client of `request` is.
    pub fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        client::address(&self.access.proxies, request)
    }

    /// A name that no other request or connection of this server has.
    pub fn new_id(&self) -> String {
        let id = self.ids.get() + 1;
        self.ids.set(id);
        format!("{}-{id:x}", self.id_prefix)
    }

    /// Takes a place for a stream from `address`. Look at tokens after this, for this costs less.
    ///
    /// # Errors
    /// 503 while the server drains, or when it has as many streams as it may; 429 when the address has.
    pub fn open_stream(&self, transport: Transport, address: Option<IpAddr>) -> Result<StreamSlot, Problem> {
        if self.shutdown.is_draining() {
            return Err(Problem::unavailable("the server is going away", reconnect_after()));
        }
        let open = self.counters.streams();
        // A held poll is no new stream: its client asks again and again.
        let address_of_handshake = address.filter(|_| transport != Transport::LongPoll);
        let admitted = self.admission.knock(address_of_handshake, open).and_then(|()| self.admission.enter(address));
        let place = admitted.map_err(|reached| self.count(reached))?;
        let of = self.counters.of(transport);
        of.opened.inc();
        of.connections.add(1);
        Ok(StreamSlot {
            counters: Arc::clone(&self.counters),
            transport,
            client: address,
            _address: Some(place),
            user: None,
            presence: None,
        })
    }

    /// Somebody asks for something that anybody may have, and not too often: as for a handshake.
    ///
    /// # Errors
    /// 429 when the address asks too quickly.
    pub fn knock(&self, request: &HttpRequest) -> Result<(), Problem> {
        // No stream is opened, so it does not matter how many there are.
        self.admission.knock(self.address(request), 0).map_err(|reached| self.count(reached))
    }

    /// Counts a change that the store keeps. Check permissions before.
    ///
    /// # Errors
    /// 429 when the user makes changes too quickly.
    pub fn check_change_rate(&self, caller: &Caller) -> Result<(), Problem> {
        let Identity { tenant, .. } = &caller.identity;
        self.admission.change(tenant, caller.identity.counted_as()).map_err(|reached| self.count(reached))
    }

    fn count(&self, reached: Reached) -> Problem {
        self.counters.limit(reached.limit).inc();
        reached.into()
    }

    /// Says whose a stream is.
    ///
    /// # Errors
    /// 429 when the user has as many streams as they may.
    pub fn belongs(&self, slot: &mut StreamSlot, caller: &Caller) -> Result<(), Problem> {
        let identity = &caller.identity;
        if !identity.is_anonymous() {
            let place = self.admission.enter_as(&identity.tenant, &identity.user);
            slot.user = Some(place.map_err(|reached| self.count(reached))?);
        }
        slot.presence = Some(caller.tenant.presence.stream(&identity.counted_as()));
        Ok(())
    }

    /// A place for the server's own check of itself: it counts as no user, and there is always one.
    pub fn open_probe(&self, transport: Transport) -> StreamSlot {
        self.counters.of(transport).connections.add(1);
        StreamSlot {
            counters: Arc::clone(&self.counters),
            transport,
            client: None,
            _address: None,
            user: None,
            presence: None,
        }
    }

    /// Whether the workers themselves are late by about `patience`, so that no client can be blamed for being slow.
    pub fn is_late(&self, patience: Duration) -> bool {
        u128::from(self.counters.lag_ms.get().unsigned_abs()) * 2 > patience.as_millis()
    }

    /// Whether descriptors get few, so that connections that only might be used again are closed.
    pub fn is_crowded(&self) -> bool {
        self.counters.sockets.get() >= self.crowded_at
    }

    /// How long a connection may live: `max_connection_age` with a tenth of jitter, if there is one.
    pub fn retire_after(&self) -> Option<Duration> {
        let age = self.max_connection_age;
        (!age.is_zero()).then(|| age.mul_f64(0.9 + fastrand::f64() / 5.0))
    }
}

/// A place that a stream holds; given back when it is dropped.
pub struct StreamSlot {
    counters: Arc<Counters>,
    transport: Transport,
    client: Option<IpAddr>,
    _address: Option<AddressPlace>,
    user: Option<UserPlace>,
    presence: Option<StreamGuard>,
}

impl StreamSlot {
    /// Where its client is.
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

/// Lets go of tenants that nobody on this worker asks for, so that they can be released everywhere.
async fn forget_tenants(state: Weak<State>) {
    loop {
        sleep(FORGET / 2).await;
        let Some(state) = state.upgrade() else { return };
        state.tenants.borrow_mut().retain(|_, tenant| !LocalTenant::is_unused(tenant));
    }
}
