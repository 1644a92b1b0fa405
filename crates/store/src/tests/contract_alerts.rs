//! Contract of [`AlertStore`]: the behaviour that all stores share.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{SHOP, Stores};
use tricast_core::version::Version;
use tricast_domain::alerts::{
    Acknowledged, Alert, AlertError, AlertStore, EngineData, NewDelivery, NewRule, Outgoing, Query, Raised, Resolution,
    Resolved, Rule, RuleReset, Sample, Settlement, Severity, Target, Waiting,
};

/// Returns the time this many seconds after the start.
fn at(seconds: i64) -> Timestamp {
    "2026-06-01T12:00:30.250Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn rule(id: &str) -> Rule {
    let rule = json!({
        "id": id, "name": format!("Löwe {id}"), "channel": "metrics.a", "field": "x", "for": "1m",
        "condition": {"above": 90.5, "clear": 80.25}, "severity": "critical", "message": "Too much 🔥", "notify": ["email"],
    });
    serde_json::from_value::<NewRule>(rule).unwrap().build(at(0)).unwrap()
}

fn id(n: u64) -> String {
    format!("alt-{n:020x}")
}

fn alert(n: u64, rule: &str) -> Alert {
    Alert {
        id: id(n),
        rule_id: rule.into(),
        severity: Severity::Critical,
        metric: "metrics.a.x".into(),
        message: "Too much 🔥".into(),
        value: Some(0.1 + 0.2),
        threshold: 1e300,
        raised_at: at(n as i64),
        resolved_at: None,
        acknowledged_by: None,
        acknowledged_at: None,
        targets: vec![Target::Email, Target::Webhook],
    }
}

