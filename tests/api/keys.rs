//! Machine keys: creation, use in every header, binding, expiry, and revocation on every transport and node.

use std::{path::Path, process::Command, time::Duration};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tricast::config::AuthMode;

use crate::{
    cluster::Cluster,
    helpers::{ApiClient, SECRET, TestApp, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token, until},
    program::Program,
    redis::Redis,
    socketio::Client,
};

/// Creates a key and returns its text and its ID.
async fn create(root: &ApiClient, body: Value) -> (String, String) {
    let response = root.post("/api/keys", body.to_string()).await;
    assert_eq!(response.status(), 201, "{body}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let created: Value = response.json().await.unwrap();
    (created["key"].as_str().unwrap().to_owned(), created["id"].as_str().unwrap().to_owned())
}

async fn revoke(root: &ApiClient, id: &str) {
    let path = format!("/api/keys/{id}");
    assert_eq!(soon(&path, root.request(Method::DELETE, &path).send()).await.unwrap().status(), 204);
}

fn root(app: &ApiClient) -> ApiClient {
    app.with(token("root", "acme", &["admin"]))
}

fn ci() -> Value {
    json!({"name": "ci", "push": ["metrics.ci.*"], "read": ["metrics.ci.*"]})
}

fn push(app: &ApiClient) -> RequestBuilder {
    app.request(Method::POST, "/api/metrics").body(r#"{"channel": "metrics.ci.build", "data": {"x": 1}}"#)
}

#[tokio::test]
async fn a_key_is_accepted_in_every_header_and_bound_to_its_channels() {
    let app = spawn_app_with_tokens(|_| {});
    let (key, id) = create(&root(&app), ci()).await;
    assert!(key.starts_with("tck_") && key.contains(&id));
    for request in [
        push(&app).bearer_auth(&key),
        push(&app).header("authorization", format!("Token {key}")),
        push(&app).basic_auth("ci", Some(&key)),
        push(&app).header("x-api-key", &key),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    let client = app.with(&*key);
    let lines = json!([{"channel": "metrics.ci.a", "data": {}}, {"channel": "metrics.other", "data": {}}]);
    let mixed: Value = client.post("/api/metrics", lines.to_string()).await.json().await.unwrap();
    assert_eq!((&mixed["accepted"], &mixed["results"][1]["code"]), (&json!(1), &json!("FORBIDDEN")));
    assert_eq!(client.get("/api/metrics/metrics.ci.build").await.status(), 200);
    assert_eq!(client.get("/api/metrics").await.status(), 403);
    assert_eq!(client.get("/api/orders").await.status(), 403);
    assert_eq!(client.get("/api/keys").await.status(), 403);
    let me = client.get_json("/api/me").await;
    assert_eq!((&me["user"], &me["tenant"], &me["expiresAt"]), (&json!("key:ci"), &json!("acme"), &Value::Null));
    let used = until("the use to be stored", || async {
        let keys = root(&app).get_json("/api/keys").await;
        keys["keys"][0]["lastUsedAt"].as_str().map(str::to_owned)
    });
    assert!(used.await.ends_with('Z'));
}

#[tokio::test]
async fn a_wrong_key_is_refused_with_the_reason() {
    let app = spawn_app_with_tokens(|_| {});
    let (key, _) = create(&root(&app), ci()).await;
    assert_eq!(push(&app).bearer_auth(&key).send().await.unwrap().status(), 202);
    let last = if key.ends_with('0') { "1" } else { "0" };
    let wrong_secret = format!("{}{last}", &key[..key.len() - 1]);
    let unknown = format!("tck_0123456789abcdef_{}", "0".repeat(64));
    for wrong in [&*wrong_secret, &*unknown, "tck_", "tck_x_y"] {
        for _ in 0..2 {
            let refused = push(&app).bearer_auth(wrong).send().await.unwrap();
            assert_eq!(refused.status(), 401, "{wrong}");
            assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
            let problem: Value = refused.json().await.unwrap();
            assert!(problem["detail"].as_str().unwrap().contains("may have been revoked"), "{problem}");
        }
    }
    assert_eq!(push(&app).bearer_auth(&key).send().await.unwrap().status(), 202, "the right one still works");
}

#[tokio::test]
async fn many_unknown_keys_from_one_address_are_limited() {
    let app = spawn_app_with_tokens(|_| {});
    let (known, _) = create(&root(&app), ci()).await;
    assert_eq!(push(&app).bearer_auth(&known).send().await.unwrap().status(), 202);
    let unknown = |number: u32| format!("tck_{number:016x}_{}", "0".repeat(64));
    for number in 0..50 {
        assert_eq!(push(&app).bearer_auth(unknown(number)).send().await.unwrap().status(), 401, "{number}");
    }
    let limited = push(&app).bearer_auth(unknown(50)).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "10"));
    assert_eq!(limited.json::<Value>().await.unwrap()["code"], "RATE_LIMITED");
    assert_eq!(push(&app).bearer_auth(unknown(0)).send().await.unwrap().status(), 401, "known to be unknown");
    assert_eq!(push(&app).bearer_auth(&known).send().await.unwrap().status(), 202, "a key in use is not affected");
    assert_eq!(root(&app).get("/api/me").await.status(), 200, "nor is a token");
    let metrics = app.with(token("root", "default", &["admin"])).get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("tricast_limit_reached_total{limit=\"unknown_keys_per_address\"} 1"), "{metrics}");
}

