//! Time of a decider: the moment of a group, and the next change that needs no reading.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Decider;
use crate::{channel::Channel, pause, sample::Moment};

/// Longest sleep until midnight, because the wall clock may be set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(3_600);

impl Decider {
    /// Returns whether `channel`, last written `at` and without an own time to live, has ended since.
    pub(super) fn has_expired(&self, channel: &Channel, at: Timestamp) -> bool {
        let age = Duration::try_from(self.clock.now().duration_since(at)).unwrap_or_default();
        self.config.channel_ttl(channel).is_some_and(|ttl| age > ttl)
    }

    pub(super) fn moment(&self) -> Moment {
        let (start, windows_at_start) = self.start;
        Moment { elapsed: windows_at_start + start.elapsed(), day: self.clock.now_in(&self.config.zone).date() }
    }

    /// Returns how long this process was awake since the start: no client could write during a pause.
    pub(super) fn awake(&self) -> Duration {
        self.start.0.elapsed().saturating_sub(self.paused())
    }

    /// Returns the total length of pauses since the start.
    pub(super) fn paused(&self) -> Duration {
        pause::total().saturating_sub(self.earlier_pauses)
    }

    /// Returns the time at which figures change or channels end by themselves; `None` if there is none.
    pub fn wake(&self) -> Option<Instant> {
        let ends = [self.series.next_idle(), self.expiry.next()].into_iter().flatten().min();
        let ends = ends.map(|at| Instant::now() + at.saturating_sub(self.awake()));
        [self.next_change_by_time(), ends].into_iter().flatten().min()
    }

    fn next_change_by_time(&self) -> Option<Instant> {
        if let Some(second) = self.series.next_second() {
            let (start, windows_at_start) = self.start;
            return Some(start + second.saturating_sub(windows_at_start));
        }
        if !self.series.waits_for_midnight() {
            return None;
        }
        let now = self.clock.now_in(&self.config.zone);
        let midnight = now.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).ok();
        let left = midnight.and_then(|midnight| midnight.timestamp().duration_since(now.timestamp()).try_into().ok());
        Some(Instant::now() + left.unwrap_or(CLOCK_CHECK).min(CLOCK_CHECK))
    }
}
