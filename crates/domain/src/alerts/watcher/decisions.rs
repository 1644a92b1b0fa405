//! Decisions of the engine: who may decide, and the store's responses.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::Watch;
use crate::{
    alerts::{
        Alert, AlertError, NewDelivery, News, Outgoing, Raised, Resolution, Resolved, Sent, command::DEADLINE,
        engine::Decision,
    },
    service::{confirmed, in_time},
};
use tricast_core::{clock::rfc3339, ids::random_u64};

/// Duration of a claim, and the interval at which it is extended.
pub(super) const CLAIM: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// Response of the store to a decision.
enum Kept {
    Raised(Raised),
    Resolved(Option<Box<Resolved>>),
}

impl Watch {
    /// Returns whether this process raises and resolves alerts.
    pub(super) async fn may_decide(&mut self) -> Result<bool, AlertError> {
        if !self.shared.store().is_shared() || !self.aggregator.is_clustered() {
            return Ok(true);
        }
        let (store, tenant) = (Arc::clone(&self.shared.alerting.store), Arc::clone(&self.shared.tenant));
        let (lease, again) = CLAIM;
        if !self.aggregator.leads() {
            self.claim_at = Instant::now();
            if std::mem::take(&mut self.decides) {
                // So that the next leader need not wait for the claim to expire.
                in_time(DEADLINE, store.claim(&tenant, Duration::ZERO)).await?;
            }
            return Ok(false);
        }
        if Instant::now() < self.claim_at || (self.engine.len() == 0 && !self.orphans) {
            return Ok(self.decides);
        }
        self.claim_at = Instant::now() + again;
        let decides = in_time(DEADLINE, store.claim(&tenant, lease)).await?;
        if decides && !std::mem::replace(&mut self.decides, decides) {
            // Loads the last decisions of the process that decided before, before this engine decides anything.
            self.engine.withdraw();
            self.doubtful = true;
            self.load(false).await?;
            // The log may have grown meanwhile, by values that were pushed while no node led.
            self.read_log();
            self.engine.evaluate(self.shared.clock.now_ms());
        }
        self.decides = decides;
        Ok(decides)
    }

