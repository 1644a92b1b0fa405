//! Tests of the watcher: which process decides, when the store is read, and failures of the store. The store is in
//! memory, and the clock is tokio's, which is paused.

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{decisions::CLAIM, *};
use crate::{
    alerts::{
        Acknowledged, AlertConfig, AlertService, AlertStore, Alerting, Delivery, EngineData, Filter, NewRule, Outgoing,
        Query, Raised, Resolution, Resolved, RuleReset, Settlement, StoreFuture, Target, Waiting, alert::new_id,
    },
    relay::{self, EventStore, Pending, Relay},
    service::StoreError,
};
use tricast_core::{
    aggregator::Batches,
    clock::Clock,
    log::{Change, Log, LogConfig, LogWriter},
    version::Version,
};

/// Contents of the store, and the calls that it got.
#[derive(Default)]
struct Kept {
    is_shared: bool,
    fails: bool,
    /// Set: the store accepts rules without confirming them.
    is_silent: bool,
    /// Set: another process has claimed the tenant.
    is_claimed: bool,
    rules: Vec<Rule>,
    open: Vec<Alert>,
    samples: Vec<Sample>,
    raised: usize,
    resolved: usize,
    tries: usize,
    loads: usize,
    claims: Vec<Duration>,
    flushes: Vec<usize>,
    prunes: Vec<(Timestamp, usize)>,
    /// Bodies of the deliveries.
    sent: Vec<Value>,
    /// Number of queries for events to publish.
    publishes: usize,
}

impl Kept {
    fn resolve(&mut self, resolution: Resolution) -> Option<Resolved> {
        let place = self.open.iter().position(|alert| alert.id == resolution.alert)?;
        self.resolved += 1;
        let deliveries = self.send(resolution.outgoing);
        Some(Resolved { alert: self.open.remove(place), deliveries })
    }

    fn send(&mut self, outgoing: Outgoing) -> usize {
        let count = outgoing.deliveries.len();
        self.sent
            .extend(outgoing.deliveries.iter().map(|delivery| serde_json::from_str::<Value>(&delivery.body).unwrap()));
        count
    }
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Kept>>);

impl Fake {
    fn answer<T: Send + 'static>(&self, work: impl FnOnce(&mut Kept) -> T) -> StoreFuture<T> {
        let kept = &mut *self.0.lock();
        let answer = if kept.fails { Err(StoreError::Unavailable.into()) } else { Ok(work(kept)) };
        async { answer }.boxed()
    }
}

