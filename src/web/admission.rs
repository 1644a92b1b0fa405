//! Admission control: limits of streams per server, address and user, and rates of handshakes and changes.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::Mutex;

use super::client::counted;
use tricast_auth::TenantName;
use tricast_core::{counters::Limit, settings::Limits};

/// Seconds of allowed changes that may arrive at once.
const BURST: u32 = 10;

/// Number of handshakes after which idle addresses are removed from the table.
const SWEEP: u64 = 4_096;

/// Fewest connections beyond the limit of an address that get a response before they are closed.
const BEYOND: usize = 8;

/// Counters and rate limiters of this server. Shared by all workers.
pub struct Admission {
    limits: Limits,
    handshakes: Option<DefaultKeyedRateLimiter<IpAddr>>,
    seen: AtomicU64,
    changes: Option<DefaultKeyedRateLimiter<(TenantName, String)>>,
    changes_seen: AtomicU64,
    by_address: Arc<Table<IpAddr>>,
    connections: Arc<Table<IpAddr>>,
    beyond: Arc<Table<IpAddr>>,
    by_user: Arc<Table<(TenantName, Arc<str>)>>,
}

struct Table<K>(Mutex<HashMap<K, usize>>);

/// A permit counted for an address or a user; released when it is dropped.
pub struct Permit<K: Hash + Eq> {
    key: Option<K>,
    table: Arc<Table<K>>,
}

/// Permit of a connection or stream from one address.
pub type AddressPermit = Permit<IpAddr>;
/// Permit of a stream of one user.
pub type UserPermit = Permit<(TenantName, Arc<str>)>;

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Limit that was reached.
    pub limit: Limit,
    /// Time to wait before the next attempt.
    pub retry_after: Duration,
}

impl Admission {
    /// Creates admission control with no permits taken.
    pub fn new(limits: Limits) -> Self {
        let quota = NonZeroU32::new(limits.handshakes_per_second_per_address).map(Quota::per_second);
        let changes = NonZeroU32::new(limits.changes_per_second_per_user);
        let burst = |rate: NonZeroU32| rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST - 1));
        let changes = changes.map(|rate| Quota::per_second(rate).allow_burst(burst(rate)));
        Self {
            limits,
            handshakes: quota.map(RateLimiter::keyed),
            seen: AtomicU64::new(0),
            changes: changes.map(RateLimiter::keyed),
            changes_seen: AtomicU64::new(0),
            by_address: Arc::new(Table(Mutex::default())),
            connections: Arc::new(Table(Mutex::default())),
            beyond: Arc::new(Table(Mutex::default())),
            by_user: Arc::new(Table(Mutex::default())),
        }
    }

    /// Counts a handshake; `open` is the number of open streams. Check it before tokens, which cost more.
    ///
    /// # Errors
    /// The limit of handshakes, or of connections.
    pub fn check_handshake(&self, address: Option<IpAddr>, open: i64) -> Result<(), Reached> {
        if let (Some(limiter), Some(address)) = (&self.handshakes, address) {
            check(limiter, &self.seen, &counted(address), Limit::Handshakes)?;
        }
        let most = self.limits.max_connections;
        if most > 0 && open >= most as i64 {
            return Err(Reached { limit: Limit::Connections, retry_after: crate::shutdown::reconnect_after() });
        }
        Ok(())
    }

    /// Counts a change of stored data by `user` of `tenant`.
    ///
    /// # Errors
    /// The user makes changes too quickly.
    pub fn check_change(&self, tenant: &TenantName, user: String) -> Result<(), Reached> {
        let Some(limiter) = &self.changes else { return Ok(()) };
        check(limiter, &self.changes_seen, &(tenant.clone(), user), Limit::Changes)
    }

    /// Takes the permit of a stream from `address`.
    ///
    /// # Errors
    /// The address is at its limit.
    pub fn take_stream_permit(&self, address: Option<IpAddr>) -> Result<AddressPermit, Reached> {
        let most = self.limits.max_connections_per_address;
        let taken = Permit::take(&self.by_address, address.map(counted), most);
        taken.ok_or_else(|| Reached {
            limit: Limit::ConnectionsPerAddress,
            retry_after: crate::shutdown::reconnect_after(),
        })
    }

    /// Takes the permit of a connection from `address` that carries no stream; `None` when the address is at its limit.
    pub fn take_connection_permit(&self, address: Option<IpAddr>) -> Option<AddressPermit> {
        Permit::take(&self.connections, address.map(counted), self.limits.max_connections_per_address)
    }

    /// Takes the permit of a connection beyond the limit, which gets an error response; `None` when there are many such.
    pub fn take_excess_permit(&self, address: Option<IpAddr>) -> Option<AddressPermit> {
        let most = (self.limits.max_connections_per_address / 10).max(BEYOND);
        Permit::take(&self.beyond, address.map(counted), most)
    }

    /// Takes the permit of a stream of a user.
    ///
    /// # Errors
    /// The user is at its limit.
    pub fn take_user_permit(&self, tenant: &TenantName, user: &Arc<str>) -> Result<UserPermit, Reached> {
        let key = Some((tenant.clone(), Arc::clone(user)));
        Permit::take(&self.by_user, key, self.limits.max_connections_per_user).ok_or_else(|| Reached {
            limit: Limit::ConnectionsPerUser,
            retry_after: crate::shutdown::reconnect_after(),
        })
    }
}

