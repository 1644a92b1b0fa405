//! The task that publishes the stored events of one tenant.

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
    time::sleep,
};

use super::{EventStore, Pending, PendingEvent};
use crate::core::{
    aggregator::{AggregatorHandle, PublishError, Stopped},
    channel::{Channel, EventName},
    reading::{Origin, Reading, Refusal, StoredEvent},
};

/// Events that are published together.
const GROUP: usize = 256;

/// How long after a failure the store is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// A group that is on its way for longer says that nobody can publish at the moment: callers are not kept waiting for it.
const STUCK: Duration = Duration::from_secs(1);

/// Publishes the stored events of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    tenant: Arc<str>,
    store: Arc<dyn EventStore>,
    aggregator: AggregatorHandle,
    /// The newest event that this process is known to have stored.
    stored: AtomicU64,
    /// The store has events for longer than it should, perhaps such as were removed already.
    left_behind: AtomicBool,
    wake: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Events up to here are out.
    through: u64,
    /// Nothing is published at the moment.
    stuck: bool,
}

/// How far a relay is.
#[derive(Default)]
struct Position {
    /// Published up to here.
    published: u64,
    /// Removed from the store up to here.
    removed: u64,
}

impl Relay {
    /// Creates the relay for the events that `store` has of `tenant`. Nothing is published until the caller runs the
    /// returned [`RelayTask`].
    pub fn new(tenant: &str, store: Arc<dyn EventStore>, aggregator: AggregatorHandle) -> (Self, RelayTask) {
        let shared = Arc::new(Shared {
            tenant: tenant.into(),
            store,
            aggregator,
            stored: AtomicU64::new(0),
            left_behind: AtomicBool::new(false),
            wake: Notify::new(),
            progress: watch::Sender::default(),
        });
        (Self { shared: Arc::clone(&shared) }, RelayTask { shared })
    }

    /// Publishes what is pending.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Publishes what is pending for longer than it should be, and removes what is published: a database that lost its last
    /// moments has again what was removed then.
    pub fn left_behind(&self) {
        self.shared.left_behind.store(true, Ordering::Release);
        self.wake();
    }

    /// Publishes what is pending, of which the event at the place `seq` is a part.
    pub fn stored(&self, seq: u64) {
        self.shared.stored.fetch_max(seq, Ordering::AcqRel);
        self.wake();
    }

    /// Waits until the event at the place `seq`, which [`Relay::stored`] was told of, is published; not where nobody can
    /// publish at the moment: it follows then.
    pub async fn published(&self, seq: u64) {
        let mut progress = self.shared.progress.subscribe();
        // The sender is part of this relay.
        drop(progress.wait_for(|progress| progress.through >= seq || progress.stuck).await);
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
                let group = shared.group(&mut position);
                tokio::pin!(group);
                let done = tokio::select! {
                    done = &mut group => done,
                    () = sleep(STUCK) => {
                        shared.progress.send_modify(|progress| progress.stuck = true);
                        group.await
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

/// Lets go of those who wait when the relay ends.
struct StuckAtEnd(Arc<Shared>);

impl Drop for StuckAtEnd {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| progress.stuck = true);
    }
}

impl Shared {
    /// Publishes the next events and removes them; answers whether there may be more.
    async fn group(&self, position: &mut Position) -> Result<bool, Stopped> {
        // Before the store is asked: what was stored by then is in its answer, or somebody else has published it.
        let stored = self.stored.load(Ordering::Acquire);
        if self.left_behind.swap(false, Ordering::AcqRel) {
            position.removed = 0;
        }
        let Pending { source, events } = self.pending(position.published).await;
        let more = events.len() == GROUP;
        if let Some(last) = events.last().map(|event| event.seq) {
            let readings = events.into_iter().filter_map(|event| self.reading(&source, event)).collect();
            match self.aggregator.publish(Origin::Internal, readings, 0).await {
                // Between two versions, until the one that understands leads.
                Ok(outcome) if outcome.verdicts.contains(&Err(Refusal::Unreadable)) => {
                    sleep(RETRY).await;
                    return Ok(true);
                }
                Ok(_) => position.published = last,
                Err(PublishError::Stopped) => return Err(Stopped),
                // Those that were published all the same are dropped when they come again.
                Err(PublishError::Unavailable | PublishError::Unknown) => {
                    sleep(RETRY).await;
                    return Ok(true);
                }
            }
        }
        let through = if more { position.published } else { position.published.max(stored) };
        self.progress.send_modify(|progress| {
            *progress = Progress { through: progress.through.max(through), stuck: false };
        });
        if position.removed < position.published {
            // What can't be removed now is removed with the next ones, and is not published again.
            match self.store.remove(&self.tenant, position.published).await {
                Ok(()) => position.removed = position.published,
                Err(error) => tracing::warn!(tenant = &*self.tenant, %error, "published events stay in the store"),
            }
        }
        Ok(more)
    }

    /// What the store has, however long it takes to say it.
    async fn pending(&self, after: u64) -> Pending {
        loop {
            match self.store.pending(&self.tenant, after, GROUP).await {
                Ok(pending) => return pending,
                Err(error) => tracing::debug!(tenant = &*self.tenant, %error, "events wait to be published"),
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
                tracing::error!(tenant = &*self.tenant, seq, channel, event, "a stored event can't be read");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
