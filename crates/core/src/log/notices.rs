//! Notices: messages to the readers of a channel that are not in the log.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;

use super::{Change, Log};
use crate::{channel::Channel, publication::Publication};

/// Number of notices that are kept for slow readers: one for the start of a condition, the next for its end.
pub(super) const NOTICES: usize = 8;

/// Notices outside of the log.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Most recent notices, newest last.
    last: VecDeque<Arc<Publication>>,
    /// Whether the newest one is still in force, so that later readers get it too.
    in_force: bool,
}

impl Log {
    /// Sends readers a notice outside of the log, because it concerns this process only or because the log cannot be
    /// written. A notice that `in_force` stays in force until the next one: readers that subscribe to its channel later get
    /// it too.
    pub fn notice(&self, change: Change, now: Timestamp, in_force: bool) {
        let Change { channel, event, data, .. } = change;
        let (epoch, head) = (self.epoch(), self.head());
        let notice = Arc::new(Publication::new(epoch, channel, event, head, now, data));
        {
            let mut notices = self.notices.lock();
            notices.in_force = in_force;
            notices.last.push_back(notice);
            if notices.last.len() > NOTICES {
                notices.last.pop_front();
            }
            self.notice_count.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.send_modify(|_| {});
    }

    /// Returns the number of notices.
    pub fn notice_count(&self) -> u64 {
        self.notice_count.load(Ordering::Acquire)
    }

    /// Returns the channel of the notice in force, if there is one, and the number of notices before it.
    pub fn notice_in_force(&self) -> Option<(Channel, u64)> {
        if self.notice_count() == 0 {
            return None;
        }
        let notices = self.notices.lock();
        let newest = notices.last.back().filter(|_| notices.in_force)?;
        Some((newest.channel.clone(), self.notice_count() - 1))
    }

    /// Returns the kept notices after the first `seen`, and the number of all notices.
    pub fn notices_after(&self, seen: u64) -> (Vec<Arc<Publication>>, u64) {
        let notices = self.notices.lock();
        let count = self.notice_count();
        let new = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX).min(notices.last.len());
        (notices.last.range(notices.last.len() - new..).cloned().collect(), count)
    }
}
