//! Polling (docs/protocol.md, section 4).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{TestApp, soon, spawn_app, spawn_app_with, until};

async fn ask(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let request =
        headers.iter().fold(app.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    soon(path, request.send()).await.unwrap()
}

fn tag(response: &reqwest::Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_snapshot_has_every_section() {
    let app = spawn_app();
    let snapshot = until("a measured host", || {
        let snapshot = app.get_json("/api/metrics");
        async { Some(snapshot.await).filter(|s| s["infrastructure"]["memory_usage"].is_number()) }
    })
    .await;
    for field in ["cpu_usage", "memory_usage", "disk_usage", "load_average", "network_in", "network_out"] {
        assert!(snapshot["infrastructure"][field].is_number(), "{field}: {snapshot}");
    }
    for field in ["requests_per_second", "avg_response_time", "error_rate", "active_users"] {
        assert!(snapshot["api"][field].is_number(), "{field}: {snapshot}");
    }
    for field in ["orders_today", "revenue_today", "new_users_today", "conversion_rate"] {
        assert!(snapshot["business"][field].is_number(), "{field}: {snapshot}");
    }
    assert!(snapshot["database"].is_object() && snapshot["custom"].is_object() && snapshot["timestamp"].is_string());
}

#[tokio::test]
async fn a_value_that_did_not_change_keeps_its_version_and_time() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"x": 1, "y": 2})).await;
    let before = app.get_json("/api/metrics/metrics.a").await;
    app.push_value("metrics.a", json!({"y": 2, "x": 1})).await;
    assert_eq!(app.get_json("/api/metrics/metrics.a").await, before);
}

#[tokio::test]
async fn a_long_poll_is_answered_when_something_changes() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let first = app.get("/api/metrics/metrics.a").await;
    let tag = tag(&first);
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=25")];
    let held = ask(&app, "/api/metrics/metrics.a", &headers);
    let pushing = async {
        // The poll is held: it counts as a connection.
        until("a held poll", || async {
            let held = app.counter("tricast_connections{transport=\"long_poll\"}").await;
            (held == 1.0).then_some(())
        })
        .await;
        app.push_value("metrics.a", json!({"n": 2})).await;
    };
    let (answer, ()) = tokio::join!(held, pushing);
    assert_eq!((answer.status().as_u16(), &answer.headers()["preference-applied"]), (200, &"wait=25".parse().unwrap()));
    assert_eq!(answer.json::<Value>().await.unwrap()["data"], json!({"n": 2}));
}

#[tokio::test]
async fn a_long_poll_is_304_when_the_time_is_up() {
    let app = spawn_app_with(|config| config.long_poll_max.0 = Duration::from_secs(1));
    app.push_value("metrics.a", json!({"n": 1})).await;
    let tag = tag(&app.get("/api/metrics/metrics.a").await);
    for (n, headers) in
        [&[("if-none-match", tag.as_str()), ("prefer", "wait=30")][..], &[("if-none-match", "*"), ("prefer", "wait=1")]]
            .into_iter()
            .enumerate()
    {
        let answer = ask(&app, "/api/metrics/metrics.a", headers).await;
        assert_eq!(answer.status(), 304);
        assert_eq!(answer.headers()["preference-applied"], "wait=1", "the applied wait, not the requested one");
        let held = app.counter("tricast_connections_opened_total{transport=\"long_poll\"}").await;
        assert_eq!(held, (n + 1) as f64, "it was held");
    }
}

#[tokio::test]
async fn a_poll_without_cursor_or_tag_and_one_that_is_behind_are_never_held() {
    let app = spawn_app();
    let cursor = app.push_value("metrics.a", json!({"n": 1})).await;
    app.push_value("metrics.a", json!({"n": 2})).await;
    for (path, headers) in [
        ("/api/metrics?wait=20".to_owned(), vec![]),
        ("/api/metrics/metrics.a".to_owned(), vec![("prefer", "wait=20"), ("if-none-match", "\"old\"")]),
        (format!("/api/metrics?channels=metrics.a&since={cursor}&wait=20"), vec![]),
    ] {
        assert_eq!(ask(&app, &path, &headers).await.status(), 200, "{path}");
    }
    assert_eq!(app.counter("tricast_connections_opened_total{transport=\"long_poll\"}").await, 0.0, "none was held");
}

#[tokio::test]
async fn a_poll_with_since_returns_only_changes() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let cursor = app.push_value("metrics.b", json!({"n": 1})).await;
    app.push_value("metrics.b", json!({"n": 2})).await;
    app.push_event("deploys", 1).await;
    let path = |cursor: &str| format!("/api/metrics?channels=metrics.a,metrics.b,deploys&since={cursor}");
    let answer = app.get_json(&path(&cursor)).await;
    assert_eq!(answer["channels"], json!({"metrics.b": {"n": 2}}));
    assert_eq!(answer["events"][0]["data"], json!({"n": 1}));
    assert!(answer.get("gap").is_none());
    let nothing = app.get_json(&path(answer["cursor"].as_str().unwrap())).await;
    assert_eq!((&nothing["channels"], &nothing["events"]), (&json!({}), &json!([])));
    // A wildcard works here as well.
    let below = app.get_json(&format!("/api/metrics?channels=metrics.*&since={cursor}")).await;
    assert!(below["channels"].get("metrics.b").is_some() && below["channels"].get("metrics.a").is_none());
}

