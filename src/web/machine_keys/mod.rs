//! Verification of machine keys: a cache of the keys in use, and the end of those that were revoked.
//!
//! ```text
//! key ─▶ shape ─▶ known? ──────────────────────▶ hash ─▶ expiry ─▶ Identity
//!                  └▶ unknown a moment ago? ─▶ store ─▶ hash ─▶ …
//! every 400 ms: which of the known keys are still stored? ─▶ the others are revoked, and their streams end
//! ```
//!
//! The store is the one place that every node, and the command line, shares. Asking it for all known keys at once costs one
//! small query, needs no connection between the nodes, and works for a key that was revoked by another program.

mod failures;
mod known;

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use self::{failures::Failures, known::Known};
use tricast_auth::{Identity, SentKey, TokenError};
use tricast_core::clock::Clock;
use tricast_domain::keys::{KeyHash, KeyService, KeyStore};

/// Interval at which the store is asked whether the known keys still exist.
const CHECK: Duration = Duration::from_millis(400);

/// Time without a reply of the store after which known keys are refused, and their streams end.
const STALE: Duration = Duration::from_secs(300);

/// Look-ups that may be under way at once, so that invented keys cannot occupy the store.
const LOOK_UPS: usize = 8;

/// Longest time of one request to the store, and of the wait for a look-up's turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time after which an address that sent too many unknown keys may try again.
pub(super) const TRY_AGAIN: Duration = failures::WINDOW;

/// Keys that this process knows. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct MachineKeys {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn KeyStore>,
    clock: Clock,
    /// Most keys of one tenant.
    max: usize,
    known: Mutex<Known>,
    failures: Mutex<Failures>,
    look_ups: Semaphore,
    /// One permit: uses are stored by one task at a time.
    storing: Arc<Semaphore>,
    /// Number of keys that were revoked.
    revoked: watch::Sender<u64>,
}

impl MachineKeys {
    /// Creates an empty cache of the keys of `store`, at most `max` of each tenant; 0 means no limit. [`MachineKeys::run`] has to
    /// be running.
    pub fn new(store: Arc<dyn KeyStore>, clock: Clock, max: usize) -> Self {
        let (look_ups, storing) = (Semaphore::new(LOOK_UPS), Arc::new(Semaphore::new(1)));
        let (known, failures, revoked) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Self { inner: Arc::new(Inner { store, clock, max, known, failures, look_ups, storing, revoked }) }
    }

    /// Returns the keys of a tenant, for its administrators.
    pub fn service(&self, tenant: &str) -> KeyService {
        let Inner { store, clock, max, .. } = &*self.inner;
        KeyService::new(tenant, Arc::clone(store), clock.clone(), *max)
    }

    /// Verifies a key that a client at `address` sent. A known key costs a hash and a look-up in memory.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`], [`TokenError::Expired`], [`TokenError::StoreUnavailable`], [`TokenError::TooManyUnknown`].
    pub async fn verify(&self, text: &str, address: Option<IpAddr>) -> Result<Identity, TokenError> {
        let sent = SentKey::parse(text).ok_or(TokenError::NoSuchKey)?;
        self.inner.identity(sent.id, |stored| sent.has_hash(stored), address).await
    }

    /// Returns the identity of a key that was verified before, on this node or another, if it is still valid.
    ///
    /// # Errors
    /// Those of [`MachineKeys::verify`].
    pub async fn identity_of(&self, id: &str) -> Result<Identity, TokenError> {
        self.inner.identity(id, |_| true, None).await
    }

    /// Ends the streams of a key that was revoked on this node; other nodes notice it by themselves.
    pub fn revoke(&self, id: &str) {
        self.inner.revoke(&[id.to_owned()]);
    }