impl AlertStore for Fake {
    fn tenants(&self) -> StoreFuture<Vec<String>> {
        self.answer(|_| Vec::new())
    }
    fn rules(&self, _: &str) -> StoreFuture<Vec<Rule>> {
        self.answer(|kept| kept.rules.clone())
    }
    fn rule(&self, _: &str, id: &str) -> StoreFuture<Rule> {
        let found = self.0.lock().rules.iter().find(|rule| rule.id == id).cloned();
        async { found.ok_or(AlertError::NoRule) }.boxed()
    }
    fn insert_rule(&self, _: &str, rule: Rule, _: usize) -> StoreFuture<()> {
        let is_confirmed = !self.0.lock().is_silent;
        let answer = self.answer(|kept| kept.rules.push(rule));
        if is_confirmed { answer } else { async { Err(StoreError::Unknown.into()) }.boxed() }
    }
    fn replace_rule(&self, _: &str, rule: Rule, _: Version, reset: Option<RuleReset>) -> StoreFuture<Option<Resolved>> {
        self.answer(|kept| {
            kept.rules.retain(|known| known.id != rule.id);
            kept.rules.push(rule);
            reset.and_then(|reset| reset.0).and_then(|resolution| kept.resolve(resolution))
        })
    }
    fn delete_rule(&self, _: &str, id: &str, _: Version, reset: RuleReset) -> StoreFuture<Option<Resolved>> {
        self.answer(|kept| {
            kept.rules.retain(|known| known.id != id);
            reset.0.and_then(|resolution| kept.resolve(resolution))
        })
    }
    fn engine_data(&self, _: &str) -> StoreFuture<EngineData> {
        self.answer(|kept| {
            kept.loads += 1;
            EngineData { rules: kept.rules.clone(), open: kept.open.clone() }
        })
    }
    fn raise(&self, _: &str, alert: Alert, outgoing: Outgoing) -> StoreFuture<Raised> {
        self.0.lock().tries += 1;
        self.answer(|kept| {
            kept.raised += 1;
            kept.open.push(alert);
            Raised::New { deliveries: kept.send(outgoing) }
        })
    }
    fn resolve(&self, _: &str, resolution: Resolution) -> StoreFuture<Option<Resolved>> {
        self.answer(|kept| kept.resolve(resolution))
    }
    fn claim(&self, _: &str, lease: Duration) -> StoreFuture<bool> {
        self.answer(|kept| {
            kept.claims.push(lease);
            !kept.is_claimed
        })
    }
    fn alerts(&self, _: &str, query: Query) -> StoreFuture<Vec<Alert>> {
        self.answer(|kept| kept.open.iter().take(query.limit).cloned().collect())
    }
    fn alert(&self, _: &str, _: &str) -> StoreFuture<Alert> {
        async { Err(AlertError::NotFound) }.boxed()
    }
    fn acknowledge(&self, _: &str, id: &str, by: &str, at: Timestamp) -> StoreFuture<Acknowledged> {
        self.answer(|kept| {
            let alert = kept.open.iter_mut().find(|alert| alert.id == id).unwrap();
            (alert.acknowledged_by, alert.acknowledged_at) = (Some(by.into()), Some(at));
            Acknowledged { alert: alert.clone(), event: Some(1) }
        })
    }
    fn keep_samples(&self, _: &str, samples: Vec<Sample>, _: Vec<(String, Timestamp)>) -> StoreFuture<()> {
        self.answer(|kept| {
            kept.flushes.push(samples.len());
            kept.samples.extend(samples);
        })
    }
    fn samples(&self, _: &str) -> StoreFuture<Vec<Sample>> {
        self.answer(|kept| kept.samples.clone())
    }
    fn prune(&self, _: &str, before: Timestamp, most: usize) -> StoreFuture<u64> {
        self.answer(|kept| {
            kept.prunes.push((before, most));
            0
        })
    }
    fn take(&self, _: Target, _: Timestamp, _: Timestamp, _: usize) -> StoreFuture<Vec<Delivery>> {
        self.answer(|_| Vec::new())
    }
    fn settle(&self, _: &str, _: u32, _: Settlement) -> StoreFuture<bool> {
        self.answer(|_| true)
    }
    fn waiting(&self) -> StoreFuture<Vec<Waiting>> {
        self.answer(|_| Vec::new())
    }
    fn is_shared(&self) -> bool {
        self.0.lock().is_shared
    }
}

impl EventStore for Fake {
    fn pending(&self, _: &str, _: u64, _: usize) -> relay::StoreFuture<Pending> {
        self.0.lock().publishes += 1;
        async { Ok(Pending::default()) }.boxed()
    }
    fn count(&self, _: &str, _: u64) -> relay::StoreFuture<u64> {
        async { Ok(0) }.boxed()
    }
    fn remove(&self, _: &str, _: u64) -> relay::StoreFuture<()> {
        async { Ok(()) }.boxed()
    }
    fn overdue(&self, _: Duration) -> relay::StoreFuture<Vec<String>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// Process with the alerts of one tenant.
struct Bench {
    kept: Arc<Mutex<Kept>>,
    writer: LogWriter,
    clock: Clock,
    leads: watch::Sender<bool>,
    // The task runs as long as the handle exists.
    service: AlertService,
    /// Changes when there are new deliveries.
    outgoing: watch::Receiver<()>,
    // No aggregator processes the batches.
    _batches: Batches,
}

fn start_time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

impl Bench {
    fn new(is_clustered: bool, leads: bool, kept: Kept) -> Self {
        let start = Instant::now();
        let clock = Clock::from_fn(move || start_time() + SignedDuration::try_from(start.elapsed()).unwrap());
        let fake = Fake(Arc::new(Mutex::new(kept)));
        let (writer, log) = Log::create(LogConfig::default());
        let leads = watch::Sender::new(leads);
        let patience = is_clustered.then_some(Duration::from_secs(5));
        let (handle, batches) = AggregatorHandle::new(patience, leads.subscribe());
        let alerting = Alerting {
            store: Arc::new(fake.clone()),
            config: AlertConfig::default(),
            targets: vec![Target::Webhook],
            metrics: Arc::default(),
            outgoing: watch::Sender::default(),
        };
        let outgoing = alerting.outgoing.subscribe();
        let (relay, publishing) = Relay::new("shop", Arc::new(fake.clone()), handle.clone(), 0);
        tokio::spawn(publishing.run());
        let (service, watcher) = AlertService::new("shop", alerting, log, relay, clock.clone());
        tokio::spawn(watcher.run(handle));
        Self { kept: fake.0, writer, clock, leads, service, outgoing, _batches: batches }
    }

