//! Expiry of entries that are not used any more. Pure: time is an argument.
//!
//! Each entry has one place in the order of the times at which it is checked. A use only moves its end; the next check
//! detects the use and is repeated at the new end. So a use costs a look-up, and the passing of time costs by the entries
//! that are due.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// Granularity to which ends are rounded up, so that many of them need one wake-up.
const STEP: Duration = Duration::from_millis(STEP_MS);
const STEP_MS: u64 = 250;

/// Ends of entries by their keys. The caller chooses the origin of time.
#[derive(Debug)]
pub struct Expiry<K> {
    /// Lifetime of an entry without an own one; `None` means no end.
    usual: Option<Duration>,
    entries: HashMap<K, Life>,
    checks: BTreeSet<(Duration, K)>,
}

#[derive(Debug)]
struct Life {
    /// Own lifetime of this entry.
    own: Option<Duration>,
    ends: Duration,
    check: Duration,
    /// Whether `own` changed since the last [`Expiry::changed_lifetimes`].
    is_new: bool,
}

impl<K: Clone + Eq + Hash + Ord> Expiry<K> {
    /// Creates an empty table. Entries without an own lifetime live for `usual` after each use, or without an end.
    pub fn new(usual: Option<Duration>) -> Self {
        Self { usual, entries: HashMap::new(), checks: BTreeSet::new() }
    }

    /// Records a use at `now`. With `own` that becomes the own lifetime of the entry; without, the entry loses its own
    /// one unless it `keeps` it.
    pub fn used(&mut self, key: &K, own: Option<Duration>, keeps: bool, now: Duration) {
        if self.usual.is_none() && own.is_none() && self.entries.is_empty() {
            return;
        }
        let before = self.entries.get_mut(key);
        let own = own.or(before.as_ref().filter(|_| keeps).and_then(|life| life.own));
        let Some(span) = own.or(self.usual) else {
            self.remove(key);
            return;
        };
        let ends = step(now.saturating_add(span));
        match before {
            Some(life) => {
                life.is_new |= life.own != own;
                (life.own, life.ends) = (own, ends);
                if ends < life.check {
                    self.checks.remove(&(life.check, key.clone()));
                    self.checks.insert((ends, key.clone()));
                    life.check = ends;
                }
            }
            None => {
                self.checks.insert((ends, key.clone()));
                self.entries.insert(key.clone(), Life { own, ends, check: ends, is_new: own.is_some() });
            }
        }
    }

    /// Removes an entry. Returns whether it had an own lifetime.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(life) = self.entries.remove(key) else { return false };
        self.checks.remove(&(life.check, key.clone()));
        life.own.is_some()
    }

    /// Returns the entries that have ended by `now`. The caller has to remove or use them.
    pub fn ended(&mut self, now: Duration) -> Vec<K> {
        let mut ended = Vec::new();
        while let Some((check, key)) = self.checks.first().filter(|(check, _)| *check <= now).cloned() {
            self.checks.remove(&(check, key.clone()));
            let Some(life) = self.entries.get_mut(&key) else { continue };
            if life.ends <= now {
                ended.push(key.clone());
                // Checked again soon, in case the caller does not remove it.
                life.ends = now + STEP;
            }
            life.check = life.ends;
            self.checks.insert((life.check, key));
        }
        ended
    }

    /// Returns the time of the next [`Expiry::ended`].
    pub fn next(&self) -> Option<Duration> {
        self.checks.first().map(|(check, _)| *check)
    }

    /// Returns the own lifetimes that changed since the last call, or with `all` each of them; `None` for a removed one.
    pub fn changed_lifetimes(&mut self, all: bool) -> Vec<(K, Option<Duration>)> {
        let entries = self.entries.iter_mut();
        let new = entries.filter_map(|(key, life)| {
            let is_new = std::mem::take(&mut life.is_new);
            (is_new || (all && life.own.is_some())).then(|| (key.clone(), life.own))
        });
        new.collect()
    }
}

/// Rounds `time` up to a multiple of [`STEP`].
fn step(time: Duration) -> Duration {
    let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(ms.checked_next_multiple_of(STEP_MS).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn used_entries_stay_and_unused_ones_end_once() {
        let mut expiry = Expiry::new(Some(ms(1_000)));
        expiry.used(&"a", None, false, ms(0));
        expiry.used(&"b", None, false, ms(0));
        expiry.used(&"a", None, false, ms(900));
        assert_eq!((expiry.next(), expiry.ended(ms(999)).len()), (Some(ms(1_000)), 0));
        assert_eq!(expiry.ended(ms(1_000)), ["b"]);
        expiry.remove(&"b");
        assert!(expiry.ended(ms(1_999)).is_empty());
        assert_eq!(expiry.ended(ms(2_000)), ["a"]);
        expiry.remove(&"a");
        assert_eq!((expiry.next(), expiry.entries.len(), expiry.checks.len()), (None, 0, 0));
    }

    #[test]
    fn an_own_lifetime_holds_until_a_use_that_does_not_keep_it() {
        let mut expiry = Expiry::new(None);
        expiry.used(&1, Some(ms(500)), false, ms(0));
        expiry.used(&1, None, true, ms(250));
        assert_eq!(expiry.changed_lifetimes(false), [(1, Some(ms(500)))]);
        assert_eq!(
            (expiry.changed_lifetimes(false).len(), expiry.changed_lifetimes(true)),
            (0, vec![(1, Some(ms(500)))])
        );
        assert!(expiry.ended(ms(749)).is_empty());
        expiry.used(&1, None, false, ms(749));
        assert_eq!((expiry.ended(ms(10_000)).len(), expiry.next()), (0, None));
    }

    #[test]
    fn a_lifetime_is_a_change_only_if_it_is_another_one() {
        let mut expiry = Expiry::new(Some(ms(1_000)));
        expiry.used(&1, Some(ms(500)), false, ms(0));
        expiry.changed_lifetimes(false);
        expiry.used(&1, Some(ms(500)), false, ms(100));
        assert_eq!(expiry.changed_lifetimes(false), []);
        expiry.used(&1, Some(ms(700)), false, ms(200));
        assert_eq!(expiry.changed_lifetimes(false), [(1, Some(ms(700)))]);
        expiry.used(&1, None, false, ms(300));
        assert_eq!(expiry.changed_lifetimes(false), [(1, None)]);
    }

    proptest! {
        /// For any uses and times, entries end after their lifetime without a use, and the order of checks has one place
        /// for each.
        #[test]
        fn it_equals_a_table_of_ends(steps in proptest::collection::vec((0u8..6, 0u64..9, 0u64..2_000), 1..200)) {
            let mut expiry = Expiry::new(Some(ms(3_000)));
            let mut ends = std::collections::BTreeMap::<u8, Duration>::new();
            let mut now = Duration::ZERO;
            for (key, own, wait) in steps {
                now += ms(wait);
                let mut due: Vec<u8> = ends.iter().filter(|(_, end)| **end <= now).map(|(key, _)| *key).collect();
                let mut ended = expiry.ended(now);
                ended.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(&ended, &due);
                for key in ended {
                    expiry.remove(&key);
                    ends.remove(&key);
                }
                let own = (own > 0).then(|| ms(own * 500));
                expiry.used(&key, own, false, now);
                ends.insert(key, step(now + own.unwrap_or(ms(3_000))));
                prop_assert_eq!(expiry.checks.len(), expiry.entries.len());
                prop_assert!(expiry.next().is_none_or(|next| next <= *ends.values().min().unwrap()));
            }
        }
    }
}
