//! Commands and state that the handle and the task of a tenant's alerts share.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Acknowledged, AlertError, AlertStore, Alerting, NewRule, Rule};
use crate::{relay::Relay, service::Reply};
use tricast_core::{clock::Clock, counters::Gauge, log::Log, version::IfMatch};

/// Longest time that a caller or the task waits for the store.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// State that the watcher and the handles share.
pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) alerting: Alerting,
    pub(super) log: Arc<Log>,
    pub(super) relay: Relay,
    pub(super) clock: Clock,
    /// True once the watcher has loaded the rules.
    pub(super) ready: watch::Sender<bool>,
    pub(super) rules: Gauge,
    pub(super) open: Gauge,
}

impl Shared {
    pub(super) fn store(&self) -> &dyn AlertStore {
        &*self.alerting.store
    }
}

/// Change to make, and the channel for its result.
pub(super) enum Command {
    Create(NewRule, Reply<Rule, AlertError>),
    Replace { id: String, new: NewRule, if_match: Option<IfMatch>, reply: Reply<Rule, AlertError> },
    Delete { id: String, if_match: Option<IfMatch>, reply: Reply<(), AlertError> },
    Acknowledge { id: String, by: String, reply: Reply<Acknowledged, AlertError> },
}