    fn publish(&mut self, value: f64) {
        let channel = Channel::parse("metrics.a").unwrap();
        let change = Change::state(channel, json!({"x": value}).to_string().into());
        self.writer.append(vec![change], self.clock.now());
    }

    /// Returns the numbers of raised and of resolved alerts.
    fn counts(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.raised, kept.resolved)
    }
}

fn new_rule(condition: &Value, severity: &str) -> NewRule {
    let rule = json!({"id": "r", "name": "R", "channel": "metrics.a", "field": "x", "condition": condition, "severity": severity});
    serde_json::from_value(rule).unwrap()
}

fn rule(condition: &Value) -> Rule {
    new_rule(condition, "info").build(start_time()).unwrap()
}

/// Returns a store with one rule.
fn store(condition: &Value) -> Kept {
    Kept { rules: vec![rule(condition)], ..Kept::default() }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_leader_with_the_claim_decides() {
    let mut bench = Bench::new(true, false, Kept { is_shared: true, ..store(&json!({"above": 1})) });
    bench.publish(2.0);
    seconds(10).await;
    assert_eq!((bench.counts(), bench.kept.lock().claims.len()), ((0, 0), 0), "it does not lead");

    bench.kept.lock().is_claimed = true;
    bench.leads.send_replace(true);
    seconds(10).await;
    assert_eq!(bench.counts(), (0, 0), "another process has the claim");
    bench.kept.lock().is_claimed = false;
    seconds(4).await;
    assert_eq!(bench.counts(), (1, 0));
    bench.kept.lock().claims.clear();
    seconds(20).await;
    let claims = std::mem::take(&mut bench.kept.lock().claims);
    assert!((9..=11).contains(&claims.len()) && claims.iter().all(|lease| *lease == CLAIM.0), "{claims:?}");

    // Another process claims the tenant and decides.
    bench.kept.lock().is_claimed = true;
    seconds(4).await;
    bench.publish(0.0);
    seconds(10).await;
    assert_eq!(bench.counts(), (1, 0));
    bench.kept.lock().is_claimed = false;
    seconds(4).await;
    assert_eq!(bench.counts(), (1, 1), "pending changes are made when it decides again");

    bench.kept.lock().claims.clear();
    bench.leads.send_replace(false);
    seconds(10).await;
    assert_eq!(bench.kept.lock().claims, [Duration::ZERO], "the next process need not wait");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_to_decide_knows_the_open_alerts() {
    let mut bench = Bench::new(true, false, Kept { is_shared: true, ..store(&json!({"above": 1})) });
    let mut other = Bench::new(false, true, store(&json!({"above": 1})));
    bench.publish(2.0);
    other.publish(2.0);
    seconds(2).await;
    // The other process raised it a moment ago, and stopped.
    bench.kept.lock().open = other.kept.lock().open.clone();
    bench.leads.send_replace(true);
    seconds(10).await;
    assert_eq!((bench.counts(), bench.kept.lock().open.len()), ((0, 0), 1), "not twice");
    bench.publish(0.0);
    seconds(2).await;
    assert_eq!((bench.counts(), bench.kept.lock().open.len()), ((0, 1), 0));
}

#[tokio::test(start_paused = true)]
async fn rules_of_other_processes_are_loaded_within_seconds() {
    for (is_clustered, within) in [(true, 5), (false, 17)] {
        let mut bench = Bench::new(is_clustered, true, Kept { is_shared: true, ..Kept::default() });
        bench.publish(2.0);
        seconds(60).await;
        let loads = bench.kept.lock().loads;
        assert!((60 / within as usize - 1..=22).contains(&loads), "{loads} times in a minute");
        bench.kept.lock().rules.push(rule(&json!({"above": 1})));
        seconds(within).await;
        assert_eq!(bench.counts(), (1, 0));
        bench.kept.lock().rules.clear();
        seconds(within).await;
        assert_eq!(bench.counts(), (1, 1), "the alert of a deleted rule is resolved");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unshared_store_is_read_at_the_start_only() {
    let bench = Bench::new(false, true, store(&json!({"above": 1})));
    seconds(120).await;
    let kept = bench.kept.lock();
    assert_eq!((kept.loads, kept.claims.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_cannot_be_stored_is_retried_every_second() {
    let mut bench = Bench::new(false, true, store(&json!({"above": 1})));
    seconds(1).await;
    bench.kept.lock().fails = true;
    bench.publish(2.0);
    seconds(20).await;
    let tries = bench.kept.lock().tries;
    assert!((10..=21).contains(&tries), "{tries} in 20 s");
    bench.kept.lock().fails = false;
    seconds(2).await;
    assert_eq!(bench.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn loading_from_a_failing_store_is_retried() {
    let mut bench = Bench::new(false, true, Kept { fails: true, ..store(&json!({"above": 1})) });
    bench.publish(2.0);
    seconds(30).await;
    bench.kept.lock().fails = false;
    seconds(60).await;
    assert_eq!(bench.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn samples_are_written_every_ten_seconds_and_read_by_the_next_process() {
    let drop = json!({"dropsBelowRatio": 0.5, "comparedTo": "1m"});
    let mut bench = Bench::new(false, true, store(&drop));
    for _ in 0..35 {
        bench.publish(100.0);
        seconds(1).await;
    }
    let (flushes, samples) = {
        let kept = bench.kept.lock();
        (kept.flushes.clone(), kept.samples.clone())
    };
    assert!(flushes.len() == 3 && flushes.iter().all(|count| (9..=12).contains(count)), "{flushes:?}");
    // The next process begins a minute after the first sample, by the same clock.
    let samples = samples.into_iter().map(|sample| Sample { at: sample.at - SignedDuration::from_secs(60), ..sample });
    let mut next = Bench::new(false, true, Kept { samples: samples.collect(), ..store(&drop) });
    seconds(1).await;
    next.publish(49.0);
    seconds(2).await;
    assert_eq!(next.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn old_alerts_are_deleted_at_the_start_and_every_hour() {
    let bench = Bench::new(false, true, store(&json!({"above": 1})));
    seconds(2 * 3_600 + 60).await;
    let prunes = bench.kept.lock().prunes.clone();
    assert_eq!(prunes.len(), 3);
    let AlertConfig { retention, max_kept, .. } = AlertConfig::default();
    let retention = SignedDuration::try_from(retention.0).unwrap();
    assert!(
        prunes[0].0.duration_since(start_time() - retention) <= SignedDuration::from_secs(1) && prunes[0].1 == max_kept
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_an_alert_are_sent_and_published_at_once() {
    let mut bench = Bench::new(false, true, Kept::default());
    seconds(1).await;
    bench.service.create(new_rule(&json!({"above": 1}), "critical")).await.unwrap();
    for (value, sizes, event) in [(2.0, (1, 1), "alert_raised"), (0.0, (1, 0), "alert_resolved")] {
        bench.outgoing.mark_unchanged();
        let published = bench.kept.lock().publishes;
        bench.publish(value);
        seconds(1).await;
        assert_eq!(bench.service.sizes(), sizes, "rules and open alerts");
        let kept = bench.kept.lock();
        let sent = kept.sent.last().unwrap();
        assert_eq!((&sent["event"], &sent["rule"]), (&json!(event), &json!({"id": "r", "name": "R"})));
        assert_eq!(sent["alert"]["resolvedAt"].is_string(), event == "alert_resolved");
        assert!(bench.outgoing.has_changed().unwrap() && kept.publishes > published, "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_alert_stays_acknowledged_when_it_is_resolved() {
    let mut bench = Bench::new(
        false,
        true,
        Kept {
            rules: vec![new_rule(&json!({"above": 1}), "critical").build(start_time()).unwrap()],
            ..Kept::default()
        },
    );
    bench.publish(2.0);
    seconds(1).await;
    let id = bench.kept.lock().open[0].id.clone();
    bench.service.acknowledge(&id, "ada").await.unwrap();
    bench.publish(0.0);
    seconds(1).await;
    let last = bench.kept.lock().sent.pop().unwrap();
    assert_eq!((&last["event"], &last["alert"]["acknowledgedBy"]), (&json!("alert_resolved"), &json!("ada")));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_rule_is_watched_and_a_deleted_one_is_not() {
    let mut bench = Bench::new(false, true, store(&json!({"above": 1})));
    bench.publish(2.0);
    seconds(1).await;
    bench.service.replace("r", new_rule(&json!({"above": 5}), "info"), None).await.unwrap();
    seconds(5).await;
    assert_eq!((bench.counts(), bench.service.sizes()), ((1, 1), (1, 0)), "2 is not above 5");
    bench.publish(6.0);
    seconds(1).await;
    assert_eq!((bench.counts(), bench.service.sizes()), ((2, 1), (1, 1)));
    bench.service.delete("r", None).await.unwrap();
    seconds(5).await;
    assert_eq!((bench.counts(), bench.service.sizes()), ((2, 2), (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_was_stored_without_a_confirmation_is_watched() {
    let mut bench = Bench::new(false, true, Kept { is_silent: true, ..Kept::default() });
    bench.publish(2.0);
    seconds(1).await;
    let created = bench.service.create(new_rule(&json!({"above": 1}), "info")).await;
    assert!(created.is_err());
    seconds(5).await;
    assert_eq!(bench.counts(), (1, 0), "it was stored");
}

#[tokio::test(start_paused = true)]
async fn a_page_has_a_next_one_only_if_there_are_more_alerts() {
    let mut bench = Bench::new(false, true, store(&json!({"above": 1})));
    bench.publish(2.0);
    seconds(1).await;
    {
        let open = &mut bench.kept.lock().open;
        let raised = open[0].clone();
        open.extend(
            (1..3)
                .map(|second| Alert { id: new_id(start_time() + SignedDuration::from_secs(second)), ..raised.clone() }),
        );
    }
    let ids: Vec<_> = bench.kept.lock().open.iter().map(|alert| alert.id.clone()).collect();
    for (limit, count, next) in [(2, 2, Some(&ids[1])), (3, 3, None), (4, 3, None)] {
        let page = bench.service.list(Filter::default(), limit, Some(ids[2].clone())).await.unwrap();
        assert_eq!((page.alerts.len(), page.next.as_ref()), (count, next), "{limit}");
    }
    let refused = bench.service.list(Filter::default(), 2, Some("r".into())).await;
    assert!(matches!(refused, Err(AlertError::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn alerts_are_unused_without_a_rule() {
    let unused = Bench::new(false, true, Kept::default());
    assert!(!unused.service.is_unused(), "it is not loaded yet");
    let used = Bench::new(false, true, store(&json!({"above": 1})));
    seconds(1).await;
    assert!(unused.service.is_unused() && !used.service.is_unused());
    assert_eq!(used.service.rules().await.unwrap().len(), 1);
}
