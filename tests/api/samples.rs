//! Typed samples, pushed and read over HTTP (docs/samples.md).

use serde_json::{Value, json};

use crate::helpers::{TestApp, spawn_app, spawn_app_with, until};

async fn lines(app: &TestApp, lines: &[Value]) -> (u16, Value) {
    let body: Vec<_> = lines.iter().map(Value::to_string).collect();
    let response = app.post("/api/metrics", body.join("\n")).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn each_type_has_its_figures() {
    let app = spawn_app();
    let mut batch = Vec::new();
    for n in 1..=100 {
        batch.push(json!({"metric": "shop.latency", "type": "timing", "value": n}));
        batch.push(json!({"metric": "shop.sold", "type": "counter", "value": 2}));
        batch.push(json!({"metric": "shop.load", "type": "gauge", "value": n % 10}));
        batch.push(json!({"metric": "shop.visitors", "type": "set", "value": format!("v{}", n % 7)}));
    }
    let (status, answer) = lines(&app, &batch).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(400)));
    let data = app.get_json("/api/metrics/metrics.shop").await["data"].clone();
    let today = &data["latency"]["today"];
    assert_eq!((&today["count"], &today["max"], &today["avg"]), (&json!(100), &json!(100), &json!(50.5)));
    for (percentile, exact) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)] {
        let found = today[percentile].as_f64().unwrap();
        assert!((found - exact).abs() <= exact * 0.01, "{percentile}: {found}");
    }
    assert_eq!((&data["sold"]["total"], &data["sold"]["today"]["total"]), (&json!(200), &json!(200)));
    assert_eq!(data["load"]["today"], json!({"min": 0, "max": 9, "avg": 4.5}));
    assert_eq!((&data["load"]["last"], &data["visitors"]["today"]["count"]), (&json!(0), &json!(7)));
}

#[tokio::test]
async fn a_reader_at_the_cursor_of_the_answer_has_seen_the_sample() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    socket.subscribe(&["metrics.checkout"]).await;
    for n in 1..=30 {
        let cursor = app.push(json!({"metric": "checkout.sold", "type": "counter", "value": 1})).await;
        let seen = app.get_json("/api/metrics/metrics.checkout").await;
        assert_eq!(seen["data"]["sold"]["total"], n);
        let since = app.get_json(&format!("/api/metrics?channels=metrics.checkout&since={cursor}")).await;
        assert!(
            since["channels"].as_object().unwrap().values().all(|item| item["data"]["sold"]["total"] == n),
            "{since}"
        );
        assert_eq!(app.get_json("/api/metrics").await["custom"]["checkout"]["sold"]["total"], n);
    }
    loop {
        if socket.next_of("metric").await["data"]["sold"]["total"] == 30 {
            break;
        }
    }
}

#[tokio::test]
async fn labels_make_series_of_their_own() {
    let app = spawn_app();
    for (region, shop) in [("eu", "1"), ("us", "2"), ("eu", "1")] {
        let labels = json!({"shop": shop, "region": region});
        app.push(json!({"metric": "a.b.sold", "type": "counter", "value": 1, "labels": labels})).await;
    }
    let data = app.get_json("/api/metrics/metrics.a.b").await["data"].clone();
    let totals: Vec<_> =
        data.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), &value["total"])).collect();
    let (whole, eu, us) = (json!(3), json!(2), json!(1));
    let expected = [("sold", &whole), (r#"sold{region="eu",shop="1"}"#, &eu), (r#"sold{region="us",shop="2"}"#, &us)];
    assert_eq!(totals, expected);
}

#[tokio::test]
async fn each_sample_of_a_body_has_its_own_verdict() {
    let app = spawn_app_with(|config| config.limits.max_series = 2);
    let sample = |metric: &str, kind: &str, value: Value| json!({"metric": metric, "type": kind, "value": value});
    let batch = [
        sample("a.x", "gauge", json!(1)),
        sample("a.x", "counter", json!(1)),
        sample("latency", "gauge", json!(1)),
        sample("a.x", "gauge", json!("1")),
        sample("api.error_rate", "gauge", json!(1)),
        json!({"metric": "a.x", "type": "gauge", "value": 3, "labels": {"region": "eu"}}),
        json!({"metric": "a.x", "type": "gauge", "value": 3, "labels": {"region": "us"}}),
        json!({"channel": "b", "data": {"x": 1}}),
        json!({"metric": "a.x", "type": "gauge", "value": 2}),
    ];
    let (status, answer) = lines(&app, &batch).await;
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!((status, statuses), (207, vec![202, 409, 400, 400, 403, 202, 429, 202, 202]), "{answer}");
    assert!(answer["results"][2]["detail"].as_str().unwrap().contains("CHANNEL.FIELD"), "{answer}");
    let data = app.get_json("/api/metrics/metrics.a").await["data"].clone();
    assert_eq!((data["x"]["last"].clone(), data["x"]["today"]["avg"].clone()), (json!(2), json!(2)));
    let refused = app.post("/api/metrics", sample("a.y", "gauge", json!(1)).to_string()).await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
}

#[tokio::test]
async fn a_plain_value_and_a_sample_of_the_same_name_replace_each_other() {
    let app = spawn_app();
    app.push(json!({"metric": "shop.sold", "type": "counter", "value": 1})).await;
    app.push_value("metrics.shop", json!({"sold": "out", "open": true})).await;
    assert_eq!(app.get_json("/api/metrics/metrics.shop").await["data"], json!({"sold": "out", "open": true}));
    app.push(json!({"metric": "shop.sold", "type": "counter", "value": 1})).await;
    let data = app.get_json("/api/metrics/metrics.shop").await["data"].clone();
    assert_eq!((&data["sold"]["total"], &data["open"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn the_rate_falls_without_samples() {
    let app = spawn_app();
    let mut events = app.events("?channels=metrics.shop").await;
    app.push(json!({"metric": "shop.sold", "type": "counter", "value": 100})).await;
    let first = events.next_of("metric").await.data();
    assert_eq!(first["data"]["sold"]["rate"], 10);
    let last = until("an empty window", || async {
        let data = app.get_json("/api/metrics/metrics.shop").await["data"].clone();
        (data["sold"]["rate"] == 0).then_some(data)
    })
    .await;
    assert_eq!(last["sold"]["total"], 100);
    // The stream gets it too.
    while events.next_of("metric").await.data()["data"] != last {}
}
