//! Handle of one tenant's alerts.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::{
    Acknowledged, Alert, AlertError, Alerting, NewRule, Query, Rule, Severity, Watcher,
    command::{Command, DEADLINE, Shared},
    is_alert_id,
};
use crate::{
    relay::Relay,
    service::{Commands, Reply, ServiceError, in_time},
};
use tricast_core::{clock::Clock, counters::Gauge, log::Log, version::IfMatch};

/// Largest number of changes that wait; more are refused. People make them, one at a time.
const QUEUE: usize = 64;

/// Alerts of one tenant. Cheap to clone; creating one does no I/O.
#[derive(Clone)]
pub struct AlertService {
    commands: Commands<Command>,
    shared: Arc<Shared>,
}

/// A page of alerts, the newest first.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AlertPage))]
pub struct Page {
    /// Alerts of the page, the newest first.
    pub alerts: Vec<Alert>,
    /// Last alert of this page: `after` of a request for the next one. `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<String>,
}

/// Filter of a list of alerts.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only open ones (`true`) or only resolved ones (`false`).
    pub open: Option<bool>,
    /// Only alerts of this severity.
    pub severity: Option<Severity>,
    /// Only alerts of this rule.
    pub rule: Option<String>,
}

impl AlertService {
    /// Creates the service for the alerts of `tenant` over the values in `log`; `relay` publishes their events. Nothing is
    /// watched or changed until the caller runs the returned [`Watcher`].
    pub fn new(tenant: &str, alerting: Alerting, log: Arc<Log>, relay: Relay, clock: Clock) -> (Self, Watcher) {
        let (commands, queue) = Commands::bounded(QUEUE);
        let shared = Arc::new(Shared {
            tenant: tenant.into(),
            alerting,
            log,
            relay,
            clock,
            ready: watch::Sender::new(false),
            rules: Gauge::default(),
            open: Gauge::default(),
        });
        (Self { commands, shared: Arc::clone(&shared) }, Watcher::new(shared, queue))
    }

    /// Returns all rules, in the order of their ids.
    ///
    /// # Errors
    /// [`AlertError::Store`], [`AlertError::Service`].
    pub async fn rules(&self) -> Result<Vec<Rule>, AlertError> {
        in_time(DEADLINE, self.shared.store().rules(&self.shared.tenant)).await
    }

    /// Returns one rule.
    ///
    /// # Errors
    /// [`AlertError::NoRule`], [`AlertError::Store`], [`AlertError::Service`].
    pub async fn rule(&self, id: &str) -> Result<Rule, AlertError> {
        in_time(DEADLINE, self.shared.store().rule(&self.shared.tenant, id)).await
    }

    /// Creates a rule. On return it is stored and watched.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], [`AlertError::Taken`], [`AlertError::TooMany`], [`AlertError::Store`],
    /// [`AlertError::Service`].
    pub async fn create(&self, new: NewRule) -> Result<Rule, AlertError> {
        self.submit(|reply| Command::Create(new, reply)).await
    }

    /// Replaces a rule. Its open alert stays open if the new rule watches the same field for the same condition, and is
    /// resolved otherwise.
    ///
    /// # Errors
    /// Those of [`AlertService::create`], [`AlertError::NoRule`], [`AlertError::Moved`] when `if_match` does not match.
    pub async fn replace(&self, id: &str, new: NewRule, if_match: Option<IfMatch>) -> Result<Rule, AlertError> {
        self.submit(|reply| Command::Replace { id: id.to_owned(), new, if_match, reply }).await
    }

    /// Deletes a rule and resolves its open alert.
    ///
    /// # Errors
    /// [`AlertError::NoRule`], [`AlertError::Moved`] when `if_match` does not match, [`AlertError::Store`],
    /// [`AlertError::Service`].
    pub async fn delete(&self, id: &str, if_match: Option<IfMatch>) -> Result<(), AlertError> {
        self.submit(|reply| Command::Delete { id: id.to_owned(), if_match, reply }).await
    }

    /// Records that the user `by` acknowledges an alert, unless it is acknowledged already, and returns the alert. The
    /// event `alert_acknowledged` is published on return, or later if the log can't be written at the moment.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Store`], [`AlertError::Service`].
    pub async fn acknowledge(&self, id: &str, by: &str) -> Result<Alert, AlertError> {
        self.shared.relay.check_room()?;
        let acknowledge = |reply| Command::Acknowledge { id: id.to_owned(), by: by.to_owned(), reply };
        let Acknowledged { alert, event } = self.submit(acknowledge).await?;
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
        Ok(alert)
    }

    /// Returns one alert.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Store`], [`AlertError::Service`].
    pub async fn get(&self, id: &str) -> Result<Alert, AlertError> {
        in_time(DEADLINE, self.shared.store().alert(&self.shared.tenant, id)).await
    }

    /// Returns a page of at most `limit` alerts, newest first, beginning after the alert with the id `after`.
    ///
    /// # Errors
    /// [`AlertError::Invalid`] when `after` is not the id of an alert, [`AlertError::Store`], [`AlertError::Service`].
    pub async fn list(&self, filter: Filter, limit: usize, after: Option<String>) -> Result<Page, AlertError> {
        if after.as_ref().is_some_and(|after| !is_alert_id(after)) {
            return Err(AlertError::invalid("after: not the ID of an alert"));
        }
        let Filter { open, severity, rule } = filter;
        // One more than requested shows whether there is another page.
        let query = Query { open, severity, rule, before: after, limit: limit + 1 };
        let mut alerts = in_time(DEADLINE, self.shared.store().alerts(&self.shared.tenant, query)).await?;
        let more = alerts.len() > limit;
        alerts.truncate(limit);
        let next = alerts.last().filter(|_| more).map(|alert| alert.id.clone());
        Ok(Page { alerts, next })
    }

    /// Returns whether the tenant is known to have no rules and no open alerts, and no change is queued.
    pub fn is_unused(&self) -> bool {
        *self.shared.ready.borrow() && self.sizes() == (0, 0) && self.commands.is_empty()
    }

    /// Returns the number of rules that are watched, and of open alerts.
    pub fn sizes(&self) -> (i64, i64) {
        (self.shared.rules.get(), self.shared.open.get())
    }

    async fn submit<T>(&self, command: impl FnOnce(Reply<T, AlertError>) -> Command) -> Result<T, AlertError> {
        let mut ready = self.shared.ready.subscribe();
        // A server that has just started loads the rules first.
        let loaded = async { ready.wait_for(|ready| *ready).await.map(drop).map_err(|_| ServiceError::Stopped) };
        in_time(DEADLINE, loaded).await?;
        self.commands.submit(DEADLINE, command).await
    }
}