#[tokio::test]
async fn a_first_poll_of_events_starts_now() {
    let app = spawn_app();
    app.push_event("deploys", 1).await;
    let first = app.get_json("/api/metrics?channels=deploys").await;
    assert_eq!(first["events"], json!([]));
    app.push_event("deploys", 2).await;
    let next =
        app.get_json(&format!("/api/metrics?channels=deploys&since={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(next["events"][0]["data"], json!({"n": 2}));
    // A single event channel returns the kept events.
    let kept = app.get_json("/api/metrics/deploys").await;
    assert_eq!((kept["kind"].as_str().unwrap(), kept["events"].as_array().unwrap().len()), ("event", 2));
}

#[tokio::test]
async fn text_is_one_line_per_value() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1, "long_name": "x"})).await;
    for (path, headers) in
        [("/api/metrics/metrics.a?format=text", &[][..]), ("/api/metrics/metrics.a", &[("accept", "text/plain")])]
    {
        let answer = ask(&app, path, headers).await;
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        let text = answer.text().await.unwrap();
        let value = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().find(['1', 'x']);
        assert_eq!(
            value("data.n"),
            text.lines().find(|l| l.starts_with("data.long_name")).map(|l| l.rfind('x').unwrap())
        );
    }
    assert_eq!(ask(&app, "/api/metrics", &[("accept", "*/*")]).await.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn invalid_parameters_are_refused_by_name() {
    let app = spawn_app();
    for (path, status, part) in [
        ("/api/metrics?since=x", 400, "since"),
        ("/api/metrics?wait=soon", 400, "wait"),
        ("/api/metrics?wait=-1", 400, "wait"),
        ("/api/metrics?interval=x", 400, "interval"),
        ("/api/metrics?format=xml", 400, "format"),
        ("/api/metrics?channels=a%20b", 400, "channels"),
        ("/api/metrics/nope", 404, "nope"),
        ("/api/metrics/a%20b", 400, "channel"),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(part), "{path}: {problem}");
    }
}

#[tokio::test]
async fn the_error_for_an_unknown_channel_names_the_one_with_or_without_its_prefix() {
    let app = spawn_app();
    app.push_value("metrics.shop", json!({"n": 1})).await;
    app.push_value("carts", json!({"n": 1})).await;
    app.push_event("deploys", 1).await;
    let detail = async |path: &str| {
        let problem = app.get_json(path).await;
        problem["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("/api/metrics/shop").await.ends_with("did you mean \"metrics.shop\"?"));
    assert!(detail("/api/metrics/metrics.carts").await.ends_with("did you mean \"carts\"?"));
    assert_eq!(detail("/api/metrics/nope").await, "there is no channel \"nope\"");
    let pushed = app.post("/api/metrics", json!({"channel": "deploys", "data": {"n": 1}}).to_string()).await;
    assert_eq!(pushed.status(), 409);
    let problem: Value = pushed.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("did you mean \"metrics.deploys\"?"), "{problem}");
}

#[tokio::test]
async fn channels_are_listed() {
    let app = spawn_app();
    let cursor = app.push_value("metrics.a", json!({"n": 1})).await;
    let list = app.get_json("/api/channels").await;
    let find = |name: &str| list["channels"].as_array().unwrap().iter().find(|c| c["channel"] == name).unwrap().clone();
    let offset: u64 = cursor.split(':').nth(1).unwrap().parse().unwrap();
    assert!(
        find("metrics.a")["version"].as_u64().unwrap() <= offset
            && find("metrics.a")["age"].as_str().unwrap().starts_with("PT")
    );
    assert_eq!((&find("alerts")["kind"], &find("alerts")["age"]), (&json!("event"), &Value::Null));
    assert_eq!(find("metrics")["kind"], "state");
}

