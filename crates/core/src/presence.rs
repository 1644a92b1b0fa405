//! Presence: users with an open stream on any transport, and pollers for a while after their last poll.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasher, Hash},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::pause;

/// Time for which a poller is online after its last poll.
pub const POLLER_STAYS: Duration = Duration::from_secs(60);

/// Shortest time between two notes of the same poller, so that most polls cost only a reading of the clock.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Users online on this node. Cheap to clone; all clones share them.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    users: Arc<Mutex<Users>>,
}

#[derive(Debug, Default)]
struct Users {
    online: HashMap<String, User>,
    peak: usize,
    ended: u64,
    ended_time: Duration,
}

#[derive(Debug)]
struct User {
    streams: usize,
    since: Instant,
    last_poll: Option<Instant>,
}

impl User {
    fn gone_at(&self, now: Instant) -> Option<Instant> {
        match (self.streams, self.last_poll) {
            (0, None) => Some(now),
            // No client could poll while this process was suspended.
            (0, Some(poll)) => (now.duration_since(pause::awake_since(poll)) >= POLLER_STAYS).then_some(poll),
            _ => None,
        }
    }
}

/// Numbers of users on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Online {
    /// Number of users who are online now.
    pub current: usize,
    /// Most users at once since midnight.
    pub peak_today: usize,
}

/// Keeps a user online while a stream is open.
#[derive(Debug)]
pub struct StreamGuard {
    presence: Presence,
    user: String,
}

impl Presence {
    /// Counts a stream of `user` until the guard is dropped.
    pub fn stream(&self, user: &str) -> StreamGuard {
        let mut users = self.users.lock();
        users.enter(user, Instant::now()).streams += 1;
        users.peak = users.peak.max(users.online.len());
        StreamGuard { presence: self.clone(), user: user.to_owned() }
    }

    /// Notes a poll of `user`.
    pub fn poll(&self, user: &str) {
        let now = Instant::now();
        let mut users = self.users.lock();
        if let Some(known) = users.online.get_mut(user) {
            known.last_poll = Some(now);
            return;
        }
        users.enter(user, now).last_poll = Some(now);
        users.peak = users.peak.max(users.online.len());
    }

    /// Returns the numbers now, without pollers that have not polled lately.
    pub fn online(&self) -> Online {
        let mut users = self.users.lock();
        users.remove_ended(Instant::now()).online()
    }

    /// Returns the names of the users online, for merging several nodes.
    pub fn users(&self) -> HashSet<String> {
        self.users.lock().remove_ended(Instant::now()).online.keys().cloned().collect()
    }

    /// Returns the number and length of today's sessions.
    pub fn sessions(&self) -> Sessions {
        self.users.lock().remove_ended(Instant::now()).sessions()
    }

    /// Starts a new day: resets the day's peak and mean.
    pub fn new_day(&self) {
        let mut users = self.users.lock();
        users.peak = users.online.len();
        (users.ended, users.ended_time) = (0, Duration::ZERO);
    }
}

/// Sessions that ended today and those that run.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// Number of sessions, running ones included.
    pub count: u64,
    /// Total length in seconds.
    pub seconds: u64,
}

impl Sessions {
    /// Returns their mean length.
    pub fn average(self) -> Duration {
        Duration::from_secs(self.seconds.checked_div(self.count).unwrap_or(0))
    }
}

impl std::iter::Sum for Sessions {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { count: sum.count + one.count, seconds: sum.seconds + one.seconds })
    }
}

impl Users {
    fn enter(&mut self, user: &str, now: Instant) -> &mut User {
        self.online.entry(user.to_owned()).or_insert(User { streams: 0, since: now, last_poll: None })
    }

    fn remove_ended(&mut self, now: Instant) -> &Self {
        let Self { online, ended, ended_time, .. } = self;
        online.retain(|_, user| match user.gone_at(now) {
            Some(at) => {
                *ended += 1;
                *ended_time += at.duration_since(user.since);
                false
            }
            None => true,
        });
        self
    }

    fn sessions(&self) -> Sessions {
        let now = Instant::now();
        let running: Duration = self.online.values().map(|user| now.duration_since(user.since)).sum();
        Sessions { count: self.ended + self.online.len() as u64, seconds: (running + self.ended_time).as_secs() }
    }

