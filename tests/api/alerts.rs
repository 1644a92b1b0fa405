//! Alerts: rules, their events and notifications, and their state after a restart.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tricast_core::clock::Clock;
use tricast_domain::alerts::{Alert, NewRule, Outgoing, Severity};
use tricast_store::Store;

use crate::{
    dashboards::{ask, send},
    helpers::{ApiClient, TestApp, soon, spawn_app, spawn_app_at, spawn_app_with, spawn_app_with_tokens, token, until},
};

const RULES: &str = "/api/alerts/rules";

/// Clock that a test moves.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
    }

    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

pub(crate) fn rule(id: &str, condition: Value) -> Value {
    json!({"id": id, "name": format!("Rule {id}"), "channel": "metrics.shop", "field": "load", "condition": condition,
        "severity": "critical"})
}

pub(crate) async fn make(app: &ApiClient, rule: Value) {
    assert_eq!(ask(app, Method::POST, RULES, rule).await.0, 201);
}

pub(crate) async fn load(app: &ApiClient, value: f64) {
    app.push_value("metrics.shop", json!({"load": value})).await;
}

async fn list(app: &ApiClient, query: &str) -> Vec<Value> {
    app.get_json(&format!("/api/alerts{query}")).await["alerts"].as_array().unwrap().clone()
}

/// Waits until `count` alerts are open and returns them.
pub(crate) async fn open(app: &ApiClient, count: usize) -> Vec<Value> {
    until("open alerts", || async { Some(list(app, "?status=open").await).filter(|alerts| alerts.len() == count) })
        .await
}

/// Waits until every rule was evaluated after this call.
pub(crate) async fn evaluated(app: &ApiClient) {
    let name = "tricast_alert_evaluations_total";
    let before = app.counter(name).await;
    until("a look", || async { (app.counter(name).await >= before + 2.0).then_some(()) }).await;
}

/// Returns all events of `alerts` in the log, as `(event, alert)`.
async fn alert_events(app: &ApiClient) -> Vec<(String, Value)> {
    let cursor = app.get_json("/api/metrics?channels=alerts").await["cursor"].as_str().unwrap().to_owned();
    let epoch = cursor.split(':').next().unwrap();
    let answer = app.get_json(&format!("/api/metrics?channels=alerts&since={epoch}:0")).await;
    let events = answer["events"].as_array().unwrap().iter();
    events.map(|event| (event["event"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(event, _)| event.as_str()).collect()
}

#[tokio::test]
async fn an_alert_reaches_every_transport_once() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["alerts"]).await;
    let mut stream = app.events("?channels=alerts").await;
    stream.next_of("connected").await;
    make(&app, rule("load", json!({"above": 90, "clear": 80}))).await;
    load(&app, 97.5).await;
    let raised = socket.next_of("event").await;
    assert_eq!((&raised["channel"], &raised["event"]), (&json!("alerts"), &json!("alert_raised")));
    let alert = raised["data"].clone();
    let id = alert["id"].as_str().unwrap().to_owned();
    assert_eq!(
        alert,
        json!({"id": id, "ruleId": "load", "type": "critical", "metric": "metrics.shop.load", "value": 97.5,
            "message": "Rule load: metrics.shop.load is 97.5, above 90", "threshold": 90.0, "raisedAt": alert["raisedAt"]})
    );
    let mut told_here = stream.next_of("alert").await.data();
    assert_eq!(told_here["action"].take(), "raised");
    told_here.as_object_mut().unwrap().remove("action");
    assert_eq!(told_here, alert);
    assert_eq!(list(&app, "").await, std::slice::from_ref(&alert));
    assert_eq!(app.get_json(&format!("/api/alerts/{id}")).await, alert);
    let (status, acknowledged) = ask(&app, Method::POST, &format!("/api/alerts/{id}/acknowledge"), Value::Null).await;
    assert_eq!((status, &acknowledged["acknowledgedBy"]), (200, &json!("anonymous")));
    assert_eq!(stream.next_of("alert").await.data()["action"], "acknowledged");
    assert_eq!(socket.next_of("event").await["data"], acknowledged);
    let again = ask(&app, Method::POST, &format!("/api/alerts/{id}/acknowledge"), json!({})).await;
    assert_eq!(again, (200, acknowledged));
    load(&app, 85.0).await;
    load(&app, 79.0).await;
    let resolved = socket.next_of("event").await;
    assert_eq!((&resolved["event"], &resolved["data"]["id"]), (&json!("alert_resolved"), &json!(id)));
    assert!(resolved["data"]["resolvedAt"].is_string() && resolved["data"]["acknowledgedBy"] == "anonymous");
    assert_eq!(stream.next_of("alert").await.data()["action"], "resolved");
    let events = alert_events(&app).await;
    assert_eq!(names(&events), ["alert_raised", "alert_acknowledged", "alert_resolved"]);
    assert_eq!(
        (list(&app, "?status=open").await, list(&app, "?status=resolved").await),
        (vec![], vec![events[2].1.clone()])
    );
    assert_eq!(app.counter("tricast_alerts_raised_total").await, 1.0);
    assert_eq!(app.counter("tricast_alerts_resolved_total").await, 1.0);
    assert_eq!((app.counter("tricast_alert_rules").await, app.counter("tricast_alerts_open").await), (1.0, 0.0));
}

