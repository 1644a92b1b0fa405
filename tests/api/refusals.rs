//! Refusals on every door: unknown query parameters, long texts of a client, and many refused names at once.

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{ApiClient, spawn_app, spawn_app_with_tokens, token};

/// Paths that ignore unknown parameters: pages, whose links may have parameters of other sites; checks by monitoring and
/// load balancers, which may add some; and Socket.IO, whose clients do.
const LENIENT: [&str; 10] = [
    "/",
    "/docs",
    "/doctor",
    "/basic",
    "/static/{path}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/socket.io/",
    "/socket.io",
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
            assert_eq!(status, 400, "{method} {path}: {body}");
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
