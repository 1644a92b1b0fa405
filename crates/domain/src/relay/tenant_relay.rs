//! Handle and task that publish the stored events of one tenant.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::{EventStore, Pending, PendingEvent};
use crate::service::ServiceError;
use tricast_core::{
    aggregator::{AggregatorHandle, PublishError, Stopped},
    channel::{Channel, EventName},
    reading::{Origin, Reading, Refusal, StoredEvent},
};

/// Largest number of events that are published together.
const GROUP: usize = 256;

/// Pause after a failure of the store or of the aggregator.
const RETRY: Duration = Duration::from_millis(500);

/// Time after which callers stop waiting for a publication: the log can't be written at the moment.
const STUCK: Duration = Duration::from_secs(1);

/// Interval at which the store counts pending events while there are more than a group, or while the log can't be written.
const RECOUNT: Duration = Duration::from_secs(5);

/// Handle of the relay of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    tenant: Arc<str>,
    store: Arc<dyn EventStore>,
    aggregator: AggregatorHandle,
    /// Limit of `waiting`; 0 means no limit.
    max_pending: u64,
    /// Number of events that wait to be published: those in the store when it was last read, and those that this process
    /// stored since.
    waiting: AtomicU64,
    /// Greatest sequence number that this process is known to have stored.
    stored: AtomicU64,
    /// Whether the store has overdue events, perhaps some that were removed before.
    overdue: AtomicBool,
    wake: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Sequence number up to which events are published.
    published_to: u64,
    /// Whether the log can't be written at the moment.
    stuck: bool,
}

/// Progress of the task.
#[derive(Default)]
struct Position {
    /// Sequence number up to which events are published.
    published: u64,
    /// Sequence number up to which events are removed from the store.
    removed: u64,
    /// Time at which the store last counted the events.
    counted: Option<Instant>,
}

impl Relay {
    /// Creates the relay for the events that `store` has of `tenant`, of which about `max_pending` may wait (0 means any
    /// number). Nothing is published until the caller runs the returned [`RelayTask`].
    pub fn new(
        tenant: &str,
        store: Arc<dyn EventStore>,
        aggregator: AggregatorHandle,
        max_pending: usize,
    ) -> (Self, RelayTask) {
        let shared = Arc::new(Shared {
            tenant: tenant.into(),
            store,
            aggregator,
            max_pending: u64::try_from(max_pending).unwrap_or(u64::MAX),
            waiting: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            wake: Notify::new(),
            progress: watch::Sender::default(),
        });
        (Self { shared: Arc::clone(&shared) }, RelayTask { shared })
    }

    /// Wakes the task, which publishes all pending events.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Wakes the task for overdue events, and has published ones removed again: a database that lost its last
    /// transactions contains events that were removed before.
    pub fn overdue(&self) {
        self.shared.overdue.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns whether a change may be made that stores an event. Changes that are made at the same time see the same room,
    /// so the limit is exceeded by as many as there are.
    ///
    /// # Errors
    /// [`ServiceError::EventsPending`].
    pub fn check_room(&self) -> Result<(), ServiceError> {
        match (self.shared.max_pending, self.waiting()) {
            (1.., waiting) if waiting >= self.shared.max_pending => Err(ServiceError::EventsPending(waiting)),
            _ => Ok(()),
        }
    }

    /// Returns the number of events that wait to be published, as far as this process knows.
    pub fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Wakes the task for the event `seq`, which this process has stored.
    pub fn stored(&self, seq: u64) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.stored.fetch_max(seq, Ordering::AcqRel);
        self.wake();
    }

    /// Waits until the event `seq` is published, for which [`Relay::stored`] was called. Returns at once while the log
    /// can't be written; the event is published later then.
    pub async fn published(&self, seq: u64) {
        let mut progress = self.shared.progress.subscribe();
        // Can't fail: the sender is part of this relay.
        drop(progress.wait_for(|progress| progress.published_to >= seq || progress.stuck).await);
    }
}

/// Task that publishes the stored events of one tenant.
pub struct RelayTask {
    shared: Arc<Shared>,
}

impl RelayTask {
    /// Publishes stored events whenever the handle announces some, until the aggregator stops.
    pub async fn run(self) {
        let shared = self.shared;
        let _stuck = StuckAtEnd(Arc::clone(&shared));
        let mut position = Position::default();
        loop {
            shared.wake.notified().await;
            loop {
                let published = position.published;
                let group = shared.group(&mut position);
                tokio::pin!(group);
                let mut pause = STUCK;
                let done = loop {
                    tokio::select! {
                        done = &mut group => break done,
                        () = sleep(pause) => {}
                    }
                    shared.progress.send_modify(|progress| progress.stuck = true);
                    tokio::select! {
                        done = &mut group => break done,
                        () = shared.recount(published) => pause = RECOUNT,
                    }
                };
                match done {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Stopped) => return,
                }
            }
        }
    }
}