    /// Stores decisions in their order, and applies the responses of the store.
    pub(super) async fn store_decisions(&mut self, decisions: Vec<Decision>) -> Result<(), AlertError> {
        let tenant = Arc::clone(&self.shared.tenant);
        let mut answers = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let store = self.shared.store();
            // Queued here, in this order; awaited together.
            let answer: futures_util::future::BoxFuture<'static, _> = match &decision {
                Decision::Raise(alert) => {
                    let outgoing = self.outgoing(alert, News::Raised, alert.raised_at);
                    let raised = store.raise(&tenant, alert.clone(), outgoing);
                    Box::pin(async move { raised.await.map(Kept::Raised) })
                }
                Decision::Resolve(alert, at) => {
                    let resolved = store.resolve(&tenant, self.resolution(alert, *at));
                    Box::pin(async move { resolved.await.map(|resolved| Kept::Resolved(resolved.map(Box::new))) })
                }
            };
            answers.push(async move { (decision, confirmed(DEADLINE, answer).await) });
        }
        let mut failure = None;
        for (decision, answer) in join_all(answers).await {
            if let Err(error) = self.handle_result(decision, answer).await {
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Handles the store's response to a decision.
    async fn handle_result(&mut self, decision: Decision, answer: Result<Kept, AlertError>) -> Result<(), AlertError> {
        match (decision, answer) {
            (Decision::Raise(alert), Ok(Kept::Raised(Raised::New { deliveries }))) => self.on_raised(alert, deliveries),
            (Decision::Raise(alert), Ok(Kept::Raised(Raised::Open(open)))) => {
                if open.id == alert.id {
                    // An earlier attempt whose response came too late.
                    let deliveries = alert.targets.len();
                    self.on_raised(alert, deliveries);
                } else {
                    // Another process was faster, and has announced its alert.
                    self.engine.set_open(&alert.rule_id, Some(*open));
                }
            }
            // Another process has the claim meanwhile.
            (_, Err(AlertError::NotDeciding)) => {
                self.decides = false;
                self.engine.withdraw();
            }
            // The rule was deleted on another node.
            (Decision::Raise(alert), Err(AlertError::NoRule)) => self.forget(&alert.rule_id),
            (Decision::Resolve(..), Ok(Kept::Resolved(Some(resolved)))) => self.on_resolved(*resolved),
            (Decision::Resolve(alert, at), Ok(Kept::Resolved(None))) => {
                match in_time(DEADLINE, self.shared.store().alert(&self.shared.tenant, &alert.id)).await {
                    // An earlier attempt whose response came too late.
                    Ok(kept) if kept.resolved_at == Some(at) => {
                        let deliveries = kept.targets.len();
                        self.on_resolved(Resolved { alert: kept, deliveries });
                    }
                    // Another process was faster.
                    Ok(_) | Err(AlertError::NotFound) => self.engine.set_open(&alert.rule_id, None),
                    Err(error) => return Err(error),
                }
            }
            (_, Err(error)) => return Err(error),
            // The store returns the kind of result that was requested.
            _ => {}
        }
        Ok(())
    }

    fn on_raised(&mut self, alert: Alert, deliveries: usize) {
        self.engine.set_open(&alert.rule_id, Some(alert.clone()));
        self.shared.alerting.metrics.raised.inc();
        tracing::info!(tenant = &*self.shared.tenant, alert = %alert.id, rule = %alert.rule_id, "raised");
        self.sent(&alert, deliveries);
        self.shared.relay.wake();
    }

    pub(super) fn on_resolved(&mut self, resolved: Resolved) {
        let Resolved { alert, deliveries } = resolved;
        if self.engine.alert(&alert.rule_id).is_some_and(|open| open.id == alert.id) {
            self.engine.set_open(&alert.rule_id, None);
        }
        self.shared.alerting.metrics.resolved.inc();
        tracing::info!(tenant = &*self.shared.tenant, alert = %alert.id, rule = %alert.rule_id, "resolved");
        self.sent(&alert, deliveries);
        self.shared.relay.wake();
    }

    fn sent(&self, alert: &Alert, deliveries: usize) {
        let alerting = &self.shared.alerting;
        for target in alert.targets.iter().skip(deliveries) {
            alerting.metrics.sent(*target, Sent::Dropped).inc();
            let (tenant, target) = (&*self.shared.tenant, target.as_str());
            tracing::error!(tenant, alert = %alert.id, target, "notification dropped: the outbox is full (alerts.max_outbox)");
        }
        if deliveries > 0 {
            alerting.outgoing.send_replace(());
        }
    }

    pub(super) fn resolution(&self, alert: &Alert, at: Timestamp) -> Resolution {
        let ended = Alert { resolved_at: Some(at), ..alert.clone() };
        Resolution { alert: alert.id.clone(), at, outgoing: self.outgoing(&ended, News::Resolved, at) }
    }

    /// Creates the deliveries of `alert`.
    fn outgoing(&self, alert: &Alert, news: News, at: Timestamp) -> Outgoing {
        let rule = self.engine.rules().find(|rule| rule.id == alert.rule_id).map_or("", |rule| &rule.name);
        let deliveries = alert.targets.iter().map(|target| {
            let id = format!("dlv-{:016x}{:016x}", random_u64(), random_u64());
            let body = json!({
                "id": id,
                "event": news.event(),
                "tenant": &*self.shared.tenant,
                "timestamp": rfc3339(at),
                "rule": {"id": alert.rule_id, "name": rule},
                "alert": alert,
            });
            NewDelivery { id, target: *target, alert: alert.id.clone(), body: body.to_string(), at }
        });
        Outgoing { deliveries: deliveries.collect(), room: self.shared.alerting.config.max_outbox }
    }
}
