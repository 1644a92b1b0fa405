//! Line protocol of InfluxDB, as its clients send it (docs/in/influx.md).

use std::io::Write;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::helpers::{ApiClient, bound_token, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token};

async fn write(app: &ApiClient, path: &str, body: impl Into<reqwest::Body>) -> Response {
    soon("the response", app.request(Method::POST, path).body(body).send()).await.unwrap()
}

async fn refused(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn data(app: &ApiClient, channel: &str) -> Value {
    app.get_json(&format!("/api/metrics/{channel}")).await["data"].clone()
}

/// Returns the number of values of `/metrics` with this result.
async fn counted(app: &ApiClient, result: &str) -> f64 {
    app.counter(&format!("tricast_door_values_total{{door=\"influx\",result=\"{result}\"}}")).await
}

#[tokio::test]
async fn lines_become_fields_of_channels() {
    let app = spawn_app();
    let lines = "cpu,host=a,cpu=cpu0 usage_idle=98.5,n=3i,up=t,state=\"o k\"\ncpu,host=b usage_idle=1 \ndisk\\ io,path=/x used=5u";
    for (path, times) in
        [("/write?db=telegraf&rp=autogen&precision=s", 1.0), ("/api/v2/write?org=o&bucket=b&precision=ns", 2.0)]
    {
        let response = write(&app, path, lines).await;
        assert_eq!(response.status(), 204);
        assert!(response.headers().contains_key("x-influxdb-version"));
        assert_eq!(response.text().await.unwrap(), "");
        assert_eq!(counted(&app, "accepted").await, 6.0 * times);
    }
    let cpu = data(&app, "metrics.cpu").await;
    assert_eq!(cpu["usage_idle{cpu=\"cpu0\",host=\"a\"}"]["last"], 98.5);
    assert_eq!(cpu["usage_idle{host=\"b\"}"]["last"], 1);
    assert_eq!(
        (&cpu["n{cpu=\"cpu0\",host=\"a\"}"]["last"], &cpu["up{cpu=\"cpu0\",host=\"a\"}"]["last"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(cpu["state{cpu=\"cpu0\",host=\"a\"}"], "o k");
    assert_eq!(cpu.as_object().unwrap().len(), 5, "levels of different hosts have no common series: {cpu}");
    assert_eq!(data(&app, "metrics.disk_io").await["used{path=\"/x\"}"]["last"], 5);
}

#[tokio::test]
async fn every_transport_receives_a_written_value() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.cpu"]).await;
    let mut events = app.events("?channels=metrics.cpu").await;
    assert_eq!(write(&app, "/write", "cpu,host=a idle=7").await.status(), 204);
    while socket.next_of("metric").await["data"]["idle{host=\"a\"}"]["last"] != 7 {}
    while events.next_of("metric").await.data()["data"]["idle{host=\"a\"}"]["last"] != 7 {}
}

#[tokio::test]
async fn wrong_lines_are_refused_alone_in_the_form_of_each_version() {
    let app = spawn_app();
    let lines = "a x=1\na x=\nb y=2\nb z=1e30";
    let error = refused(write(&app, "/write", lines).await, 400).await;
    let text = "partial write: unable to parse 'a x=': missing field value dropped=2";
    assert_eq!(error, json!({"error": text}));
    let response = write(&app, "/api/v2/write", lines).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-influxdb-error"], text);
    assert_eq!(refused(response, 400).await, json!({"code": "invalid", "message": text}));
    assert_eq!(
        (data(&app, "metrics.a").await["x"]["last"].clone(), data(&app, "metrics.b").await["y"]["last"].clone()),
        (json!(1), json!(2))
    );
    assert_eq!((counted(&app, "accepted").await, counted(&app, "refused").await), (4.0, 4.0));
    let error = refused(write(&app, "/write?precision=d", lines).await, 400).await;
    assert!(error["error"].as_str().unwrap().contains("precision"), "{error}");
}

#[tokio::test]
async fn the_newest_point_counts_and_old_points_are_late() {
    let app = spawn_app();
    let now = jiff::Timestamp::now().as_second();
    let lines = format!("a x=3 {now}\na x=2 {}\na x=1 {}", now - 1, now - 290);
    assert_eq!(write(&app, "/write?precision=s", lines).await.status(), 204);
    assert_eq!(data(&app, "metrics.a").await["x"]["last"], 3);
    let error = refused(write(&app, "/write?precision=s", format!("a x=9 {}", now - 400)).await, 400).await;
    assert_eq!(error["error"], "partial write: points beyond retention policy dropped=1");
    assert_eq!((data(&app, "metrics.a").await["x"]["last"].clone(), counted(&app, "late").await), (json!(3), 1.0));
}

#[tokio::test]
async fn permissions_and_tenants_hold() {
    let app = spawn_app_with_tokens(|_| {});
    let writer = app.with(token("ada", "acme", &["write:metrics", "read:metrics"]));
    let reader = app.with(token("bob", "acme", &["read:metrics"]));
    let other = app.with(token("eve", "other", &["write:metrics", "read:metrics"]));
    for (path, key, unauthorized) in
        [("/write?db=x", "error", Value::Null), ("/api/v2/write", "message", json!("unauthorized"))]
    {
        let response = write(&app, path, "a x=1").await;
        assert!(response.headers().contains_key("www-authenticate"));
        let error = refused(response, 401).await;
        assert!(error[key].is_string() && error["code"] == unauthorized, "{error}");
        assert!(
            refused(write(&reader, path, "a x=1").await, 403).await[key].as_str().unwrap().contains("write:metrics")
        );
        assert_eq!(write(&writer, path, "a x=1").await.status(), 204);
    }
    assert_eq!(data(&writer, "metrics.a").await["x"]["last"], 1);
    assert_eq!(other.get("/api/metrics/metrics.a").await.status(), 404);
}

#[tokio::test]
async fn bodies_are_bounded_before_and_after_decompression() {
    let app = spawn_app_with(|config| {
        config.limits.max_lines = 3;
        config.limits.max_body.0 = 100_000;
    });
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let send =
        |body: Vec<u8>| app.request(Method::POST, "/api/v2/write").header("content-encoding", "gzip").body(body).send();
    assert_eq!(send(gzip(b"a x=1")).await.unwrap().status(), 204);
    let bomb = gzip(&vec![b'#'; 10_000_000]);
    assert!(bomb.len() < 20_000);
    assert_eq!(refused(send(bomb).await.unwrap(), 413).await["code"], "request too large");
    assert_eq!(refused(send(b"a x=1".to_vec()).await.unwrap(), 400).await["code"], "invalid");
    refused(write(&app, "/write", "a x=1\n".repeat(4)).await, 413).await;
    assert_eq!(app.counter("tricast_limit_reached_total{limit=\"max_lines\"}").await, 1.0);
    assert_eq!(data(&app, "metrics.a").await["x"]["last"], 1);
}

#[tokio::test]
async fn a_limit_of_series_refuses_new_ones_only() {
    let app = spawn_app_with(|config| config.limits.max_series = 2);
    assert_eq!(write(&app, "/write", "a,h=1 x=1\na,h=2 x=1").await.status(), 204);
    let response = write(&app, "/api/v2/write", "a,h=3 x=1").await;
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(refused(response, 429).await["code"], "too many requests");
    // With others accepted the batch must not be repeated.
    let error = refused(write(&app, "/write", "a,h=1 x=5\na,h=3 x=1").await, 400).await;
    assert!(error["error"].as_str().unwrap().ends_with("dropped=1"), "{error}");
    assert_eq!(data(&app, "metrics.a").await["x{h=\"1\"}"]["last"], 5);
}

#[tokio::test]
async fn a_name_of_the_servers_own_channel_gets_another_one() {
    let app = spawn_app();
    assert_eq!(write(&app, "/write", "api requests=5").await.status(), 204);
    assert_eq!(data(&app, "metrics.api_").await["requests"]["last"], 5);
}

#[tokio::test]
async fn clients_check_the_server_and_create_their_database() {
    let app = spawn_app();
    let ping = app.get("/ping?wait_for_leader=1s").await;
    assert_eq!(ping.status(), 204);
    assert!(ping.headers()["x-influxdb-version"].to_str().unwrap().starts_with("1.8"));
    assert_eq!(app.get_json("/health").await["status"], "pass");
    let created = json!({"results": [{"statement_id": 0}]});
    assert_eq!(app.get_json("/query?q=CREATE+DATABASE+x&db=x").await, created);
    let by_post = app.request(Method::POST, "/query").body("q=create%20database%20%22x%22").send().await.unwrap();
    assert_eq!(by_post.json::<Value>().await.unwrap(), created);
    let error = refused(app.get("/query?q=SELECT+*+FROM+cpu").await, 400).await;
    assert!(error["error"].as_str().unwrap().contains("CREATE DATABASE"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_bound_to_channels_writes_no_other_channel() {
    let app = spawn_app_with_tokens(|_| {});
    let machine = app.with(bound_token("ci", &["metrics.ci.*"], &["metrics.ci.*"]));
    let lines = "ci.build seconds=12\ncpu idle=7";
    for path in ["/write", "/api/v2/write"] {
        let problem = refused(write(&machine, path, lines).await, 400).await.to_string();
        assert!(problem.contains("dropped=1") && problem.contains("metrics.cpu"), "{problem}");
    }
    assert_eq!(data(&machine, "metrics.ci.build").await["seconds"]["last"], 12);
    let admin = app.with(token("ada", "acme", &["admin"]));
    assert_eq!(admin.get("/api/metrics/metrics.cpu").await.status(), 404);
}