#[tokio::test]
async fn a_condition_has_to_be_met_for_the_time_of_the_rule() {
    let hands = ManualClock::new();
    let app = spawn_app_at(hands.clock(), |_| {});
    let mut held = rule("held", json!({"above": 90}));
    held["for"] = json!("5m");
    make(&app, held).await;
    load(&app, 95.0).await;
    evaluated(&app).await;
    hands.forward(299);
    evaluated(&app).await;
    load(&app, 90.0).await;
    evaluated(&app).await;
    load(&app, 95.0).await;
    evaluated(&app).await;
    hands.forward(299);
    evaluated(&app).await;
    assert_eq!(list(&app, "").await, [] as [Value; 0], "the value was good in between");
    hands.forward(1);
    assert_eq!(open(&app, 1).await[0]["raisedAt"], "2027-01-15T08:09:59.000Z");
}

#[tokio::test]
async fn an_absence_is_a_missing_write_not_an_unchanged_value() {
    let hands = ManualClock::new();
    let app = spawn_app_at(hands.clock(), |_| {});
    make(&app, rule("gone", json!({"absentFor": "5m"}))).await;
    for _ in 0..4 {
        load(&app, 1.0).await;
        evaluated(&app).await;
        hands.forward(200);
        evaluated(&app).await;
    }
    assert_eq!(list(&app, "").await, [] as [Value; 0], "the same value four times is written four times");
    hands.forward(100);
    let alert = open(&app, 1).await.remove(0);
    assert_eq!((&alert["value"], &alert["threshold"]), (&Value::Null, &json!(300.0)));
    assert_eq!(alert["message"], "Rule gone: metrics.shop.load has not come for 5m");
    app.push_value("metrics.shop", json!({"other": 1})).await;
    evaluated(&app).await;
    open(&app, 1).await;
    load(&app, 1.0).await;
    open(&app, 0).await;
}

#[tokio::test]
async fn a_drop_is_measured_against_the_earlier_value() {
    let hands = ManualClock::new();
    let app = spawn_app_at(hands.clock(), |_| {});
    load(&app, 100.0).await;
    make(&app, rule("drop", json!({"dropsBelowRatio": 0.5, "comparedTo": "1h"}))).await;
    evaluated(&app).await;
    load(&app, 10.0).await;
    evaluated(&app).await;
    assert_eq!(list(&app, "").await, [] as [Value; 0], "there is no value of an hour ago");
    hands.forward(3_600);
    let alert = open(&app, 1).await.remove(0);
    assert_eq!((&alert["value"], &alert["threshold"]), (&json!(10.0), &json!(50.0)));
    load(&app, 50.0).await;
    open(&app, 0).await;
}