    /// Returns a watch that changes when keys are revoked, so that their streams can be woken.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.inner.revoked.subscribe()
    }

    /// Checks the known keys again and again, until `shutdown` turns true or its sender is dropped.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut ticks = interval(CHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|over| *over) => return,
                _ = ticks.tick() => {}
            }
            self.inner.check().await;
            self.store_uses();
        }
    }

    /// Stores the time of uses, beside the checks: these must not wait for a slow write.
    fn store_uses(&self) {
        let Ok(permit) = Arc::clone(&self.inner.storing).try_acquire_owned() else { return };
        let uses = self.inner.known.lock().pending_uses();
        if uses.is_empty() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            match timeout(PATIENCE, inner.store.note_uses(uses.clone())).await {
                Ok(Ok(())) => inner.known.lock().uses_stored(&uses),
                // The next check tries again.
                Ok(Err(error)) => tracing::debug!(%error, "uses of keys were not stored"),
                Err(_) => tracing::debug!("uses of keys were not stored in time"),
            }
            drop(permit);
        });
    }
}

impl Inner {
    async fn identity(
        &self,
        id: &str,
        is_right: impl Fn(&KeyHash) -> bool,
        address: Option<IpAddr>,
    ) -> Result<Identity, TokenError> {
        let now = self.clock.now();
        if let Some(known) = self.get(id, &is_right, now) {
            return known;
        }
        if self.failures.lock().is_blocked(address, Instant::now()) {
            return Err(TokenError::TooManyUnknown);
        }
        let found = self.look_up(id).await;
        if found == Err(TokenError::NoSuchKey) {
            self.failures.lock().count(address, Instant::now());
        }
        found?;
        self.get(id, &is_right, now).unwrap_or(Err(TokenError::NoSuchKey))
    }

    fn get(
        &self,
        id: &str,
        is_right: impl FnOnce(&KeyHash) -> bool,
        now: Timestamp,
    ) -> Option<Result<Identity, TokenError>> {
        self.known.lock().get(id, is_right, now)
    }

    /// Reads a key from the store into the cache.
    async fn look_up(&self, id: &str) -> Result<(), TokenError> {
        let found = timeout(PATIENCE, async {
            let _turn = self.look_ups.acquire().await;
            let asked = Instant::now();
            self.store.find(id).await.map(|found| (found, asked))
        });
        match found.await {
            Ok(Ok((Some(stored), asked))) => self.known.lock().add(stored, asked),
            Ok(Ok((None, _))) => {
                self.known.lock().add_unknown(id);
                Err(TokenError::NoSuchKey)
            }
            Ok(Err(_)) | Err(_) => Err(TokenError::StoreUnavailable),
        }
    }

    /// Asks the store which of the known keys still exist, and revokes the others.
    async fn check(&self) {
        let ids = self.known.lock().used();
        if ids.is_empty() {
            return;
        }
        let asked = Instant::now();
        if let Ok(Ok(existing)) = timeout(PATIENCE, self.store.existing(ids.clone())).await {
            let existing: HashSet<String> = existing.into_iter().collect();
            let gone = self.known.lock().confirm(ids, &existing, asked);
            self.revoke(&gone);
        }
        let stale = self.known.lock().unconfirmed_for(STALE);
        if !stale.is_empty() {
            tracing::warn!(
                count = stale.len(),
                "the store of keys can't be read: known keys are not accepted any more"
            );
            self.end(&stale);
        }
    }

    fn revoke(&self, ids: &[String]) {
        {
            let mut known = self.known.lock();
            ids.iter().for_each(|id| known.add_unknown(id));
        }
        self.end(ids);
    }

    /// Removes keys from the cache and ends their streams.
    fn end(&self, ids: &[String]) {
        let ended: Vec<&String> = {
            let mut known = self.known.lock();
            ids.iter().filter(|id| known.revoke(id)).collect()
        };
        if !ended.is_empty() {
            tracing::info!(ids = ?ended, "keys have ended: their streams are closed");
            self.revoked.send_modify(|revoked| *revoked += ended.len() as u64);
        }
    }
}
