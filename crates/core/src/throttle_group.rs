//! Throttle groups: subscribers of one selector, grouped so that a publication costs by groups, and a group needs one timer.
//!
//! A group has the subscribers with the same interval whose next update may be sent at the same time. Pure: time
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
pub struct ThrottleGroups {
    groups: Vec<ThrottleGroup>,
}

#[derive(Debug)]
struct ThrottleGroup {
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

impl ThrottleGroups {
    /// Adds a member. One that gets a value by other means now (`gets_value`) waits for its interval first.
    pub fn join(&mut self, member: Member, interval: Duration, now: Instant, gets_value: bool) {
        let earliest = if gets_value { now + interval } else { now };
        let latest = earliest + interval / PHASES;
        let joins = |group: &&mut ThrottleGroup| {
            group.interval == interval
                && (interval.is_zero() || (earliest <= group.not_before && group.not_before <= latest))
        };
        match self.groups.iter_mut().find(joins) {
            Some(group) => {
                group.members.insert(member);
            }
            None => self.groups.push(ThrottleGroup {
                interval,
                // The end of its phase, so that later members find the group.
                not_before: if gets_value { latest } else { now },
                pending: false,
                members: IndexSet::from([member]),
            }),
        }
    }

    /// Removes a member from its group.
    pub fn leave(&mut self, member: Member) {
        self.groups.retain_mut(|group| {
            group.members.swap_remove(&member);
            !group.members.is_empty()
        });
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Notifies all members of an event at once, regardless of their intervals.
    pub fn event(&self, mut notify: impl FnMut(Member)) {
        for group in &self.groups {
            group.members.iter().for_each(|member| notify(*member));
        }
    }

    /// Notifies the members whose interval has passed of a change at `now`; the others wait.
    pub fn state(&mut self, now: Instant, notify: impl FnMut(Member)) {
        for group in &mut self.groups {
            group.pending = true;
        }
        self.fire(now, notify);
    }

    /// Notifies the waiting members whose interval has passed.
    pub fn fire(&mut self, now: Instant, mut notify: impl FnMut(Member)) {
        let mut fired = false;
        for group in &mut self.groups {
            if group.pending && group.not_before <= now {
                group.pending = false;
                group.not_before = now + group.interval;
                fired = true;
                group.members.iter().for_each(|member| notify(*member));
            }
        }
        if fired && self.groups.len() > 1 {
            self.merge();
        }
    }

    /// Returns the time of the next [`ThrottleGroups::fire`].
    pub fn next_fire(&self) -> Option<Instant> {
        self.groups.iter().filter(|group| group.pending).map(|group| group.not_before).min()
    }

    /// Merges groups that were notified together.
    fn merge(&mut self) {
        let mut merged: Vec<ThrottleGroup> = Vec::with_capacity(self.groups.len());
        for group in self.groups.drain(..) {
            let same = |other: &&mut ThrottleGroup| {
                other.interval == group.interval
                    && other.not_before == group.not_before
                    && other.pending == group.pending
            };
            match merged.iter_mut().find(same) {
                Some(other) => other.members.extend(group.members),
                None => merged.push(group),
            }
        }
        self.groups = merged;
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
        let mut groups = ThrottleGroups::default();
        let interval = ms(100);
        let mut last = vec![start; 50];
        for (i, notified) in last.iter_mut().enumerate() {
            *notified = start + ms(7 * i as u64);
            groups.join(member(i as u32), interval, *notified, true);
        }
        let mut now = start + ms(400);
        let mut count = 0;
        for step in 0..300 {
            now += ms(3);
            let mut notified = Vec::new();
            if step % 2 == 0 && step < 250 {
                groups.state(now, |m| notified.push(m));
            } else {
                groups.fire(now, |m| notified.push(m));
            }
            for m in notified {
                let last = &mut last[m.subscription as usize];
                assert!(now - *last >= interval, "notified after {:?}", now - *last);
                *last = now;
                count += 1;
            }
        }
        assert!(groups.next_fire().is_none(), "a member still waits");
        assert!(last.iter().all(|notified| now - *notified < ms(300)), "a member was not notified");
        assert!(count >= 50 * 7, "{count}");
    }

    #[test]
    fn members_that_are_notified_together_stay_together() {
        let start = Instant::now();
        let mut groups = ThrottleGroups::default();
        for i in 0..1000 {
            groups.join(member(i), ms(320), start + ms(u64::from(i)), true);
        }
        assert!(groups.groups.len() <= 130, "{}", groups.groups.len());
        let mut notified = 0;
        groups.state(start + ms(5_000), |_| notified += 1);
        assert_eq!((notified, groups.groups.len()), (1000, 1));
    }

    #[test]
    fn events_do_not_wait_and_a_removed_member_gets_none() {
        let start = Instant::now();
        let mut groups = ThrottleGroups::default();
        groups.join(member(1), ms(1000), start, true);
        groups.join(member(2), ms(0), start, false);
        let mut notified = 0;
        groups.event(|_| notified += 1);
        assert_eq!(notified, 2);
        groups.state(start, |_| notified += 1);
        assert_eq!(notified, 3, "only the one without an interval");
        assert_eq!(groups.next_fire(), Some(start + ms(1000) + ms(1000) / PHASES));
        groups.leave(member(1));
        groups.leave(member(2));
        assert!(groups.is_empty() && groups.next_fire().is_none());
    }
}