#[tokio::test]
async fn rules_are_created_changed_and_deleted() {
    let app = spawn_app();
    let new = rule("shop", json!({"above": 90}));
    let made = send(&app, Method::POST, RULES, None, new.clone()).await;
    assert_eq!(
        (made.status().as_u16(), &made.headers()["location"]),
        (201, &"/api/alerts/rules/shop".parse().unwrap())
    );
    let first = made.headers()["etag"].to_str().unwrap().to_owned();
    let mut expected = new.clone();
    (expected["version"], expected["condition"]) = (json!(1), json!({"above": 90.0}));
    assert_eq!(made.json::<Value>().await.unwrap(), expected);
    assert_eq!(app.get_json(RULES).await, json!({"rules": [expected]}));
    let path = "/api/alerts/rules/shop";
    assert_eq!(app.request(Method::GET, path).header("if-none-match", &first).send().await.unwrap().status(), 304);
    assert_eq!(ask(&app, Method::PUT, path, expected.clone()).await, (200, expected.clone()), "nothing changed");
    let mut named = new.clone();
    named["name"] = json!("Other");
    let changed = send(&app, Method::PUT, path, Some(&first), named.clone()).await;
    assert_eq!(changed.status(), 200);
    for method in [Method::PUT, Method::DELETE] {
        named["name"] = json!(format!("by {method}"));
        let body = if method == Method::PUT { named.clone() } else { Value::Null };
        assert_eq!(send(&app, method.clone(), path, Some(&first), body.clone()).await.status(), 412);
        assert_eq!(send(&app, method, path, Some("nonsense"), body).await.status(), 400);
    }
    assert_eq!(ask(&app, Method::POST, RULES, new).await.0, 409);
    assert_eq!(ask(&app, Method::DELETE, path, Value::Null).await.0, 204);
    assert_eq!(ask(&app, Method::DELETE, path, Value::Null).await.0, 404);
    assert_eq!(ask(&app, Method::PUT, path, named).await.0, 404);
    assert_eq!(app.get(path).await.status(), 404);
}

