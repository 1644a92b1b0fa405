//! Notices: messages to the readers of a channel that are not in the log.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

use super::{Change, Log};
use crate::{channel::Selector, publication::Publication};

/// Number of notices that are kept for slow readers: one for the start of a condition, the next for its end.
pub(super) const NOTICES: usize = 8;

/// Notices outside of the log.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Most recent notices, newest last.
    last: VecDeque<Arc<Publication>>,
    /// Notices of conditions that have not ended, by the name of the condition. Later readers get them.
    in_force: Vec<(&'static str, Arc<Publication>)>,
}

impl Notices {
    /// Puts a notice of `condition` in force in place of an earlier one, or ends that.
    fn put(&mut self, condition: &'static str, notice: Option<Arc<Publication>>, any: &AtomicBool) {
        self.in_force.retain(|(of, _)| *of != condition);
        self.in_force.extend(notice.map(|notice| (condition, notice)));
        any.store(!self.in_force.is_empty(), Ordering::Release);
    }
}

impl Log {
    /// Sends readers a notice outside of the log, because it concerns this process only or because the log cannot be
    /// written. If `condition` has begun, the notice stays in force until the next one of that condition: readers that
    /// subscribe to its channel later get it too.
    pub fn notice(&self, change: Change, now: Timestamp, condition: &'static str, has_begun: bool) {
        let notice = self.notice_of(change, now);
        {
            let mut notices = self.notices.lock();
            notices.put(condition, has_begun.then(|| Arc::clone(&notice)), &self.has_notice_in_force);
            notices.last.push_back(notice);
            if notices.last.len() > NOTICES {
                notices.last.pop_front();
            }
            self.notice_count.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.send_modify(|_| {});
    }

    /// Puts a notice of `condition` in force for readers that subscribe to its channel later, or ends it. The readers of now
    /// learn it from an event in the log.
    pub fn set_late_notice(&self, change: Option<Change>, now: Timestamp, condition: &'static str) {
        let notice = change.map(|change| self.notice_of(change, now));
        self.notices.lock().put(condition, notice, &self.has_notice_in_force);
    }

    fn notice_of(&self, change: Change, now: Timestamp) -> Arc<Publication> {
        let Change { channel, event, data, .. } = change;
        Arc::new(Publication::new(self.epoch(), channel, event, self.head(), now, data))
    }

    /// Returns the number of notices.
    pub fn notice_count(&self) -> u64 {
        self.notice_count.load(Ordering::Acquire)
    }

    /// Returns the notices in force on the channels of `selector`.
    pub fn notices_in_force(&self, selector: &Selector) -> Vec<Arc<Publication>> {
        if !self.has_notice_in_force.load(Ordering::Acquire) {
            return Vec::new();
        }
        let notices = self.notices.lock();
        let all = notices.in_force.iter().map(|(_, notice)| notice);
        all.filter(|notice| selector.matches(&notice.channel)).cloned().collect()
    }

    /// Returns the kept notices after the first `seen`, and the number of all notices.
    pub fn notices_after(&self, seen: u64) -> (Vec<Arc<Publication>>, u64) {
        let notices = self.notices.lock();
        let count = self.notice_count();
        let new = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX).min(notices.last.len());
        (notices.last.range(notices.last.len() - new..).cloned().collect(), count)
    }
}
