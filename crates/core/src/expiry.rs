//! When things end that nobody uses any more. Pure: time is an argument.
//!
//! Each thing has one place in the order of the times at which it is looked at. A use moves its end only; the look finds
//! out that it was used and looks again at the new end. So a use costs a search in a table, and time that passes costs by
//! the things that are due.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// Ends are rounded up to this, so that many of them need one wake-up.
const STEP: Duration = Duration::from_millis(STEP_MS);
const STEP_MS: u64 = 250;

/// The ends of things, by their keys. Times count from whenever the caller likes.
#[derive(Debug)]
pub struct Expiry<K> {
    /// How long a thing lives that has no time of its own; `None` for ever.
    usual: Option<Duration>,
    things: HashMap<K, Life>,
    looks: BTreeSet<(Duration, K)>,
}

#[derive(Debug)]
struct Life {
    /// The time that was given for this one.
    own: Option<Duration>,
    ends: Duration,
    look: Duration,
    /// `own` changed since [`Expiry::news`] was last asked.
    is_new: bool,
}

impl<K: Clone + Eq + Hash + Ord> Expiry<K> {
    /// Nothing yet. What has no time of its own lives for `usual` after each use, or for ever.
    pub fn new(usual: Option<Duration>) -> Self {
        Self { usual, things: HashMap::new(), looks: BTreeSet::new() }
    }

    /// Notes a use at `now`. With `own` that is from now on the thing's own time; without, it has none unless it `keeps` the
    /// one that it has.
    pub fn used(&mut self, key: &K, own: Option<Duration>, keeps: bool, now: Duration) {
        if self.usual.is_none() && own.is_none() && self.things.is_empty() {
            return;
        }
        let before = self.things.get_mut(key);
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
                if ends < life.look {
                    self.looks.remove(&(life.look, key.clone()));
                    self.looks.insert((ends, key.clone()));
                    life.look = ends;
                }
            }
            None => {
                self.looks.insert((ends, key.clone()));
                self.things.insert(key.clone(), Life { own, ends, look: ends, is_new: own.is_some() });
            }
        }
    }

    /// Forgets a thing. Answers whether it had a time of its own.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(life) = self.things.remove(key) else { return false };
        self.looks.remove(&(life.look, key.clone()));
        life.own.is_some()
    }

    /// What has ended by `now`. It is to be removed, or used.
    pub fn ended(&mut self, now: Duration) -> Vec<K> {
        let mut ended = Vec::new();
        while let Some((look, key)) = self.looks.first().filter(|(look, _)| *look <= now).cloned() {
            self.looks.remove(&(look, key.clone()));
            let Some(life) = self.things.get_mut(&key) else { continue };
            if life.ends <= now {
                ended.push(key.clone());
                // Looked at again soon, should nobody remove it.
                life.ends = now + STEP;
            }
            life.look = life.ends;
            self.looks.insert((life.look, key));
        }
        ended
    }

    /// When [`Expiry::ended`] is to be asked again.
    pub fn next(&self) -> Option<Duration> {
        self.looks.first().map(|(look, _)| *look)
    }

    /// The own times that changed since this was last asked, or with `all` each of them; `None` for one that has none any more.
    pub fn news(&mut self, all: bool) -> Vec<(K, Option<Duration>)> {
        let things = self.things.iter_mut();
        let new = things.filter_map(|(key, life)| {
            let is_new = std::mem::take(&mut life.is_new);
            (is_new || (all && life.own.is_some())).then(|| (key.clone(), life.own))
        });
        new.collect()
    }
}

/// `time`, rounded up.
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
    fn what_is_used_lives_on_and_what_is_not_ends_once() {
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
        assert_eq!((expiry.next(), expiry.things.len(), expiry.looks.len()), (None, 0, 0));
    }

    #[test]
    fn an_own_time_holds_until_a_use_that_does_not_keep_it() {
        let mut expiry = Expiry::new(None);
        expiry.used(&1, Some(ms(500)), false, ms(0));
        expiry.used(&1, None, true, ms(250));
        assert_eq!(expiry.news(false), [(1, Some(ms(500)))]);
        assert_eq!((expiry.news(false).len(), expiry.news(true)), (0, vec![(1, Some(ms(500)))]));
        assert!(expiry.ended(ms(749)).is_empty());
        expiry.used(&1, None, false, ms(749));
        assert_eq!((expiry.ended(ms(10_000)).len(), expiry.next()), (0, None));
    }

    proptest! {
        /// Whatever is used and however time passes, things end when they were not used for their time, and the order of looks
        /// has one place for each.
        #[test]
        fn it_is_a_table_of_ends(steps in proptest::collection::vec((0u8..6, 0u64..9, 0u64..2_000), 1..200)) {
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
                prop_assert_eq!(expiry.looks.len(), expiry.things.len());
                prop_assert!(expiry.next().is_none_or(|next| next <= *ends.values().min().unwrap()));
            }
        }
    }
}