#[tokio::test]
async fn errors_of_a_rule_name_the_field() {
    let app = spawn_app_with(|config| config.alerts.max_rules = 2);
    let with = |name: &str, value: Value| {
        let mut rule = rule("r", json!({"above": 1}));
        rule[name] = value;
        rule
    };
    for (body, status, part) in [
        (json!([]), 400, ""),
        (json!({}), 400, "name"),
        (with("colour", json!(1)), 400, "colour"),
        (with("condition", json!({"over": 1})), 400, "condition"),
        (with("condition", json!({})), 422, "condition"),
        (with("severity", json!("bad")), 400, "severity"),
        (with("for", json!("soon")), 400, "for"),
        (with("for", json!("2d")), 422, "for"),
        (with("channel", json!("orders")), 422, "channel"),
        (with("id", json!("a/b")), 422, "id"),
        (with("name", json!("a\r\nb")), 422, "name"),
        (with("notify", json!(["fax"])), 400, "notify"),
    ] {
        let (found, problem) = ask(&app, Method::POST, RULES, body.clone()).await;
        assert_eq!(found, status, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
    for (path, status) in [
        ("/api/alerts?status=x", 400),
        ("/api/alerts?severity=x", 400),
        ("/api/alerts?limit=x", 400),
        ("/api/alerts?after=x", 422),
        ("/api/alerts/nope", 404),
    ] {
        assert_eq!(app.get(path).await.status(), status, "{path}");
    }
    assert_eq!(ask(&app, Method::POST, "/api/alerts/nope/acknowledge", Value::Null).await.0, 404);
    make(&app, rule("a", json!({"above": 1}))).await;
    make(&app, rule("b", json!({"above": 1}))).await;
    assert_eq!(ask(&app, Method::POST, RULES, rule("c", json!({"above": 1}))).await.0, 429);
}

#[tokio::test]
async fn another_condition_resolves_the_alert_and_another_name_does_not() {
    let app = spawn_app();
    load(&app, 95.0).await;
    let mut changed = rule("load", json!({"above": 90}));
    make(&app, changed.clone()).await;
    let id = open(&app, 1).await[0]["id"].clone();
    let path = "/api/alerts/rules/load";
    (changed["name"], changed["severity"]) = (json!("Other"), json!("info"));
    assert_eq!(ask(&app, Method::PUT, path, changed.clone()).await.0, 200);
    evaluated(&app).await;
    assert_eq!(open(&app, 1).await[0]["id"], id);
    changed["condition"] = json!({"above": 99});
    assert_eq!(ask(&app, Method::PUT, path, changed.clone()).await.0, 200);
    open(&app, 0).await;
    changed["condition"] = json!({"above": 91});
    assert_eq!(ask(&app, Method::PUT, path, changed).await.0, 200);
    assert_ne!(open(&app, 1).await[0]["id"], id);
    assert_eq!(ask(&app, Method::DELETE, path, Value::Null).await.0, 204);
    open(&app, 0).await;
    let events =
        until("four events", || async { Some(alert_events(&app).await).filter(|events| events.len() == 4) }).await;
    assert_eq!(names(&events), ["alert_raised", "alert_resolved", "alert_raised", "alert_resolved"]);
    assert_eq!(list(&app, "").await.len(), 2, "resolved alerts stay in the list");
}

#[tokio::test]
async fn the_list_is_paged_and_filtered() {
    let app = spawn_app();
    for n in 0..5 {
        let mut rule = rule(&format!("r{n}"), json!({"above": n}));
        rule["severity"] = json!(["info", "warning", "critical"][n % 3]);
        make(&app, rule).await;
        load(&app, n as f64 + 0.5).await;
        open(&app, n + 1).await;
    }
    let ids =
        |alerts: &[Value]| alerts.iter().map(|alert| alert["ruleId"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let all = list(&app, "").await;
    assert_eq!(all.len(), 5);
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = app.get_json(&format!("/api/alerts?limit=2{after}")).await;
        seen.extend(page["alerts"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, all);
    assert_eq!(ids(&list(&app, "?severity=critical").await), ["r2"]);
    assert_eq!(ids(&list(&app, "?rule=r3").await), ["r3"]);
    assert_eq!(ids(&list(&app, "?rule=r3&status=resolved").await), [] as [&str; 0]);
}

#[tokio::test]
async fn alerts_require_permissions_and_belong_to_a_tenant() {
    let app = spawn_app_with_tokens(|_| {});
    let as_ = |tenant: &str, of: &[&str]| app.with(token("ada", tenant, of));
    let admin = as_("acme", &["admin"]);
    make(&admin, rule("load", json!({"above": 90}))).await;
    load(&admin, 95.0).await;
    let id = open(&admin, 1).await[0]["id"].as_str().unwrap().to_owned();
    let acknowledge = format!("/api/alerts/{id}/acknowledge");
    let path = "/api/alerts/rules/load";
    let reader = as_("acme", &["read:alerts"]);
    for (visitor, read, acknowledged, write) in [
        (app.with("nonsense"), 401, 401, 401),
        (as_("acme", &["read:metrics", "write:metrics", "write:dashboards"]), 403, 403, 403),
        (reader.clone(), 200, 403, 403),
        (as_("acme", &["read:alerts", "write:metrics", "write:orders"]), 200, 403, 403),
        (as_("acme", &["read:alerts", "write:dashboards"]), 200, 200, 403),
        (as_("other", &["admin"]), 404, 404, 404),
    ] {
        for get in [format!("/api/alerts/{id}"), path.into()] {
            assert_eq!(visitor.get(&get).await.status(), read, "{get}");
        }
        assert_eq!(ask(&visitor, Method::POST, &acknowledge, Value::Null).await.0, acknowledged);
        let body = rule("load", json!({"above": 1}));
        assert_eq!(ask(&visitor, Method::PUT, path, body).await.0, write);
        assert_eq!(ask(&visitor, Method::DELETE, path, Value::Null).await.0, write);
    }
    let other = as_("other", &["admin"]);
    assert_eq!((list(&other, "").await, alert_events(&other).await), (vec![], vec![]));
    assert_eq!(other.get_json(RULES).await, json!({"rules": []}));
    assert_eq!(names(&alert_events(&reader).await), ["alert_raised", "alert_acknowledged"]);
    let clerk = as_("acme", &["read:orders"]);
    assert_eq!(clerk.get("/api/metrics?channels=alerts").await.status(), 403);
}

#[tokio::test]
async fn pages_of_foreign_sites_change_nothing() {
    let app = spawn_app();
    let body = rule("load", json!({"above": 90})).to_string();
    let foreign = app.request(Method::POST, RULES).header("origin", "https://evil.example").body(body);
    assert_eq!(soon("an answer", foreign.send()).await.unwrap().status(), 403);
}

async fn restarted(mut app: TestApp, start: &impl Fn() -> TestApp) -> TestApp {
    app.begin_stop();
    app.stopped().await;
    start()
}

#[tokio::test]
async fn an_open_alert_survives_a_restart_and_is_resolved_once() {
    let directory = tempfile::tempdir().unwrap();
    let hands = ManualClock::new();
    let start = || spawn_app_at(hands.clock(), |config| config.data_dir = Some(directory.path().to_owned()));
    let app = start();
    make(&app, rule("load", json!({"above": 90}))).await;
    make(&app, rule("gone", json!({"absentFor": "5m"}))).await;
    load(&app, 95.0).await;
    let before = open(&app, 1).await;
    let events_before =
        until("the event", || async { Some(alert_events(&app).await).filter(|events| events.len() == 1) }).await;
    assert_eq!(events_before[0].1, before[0]);
    evaluated(&app).await;
    let mut app = app;
    app.begin_stop();
    app.stopped().await;
    // The server is stopped meanwhile.
    hands.forward(10_000);
    let app = start();
    evaluated(&app).await;
    assert_eq!(
        (open(&app, 1).await, alert_events(&app).await),
        (before.clone(), vec![]),
        "the restart itself publishes nothing"
    );
    load(&app, 96.0).await;
    evaluated(&app).await;
    assert_eq!((open(&app, 1).await, alert_events(&app).await), (before, vec![]), "the alert is already raised");
    load(&app, 1.0).await;
    open(&app, 0).await;
    until("the event", || async { (names(&alert_events(&app).await) == ["alert_resolved"]).then_some(()) }).await;
    evaluated(&app).await;
    let app = restarted(app, &start).await;
    evaluated(&app).await;
    assert_eq!((list(&app, "").await.len(), alert_events(&app).await), (1, vec![]));
}

#[tokio::test]
async fn stored_alert_events_are_published_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    {
        // The same as a process that ended between the two.
        let store = Store::in_directory(directory.path(), 0).unwrap();
        let new: NewRule = serde_json::from_value(rule("load", json!({"above": 90}))).unwrap();
        store.alerts().insert_rule("default", new.build(at).unwrap(), 9).await.unwrap();
        let alert = Alert {
            id: "alt-0190b6a1f0c85d1e9a3f".into(),
            rule_id: "load".into(),
            severity: Severity::Critical,
            metric: "metrics.shop.load".into(),
            message: "Too much".into(),
            value: Some(95.0),
            threshold: 90.0,
            raised_at: at,
            resolved_at: None,
            acknowledged_by: None,
            acknowledged_at: None,
            targets: vec![],
        };
        store.alerts().raise("default", alert, Outgoing::default()).await.unwrap();
        store.close().await;
    }
    let start = || spawn_app_with(|config| config.data_dir = Some(directory.path().to_owned()));
    let app = start();
    let news =
        until("the event", || async { Some(alert_events(&app).await).filter(|events| !events.is_empty()) }).await;
    assert_eq!((names(&news), &news[0].1["id"]), (vec!["alert_raised"], &json!("alt-0190b6a1f0c85d1e9a3f")));
    evaluated(&app).await;
    let app = restarted(app, &start).await;
    evaluated(&app).await;
    assert_eq!((open(&app, 1).await.len(), alert_events(&app).await), (1, vec![]), "and by that process only");
}

#[tokio::test]
async fn rules_are_evaluated_after_a_restart_without_any_request() {
    let directory = tempfile::tempdir().unwrap();
    let start = || spawn_app_with_tokens(|config| config.data_dir = Some(directory.path().to_owned()));
    let app = start();
    let acme = app.with(token("ada", "acme", &["admin"]));
    make(&acme, rule("gone", json!({"absentFor": "1s"}))).await;
    let app = restarted(app, &start).await;
    let watch = app.with(token("root", "default", &["admin"]));
    until("an alert", || async {
        (watch.counter("tricast_alerts_raised_total").await >= 1.0 || watch.counter("tricast_alerts_open").await >= 1.0)
            .then_some(())
    })
    .await;
    assert_eq!(open(&app.with(token("ada", "acme", &["admin"])), 1).await.len(), 1);
}
