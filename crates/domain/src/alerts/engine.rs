//! Engine that decides when alerts are raised and resolved. Pure: values and times are arguments, decisions are results.
//!
//! ```text
//! Quiet ──bad──▶ Pending ──bad for `for`──▶ Raising ──stored──▶ Raised ──good──▶ Resolving ──stored──▶ Quiet
//!   ▲               │
//!   └── not bad ────┘
//! ```
//!
//! A decision is pending until the store has it: the caller asks for [`Engine::pending`] until there is none. So an
//! alert that was decided is never lost, and a rule never has more than one pending decision. Since a condition has to
//! be met for the whole of `for` again after an alert ended, a value that oscillates raises at most one alert in that
//! time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Alert, Condition, Rule, Sample, Target, alert::new_id, condition::Finding, window::Window};
use tricast_core::span::Span;

/// Shortest time between two alerts of one rule, even without `for`.
const BETWEEN: SignedDuration = SignedDuration::from_secs(1);

/// Rules of one tenant and the state of each.
#[derive(Debug)]
pub(super) struct Engine {
    /// Targets that are configured.
    targets: Vec<Target>,
    watches: BTreeMap<String, Watch>,
}

#[derive(Debug)]
struct Watch {
    rule: Rule,
    /// Time at which watching began: nothing is known of the time before.
    since: Timestamp,
    /// Newest value, if there is one and it is a number.
    value: Option<f64>,
    /// Time of the last write of the field.
    written: Option<Timestamp>,
    /// Time at which it was written again after an absence.
    back: Option<Timestamp>,
    window: Option<Window>,
    /// Time before which no further alert begins.
    not_before: Option<Timestamp>,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Quiet,
    Pending { since: Timestamp },
    Raising(Alert),
    Raised(Alert),
    Resolving { alert: Alert, at: Timestamp },
}

/// Decision that has to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// The condition of a rule is met: store this alert, and notify.
    Raise(Alert),
    /// Resolves this alert, which ended at that time.
    Resolve(Alert, Timestamp),
}

impl Engine {
    /// Creates an engine without rules. Alerts are sent to those of `targets` that their rule selects.
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self { targets, watches: BTreeMap::new() }
    }

    /// Watches a rule from `now` on, or replaces it by another version. A rule that watches the same field for the same
    /// condition keeps its state; returns true then.
    pub(super) fn watch(&mut self, rule: Rule, now: Timestamp) -> bool {
        if let Some(watch) = self.watches.get_mut(&rule.id)
            && watch.rule.watches_the_same(&rule)
            && watch.rule.made == rule.made
        {
            watch.rule = rule;
            return true;
        }
        let window = rule.condition.required_age().map(Window::new);
        let watch = Watch {
            since: now,
            value: None,
            written: None,
            back: None,
            window,
            not_before: None,
            state: State::Quiet,
            rule,
        };
        self.watches.insert(watch.rule.id.clone(), watch);
        false
    }

    /// Removes a rule with its samples and its open alert.
    pub(super) fn forget(&mut self, id: &str) {
        self.watches.remove(id);
    }

    /// Returns the rules, in the order of their ids.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.watches.values().map(|watch| &watch.rule)
    }

    /// Returns the number of rules.
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Returns the number of open alerts.
    pub(super) fn open(&self) -> usize {
        self.watches.values().filter(|watch| watch.open().is_some()).count()
    }

    /// Returns the open alert of a rule.
    pub(super) fn alert(&self, rule: &str) -> Option<&Alert> {
        self.watches.get(rule)?.open()
    }

    /// Sets what the store has: the open alert of the rule, or that there is none.
    pub(super) fn set_open(&mut self, rule: &str, open: Option<Alert>) {
        let Some(watch) = self.watches.get_mut(rule) else { return };
        watch.state = match (open, &watch.state) {
            (Some(open), State::Resolving { alert, at }) if open.id == alert.id => {
                State::Resolving { at: *at, alert: open }
            }
            (Some(open), _) => State::Raised(open),
            (None, State::Pending { since }) => State::Pending { since: *since },
            (None, _) => State::Quiet,
        };
    }

    /// Sets the same after the whole store was read; a decision that is not stored yet stays pending.
    pub(super) fn reconcile(&mut self, rule: &str, open: Option<Alert>) {
        let settled = |watch: &Watch| !matches!(watch.state, State::Raising(_) | State::Resolving { .. });
        if self.watches.get(rule).is_some_and(settled) {
            self.set_open(rule, open);
        }
    }

    /// Withdraws pending decisions, because another process decides. Conditions that are met stay so: should that
    /// process stop, the next evaluation makes the same decisions again.
    pub(super) fn withdraw(&mut self) {
        for watch in self.watches.values_mut() {
            watch.state = match &watch.state {
                State::Raising(alert) => {
                    let hold = SignedDuration::from_millis(watch.rule.hold.as_millis());
                    let since = alert.raised_at.saturating_sub(hold);
                    State::Pending { since: since.unwrap_or(alert.raised_at) }
                }
                State::Resolving { alert, .. } => State::Raised(alert.clone()),
                _ => continue,
            };
        }
    }

    /// Adds a sample of an earlier process.
    pub(super) fn add_sample(&mut self, sample: &Sample) {
        if let Some(window) = self.watches.get_mut(&sample.rule).and_then(|watch| watch.window.as_mut()) {
            window.add(sample.at, sample.value);
        }
    }

    /// Sets the field of a rule as of `written`: whether it exists, and its value if that is a number.
    pub(super) fn observe(&mut self, rule: &str, there: bool, value: Option<f64>, written: Timestamp) {
        let Some(watch) = self.watches.get_mut(rule) else { return };
        watch.value = value;
        // A value written before watching began says nothing about an absence.
        if there {
            watch.written = Some(watch.written.map_or(written, |before| before.max(written)));
        }
    }

    /// Accounts for a pause of this process of `length`, which ended at `now`: no field was absent meanwhile, and no
    /// condition was met. Open alerts stay open until a value shows otherwise.
    pub(super) fn skip_pause(&mut self, length: SignedDuration, now: Timestamp) {
        let later = |time: Timestamp| time.saturating_add(length).unwrap_or(now).min(now);
        for watch in self.watches.values_mut() {
            match &mut watch.state {
                State::Quiet => {}
                State::Pending { since } => *since = later(*since),
                State::Raising(_) | State::Raised(_) | State::Resolving { .. } => continue,
            }
            watch.since = later(watch.since);
            watch.written = watch.written.map(later);
        }
    }

    /// Evaluates all rules at `now`, and collects the decisions.
    pub(super) fn evaluate(&mut self, now: Timestamp) {
        for watch in self.watches.values_mut() {
            watch.evaluate(now, &self.targets);
        }
    }

    /// Returns the decisions that are not stored yet, in the order of the rules.
    pub(super) fn pending(&self) -> Vec<Decision> {
        let decision = |watch: &Watch| match &watch.state {
            State::Raising(alert) => Some(Decision::Raise(alert.clone())),
            State::Resolving { alert, at } => Some(Decision::Resolve(alert.clone(), *at)),
            _ => None,
        };
        self.watches.values().filter_map(decision).collect()
    }

    /// Returns the values at `now` of rules that compare with earlier ones, where a sample is due, and for each of
    /// these rules the time before which samples are not needed any more.
    pub(super) fn sample(&mut self, now: Timestamp) -> (Vec<Sample>, Vec<(String, Timestamp)>) {
        let (mut samples, mut forget) = (Vec::new(), Vec::new());
        for watch in self.watches.values_mut() {
            if let (Some(window), Some(value)) = (&mut watch.window, watch.value)
                && window.add(now, value)
            {
                samples.push(Sample { rule: watch.rule.id.clone(), at: now, value });
                forget.push((watch.rule.id.clone(), window.oldest(now)));
            }
        }
        (samples, forget)
    }
}

