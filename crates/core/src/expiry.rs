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

/// End of an entry that lost its own lifetime and has no other. It stays, so that the change is reported.
const NEVER: Duration = Duration::MAX;

/// Ends of entries by their keys. The caller chooses the origin of time.
#[derive(Debug)]
pub struct Expiry<K> {
    entries: HashMap<K, Life>,
    checks: BTreeSet<(Duration, K)>,
}

/// Lifetime of an entry from a use on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Own lifetime that the use sets.
    pub own: Option<Duration>,
    /// Whether a use without `own` keeps the entry's own lifetime.
    pub keeps: bool,
    /// Lifetime of an entry without an own one; `None` means no end.
    pub usual: Option<Duration>,
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

impl<K> Default for Expiry<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), checks: BTreeSet::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Expiry<K> {
    /// Records a use at `now`.
    pub fn used(&mut self, key: &K, Lifetime { own, keeps, usual }: Lifetime, now: Duration) {
        if usual.is_none() && own.is_none() && self.entries.is_empty() {
            return;
        }
        let before = self.entries.get(key);
        let own = own.or(before.filter(|_| keeps).and_then(|life| life.own));
        let Some(ends) = own.or(usual).map(|span| step(now.saturating_add(span))).or(before.map(|_| NEVER)) else {
            return;
        };
        match before {
            Some(before) => {
                let is_new = before.own != own;
                self.set_end(key, ends);
                if let Some(life) = self.entries.get_mut(key) {
                    life.own = own;
                    life.is_new |= is_new;
                }
            }
            None => {
                self.checks.insert((ends, key.clone()));
                self.entries.insert(key.clone(), Life { own, ends, check: ends, is_new: own.is_some() });
            }
        }
    }

    /// Moves the end of an entry ahead by `spent`, a part of its lifetime that had passed before its last use was recorded, but
    /// not before `earliest`.
    pub fn spend(&mut self, key: &K, spent: Duration, earliest: Duration) {
        if let Some(life) = self.entries.get(key).filter(|life| life.ends < NEVER) {
            self.set_end(key, step(life.ends.saturating_sub(spent).max(earliest).min(life.ends)));
        }
    }

    /// Sets the end of an entry, which stays as it is otherwise.
    pub fn set_end(&mut self, key: &K, ends: Duration) {
        let Some(life) = self.entries.get_mut(key) else { return };
        life.ends = ends;
        if ends < life.check {
            self.checks.remove(&(life.check, key.clone()));
            self.checks.insert((ends, key.clone()));
            life.check = ends;
        }
    }

    /// Removes an entry. Returns whether it had an own lifetime.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(life) = self.entries.remove(key) else { return false };
        self.checks.remove(&(life.check, key.clone()));
        life.own.is_some()
    }

    /// Returns the own lifetime of an entry and its end; `None` if it has none.
    pub fn own(&self, key: &K) -> Option<(Duration, Duration)> {
        let life = self.entries.get(key)?;
        life.own.map(|own| (own, life.ends))
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
        self.checks.first().map(|(check, _)| *check).filter(|check| *check < NEVER)
    }

    /// Returns the own lifetimes that changed since the last call, or with `all` each of them; `None` for one that was lost.
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

    /// Use with this own lifetime, of an entry that has the usual one without it.
    const fn life(own: Option<Duration>, usual: Option<Duration>) -> Lifetime {
        Lifetime { own, keeps: false, usual }
    }

    #[test]
    fn used_entries_stay_and_unused_ones_end_once() {
        let (mut expiry, usual) = (Expiry::default(), life(None, Some(ms(1_000))));
        expiry.used(&"a", usual, ms(0));
        expiry.used(&"b", usual, ms(0));
        expiry.used(&"a", usual, ms(900));
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
        let mut expiry = Expiry::default();
        expiry.used(&1, life(Some(ms(500)), None), ms(0));
        expiry.used(&1, Lifetime { keeps: true, ..Lifetime::default() }, ms(250));
        assert_eq!(expiry.changed_lifetimes(false), [(1, Some(ms(500)))]);
        assert_eq!(
            (expiry.changed_lifetimes(false).len(), expiry.changed_lifetimes(true)),
            (0, vec![(1, Some(ms(500)))])
        );
        assert!(expiry.ended(ms(749)).is_empty());
        expiry.used(&1, Lifetime::default(), ms(749));
        assert_eq!((expiry.ended(ms(10_000)).len(), expiry.next()), (0, None));
        assert_eq!(expiry.changed_lifetimes(true), [(1, None)], "it lost its own one");
        assert_eq!(expiry.changed_lifetimes(true), []);
        expiry.used(&1, life(Some(ms(500)), None), ms(20_000));
        assert_eq!((expiry.own(&1), expiry.next()), (Some((ms(500), ms(20_500))), Some(ms(20_500))));
        assert!(expiry.remove(&1) && expiry.checks.is_empty());
    }

    #[test]
    fn a_lifetime_that_is_partly_spent_ends_earlier_but_not_in_the_past() {
        let mut expiry = Expiry::default();
        expiry.used(&1, life(None, Some(ms(5_000))), ms(1_000));
        expiry.spend(&1, ms(2_000), ms(1_000));
        assert_eq!((expiry.next(), expiry.ended(ms(3_999)).len()), (Some(ms(4_000)), 0));
        expiry.spend(&1, ms(60_000), ms(3_999));
        assert_eq!((expiry.ended(ms(3_999)).len(), expiry.ended(ms(4_000))), (0, vec![1]));
    }

    #[test]
    fn a_lifetime_is_a_change_only_if_it_is_another_one() {
        let (mut expiry, usual) = (Expiry::default(), Some(ms(1_000)));
        expiry.used(&1, life(Some(ms(500)), usual), ms(0));
        expiry.changed_lifetimes(false);
        expiry.used(&1, life(Some(ms(500)), usual), ms(100));
        assert_eq!(expiry.changed_lifetimes(false), []);
        expiry.used(&1, life(Some(ms(700)), usual), ms(200));
        assert_eq!(expiry.changed_lifetimes(false), [(1, Some(ms(700)))]);
        expiry.used(&1, life(None, usual), ms(300));
        assert_eq!(expiry.changed_lifetimes(false), [(1, None)]);
    }

    proptest! {
        /// For any uses and times, entries end after their lifetime without a use, and the order of checks has one place
        /// for each.
        #[test]
        fn it_equals_a_table_of_ends(steps in proptest::collection::vec((0u8..6, 0u64..9, 0u64..2_000), 1..200)) {
            let mut expiry = Expiry::default();
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
                expiry.used(&key, life(own, Some(ms(3_000))), now);
                ends.insert(key, step(now + own.unwrap_or(ms(3_000))));
                prop_assert_eq!(expiry.checks.len(), expiry.entries.len());
                prop_assert!(expiry.next().is_none_or(|next| next <= *ends.values().min().unwrap()));
            }
        }
    }
}
