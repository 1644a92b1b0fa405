//! Refusals on every door: unknown query parameters, long texts of a client, and many refused names at once.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    helpers::{ApiClient, spawn_app, spawn_app_with, spawn_app_with_tokens, token},
    socketio::Client,
};

/// Paths that ignore unknown parameters: pages, whose links may have parameters of other sites; checks by monitoring and
/// load balancers, which may add some; and Socket.IO, whose clients do.
const LENIENT: [&str; 13] = [
    "/",
    "/explore",
    "/docs",
    "/doctor",
    "/basic",
    "/static/{path}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/socket.io/",
    "/socket.io",
    "/ping",
    "/health",
];

async fn document(client: &ApiClient) -> Value {
    client.get_json("/api/openapi.json").await
}

#[tokio::test]
async fn every_operation_refuses_an_unknown_parameter() {
    let app = spawn_app();
    let document = document(&app).await;
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let address = path.replace("{id}", "default").replace("{tile}", "cpu").replace(['{', '}'], "");
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let is_lenient = LENIENT.contains(&path.as_str());
            if is_lenient && !["/", "/basic", "/healthz", "/metrics"].contains(&path.as_str()) {
                continue;
            }
            let mut request = app.request(method.clone(), &format!("{address}?no_such_parameter=1"));
            if method != Method::GET && method != Method::HEAD {
                request = request.body("{}");
            }
            let response = request.send().await.unwrap();
            let status = response.status();
            let body = response.text().await.unwrap();
            if is_lenient {
                assert_eq!(status, 200, "{method} {path}: {body}");
                continue;
            }
            // A HEAD of a WebSocket is refused whatever its query is.
            let expected = if method == Method::HEAD && path.ends_with("/ws") { 426 } else { 400 };
            assert_eq!(status, expected, "{method} {path}: {body}");
            assert!(method == Method::HEAD || body.contains("no_such_parameter"), "{method} {path}: {body}");
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
    assert_eq!(app.get("/api/dashboards/default").await.status(), 200, "the dashboard is still there");
}

#[tokio::test]
async fn an_unknown_parameter_changes_nothing_and_hides_no_missing_permission() {
    let app = spawn_app_with_tokens(|_| {});
    let admin = app.with(token("ada", "acme", &["admin"]));
    admin.push_value("metrics.a", json!({"x": 1})).await;
    let deletion = |client: &ApiClient, query: &str| {
        client.request(Method::DELETE, &format!("/api/metrics/metrics.a{query}")).send()
    };
    assert_eq!(deletion(&admin, "?dryrun=1").await.unwrap().status(), 400);
    assert_eq!(admin.get_json("/api/metrics/metrics.a").await["data"], json!({"x": 1}));
    assert_eq!(deletion(&app, "?dryrun=1").await.unwrap().status(), 401);
    let reader = app.with(token("bob", "acme", &["read:metrics"]));
    assert_eq!(deletion(&reader, "?dryrun=1").await.unwrap().status(), 403);
    // Parameters that every path accepts.
    assert_eq!(deletion(&admin, "?_=1700000000000&ticket=x").await.unwrap().status(), 204);
}

/// Most bytes of a refusal, whatever a client sent.
const MOST: usize = 1_500;

#[tokio::test]
async fn a_problem_repeats_little_of_a_long_text() {
    let app = spawn_app();
    let order = json!({"items": 1, "total": 1, "customerName": "Ada"});
    assert_eq!(app.post("/api/orders", order.to_string()).await.status(), 201);
    let long = "<é".repeat(100_000);
    let tile = json!({"id": "t", "type": "text", "title": "T"});
    let board = json!({"id": "b", "name": "B", "tiles": [tile]});
    assert_eq!(app.post("/api/dashboards", board.to_string()).await.status(), 201);
    let mut unknown = order.clone();
    unknown[&long] = json!(1);
    let cases = [
        (Method::POST, "/api/orders", json!({"items": 1, "total": 1, "customerName": "Ada", "status": long})),
        (Method::POST, "/api/orders", unknown),
        (Method::PATCH, "/api/orders/ord-00000001", json!({"status": long})),
        (Method::PATCH, "/api/orders/ord-00000001", json!({&long: 1})),
        (Method::POST, "/api/customers", json!({&long: 1})),
        (Method::POST, "/api/visits", json!({&long: 1})),
        (Method::POST, "/api/alerts/rules", json!({"id": "r", "severity": long})),
        (Method::POST, "/api/alerts/rules", json!({&long: 1})),
        (Method::POST, "/api/dashboards", json!({&long: 1})),
        (Method::PUT, "/api/dashboards/b", json!({"name": "B", "tiles": [{"id": "x", "type": long}]})),
        (Method::POST, "/api/dashboards/b/tiles", json!({"type": long})),
        (Method::PATCH, "/api/dashboards/b/tiles/t", json!({"type": long})),
        (Method::PATCH, "/api/dashboards/b/tiles/t", json!({&long: 1})),
        (Method::PUT, "/api/dashboards/b/tiles/order", json!({"order": [long]})),
        (Method::POST, "/api/session", json!({&long: 1})),
        (Method::POST, "/api/metrics", json!({&long: 1})),
        (Method::POST, "/api/metrics", json!({"channel": long, "data": {}})),
    ];
    for (method, path, body) in cases {
        let response = app.request(method.clone(), path).body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let problem = response.text().await.unwrap();
        assert!(status.is_client_error() && problem.len() < MOST, "{method} {path}: {status}, {} bytes", problem.len());
    }
    let long = "a".repeat(10_000);
    for query in
        ["orders?status=", "alerts?severity=", "orders?limit=", "history?channel=", "channels?channels=", "orders?"]
    {
        let problem = app.get(&format!("/api/{query}{long}")).await;
        assert_eq!(problem.status(), 400, "{query}");
        let problem = problem.text().await.unwrap();
        assert!(problem.len() < MOST, "{query}: {} bytes", problem.len());
    }
    // The end of the text has the words that are possible.
    let problem = app.get(&format!("/api/orders?status={long}")).await.json::<Value>().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("status: unknown variant") && detail.contains('…'), "{detail}");
    assert!(detail.contains("SHIPPED"), "{detail}");
}

