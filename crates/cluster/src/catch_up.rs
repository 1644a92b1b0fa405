//! Waiting until this node has read as far as a cursor that another node gave.
//!
//! A client may come with a cursor that this node does not cover: another node had read more of the log, or a later log.
//! To answer from what is here would give it older values, or events again. So Redis is asked how far the log reaches. When
//! this node has read that far and the cursor still does not fit, no node ever gave it, or the log lost what it covered.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Cluster;
use tricast_core::{log::Log, position::Position};

/// Longest time that a client waits for this node to catch up. Below the 5 s that nginx gives all its tries together.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same while it is known that Redis can't be reached.
const CUT_OFF: Duration = Duration::from_millis(250);

/// Redis is not asked more often than this on behalf of clients.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Silence of Redis after which values may be old, even before it is known that it can't be reached: the process may have
/// been stopped meanwhile.
const SILENT: Duration = Duration::from_secs(3);

/// This node has not read as far as a cursor that another node gave, and can't in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has not read as far as this cursor: it is cut off or late. Come back, best to another node")]
pub struct Behind;

impl Cluster {
    /// Waits until `log` covers `position`, or until it has all that Redis had after this was called.
    ///
    /// # Errors
    /// [`Behind`]: neither came about in time.
    pub async fn catch_up(&self, log: &Log, position: &Position) -> Result<(), Behind> {
        let patience = if self.node.health.fault().borrow().is_none() { PATIENCE } else { CUT_OFF };
        timeout(patience, self.reach(log, position)).await.map_err(|_| Behind)
    }

    async fn reach(&self, log: &Log, position: &Position) {
        let begun = Instant::now();
        let mut changed = log.watch();
        let mut confirmed = self.node.confirmed.subscribe();
        let mut followed = self.node.followed.subscribe();
        let last = confirmed.borrow().as_ref().map_or(ASK_EVERY, |last| last.asked.elapsed());
        let ask = async {
            sleep(ASK_EVERY.saturating_sub(last)).await;
            self.node.hurry.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::pin!(ask);
        loop {
            if log.covers(position) {
                return;
            }
            let reached = {
                let (confirmed, followed) = (confirmed.borrow_and_update(), followed.borrow_and_update());
                let newest = confirmed.as_ref().filter(|confirmed| confirmed.asked >= begun);
                newest.zip(followed.as_ref()).is_some_and(|(c, f)| c.epoch == f.epoch && c.seq <= f.seq)
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

    /// Whether other nodes may have newer values than this one.
    pub fn is_stale(&self) -> bool {
        let silent = self.node.figures.silent_for();
        !self.is_ready() || silent.is_none_or(|silent| silent > SILENT.as_secs_f64())
    }
}
