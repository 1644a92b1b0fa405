//! Tokens on every endpoint: admission, warning before the expiry, and the end of the stream.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::helpers::{TestApp, spawn_app, spawn_app_with_tokens, token, token_for, until};

const READER: [&str; 1] = ["read:metrics"];

fn app() -> TestApp {
    spawn_app_with_tokens(|_| {})
}

#[tokio::test]
async fn without_a_token_only_public_routes_respond() {
    let app = app();
    for path in ["/api/metrics", "/api/metrics/a", "/api/channels", "/api/orders", "/api/me", "/basic", "/metrics"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"tricast\"", "{path}");
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], "UNAUTHORIZED", "{path}");
    }
    for path in ["/api/metrics", "/api/orders", "/api/tickets", "/api/visits"] {
        assert_eq!(app.post(path, "{}").await.status(), 401, "{path}");
    }
    let stream = app.request(Method::GET, "/events").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status(), 401, "a native EventSource must not reconnect without a token");
    for path in ["/", "/healthz", "/readyz", "/api/protocol"] {
        assert_eq!(app.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_header_query_and_cookie() {
    let app = spawn_app_with_tokens(|config| config.auth.cookie = Some("session".into()));
    let token = token("ada", "acme", &READER);
    assert_eq!(app.with(&*token).get("/api/metrics").await.status(), 200);
    assert_eq!(app.get(&format!("/api/metrics?token={token}")).await.status(), 200);
    let cookie = app.request(Method::GET, "/api/me").header("cookie", format!("a=b; session={token}"));
    let me: serde_json::Value = cookie.send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["user"], &me["tenant"], &me["anonymous"]), (&json!("ada"), &json!("acme"), &json!(false)));
    assert_eq!(me["permissions"], json!(READER));
    assert!(me["expiresAt"].as_str().unwrap().ends_with('Z'));
    // The credential of this very request takes precedence.
    let both = app.with("nonsense").request(Method::GET, "/api/me").header("cookie", format!("session={token}"));
    assert_eq!(both.send().await.unwrap().status(), 401);
    // Other schemes are meant for others, such as a proxy in front.
    let basic = app.request(Method::GET, "/api/me").basic_auth("proxy", Some("x"));
    assert_eq!(basic.header("cookie", format!("session={token}")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_websocket_with_a_bad_token_is_refused_before_the_upgrade() {
    let app = app();
    let good = token("ada", "acme", &READER);
    let mut tampered = good.clone();
    tampered.truncate(good.len() - 3);
    for bad in [tampered.as_str(), "x", "a.b.c", &token_for("ada", "acme", &READER, Duration::ZERO)] {
        assert_eq!(app.with(bad).try_websocket_at("/ws").await.err(), Some(401), "{bad}");
        assert_eq!(app.try_websocket_at(&format!("/ws?token={bad}")).await.err(), Some(401), "{bad}");
    }
    let socket = app.try_websocket_at(&format!("/ws?token={good}")).await.unwrap();
    assert_eq!(socket.connected["capabilities"], json!(["metrics", "system"]));
    assert!(app.with(token("root", "default", &["admin"])).counter("tricast_tokens_refused_total").await >= 8.0);
}

#[tokio::test]
async fn most_commands_require_authentication() {
    let app = app();
    let mut socket = app.websocket().await;
    assert_eq!(socket.connected["capabilities"], json!([]));
    assert!(socket.connected.get("cursor").is_none());
    let refused = socket.ask(json!({"type": "subscribe", "requestId": 1, "channels": ["metrics"]}), "error").await;
    assert_eq!((&refused["code"], &refused["requestId"]), (&json!("UNAUTHORIZED"), &json!(1)));
    for kind in ["request", "configure", "unsubscribe"] {
        let message =
            json!({"type": kind, "requestId": 2, "channels": ["a"], "action": "list_channels", "settings": {}});
        assert_eq!(socket.ask(message, "error").await["code"], "UNAUTHORIZED", "{kind}");
    }
    assert_eq!(socket.ask(json!({"type": "ping", "requestId": 3}), "pong").await["requestId"], 3);
    // Messages right behind the token are processed with its permissions.
    let token = token("ada", "acme", &["read:metrics", "read:orders"]);
    socket.send(json!({"type": "authenticate", "requestId": 4, "token": token})).await;
    socket.send(json!({"type": "subscribe", "requestId": 5, "channels": ["metrics.orders"]})).await;
    let known = socket.next_of("authenticated").await;
    assert_eq!((&known["userId"], &known["permissions"]), (&json!("ada"), &json!(["read:metrics", "read:orders"])));
    assert_eq!(known["requestId"], 4);
    assert!(known["expiresAt"].is_string() && known["cursor"].is_string());
    assert_eq!(socket.next_of("subscribed").await["channels"][0]["status"], "active");
    assert_eq!(socket.next_of("metric").await["channel"], "metrics.orders");
}

#[tokio::test]
async fn a_socket_without_a_token_is_closed_in_time() {
    let app = spawn_app_with_tokens(|config| config.limits.auth_timeout.0 = Duration::from_millis(300));
    let mut socket = app.websocket().await;
    let (code, before) = socket.closed().await;
    assert_eq!((code, &before.last().unwrap()["code"]), (4401, &json!("UNAUTHORIZED")));
    let root = app.with(token("root", "default", &["admin"]));
    assert_eq!(root.limit("auth_timeout").await, 1.0);
}

#[tokio::test]
async fn an_invalid_token_in_authenticate_closes_for_good() {
    let app = app();
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "authenticate", "token": "a.b.c"})).await;
    let (code, before) = socket.closed().await;
    assert_eq!((code, &before.last().unwrap()["code"]), (4501, &json!("UNAUTHORIZED")));
    let mut socket = app.websocket().await;
    socket.send(json!({"type": "authenticate", "token": token_for("ada", "acme", &READER, Duration::ZERO)})).await;
    assert_eq!(socket.closed().await.0, 4401, "expired: reconnect with a newer token");
}

