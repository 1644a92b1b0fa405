//! Task of a tenant's alerts: reads the log, runs the engine, and stores its decisions.
//!
//! Each decision is stored with its event of the channel `alerts`, which the relay publishes. In a cluster the leader
//! decides, once it has claimed that in the store as well: two halves of a cluster whose bus is split each have a
//! leader and values of their own, but share one store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    Alert, AlertError, Rule, Sample,
    command::{Command, DEADLINE, Shared},
    engine::Engine,
    field,
};
use crate::service::{Retry, confirmed, in_time};
use tricast_core::{aggregator::AggregatorHandle, channel::Channel, pause, publication::Publication, snapshot::View};

mod commands;
mod decisions;

/// Interval of evaluations: `for`, absences and comparisons depend on the time.
const TICK: Duration = Duration::from_secs(1);

/// Shortest time between two reads of a log that changes all the time. A reader of states gets the newest ones.
const SETTLE: Duration = Duration::from_millis(50);

/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(1);

/// Interval at which samples are written.
const FLUSH: Duration = Duration::from_secs(10);

/// Interval at which old alerts are deleted.
const PRUNE: Duration = Duration::from_secs(3_600);

/// Interval at which a shared store is read for changes of other processes.
const RELOAD: Duration = Duration::from_secs(15);

/// Interval of the same in a cluster: the leader should know of rules that other nodes created.
const RELOAD_OFTEN: Duration = Duration::from_secs(3);

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
            let retention = SignedDuration::try_from(config.retention.0).unwrap_or(SignedDuration::MAX);
            let before = self.shared.clock.now_ms().saturating_sub(retention).unwrap_or(Timestamp::MIN);
            in_time(DEADLINE, self.shared.store().prune(&self.shared.tenant, before, config.max_kept)).await?;
        }
        Ok(())
    }
}

fn parse(state: &Publication) -> Option<Value> {
    serde_json::from_slice(&state.data).ok()
}

#[cfg(test)]
mod tests;
