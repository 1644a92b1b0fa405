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
//!
//! A client that returns claims its session, which begins a new generation of it: its former holder, on any node, cannot
//! change it any more, and its late copies are refused. Before the client is notified that it is recovered, the copy of the new
//! generation is stored. If that is refused, a later client has claimed the session. The newest of the copies on the bus and
//! in this process counts, so a client that returns to its node need not wait until the bus has a copy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use tricast_auth::Identity;
use tricast_cluster::{Claimed, Cluster, Edition};

mod hold;

pub(super) use hold::Hold;

/// Most sessions of lost clients; beyond it the older half is dropped.
const MAX_LOST: usize = 10_000;

/// Lost clients after which the sessions of those that did not return are forgotten: a pass costs as much as there are.
const SWEEP: usize = 1_000;

/// Data for restoring a client in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Saved {
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

/// A subscription that a recovered client has again.
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

    /// Returns namespace and owner as one text, which a claim on the bus has to repeat.
    fn owner_text(&self) -> String {
        owner_text(&self.namespace, &self.owner)
    }
}

fn owner_text(namespace: &str, (tenant, user, is_anonymous): &(String, String, bool)) -> String {
    serde_json::json!([namespace, tenant, user, is_anonymous]).to_string()
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
    /// Number of `saved`. Its generation is that of the client that holds the session here.
    edition: Edition,
    /// Time at which its client was lost; `None` while it is connected.
    lost: Option<Instant>,
}

impl Recovery {
    /// Creates an empty set of sessions, which are kept for this long after their clients were lost.
    pub(super) fn new(kept: Duration) -> Self {
        Self { sessions: Mutex::default(), kept }
    }

    /// Keeps a new session; `None` when the system has no random bytes.
    pub(super) fn begin(self: &Arc<Self>, cluster: Option<&Cluster>, saved: Saved) -> Option<Hold> {
        let hold = self.hold(tricast_auth::unguessable()?.into(), cluster, 1, saved)?;
        hold.copy_to_bus();
        Some(hold)
    }

    /// Claims the session `pid` of `identity` in `namespace`; a session of another user is as unknown as none. `prepare` is
    /// awaited before the client is recovered. `None` if it returns `false`, or if a later client claims the session meanwhile.
    pub(super) async fn restore(
        self: &Arc<Self>,
        cluster: Option<&Cluster>,
        pid: &str,
        namespace: &str,
        identity: &Identity,
        prepare: impl AsyncFnOnce(&Saved) -> bool,
    ) -> Option<Hold> {
        let owner = Saved::owner(identity);
        let fits = |saved: &Saved| saved.namespace == namespace && saved.owner == owner;
        let here = || self.kept_here(pid).filter(|(saved, _)| fits(saved));
        let claimed = match cluster {
            None => None,
            Some(cluster) => {
                let known = here().map_or(0, |(_, edition)| edition.generation);
                let (name, owner) = (hold::bus_name(pid), owner_text(namespace, &owner));
                let claim = cluster.claim_session(&name, &owner, known, hold::kept_on_bus(self.kept));
                // Without the bus, what this node knows counts.
                claim.await.ok()
            }
        };
        let was_claimed = claimed.is_some();
        let (generation, saved) = match (claimed, here()) {
            // Unknown, or ended at another node.
            (Some(None), _) => return None,
            (Some(Some(Claimed { generation, copy })), here) => {
                let is_newer = |of: Edition| here.as_ref().is_none_or(|(_, edition)| of > *edition);
                let saved = match copy.filter(|(of, _)| is_newer(*of)) {
                    Some((_, content)) => serde_json::from_slice(&content).ok().filter(fits)?,
                    None => here?.0,
                };
                (generation, saved)
            }
            (None, here) => here.map(|(saved, edition)| (edition.generation + 1, saved))?,
        };
        let mut hold = self.hold(pid.into(), cluster, generation, saved)?;
        (prepare(hold.saved()).await && hold.confirm(was_claimed).await).then_some(hold)
    }

    /// Returns the session `pid` as this node has it.
    fn kept_here(&self, pid: &str) -> Option<(Saved, Edition)> {
        let sessions = self.sessions.lock();
        let entry = sessions.by_pid.get(pid).filter(|entry| entry.is_kept(self.kept))?;
        Some((entry.saved.clone(), entry.edition))
    }

    /// Lets a client hold a session in `generation`; `None` if a later one does.
    fn hold(self: &Arc<Self>, pid: Arc<str>, cluster: Option<&Cluster>, generation: u64, saved: Saved) -> Option<Hold> {
        let edition = Edition { generation, change: 1 };
        let mut sessions = self.sessions.lock();
        if sessions.by_pid.get(&pid).is_some_and(|entry| entry.edition.generation >= generation) {
            return None;
        }
        sessions.by_pid.insert(Arc::clone(&pid), Entry { saved: saved.clone(), edition, lost: None });
        drop(sessions);
        Some(Hold::new(Arc::clone(self), cluster, pid, edition, saved))
    }

