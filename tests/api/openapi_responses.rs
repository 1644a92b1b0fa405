//! Responses agree with their schemas in the OpenAPI document, which describe every member.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    helpers::{ApiClient, bound_token, soon, spawn_app, spawn_app_with_tokens, token, until},
    json_schema::Schemas,
};

/// Client that compares each response with its description.
struct Checked<'a> {
    client: &'a ApiClient,
    document: &'a Value,
}

impl Checked<'_> {
    /// Sends a request, which has to get `status`, and returns the body; `null` if there is none. `path` is as in the
    /// document, followed by a query; `ids` are the values in its braces.
    async fn send(&self, method: Method, path: &str, ids: &[&str], body: Value, status: u16) -> Value {
        let described = path.split('?').next().unwrap();
        let address = ids.iter().fold(path.to_owned(), |path, id| {
            let (before, rest) = path.split_once('{').unwrap();
            format!("{before}{id}{}", rest.split_once('}').unwrap().1)
        });
        let mut request = self.client.request(method.clone(), &address);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = soon(&address, request.send()).await.unwrap();
        let (found, kind) = (response.status(), response.headers().get("content-type").cloned());
        let text = response.text().await.unwrap();
        assert_eq!(found, status, "{method} {address}: {text}");

        let schemas = Schemas::complete(self.document);
        let operation = &self.document["paths"][described][method.as_str().to_lowercase()];
        let response = &operation["responses"][status.to_string()];
        assert!(!response.is_null(), "{method} {described}: {status} is not described");
        let Some(kind) = kind.as_ref().map(|kind| kind.to_str().unwrap()) else { return Value::Null };
        let schema = &schemas.resolve(response)["content"][kind]["schema"];
        assert!(!schema.is_null(), "{method} {described}: {status} with {kind} is not described");
        let value = serde_json::from_str(&text).unwrap();
        let faults = schemas.faults(schema, &value);
        assert!(faults.is_empty(), "{method} {address}: {faults:#?}\n{value:#}");
        value
    }

    async fn get(&self, path: &str, ids: &[&str]) -> Value {
        self.send(Method::GET, path, ids, Value::Null, 200).await
    }
}

#[tokio::test]
async fn polls_pushes_and_history_agree_with_their_schemas() {
    let app = spawn_app();
    let document = app.get_json("/api/openapi.json").await;
    let api = Checked { client: &app, document: &document };

    let value = json!({"channel": "metrics.shop", "data": {"load": 0.5, "name": "a"}, "ttl": "1h"});
    let event = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2"}});
    let refused = json!({"channel": "metrics.api", "data": {}});
    let cursor = api.send(Method::POST, "/api/metrics", &[], value.clone(), 202).await["cursor"].clone();
    api.send(Method::POST, "/api/metrics", &[], json!([event, refused]), 207).await;
    api.send(Method::POST, "/api/metrics", &[], refused, 403).await;
    let unknown = json!({"channel": "metrics.nothing", "delete": true});
    api.send(Method::POST, "/api/metrics", &[], unknown, 404).await;
    api.send(Method::POST, "/api/metrics", &[], json!({"metric": "shop.time", "type": "timing", "value": 5}), 202)
        .await;

    api.get("/api/metrics", &[]).await;
    api.get("/api/metrics?channels=metrics.shop,metrics,deploys", &[]).await;
    let since = format!("/api/metrics?channels=metrics.*,deploys&since={}", cursor.as_str().unwrap());
    let events = api.get(&since, &[]).await["events"].clone();
    assert_eq!(events.as_array().unwrap().len(), 1);
    let foreign = api.get("/api/metrics?channels=metrics.shop&since=other:1", &[]).await;
    assert_eq!(foreign["gap"], true);
    api.get("/api/metrics/{channel}", &["metrics.shop"]).await;
    api.get("/api/metrics/{channel}", &["deploys"]).await;
    api.send(Method::GET, "/api/metrics/{channel}", &["nothing"], Value::Null, 404).await;
    api.get("/api/channels", &[]).await;
    let listed = api.get("/api/channels?channels=metrics.shop", &[]).await;
    assert_eq!(listed["channels"][0]["kind"], "state");

    let query = "/api/history?channel=metrics.shop&interval=raw";
    until("the point", || async { app.get_json(query).await["fields"]["load"].is_array().then_some(()) }).await;
    api.get(query, &[]).await;
    assert!(api.get(&format!("{query}&field=load"), &[]).await["buckets"].is_array());
    api.get("/api/metrics?backfill=15m", &[]).await;
    api.get("/api/metrics/{channel}?backfill=15m", &["metrics.shop"]).await;
    let backfilled = api.get("/api/metrics?channels=metrics.shop&backfill=15m", &[]).await;
    assert!(backfilled["history"]["metrics.shop"].is_object());

    // 202 if the store is slow.
    assert!(app.request(Method::DELETE, "/api/metrics/metrics.shop").send().await.unwrap().status().is_success());
    assert!(api.get(&since, &[]).await["gone"].is_object());
    api.send(Method::DELETE, "/api/metrics/{channel}", &["metrics.shop"], Value::Null, 410).await;
}

