//! Leader: decides the groups in the inbox and writes the log.
//!
//! Each step decides some groups, assigns offsets to the results, and passes one script to Redis: it appends the entry
//! that all nodes follow, stores the newest values for nodes that start later, and records how far the inbox is decided.
//! It takes effect as a whole or not at all, and only while this node leads. The next leader continues exactly there.
//! Series of samples are stored only at intervals, so it replays later readings.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use super::{
    bootstrap,
    connection::Connection,
    health::{FAULT_AFTER, Writer},
    node::{Node, Seen},
    stream,
    term_error::TermError,
};
use tricast_core::position::Epoch;

mod append;
mod backoff;
mod ends;
mod inbox;
mod retention;
mod step;
mod takeover;
mod tenant;
mod times;

use backoff::TermBackoff;
use retention::{Pace, Retention};
use tenant::TenantState;

/// Longest time that Redis blocks for a group.
const WAIT: Duration = Duration::from_secs(1);

/// Pause after the end of a term.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time for reading the entries before the term.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Most groups that are decided together. A group has at most a mebibyte, or one batch.
const GROUPS: usize = 64;

/// Leads whenever this node is elected, until the task is cancelled.
pub(super) async fn run(node: Arc<Node>) {
    let mut seen = node.seen.subscribe();
    let mut backoff = TermBackoff::default();
    loop {
        if !seen.borrow_and_update().elected {
            node.health.idle(Writer::Leader);
            // The sender lives as long as the node.
            if seen.wait_for(|seen| seen.elected).await.is_err() {
                return;
            }
        }
        // If Redis refuses writes, no other node could lead either.
        node.health.writable().await;
        if !seen.borrow_and_update().elected {
            continue;
        }
        let start = Instant::now();
        let ended = lead(&node).await;
        node.leads.send_replace(false);
        let should_pause = match ended {
            Ok(()) => {
                tracing::info!(node = node.id, "this node no longer leads");
                false
            }
            // Another node may be able to lead, such as one of a newer version.
            Err(TermError::Stored(_) | TermError::Behind) => true,
            Err(_) => node.health.failing_for(Writer::Leader) >= FAULT_AFTER,
        };
        if should_pause {
            let span = backoff.after(start.elapsed());
            node.metrics.surrenders.inc();
            tracing::error!(node = node.id, ?span, "cannot lead: not standing for election for some time");
            node.pause_candidacy(span);
            drop(timeout(node.config.cluster.lease.0, seen.wait_for(|seen| !seen.elected)).await);
        }
        sleep(PAUSE).await;
    }
}

async fn lead(node: &Arc<Node>) -> Result<(), TermError> {
    let start = Instant::now();
    let begin = async {
        let mut connection = node.link.connect(WAIT).await?;
        let (epoch, is_new) = bootstrap::current_or_new(node, &mut connection).await?;
        let mut term = Term::begin(node, connection, epoch, is_new).await?;
        bootstrap::clean_up(node, &mut term.connection).await?;
        Ok(term)
    };
    let mut term = begin.await.inspect_err(|error| record_end(node, start, error))?;
    let result = async {
        term.decide_waiting().await?;
        node.metrics.elections.inc();
        node.leads.send_replace(true);
        tracing::info!(node = node.id, epoch = %term.epoch, "leads");
        term.run().await
    }
    .await;
    if let Err(error) = &result {
        record_end(node, term.attempt, error);
    }
    *node.series.lock() =
        term.tenants.iter_mut().map(|(name, state)| (Arc::clone(name), state.decider.dump(true))).collect();
    result
}

/// Logs the end of a term, and records in the health of this node whether its access to Redis is the cause. The failed
/// operation started at `start`.
fn record_end(node: &Node, start: Instant, error: &TermError) {
    node.metrics.failures.inc();
    tracing::warn!(node = node.id, %error, "a term ended");
    match error {
        TermError::Redis(error) => _ = node.health.failed(Writer::Leader, start, Some(error)),
        TermError::Stuck => _ = node.health.failed(Writer::Leader, start, None),
        TermError::Stored(_) | TermError::Lost(_) | TermError::Behind => {}
    }
}

/// State of a leader during its term.
struct Term<'a> {
    node: &'a Arc<Node>,
    connection: Connection,
    epoch: Epoch,
    /// Whether this term bootstrapped the log.
    is_new: bool,
    /// Number of the newest entry, and its ID.
    seq: u64,
    entry_id: String,
    /// Time of the newest entry.
    at: Timestamp,
    /// Start of the current request.
    attempt: Instant,
    pace: Pace,
    retention: Retention,
    /// Last decided group of the inbox.
    inbox: String,
    /// Last decided group of each node: groups come in order, and a repeated one is not decided again.
    decided: HashMap<String, u64>,
    tenants: HashMap<Arc<str>, TenantState>,
}

impl Term<'_> {
    /// Decides the groups that arrived while no node led, and waits until this node has read the result: the alerts that
    /// a leader evaluates must not miss a value that was pushed before its term.
    async fn decide_waiting(&mut self) -> Result<(), TermError> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        if let Some(last) = stream::last_id(&mut self.connection, &key).await? {
            loop {
                let after = format!("({}", self.inbox);
                let items = stream::range(&mut self.connection, &key, &after, &last, GROUPS).await?;
                if items.is_empty() {
                    break;
                }
                self.step(items).await?;
            }
        }
        self.has_read(self.seq).await.map(drop)
    }

    async fn run(&mut self) -> Result<(), TermError> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        let mut seen = self.node.seen.subscribe();
        let mut leaving = self.node.leaving.subscribe();
        let mut resigned = false;
        let over = {
            let epoch = self.epoch.clone();
            move |seen: &Seen| !seen.elected || seen.suspect || seen.epoch.as_ref() != Some(&epoch)
        };
        loop {
            let now = Instant::now();
            let wake = self.tenants.values().filter_map(|state| state.decider.wake()).min();
            let wait = wake.map_or(WAIT, |wake| wake.saturating_duration_since(now)).min(WAIT);
            let wait = wait.min(self.pace.left());
            self.attempt = Instant::now();
            let read = stream::read(&mut self.connection, &key, &self.inbox, GROUPS, wait);
            let items = tokio::select! {
                biased;
                items = timeout(wait + FAULT_AFTER, read) => items.map_err(|_| TermError::Stuck)??,
                was_elected = async { seen.wait_for(&over).await.is_ok_and(|seen| seen.elected) } => {
                    return if was_elected { Err(TermError::Lost("another log is current".into())) } else { Ok(()) };
                }
                () = async { drop(leaving.wait_for(|leaving| *leaving).await) }, if !resigned => {
                    self.pace.write_now();
                    self.step(Vec::new()).await?;
                    self.node.resign();
                    resigned = true;
                    continue;
                }
            };
            self.step(items).await?;
        }
    }
}
