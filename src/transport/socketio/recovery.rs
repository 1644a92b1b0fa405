//! Connection state recovery: a client that lost its connection gets back its subscriptions and the missed data.
//!
//! ```text
//! < 40/tricast,{"sid":"…","pid":"4f…"}
//! < 42/tricast,["event",{…},"k3f9x2ab:12"]            each event ends with its cursor
//! > 40/tricast,{"pid":"4f…","offset":"k3f9x2ab:12"}   after a cut, here or at another node
//! < 40/tricast,{"sid":"…","pid":"4f…"}                the same ids: recovered
//! ```
//!
//! What a client missed is in the log; what is kept here are its subscriptions, each with the position at which it began, for a client
//! that received nothing yet. They are kept from the moment they are made, because a server does not learn of a cut at once,
//! and may not live to learn of it. In a cluster the bus keeps a copy, which is sent there without delaying the reply to the client.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use tricast_auth::Identity;
use tricast_cluster::Cluster;

/// Most sessions of lost clients; beyond it the older half is dropped.
const MAX_LOST: usize = 10_000;

/// Lost clients after which the sessions of those that did not return are forgotten: a pass costs as much as there are.
const SWEEP: usize = 1_000;

/// Interval at which the copy on the bus is renewed.
const RENEWAL: Duration = Duration::from_secs(240);

/// Data for restoring a client in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Saved {
    /// Grows with each change and each move, so that the newest of several copies is known.
    pub(super) version: u64,
    pub(super) namespace: String,
    pub(super) sid: String,
    /// Tenant and user that may restore it.
    pub(super) owner: (String, String, bool),
    pub(super) subscriptions: Vec<SavedSubscription>,
    /// Dashboards of `subscribe-metrics`, with their intervals in milliseconds.
    pub(super) dashboards: BTreeMap<String, u64>,
    /// Ids and types of entities.
    pub(super) entities: Vec<(String, String)>,
    pub(super) boards: BTreeSet<String>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct SavedSubscription {
    pub(super) selector: String,
    pub(super) interval_ms: u64,
    /// Cursor at which it began.
    pub(super) since: String,
}

impl Saved {
    /// Returns the owner of a session of `identity`.
    pub(super) fn owner(identity: &Identity) -> (String, String, bool) {
        (identity.tenant.as_str().to_owned(), identity.user.to_string(), identity.is_anonymous())
    }
}

/// The sessions of this node that can be recovered. Shared by all workers.
pub(super) struct Recovery {
    sessions: Mutex<Sessions>,
    /// Time within which a client has to return.
    kept: Duration,
}

#[derive(Default)]
struct Sessions {
    by_pid: HashMap<Arc<str>, Entry>,
    /// Clients that were lost since sessions were last forgotten.
    lost: usize,
}

struct Entry {
    saved: Saved,
    /// Number of the client that restored it last, and so holds it.
    holder: u64,
    /// Time at which its client was lost; `None` while it is connected.
    lost: Option<Instant>,
}

/// A client's hold of its session; the session is kept for a while after its end.
pub(super) struct Hold {
    pub(super) pid: Arc<str>,
    holder: u64,
    recovery: Arc<Recovery>,
    cluster: Option<Cluster>,
    saved: Saved,
    next_renewal: Instant,
    is_over: bool,
}

impl Recovery {
    /// Creates an empty set of sessions, which are kept for this long after their clients were lost.
    pub(super) fn new(kept: Duration) -> Self {
        Self { sessions: Mutex::default(), kept }
    }

    /// Returns the time that the bus keeps a copy. Two renewals may be missed while the client is connected.
    fn kept_on_bus(&self) -> Duration {
        self.kept + 2 * RENEWAL
    }

    /// Keeps a new session; `None` when the system has no random bytes.
    pub(super) fn begin(self: &Arc<Self>, cluster: Option<&Cluster>, saved: Saved) -> Option<Hold> {
        Some(self.hold(tricast_auth::unguessable()?.into(), cluster, saved))
    }

    /// Takes up the session `pid` of `identity` in `namespace`; a session of another user is as unknown as none.
    pub(super) async fn restore(
        self: &Arc<Self>,
        cluster: Option<&Cluster>,
        pid: &str,
        namespace: &str,
        identity: &Identity,
    ) -> Option<Hold> {
        let fits = |saved: &Saved| saved.namespace == namespace && saved.owner == Saved::owner(identity);
        let saved = match cluster {
            // Another node may have carried the client since it was here, or forgotten it.
            Some(cluster) => match cluster.take_once(&bus_name(pid)).await {
                Ok(copy) => {
                    let copy: Saved = serde_json::from_slice(&copy?).ok()?;
                    self.kept_here(pid).filter(|here| here.version > copy.version).unwrap_or(copy)
                }
                Err(_) => self.kept_here(pid)?,
            },
            None => self.kept_here(pid)?,
        };
        fits(&saved).then(|| self.hold(pid.into(), cluster, saved))
    }

    /// Returns the session `pid` as this node has it.
    fn kept_here(&self, pid: &str) -> Option<Saved> {
        let sessions = self.sessions.lock();
        sessions.by_pid.get(pid).filter(|entry| entry.is_kept(self.kept)).map(|entry| entry.saved.clone())
    }

