//! Waiting until this node has read the log up to a cursor from another node.
//!
//! A client may present a cursor that this node does not cover, because another node has read more of the log, or a later
//! log. A response from the local state would contain older values, or repeat events. So the node asks Redis how far the
//! log reaches. If the cursor still does not fit once the node has read that far, no node ever issued it, or the log lost
//! what it covered. In the latter case another node knows that, and marks the log; a node that has just started, or to
//! which Redis has just come back, gives the others time to do so.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Cluster;
use tricast_core::{log::Log, position::Position};

/// Longest time that a client waits for this node to catch up. Below the 5 s that nginx allows for all its attempts together.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait while Redis is known to be unreachable.
const CUT_OFF: Duration = Duration::from_millis(250);

/// Shortest time between two queries of Redis on behalf of clients.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Time after the start of this node, or after the last failure to reach Redis, in which other nodes report that the log lost
/// entries.
const REPORTED_WITHIN: Duration = Duration::from_secs(3);

/// Most offsets that a log can have lost. A cursor beyond that is one that no node issued.
const MOST_LOST: u64 = 1_000_000;

/// Silence of Redis after which values may be stale, even before it counts as unreachable: the process may have been
/// paused meanwhile.
const SILENT: Duration = Duration::from_secs(3);

/// Error: this node has not read up to a cursor from another node, and cannot in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has not read as far as this cursor: it is cut off or late. Try again, preferably at another node")]
pub struct Behind;

impl Cluster {
    /// Waits until `log` covers `position`, or until it has everything that Redis had at the time of the call.
    ///
    /// # Errors
    /// [`Behind`] if that took too long.
    pub async fn catch_up(&self, log: &Log, position: &Position) -> Result<(), Behind> {
        let patience = if self.node.health.fault().borrow().is_none() { PATIENCE } else { CUT_OFF };
        timeout(patience, self.reach(log, position)).await.map_err(|_| Behind)
    }

    async fn reach(&self, log: &Log, position: &Position) {
        let start = Instant::now();
        let mut changed = log.watch();
        let mut confirmed = self.node.confirmed.subscribe();
        let mut followed = self.node.followed.subscribe();
        let last = confirmed.borrow().as_ref().map_or(ASK_EVERY, |last| last.asked.elapsed());
        let ask = async {
            sleep(ASK_EVERY.saturating_sub(last)).await;
            self.node.heartbeat_now.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::pin!(ask);
        loop {
            if log.covers(position) {
                return;
            }
            let reached = {
                let (confirmed, followed) = (confirmed.borrow_and_update(), followed.borrow_and_update());
                let newest = confirmed.as_ref().filter(|confirmed| confirmed.asked >= start);
                let may_be_lost = position.epoch == log.epoch()
                    && position.offset.saturating_sub(log.head()) <= MOST_LOST
                    && self.node.health.was_interrupted(REPORTED_WITHIN);
                let has_all = newest.zip(followed.as_ref()).is_some_and(|(c, f)| c.epoch == f.epoch && c.seq <= f.seq);
                has_all && !may_be_lost
            };
            if reached {
                return;
            }
            // The senders live as long as the node and the log.
            tokio::select! {
                biased;
                () = &mut ask => {}
                _ = changed.changed() => {}
                _ = confirmed.changed() => {}
                _ = followed.changed() => {}
            }
        }
    }

    /// Returns whether other nodes may have newer values than this one.
    pub fn is_stale(&self) -> bool {
        let silent = self.node.metrics.silent_for();
        !self.is_ready() || silent.is_none_or(|silent| silent > SILENT.as_secs_f64())
    }
}
