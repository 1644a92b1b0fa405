//! Isolation of tenants: nothing crosses from one to another.

use serde_json::json;

use crate::helpers::{ApiClient, spawn_app_with_tokens, token, until};

fn of(app: &ApiClient, tenant: &str) -> ApiClient {
    app.with(token("ada", tenant, &["admin"]))
}

#[tokio::test]
async fn another_tenants_channel() {
    let app = spawn_app_with_tokens(|_| {});
    let (acme, other) = (of(&app, "acme"), of(&app, "other"));
    let mut socket = other.websocket().await;
    socket.subscribe(&["metrics.checkout", "metrics.*", "deploys"]).await;
    let mut stream = other.events("?channels=metrics.checkout,deploys").await;
    acme.push_value("metrics.checkout", json!({"of": "acme"})).await;
    acme.push_event("deploys", 1).await;
    assert_eq!(other.get("/api/metrics/metrics.checkout").await.status(), 404);
    assert!(!other.get("/api/metrics").await.text().await.unwrap().contains("acme"));
    assert!(!other.get("/api/channels").await.text().await.unwrap().contains("checkout"));
    // Its own changes arrive, and no change of the other tenant before.
    other.push_value("metrics.checkout", json!({"of": "other"})).await;
    other.push_event("deploys", 2).await;
    loop {
        let message = socket.next().await;
        assert!(!message.to_string().contains("acme"), "{message}");
        if message["type"] == "event" {
            assert_eq!(message["data"]["n"], 2);
            break;
        }
    }
    loop {
        let event = stream.next().await.unwrap();
        assert!(!event.text.contains("acme"), "{event:?}");
        if event.name == "happened" {
            assert_eq!(event.data()["data"]["n"], 2);
            break;
        }
    }
    assert_eq!(acme.get_json("/api/metrics/metrics.checkout").await["data"], json!({"of": "acme"}));
}

