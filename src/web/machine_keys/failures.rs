//! Limit of unknown keys from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::web::client::counted;

/// Time over which unknown keys are counted, from the first one.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Most different unknown keys of one address in that time: far more than a client with a wrong key sends, and few enough that
/// invented keys do not occupy the store.
const MOST: u32 = 50;

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 4_096;

/// Numbers of unknown keys by address.
#[derive(Default)]
pub(super) struct Failures {
    by_address: HashMap<IpAddr, Window>,
}

struct Window {
    began: Instant,
    count: u32,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }
}

impl Failures {
    /// Returns whether `address` has sent too many unknown keys. A client without an address, on a Unix socket, never has.
    pub(super) fn is_blocked(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let window = address.and_then(|address| self.by_address.get(&counted(address)));
        window.is_some_and(|window| window.count >= MOST && !window.is_over(now))
    }

    /// Counts an unknown key.
    pub(super) fn count(&mut self, address: Option<IpAddr>, now: Instant) {
        let Some(address) = address.map(counted) else { return };
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, window| !window.is_over(now));
            if self.by_address.len() >= MAX_ADDRESSES {
                self.by_address.clear();
            }
        }
        let window = self.by_address.entry(address).or_insert(Window { began: now, count: 0 });
        if window.is_over(now) {
            *window = Window { began: now, count: 0 };
        }
        window.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_blocked_until_its_window_ends() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Some(text.parse().unwrap()));
        for _ in 0..MOST {
            assert!(!failures.is_blocked(one, start));
            failures.count(one, start);
        }
        assert!(failures.is_blocked(one, start) && !failures.is_blocked(other, start));
        assert!(failures.is_blocked(one, start + WINDOW / 2) && !failures.is_blocked(one, start + WINDOW));
        failures.count(one, start + WINDOW);
        assert!(!failures.is_blocked(one, start + WINDOW));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for last in 0..MOST {
            failures.count(Some(format!("2001:db8::{last:x}").parse().unwrap()), now);
        }
        assert!(failures.is_blocked(Some("2001:db8::ffff".parse().unwrap()), now));
        (0..2 * MOST).for_each(|_| failures.count(None, now));
        assert!(!failures.is_blocked(None, now));
    }

    #[test]
    fn addresses_are_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for number in 0..3 * MAX_ADDRESSES as u32 {
            failures.count(Some(IpAddr::from(number.to_be_bytes())), now);
            assert!(failures.by_address.len() <= MAX_ADDRESSES);
        }
    }
}
