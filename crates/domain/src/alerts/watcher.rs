//! Task of a tenant's alerts: reads the log, runs the engine, and stores its decisions.
//!
//! Each decision is stored with its event of the channel `alerts`, which the relay publishes. In a cluster the leader
//! decides, once it has claimed that in the store as well: two halves of a cluster whose bus is split each have a
//! leader and values of their own, but share one store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    Acknowledged, Alert, AlertError, NewDelivery, NewRule, News, Outgoing, Raised, Resolution, Resolved, Rule,
    RuleReset, Sample, Sent,
    command::{Command, DEADLINE, Shared},
    engine::{Decision, Engine},
    field,
};
use crate::service::{Retry, ServiceError, StoreError, confirmed, in_time};
use tricast_core::{
    aggregator::AggregatorHandle, channel::Channel, clock::rfc3339, ids::random_u64, pause, publication::Publication,
    snapshot::View, version::IfMatch,
};

/// Interval of evaluations: `for`, absences and comparisons depend on the time.
const TICK: Duration = Duration::from_secs(1);

/// Shortest time between two reads of a log that changes all the time. A reader of states gets the newest ones.
const SETTLE: Duration = Duration::from_millis(50);

/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(1);

/// Largest number of times that a change is made again because another node stored a newer version first.
const ATTEMPTS: usize = 5;

/// Interval at which samples are written.
const FLUSH: Duration = Duration::from_secs(10);

/// Interval at which old alerts are deleted.
const PRUNE: Duration = Duration::from_secs(3_600);

/// Interval at which a shared store is read for changes of other processes.
const RELOAD: Duration = Duration::from_secs(15);

/// Interval of the same in a cluster: the leader should know of rules that other nodes created.
const RELOAD_OFTEN: Duration = Duration::from_secs(3);

/// Duration of a claim, and the interval at which it is extended.
const CLAIM: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// Task of one tenant's alerts: applies changes, watches the log, and raises and resolves alerts.
pub struct Watcher {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        Self { shared, commands }
    }

    /// Loads the rules, then applies changes and watches the log until the last handle is dropped. Decides about alerts
    /// only while `aggregator` leads. Reads the log as clients do, so nothing waits for it.
    pub async fn run(self, aggregator: AggregatorHandle) {
        let Self { shared, mut commands } = self;
        let mut changed = shared.log.watch();
        let mut watch = Watch::new(Arc::clone(&shared), aggregator);
        watch.load_all().await;
        watch.evaluate().await;
        shared.ready.send_replace(true);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled = Instant::now();
        loop {
            let idle = watch.is_idle();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => watch.carry_out(command).await,
                    None => return,
                },
                _ = ticks.tick(), if !idle => {}
                // The log lives as long as this task, so there is always another change to wait for.
                _ = async { sleep_until(settled).await; changed.changed().await }, if !idle => {}
            }
            watch.evaluate().await;
            settled = Instant::now() + SETTLE;
        }
    }
}

/// State of a running [`Watcher`].
struct Watch {
    shared: Arc<Shared>,
    aggregator: AggregatorHandle,
    engine: Engine,
    /// Version and time of the channel that each rule was evaluated with.
    shown: HashMap<String, (u64, Timestamp)>,
    /// Samples that are not written yet, and for each rule the time before which they can be deleted.
    samples: Vec<Sample>,
    forget: Vec<(String, Timestamp)>,
    /// Total time for which this process was paused, as of the last evaluation.
    paused: Duration,
    /// Whether this process decides.
    decides: bool,
    claim_at: Instant,
    /// Whether there are open alerts of deleted rules.
    orphans: bool,
    /// Whether the store failed, so that its data have to be read again.
    doubtful: bool,
    /// Time before which the store is not used again after a failure.
    retry_at: Instant,
    flush_at: Instant,
    prune_at: Instant,
    reload_at: Instant,
}

impl Watch {
    fn new(shared: Arc<Shared>, aggregator: AggregatorHandle) -> Self {
        let engine = Engine::new(shared.alerting.targets.clone());
        let now = Instant::now();
        let decides = !aggregator.is_clustered() || !shared.store().is_shared();
        Self {
            shared,
            aggregator,
            engine,
            shown: HashMap::new(),
            samples: Vec::new(),
            forget: Vec::new(),
            paused: pause::total(),
            decides,
            claim_at: now,
            orphans: false,
            doubtful: false,
            retry_at: now,
            flush_at: now + FLUSH,
            prune_at: now,
            reload_at: now + RELOAD,
        }
    }

    /// Returns whether nothing happens until a rule is created.
    fn is_idle(&self) -> bool {
        self.engine.len() == 0 && !self.doubtful && !self.shared.store().is_shared()
    }

    /// Loads the rules and open alerts, however long it takes.
    async fn load_all(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut retry = Retry::loading("the alert rules", &*shared.tenant);
        while let Err(error) = self.load(true).await {
            retry.after(&error).await;
        }
    }