impl Watch {
    fn open(&self) -> Option<&Alert> {
        match &self.state {
            State::Raised(alert) | State::Resolving { alert, .. } => Some(alert),
            _ => None,
        }
    }

    fn evaluate(&mut self, now: Timestamp, targets: &[Target]) {
        let earlier = self.window.as_ref().and_then(|window| window.earlier(now));
        let finding = match self.rule.condition {
            Condition::Absent { limit, clear } => self.absence(now, limit, clear),
            condition => condition.evaluate(self.value, earlier),
        };
        let next = match (&self.state, finding) {
            (State::Quiet | State::Pending { .. }, Finding::Bad) => {
                let since = match self.state {
                    // A clock that was set back is no reason to wait longer.
                    State::Pending { since } => since.min(now),
                    _ => now,
                };
                let held = now.duration_since(since).as_millis() >= i128::from(self.rule.hold.as_millis());
                if held && self.not_before.is_none_or(|not_before| now >= not_before || not_before > now + BETWEEN) {
                    self.not_before = Some(now + BETWEEN);
                    State::Raising(self.alert(now, earlier, targets))
                } else {
                    State::Pending { since }
                }
            }
            // Without interruption: an unknown value interrupts.
            (State::Pending { .. }, _) => State::Quiet,
            (State::Raised(alert), Finding::Good) => State::Resolving { alert: alert.clone(), at: now },
            _ => return,
        };
        self.state = next;
    }

    /// Returns whether the field was not written for `limit` while it was watched. After a start the time starts again:
    /// an absence while nothing was watched neither raises nor resolves an alert.
    fn absence(&mut self, now: Timestamp, limit: Span, clear: Option<Span>) -> Finding {
        let last = self.written.map_or(self.since, |written| written.max(self.since)).min(now);
        let long =
            |since: Timestamp, period: Span| now.duration_since(since).as_millis() >= i128::from(period.as_millis());
        if long(last, limit) {
            self.back = None;
            return Finding::Bad;
        }
        let Some(written) = self.written else { return Finding::Unknown };
        let back = (*self.back.get_or_insert(written)).min(now);
        if long(back, clear.unwrap_or_default()) { Finding::Good } else { Finding::Between }
    }

    fn alert(&self, now: Timestamp, earlier: Option<f64>, targets: &[Target]) -> Alert {
        let (rule, metric) = (&self.rule, self.rule.metric());
        let threshold = rule.condition.threshold(earlier);
        let value = match rule.condition {
            // The last write before the absence.
            Condition::Absent { .. } => None,
            _ => self.value,
        };
        let message = rule
            .message
            .clone()
            .unwrap_or_else(|| format!("{}: {}", rule.name, rule.condition.describe(&metric, value, threshold)));
        Alert {
            id: new_id(now),
            rule_id: rule.id.clone(),
            severity: rule.severity,
            metric,
            message,
            value,
            threshold,
            raised_at: now,
            resolved_at: None,
            acknowledged_by: None,
            acknowledged_at: None,
            targets: rule.targets(targets),
        }
    }
}

#[cfg(test)]
mod tests;
