//! Interface between alerts and a store. The implementations are in `tricast_store`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Alert, AlertError, Rule, Severity, Target};
use tricast_core::version::Version;

/// Result of a call to a store; dropping it does not undo a change.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, AlertError>>;

/// Keeps the rules, alerts and deliveries of many tenants. A call for one tenant never sees data of another. A change
/// of an alert is stored in one transaction with its event ([`EventStore`](crate::relay::EventStore)).
///
/// A change is queued by the call itself, not by the first poll of its result, and changes of one tenant are made in
/// the order of the calls. An acknowledged change survives the end of the process. A change that failed has changed
/// nothing, unless the error is [`StoreError::Unknown`](crate::service::StoreError::Unknown). Times are whole
/// milliseconds. The caller has checked the rules.
///
/// Several processes may use one store: of two that raise an alert of one rule, or resolve the same alert, one succeeds
/// and the other receives an error; one process at a time has a delivery.
///
/// # Errors
/// Every method: [`AlertError::Store`].
pub trait AlertStore: Send + Sync {
    /// Returns the tenants that have a rule or an open alert, in the order of their names: they are started with the
    /// server.
    fn tenants(&self) -> StoreFuture<Vec<String>>;

    /// Returns all rules, in the order of their ids.
    fn rules(&self, tenant: &str) -> StoreFuture<Vec<Rule>>;

    /// Returns one rule.
    ///
    /// # Errors
    /// [`AlertError::NoRule`].
    fn rule(&self, tenant: &str, id: &str) -> StoreFuture<Rule>;

    /// Adds a rule, if the tenant has less than `max`.
    ///
    /// # Errors
    /// [`AlertError::Taken`] before [`AlertError::TooMany`].
    fn insert_rule(&self, tenant: &str, rule: Rule, max: usize) -> StoreFuture<()>;

    /// Replaces the rule with the same id, if that one is still at the version `seen`. With `reset`, its samples are
    /// deleted and its alert is resolved in the same transaction; returns the same as [`AlertStore::resolve`], and
    /// `None` if there is no alert to resolve.
    ///
    /// # Errors
    /// [`AlertError::Moved`], also if it does not exist any more.
    fn replace_rule(
        &self,
        tenant: &str,
        rule: Rule,
        seen: Version,
        reset: Option<RuleReset>,
    ) -> StoreFuture<Option<Resolved>>;

    /// Deletes a rule and its samples, if it is still at the version `seen`, and resolves its alert; returns the same
    /// as [`AlertStore::replace_rule`].
    ///
    /// # Errors
    /// [`AlertError::Moved`], also if it does not exist any more.
    fn delete_rule(&self, tenant: &str, id: &str, seen: Version, reset: RuleReset) -> StoreFuture<Option<Resolved>>;

    /// Returns the data that an engine starts with.
    fn engine_data(&self, tenant: &str) -> StoreFuture<EngineData>;

    /// Stores a new alert with its deliveries, unless its rule has an open one.
    ///
    /// # Errors
    /// [`AlertError::NoRule`] if the rule does not exist any more, [`AlertError::NotDeciding`] if another process
    /// decides.
    fn raise(&self, tenant: &str, alert: Alert, outgoing: Outgoing) -> StoreFuture<Raised>;

    /// Resolves an alert and stores the deliveries of that; returns `None` if it is not open.
    ///
    /// # Errors
    /// [`AlertError::NotDeciding`] if another process decides.
    fn resolve(&self, tenant: &str, resolution: Resolution) -> StoreFuture<Option<Resolved>>;

