//! Tickets: short-lived, single-use credentials that a client gets for a token and can put into a URL.
//!
//! A browser can't set headers on a WebSocket or an EventSource, and URLs end up in logs. A ticket replaces the token there: it is
//! valid for one use within [`LIFETIME`].

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    cache::{Fingerprint, fingerprint},
    identity::Identity,
    tenant::TenantName,
};

/// Time for which a ticket can be redeemed.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Random bytes of a ticket: 192 bits, 48 characters.
const BYTES: usize = 24;

/// Most tickets at once, of all users: about 5 MB.
const MAX: usize = 10_000;

/// Most tickets of one user within [`LIFETIME`], including redeemed ones. Enough for a user who opens many pages at once.
const MAX_PER_USER: usize = 32;

/// There are too many tickets, of this user or of all users. Within [`LIFETIME`] there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many tickets are out; use those first, or wait {} s", LIFETIME.as_secs())]
pub struct TooMany;

/// Issued tickets. Cheap to clone; all clones share them. Only hashes are kept, so that a reader of the server's memory can't redeem
/// one.
#[derive(Clone, Default)]
pub struct Tickets {
    out: Arc<Mutex<Out>>,
}

#[derive(Default)]
struct Out {
    tickets: HashMap<Fingerprint, Ticket>,
    /// All tickets, the oldest first, including redeemed ones until they expire: all have the same lifetime.
    order: VecDeque<(Instant, Fingerprint, Owner)>,
    /// Number of tickets of each user in `order`, so that a user who redeems quickly cannot use up the room of all others.
    per_user: HashMap<Owner, usize>,
}

type Owner = (TenantName, String);

struct Ticket {
    identity: Identity,
    ends: Instant,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tickets({} out)", self.out.lock().tickets.len())
    }
}

impl Tickets {
    /// Issues a ticket for `identity`: 48 characters of `[0-9a-f]`.
    ///
    /// # Errors
    /// [`TooMany`], also if the system has no random bytes: a ticket that can be guessed is worse than none.
    pub fn issue(&self, identity: &Identity, now: Instant) -> Result<String, TooMany> {
        let ticket = unguessable().ok_or(TooMany)?;
        let key = fingerprint(&ticket);
        let mut out = self.out.lock();
        out.sweep(now);
        // Redeemed ones count in all, so that `order` is bounded too.
        if out.order.len() >= MAX {
            return Err(TooMany);
        }
        let owner = owner(identity);
        let count = out.per_user.entry(owner.clone()).or_default();
        if *count >= MAX_PER_USER {
            return Err(TooMany);
        }
        *count += 1;
        let ends = now + LIFETIME;
        out.tickets.insert(key, Ticket { identity: identity.clone(), ends });
        out.order.push_back((ends, key, owner));
        Ok(ticket)
    }

    /// Returns the identity that the ticket was issued to, once and within [`LIFETIME`]; `None` for any other ticket. The caller has to
    /// check whether the identity itself has expired.
    pub fn redeem(&self, ticket: &str, now: Instant) -> Option<Identity> {
        // The comparison of hashes reveals nothing about a partial guess.
        let key = fingerprint(ticket);
        let mut out = self.out.lock();
        let Ticket { identity, ends } = out.tickets.remove(&key)?;
        drop(out);
        (now < ends).then_some(identity)
    }
}

impl Out {
    fn sweep(&mut self, now: Instant) {
        while let Some((_, key, owner)) = self.order.pop_front_if(|(ends, ..)| *ends <= now) {
            self.tickets.remove(&key);
            if let Some(count) = self.per_user.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    self.per_user.remove(&owner);
                }
            }
        }
    }
}

/// Returns the name of a ticket in the store that the nodes of a cluster share. It can't be redeemed.
pub fn ticket_name(ticket: &str) -> String {
    HEXLOWER.encode(&fingerprint(ticket)[..16])
}

/// Returns 48 unpredictable characters of `[0-9a-f]`; `None` if the system has no random bytes.
pub fn unguessable() -> Option<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(HEXLOWER.encode(&bytes))
}

fn owner(identity: &Identity) -> (TenantName, String) {
    (identity.tenant.clone(), identity.counted_as())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Identity {
        Identity::anonymous(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_ticket_is_valid_once_and_for_30_s() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ada = from("192.0.2.1");
        let ticket = tickets.issue(&ada, now).unwrap();
        assert!(ticket.len() == 48 && ticket.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(tickets.redeem(&ticket, now), Some(ada.clone()));
        assert_eq!(tickets.redeem(&ticket, now), None);
        let late = tickets.issue(&ada, now).unwrap();
        assert_eq!(tickets.redeem(&late, now + LIFETIME), None);
        assert_eq!(tickets.redeem(&late, now), None, "the late attempt consumed it");
    }

    #[test]
    fn a_guessed_ticket_is_refused() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ticket = tickets.issue(&from("192.0.2.1"), now).unwrap();
        for guess in ["", &ticket[..47], &format!("{ticket} "), &ticket.to_uppercase(), &"x".repeat(1 << 20)] {
            assert_eq!(tickets.redeem(guess, now), None);
        }
        assert!(tickets.redeem(&ticket, now).is_some(), "a wrong guess consumes no ticket");
    }

    #[test]
    fn tickets_are_bounded_per_user_and_in_all_and_swept() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ada = from("192.0.2.1");
        let first = tickets.issue(&ada, now).unwrap();
        for _ in 1..MAX_PER_USER {
            tickets.issue(&ada, now).unwrap();
        }
        assert_eq!(tickets.issue(&ada, now), Err(TooMany));
        tickets.redeem(&first, now).unwrap();
        assert_eq!(tickets.issue(&ada, now), Err(TooMany), "a redeemed ticket counts until it would have expired");
        for user in 0..MAX {
            let other = from(&format!("10.0.{}.{}", user / 256, user % 256));
            if tickets.issue(&other, now).is_err() {
                break;
            }
        }
        assert_eq!(tickets.issue(&from("192.0.2.2"), now), Err(TooMany));
        assert!(tickets.issue(&ada, now + LIFETIME).is_ok());
        let out = tickets.out.lock();
        assert_eq!((out.tickets.len(), out.order.len(), out.per_user.len()), (1, 1, 1));
    }

    #[test]
    fn one_of_many_concurrent_redemptions_succeeds() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ticket = tickets.issue(&from("192.0.2.1"), now).unwrap();
        let redeem = || tickets.redeem(&ticket, now).is_some();
        let got = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(redeem)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|got| *got).count()
        });
        assert_eq!(got, 1);
    }

    #[test]
    fn debug_output_hides_tickets() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(&from("192.0.2.1"), Instant::now()).unwrap();
        assert!(!format!("{tickets:?}").contains(&ticket[..8]));
    }
}