fn delivery(id: &str, target: Target, alert: u64, seconds: i64) -> NewDelivery {
    NewDelivery { id: id.into(), target, alert: self::id(alert), body: r#"{"x": "Löwe"}"#.into(), at: at(seconds) }
}

fn none() -> Outgoing {
    Outgoing { deliveries: Vec::new(), room: 100 }
}

fn with(deliveries: Vec<NewDelivery>) -> Outgoing {
    Outgoing { deliveries, room: 100 }
}

fn end(n: u64, seconds: i64) -> Resolution {
    Resolution { alert: id(n), at: at(seconds), outgoing: none() }
}

fn resolved(n: u64, rule: &str, seconds: i64) -> Alert {
    Alert { resolved_at: Some(at(seconds)), ..alert(n, rule) }
}

/// Returns a store whose tenant has the rules `a` and `b`.
async fn with_rules(stores: Stores) -> (Arc<dyn AlertStore>, Box<dyn std::any::Any + Send>) {
    for id in ["a", "b"] {
        stores.alerts.insert_rule(SHOP, rule(id), 9).await.unwrap();
    }
    (stores.alerts, stores._guard)
}

async fn all(store: &Arc<dyn AlertStore>, query: Query) -> Vec<String> {
    let limit = if query.limit == 0 { 100 } else { query.limit };
    let alerts = store.alerts(SHOP, Query { limit, ..query }).await.unwrap();
    alerts.into_iter().map(|alert| alert.id).collect()
}

pub(crate) async fn rules_are_created_changed_and_deleted(stores: Stores) {
    let store = stores.alerts;
    assert_eq!(store.rules(SHOP).await, Ok(vec![]));
    assert_eq!(store.rule(SHOP, "a").await, Err(AlertError::NoRule));
    let (a, mut b) = (rule("a"), rule("b"));
    store.insert_rule(SHOP, b.clone(), 2).await.unwrap();
    assert_eq!(store.insert_rule(SHOP, rule("b"), 2).await, Err(AlertError::Taken("b".into())));
    store.insert_rule(SHOP, a.clone(), 2).await.unwrap();
    assert_eq!(store.insert_rule(SHOP, rule("b"), 2).await, Err(AlertError::Taken("b".into())));
    assert_eq!(store.insert_rule(SHOP, rule("c"), 2).await, Err(AlertError::TooMany(2)));
    assert_eq!(store.rules(SHOP).await, Ok(vec![a.clone(), b.clone()]), "by id");
    assert_eq!(store.rule(SHOP, "a").await, Ok(a.clone()));
    let seen = b.version();
    (b.version, b.name, b.message, b.notify) = (2, "Other".into(), None, None);
    assert_eq!(store.replace_rule(SHOP, b.clone(), seen, None).await, Ok(None));
    assert_eq!(store.rule(SHOP, "b").await, Ok(b.clone()));
    assert_eq!(store.replace_rule(SHOP, b.clone(), seen, None).await, Err(AlertError::Moved), "the version is 2");
    assert_eq!(store.replace_rule(SHOP, rule("z"), seen, None).await, Err(AlertError::Moved), "the rule never existed");
    let other = Version { made: at(1), ..b.version() };
    assert_eq!(store.replace_rule(SHOP, b.clone(), other, None).await, Err(AlertError::Moved), "another b");
    assert_eq!(store.delete_rule(SHOP, "b", seen, RuleReset::default()).await, Err(AlertError::Moved));
    assert_eq!(store.delete_rule(SHOP, "b", b.version(), RuleReset::default()).await, Ok(None));
    assert_eq!(store.delete_rule(SHOP, "b", b.version(), RuleReset::default()).await, Err(AlertError::Moved));
    assert_eq!(store.rules(SHOP).await, Ok(vec![a]));
}

pub(crate) async fn an_alert_is_raised_once_and_resolved_once(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    assert_eq!(store.raise(SHOP, alert(1, "a"), none()).await, Ok(Raised::New { deliveries: 0 }));
    let open = Raised::Open(Box::new(alert(1, "a")));
    assert_eq!(store.raise(SHOP, alert(2, "a"), with(vec![delivery("d", Target::Email, 2, 2)])).await, Ok(open));
    assert_eq!(store.alert(SHOP, &id(2)).await, Err(AlertError::NotFound));
    assert_eq!(store.waiting().await, Ok(vec![]), "and no delivery is stored");
    assert_eq!(store.raise(SHOP, alert(3, "b"), none()).await, Ok(Raised::New { deliveries: 0 }), "another rule's");
    assert_eq!(store.raise(SHOP, alert(4, "gone"), none()).await, Err(AlertError::NoRule));
    let ended = Resolved { alert: resolved(1, "a", 60), deliveries: 0 };
    assert_eq!(store.resolve(SHOP, end(1, 60)).await, Ok(Some(ended)));
    assert_eq!(store.resolve(SHOP, end(1, 61)).await, Ok(None));
    assert_eq!(store.resolve(SHOP, end(77, 61)).await, Ok(None));
    assert_eq!(store.alert(SHOP, &id(1)).await, Ok(resolved(1, "a", 60)), "to the last digit");
    assert_eq!(store.raise(SHOP, alert(5, "a"), none()).await, Ok(Raised::New { deliveries: 0 }), "again");
    let absent = Alert { value: None, targets: vec![], ..alert(6, "b") };
    store.resolve(SHOP, end(3, 61)).await.unwrap();
    store.raise(SHOP, absent.clone(), none()).await.unwrap();
    assert_eq!(store.alert(SHOP, &id(6)).await, Ok(absent));
}

pub(crate) async fn an_engine_continues_where_another_ended(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    let engine_data = |open: Vec<Alert>| Ok(EngineData { rules: vec![rule("a"), rule("b")], open });
    assert_eq!(store.engine_data(SHOP).await, engine_data(vec![]));
    store.raise(SHOP, alert(1, "a"), none()).await.unwrap();
    store.raise(SHOP, alert(2, "b"), none()).await.unwrap();
    assert_eq!(store.engine_data(SHOP).await, engine_data(vec![alert(1, "a"), alert(2, "b")]));
    store.resolve(SHOP, end(1, 60)).await.unwrap();
    assert_eq!(store.engine_data(SHOP).await, engine_data(vec![alert(2, "b")]));
    assert_eq!(store.engine_data("other").await, Ok(EngineData::default()));
}

pub(crate) async fn a_rule_reset_resolves_its_alert(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    let sample = |rule: &str| Sample { rule: rule.into(), at: at(0), value: 1.0 };
    store.keep_samples(SHOP, vec![sample("a"), sample("b")], vec![]).await.unwrap();
    store.raise(SHOP, alert(1, "a"), none()).await.unwrap();
    let mut a = rule("a");
    a.version = 2;
    assert_eq!(store.replace_rule(SHOP, a.clone(), rule("a").version(), None).await, Ok(None), "it stands");
    assert_eq!(store.alert(SHOP, &id(1)).await, Ok(alert(1, "a")));
    let seen = a.version();
    a.version = 3;
    let outgoing = with(vec![delivery("d", Target::Email, 1, 60)]);
    let reset = RuleReset(Some(Resolution { outgoing, ..end(1, 60) }));
    let moved = store.replace_rule(SHOP, a.clone(), rule("a").version(), Some(reset.clone())).await;
    assert_eq!((moved, store.waiting().await), (Err(AlertError::Moved), Ok(vec![])), "no part of the change is stored");
    let ended = Resolved { alert: resolved(1, "a", 60), deliveries: 1 };
    assert_eq!(store.replace_rule(SHOP, a.clone(), seen, Some(reset.clone())).await, Ok(Some(ended)));
    assert_eq!(store.samples(SHOP).await, Ok(vec![sample("b")]));
    let seen = a.version();
    a.version = 4;
    assert_eq!(store.replace_rule(SHOP, a, seen, Some(reset)).await, Ok(None), "the alert was already resolved");
    store.raise(SHOP, alert(2, "b"), none()).await.unwrap();
    let ended = Resolved { alert: resolved(2, "b", 70), deliveries: 0 };
    let gone = store.delete_rule(SHOP, "b", rule("b").version(), RuleReset(Some(end(2, 70)))).await;
    assert_eq!(gone, Ok(Some(ended)));
    assert_eq!(store.alert(SHOP, &id(2)).await, Ok(resolved(2, "b", 70)), "the alert stays");
    assert_eq!(store.samples(SHOP).await, Ok(vec![]));
}

pub(crate) async fn alerts_are_listed_newest_first(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    for n in 1..=9 {
        let rule = if n % 3 == 0 { "b" } else { "a" };
        let severity = if n % 2 == 0 { Severity::Info } else { Severity::Critical };
        store.raise(SHOP, Alert { severity, ..alert(n, rule) }, none()).await.unwrap();
        if n < 8 {
            store.resolve(SHOP, end(n, 100)).await.unwrap();
        }
    }
    let ids = |of: &[u64]| of.iter().map(|n| id(*n)).collect::<Vec<_>>();
    let query = Query::default;
    assert_eq!(all(&store, query()).await, ids(&[9, 8, 7, 6, 5, 4, 3, 2, 1]));
    assert_eq!(all(&store, Query { limit: 2, ..query() }).await, ids(&[9, 8]));
    assert_eq!(all(&store, Query { limit: 2, before: Some(id(8)), ..query() }).await, ids(&[7, 6]));
    assert_eq!(all(&store, Query { before: Some(id(1)), ..query() }).await, ids(&[]));
    assert_eq!(all(&store, Query { open: Some(true), ..query() }).await, ids(&[9, 8]));
    assert_eq!(all(&store, Query { open: Some(false), limit: 2, ..query() }).await, ids(&[7, 6]));
    assert_eq!(all(&store, Query { rule: Some("b".into()), ..query() }).await, ids(&[9, 6, 3]));
    assert_eq!(all(&store, Query { severity: Some(Severity::Info), ..query() }).await, ids(&[8, 6, 4, 2]));
    let narrow = Query {
        open: Some(false),
        severity: Some(Severity::Info),
        rule: Some("a".into()),
        before: Some(id(4)),
        ..query()
    };
    assert_eq!(all(&store, narrow).await, ids(&[2]));
    assert_eq!(all(&store, Query { rule: Some("' OR 1=1 --".into()), ..query() }).await, ids(&[]));
}

pub(crate) async fn only_the_first_acknowledgement_counts(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    store.raise(SHOP, alert(1, "a"), none()).await.unwrap();
    let by_ada = Alert { acknowledged_by: Some("ada".into()), acknowledged_at: Some(at(5)), ..alert(1, "a") };
    let Acknowledged { alert: first, event } = store.acknowledge(SHOP, &id(1), "ada", at(5)).await.unwrap();
    assert!(first == by_ada && event.is_some());
    let late = Ok(Acknowledged { alert: by_ada.clone(), event: None });
    assert_eq!(store.acknowledge(SHOP, &id(1), "ada", at(6)).await, late);
    assert_eq!(store.acknowledge(SHOP, &id(1), "eve", at(7)).await, late);
    assert_eq!(store.acknowledge(SHOP, &id(2), "ada", at(5)).await, Err(AlertError::NotFound));
    store.resolve(SHOP, end(1, 60)).await.unwrap();
    let ended = Alert { resolved_at: Some(at(60)), ..by_ada.clone() };
    assert_eq!(store.alert(SHOP, &id(1)).await, Ok(ended));
    store.raise(SHOP, alert(3, "a"), none()).await.unwrap();
    store.resolve(SHOP, end(3, 61)).await.unwrap();
    assert!(
        store.acknowledge(SHOP, &id(3), "eve", at(62)).await.unwrap().event.is_some(),
        "also after it was resolved"
    );
}

pub(crate) async fn samples_are_kept_and_deleted_by_rule(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    let sample = |rule: &str, seconds, value| Sample { rule: rule.into(), at: at(seconds), value };
    let (a, b) = ([sample("a", 1, 0.1 + 0.2), sample("a", 2, -2.0)], [sample("b", 1, 5e-324)]);
    store.keep_samples(SHOP, [b[0].clone(), a[1].clone(), a[0].clone()].into(), vec![]).await.unwrap();
    assert_eq!(store.samples(SHOP).await, Ok(vec![a[0].clone(), a[1].clone(), b[0].clone()]));
    let again = sample("a", 2, 7.0);
    store.keep_samples(SHOP, vec![again.clone()], vec![("a".into(), at(2)), ("gone".into(), at(9))]).await.unwrap();
    assert_eq!(store.samples(SHOP).await, Ok(vec![again, b[0].clone()]));
    assert_eq!(store.samples("other").await, Ok(vec![]));
}

pub(crate) async fn old_alerts_are_deleted(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    for n in 1..=5 {
        store.raise(SHOP, alert(n, "a"), none()).await.unwrap();
        store.resolve(SHOP, end(n, n as i64)).await.unwrap();
    }
    store.raise(SHOP, alert(6, "a"), none()).await.unwrap();
    store.raise(SHOP, alert(7, "b"), none()).await.unwrap();
    assert_eq!(store.prune(SHOP, at(3), 100).await, Ok(2));
    let ids = |of: &[u64]| of.iter().map(|n| id(*n)).collect::<Vec<_>>();
    assert_eq!(all(&store, Query::default()).await, ids(&[7, 6, 5, 4, 3]), "3 ended at that time");
    assert_eq!(store.prune(SHOP, at(0), 2).await, Ok(1));
    assert_eq!(all(&store, Query::default()).await, ids(&[7, 6, 5, 4]), "open alerts are not deleted");
    assert_eq!(store.prune("other", at(9), 0).await, Ok(0));
}

/// Each change of an alert stores an event; a call that changes nothing stores none.
pub(crate) async fn each_change_of_an_alert_is_an_event(stores: Stores) {
    let events = stores.events.clone();
    let (store, _guard) = with_rules(stores).await;
    store.raise(SHOP, alert(1, "a"), none()).await.unwrap();
    store.raise(SHOP, alert(2, "a"), none()).await.unwrap();
    let seq = store.acknowledge(SHOP, &id(1), "ada", at(5)).await.unwrap().event;
    assert_eq!(store.acknowledge(SHOP, &id(1), "eve", at(6)).await.unwrap().event, None);
    store.resolve(SHOP, end(1, 60)).await.unwrap();
    store.resolve(SHOP, end(1, 61)).await.unwrap();
    store.raise(SHOP, alert(3, "b"), none()).await.unwrap();
    store.delete_rule(SHOP, "b", rule("b").version(), RuleReset(Some(end(3, 70)))).await.unwrap();
    let pending = events.pending(SHOP, 0, 99).await.unwrap().events;
    let events: Vec<_> = pending.iter().map(|event| (&*event.channel, &*event.event)).collect();
    let [raised, acknowledged, resolved] =
        ["alert_raised", "alert_acknowledged", "alert_resolved"].map(|name| ("alerts", name));
    assert_eq!(events, [raised, acknowledged, resolved, raised, resolved]);
    assert_eq!(Some(pending[1].seq), seq);
    let data = |index: usize| serde_json::from_str::<serde_json::Value>(&pending[index].data).unwrap();
    assert_eq!(data(0), json!(alert(1, "a")));
    assert_eq!(data(2), json!(store.alert(SHOP, &id(1)).await.unwrap()), "with the user who acknowledged it");
}

pub(crate) async fn deliveries_are_stored_with_their_alert(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    let both = vec![delivery("e1", Target::Email, 1, 0), delivery("w1", Target::Webhook, 1, 0)];
    assert_eq!(store.raise(SHOP, alert(1, "a"), with(both)).await, Ok(Raised::New { deliveries: 2 }));
    let end = Resolution { outgoing: with(vec![delivery("w2", Target::Webhook, 1, 5)]), ..end(1, 5) };
    assert_eq!(store.resolve(SHOP, end.clone()).await.unwrap().unwrap().deliveries, 1);
    assert_eq!(store.resolve(SHOP, end).await, Ok(None));
    let mut waiting = store.waiting().await.unwrap();
    waiting.sort_by_key(|waiting| waiting.target);
    let expected = |target, count| Waiting { target, count, oldest: Some(at(0)) };
    assert_eq!(waiting, [expected(Target::Email, 1), expected(Target::Webhook, 2)]);
    let many = (0..5).map(|n| delivery(&format!("x{n}"), Target::Email, 2, 9)).collect();
    let outgoing = Outgoing { deliveries: many, room: 5 };
    assert_eq!(
        store.raise(SHOP, alert(2, "b"), outgoing).await,
        Ok(Raised::New { deliveries: 2 }),
        "three were stored before"
    );
    let outgoing = Outgoing { deliveries: vec![delivery("y", Target::Email, 3, 9)], room: 5 };
    assert_eq!(
        store.raise(SHOP, alert(3, "a"), outgoing).await,
        Ok(Raised::New { deliveries: 0 }),
        "the alert is raised nevertheless"
    );
}

pub(crate) async fn a_delivery_is_given_to_one_process_at_a_time(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    let take = |now, until| store.take(Target::Webhook, at(now), at(until), 10);
    let ids =
        |of: &[tricast_domain::alerts::Delivery]| of.iter().map(|of| (of.id.clone(), of.attempt)).collect::<Vec<_>>();
    assert_eq!(take(0, 9).await, Ok(vec![]));
    let first = vec![delivery("e1", Target::Email, 1, 0), delivery("w1", Target::Webhook, 1, 0)];
    store.raise(SHOP, alert(1, "a"), with(first)).await.unwrap();
    store.raise(SHOP, alert(2, "b"), with(vec![delivery("w2", Target::Webhook, 2, 1)])).await.unwrap();
    let end = Resolution { outgoing: with(vec![delivery("w3", Target::Webhook, 1, 2)]), ..end(1, 2) };
    store.resolve(SHOP, end).await.unwrap();
    assert_eq!(take(-1, 9).await, Ok(vec![]), "not due");
    let taken = take(2, 10).await.unwrap();
    assert_eq!(ids(&taken), [("w1".into(), 1), ("w2".into(), 1)], "w3 waits for w1");
    let w1 = &taken[0];
    assert_eq!((&*w1.tenant, &*w1.alert, &*w1.body, w1.at), (SHOP, &*id(1), r#"{"x": "Löwe"}"#, at(0)));
    assert_eq!(take(9, 20).await, Ok(vec![]), "all are taken");
    assert_eq!(ids(&take(10, 20).await.unwrap()), [("w1".into(), 2), ("w2".into(), 2)], "and lost");
    assert_eq!(store.settle("w1", 1, Settlement::Done).await, Ok(false), "too late");
    assert_eq!(store.settle("w1", 2, Settlement::Done).await, Ok(true));
    assert_eq!(store.settle("w1", 2, Settlement::Done).await, Ok(false));
    assert_eq!(store.settle("w2", 2, Settlement::Retry(at(60))).await, Ok(true));
    assert_eq!(ids(&take(11, 30).await.unwrap()), [("w3".into(), 1)]);
    assert_eq!(take(29, 40).await, Ok(vec![]));
    assert_eq!(ids(&store.take(Target::Webhook, at(60), at(70), 1).await.unwrap()), [("w3".into(), 2)], "due longest");
    assert_eq!(ids(&take(61, 70).await.unwrap()), [("w2".into(), 3)]);
    assert_eq!(ids(&store.take(Target::Email, at(99), at(100), 10).await.unwrap()), [("e1".into(), 1)]);
}

pub(crate) async fn alerts_of_tenants_are_their_own(stores: Stores) {
    let (store, _guard) = with_rules(stores).await;
    assert_eq!(store.tenants().await, Ok(vec![SHOP.into()]));
    store.insert_rule("other", rule("a"), 1).await.unwrap();
    store.raise(SHOP, alert(1, "a"), none()).await.unwrap();
    assert_eq!(store.raise("other", alert(2, "a"), none()).await, Ok(Raised::New { deliveries: 0 }));
    assert_eq!(store.alert("other", &id(1)).await, Err(AlertError::NotFound));
    assert_eq!(store.acknowledge("other", &id(1), "eve", at(1)).await.unwrap_err(), AlertError::NotFound);
    assert_eq!(store.resolve("other", end(1, 1)).await, Ok(None));
    assert_eq!(all(&store, Query::default()).await, [id(1)]);
    assert_eq!(store.tenants().await, Ok(vec!["other".into(), SHOP.into()]));
    for (tenant, rule) in [(SHOP, rule("a")), (SHOP, rule("b")), ("other", rule("a"))] {
        store.delete_rule(tenant, &rule.id, rule.version(), RuleReset::default()).await.unwrap();
    }
    assert_eq!(
        store.tenants().await,
        Ok(vec!["other".into(), SHOP.into()]),
        "each has an open alert of a deleted rule"
    );
    assert_eq!(store.engine_data(SHOP).await.unwrap().open, [alert(1, "a")]);
    store.resolve(SHOP, end(1, 9)).await.unwrap();
    assert_eq!(store.tenants().await, Ok(vec!["other".into()]));
}