#[tokio::test]
async fn a_websocket_is_warned_and_closed_when_its_token_expires() {
    let app = app();
    let mut socket = app.with(token_for("ada", "acme", &READER, Duration::from_secs(2))).websocket().await;
    let warning = socket.next_of("auth_expiring").await;
    assert!(warning["expiresIn"].as_u64().unwrap() <= 2, "{warning}");
    let (code, before) = socket.closed().await;
    assert_eq!((code, &before.last().unwrap()["code"]), (4401, &json!("UNAUTHORIZED")));
}

#[tokio::test]
async fn a_refreshed_token_continues_the_stream_and_rechecks_the_subscriptions() {
    let app = app();
    let both = ["read:metrics", "read:orders"];
    let first = app.with(token_for("ada", "acme", &both, Duration::from_secs(5)));
    let mut socket = first.websocket().await;
    let mut not_refreshed = first.websocket().await;
    socket.subscribe(&["metrics.orders", "metrics.checkout", "metrics.*"]).await;
    let narrower = token("ada", "acme", &["read:metrics", "write:metrics"]);
    let refreshed =
        socket.ask(json!({"type": "refresh_token", "requestId": "r", "token": narrower}), "token_refreshed").await;
    assert!(refreshed["requestId"] == "r" && refreshed["expiresAt"].is_string());
    let lost = socket.next_of("unsubscribed").await;
    assert_eq!((&lost["channels"], &lost["activeSubscriptions"]), (&json!(["metrics.orders"]), &json!(2)));
    assert_eq!(not_refreshed.closed().await.0, 4401, "the first token has expired");
    app.with(&*narrower).push_value("metrics.checkout", json!({"x": 1})).await;
    let value = socket.next_of("metric").await;
    assert!(value["channel"] != "metrics.orders", "{value}");
}

#[tokio::test]
async fn a_token_of_another_user_in_refresh_token() {
    let app = app();
    let mut socket = app.with(token("ada", "acme", &READER)).websocket().await;
    for other in [token("bob", "acme", &["admin"]), token("ada", "other", &["admin"])] {
        for kind in ["refresh_token", "authenticate"] {
            let refused = socket.ask(json!({"type": kind, "token": other}), "error").await;
            assert_eq!(refused["code"], "FORBIDDEN", "{kind}");
        }
    }
    let bad = socket.ask(json!({"type": "refresh_token", "token": "x.y.z"}), "error").await;
    assert_eq!(bad["code"], "UNAUTHORIZED");
    assert_eq!(
        socket.subscribe(&["orders"]).await["channels"][0]["code"],
        "FORBIDDEN",
        "no permission was transferred"
    );
}

#[tokio::test]
async fn an_event_stream_is_warned_and_ends_when_its_token_expires() {
    let app = app();
    let mut stream = app.with(token_for("ada", "acme", &READER, Duration::from_secs(2))).events("").await;
    assert!(stream.next_of("auth_expiring").await.data()["expiresIn"].as_u64().unwrap() <= 2);
    let error = stream.next_of("error").await.data();
    assert_eq!((&error["status"], &error["code"]), (&json!(401), &json!("UNAUTHORIZED")));
    assert!(stream.retry.unwrap() >= 1_000);
    assert!(stream.next().await.is_none(), "and ends");
}