    fn online(&self) -> Online {
        Online { current: self.online.len(), peak_today: self.peak.max(self.online.len()) }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut users = self.presence.users.lock();
        if let Some(user) = users.online.get_mut(&self.user) {
            user.streams = user.streams.saturating_sub(1);
        }
    }
}

/// Pollers that a worker noted lately, so that most polls do not touch the shared table.
#[derive(Debug, Default)]
pub struct RecentPollers {
    /// Times by a hash of the user. Of two users with the same hash one is noted a second later.
    noted: HashMap<u64, Instant>,
    hasher: std::hash::RandomState,
    swept: Option<Instant>,
}

impl RecentPollers {
    /// Returns whether a poll of `user` should be noted now.
    pub fn is_due(&mut self, user: impl Hash) -> bool {
        self.is_due_at(user, Instant::now())
    }

    fn is_due_at(&mut self, user: impl Hash, now: Instant) -> bool {
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= NOTE_EVERY) {
            self.swept = Some(now);
            self.noted.retain(|_, noted| now.duration_since(*noted) < NOTE_EVERY);
        }
        let noted = self.noted.entry(self.hasher.hash_one(user));
        let is_new = matches!(noted, Entry::Vacant(_));
        let noted = noted.or_insert(now);
        let is_due = is_new || now.duration_since(*noted) >= NOTE_EVERY;
        if is_due {
            *noted = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_counts_once_however_many_streams() {
        let presence = Presence::default();
        let first = presence.stream("ada");
        let second = presence.stream("ada");
        let other = presence.stream("bob");
        assert_eq!(presence.online().current, 2);
        drop((first, other));
        assert_eq!(presence.online().current, 1);
        drop(second);
        let online = presence.online();
        assert_eq!((online.current, online.peak_today), (0, 2));
        presence.new_day();
        assert_eq!(presence.online().peak_today, 0);
    }

    #[test]
    fn a_poller_stays_for_a_while() {
        let presence = Presence::default();
        presence.poll("10.0.0.1");
        drop(presence.stream("10.0.0.1"));
        assert_eq!(presence.online().current, 1);
    }

    #[test]
    fn a_poller_leaves_a_minute_after_the_last_poll_and_was_online_until_that_poll() {
        let mut users = Users::default();
        let start = Instant::now();
        users.enter("ada", start).last_poll = Some(start + Duration::from_secs(30));
        users.enter("bob", start).streams = 1;
        let left = start + Duration::from_secs(90);
        assert_eq!(users.remove_ended(left - Duration::from_millis(1)).online.len(), 2);
        assert_eq!(users.remove_ended(left).online.len(), 1);
        assert_eq!((users.ended, users.ended_time), (1, Duration::from_secs(30)));
        users.enter("eve", left);
        users.remove_ended(left + Duration::from_secs(5));
        assert_eq!((users.ended, users.ended_time), (2, Duration::from_secs(35)), "without a stream or poll: gone now");
        assert_eq!(users.sessions().count, 3, "the running one included");
    }

    #[test]
    fn the_mean_session_is_that_of_today() {
        let presence = Presence::default();
        drop(presence.stream("ada"));
        let _open = presence.stream("bob");
        assert_eq!(presence.sessions().count, 2);
        presence.new_day();
        assert_eq!((presence.sessions().count, presence.users().len()), (1, 1));
        assert_eq!(Sessions { count: 2, seconds: 5 }.average(), Duration::from_secs(2));
        assert_eq!(Sessions::default().average(), Duration::ZERO);
    }

    #[test]
    fn a_worker_notes_a_poller_once_a_second_and_then_forgets_it() {
        let mut recent = RecentPollers::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(recent.is_due_at("ada", at(0)) && !recent.is_due_at("ada", at(0)) && recent.is_due_at("bob", at(0)));
        assert!(!recent.is_due_at("ada", at(999)));
        assert!(recent.is_due_at("eve", at(500)));
        assert_eq!(recent.noted.len(), 3);
        assert!(recent.is_due_at("ada", at(1_000)) && !recent.is_due_at("ada", at(1_999)));
        assert_eq!(recent.noted.len(), 2, "bob is forgotten, eve was noted half a second ago");
    }
}
