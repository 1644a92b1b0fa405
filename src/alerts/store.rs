//! What alerts need of a store. Implementations are elsewhere.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Alert, AlertError, Rule, Severity, Target};
use crate::core::version::Version;

/// A store's answer; dropping it does not undo a change.
pub type Answer<T> = BoxFuture<'static, Result<T, AlertError>>;

/// Keeps the rules and alerts of many tenants, and what is to be sent of them. One tenant's calls never see another's. What
/// happens to an alert is kept together with the event that tells of it ([`EventStore`](crate::relay::EventStore)).
///
/// A change is handed in by the call itself, not by the first poll of its answer, and changes of one tenant are made in the
/// order of the calls. A change that was answered survives the end of the process. One that failed has changed nothing,
/// except that [`AlertError::Unknown`] leaves open whether it was made. Times are whole milliseconds. Rules are checked
/// by the caller.
///
/// Several processes may use one store: of two that raise an alert of one rule, or resolve the same alert, one does it and
/// the other is told; a delivery is given to one at a time.
///
/// # Errors
/// Every method: [`AlertError::Unavailable`] when too much waits for the store or it does not work; those that change
/// something also [`AlertError::Full`] when it has no room, [`AlertError::ReadOnly`], and [`AlertError::Unknown`].
pub trait AlertStore: Send + Sync {
    /// The tenants that have a rule or an open alert, by name: those that are begun at start.
    fn tenants(&self) -> Answer<Vec<String>>;

    /// All rules, by id.
    fn rules(&self, tenant: &str) -> Answer<Vec<Rule>>;

    /// One rule.
    ///
    /// # Errors
    /// [`AlertError::NoRule`].
    fn rule(&self, tenant: &str, id: &str) -> Answer<Rule>;

    /// A new rule, if the tenant has less than `max`.
    ///
    /// # Errors
    /// [`AlertError::Taken`] before [`AlertError::TooMany`].
    fn insert_rule(&self, tenant: &str, rule: Rule, max: usize) -> Answer<()>;

    /// Puts `rule` in the place of the one of its id, if that one is still at `seen`. With `anew` its samples are deleted and
    /// the alert is resolved, all together; answers what [`AlertStore::resolve`] would, and `None` without one to resolve.
    ///
    /// # Errors
    /// [`AlertError::Moved`], also when it is gone.
    fn replace_rule(&self, tenant: &str, rule: Rule, seen: Version, anew: Option<Anew>) -> Answer<Option<Resolved>>;

    /// Deletes a rule, if it is still at `seen`, and its samples, and resolves its alert; answers as
    /// [`AlertStore::replace_rule`].
    ///
    /// # Errors
    /// [`AlertError::Moved`], also when it is gone.
    fn delete_rule(&self, tenant: &str, id: &str, seen: Version, anew: Anew) -> Answer<Option<Resolved>>;

    /// What an engine begins with.
    fn standing(&self, tenant: &str) -> Answer<Standing>;

    /// Keeps a new alert together with what is to be sent of it, unless its rule has an open one already.
    ///
    /// # Errors
    /// [`AlertError::NoRule`] if the rule is gone, [`AlertError::NotDeciding`] if another process decides.
    fn raise(&self, tenant: &str, alert: Alert, outgoing: Outgoing) -> Answer<Raised>;

    /// Ends an alert together with what is to be sent of that; `None` if it is not open.
    ///
    /// # Errors
    /// [`AlertError::NotDeciding`] if another process decides.
    fn resolve(&self, tenant: &str, resolution: Resolution) -> Answer<Option<Resolved>>;