    fn hold(self: &Arc<Self>, pid: Arc<str>, cluster: Option<&Cluster>, mut saved: Saved) -> Hold {
        saved.version += 1;
        let mut sessions = self.sessions.lock();
        let holder = sessions.by_pid.get(&pid).map_or(0, |entry| entry.holder + 1);
        sessions.by_pid.insert(Arc::clone(&pid), Entry { saved: saved.clone(), holder, lost: None });
        drop(sessions);
        let hold = Hold {
            pid,
            holder,
            recovery: Arc::clone(self),
            cluster: cluster.cloned(),
            saved,
            next_renewal: Instant::now() + RENEWAL,
            is_over: false,
        };
        hold.copy_to_bus(self.kept_on_bus());
        hold
    }
}

impl Entry {
    /// Returns whether the client is connected, or may still return.
    fn is_kept(&self, kept: Duration) -> bool {
        self.lost.is_none_or(|lost| lost.elapsed() < kept)
    }
}

impl Sessions {
    /// Notes that a client was lost; from time to time forgets the sessions of those that did not return.
    fn note_lost(&mut self, pid: &str, holder: u64, kept: Duration) {
        let Some(entry) = self.by_pid.get_mut(pid).filter(|entry| entry.holder == holder) else { return };
        entry.lost = Some(Instant::now());
        self.lost += 1;
        if self.lost < SWEEP {
            return;
        }
        self.lost = 0;
        self.by_pid.retain(|_, entry| entry.is_kept(kept));
        let mut times: Vec<Instant> = self.by_pid.values().filter_map(|entry| entry.lost).collect();
        if times.len() > MAX_LOST {
            times.sort_unstable();
            let limit = times[times.len() - MAX_LOST / 2];
            self.by_pid.retain(|_, entry| entry.lost.is_none_or(|lost| lost >= limit));
        }
    }
}

impl Hold {
    /// Returns the session as it is kept.
    pub(super) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Keeps the session as it is now.
    pub(super) fn save(&mut self, mut saved: Saved) {
        saved.version = self.saved.version;
        if saved == self.saved {
            return;
        }
        saved.version += 1;
        self.saved = saved;
        let mut sessions = self.recovery.sessions.lock();
        if let Some(entry) = sessions.by_pid.get_mut(&self.pid).filter(|entry| entry.holder == self.holder) {
            entry.saved = self.saved.clone();
        }
        drop(sessions);
        self.copy_to_bus(self.recovery.kept_on_bus());
    }

    /// Renews the copy on the bus if it is time.
    pub(super) fn renew(&mut self, now: Instant) {
        if now >= self.next_renewal {
            self.next_renewal = now + RENEWAL;
            self.copy_to_bus(self.recovery.kept_on_bus());
        }
    }

    /// Forgets the session: the client has left by itself, or may not return.
    pub(super) fn forget(&mut self) {
        self.is_over = true;
        let mut sessions = self.recovery.sessions.lock();
        if sessions.by_pid.get(&self.pid).is_some_and(|entry| entry.holder == self.holder) {
            sessions.by_pid.remove(&self.pid);
        }
        drop(sessions);
        if let Some(cluster) = self.cluster.clone() {
            let name = bus_name(&self.pid);
            actix_web::rt::spawn(async move { drop(cluster.take_once(&name).await) });
        }
    }

    fn copy_to_bus(&self, lives: Duration) {
        let Some(cluster) = self.cluster.clone() else { return };
        let (name, copy) = (bus_name(&self.pid), serde_json::to_vec(&self.saved).unwrap_or_default());
        actix_web::rt::spawn(async move { cluster.store_once(&name, &copy, lives).await });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_over {
            self.recovery.sessions.lock().note_lost(&self.pid, self.holder, self.recovery.kept);
        }
    }
}

/// Returns the name of a session's copy on the bus, by which it cannot be taken up.
fn bus_name(pid: &str) -> String {
    format!("socketio:{}", tricast_auth::ticket_name(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(120);

    fn saved(namespace: &str) -> Saved {
        Saved { namespace: namespace.into(), owner: Saved::owner(&Identity::anonymous(None)), ..Saved::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_restored_by_its_user_until_it_is_too_late() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let user = Identity::anonymous(None);
        let mut hold = recovery.begin(None, saved("/tricast")).unwrap();
        let pid = Arc::clone(&hold.pid);
        let mut changed = saved("/tricast");
        changed.boards.insert("main".into());
        hold.save(changed.clone());
        // Also while the server believes that the client is connected.
        let second = recovery.restore(None, &pid, "/tricast", &user).await.unwrap();
        assert_eq!(second.saved(), &Saved { version: 3, ..changed });
        drop(hold);
        assert!(recovery.restore(None, &pid, "/", &user).await.is_none());
        drop(second);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        let mut third = recovery.restore(None, &pid, "/tricast", &user).await.unwrap();
        third.forget();
        drop(third);
        assert!(recovery.restore(None, &pid, "/tricast", &user).await.is_none());
        let lost = recovery.begin(None, saved("/")).unwrap();
        let pid = Arc::clone(&lost.pid);
        drop(lost);
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        assert!(recovery.restore(None, &pid, "/", &user).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_client_that_was_connected_for_an_hour_is_restored_for_as_long_as_any_other() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let user = Identity::anonymous(None);
        let hold = recovery.begin(None, saved("/tricast")).unwrap();
        let pid = Arc::clone(&hold.pid);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        drop(hold);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(recovery.restore(None, &pid, "/tricast", &user).await.is_some());
    }

    #[tokio::test]
    async fn lost_sessions_are_bounded() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let live = recovery.begin(None, saved("/")).unwrap();
        for _ in 0..3 * MAX_LOST {
            drop(recovery.begin(None, saved("/")));
            assert!(recovery.sessions.lock().by_pid.len() <= MAX_LOST + SWEEP + 1);
        }
        assert!(recovery.sessions.lock().by_pid.contains_key(&live.pid));
    }
}
