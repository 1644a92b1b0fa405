//! Tests of a server below a path of its host.

use reqwest::Method;
use serde_json::json;

use crate::helpers::{spawn_app, spawn_app_with};

#[tokio::test]
async fn all_routes_are_below_the_base_path_only() {
    let app = spawn_app_with(|config| config.base_path = "/live".into());
    let pushed = app.post("/live/api/metrics", r#"{"channel":"metrics.x","data":{"n":1}}"#).await;
    assert_eq!(pushed.status(), 202);
    let poll = app.get("/live/api/metrics/metrics.x").await;
    let tag = poll.headers()["etag"].clone();
    assert!(poll.text().await.unwrap().contains(r#""data":{"n":1}"#));
    let again = app.request(Method::GET, "/live/api/metrics/metrics.x").header("if-none-match", tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let mut socket = app.websocket_at("/live/ws").await;
    socket.subscribe(&["metrics.x"]).await;
    assert_eq!(socket.next_of("metric").await["data"], json!({"n": 1}));
    let stream = app.request(Method::GET, "/live/events?channels=metrics.x").header("accept", "text/event-stream");
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let order = app.post("/live/api/orders", r#"{"items":1,"total":2,"customerName":"Ada"}"#).await;
    let location = order.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/live/api/orders/"), "{location}");
    assert_eq!(app.get(&location).await.status(), 200);
    for page in [
        "/live/",
        "/live/basic",
        "/live/docs",
        "/live/doctor",
        "/live/explore",
        "/live/static/client/index.js",
        "/live/readyz",
    ] {
        assert_eq!(app.get(page).await.status(), 200, "{page}");
    }
    // Pages load their files relative to the path, so it has to end with a slash.
    let edge = app.get("/live?board=a").await;
    assert_eq!((edge.status().as_u16(), edge.url().path(), edge.url().query()), (200, "/live/", Some("board=a")));
    for page in ["docs", "doctor", "basic"] {
        let slash = app.get(&format!("/live/{page}/?a=b")).await;
        let (path, query) = (slash.url().path(), slash.url().query());
        assert_eq!((slash.status().as_u16(), path, query), (200, &*format!("/live/{page}"), Some("a=b")));
    }
    let openapi = app.get_json("/live/api/openapi.json").await;
    assert_eq!(openapi["servers"][0]["url"], "/live");
    for outside in ["/", "/events", "/ws", "/api/metrics", "/lively/api/metrics"] {
        assert_eq!(app.get(outside).await.status(), 404, "{outside}");
    }
    for watched in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(app.get(watched).await.status(), 200, "{watched}");
    }
}

#[tokio::test]
async fn without_a_base_path_the_server_is_at_the_root() {
    let app = spawn_app();
    assert_eq!(app.get("/api/metrics").await.status(), 200);
    assert_eq!(app.get_json("/api/openapi.json").await["servers"][0]["url"], "/");
}