    /// Claims for this process, for as long as `lease`, that it alone raises and resolves the alerts of a tenant; or says
    /// so again. False while another process has claimed it: so of two that both believe to be elected, each with values
    /// of its own, one decides. A zero `lease` gives the claim up.
    fn claim(&self, tenant: &str, lease: Duration) -> Answer<bool> {
        let _ = (tenant, lease);
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Alerts, the newest (that with the greatest id) first.
    fn alerts(&self, tenant: &str, query: Query) -> Answer<Vec<Alert>>;

    /// One alert.
    ///
    /// # Errors
    /// [`AlertError::NotFound`].
    fn alert(&self, tenant: &str, id: &str) -> Answer<Alert>;

    /// Notes who looks after an alert, open or not, unless somebody does already.
    ///
    /// # Errors
    /// [`AlertError::NotFound`].
    fn acknowledge(&self, tenant: &str, id: &str, by: &str, at: Timestamp) -> Answer<Acknowledged>;

    /// Adds samples of rules that compare with earlier values, and deletes those before a time of each rule that is named.
    /// A second one of the same rule and time replaces the first.
    fn keep_samples(&self, tenant: &str, samples: Vec<Sample>, forget: Vec<(String, Timestamp)>) -> Answer<()>;

    /// All samples, by rule and time.
    fn samples(&self, tenant: &str) -> Answer<Vec<Sample>>;

    /// Deletes alerts that were resolved before a time, and of the resolved ones all but the newest `most`.
    /// Answers how many went.
    fn prune(&self, tenant: &str, before: Timestamp, most: usize) -> Answer<u64>;

    /// Takes at most `limit` deliveries to `target` that are due at `now`, of all tenants, those that are due longest first.
    /// They are nobody else's until `until`; who has not settled one by then has lost it. Of one alert only the first that
    /// is left is given out, so that its end never overtakes its beginning.
    fn take(&self, target: Target, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Delivery>>;

    /// Says what came of the attempt `attempt` of a delivery. One that was lost meanwhile is left as it is; false then.
    fn settle(&self, id: &str, attempt: u32, settlement: Settlement) -> Answer<bool>;

    /// How much waits for each target, and since when.
    fn waiting(&self) -> Answer<Vec<Waiting>>;

    /// Whether other processes may change it, too.
    fn is_shared(&self) -> bool {
        false
    }
}

/// What an engine begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// All rules, by id.
    pub rules: Vec<Rule>,
    /// The alerts that are not resolved, by id; at most one of each rule, and of rules that are gone, too.
    pub open: Vec<Alert>,
}

/// What is to be sent of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// To each target its own.
    pub deliveries: Vec<NewDelivery>,
    /// Most deliveries of the tenant that may wait; those beyond are left out.
    pub room: usize,
}

impl Outgoing {
    /// Returns the deliveries that fit where `waiting` deliveries of the tenant wait already.
    pub fn fitting(&self, waiting: i64) -> &[NewDelivery] {
        let room = self.room.saturating_sub(usize::try_from(waiting).unwrap_or(0));
        &self.deliveries[..room.min(self.deliveries.len())]
    }
}

/// Something to be sent, due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Unique: receivers know a repetition by it.
    pub id: String,
    /// Whom to.
    pub target: Target,
    /// The alert it is about.
    pub alert: String,
    /// What: JSON.
    pub body: String,
    /// When it was made.
    pub at: Timestamp,
}

/// Something to be sent, taken for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Unique.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// Whom to.
    pub target: Target,
    /// The alert it is about.
    pub alert: String,
    /// What: JSON.
    pub body: String,
    /// When it was made.
    pub at: Timestamp,
    /// 1 for the first time that it was taken.
    pub attempt: u32,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is over: delivered, or given up. It is deleted.
    Over,
    /// It is due again.
    Again(Timestamp),
}

/// A rule begins anew: its samples say nothing any more, and its alert, if it has one, ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anew(pub Option<Resolution>);

/// The end of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Which.
    pub alert: String,
    /// When.
    pub at: Timestamp,
    /// What is to be sent of it.
    pub outgoing: Outgoing,
}

/// What came of raising an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Raised {
    /// It is kept, with so many deliveries.
    New {
        /// Those there was room for.
        deliveries: usize,
    },
    /// Its rule has this open one, which somebody else raised. Nothing was changed.
    Open(Box<Alert>),
}

/// What came of resolving an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// It, as it is now.
    pub alert: Alert,
    /// The deliveries there was room for.
    pub deliveries: usize,
}

/// Which alerts.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only open ones (`true`), or only resolved ones (`false`).
    pub open: Option<bool>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Only of this rule.
    pub rule: Option<String>,
    /// Only those with a smaller id than this, which need not be there.
    pub before: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// An alert that somebody looks after.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// It, as it is now.
    pub alert: Alert,
    /// The place of the event that tells of it; `None` if somebody looked after it before.
    pub event: Option<u64>,
}

/// What a value was at a time, for rules that compare with it later.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The rule.
    pub rule: String,
    /// When.
    pub at: Timestamp,
    /// How much.
    pub value: f64,
}

/// What waits for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which. Targets that nothing waits for may be left out.
    pub target: Target,
    /// How many deliveries, those included that are on their way.
    pub count: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
}