    /// Loads the rules and open alerts; with `first` also the samples of an earlier process.
    async fn load(&mut self, first: bool) -> Result<(), AlertError> {
        let (store, tenant) = (self.shared.store(), &*self.shared.tenant);
        let data = in_time(DEADLINE, store.engine_data(tenant)).await?;
        let samples = match data.rules.iter().any(|rule| rule.condition.required_age().is_some()) {
            true if first => in_time(DEADLINE, store.samples(tenant)).await?,
            _ => Vec::new(),
        };
        let now = self.shared.clock.now_ms();
        let gone: Vec<_> = self.engine.rules().map(|rule| rule.id.clone()).collect();
        for id in gone.iter().filter(|id| data.rules.iter().all(|rule| rule.id != **id)) {
            self.forget(id);
        }
        for rule in &data.rules {
            self.watch(rule.clone(), now);
            let open = data.open.iter().find(|alert| alert.rule_id == rule.id);
            self.engine.reconcile(&rule.id, open.cloned());
        }
        samples.iter().for_each(|sample| self.engine.add_sample(sample));
        let decides = self.decides;
        let is_orphan = |alert: &Alert| data.rules.iter().all(|rule| rule.id != alert.rule_id);
        self.orphans = data.open.iter().any(is_orphan);
        for alert in data.open.iter().filter(|alert| decides && is_orphan(alert)) {
            // The rule was deleted while another process raised the alert.
            let resolution = self.resolution(alert, now);
            if let Some(resolved) =
                confirmed(DEADLINE, self.shared.store().resolve(&self.shared.tenant, resolution)).await?
            {
                self.on_resolved(resolved);
            }
        }
        self.doubtful = false;
        let every = if self.aggregator.is_clustered() { RELOAD_OFTEN } else { RELOAD };
        self.reload_at = Instant::now() + every;
        Ok(())
    }

    fn watch(&mut self, rule: Rule, now: Timestamp) {
        self.shown.remove(&rule.id);
        if !self.engine.watch(rule.clone(), now) {
            self.samples.retain(|sample| sample.rule != rule.id);
        }
    }

    fn forget(&mut self, id: &str) {
        self.shown.remove(id);
        self.samples.retain(|sample| sample.rule != id);
        self.engine.forget(id);
    }

    /// Evaluates the rules with the newest values, and stores what follows.
    async fn evaluate(&mut self) {
        let now = self.shared.clock.now_ms();
        let paused = pause::total();
        if paused > self.paused {
            let length = SignedDuration::try_from(paused - self.paused).unwrap_or(SignedDuration::MAX);
            self.engine.skip_pause(length, now);
            self.paused = paused;
        }
        self.read_log();
        let (samples, forget) = self.engine.sample(now);
        self.samples.extend(samples);
        self.forget.extend(forget);
        self.engine.evaluate(now);
        self.shared.alerting.metrics.evaluations.inc();
        if Instant::now() >= self.retry_at && self.store_pending().await.is_err() {
            self.shared.alerting.metrics.store_failures.inc();
            self.retry_at = Instant::now() + RETRY;
        }
        self.shared.rules.set(self.engine.len() as i64);
        self.shared.open.set(self.engine.open() as i64);
    }

    /// Passes each rule its field, if it was written since the last evaluation.
    fn read_log(&mut self) {
        let mut parsed = HashMap::<Channel, Option<Value>>::new();
        let mut news = Vec::new();
        for rule in self.engine.rules() {
            let Some(state) = self.shared.log.state(&rule.channel, View::Full) else { continue };
            let shown = (state.offset, state.last_written());
            if self.shown.get(&rule.id) != Some(&shown) {
                let value = parsed.entry(rule.channel.clone()).or_insert_with(|| parse(&state));
                let found = value.as_ref().and_then(|value| field::find(value, &rule.field));
                // A restored value is no sign of life.
                let there = found.is_some() && !state.is_restored();
                news.push((rule.id.clone(), shown, there, found.and_then(Value::as_f64)));
            }
        }
        for (id, shown, there, value) in news {
            self.engine.observe(&id, there, value, shown.1);
            self.shown.insert(id, shown);
        }
    }