/// Releases the waiting callers when the task ends.
struct StuckAtEnd(Arc<Shared>);

impl Drop for StuckAtEnd {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| progress.stuck = true);
    }
}

impl Shared {
    /// Publishes the next events and removes them. Returns whether there may be more.
    async fn group(&self, position: &mut Position) -> Result<bool, Stopped> {
        // Read before the store is queried: an event that was stored by then is in the result, or another node has
        // published it.
        let stored = self.stored.load(Ordering::Acquire);
        if self.overdue.swap(false, Ordering::AcqRel) {
            position.removed = 0;
        }
        let counted = self.waiting.load(Ordering::Relaxed);
        let Pending { source, events } = self.pending(position.published).await;
        let (length, more) = (events.len() as u64, events.len() == GROUP);
        if !more {
            self.set_waiting(counted, length);
        } else if position.counted.is_none_or(|counted| counted.elapsed() >= RECOUNT) {
            position.counted = Some(Instant::now());
            self.recount(position.published).await;
        }
        if let Some(last) = events.last().map(|event| event.seq) {
            let readings = events.into_iter().filter_map(|event| self.reading(&source, event)).collect();
            match self.aggregator.publish(Origin::Internal, readings, 0).await {
                // During an update of the cluster, until a node that knows the format leads.
                Ok(outcome) if outcome.verdicts.contains(&Err(Refusal::Unreadable)) => {
                    sleep(RETRY).await;
                    return Ok(true);
                }
                Ok(_) => {
                    position.published = last;
                    self.update_waiting(|waiting| waiting.saturating_sub(length));
                }
                Err(PublishError::Stopped) => return Err(Stopped),
                // Events that were published nevertheless are dropped when they are published again.
                Err(PublishError::Unavailable | PublishError::Unknown) => {
                    sleep(RETRY).await;
                    return Ok(true);
                }
            }
        }
        let published_to = if more { position.published } else { position.published.max(stored) };
        self.progress.send_modify(|progress| {
            *progress = Progress { published_to: progress.published_to.max(published_to), stuck: false };
        });
        if position.removed < position.published {
            // Events that can't be removed now are removed with the next ones, and are not published again.
            match self.store.remove(&self.tenant, position.published).await {
                Ok(()) => position.removed = position.published,
                Err(error) => {
                    tracing::warn!(tenant = &*self.tenant, %error, "cannot remove published events from the store")
                }
            }
        }
        Ok(more)
    }

    /// Counts the events after the sequence number `after` in the store, to which other nodes may have added some.
    async fn recount(&self, after: u64) {
        let counted = self.waiting.load(Ordering::Relaxed);
        // After a failure the next count is soon enough.
        if let Ok(count) = self.store.count(&self.tenant, after).await {
            self.set_waiting(counted, count);
        }
    }

    /// Replaces what was `counted` before the store was read by what the store has; events that were stored in the meantime
    /// stay counted.
    fn set_waiting(&self, counted: u64, count: u64) {
        self.update_waiting(|waiting| count + waiting.saturating_sub(counted));
    }

    fn update_waiting(&self, change: impl Fn(u64) -> u64) {
        // Never fails: the change is always made.
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| Some(change(waiting)));
    }

    /// Reads pending events, however long it takes.
    async fn pending(&self, after: u64) -> Pending {
        loop {
            match self.store.pending(&self.tenant, after, GROUP).await {
                Ok(pending) => return pending,
                Err(error) => {
                    tracing::debug!(tenant = &*self.tenant, %error, "cannot read pending events; retrying")
                }
            }
            sleep(RETRY).await;
        }
    }

    fn reading(&self, source: &str, event: PendingEvent) -> Option<Reading> {
        let PendingEvent { seq, channel, event, data } = event;
        match (Channel::parse(&channel), EventName::parse(&event), serde_json::from_str(&data)) {
            (Ok(channel), Ok(event), Ok(Value::Object(data))) => {
                let source = source.to_owned();
                Some(Reading::Stored(Box::new(StoredEvent { source, seq, channel, event, data })))
            }
            _ => {
                tracing::error!(
                    tenant = &*self.tenant,
                    seq,
                    channel,
                    event,
                    "a stored event is not valid and is skipped"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