#[tokio::test]
async fn an_eventsource_gets_an_expired_token_as_an_event_and_a_bad_one_as_a_status() {
    let app = app();
    let expired = token_for("ada", "acme", &READER, Duration::ZERO);
    let ask = |path: String| app.request(Method::GET, &path).header("accept", "text/event-stream").send();
    let passing = ask(format!("/events?token={expired}")).await.unwrap();
    assert_eq!(passing.status(), 200);
    let text = passing.text().await.unwrap();
    assert!(text.starts_with("retry: ") && text.contains("event: error") && text.contains("UNAUTHORIZED"), "{text}");
    assert_eq!(ask(format!("/events?token={expired}&strict=1")).await.unwrap().status(), 401);
    assert_eq!(ask("/events?token=a.b.c".into()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_held_poll_ends_when_its_token_expires() {
    let app = app();
    let visitor = app.with(token_for("ada", "acme", &["read:metrics", "write:metrics"], Duration::from_secs(2)));
    visitor.push_value("a", json!({"x": 1})).await;
    let tag = visitor.get("/api/metrics/a").await.headers()["etag"].clone();
    let held =
        visitor.request(Method::GET, "/api/metrics/a?wait=20").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(held.status(), 401);
}

#[tokio::test]
async fn permissions_are_checked_per_channel_and_action() {
    let app = app();
    let writer = app.with(token("w", "acme", &["write:metrics", "write:orders"]));
    let reader = app.with(token("r", "acme", &READER));
    let clerk = app.with(token("c", "acme", &["read:orders"]));
    writer.push_value("metrics.checkout", json!({"x": 1})).await;
    assert_eq!(writer.get("/api/metrics").await.status(), 403);
    assert_eq!(reader.post("/api/metrics", r#"{"channel":"a","data":{}}"#).await.status(), 403);
    assert_eq!(reader.get("/api/orders").await.status(), 403);
    assert_eq!(reader.get("/api/metrics/metrics.orders").await.status(), 403);
    assert_eq!(reader.get("/api/metrics?channels=metrics,orders").await.status(), 403);
    assert_eq!(clerk.get("/api/metrics/metrics.orders").await.status(), 200);
    assert_eq!(clerk.get("/api/metrics").await.status(), 403);
    for of_one_tenant in [&reader, &app.with(token("root", "acme", &["admin"]))] {
        assert_eq!(of_one_tenant.get("/metrics").await.status(), 403, "it covers all tenants");
    }
    let orders = clerk.get("/api/orders").await;
    assert!(orders.headers()["cache-control"].to_str().unwrap().contains("private"));
    assert!(orders.headers().get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("Authorization")));
    // Of several channels, only the readable ones are returned.
    let names =
        |value: serde_json::Value| -> Vec<String> { value["channels"].as_object().unwrap().keys().cloned().collect() };
    until("the sources", || async {
        (reader.get("/api/metrics/metrics.users_online").await.status() == 200).then_some(())
    })
    .await;
    let seen = names(reader.get_json("/api/metrics?channels=metrics.*").await);
    assert!(seen.contains(&"metrics.checkout".into()) && !seen.contains(&"metrics.orders".into()), "{seen:?}");
    let of_orders = ["metrics.business", "metrics.orders", "metrics.revenue"];
    assert_eq!(names(clerk.get_json("/api/metrics?channels=metrics.*").await), of_orders);
    let listed = clerk.get_json("/api/channels").await;
    assert!(listed["channels"].as_array().unwrap().iter().all(|c| c["channel"] != "metrics.checkout"), "{listed}");
    let mut socket = clerk.websocket().await;
    assert_eq!(socket.connected["capabilities"], json!(["orders", "system"]));
    let lines = socket.subscribe(&["orders", "alerts", "metrics.api", "metrics.*"]).await["channels"].clone();
    let codes: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("FORBIDDEN"), Some("FORBIDDEN"), None]);
    let request =
        json!({"type": "request", "requestId": 1, "action": "get_snapshot", "params": {"channels": ["metrics"]}});
    assert_eq!(socket.ask(request, "error").await["code"], "FORBIDDEN");
    let mark = json!({"type": "request", "requestId": 2, "action": "mark_order_priority",
        "params": {"orderId": "ord-00000001", "priority": "high"}});
    assert_eq!(socket.ask(mark, "error").await["code"], "FORBIDDEN");
    let mut stream = clerk.events("?channels=metrics.*").await;
    writer.push_value("metrics.checkout", json!({"x": 2})).await;
    writer.post("/api/orders", r#"{"items":1,"total":5,"customerName":"Ada"}"#).await;
    loop {
        let value = stream.next_of("metric").await.data();
        assert!(of_orders.contains(&value["channel"].as_str().unwrap()), "{value}");
        if value["data"]["ordersToday"] == 1 {
            break;
        }
    }
}

#[tokio::test]
async fn a_ticket_opens_one_stream_only() {
    let app = app();
    let ada = app.with(token("ada", "acme", &READER));
    let ticket = || async {
        let answer = ada.post("/api/tickets", "").await;
        assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().unwrap()), (201, "no-store"));
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["expiresIn"], 30);
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let first = ticket().await;
    let socket = app.websocket_at(&format!("/ws?ticket={first}")).await;
    assert_eq!(socket.connected["capabilities"], json!(["metrics", "system"]));
    assert_eq!(app.try_websocket_at(&format!("/ws?ticket={first}")).await.err(), Some(401), "used");
    let second = ticket().await;
    let mut stream = app.events(&format!("?ticket={second}")).await;
    stream.next_of("connected").await;
    assert_eq!(app.get(&format!("/events?ticket={second}")).await.status(), 401);
    assert_eq!(app.get("/events?ticket=made-up").await.status(), 401);
    assert_eq!(app.get(&format!("/api/metrics?ticket={}", ticket().await)).await.status(), 401, "no stream");
}

#[tokio::test]
async fn without_authentication_all_clients_are_anonymous_and_have_all_permissions() {
    let app = spawn_app();
    let me = app.get_json("/api/me").await;
    assert_eq!((&me["tenant"], &me["anonymous"], &me["expiresAt"]), (&json!("default"), &json!(true), &json!(null)));
    assert_eq!(me["permissions"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn responses_contain_neither_tokens_nor_tickets() {
    let app = app();
    for path in ["/api/metrics?token=hunter2.hunter2.hunter2", "/events?ticket=hunter2", "/nothing?token=hunter2"] {
        let text = app.get(path).await.text().await.unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_browser_is_signed_in_by_a_cookie_that_ends_with_the_token() {
    let app = app();
    let token = token("ada", "acme", &READER);
    let body = json!({"token": token}).to_string();
    let answer = app.post("/api/session", &body).await;
    assert_eq!(answer.status(), 204);
    let field = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let parts: Vec<&str> = field.split("; ").collect();
    assert_eq!(parts[0], format!("tricast_session={token}"));
    for part in ["Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(parts.contains(&part), "{field}");
    }
    assert!(parts.iter().any(|part| part.strip_prefix("Max-Age=").is_some_and(|age| age.parse::<u32>().unwrap() > 0)));
    assert!(!parts.contains(&"Secure"), "the page came without TLS: {field}");

    let ask = |origin: Option<String>, path: &str| {
        let request = app.request(Method::GET, path).header("cookie", parts[0]);
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        async { request.send().await.unwrap().status() }
    };
    for path in ["/api/me", "/basic", "/api/metrics"] {
        assert_eq!(ask(None, path).await, 200, "{path}");
    }
    assert_eq!(ask(Some(format!("http://{}", app.address)), "/api/me").await, 200);
    assert_eq!(ask(Some("http://evil.example".into()), "/api/me").await, 401, "another page does not use the cookie");

    let gone = app.request(Method::DELETE, "/api/session").send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert!(gone.headers()["set-cookie"].to_str().unwrap().starts_with("tricast_session=; "));
    assert!(gone.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn only_own_pages_with_valid_tokens_sign_a_browser_in() {
    let app = spawn_app_with_tokens(|config| {
        config.public_url = Some("https://live.example/numbers".into());
        config.allowed_origins = vec!["https://shop.example".into()];
    });
    let body = json!({"token": token("ada", "acme", &READER)}).to_string();
    let post = |origin: &str| app.request(Method::POST, "/api/session").header("origin", origin).body(body.clone());
    for origin in ["https://shop.example", "http://evil.example", "null"] {
        assert_eq!(post(origin).send().await.unwrap().status(), 403, "{origin}");
    }
    let answer = post("https://live.example").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let field = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(field.ends_with("; Secure") && field.contains("; Path=/numbers/; "), "{field}");
    for (bad, status) in [(json!({"token": "x"}), 401), (json!({}), 400), (json!({"token": 1}), 400)] {
        let answer = app.post("/api/session", &bad.to_string()).await;
        assert_eq!(answer.status(), status, "{bad}");
        assert!(!answer.headers().contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn the_page_for_browsers_without_a_token_links_to_the_sign_in() {
    let app = app();
    let answer = app.request(Method::GET, "/basic").header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.text().await.unwrap().contains("Sign in on the <a href=\"./\">"));
}