/// Counts one request of `key`, and removes idle keys from time to time.
fn check<K: Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    seen: &AtomicU64,
    key: &K,
    limit: Limit,
) -> Result<(), Reached> {
    if seen.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
    limiter.check_key(key).map_err(|until| Reached {
        limit,
        retry_after: until.wait_time_from(governor::clock::DefaultClock::default().now()),
    })
}

impl<K: Hash + Eq + Clone> Permit<K> {
    fn take(table: &Arc<Table<K>>, key: Option<K>, most: usize) -> Option<Self> {
        let key = key.filter(|_| most > 0);
        if let Some(key) = &key {
            let mut counts = table.0.lock();
            match counts.get_mut(key) {
                Some(count) if *count >= most => return None,
                Some(count) => *count += 1,
                None => drop(counts.insert(key.clone(), 1)),
            }
        }
        Some(Self { key, table: Arc::clone(table) })
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let mut counts = self.table.0.lock();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(per_address: usize, per_user: usize, handshakes: u32) -> Admission {
        Admission::new(Limits {
            max_connections: 5,
            max_connections_per_address: per_address,
            max_connections_per_user: per_user,
            handshakes_per_second_per_address: handshakes,
            changes_per_second_per_user: 1,
            ..Limits::default()
        })
    }

    #[test]
    fn an_address_has_a_number_of_permits_and_gets_them_back() {
        let admission = admission(2, 0, 0);
        let one = Some("192.0.2.1".parse().unwrap());
        let first = admission.take_stream_permit(one).ok().unwrap();
        let second = admission.take_stream_permit(one).ok().unwrap();
        assert_eq!(
            admission.take_stream_permit(one).err().map(|reached| reached.limit),
            Some(Limit::ConnectionsPerAddress)
        );
        assert!(
            admission.take_stream_permit(Some("192.0.2.2".parse().unwrap())).is_ok(),
            "another address has its own permits"
        );
        drop(first);
        assert!(admission.take_stream_permit(one).is_ok());
        assert!(
            (0..10).all(|_| admission.take_stream_permit(None).is_ok()),
            "clients without an address are not counted by it"
        );
        drop(second);
        assert!(admission.by_address.0.lock().is_empty(), "the table has no entries of clients that left");
    }

    #[test]
    fn connections_are_counted_beside_streams_and_some_excess_ones_get_a_response() {
        let admission = admission(2, 0, 0);
        let one = Some("192.0.2.1".parse().unwrap());
        let _stream = admission.take_stream_permit(one).ok().unwrap();
        let connections: Vec<_> = (0..3).map_while(|_| admission.take_connection_permit(one)).collect();
        assert_eq!(connections.len(), 2);
        let beyond: Vec<_> = (0..99).map_while(|_| admission.take_excess_permit(one)).collect();
        assert_eq!(beyond.len(), BEYOND);
        drop((connections, beyond));
        assert!(admission.connections.0.lock().is_empty() && admission.beyond.0.lock().is_empty());
    }

    #[test]
    fn a_user_is_counted_within_its_tenant() {
        let admission = admission(0, 1, 0);
        let user: Arc<str> = "ada".into();
        let (acme, other) = (TenantName::parse("acme").unwrap(), TenantName::parse("other").unwrap());
        let _one = admission.take_user_permit(&acme, &user).ok().unwrap();
        assert!(admission.take_user_permit(&acme, &user).is_err());
        assert!(admission.take_user_permit(&other, &user).is_ok());
    }

    #[test]
    fn changes_are_bounded_by_user_and_can_be_retried_after_a_second() {
        let admission = admission(0, 0, 0);
        let acme = TenantName::parse("acme").unwrap();
        let made = (0..99).take_while(|_| admission.check_change(&acme, "ada".into()).is_ok()).count();
        assert_eq!(made, BURST as usize);
        let reached = admission.check_change(&acme, "ada".into()).unwrap_err();
        assert!(reached.limit == Limit::Changes && reached.retry_after <= Duration::from_secs(1), "{reached:?}");
        assert!(admission.check_change(&acme, "bob".into()).is_ok());
        assert!(admission.check_change(&TenantName::default_name(), "ada".into()).is_ok());
    }

    #[test]
    fn handshakes_are_bounded_by_address_and_in_all() {
        let admission = admission(0, 0, 3);
        let one = Some("192.0.2.1".parse().unwrap());
        assert!((0..3).all(|_| admission.check_handshake(one, 0).is_ok()));
        let reached = admission.check_handshake(one, 0).unwrap_err();
        assert!(reached.limit == Limit::Handshakes && reached.retry_after <= Duration::from_secs(1), "{reached:?}");
        assert!(admission.check_handshake(Some("192.0.2.9".parse().unwrap()), 4).is_ok());
        assert_eq!(admission.check_handshake(None, 5).unwrap_err().limit, Limit::Connections);
    }
}