#[tokio::test]
async fn a_list_of_channels_has_the_silence_and_the_pace_of_sources() {
    let app = spawn_app();
    let one = |list: &Value, name: &str| {
        list["channels"].as_array().unwrap().iter().find(|line| line["channel"] == name).unwrap().clone()
    };
    app.push_value("metrics.a", json!({"n": 1})).await;
    app.push_value("metrics.b", json!({"n": 1})).await;
    let list = app.get_json("/api/channels").await;
    assert!(one(&list, "metrics.a")["idle"].as_str().unwrap().starts_with("PT"));
    assert_eq!(one(&list, "metrics.a")["pace"], Value::Null, "written once");
    for own in ["metrics", "alerts", "metrics.infrastructure"] {
        until("the server's own channels", || async {
            let list = app.get_json("/api/channels").await;
            let listed = list["channels"].as_array()?.iter().any(|line| line["channel"] == own);
            listed.then_some(())
        })
        .await;
        assert_eq!(one(&app.get_json("/api/channels").await, own)["idle"], Value::Null, "{own}");
    }
    // The same value again is no new version, but it counts as written.
    let version = one(&list, "metrics.a")["version"].clone();
    until("a pace of a second or more", || async {
        app.push_value("metrics.a", json!({"n": 1})).await;
        one(&app.get_json("/api/channels").await, "metrics.a")["pace"].as_str().map(str::to_owned)
    })
    .await;
    let list = app.get_json("/api/channels?channels=metrics.a,metrics.x,metrics.b.*").await;
    assert_eq!(list["channels"].as_array().unwrap().len(), 1, "the named channels that exist");
    assert_eq!(one(&list, "metrics.a")["version"], version);
    assert_eq!(app.get("/api/channels?channels=a%20b").await.status(), 400);
}

#[tokio::test]
async fn a_list_of_channels_says_which_field_is_silent_while_others_of_its_channel_are_written() {
    let app = spawn_app();
    let line = async |query: &str| app.get_json(&format!("/api/channels{query}")).await["channels"][0].clone();
    let named = "?channels=metrics.host";
    let merge = |data: Value| json!({"channel": "metrics.host", "merge": true, "data": data});
    for data in [json!({"cpu": 1}), json!({"temp": 40})] {
        app.push(merge(data)).await;
    }
    assert_eq!(line(named).await["channel"], "metrics.host");
    // The same value again is a write, too.
    until("a pace of the field that is written", || async {
        app.push(merge(json!({"cpu": 1}))).await;
        let line = line(named).await;
        (!line["pace"].is_null() && line["fields"]["temp"]["idle"] != "PT0S" && line["idle"] == "PT0S").then_some(())
    })
    .await;
    let silent = line(named).await["fields"]["temp"].clone();
    assert!(silent["idle"].as_str().unwrap().starts_with("PT"), "{silent}");
    assert_eq!((&silent["pace"], silent.get("restored")), (&Value::Null, None), "written once");
    let all = app.get_json("/api/channels").await;
    let host = all["channels"].as_array().unwrap().iter().find(|line| line["channel"] == "metrics.host").unwrap();
    assert_eq!(host.get("fields"), None, "only of channels that are asked for");
    // A whole value writes every field.
    until("no field that is older", || async {
        app.push_value("metrics.host", json!({"cpu": 1, "temp": 40})).await;
        let line = line(named).await;
        line["fields"]
            .as_object()
            .is_none_or(|fields| fields.values().all(|field| field["idle"] == line["idle"]))
            .then_some(())
    })
    .await;
    app.push(json!({"channel": "metrics.host", "delete": true})).await;
    app.push(merge(json!({"cpu": 1}))).await;
    assert_eq!(line(named).await.get("fields"), None, "the channel is new");
}

#[tokio::test]
async fn users_are_counted_on_any_transport() {
    let app = spawn_app();
    let _socket = app.websocket().await;
    let _stream = app.events("").await;
    until("one user, by address", || async {
        let online = app.get("/api/metrics/metrics.users_online").await;
        let online: Value = if online.status() == 200 { online.json().await.unwrap() } else { return None };
        (online["data"]["currentUsers"] == 1 && online["data"]["peakToday"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_long_poll_counts_as_no_slow_request_and_a_readiness_check_as_no_user() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let tag = tag(&app.get("/api/metrics/metrics.a").await);
    assert_eq!(app.get("/readyz").await.status(), 200);
    assert_eq!(app.counter("tricast_connections_opened_total{transport=\"websocket\"}").await, 0.0);
    // Eight of them are most of the requests: if their held second counted, the mean would show it.
    let headers = [("if-none-match", tag.as_str())];
    let held = (0..8).map(|_| ask(&app, "/api/metrics/metrics.a?wait=1", &headers));
    futures_util::future::join_all(held).await;
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.api"]).await;
    // Values from before the end of the polls may come first; the rate of each shows how many requests it includes.
    let api = loop {
        let api = socket.next().await["data"].clone();
        if api["requests_per_second"].as_f64().unwrap() > 0.0 && api["active_users"] == 1 {
            let later = socket.next().await["data"].clone();
            break later;
        }
    };
    assert!(api["avg_response_time"].as_f64().unwrap() < 200.0, "{api}");
}

#[tokio::test]
async fn the_snapshot_as_a_channel_has_another_form_than_the_snapshot_of_the_same_version() {
    let app = spawn_app();
    until("the first values", || async { app.get_json("/api/metrics").await["api"].is_object().then_some(()) }).await;
    // Some of these find the same version.
    for _ in 0..10 {
        let channel = app.get_json("/api/metrics/metrics").await;
        assert!(channel["channel"] == "metrics" && channel["data"]["api"].is_object(), "{channel}");
        let snapshot = app.get_json("/api/metrics").await;
        assert!(snapshot["api"].is_object() && snapshot["data"].is_null(), "{snapshot}");
    }
}
