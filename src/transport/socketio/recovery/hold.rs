//! A client's hold of its session.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Recovery, Saved};
use tricast_cluster::{Cluster, Edition, SessionCopy, Unreachable};

/// Interval at which the copy on the bus is renewed.
const RENEWAL: Duration = Duration::from_secs(240);

/// A client's hold of its session; the session is kept for a while after its end.
pub(in super::super) struct Hold {
    pub(in super::super) pid: Arc<str>,
    recovery: Arc<Recovery>,
    cluster: Option<Cluster>,
    edition: Edition,
    saved: Saved,
    next_renewal: Instant,
    /// Set when a copy could not be stored.
    is_copy_missing: Rc<Cell<bool>>,
    is_over: bool,
}

impl Hold {
    pub(super) fn new(
        recovery: Arc<Recovery>,
        cluster: Option<&Cluster>,
        pid: Arc<str>,
        edition: Edition,
        saved: Saved,
    ) -> Self {
        Self {
            pid,
            recovery,
            cluster: cluster.cloned(),
            edition,
            saved,
            next_renewal: Instant::now() + RENEWAL,
            is_copy_missing: Rc::default(),
            is_over: false,
        }
    }

    /// Returns the session as it is kept.
    pub(in super::super) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Returns whether the client holds the session that it has just claimed: `false` if a later client has claimed it
    /// meanwhile, here or at another node. `was_claimed` is whether the bus has assigned its generation.
    pub(super) async fn confirm(&mut self, was_claimed: bool) -> bool {
        let is_holder = match self.copy().filter(|_| was_claimed) {
            // Without the bus, what this node knows counts.
            None => {
                self.copy_to_bus();
                self.recovery.is_held(&self.pid, self.edition.generation)
            }
            // If the outcome is unknown, another client may have claimed it.
            Some(copy) => copy.store().await.unwrap_or(false),
        };
        if !is_holder {
            self.is_over = true;
            self.recovery.remove(&self.pid, self.edition.generation);
        }
        is_holder
    }

    /// Keeps the session as it is now.
    pub(in super::super) fn save(&mut self, saved: Saved) {
        if saved == self.saved {
            return;
        }
        self.saved = saved;
        self.edition.change += 1;
        self.recovery.update(&self.pid, self.edition, &self.saved);
        self.copy_to_bus();
    }

    /// Renews the copy on the bus if it is time, or if the last one could not be stored.
    pub(in super::super) fn renew(&mut self, now: Instant) {
        if now >= self.next_renewal || self.is_copy_missing.take() {
            self.next_renewal = now + RENEWAL;
            self.copy_to_bus();
        }
    }

    /// Forgets the session: the client has left by itself, or may not return.
    pub(in super::super) fn forget(&mut self) {
        self.is_over = true;
        let generation = self.edition.generation;
        self.recovery.remove(&self.pid, generation);
        if let Some(cluster) = self.cluster.clone() {
            let name = bus_name(&self.pid);
            actix_web::rt::spawn(async move {
                // A copy that stays expires.
                let _ = cluster.end_session(&name, generation).await;
            });
        }
    }

    /// Copies the session to the bus, without a wait for it.
    pub(super) fn copy_to_bus(&self) {
        let Some(copy) = self.copy() else { return };
        let (recovery, is_copy_missing) = (Arc::clone(&self.recovery), Rc::clone(&self.is_copy_missing));
        actix_web::rt::spawn(async move {
            match copy.store().await {
                Ok(true) => {}
                // Another node has it: what is known here is out of date.
                Ok(false) => recovery.remove(&copy.pid, copy.edition.generation),
                Err(Unreachable) => is_copy_missing.set(true),
            }
        });
    }

    /// Returns the session as it is now for the bus, if there is one.
    fn copy(&self) -> Option<Copy> {
        Some(Copy {
            cluster: self.cluster.clone()?,
            pid: Arc::clone(&self.pid),
            edition: self.edition,
            owner: self.saved.owner_text(),
            content: serde_json::to_vec(&self.saved).unwrap_or_default(),
            lifetime: kept_on_bus(self.recovery.kept),
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_over {
            self.recovery.note_lost(&self.pid, self.edition.generation);
        }
    }
}

/// Copy of a session on its way to the bus.
struct Copy {
    cluster: Cluster,
    pid: Arc<str>,
    edition: Edition,
    owner: String,
    content: Vec<u8>,
    lifetime: Duration,
}

impl Copy {
    async fn store(&self) -> Result<bool, Unreachable> {
        let Self { cluster, pid, edition, owner, content, lifetime } = self;
        let name = bus_name(pid);
        cluster.store_session(&SessionCopy { name: &name, owner, edition: *edition, content }, *lifetime).await
    }
}

/// Returns the time that the bus keeps a copy. Two renewals may be missed while the client is connected.
pub(super) fn kept_on_bus(kept: Duration) -> Duration {
    kept + 2 * RENEWAL
}

/// Returns the name of a session on the bus, by which it cannot be claimed.
pub(super) fn bus_name(pid: &str) -> String {
    tricast_auth::ticket_name(pid)
}