    /// Returns whether the client of `generation` holds the session here.
    fn is_held(&self, pid: &str, generation: u64) -> bool {
        self.sessions.lock().of(pid, generation).is_some()
    }

    /// Replaces a session by a newer edition.
    fn update(&self, pid: &str, edition: Edition, saved: &Saved) {
        if let Some(entry) = self.sessions.lock().of(pid, edition.generation) {
            (entry.saved, entry.edition) = (saved.clone(), edition);
        }
    }

    /// Removes a session, if the client of `generation` holds it.
    fn remove(&self, pid: &str, generation: u64) {
        let mut sessions = self.sessions.lock();
        if sessions.of(pid, generation).is_some() {
            sessions.by_pid.remove(pid);
        }
    }

    /// Notes that the client of `generation` was lost.
    fn note_lost(&self, pid: &str, generation: u64) {
        self.sessions.lock().note_lost(pid, generation, self.kept);
    }
}

impl Entry {
    /// Returns whether the client is connected, or may still return.
    fn is_kept(&self, kept: Duration) -> bool {
        self.lost.is_none_or(|lost| lost.elapsed() < kept)
    }
}

impl Sessions {
    /// Returns the session `pid`, if the client of `generation` holds it.
    fn of(&mut self, pid: &str, generation: u64) -> Option<&mut Entry> {
        self.by_pid.get_mut(pid).filter(|entry| entry.edition.generation == generation)
    }

    /// Notes that a client was lost; from time to time forgets the sessions of those that did not return.
    fn note_lost(&mut self, pid: &str, generation: u64, kept: Duration) {
        let Some(entry) = self.of(pid, generation) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(120);

    /// Restores the session of an anonymous client without a bus.
    async fn restore(recovery: &Arc<Recovery>, pid: &str, namespace: &str) -> Option<Hold> {
        let user = Identity::anonymous(None);
        recovery.restore(None, pid, namespace, &user, async |_| true).await
    }

    fn saved(namespace: &str) -> Saved {
        Saved { namespace: namespace.into(), owner: Saved::owner(&Identity::anonymous(None)), ..Saved::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_restored_by_its_user_until_it_is_too_late() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let mut hold = recovery.begin(None, saved("/tricast")).unwrap();
        let pid = Arc::clone(&hold.pid);
        let mut changed = saved("/tricast");
        changed.boards.insert("main".into());
        hold.save(changed.clone());
        // Also while the server believes that the client is connected.
        let second = restore(&recovery, &pid, "/tricast").await.unwrap();
        assert_eq!(second.saved(), &changed);
        drop(hold);
        assert!(restore(&recovery, &pid, "/").await.is_none());
        drop(second);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        let mut third = restore(&recovery, &pid, "/tricast").await.unwrap();
        third.forget();
        drop(third);
        assert!(restore(&recovery, &pid, "/tricast").await.is_none());
        let lost = recovery.begin(None, saved("/")).unwrap();
        let pid = Arc::clone(&lost.pid);
        drop(lost);
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        assert!(restore(&recovery, &pid, "/").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_client_that_was_connected_for_an_hour_is_restored_for_as_long_as_any_other() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let hold = recovery.begin(None, saved("/tricast")).unwrap();
        let pid = Arc::clone(&hold.pid);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        drop(hold);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(restore(&recovery, &pid, "/tricast").await.is_some());
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
    #[tokio::test]
    async fn of_two_clients_at_once_the_later_one_is_restored() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let user = Identity::anonymous(None);
        let first = recovery.begin(None, saved("/")).unwrap();
        let pid = Arc::clone(&first.pid);
        let mut second = None;
        // The second one comes while the first one waits.
        let waits = async |_: &Saved| {
            second = restore(&recovery, &pid, "/").await;
            true
        };
        assert!(recovery.restore(None, &pid, "/", &user, waits).await.is_none());
        drop(first);
        assert!(recovery.is_held(&pid, 3) && second.is_some(), "the others end without an effect on it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_restoration_fails_may_return() {
        let recovery = Arc::new(Recovery::new(KEPT));
        let user = Identity::anonymous(None);
        let first = recovery.begin(None, saved("/")).unwrap();
        let pid = Arc::clone(&first.pid);
        assert!(recovery.restore(None, &pid, "/", &user, async |_| false).await.is_none());
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(restore(&recovery, &pid, "/").await.is_some());
        // Neither is kept for longer because the first client is still connected.
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        assert!(restore(&recovery, &pid, "/").await.is_none());
    }
}