    /// Claims for the time `lease` that this process alone raises and resolves the alerts of a tenant, or extends its
    /// claim. Returns false while another process has the claim: of two processes that both believe to lead, each with
    /// values of its own, one decides. A zero `lease` gives the claim up.
    fn claim(&self, tenant: &str, lease: Duration) -> StoreFuture<bool> {
        let _ = (tenant, lease);
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Returns a page of alerts, newest (greatest id) first.
    fn alerts(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Alert>>;

    /// Returns one alert.
    ///
    /// # Errors
    /// [`AlertError::NotFound`].
    fn alert(&self, tenant: &str, id: &str) -> StoreFuture<Alert>;

    /// Records the acknowledgement of an alert by a user, open or not, unless it has one already.
    ///
    /// # Errors
    /// [`AlertError::NotFound`].
    fn acknowledge(&self, tenant: &str, id: &str, by: &str, at: Timestamp) -> StoreFuture<Acknowledged>;

    /// Adds samples for rules that compare with earlier values, and deletes those before a time for each rule that is
    /// named. A second sample of the same rule and time replaces the first.
    fn keep_samples(&self, tenant: &str, samples: Vec<Sample>, forget: Vec<(String, Timestamp)>) -> StoreFuture<()>;

    /// Returns all samples, in the order of rules and times.
    fn samples(&self, tenant: &str) -> StoreFuture<Vec<Sample>>;

    /// Deletes alerts that were resolved before a time, and all resolved ones but the newest `most`. Returns their
    /// number.
    fn prune(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<u64>;

    /// Takes at most `limit` deliveries to `target` that are due at `now`, of all tenants, those that are due longest
    /// first. They are reserved until `until`; one that is not settled by then may be taken again. Of one alert only
    /// its first delivery is taken, so that its end is never sent before its beginning.
    fn take(&self, target: Target, now: Timestamp, until: Timestamp, limit: usize) -> StoreFuture<Vec<Delivery>>;

    /// Records the result of the attempt `attempt` of a delivery. Returns false if it was taken again meanwhile; it is
    /// left alone then.
    fn settle(&self, id: &str, attempt: u32, settlement: Settlement) -> StoreFuture<bool>;

    /// Returns the number of deliveries that wait for each target, and the age of the oldest.
    fn waiting(&self) -> StoreFuture<Vec<Waiting>>;

    /// Returns whether other processes may change the store.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Data that an engine starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineData {
    /// All rules, in the order of their ids.
    pub rules: Vec<Rule>,
    /// Alerts that are not resolved, in the order of their ids; at most one of each rule, and also those of deleted
    /// rules.
    pub open: Vec<Alert>,
}

/// Deliveries of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// One delivery for each target.
    pub deliveries: Vec<NewDelivery>,
    /// Largest number of deliveries of the tenant that may wait; further ones are left out.
    pub room: usize,
}

impl Outgoing {
    /// Returns the deliveries for which there is room where `waiting` deliveries of the tenant wait already.
    pub fn fitting(&self, waiting: i64) -> &[NewDelivery] {
        let room = self.room.saturating_sub(usize::try_from(waiting).unwrap_or(0));
        &self.deliveries[..room.min(self.deliveries.len())]
    }
}

/// Delivery to store, due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Unique id by which receivers recognize a repetition.
    pub id: String,
    /// Target that receives the delivery.
    pub target: Target,
    /// Id of its alert.
    pub alert: String,
    /// Content of the delivery as JSON.
    pub body: String,
    /// Time at which the delivery was created.
    pub at: Timestamp,
}

/// Delivery that was taken for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Unique id by which receivers recognize a repetition.
    pub id: String,
    /// Name of the tenant.
    pub tenant: String,
    /// Target that receives the delivery.
    pub target: Target,
    /// Id of its alert.
    pub alert: String,
    /// Content of the delivery as JSON.
    pub body: String,
    /// Time at which the delivery was created.
    pub at: Timestamp,
    /// Number of this attempt, counted from 1.
    pub attempt: u32,
}

/// Result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The delivery was accepted, or is given up. It is deleted.
    Done,
    /// The delivery is due again at this time.
    Retry(Timestamp),
}

/// Reset of a rule: discards its samples and resolves its open alert, if it has one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleReset(pub Option<Resolution>);

/// End of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Id of the alert.
    pub alert: String,
    /// Time of the end.
    pub at: Timestamp,
    /// Notifications to store in the same transaction.
    pub outgoing: Outgoing,
}

/// Result of raising an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Raised {
    /// The alert is stored with this number of deliveries.
    New {
        /// Number of deliveries for which there was room.
        deliveries: usize,
    },
    /// The rule has this open alert, which another process raised. Nothing was changed.
    Open(Box<Alert>),
}

/// Result of resolving an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The alert after the change.
    pub alert: Alert,
    /// Number of deliveries for which there was room.
    pub deliveries: usize,
}

/// Filters of a list of alerts; all of them apply.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only open ones (`true`), or only resolved ones (`false`).
    pub open: Option<bool>,
    /// Only alerts of this severity.
    pub severity: Option<Severity>,
    /// Only alerts of this rule.
    pub rule: Option<String>,
    /// Only alerts with a smaller id than this, which need not exist.
    pub before: Option<String>,
    /// Largest number of alerts.
    pub limit: usize,
}

/// Result of acknowledging an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// The alert after the change.
    pub alert: Alert,
    /// Sequence number of the event; `None` if the alert was acknowledged before.
    pub event: Option<u64>,
}

/// Value at a time, for rules that compare with it later.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Id of the rule.
    pub rule: String,
    /// Time of the value.
    pub at: Timestamp,
    /// Value of the sample.
    pub value: f64,
}

/// Deliveries that wait for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Target. Targets without waiting deliveries may be left out.
    pub target: Target,
    /// Number of deliveries, including those that are being sent.
    pub count: u64,
    /// Time at which the oldest was created.
    pub oldest: Option<Timestamp>,
}
