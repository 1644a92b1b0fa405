//! Dashboards: responses, storage and events.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::helpers::{ApiClient, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token};

pub(crate) async fn send(app: &ApiClient, method: Method, path: &str, if_match: Option<&str>, body: Value) -> Response {
    let mut request = app.request(method, path);
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    soon(path, request.send()).await.unwrap()
}

pub(crate) async fn ask(app: &ApiClient, method: Method, path: &str, body: Value) -> (u16, Value) {
    let answer = send(app, method, path, None, body).await;
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_fresh_tenant_has_a_default_board() {
    let app = spawn_app();
    let boards = app.get_json("/api/dashboards").await;
    assert_eq!(boards["dashboards"].as_array().unwrap().len(), 1);
    let board = app.get_json("/api/dashboards/default").await;
    assert_eq!((&board["id"], &board["version"], &boards["dashboards"][0]), (&json!("default"), &json!(1), &board));
    let tile = &board["tiles"][0];
    assert_eq!((&tile["type"], &tile["channel"]), (&json!("number"), &json!("metrics.orders")));
    assert!(tile.get("fields").is_none(), "missing members are left out");
}

#[tokio::test]
async fn every_change_is_a_version_and_an_event() {
    let app = spawn_app();
    let mut events = app.events("?channels=dashboards").await;
    events.next_of("connected").await;
    let board = json!({"id": "shop", "name": "Shop", "tiles": [{"id": "a", "type": "text", "title": "A"}]});
    let (status, made) = ask(&app, Method::POST, "/api/dashboards", board.clone()).await;
    assert_eq!((status, &made["version"], &made["tiles"]), (201, &json!(1), &board["tiles"]));
    assert_eq!(ask(&app, Method::POST, "/api/dashboards", board).await.0, 409);
    let tiles = "/api/dashboards/shop/tiles";
    let added =
        send(&app, Method::POST, tiles, None, json!({"type": "chart", "title": "B", "channel": "metrics.b"})).await;
    assert_eq!(added.status(), 201);
    let location = added.headers()["location"].to_str().unwrap().to_owned();
    let tile: Value = added.json().await.unwrap();
    let id = tile["id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("{tiles}/{id}"));
    let (status, changed) = ask(&app, Method::PATCH, &location, json!({"title": "C", "channel": null})).await;
    assert_eq!((status, &changed), (200, &json!({"id": id, "type": "chart", "title": "C"})));
    assert_eq!(ask(&app, Method::PATCH, &location, json!({"title": "C"})).await.0, 200);
    let (status, ordered) = ask(&app, Method::PUT, &format!("{tiles}/order"), json!({"order": [id, "a"]})).await;
    assert_eq!((status, &ordered["version"], &ordered["tiles"][1]["id"]), (200, &json!(4), &json!("a")));
    assert_eq!(ask(&app, Method::DELETE, &format!("{tiles}/a"), Value::Null).await.0, 204);
    let (status, replaced) = ask(&app, Method::PUT, "/api/dashboards/shop", json!({"name": "Shops"})).await;
    assert_eq!((status, &replaced), (200, &json!({"id": "shop", "name": "Shops", "tiles": [], "version": 6})));
    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/shop", Value::Null).await.0, 204);
    assert_eq!(app.get("/api/dashboards/shop").await.status(), 404);
    let mut seen = Vec::new();
    for version in 1..=7 {
        let event = events.next_of("dashboard_updated").await.data()["data"].clone();
        assert_eq!(
            (&event["dashboardId"], &event["version"], &event["updatedBy"]),
            (&json!("shop"), &json!(version), &json!("anonymous"))
        );
        seen.push((event["action"].as_str().unwrap().to_owned(), event["tile"]["title"].as_str().map(str::to_owned)));
    }
    let title = |title: &str| Some(title.to_owned());
    let expected = [
        ("created", None),
        ("tile_added", title("B")),
        ("tile_updated", title("C")),
        ("tiles_reordered", None),
        ("tile_removed", title("A")),
        ("updated", None),
        ("deleted", None),
    ];
    assert_eq!(seen, expected.map(|(action, tile)| (action.to_owned(), tile)));
}

#[tokio::test]
async fn a_change_of_an_older_version_is_refused() {
    let app = spawn_app();
    let path = "/api/dashboards/default";
    let read = app.get(path).await;
    let first = tag(&read);
    assert_eq!(read.json::<Value>().await.unwrap()["version"], 1);
    let rename = |name: &str, tag: &str| {
        let (app, tag, body) = (&app, tag.to_owned(), json!({"name": name}));
        async move { send(app, Method::PUT, path, Some(&tag), body).await }
    };
    let (one, other) = tokio::join!(rename("One", &first), rename("Other", &first));
    let mut codes = [one.status().as_u16(), other.status().as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 412]);
    let second = tag(&app.get(path).await);
    let changes = [
        (Method::DELETE, path.to_owned(), Value::Null),
        (Method::POST, format!("{path}/tiles"), json!({"type": "text", "title": "x"})),
        (Method::PATCH, format!("{path}/tiles/cpu"), json!({"title": "x"})),
        (Method::DELETE, format!("{path}/tiles/cpu"), Value::Null),
        (Method::PUT, format!("{path}/tiles/order"), json!({"order": []})),
    ];
    for (method, path, body) in changes {
        assert_eq!(
            send(&app, method.clone(), &path, Some(&first), body.clone()).await.status(),
            412,
            "{method} {path}"
        );
        assert_eq!(send(&app, method, &path, Some("nonsense"), body).await.status(), 400);
    }
    assert_eq!(rename("Again", &format!("\"x\", {second}")).await.status(), 200);
    assert_eq!(rename("Always", "*").await.status(), 200);
    let (status, _) = ask(&app, Method::PUT, path, json!({"name": "Late", "version": 1})).await;
    assert_eq!(status, 412, "the version in the body counts too");
    let whole = app.get_json(path).await;
    assert_eq!(
        ask(&app, Method::PUT, path, whole.clone()).await,
        (200, whole),
        "a board that was read can be written back"
    );
    let answer =
        app.request(Method::GET, path).header("if-none-match", tag(&app.get(path).await)).send().await.unwrap();
    assert_eq!(answer.status(), 304);
}

#[tokio::test]
async fn an_error_names_the_invalid_field() {
    let app = spawn_app();
    let tile = |name: &str, value: Value| {
        let mut tile = json!({"type": "text", "title": "x"});
        tile[name] = value;
        tile
    };
    let (boards, tiles) = ("/api/dashboards", "/api/dashboards/default/tiles");
    for (method, path, body, status, part) in [
        (Method::POST, boards, json!({}), 400, "name"),
        (Method::POST, boards, json!({"name": ""}), 422, "name"),
        (Method::POST, boards, json!({"name": "x", "colour": 1}), 400, "colour"),
        (Method::POST, boards, json!({"name": "x", "id": "a/b"}), 422, "id"),
        (Method::POST, boards, json!({"name": "x", "tiles": [{"type": "text"}]}), 422, "tiles[0]."),
        (Method::POST, boards, json!({"name": "x", "tiles": vec![tile("width", json!(1)); 51]}), 422, "at most 50"),
        (Method::POST, tiles, json!([]), 400, ""),
        (Method::POST, tiles, tile("id", json!("cpu")), 409, "cpu"),
        (Method::POST, tiles, tile("type", json!("pie")), 422, "type"),
        (Method::POST, tiles, tile("channel", json!("a b")), 422, "channel"),
        (Method::POST, tiles, tile("options", json!({"x": "y".repeat(3_000)})), 422, "options"),
        (Method::PATCH, "/api/dashboards/default/tiles/cpu", json!({"id": "other"}), 422, "id"),
        (Method::PATCH, "/api/dashboards/default/tiles/cpu", json!({"title": null}), 422, "title"),
        (Method::PATCH, "/api/dashboards/default/tiles/nope", json!({}), 404, "tile"),
        (Method::PATCH, "/api/dashboards/nope/tiles/cpu", json!({}), 404, "dashboard"),
        (Method::PUT, "/api/dashboards/nope", json!({"name": "x"}), 404, "dashboard"),
        (Method::PUT, "/api/dashboards/default/tiles/order", json!({"order": ["cpu"]}), 422, "order"),
        (Method::PUT, "/api/dashboards/default/tiles/cpu", json!({}), 405, ""),
        (Method::DELETE, "/api/dashboards/nope", Value::Null, 404, "dashboard"),
    ] {
        let (found, problem) = ask(&app, method.clone(), path, body.clone()).await;
        assert_eq!(found, status, "{method} {path} {body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
    assert_eq!(app.get_json("/api/dashboards/default").await["version"], 1, "no part of the change was made");
    for n in 1..100 {
        assert_eq!(ask(&app, Method::POST, boards, json!({"name": format!("{n}")})).await.0, 201);
    }
    assert_eq!(ask(&app, Method::POST, boards, json!({"name": "one too many"})).await.0, 429);
}

#[tokio::test]
async fn a_deleted_default_board_stays_deleted_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = || spawn_app_with(|config| config.data_dir = Some(directory.path().to_owned()));
    let mut app = start();
    assert_eq!(ask(&app, Method::DELETE, "/api/dashboards/default", Value::Null).await.0, 204);
    let (_, board) = ask(&app, Method::POST, "/api/dashboards", json!({"name": "Mine"})).await;
    app.begin_stop();
    app.stopped().await;
    let app = start();
    assert_eq!(app.get_json("/api/dashboards").await, json!({"dashboards": [board]}));
}

#[tokio::test]
async fn requests_of_foreign_origins_change_nothing() {
    let app = spawn_app();
    let body = json!({"name": "x"}).to_string();
    let foreign = app.request(Method::POST, "/api/dashboards").header("origin", "https://evil.example").body(body);
    assert_eq!(soon("an answer", foreign.send()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn boards_belong_to_a_tenant_and_changes_require_a_permission() {
    let app = spawn_app_with_tokens(|_| {});
    let all = ["read:metrics", "read:orders", "write:orders", "write:dashboards"];
    let (acme, other) = (app.with(token("ada", "acme", &all)), app.with(token("eve", "other", &all)));
    assert_eq!(acme.post("/api/dashboards", r#"{"id": "mine", "name": "Mine"}"#).await.status(), 201);
    assert_eq!(other.get("/api/dashboards/mine").await.status(), 404);
    let mut deletion = other.request(Method::DELETE, "/api/dashboards/mine");
    deletion = deletion.header("if-match", "*");
    assert_eq!(soon("an answer", deletion.send()).await.unwrap().status(), 404);
    assert_eq!(other.get_json("/api/dashboards").await["dashboards"].as_array().unwrap().len(), 1);
    let order = json!({"items": 1, "total": 5, "customerName": "Ada"}).to_string();
    assert_eq!(acme.post("/api/orders", order).await.status(), 201);
    assert_eq!(other.get("/api/orders/ord-00000001").await.status(), 404);
    assert_eq!(other.get_json("/api/orders").await["orders"], json!([]));
    assert_eq!(acme.get_json("/api/stats").await["revenue"], 5.0);
    assert_eq!(other.get_json("/api/stats").await["revenue"], 0.0);
    let reader = app.with(token("r", "acme", &["read:metrics", "write:metrics"]));
    assert_eq!(reader.get("/api/dashboards/mine").await.status(), 200);
    assert_eq!(reader.post("/api/dashboards", r#"{"name": "x"}"#).await.status(), 403);
    let clerk = app.with(token("c", "acme", &["read:orders"]));
    for path in ["/api/dashboards", "/api/dashboards/mine", "/api/stats"] {
        assert_eq!(clerk.get(path).await.status(), 403, "{path}");
    }
}
