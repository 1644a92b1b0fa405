//! The face of one tenant's alerts, and the one task that watches the tenant's log and makes every change.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    Acknowledged, Alert, AlertConfig, AlertError, AlertStore, Figures, NewRule, Query, Rule, Severity, Target,
    is_alert_id, watcher,
};
use crate::{
    core::{aggregator::AggregatorHandle, clock::Clock, log::Log, version::IfMatch},
    counters::Level,
    relay::Relay,
};

/// Changes that wait; more are refused. People make them, one at a time.
const QUEUE: usize = 64;

/// Longest time anybody waits for the store.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What the alerts of all tenants share. Cheap to clone.
#[derive(Clone)]
pub struct Alerting {
    /// Where they are kept.
    pub store: Arc<dyn AlertStore>,
    /// Their bounds.
    pub config: AlertConfig,
    /// Where alerts can go.
    pub targets: Vec<Target>,
    /// Their numbers.
    pub figures: Arc<Figures>,
    /// Told when something is to be sent.
    pub outgoing: watch::Sender<()>,
}

/// Alerts of one tenant. Cheap to clone; making one costs a queue and no I/O.
#[derive(Clone)]
pub struct AlertService {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) alerting: Alerting,
    pub(super) log: Arc<Log>,
    pub(super) relay: Relay,
    pub(super) clock: Clock,
    /// True once the task knows the rules.
    pub(super) ready: watch::Sender<bool>,
    pub(super) rules: Level,
    pub(super) open: Level,
    /// Taken by the task when it begins.
    queue: Mutex<Option<mpsc::Receiver<Command>>>,
}

/// A change that somebody wants, and where its answer goes.
pub(super) enum Command {
    Create(NewRule, Reply<Rule>),
    Replace { id: String, new: NewRule, if_match: Option<IfMatch>, reply: Reply<Rule> },
    Delete { id: String, if_match: Option<IfMatch>, reply: Reply<()> },
    Acknowledge { id: String, by: String, reply: Reply<Acknowledged> },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, AlertError>>;

/// Alerts of a list.
#[derive(Debug)]
pub struct Page {
    /// The newest first.
    pub alerts: Vec<Alert>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// Which alerts a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only open ones, or only resolved ones.
    pub open: Option<bool>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Only of this rule.
    pub rule: Option<String>,
}

impl AlertService {
    /// The alerts of `tenant`, whose log is `log`, and whose events `relay` publishes. Somebody has to drive
    /// [`AlertService::run`].
    pub fn new(tenant: &str, alerting: Alerting, log: Arc<Log>, relay: Relay, clock: Clock) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let shared = Shared {
            tenant: tenant.into(),
            alerting,
            log,
            relay,
            clock,
            ready: watch::Sender::new(false),
            rules: Level::default(),
            open: Level::default(),
            queue: Mutex::new(Some(queue)),
        };
        Self { commands, shared: Arc::new(shared) }
    }

    /// Watches the log, makes the changes, and decides about alerts while `aggregator` says that this node does, until the last
    /// other handle is gone. It reads the log as any client does: nothing waits for it.
    pub async fn run(self, aggregator: AggregatorHandle) {
        let Self { commands, shared } = self;
        // Or it would wait for itself.
        drop(commands);
        let Some(queue) = shared.queue.lock().take() else {
            tracing::error!(tenant = &*shared.tenant, "the alerts are looked after already");
            return;
        };
        watcher::run(shared, queue, aggregator).await;
    }

    /// All rules, by id.
    ///
    /// # Errors
    /// [`AlertError::Unavailable`].
    pub async fn rules(&self) -> Result<Vec<Rule>, AlertError> {
        in_time(self.shared.store().rules(&self.shared.tenant)).await
    }

    /// One rule.
    ///
    /// # Errors
    /// [`AlertError::NoRule`], [`AlertError::Unavailable`].
    pub async fn rule(&self, id: &str) -> Result<Rule, AlertError> {
        in_time(self.shared.store().rule(&self.shared.tenant, id)).await
    }

    /// A new rule. It is in the store and watched when this answers.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], [`AlertError::Taken`], [`AlertError::TooMany`], [`AlertError::Full`],
    /// [`AlertError::Unavailable`], [`AlertError::Stopped`].
    pub async fn create(&self, new: NewRule) -> Result<Rule, AlertError> {
        self.submit(|reply| Command::Create(new, reply)).await
    }

