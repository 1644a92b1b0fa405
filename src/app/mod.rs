//! The composition root: builds every part from the configuration, hands each its own section, binds the sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_web::dev::Server;

mod build;
mod error;
mod listen;
mod lives;
mod notices;
pub mod openapi;
mod routes;
mod run;
mod server;
mod settings;
mod supervisor;
mod thread;

use self::thread::Thread;
pub use self::{error::StartError, supervisor::Supervisor};
use crate::web::state::Shared;
use tricast_auth::Verifier;
use tricast_store::Store;

/// Server that is bound and not running yet.
pub struct Application {
    server: Server,
    shared: Shared,
    addresses: Vec<SocketAddr>,
    writer: Thread,
    readers: Thread,
    /// Thread of the store, if it needs one.
    store_thread: Option<Thread>,
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
}
