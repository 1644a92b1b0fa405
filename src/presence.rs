//! Who is online: users with a stream open on any transport, and pollers for a while after their last poll.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long a poller counts after its last poll.
pub const POLLER_STAYS: Duration = Duration::from_secs(60);

/// A poller's time is noted at most this often, so that a poll costs a look at a clock.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The users of this node. Cheap to clone.
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
            (0, Some(poll)) => (now.duration_since(poll) >= POLLER_STAYS).then_some(poll),
            _ => None,
        }
    }
}

/// The numbers of `metrics.users_online`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Online {
    /// Users now.
    pub current: usize,
    /// Most users at once since midnight.
    pub peak_today: usize,
    /// Mean length of the sessions that ended today and of those that run.
    pub average_session: Duration,
}

/// Keeps a user online while a stream is open.
#[derive(Debug)]
pub struct StreamGuard {
    presence: Presence,
    user: String,
}

impl Presence {
    /// A stream of `user` opened; it ends with the guard.
    pub fn stream(&self, user: &str) -> StreamGuard {
        let mut users = self.users.lock();
        users.enter(user, Instant::now()).streams += 1;
        users.peak = users.peak.max(users.online.len());
        StreamGuard { presence: self.clone(), user: user.to_owned() }
    }

    /// `user` polled.
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

    /// The numbers now; pollers that stayed away are let go.
    pub fn online(&self) -> Online {
        let now = Instant::now();
        let mut users = self.users.lock();
        let Users { online, ended, ended_time, .. } = &mut *users;
        online.retain(|_, user| match user.gone_at(now) {
            Some(at) => {
                *ended += 1;
                *ended_time += at.duration_since(user.since);
                false
            }
            None => true,
        });
        let running: Duration = users.online.values().map(|user| now.duration_since(user.since)).sum();
        let sessions = users.ended + users.online.len() as u64;
        let average = (running + users.ended_time).as_secs().checked_div(sessions).unwrap_or(0);
        Online {
            current: users.online.len(),
            peak_today: users.peak.max(users.online.len()),
            average_session: Duration::from_secs(average),
        }
    }

    /// Midnight: the day's peak and mean start again.
    pub fn new_day(&self) {
        let mut users = self.users.lock();
        users.peak = users.online.len();
        (users.ended, users.ended_time) = (0, Duration::ZERO);
    }
}

impl Users {
    fn enter(&mut self, user: &str, now: Instant) -> &mut User {
        self.online.entry(user.to_owned()).or_insert(User { streams: 0, since: now, last_poll: None })
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

/// Remembers on one worker whom it noted lately, so that most polls don't touch the shared table.
#[derive(Debug, Default)]
pub struct RecentPollers {
    /// By a hash of the user: whoever shares one with somebody else is noted a second later.
    noted: HashMap<u64, Instant>,
    hasher: std::hash::RandomState,
    swept: Option<Instant>,
}

impl RecentPollers {
    /// Whether a poll of `user` should be noted now.
    pub fn is_due(&mut self, user: impl Hash) -> bool {
        let now = Instant::now();
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
        let mut recent = RecentPollers::default();
        assert!(recent.is_due("10.0.0.1") && !recent.is_due("10.0.0.1") && recent.is_due("10.0.0.2"));
    }
}