#[tokio::test]
async fn keys_are_listed_and_checked() {
    let app = spawn_app_with_tokens(|config| config.limits.max_keys = 2);
    let admin = root(&app);
    for (body, status) in [
        (json!({"name": "a b", "push": ["a"]}), 422),
        (json!({"name": "a"}), 422),
        (json!({"name": "a", "push": ["a*"]}), 422),
        (json!({"name": "a", "push": ["a"], "permissions": ["admin"]}), 422),
        (json!({"name": "a", "permissions": ["fly"]}), 422),
        (json!({"name": "a", "push": ["a"], "expiresAt": "2020-01-01T00:00:00Z"}), 422),
        (json!({"name": "a", "push": ["a"], "colour": 1}), 400),
    ] {
        assert_eq!(admin.post("/api/keys", body.to_string()).await.status(), status, "{body}");
    }
    let (text, id) = create(&admin, ci()).await;
    assert_eq!(admin.post("/api/keys", ci().to_string()).await.status(), 409);
    create(&admin, json!({"name": "b", "permissions": ["read:metrics"], "expiresAt": "2100-01-01T00:00:00Z"})).await;
    let full = admin.post("/api/keys", json!({"name": "c", "push": ["a"]}).to_string()).await;
    assert_eq!(full.status(), 429);
    let list = admin.get_json("/api/keys").await;
    assert_eq!(list["keys"].as_array().unwrap().len(), 2);
    assert_eq!((&list["keys"][0]["name"], &list["keys"][1]["id"]), (&json!("b"), &json!(id)), "by name");
    assert!(!list.to_string().contains(&text), "the text is shown once");
    let other = app.with(token("root", "globex", &["admin"]));
    assert_eq!(other.get_json("/api/keys").await, json!({"keys": []}));
    let path = format!("/api/keys/{id}");
    assert_eq!(other.request(Method::DELETE, &path).send().await.unwrap().status(), 404);
    revoke(&admin, "ci").await;
    assert_eq!(push(&app).bearer_auth(&text).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn an_expired_key_ends_its_streams_and_is_refused() {
    let app = spawn_app_with_tokens(|_| {});
    let end = jiff::Timestamp::now() + Duration::from_secs(2);
    let mut body = ci();
    body["expiresAt"] = json!(end.to_string());
    let (key, _) = create(&root(&app), body).await;
    let mut socket = app.with(&*key).websocket().await;
    assert_eq!(socket.closed().await.0, 4401);
    let refused = push(&app).bearer_auth(&key).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains("expired"));
}

/// Opens a stream of each transport, and a held poll, with `key` on each of `nodes`; revokes the key; and waits for the ends.
async fn revocation_ends_everything(nodes: &[&ApiClient], key: &str, revoke: impl Future<Output = ()>) {
    nodes[0].with(key).push_value("metrics.ci.build", json!({"x": 1})).await;
    let (mut sockets, mut streams, mut clients, mut polls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for node in nodes {
        let client = node.with(key);
        let tag = until("the value", || async {
            let answer = client.get("/api/metrics/metrics.ci.build").await;
            (answer.status() == 200).then(|| answer.headers()["etag"].clone())
        })
        .await;
        let mut socket = client.websocket().await;
        socket.subscribe(&["metrics.ci.*"]).await;
        sockets.push(socket);
        let mut stream = client.events("?channels=metrics.ci.*").await;
        stream.next_of("connected").await;
        streams.push(stream);
        for mut client in Client::of_both(node).await {
            client.join("/tricast", json!({"token": key})).await;
            clients.push(client);
        }
        let held = client.request(Method::GET, "/api/metrics/metrics.ci.build?wait=25").header("if-none-match", tag);
        polls.push(tokio::spawn(async move { held.send().await.unwrap().status().as_u16() }));
    }
    revoke.await;
    for mut socket in sockets {
        let (code, before) = socket.closed().await;
        assert_eq!((code, &before.last().unwrap()["code"]), (4401, &json!("UNAUTHORIZED")));
    }
    for mut stream in streams {
        assert_eq!(stream.next_of("error").await.data()["code"], "UNAUTHORIZED");
        assert!(stream.next().await.is_none());
    }
    for mut client in clients {
        assert_eq!(client.event("/tricast", "error").await[1]["code"], "UNAUTHORIZED");
    }
    for poll in polls {
        assert_eq!(soon("the held poll", poll).await.unwrap(), 401);
    }
    for node in nodes {
        assert_eq!(push(node).bearer_auth(key).send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams_on_every_transport() {
    let app = spawn_app_with_tokens(|_| {});
    let (key, id) = create(&root(&app), ci()).await;
    let (other, _) = create(&root(&app), json!({"name": "other", "read": ["metrics.ci.*"]})).await;
    let mut unaffected = app.with(other).websocket().await;
    unaffected.subscribe(&["metrics.ci.*"]).await;
    revocation_ends_everything(&[&app], &key, async { revoke(&root(&app), &id).await }).await;
    root(&app).push_value("metrics.ci.build", json!({"x": 2})).await;
    while unaffected.next_of("metric").await["data"] != json!({"x": 2}) {}
}

fn node(redis: &Redis, database: &str, name: &str) -> TestApp {
    spawn_app_with(|config| {
        config.bus = redis.url().as_str().into();
        config.node_id = Some(name.into());
        config.cluster.lease.0 = Duration::from_secs(2);
        config.database_url = database.into();
        config.auth.mode = AuthMode::Jwt;
        config.auth.secret = SECRET.into();
    })
}

#[tokio::test]
async fn a_key_revoked_on_one_node_ends_on_all() {
    let (redis, database) = (Redis::start(), Cluster::shared().database());
    let [a, b] = ["a", "b"].map(|name| node(&redis, &database, name));
    let (key, id) = create(&root(&a), ci()).await;
    revocation_ends_everything(&[&a, &b], &key, async { revoke(&root(&b), &id).await }).await;
}

#[tokio::test]
async fn a_ticket_of_a_revoked_key_opens_nothing() {
    let app = spawn_app_with_tokens(|_| {});
    let (key, id) = create(&root(&app), ci()).await;
    let ticket: Value = app.with(&*key).post("/api/tickets", "{}").await.json().await.unwrap();
    let ticket = ticket["ticket"].as_str().unwrap();
    revoke(&root(&app), &id).await;
    assert_eq!(app.try_websocket_at(&format!("/ws?ticket={ticket}")).await.err(), Some(401));
}

#[tokio::test]
async fn a_server_without_tokens_has_no_keys() {
    let app = spawn_app();
    assert_eq!(app.post("/api/keys", ci().to_string()).await.status(), 404);
    assert_eq!(app.get("/api/keys").await.status(), 404);
}

/// Runs `tricast key` on a data directory and returns its output.
fn key_command(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
    command.env_clear().current_dir(directory).arg("key").args(arguments).args(["--data-dir", "data"]);
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_command_line_makes_and_revokes_keys_of_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let before = key_command(directory.path(), &["create", "me", "--admin"]);
    assert!(before.0 && before.1.starts_with("tck_") && before.1.lines().count() == 1, "{before:?}");
    let server = Program::start_with(directory.path(), &[("TRICAST_AUTH__MODE", "keys")]);
    let app = spawn_app();
    let client = app.at(server.address());
    let me = client.with(before.1.trim());
    assert_eq!(me.get_json("/api/me").await["permissions"], json!(["admin"]));
    let (good, ci) = key_command(directory.path(), &["create", "ci", "--push", "metrics.ci.*", "--expires", "90d"]);
    assert!(good);
    let mut socket = client.with(ci.trim()).websocket().await;
    assert_eq!(push(&client).bearer_auth(ci.trim()).send().await.unwrap().status(), 202);
    let (_, list) = key_command(directory.path(), &["ls"]);
    assert!(list.contains("ci\t") && list.contains("push metrics.ci.*") && !list.contains(ci.trim()), "{list}");
    let json: Value = serde_json::from_str(&key_command(directory.path(), &["ls", "--json"]).1).unwrap();
    assert_eq!(json[0]["name"], "ci");
    assert!(!key_command(directory.path(), &["create", "ci", "--push", "a"]).0, "the name is taken");
    assert!(!key_command(directory.path(), &["revoke", "nobody"]).0);
    assert_eq!(key_command(directory.path(), &["revoke", "ci"]), (true, String::new()));
    assert_eq!(socket.closed().await.0, 4401);
    assert_eq!(push(&client).bearer_auth(ci.trim()).send().await.unwrap().status(), 401);
    let (text, id) = create(&me, json!({"name": "by.api", "read": ["orders"]})).await;
    revoke(&me, &id).await;
    // Neither the files nor the log have a secret; the log has the changes.
    let log = server.log();
    for line in ["a key was created", "a key was revoked"] {
        let line = log.lines().find(|found| found.contains(line)).unwrap_or_else(|| panic!("{line}: {log}"));
        assert!(line.contains(&id) && line.contains("key:me"), "{line}");
    }
    for key in [before.1.trim(), ci.trim(), &text] {
        let secret = key.rsplit('_').next().unwrap();
        assert!(!log.contains(secret), "{log}");
        for file in std::fs::read_dir(directory.path().join("data")).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(secret));
        }
    }
}