#[tokio::test]
async fn another_tenants_cursor() {
    let app = spawn_app_with_tokens(|_| {});
    let (acme, other) = (of(&app, "acme"), of(&app, "other"));
    let cursor = acme.push_event("deploys", 1).await;
    acme.push_event("deploys", 2).await;
    other.push_event("deploys", 10).await;
    let mut socket = other.websocket().await;
    let message = json!({"type": "subscribe", "channels": ["deploys"], "since": cursor});
    let answer = socket.ask(message, "subscribed").await;
    assert_eq!((&answer["resume"], &answer["reason"]), (&json!("reset"), &json!("epoch_changed")));
    assert_eq!(socket.next_of("event").await["data"]["n"], 10);
    let polled = other.get_json(&format!("/api/metrics?channels=deploys&since={cursor}")).await;
    assert_eq!((&polled["gap"], &polled["events"][0]["data"]["n"]), (&json!(true), &json!(10)));
    assert_eq!(polled["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn another_tenants_order() {
    let app = spawn_app_with_tokens(|_| {});
    let (acme, other) = (of(&app, "acme"), of(&app, "other"));
    let order = acme.post("/api/orders", r#"{"items":1,"total":9.5,"customerName":"Ada"}"#).await;
    let order: serde_json::Value = order.json().await.unwrap();
    let path = format!("/api/orders/{}", order["orderId"].as_str().unwrap());
    assert_eq!(acme.get(&path).await.status(), 200);
    assert_eq!(other.get(&path).await.status(), 404);
    let change = other.request(reqwest::Method::PATCH, &path).body(r#"{"status":"CANCELLED"}"#).send().await.unwrap();
    assert_eq!(change.status(), 404);
    assert_eq!(other.get_json("/api/orders").await["orders"], json!([]));
    let mut socket = other.websocket().await;
    for action in ["get_order_details", "mark_order_priority"] {
        let mut params = json!({"orderId": order["orderId"]});
        if action == "mark_order_priority" {
            params["priority"] = "high".into();
        }
        let request = json!({"type": "request", "requestId": 1, "action": action, "params": params});
        assert_eq!(socket.ask(request, "error").await["code"], "RESOURCE_NOT_FOUND", "{action}");
    }
    until("the numbers", || async {
        let value = acme.get_json("/api/metrics/metrics.orders").await;
        (value["data"]["ordersToday"] == 1).then_some(())
    })
    .await;
    assert_eq!(other.get_json("/api/metrics/metrics.orders").await["data"]["ordersToday"], 0);
}

#[tokio::test]
async fn another_tenants_dashboard() {
    let app = spawn_app_with_tokens(|_| {});
    let (acme, other) = (of(&app, "acme"), of(&app, "other"));
    let made = acme.post("/api/dashboards", r#"{"id":"secret","name":"of acme","tiles":[]}"#).await;
    assert_eq!(made.status(), 201);
    let tile = r#"{"type":"text","title":"x"}"#;
    for (method, path, body) in [
        (reqwest::Method::GET, "/api/dashboards/secret", ""),
        (reqwest::Method::PUT, "/api/dashboards/secret", r#"{"name":"mine","tiles":[]}"#),
        (reqwest::Method::POST, "/api/dashboards/secret/tiles", tile),
        (reqwest::Method::DELETE, "/api/dashboards/secret", ""),
    ] {
        let answer = other.request(method.clone(), path).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{method} {path}");
    }
    assert!(!other.get("/api/dashboards").await.text().await.unwrap().contains("secret"));
    assert_eq!(acme.get_json("/api/dashboards/secret").await["name"], "of acme");
}

#[tokio::test]
async fn counts_are_per_tenant() {
    let app = spawn_app_with_tokens(|_| {});
    let (acme, other) = (of(&app, "acme"), of(&app, "other"));
    let mut open = Vec::new();
    for user in ["a", "b", "c"] {
        open.push(app.with(token(user, "acme", &["admin"])).websocket().await);
    }
    let online = |visitor: ApiClient, expected: u64| async move {
        until("the users", || async {
            let value = visitor.get("/api/metrics/metrics.users_online").await;
            if value.status() != 200 {
                return None;
            }
            let value: serde_json::Value = value.json().await.unwrap();
            (value["data"]["currentUsers"] == expected).then_some(())
        })
        .await;
    };
    // The client of the query is one of them.
    online(acme.clone(), 4).await;
    online(other.clone(), 1).await;
}

#[tokio::test]
async fn the_number_of_tenants_is_bounded_and_existing_ones_continue() {
    let app = spawn_app_with_tokens(|config| config.limits.max_tenants = 2);
    let (one, two) = (of(&app, "one"), of(&app, "two"));
    assert_eq!(one.get("/api/metrics").await.status(), 200);
    assert_eq!(two.get("/api/metrics").await.status(), 200);
    let third = of(&app, "three").get("/api/metrics").await;
    assert_eq!((third.status().as_u16(), third.headers().contains_key("retry-after")), (429, true));
    assert_eq!(one.get("/api/metrics").await.status(), 200);
    assert_eq!(one.get("/metrics").await.status(), 403, "the metrics cover all tenants");
}

#[tokio::test]
async fn unused_tenants_make_room_for_others() {
    let app = spawn_app_with_tokens(|config| config.limits.max_tenants = 4);
    let (kept, busy, ruled) = (of(&app, "kept"), of(&app, "busy"), of(&app, "ruled"));
    kept.push_value("metrics.a", json!({"x": 1})).await;
    let mut socket = busy.websocket().await;
    let rule = r#"{"id":"r","name":"R","channel":"metrics.a","field":"x","condition":{"above":1},"severity":"info"}"#;
    assert_eq!(ruled.post("/api/alerts/rules", rule).await.status(), 201);
    for n in 0..3 {
        let idle = of(&app, &format!("idle{n}"));
        until("a place", || async { (idle.get("/api/me").await.status() == 200).then_some(()) }).await;
    }
    assert_eq!(kept.get_json("/api/metrics/metrics.a").await["data"], json!({"x": 1}), "a tenant with data stays");
    socket.send(json!({"type": "ping", "requestId": 7})).await;
    assert_eq!(socket.next_of("pong").await["requestId"], 7, "and one with a client");
    assert_eq!(ruled.get_json("/api/alerts/rules").await["rules"].as_array().unwrap().len(), 1);
    let admin = of(&app, "default");
    until("a place", || async { (admin.get("/api/me").await.status() == 200).then_some(()) }).await;
    assert_eq!(admin.counter("tricast_tenants").await, 4.0);
    assert!(admin.counter("tricast_tenants_released_total").await >= 3.0);
}

#[tokio::test]
async fn the_metrics_page_needs_no_place_of_a_tenant() {
    let app = spawn_app_with_tokens(|config| config.limits.max_tenants = 1);
    of(&app, "kept").push_value("metrics.a", json!({"x": 1})).await;
    let admin = of(&app, "default");
    assert_eq!(admin.get("/api/me").await.status(), 429);
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert_eq!(admin.get(path).await.status(), 200, "{path}");
    }
    assert_eq!((admin.counter("tricast_tenants").await, admin.limit("max_tenants").await), (1.0, 1.0));
    assert_eq!(of(&app, "kept").get("/metrics").await.status(), 403);
}

const ORDER: &str = r#"{"items":1,"total":1,"customerName":"Ada"}"#;

#[tokio::test]
async fn a_tenant_with_old_orders_is_released() {
    let app = spawn_app_with_tokens(|config| {
        config.limits.max_tenants = 2;
        config.limits.tenant_idle.0 = std::time::Duration::from_millis(100);
    });
    for name in ["one", "two", "three", "four"] {
        let tenant = of(&app, name);
        let order = || async { (tenant.post("/api/orders", ORDER).await.status() == 201).then_some(()) };
        until("a place", order).await;
    }
    let admin = of(&app, "default");
    let released = || async { (admin.counter("tricast_tenants_released_total").await >= 4.0).then_some(()) };
    until("the release of all", released).await;
    assert_eq!(of(&app, "one").get_json("/api/orders").await["orders"].as_array().unwrap().len(), 1, "nothing is lost");
}

#[tokio::test]
async fn a_cursor_of_a_released_tenant_leads_to_a_gap_and_never_back() {
    let app = spawn_app_with_tokens(|config| {
        config.limits.max_tenants = 1;
        config.limits.tenant_idle.0 = std::time::Duration::ZERO;
    });
    let (shop, other) = (of(&app, "shop"), of(&app, "other"));
    let mut socket = shop.websocket().await;
    socket.subscribe(&["orders"]).await;
    assert_eq!(shop.post("/api/orders", ORDER).await.status(), 201);
    let old = socket.next_of("event").await["cursor"].as_str().unwrap().to_owned();
    socket.stream.close(None).await.unwrap();
    drop(socket);
    until("its release", || async { (other.get("/api/me").await.status() == 200).then_some(()) }).await;
    until("a place", || async { (shop.post("/api/orders", ORDER).await.status() == 201).then_some(()) }).await;
    // The new log goes beyond the offset of the old cursor.
    let offset = |cursor: &str| cursor.rsplit(':').next().unwrap().parse::<f64>().unwrap();
    for n in 0.. {
        let new = shop.push_value("metrics.a", json!({"n": n})).await;
        assert_ne!(new.split(':').next(), old.split(':').next(), "an epoch has one log");
        if offset(&new) > offset(&old) + 5.0 {
            break;
        }
    }

    let mut socket = shop.websocket().await;
    let subscribe = json!({"type": "subscribe", "channels": ["orders"], "since": old});
    let subscribed = socket.ask(subscribe, "subscribed").await;
    assert_eq!((&subscribed["resume"], &subscribed["reason"]), (&json!("reset"), &json!("epoch_changed")));
    let again = socket.next_of("event").await;
    assert_eq!(again["data"]["orderId"], "ord-00000002", "an event of the new log");

    let mut stream = shop.events(&format!("?channels=orders&since={old}")).await;
    assert_eq!(stream.next_of("gap").await.data()["reason"], "epoch_changed");
    let connected = stream.next_of("connected").await.data();
    assert_eq!((&connected["resume"], &connected["reason"]), (&json!("reset"), &json!("epoch_changed")));

    let poll = shop.get_json(&format!("/api/metrics?channels=orders,metrics.a&since={old}")).await;
    assert!(poll["gap"] == true && poll.to_string().contains("\"n\":"), "with the fresh state: {poll}");

    let mut client = crate::socketio::Client::polling(&shop).await;
    client.join("/tricast", json!({})).await;
    let subscribed = client.ask("/tricast", json!(["subscribe", {"channels": ["orders"], "since": old}])).await;
    assert_eq!(subscribed["resume"], "reset", "{subscribed}");
}

#[tokio::test]
async fn an_idle_tenant_is_released_and_can_start_again() {
    let app = spawn_app_with_tokens(|config| config.limits.tenant_idle.0 = std::time::Duration::from_millis(100));
    let idle = of(&app, "idle");
    assert_eq!(idle.get("/api/me").await.status(), 200);
    let admin = of(&app, "default");
    until("its release", || async { (admin.counter("tricast_tenants_released_total").await >= 1.0).then_some(()) })
        .await;
    idle.push_value("metrics.a", json!({"x": 1})).await;
    assert_eq!(idle.get_json("/api/metrics/metrics.a").await["data"], json!({"x": 1}));
    let made = idle.post("/api/orders", r#"{"items":1,"total":1,"customerName":"Ada"}"#).await;
    assert_eq!(made.status(), 201, "all its services work");
}