#[tokio::test]
async fn an_error_message_repeats_little_of_a_long_text() {
    let app = spawn_app_with(|config| config.limits.max_bad_messages = 0);
    let long = "<".repeat(50_000);
    let request =
        |action: &str, params: Value| json!({"type": "request", "requestId": "1", "action": action, "params": params});
    let cases = [
        request("list_orders", json!({"status": long})),
        request("list_orders", json!({&long: 1})),
        request("mark_order_priority", json!({"orderId": "ord-00000001", "priority": long})),
        request("get_history", json!({"channel": long})),
        request("get_snapshot", json!({"channels": [long]})),
        request(&long, json!({})),
        json!({"type": "configure", "requestId": "1", "settings": {&long: 1}}),
        json!({"type": "unsubscribe", "requestId": "1", "channels": [long]}),
        json!({"type": long, "requestId": "1"}),
    ];
    let mut socket = app.websocket().await;
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    for mut message in cases {
        let what = message.to_string()[..80].to_owned();
        let error = socket.ask(message.clone(), "error").await.to_string();
        assert!(error.len() < MOST, "{what}: {} bytes", error.len());
        // The same as an event of Socket.IO.
        let kind = message["type"].as_str().unwrap().to_owned();
        message.as_object_mut().unwrap().retain(|name, _| name != "type" && name != "requestId");
        let refusal = client.ask("/tricast", json!([kind, message])).await.to_string();
        assert!(refusal.contains("INVALID_MESSAGE") && refusal.len() < MOST, "{what}: {refusal:.200}");
    }
    // And as a command to an event stream.
    let mut stream = app.events("?channels=system").await;
    let session = stream.next_of("connected").await.data()["session"].as_str().unwrap().to_owned();
    let command = json!({"type": "pause", "channels": [long]});
    let problem = app.post(&format!("/api/sessions/{session}"), command.to_string()).await.text().await.unwrap();
    assert!(problem.contains("INVALID_MESSAGE") && problem.len() < MOST, "{} bytes", problem.len());
}

#[tokio::test]
async fn a_body_without_json_is_not_an_empty_body() {
    let app = spawn_app();
    for (body, status) in [("\u{c}", 400), ("\u{b}", 400), ("", 201), (" \t\r\n", 201), (" null\n", 201)] {
        assert_eq!(app.post("/api/customers", body).await.status(), status, "{body:?}");
    }
    assert_eq!(app.post("/api/doctor/echo", "").await.json::<Value>().await.unwrap(), json!({"bytes": 0}));
    let document = document(&app).await;
    let echo = &document["paths"]["/api/doctor/echo"]["post"]["requestBody"];
    assert_ne!(echo["required"], true, "a proxy may lose the body: {echo}");
}

#[tokio::test]
async fn many_denied_channels_are_listed_up_to_a_number_and_then_counted() {
    let app = spawn_app();
    let mut names = vec!["$"; 999];
    names.push("metrics.api");
    let command = json!({"type": "subscribe", "requestId": 1, "channels": names});
    let mut socket = app.websocket().await;
    let over_websocket = socket.ask(command.clone(), "subscribed").await;

    let mut stream = app.events("?channels=system").await;
    let session = stream.next_of("connected").await.data()["session"].as_str().unwrap().to_owned();
    let replied = app.post(&format!("/api/sessions/{session}"), command.to_string()).await;
    let over_http = replied.json::<Value>().await.unwrap();

    let mut client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    let over_socketio = client.ask("/tricast", json!(["subscribe", {"channels": names}])).await;

    for reply in [over_websocket, over_http, over_socketio] {
        let lines = reply["channels"].as_array().unwrap_or_else(|| panic!("{reply}"));
        let denied = lines.iter().filter(|line| line["status"] == "denied").count();
        let active: Vec<_> = lines.iter().filter(|line| line["status"] == "active").map(|line| &line["name"]).collect();
        assert_eq!((denied, active, &reply["denied"]), (100, vec![&json!("metrics.api")], &json!(999)));
        assert!(reply.to_string().len() < 20_000, "{} bytes", reply.to_string().len());
    }
    let few = socket.subscribe(&["$", "metrics.api"]).await;
    assert_eq!((few["channels"].as_array().unwrap().len(), few.get("denied")), (2, None), "all are listed");
}