#[tokio::test]
async fn orders_agree_with_their_schemas() {
    let app = spawn_app_with_tokens(|_| {});
    let admin = app.with(token("ada", "default", &["admin"]));
    let document = app.get_json("/api/openapi.json").await;
    let api = Checked { client: &admin, document: &document };

    let order = json!({"items": 2, "total": 19.9, "customerName": "Ada", "customerId": "ada-1"});
    let id = api.send(Method::POST, "/api/orders", &[], order.clone(), 201).await["orderId"].clone();
    let id = [id.as_str().unwrap()];
    api.send(Method::POST, "/api/orders", &[], order, 201).await;
    api.send(Method::POST, "/api/orders", &[], json!({"items": 2}), 400).await;
    let page = api.get("/api/orders?status=PENDING&limit=1", &[]).await;
    assert!(page["next"].is_string());
    api.get("/api/orders/{id}", &id).await;
    let change = json!({"status": "SHIPPED", "priority": "high"});
    let whole = api.send(Method::PATCH, "/api/orders/{id}", &id, change.clone(), 200).await;
    assert_eq!(whole["items"], 2);
    let writer = app.with(token("bob", "default", &["write:orders"]));
    let as_writer = Checked { client: &writer, document: &document };
    let part = as_writer.send(Method::PATCH, "/api/orders/{id}", &id, change, 200).await;
    assert!(part["items"].is_null() && part["status"] == "SHIPPED", "{part}");

    api.send(Method::POST, "/api/customers", &[], json!({"customerId": "bob-1"}), 201).await;
    api.send(Method::POST, "/api/customers", &[], json!({"customerId": "bob-1", "name": null}), 200).await;
    api.send(Method::POST, "/api/visits", &[], json!({"count": 3, "visitorId": "v"}), 202).await;
    api.send(Method::DELETE, "/api/orders?before=2019-01-31T00:00:00Z", &[], Value::Null, 200).await;
    api.send(Method::DELETE, "/api/customers?before=2019-01-31T00:00:00Z", &[], Value::Null, 200).await;

    assert!(api.get("/api/stats", &[]).await["revenue"].is_number());
    let reader = app.with(token("eve", "default", &["read:metrics"]));
    let as_reader = Checked { client: &reader, document: &document };
    assert!(as_reader.get("/api/stats", &[]).await["revenue"].is_null());
    assert!(as_reader.get("/api/metrics", &[]).await["business"].is_null());
    as_reader.send(Method::GET, "/api/orders", &[], Value::Null, 403).await;
}

