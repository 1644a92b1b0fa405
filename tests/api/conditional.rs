//! Conditional requests: the tables of RFC 9110, section 13, over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::helpers::{TestApp, soon, spawn_app, until};

const PATH: &str = "/api/metrics/metrics.still";

async fn status(app: &TestApp, method: Method, headers: &[(&str, String)]) -> StatusCode {
    let request = headers.iter().fold(app.request(method, PATH), |request, (name, value)| request.header(*name, value));
    soon("an answer", request.send()).await.unwrap().status()
}

/// Returns the response once it has a date: during its second the value may change again, so there is none.
async fn dated(app: &TestApp) -> reqwest::Response {
    until("a Last-Modified", || async {
        let answer = app.get(PATH).await;
        answer.headers().contains_key("last-modified").then_some(answer)
    })
    .await
}

#[tokio::test]
async fn if_none_match_is_compared_weakly_in_lists_and_lines() {
    let app = spawn_app();
    app.push_value("metrics.still", json!({"n": 1})).await;
    let weak = app.get(PATH).await.headers()["etag"].to_str().unwrap().to_owned();
    let strong = weak.trim_start_matches("W/").to_owned();
    let bare = strong.trim_matches('"').to_owned();
    let name = "if-none-match";
    for (expected, lines) in [
        (304, vec![weak.clone()]),
        (304, vec![strong.clone()]),
        (304, vec![format!("\"x\", W/\"y\" ,{weak}, \"z\"")]),
        (304, vec![format!("\"a,b\",{strong}")]),
        (304, vec!["\"x\"".into(), weak.clone()]),
        (304, vec!["*".into()]),
        (200, vec!["\"x\"".into()]),
        (200, vec!["\"\"".into()]),
        (200, vec!["garbage".into()]),
        (200, vec![bare.clone()]),
        (200, vec![format!("\"x{bare}\"")]),
        (200, vec![format!("\"{bare}")]),
    ] {
        let headers: Vec<_> = lines.iter().map(|line| (name, line.clone())).collect();
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(status(&app, method, &headers).await, expected, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn the_tag_takes_precedence_over_the_date() {
    let app = spawn_app();
    app.push_value("metrics.still", json!({"n": 1})).await;
    let fresh = dated(&app).await;
    let header = |name: &str| fresh.headers()[name].to_str().unwrap().to_owned();
    let (tag, date) = (header("etag"), header("last-modified"));
    let past = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    let (tag_name, date_name) = ("if-none-match", "if-modified-since");
    for (expected, headers) in [
        (304, vec![(date_name, date.clone())]),
        (200, vec![(date_name, past.clone())]),
        (200, vec![(date_name, "not a date".into())]),
        (200, vec![(tag_name, "\"other\"".into()), (date_name, date.clone())]),
        (304, vec![(tag_name, tag), (date_name, past)]),
    ] {
        assert_eq!(status(&app, Method::GET, &headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_304_and_a_head_carry_the_headers_of_the_200() {
    let app = spawn_app();
    app.push_value("metrics.still", json!({"text": "x".repeat(500)})).await;
    let full = dated(&app).await;
    let headers = full.headers().clone();
    let body = full.bytes().await.unwrap();
    let tag = headers["etag"].to_str().unwrap();
    let head = soon("HEAD", app.request(Method::HEAD, PATH).send()).await.unwrap();
    let same = soon("304", app.request(Method::GET, PATH).header("if-none-match", tag).send()).await.unwrap();
    assert_eq!(same.status(), 304);
    for name in ["etag", "cache-control", "vary", "last-modified"] {
        assert_eq!(head.headers()[name], headers[name], "{name}");
        assert_eq!(same.headers()[name], headers[name], "{name}");
    }
    assert_eq!(head.headers()["content-length"], body.len().to_string().as_str());
    assert!(!same.headers().contains_key("content-type") && !same.headers().contains_key("content-encoding"));
    assert!(head.bytes().await.unwrap().is_empty() && same.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_value_has_the_same_tag_after_a_restart_and_in_every_coding() {
    let (first, second) = (spawn_app(), spawn_app());
    let value = json!({"b": [1, 2], "a": "x".repeat(600)});
    let mut tags = Vec::new();
    for app in [&first, &second] {
        app.push_value("metrics.still", value.clone()).await;
        for coding in ["identity", "gzip", "br"] {
            let answer = app.request(Method::GET, PATH).header("accept-encoding", coding).send().await.unwrap();
            let sent = answer.headers().get("content-encoding").map_or("identity", |c| c.to_str().unwrap());
            assert_eq!(sent, coding);
            tags.push(answer.headers()["etag"].clone());
        }
    }
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    first.push_value("metrics.still", json!({"b": [2, 1]})).await;
    assert_ne!(first.get(PATH).await.headers()["etag"], tags[0]);
}