    /// Stores what the store does not have yet.
    async fn store_pending(&mut self) -> Result<(), AlertError> {
        if self.doubtful || (self.shared.store().is_shared() && Instant::now() >= self.reload_at) {
            self.load(false).await?;
        }
        if !self.may_decide().await? {
            self.engine.withdraw();
            return Ok(());
        }
        let decisions = self.engine.pending();
        if !decisions.is_empty() {
            self.store_decisions(decisions).await?;
        }
        if Instant::now() >= self.flush_at && !self.samples.is_empty() {
            let (samples, forget) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.forget));
            self.flush_at = Instant::now() + FLUSH;
            // Not repeated after a failure: the next samples are as good.
            in_time(DEADLINE, self.shared.store().keep_samples(&self.shared.tenant, samples, forget)).await?;
        }
        if Instant::now() >= self.prune_at {
            self.prune_at = Instant::now() + PRUNE;
            let config = &self.shared.alerting.config;
            let retention = SignedDuration::try_from(config.retention).unwrap_or(SignedDuration::MAX);
            let before = self.shared.clock.now_ms().saturating_sub(retention).unwrap_or(Timestamp::MIN);
            in_time(DEADLINE, self.shared.store().prune(&self.shared.tenant, before, config.max_kept)).await?;
        }
        Ok(())
    }

    /// Returns whether this process raises and resolves alerts.
    async fn may_decide(&mut self) -> Result<bool, AlertError> {
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

    async fn store_decisions(&mut self, decisions: Vec<Decision>) -> Result<(), AlertError> {
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

    fn on_resolved(&mut self, resolved: Resolved) {
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

    async fn carry_out(&mut self, command: Command) {
        // The caller may have stopped waiting.
        match command {
            Command::Create(new, reply) => drop(reply.send(self.create(new).await)),
            Command::Replace { id, new, if_match, reply } => {
                let result = self.replace(&id, new, if_match.as_ref()).await;
                drop(reply.send(result));
            }
            Command::Delete { id, if_match, reply } => {
                let result = self.delete(&id, if_match.as_ref()).await;
                drop(reply.send(result));
            }
            Command::Acknowledge { id, by, reply } => drop(reply.send(self.acknowledge(&id, &by).await)),
        }
    }

    async fn create(&mut self, new: NewRule) -> Result<Rule, AlertError> {
        let now = self.shared.clock.now_ms();
        let rule = new.build(now)?;
        let max = self.shared.alerting.config.max_rules;
        let kept = confirmed(DEADLINE, self.shared.store().insert_rule(&self.shared.tenant, rule.clone(), max)).await;
        self.doubt(&kept);
        kept?;
        self.watch(rule.clone(), now);
        Ok(rule)
    }

    async fn replace(&mut self, id: &str, new: NewRule, if_match: Option<&IfMatch>) -> Result<Rule, AlertError> {
        for _ in 0..ATTEMPTS {
            let now = self.shared.clock.now_ms();
            let before = in_time(DEADLINE, self.shared.store().rule(&self.shared.tenant, id)).await?;
            let rule = new.clone().replace(&before, if_match)?;
            if rule.version == before.version {
                return Ok(rule);
            }
            let reset = (!rule.watches_the_same(&before)).then(|| self.reset(id, now));
            let written = self.shared.store().replace_rule(&self.shared.tenant, rule.clone(), before.version(), reset);
            let written = confirmed(DEADLINE, written).await;
            self.doubt(&written);
            match written {
                // Another node stored a newer version first.
                Err(AlertError::Moved) => {}
                Err(error) => return Err(error),
                Ok(resolved) => {
                    resolved.into_iter().for_each(|resolved| self.on_resolved(resolved));
                    self.watch(rule.clone(), now);
                    return Ok(rule);
                }
            }
        }
        Err(ServiceError::Busy.into())
    }

    async fn delete(&mut self, id: &str, if_match: Option<&IfMatch>) -> Result<(), AlertError> {
        for _ in 0..ATTEMPTS {
            let rule = in_time(DEADLINE, self.shared.store().rule(&self.shared.tenant, id)).await?;
            if if_match.is_some_and(|if_match| !if_match.holds(rule.version())) {
                return Err(AlertError::Moved);
            }
            let reset = self.reset(id, self.shared.clock.now_ms());
            let deleted =
                confirmed(DEADLINE, self.shared.store().delete_rule(&self.shared.tenant, id, rule.version(), reset))
                    .await;
            self.doubt(&deleted);
            match deleted {
                Err(AlertError::Moved) => {}
                Err(error) => return Err(error),
                Ok(resolved) => {
                    resolved.into_iter().for_each(|resolved| self.on_resolved(resolved));
                    self.forget(id);
                    return Ok(());
                }
            }
        }
        Err(ServiceError::Busy.into())
    }

    async fn acknowledge(&mut self, id: &str, by: &str) -> Result<Acknowledged, AlertError> {
        let now = self.shared.clock.now_ms();
        let acknowledged =
            confirmed(DEADLINE, self.shared.store().acknowledge(&self.shared.tenant, id, by, now)).await?;
        if let Some(seq) = acknowledged.event {
            let alert = &acknowledged.alert;
            if self.engine.alert(&alert.rule_id).is_some_and(|open| open.id == alert.id) {
                self.engine.set_open(&alert.rule_id, Some(alert.clone()));
            }
            self.shared.relay.stored(seq);
        }
        Ok(acknowledged)
    }

    /// Has the store read again, because a change that failed may have been made.
    fn doubt<T>(&mut self, result: &Result<T, AlertError>) {
        self.doubtful |= match result {
            Err(AlertError::Store(error)) => !matches!(error, StoreError::Full | StoreError::ReadOnly),
            Err(AlertError::Service(_)) => true,
            _ => false,
        };
    }

    fn reset(&self, rule: &str, now: Timestamp) -> RuleReset {
        RuleReset(self.engine.alert(rule).map(|alert| self.resolution(alert, now)))
    }

    fn resolution(&self, alert: &Alert, at: Timestamp) -> Resolution {
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

enum Kept {
    Raised(Raised),
    Resolved(Option<Box<Resolved>>),
}

fn parse(state: &Publication) -> Option<Value> {
    serde_json::from_slice(&state.data).ok()
}

#[cfg(test)]
mod tests;