#[tokio::test]
async fn dashboards_and_alerts_agree_with_their_schemas() {
    let app = spawn_app();
    let document = app.get_json("/api/openapi.json").await;
    let api = Checked { client: &app, document: &document };

    api.get("/api/dashboards", &[]).await;
    let tile = json!({"id": "load", "type": "chart", "title": "Load", "channel": "metrics.shop", "fields": ["load"],
        "field": null, "width": 2, "height": 1, "options": {"range": "1h"}});
    let board = json!({"id": "shop", "name": "Shop", "tiles": [tile]});
    api.send(Method::POST, "/api/dashboards", &[], board.clone(), 201).await;
    api.send(Method::POST, "/api/dashboards", &[], board.clone(), 409).await;
    api.get("/api/dashboards/{id}", &["shop"]).await;
    api.send(Method::PUT, "/api/dashboards/{id}", &["shop"], board, 200).await;
    let new = json!({"id": "cpu", "type": "number", "title": "CPU"});
    api.send(Method::POST, "/api/dashboards/{id}/tiles", &["shop"], new, 201).await;
    let (path, ids) = ("/api/dashboards/{id}/tiles/{tile}", ["shop", "cpu"]);
    api.send(Method::PATCH, path, &ids, json!({"title": "Processor", "width": 3}), 200).await;
    let order = json!({"order": ["cpu", "load"]});
    api.send(Method::PUT, "/api/dashboards/{id}/tiles/order", &["shop"], order, 200).await;
    api.send(Method::DELETE, path, &ids, Value::Null, 204).await;
    api.send(Method::DELETE, "/api/dashboards/{id}", &["shop"], Value::Null, 204).await;

    let conditions = [
        json!({"above": 1, "clear": 0.5}),
        json!({"below": -1}),
        json!({"dropsBelowRatio": 0.5, "comparedTo": "5m"}),
        json!({"absentFor": "5m", "clear": "1m"}),
    ];
    for (index, condition) in conditions.into_iter().enumerate() {
        let rule = json!({"id": format!("rule-{index}"), "name": "Load", "channel": "metrics.shop", "field": "load",
            "condition": condition, "severity": "warning", "notify": [], "message": "too much"});
        api.send(Method::POST, "/api/alerts/rules", &[], rule, 201).await;
    }
    api.get("/api/alerts/rules", &[]).await;
    let rule = api.get("/api/alerts/rules/{id}", &["rule-1"]).await;
    api.send(Method::PUT, "/api/alerts/rules/{id}", &["rule-1"], rule, 200).await;
    api.send(Method::DELETE, "/api/alerts/rules/{id}", &["rule-1"], Value::Null, 204).await;
    app.push_value("metrics.shop", json!({"load": 2})).await;
    let alerts = until("the alert", || async {
        let page = api.get("/api/alerts?status=open&severity=warning&rule=rule-0", &[]).await;
        page["alerts"].as_array().cloned().filter(|alerts| !alerts.is_empty())
    });
    let id = alerts.await[0]["id"].clone();
    let id = [id.as_str().unwrap()];
    api.send(Method::POST, "/api/alerts/{id}/acknowledge", &id, Value::Null, 200).await;
    assert!(api.get("/api/alerts/{id}", &id).await["acknowledgedBy"].is_string());
    app.push_value("metrics.shop", json!({"load": 0})).await;
    until("the end of the alert", || async {
        api.get("/api/alerts/{id}", &id).await["resolvedAt"].is_string().then_some(())
    })
    .await;
}

#[tokio::test]
async fn other_responses_agree_with_their_schemas() {
    let app = spawn_app_with_tokens(|_| {});
    let user = app.with(token("ada", "default", &["read:metrics"]));
    let document = app.get_json("/api/openapi.json").await;
    let api = Checked { client: &user, document: &document };
    api.get("/api/me", &[]).await;
    let bound = app.with(bound_token("ci", &["orders"], &["metrics.ci.*"]));
    Checked { client: &bound, document: &document }.get("/api/me", &[]).await;
    api.send(Method::POST, "/api/tickets", &[], Value::Null, 201).await;
    let admin = app.with(token("root", "default", &["admin"]));
    let as_admin = Checked { client: &admin, document: &document };
    let key = json!({"name": "ci", "push": ["metrics.ci.*"], "expiresAt": "2100-01-01T00:00:00Z"});
    let created = as_admin.send(Method::POST, "/api/keys", &[], key.clone(), 201).await;
    as_admin.send(Method::POST, "/api/keys", &[], key, 409).await;
    as_admin.send(Method::POST, "/api/keys", &[], json!({"name": "x"}), 422).await;
    as_admin.get("/api/keys", &[]).await;
    let id = created["id"].as_str().unwrap();
    as_admin.send(Method::DELETE, "/api/keys/{id}", &[id], Value::Null, 204).await;
    as_admin.send(Method::DELETE, "/api/keys/{id}", &[id], Value::Null, 404).await;
    api.send(Method::POST, "/api/session", &[], json!({"token": user.token.clone()}), 204).await;
    api.send(Method::POST, "/api/session", &[], json!({"token": "x"}), 401).await;
    api.send(Method::DELETE, "/api/session", &[], Value::Null, 204).await;
    let visitor = Checked { client: &app, document: &document };
    for path in ["/healthz", "/api/doctor", "/api/protocol", "/api/openapi.json"] {
        visitor.get(path, &[]).await;
    }
    until("readiness", || async { (app.get("/readyz").await.status() == 200).then_some(()) }).await;
    visitor.get("/readyz", &[]).await;
    let counted = visitor.send(Method::POST, "/api/doctor/echo", &[], json!("four"), 200).await;
    assert_eq!(counted["bytes"], 6);
    visitor.send(Method::GET, "/api/me", &[], Value::Null, 401).await;
}

#[tokio::test]
async fn examples_agree_with_their_schemas() {
    let document = spawn_app().get_json("/api/openapi.json").await;
    let schemas = Schemas::complete(&document);
    let mut examples = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let several = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
        for example in schema.get("example").into_iter().chain(several) {
            let faults = schemas.faults(schema, example);
            assert!(faults.is_empty(), "{name}: {faults:#?}\n{example:#}");
            examples += 1;
        }
    }
    assert!(examples > 20, "{examples}");
}
