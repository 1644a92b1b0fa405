//! Throttle groups: subscribers of one selector, grouped so that a publication costs by groups, and a group needs one timer.
//!
//! A group (cohort) has the subscribers with the same interval whose next update may be sent at the same time. Pure: time
//! is an argument.

use std::time::Duration;

use indexmap::IndexSet;
use tokio::time::Instant;

/// Subscription of a reader, by its slot in the hub and its number in the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The reader's slot in its hub.
    pub slot: u32,
    /// Number of the subscription in the reader.
    pub subscription: u32,
}

/// Throttle groups of one selector.
#[derive(Debug, Default)]
pub struct Cohorts {
    cohorts: Vec<Cohort>,
}

#[derive(Debug)]
struct Cohort {
    interval: Duration,
    /// Earliest time of the next update to the members.
    not_before: Instant,
    /// Whether the state changed since the last update.
    pending: bool,
    members: IndexSet<Member>,
}

/// Fraction of its interval by which a new member's first update may be delayed, so that it joins an existing group.
/// Members that join within one interval form about this many groups; the next change after it merges them.
const PHASES: u32 = 32;

impl Cohorts {
    /// Adds a member. One that gets a value by other means now (`told`) waits for its interval first.
    pub fn join(&mut self, member: Member, interval: Duration, now: Instant, told: bool) {
        let earliest = if told { now + interval } else { now };
        let latest = earliest + interval / PHASES;
        let joins = |cohort: &&mut Cohort| {
            cohort.interval == interval
                && (interval.is_zero() || (earliest <= cohort.not_before && cohort.not_before <= latest))
        };
        match self.cohorts.iter_mut().find(joins) {
            Some(cohort) => {
                cohort.members.insert(member);
            }
            None => self.cohorts.push(Cohort {
                interval,
                // The end of its phase, so that later members find the group.
                not_before: if told { latest } else { now },
                pending: false,
                members: IndexSet::from([member]),
            }),
        }
    }

    /// Removes a member.
    pub fn leave(&mut self, member: Member) {
        self.cohorts.retain_mut(|cohort| {
            cohort.members.swap_remove(&member);
            !cohort.members.is_empty()
        });
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.cohorts.is_empty()
    }

    /// Notifies all members of an event at once, regardless of their intervals.
    pub fn event(&self, mut tell: impl FnMut(Member)) {
        for cohort in &self.cohorts {
            cohort.members.iter().for_each(|member| tell(*member));
        }
    }

    /// Notifies the members whose interval has passed of a change at `now`; the others wait.
    pub fn state(&mut self, now: Instant, tell: impl FnMut(Member)) {
        for cohort in &mut self.cohorts {
            cohort.pending = true;
        }
        self.fire(now, tell);
    }

    /// Notifies the waiting members whose interval has passed.
    pub fn fire(&mut self, now: Instant, mut tell: impl FnMut(Member)) {
        let mut fired = false;
        for cohort in &mut self.cohorts {
            if cohort.pending && cohort.not_before <= now {
                cohort.pending = false;
                cohort.not_before = now + cohort.interval;
                fired = true;
                cohort.members.iter().for_each(|member| tell(*member));
            }
        }
        if fired && self.cohorts.len() > 1 {
            self.merge();
        }
    }

    /// Returns the time of the next [`Cohorts::fire`].
    pub fn next_fire(&self) -> Option<Instant> {
        self.cohorts.iter().filter(|cohort| cohort.pending).map(|cohort| cohort.not_before).min()
    }

    /// Merges groups that were notified together.
    fn merge(&mut self) {
        let mut merged: Vec<Cohort> = Vec::with_capacity(self.cohorts.len());
        for cohort in self.cohorts.drain(..) {
            let same = |other: &&mut Cohort| {
                other.interval == cohort.interval
                    && other.not_before == cohort.not_before
                    && other.pending == cohort.pending
            };
            match merged.iter_mut().find(same) {
                Some(other) => other.members.extend(cohort.members),
                None => merged.push(cohort),
            }
        }
        self.cohorts = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(subscription: u32) -> Member {
        Member { slot: 0, subscription }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn no_member_is_notified_too_early_or_never() {
        let start = Instant::now();
        let mut cohorts = Cohorts::default();
        let interval = ms(100);
        let mut last = vec![start; 50];
        for (i, told) in last.iter_mut().enumerate() {
            *told = start + ms(7 * i as u64);
            cohorts.join(member(i as u32), interval, *told, true);
        }
        let mut now = start + ms(400);
        let mut count = 0;
        for step in 0..300 {
            now += ms(3);
            let mut told = Vec::new();
            if step % 2 == 0 && step < 250 {
                cohorts.state(now, |m| told.push(m));
            } else {
                cohorts.fire(now, |m| told.push(m));
            }
            for m in told {
                let last = &mut last[m.subscription as usize];
                assert!(now - *last >= interval, "notified after {:?}", now - *last);
                *last = now;
                count += 1;
            }
        }
        assert!(cohorts.next_fire().is_none(), "a member still waits");
        assert!(last.iter().all(|told| now - *told < ms(300)), "a member was not notified");
        assert!(count >= 50 * 7, "{count}");
    }

    #[test]
    fn members_that_are_notified_together_stay_together() {
        let start = Instant::now();
        let mut cohorts = Cohorts::default();
        for i in 0..1000 {
            cohorts.join(member(i), ms(320), start + ms(u64::from(i)), true);
        }
        assert!(cohorts.cohorts.len() <= 130, "{}", cohorts.cohorts.len());
        let mut told = 0;
        cohorts.state(start + ms(5_000), |_| told += 1);
        assert_eq!((told, cohorts.cohorts.len()), (1000, 1));
    }

    #[test]
    fn events_do_not_wait_and_a_removed_member_gets_none() {
        let start = Instant::now();
        let mut cohorts = Cohorts::default();
        cohorts.join(member(1), ms(1000), start, true);
        cohorts.join(member(2), ms(0), start, false);
        let mut told = 0;
        cohorts.event(|_| told += 1);
        assert_eq!(told, 2);
        cohorts.state(start, |_| told += 1);
        assert_eq!(told, 3, "only the one without an interval");
        assert_eq!(cohorts.next_fire(), Some(start + ms(1000) + ms(1000) / PHASES));
        cohorts.leave(member(1));
        cohorts.leave(member(2));
        assert!(cohorts.is_empty() && cohorts.next_fire().is_none());
    }
}
