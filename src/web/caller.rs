//! Clients that have been identified, and the tenants of one worker.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::problem::Problem;
use crate::{shutdown::Shutdown, tenants::Tenant};
use tricast_auth::{Identity, Permission};
use tricast_core::{hub::Hub, log::Log, presence::RecentPollers};

/// Checks that `identity` has `permission`.
///
/// # Errors
/// 403.
pub fn check_permission(identity: &Identity, permission: Permission) -> Result<(), Problem> {
    if identity.may(permission) {
        return Ok(());
    }
    let detail = match identity.binding() {
        None => format!("this needs the permission {permission}"),
        Some(_) => format!("this needs the permission {permission}, and this token is bound to channels"),
    };
    Err(Problem::forbidden(detail))
}

/// Time after which a worker drops a tenant without requests and streams. Opening it again costs little.
pub(super) const FORGET: Duration = Duration::from_secs(1);

/// Identity of a client, and its tenant.
#[derive(Clone)]
pub struct Caller {
    /// User, permissions and expiry.
    pub identity: Identity,
    /// The tenant whose data the client sees.
    pub tenant: Arc<Tenant>,
    /// The same tenant in this worker.
    pub local: Rc<LocalTenant>,
}

impl Caller {
    /// Creates the caller of a request, whose tenant in this worker is `local`.
    pub(super) fn new(identity: Identity, local: Rc<LocalTenant>) -> Self {
        Self { identity, tenant: Arc::clone(&local.tenant), local }
    }

    /// Checks that the caller has `permission`.
    ///
    /// # Errors
    /// 403.
    pub fn needs(&self, permission: Permission) -> Result<(), Problem> {
        check_permission(&self.identity, permission)
    }
}

/// A tenant in one worker, with the hub of its streams there.
pub struct LocalTenant {
    /// The tenant, which all workers share.
    pub tenant: Arc<Tenant>,
    /// The worker's hub on the tenant's log.
    pub hub: Rc<Hub>,
    pollers: RefCell<RecentPollers>,
    /// Time of the last request for it.
    used: Cell<Instant>,
    /// Task that drives the hub; aborted with the tenant.
    driver: JoinHandle<()>,
}

impl Drop for LocalTenant {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl LocalTenant {
    /// Starts the tenant's hub. Call it on the worker's thread.
    pub(super) fn start(tenant: Arc<Tenant>, shutdown: &Shutdown) -> Rc<Self> {
        let (hub, driver) = start_hub(&tenant.log, shutdown);
        Rc::new(Self { tenant, hub, pollers: RefCell::default(), used: Cell::new(Instant::now()), driver })
    }

    /// Returns whether no request and no stream of this worker uses the tenant any more; `local` is the only reference.
    pub(super) fn is_unused(local: &Rc<Self>) -> bool {
        Rc::strong_count(local) == 1 && local.hub.readers() == 0 && local.used.get().elapsed() >= FORGET
    }

    /// Counts the caller of a poll as present.
    pub fn note_poll(&self, identity: &Identity) {
        if self.pollers.borrow_mut().is_due(identity) {
            self.tenant.presence.poll(&identity.counted_as());
        }
    }

    /// Notes that a request asked for the tenant, which keeps it in this worker.
    pub(super) fn touch(&self) {
        self.used.set(Instant::now());
    }
}

/// Starts a hub on `log` and the task that drives it.
pub(super) fn start_hub(log: &Arc<Log>, shutdown: &Shutdown) -> (Rc<Hub>, JoinHandle<()>) {
    let hub = Hub::new(Arc::clone(log));
    let driver = actix_web::rt::spawn(Rc::clone(&hub).run(shutdown.watch()));
    (hub, driver)
}