    /// Another rule in the place of one. Its open alert stays if the rule watches the same field for the same condition
    /// as before, and is resolved otherwise.
    ///
    /// # Errors
    /// Those of [`AlertService::create`], [`AlertError::NoRule`], [`AlertError::Moved`] when `if_match` does not hold.
    pub async fn replace(&self, id: &str, new: NewRule, if_match: Option<IfMatch>) -> Result<Rule, AlertError> {
        self.submit(|reply| Command::Replace { id: id.to_owned(), new, if_match, reply }).await
    }

    /// Deletes a rule and resolves its open alert.
    ///
    /// # Errors
    /// [`AlertError::NoRule`], [`AlertError::Moved`] when `if_match` does not hold, [`AlertError::Unavailable`],
    /// [`AlertError::Stopped`].
    pub async fn delete(&self, id: &str, if_match: Option<IfMatch>) -> Result<(), AlertError> {
        self.submit(|reply| Command::Delete { id: id.to_owned(), if_match, reply }).await
    }

    /// Notes that `by` looks after an alert, unless somebody does already. Answers it as it is then; the event
    /// `alert_acknowledged` is out, or follows while nobody can write the log.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Unavailable`], [`AlertError::Stopped`].
    pub async fn acknowledge(&self, id: &str, by: &str) -> Result<Alert, AlertError> {
        let acknowledge = |reply| Command::Acknowledge { id: id.to_owned(), by: by.to_owned(), reply };
        let Acknowledged { alert, event } = self.submit(acknowledge).await?;
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
        Ok(alert)
    }

    /// One alert.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Unavailable`].
    pub async fn get(&self, id: &str) -> Result<Alert, AlertError> {
        in_time(self.shared.store().alert(&self.shared.tenant, id)).await
    }

    /// Alerts, the newest first; `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], [`AlertError::Unavailable`].
    pub async fn list(&self, filter: Filter, limit: usize, after: Option<String>) -> Result<Page, AlertError> {
        if after.as_ref().is_some_and(|after| !is_alert_id(after)) {
            return Err(AlertError::invalid("after: no id of an alert"));
        }
        let Filter { open, severity, rule } = filter;
        // One more than asked for: whether there is a next page.
        let query = Query { open, severity, rule, before: after, limit: limit + 1 };
        let mut alerts = in_time(self.shared.store().alerts(&self.shared.tenant, query)).await?;
        let more = alerts.len() > limit;
        alerts.truncate(limit);
        let next = alerts.last().filter(|_| more).map(|alert| alert.id.clone());
        Ok(Page { alerts, next })
    }

    /// Whether it is known that there are no rules and no open alerts, and nothing waits to be changed.
    pub fn is_unused(&self) -> bool {
        *self.shared.ready.borrow()
            && self.sizes() == (0, 0)
            && self.commands.capacity() == self.commands.max_capacity()
    }

    /// Rules that are watched, and open alerts.
    pub fn sizes(&self) -> (i64, i64) {
        (self.shared.rules.get(), self.shared.open.get())
    }

    async fn submit<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, AlertError> {
        let mut ready = self.shared.ready.subscribe();
        // A server that has just begun reads the rules first.
        let begun = async { ready.wait_for(|ready| *ready).await.map(drop).map_err(|_| AlertError::Stopped) };
        in_time(begun).await?;
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AlertError::Unavailable,
            mpsc::error::TrySendError::Closed(_) => AlertError::Stopped,
        })?;
        // From here on the store may make it, whatever becomes of this call.
        confirmed(async { answer.await.map_err(|_| AlertError::Unknown)? }).await
    }
}

impl Shared {
    pub(super) fn store(&self) -> &dyn AlertStore {
        &*self.alerting.store
    }

    /// Now, in the whole milliseconds that stores keep.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// What the store answers to a change, if it does in time.
pub(super) async fn confirmed<T>(answer: impl Future<Output = Result<T, AlertError>>) -> Result<T, AlertError> {
    timeout(PATIENCE, answer).await.unwrap_or(Err(AlertError::Unknown))
}

/// What the store answers, if it does in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, AlertError>>) -> Result<T, AlertError> {
    timeout(PATIENCE, answer).await.unwrap_or(Err(AlertError::Unavailable))
}
