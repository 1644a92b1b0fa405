//! Endpoints for the path doctor, and the doctor itself directly in front of a server.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tricast::doctor::{self, MAX_IDLE, Options, Verdict};

use crate::helpers::{ApiClient, TestApp, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token, until};

async fn seen(app: &ApiClient, headers: &[(&str, &str)]) -> Value {
    let mut request = app.request(Method::GET, "/api/doctor");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = soon("the answer", request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response.headers().get("content-encoding").is_none(),
        "otherwise compression by a proxy could not be detected"
    );
    response.json().await.unwrap()
}

fn options(app: &TestApp, token: Option<&str>, idle: Duration) -> Options {
    Options { url: doctor::parse_url(&app.url("")).unwrap(), token: token.map(Into::into), idle, insecure: false }
}

/// Returns the verdict of the check with that ID.
fn verdict(report: &doctor::Report, id: &str) -> Verdict {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no {id} in {report:?}")).verdict
}

#[tokio::test]
async fn a_request_is_described_as_it_arrived_with_the_table_of_fixes() {
    let app = spawn_app();
    let answer = seen(&app, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(answer["host"], app.address.to_string());
    assert_eq!(
        (&answer["http"], &answer["forwarded"], &answer["range"]),
        (&"1.1".into(), &"absent".into(), &"loopback".into())
    );
    assert_eq!((&answer["maxBody"], &answer["address"]), (&(1 << 20).into(), &Value::Null));
    assert_eq!(answer["remedies"]["buffering"]["nginx"], "proxy_buffering off;");
    let old = app.raw(b"GET /api/doctor HTTP/1.0\r\nHost: old\r\nConnection: close\r\n\r\n", |_| false).await;
    let old = String::from_utf8_lossy(&old);
    assert!(old.contains(r#""http":"1.0""#) && old.contains(r#""host":"old""#), "{old}");
}

#[tokio::test]
async fn a_client_sees_its_own_address_but_no_internal_one() {
    let forwarded = [("x-forwarded-for", "203.0.113.7")];
    let app = spawn_app();
    let ignored = seen(&app, &forwarded).await;
    assert_eq!((&ignored["forwarded"], &ignored["address"]), (&"ignored".into(), &Value::Null));
    let app = spawn_app_with(|config| config.trusted_proxies = vec!["127.0.0.1".into()]);
    let believed = seen(&app, &forwarded).await;
    assert_eq!((&believed["forwarded"], &believed["address"]), (&"believed".into(), &"203.0.113.7".into()));
}

#[tokio::test]
async fn a_body_is_counted_up_to_the_limit_and_needs_no_token() {
    let app = spawn_app_with_tokens(|config| config.limits.max_body.0 = 10_000);
    for (bytes, expected) in [(0, 200), (9_999, 200), (10_000, 200), (10_001, 413)] {
        let response = app.post("/api/doctor/echo", "-".repeat(bytes)).await;
        assert_eq!(response.status(), expected, "{bytes}");
        if expected == 200 {
            assert_eq!(response.json::<Value>().await.unwrap()["bytes"], bytes);
        }
    }
}

#[tokio::test]
async fn probe_events_come_at_their_times_and_carry_them() {
    let app = spawn_app_with_tokens(|_| {});
    let mut stream = app.events("?probe=3&every=50&bytes=100").await;
    let greeting = stream.next().await.unwrap();
    assert_eq!((greeting.name.as_str(), &greeting.data()["heartbeat"]), ("seen", &15_000.into()));
    for n in 0..3 {
        let beat = stream.next().await.unwrap();
        let data = beat.data();
        assert_eq!((beat.name.as_str(), &data["n"], &data["of"]), ("probe", &n.into(), &3.into()));
        assert!(data["at"].as_u64().unwrap() >= 50 * n && data["padding"].as_str().unwrap().len() == 100, "{data}");
    }
    assert_eq!(stream.next().await, None);
    until("the stream to be gone", || async {
        (app.with(token("ada", "default", &["admin"])).counter("tricast_connections{transport=\"sse\"}").await == 0.0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn unbounded_probes_and_too_many_at_once_are_refused() {
    let app = spawn_app();
    for query in
        ["probe=0", "probe=41", "probe=x", "probe=2&every=300001", "probe=40&every=10000", "probe=1&bytes=2049"]
    {
        let response = app.get(&format!("/events?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
    }
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(app.events("?probe=2&every=300000").await);
    }
    let refused = app.get("/events?probe=1").await;
    assert!(refused.status() == 503 && refused.headers().contains_key("retry-after"), "{refused:?}");
    assert_eq!(app.events("").await.next_of("connected").await.name, "connected", "other streams are not refused");
    drop(streams);
    until("a free permit", || async { (app.get("/events?probe=1").await.status() == 200).then_some(()) }).await;
}

#[tokio::test]
async fn too_many_requests_of_an_address_are_refused() {
    let app = spawn_app_with(|config| config.limits.handshakes_per_second_per_address = 3);
    let refused =
        until("a refusal", || async { Some(app.get("/api/doctor").await).filter(|answer| answer.status() == 429) })
            .await;
    assert!(refused.headers().contains_key("retry-after"));
    assert!(app.limit("handshakes_per_second_per_address").await >= 1.0);
}

#[tokio::test]
async fn a_stopping_server_does_not_wait_for_a_silent_probe() {
    let mut app = spawn_app();
    let mut stream = app.events("?probe=2&every=300000").await;
    stream.next_of("probe").await;
    app.begin_stop();
    assert_eq!(stream.next().await, None);
    app.stopped().await;
}

#[tokio::test]
async fn all_checks_pass_directly_in_front_of_a_server() {
    let app = spawn_app();
    let report = soon("the report", doctor::examine(&options(&app, None, Duration::from_secs(1)))).await.unwrap();
    assert!(!report.has_findings() && report.checks.len() == 10, "{}", report.to_text());
    assert!(
        report.summary.starts_with("WebSocket: works, ") && report.summary.contains(" Events: work, "),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn checks_that_need_a_token_are_skipped_without_one() {
    let app = spawn_app_with_tokens(|_| {});
    let look = async |token: Option<&str>| {
        soon("the report", doctor::examine(&options(&app, token, Duration::from_secs(1)))).await.unwrap()
    };
    let report = look(None).await;
    assert!(!report.has_findings(), "{}", report.to_text());
    for id in ["polling", "long_poll", "idle_websocket"] {
        assert_eq!(verdict(&report, id), Verdict::Skipped, "{}", report.to_text());
    }
    assert_eq!(verdict(&report, "websocket"), Verdict::Ok);
    let report = look(Some(&token("ada", "acme", &["read:metrics"]))).await;
    assert!(report.checks.iter().all(|check| check.verdict == Verdict::Ok), "{}", report.to_text());
    let report = look(Some("nonsense")).await;
    assert_eq!(verdict(&report, "websocket"), Verdict::Skipped, "{}", report.to_text());
}

#[tokio::test]
async fn limits_of_the_server_are_no_fault_of_the_path() {
    let app = spawn_app_with(|config| {
        config.limits.max_message.0 = 2_000;
        config.limits.max_body.0 = 3_000;
        config.heartbeat.interval.0 = MAX_IDLE;
    });
    let report = soon("the report", doctor::examine(&options(&app, None, Duration::ZERO))).await.unwrap();
    assert!(!report.has_findings(), "{}", report.to_text());
}

#[tokio::test]
async fn the_page_of_the_doctor_needs_no_token() {
    let app = spawn_app_with_tokens(|_| {});
    let page = app.get("/doctor").await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self';"));
}
