//! Tokens that are bound to channels: what they may push and read, on every transport.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    helpers::{ApiClient, TestApp, bound_token, soon, spawn_app_with_tokens, token, until},
    socketio::Client,
};

/// Starts a server on which `metrics.ci.build` and `metrics.other` have values, and returns it with a client that may do
/// everything.
async fn app() -> (TestApp, ApiClient) {
    let app = spawn_app_with_tokens(|_| {});
    let root = app.with(token("root", "acme", &["admin"]));
    for channel in ["metrics.ci.build", "metrics.other"] {
        root.push_value(channel, json!({"x": 1})).await;
    }
    (app, root)
}

async fn delete(client: &ApiClient, path: &str) -> Response {
    soon(path, client.request(Method::DELETE, path).send()).await.unwrap()
}

#[tokio::test]
async fn pushes_outside_the_binding_are_refused_line_by_line() {
    let (app, root) = app().await;
    let ci = app.with(bound_token("ci", &[], &["metrics.ci.*", "deploys"]));
    let lines = json!([
        {"channel": "metrics.ci.tests", "data": {"failed": 0}},
        {"channel": "metrics.other", "data": {"x": 2}},
        {"channel": "deploys", "event": "released"},
        {"channel": "orders", "event": "order_created"},
        {"metric": "ci.tests2.duration", "type": "timing", "value": 5},
        {"metric": "other2.duration", "type": "timing", "value": 5},
        {"channel": "metrics.other", "delete": true},
        {"channel": "metrics.ci", "data": {"x": 2}},
        {"channel": "no name", "data": {}},
    ]);
    let response = ci.post("/api/metrics", lines.to_string()).await;
    assert_eq!(response.status(), 207);
    let body: Value = response.json().await.unwrap();
    let statuses: Vec<_> = body["results"].as_array().unwrap().iter().map(|line| line["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([202, 403, 202, 403, 202, 403, 403, 403, 400]), "{body}");
    assert_eq!((&body["accepted"], &body["refused"]), (&json!(3), &json!(6)));
    assert_eq!(body["results"][1]["code"], "FORBIDDEN");
    assert_eq!(body["results"][1]["detail"], "this token may not push to \"metrics.other\"");
    let other = root.get_json("/api/metrics/metrics.other").await;
    assert_eq!(other["data"], json!({"x": 1}), "neither changed nor deleted");

    let one = ci.post("/api/metrics", json!({"channel": "metrics.other", "data": {"x": 2}}).to_string()).await;
    assert_eq!(one.status(), 403);
    assert_eq!(one.json::<Value>().await.unwrap()["code"], "FORBIDDEN");
    ci.push_value("metrics.ci.build", json!({"x": 2})).await;
    assert_eq!(delete(&ci, "/api/metrics/metrics.other").await.status(), 403);
    assert_eq!(delete(&ci, "/api/metrics/metrics.never").await.status(), 403, "whether it exists is not revealed");
    assert_eq!(delete(&ci, "/api/metrics/metrics.ci.build").await.status(), 204);

    let reader = app.with(bound_token("ci", &["metrics.ci.*"], &[]));
    let refused = reader.post("/api/metrics", json!({"channel": "metrics.ci.build", "data": {}}).to_string()).await;
    assert_eq!(refused.status(), 403, "a token to read pushes nothing");
}

#[tokio::test]
async fn polls_return_bound_channels_only() {
    let (app, root) = app().await;
    let ci = app.with(bound_token("ci", &["metrics.ci.*", "orders"], &["metrics.other"]));
    assert_eq!(ci.get("/api/metrics/metrics.ci.build").await.status(), 200);
    assert_eq!(ci.get("/api/metrics/orders").await.status(), 200, "no read:orders is needed");
    for path in [
        "/api/metrics",
        "/api/metrics/metrics.other",
        "/api/metrics/metrics.business",
        "/api/metrics/alerts",
        "/api/metrics/system",
        "/api/metrics?channels=metrics.ci.build,metrics.other",
        "/api/metrics?channels=entity.*",
        "/api/history?channel=metrics.other",
    ] {
        assert_eq!(ci.get(path).await.status(), 403, "{path}");
    }
    let several = ci.get_json("/api/metrics?channels=metrics.*,orders").await;
    assert_eq!(several["channels"], json!({"metrics.ci.build": {"x": 1}}));
    let since = several["cursor"].as_str().unwrap().to_owned();
    for channel in ["metrics.other", "metrics.ci.build"] {
        root.push_value(channel, json!({"x": 2})).await;
    }
    assert_eq!(delete(&root, "/api/metrics/metrics.other").await.status(), 204);
    let changes = ci.get_json(&format!("/api/metrics?channels=metrics.*&since={since}")).await;
    assert_eq!(changes["channels"], json!({"metrics.ci.build": {"x": 2}}));
    assert!(changes.get("gone").is_none(), "the end of another channel is not revealed: {changes}");
    let listed = ci.get_json("/api/channels").await;
    let names: Vec<_> = listed["channels"].as_array().unwrap().iter().map(|line| line["channel"].clone()).collect();
    assert_eq!(json!(names), json!(["metrics.ci.build", "orders"]));
}

#[tokio::test]
async fn the_snapshot_is_for_those_who_may_read_all_of_it() {
    let (app, root) = app().await;
    until("the numbers of orders", || async {
        let snapshot = root.get_json("/api/metrics").await;
        snapshot["business"].is_object().then_some(())
    })
    .await;
    for (read, status) in [("metrics", 200), ("metrics.*", 200), ("metrics.ci.*", 403)] {
        let snapshot = app.with(bound_token("ci", &[read], &[])).get("/api/metrics").await;
        assert_eq!(snapshot.status(), status, "{read}");
        if status == 200 {
            let business = &snapshot.json::<Value>().await.unwrap()["business"];
            assert_eq!(business.is_null(), read == "metrics", "numbers of orders have to be named: {business}");
        }
    }
}

#[tokio::test]
async fn a_wildcard_delivers_bound_channels_only_on_every_transport() {
    let (app, root) = app().await;
    let bound = bound_token("ci", &["metrics.ci.*"], &[]);
    let ci = app.with(&*bound);
    let mut socket = ci.websocket().await;
    assert_eq!(socket.connected["capabilities"], json!(["metrics"]));
    let subscribed = socket.subscribe(&["metrics.*", "metrics.other", "metrics", "system", "orders"]).await;
    let statuses: Vec<_> =
        subscribed["channels"].as_array().unwrap().iter().map(|line| line["status"].clone()).collect();
    assert_eq!(json!(statuses), json!(["active", "denied", "denied", "denied", "denied"]), "{subscribed}");
    let mut stream = ci.events("?channels=metrics.*").await;
    stream.next_of("connected").await;
    let mut clients = Client::of_both(&app).await;
    for client in &mut clients {
        client.join("/tricast", json!({"token": bound})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.*"]}])).await;
    }
    assert_eq!(socket.next_of("metric").await["channel"], "metrics.ci.build");
    assert_eq!(stream.next_of("metric").await.data()["channel"], "metrics.ci.build");

    for round in 2..5 {
        root.push_value("metrics.other", json!({"x": round})).await;
        root.push_value("metrics.ci.build", json!({"x": round})).await;
        let value = socket.next_of("metric").await;
        assert_eq!((&value["channel"], &value["data"]), (&json!("metrics.ci.build"), &json!({"x": round})));
        let value = stream.next_of("metric").await.data();
        assert_eq!((&value["channel"], &value["data"]), (&json!("metrics.ci.build"), &json!({"x": round})));
    }
    for client in &mut clients {
        loop {
            let value = client.event("/tricast", "metric").await;
            assert_eq!(value[1]["channel"], "metrics.ci.build");
            if value[1]["data"]["x"] == 4 {
                break;
            }
        }
    }
    let refused = ci.request(Method::GET, "/events?channels=metrics.other&strict=1").send().await.unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn requests_on_a_websocket_are_bound_too() {
    let (app, _root) = app().await;
    let mut socket = app.with(bound_token("ci", &["metrics.ci.*", "orders"], &[])).websocket().await;
    for (action, params) in [
        ("get_snapshot", json!({})),
        ("get_snapshot", json!({"channels": ["metrics.ci.build", "metrics.other"]})),
        ("get_history", json!({"channel": "metrics.other"})),
        ("get_order_details", json!({"orderId": "ORD-1"})),
        ("list_orders", json!({})),
        ("mark_order_priority", json!({"orderId": "ORD-1", "priority": "HIGH"})),
    ] {
        let request = json!({"type": "request", "requestId": 1, "action": action, "params": params});
        assert_eq!(socket.ask(request, "error").await["code"], "FORBIDDEN", "{action} {params}");
    }
    let request = json!({"type": "request", "requestId": 2, "action": "get_snapshot", "params": {"channels": ["metrics.ci.build"]}});
    let values = socket.ask(request, "response").await;
    assert_eq!(values["data"]["channels"], json!({"metrics.ci.build": {"x": 1}}));
}

#[tokio::test]
async fn a_bound_token_has_no_permission() {
    let (app, _root) = app().await;
    let ci = app.with(bound_token("ci", &["metrics.*", "orders", "alerts"], &["metrics.*"]));
    for path in ["/api/orders", "/api/dashboards", "/api/alerts", "/api/stats", "/basic", "/metrics"] {
        assert_eq!(ci.get(path).await.status(), 403, "{path}");
    }
    let order = json!({"items": 1, "total": 5, "customerName": "Ada"});
    let refused = ci.post("/api/orders", order.to_string()).await;
    assert_eq!(refused.status(), 403);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["detail"], "this needs the permission write:orders, and this token is bound to channels");
    let me = ci.get_json("/api/me").await;
    assert_eq!(me["permissions"], json!([]));
    assert_eq!(me["channels"], json!({"read": ["metrics.*", "orders", "alerts"], "push": ["metrics.*"]}));
    let unbound = app.with(token("ada", "acme", &["read:metrics"])).get_json("/api/me").await;
    assert!(unbound.get("channels").is_none());
}

#[tokio::test]
async fn a_ticket_and_a_refreshed_token_keep_the_binding() {
    let (app, _root) = app().await;
    let ci = app.with(bound_token("ci", &["metrics.ci.*"], &[]));
    let ticket: Value = ci.post("/api/tickets", "{}").await.json().await.unwrap();
    let mut socket = app.websocket_at(&format!("/ws?ticket={}", ticket["ticket"].as_str().unwrap())).await;
    let subscribed = socket.subscribe(&["metrics.other", "metrics.ci.build"]).await;
    assert_eq!(subscribed["channels"][0]["status"], "denied");
    assert_eq!(subscribed["channels"][1]["status"], "active");

    // A narrower token of the same user ends what it does not allow.
    let mut socket = app.with(token("ci", "acme", &["read:metrics"])).websocket().await;
    socket.subscribe(&["metrics", "metrics.other", "metrics.ci.build"]).await;
    let narrower = bound_token("ci", &["metrics.ci.*"], &[]);
    socket.ask(json!({"type": "refresh_token", "token": narrower}), "token_refreshed").await;
    let lost = socket.next_of("unsubscribed").await;
    let mut names: Vec<_> = lost["channels"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["metrics", "metrics.other"]);
}

#[tokio::test]
async fn a_token_is_accepted_in_the_headers_that_programs_send() {
    let (app, _root) = app().await;
    let ci = bound_token("ci", &[], &["metrics.ci.*"]);
    let push =
        || app.request(Method::POST, "/api/metrics").body(r#"{"channel": "metrics.ci.build", "data": {"x": 3}}"#);
    for request in [
        push().header("authorization", format!("Token {ci}")),
        push().basic_auth("telegraf", Some(&ci)),
        push().header("x-api-key", &ci),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    let tampered = format!("{}AAAA", &ci[..ci.len() - 4]);
    for request in [
        push().header("authorization", format!("Token {tampered}")),
        push().basic_auth("telegraf", Some(&tampered)),
        push().header("x-api-key", &tampered),
    ] {
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 401);
        assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    }
    // A gateway's own key is no token.
    assert_eq!(push().header("x-api-key", "gateway").send().await.unwrap().status(), 401);
    let both = push().header("x-api-key", "gateway").header("authorization", format!("Token {ci}"));
    assert_eq!(both.send().await.unwrap().status(), 202);
}
