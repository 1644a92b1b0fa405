//! Pushes (docs/protocol.md, section 7), orders, customers and visits.

use serde_json::{Value, json};

use crate::helpers::{spawn_app, spawn_app_with, until};

#[tokio::test]
async fn a_reader_at_the_cursor_of_the_answer_has_seen_the_change() {
    let app = spawn_app();
    for n in 0..50 {
        app.push_value("metrics.a", json!({"n": n})).await;
        assert_eq!(app.get_json("/api/metrics/metrics.a").await["data"]["n"], n);
        assert_eq!(app.get_json("/api/metrics").await["custom"]["a"]["n"], n);
    }
}

#[tokio::test]
async fn an_array_and_lines_are_accepted() {
    let app = spawn_app();
    let lines: Vec<String> =
        (0..100).map(|n| json!({"channel": format!("m.{n}"), "data": {"n": n}}).to_string()).collect();
    for body in [format!("[{}]", lines.join(",")), lines.join("\n")] {
        let response = app.post("/api/update-metrics", body).await;
        assert_eq!(response.status(), 202);
        assert_eq!(response.json::<Value>().await.unwrap()["accepted"], 100);
    }
    assert_eq!(app.get_json("/api/metrics/m.99").await["data"]["n"], 99);
}

#[tokio::test]
async fn each_line_has_its_own_verdict() {
    let app = spawn_app();
    let body = [
        r#"{"channel":"a","data":{"x":1}}"#,
        r#"{"channel":"metrics.api","data":{}}"#,
        r#"{"channel":"a","event":"x"}"#,
        "nonsense",
        r#"{"channel":"b","event":"x","data":{}}"#,
    ];
    let response = app.post("/api/metrics", body.join("\n")).await;
    assert_eq!(response.status(), 207);
    let answer: Value = response.json().await.unwrap();
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!((answer["accepted"].as_u64(), statuses), (Some(2), vec![202, 403, 409, 400, 202]));
    assert_eq!(app.get_json("/api/metrics/a").await["data"], json!({"x": 1}));
}

#[tokio::test]
async fn built_in_channels_and_the_number_of_channels_are_guarded() {
    let app = spawn_app_with(|config| config.limits.max_channels = 2);
    let refused = app.post("/api/metrics", r#"{"channel":"metrics","data":{}}"#).await;
    assert_eq!(refused.status(), 403);
    app.push_value("a", json!({})).await;
    app.push_value("b", json!({})).await;
    let full = app.post("/api/metrics", r#"{"channel":"c","data":{}}"#).await;
    assert_eq!((full.status().as_u16(), full.headers().contains_key("retry-after")), (429, true));
    app.push_value("a", json!({"still": "works"})).await;
}

#[tokio::test]
async fn a_large_batch_is_parsed_and_written() {
    let app = spawn_app();
    let lines: Vec<String> =
        (0..9_000).map(|n| json!({"channel": format!("m.{}", n % 3_000), "data": {"n": n}}).to_string()).collect();
    let body = lines.join("\n");
    assert!(body.len() > 300_000);
    let answer: Value = app.post("/api/metrics", body).await.json().await.unwrap();
    assert_eq!(answer["accepted"], 9_000);
    assert_eq!(app.get_json("/api/metrics/m.2999").await["data"]["n"], 8_999);
}

#[tokio::test]
async fn orders_update_the_business_figures() {
    let app = spawn_app();
    for _ in 0..4 {
        assert_eq!(app.post("/api/visits", "{}").await.status(), 202);
    }
    assert_eq!(app.post("/api/customers", "{}").await.status(), 201);
    let mut ids = Vec::new();
    for total in [10.25, 20.5] {
        let created =
            app.post("/api/orders", json!({"items": 2, "total": total, "customerName": "Ada"}).to_string()).await;
        assert_eq!(created.status(), 201);
        let order: Value = created.json().await.unwrap();
        assert_eq!((&order["status"], &order["priority"]), (&json!("PENDING"), &json!("normal")));
        ids.push(order["orderId"].as_str().unwrap().to_owned());
    }
    let business = |orders: u64, revenue: f64, pending: u64| {
        let app = &app;
        async move {
            until("the numbers", || async {
                let snapshot = app.get_json("/api/metrics").await;
                let pending_now = app.get_json("/api/metrics/metrics.orders").await["data"]["pendingOrders"].clone();
                let business = &snapshot["business"];
                (business["orders_today"] == orders && business["revenue_today"] == revenue && pending_now == pending)
                    .then(|| business.clone())
            })
            .await
        }
    };
    let numbers = business(2, 30.75, 2).await;
    assert_eq!((&numbers["conversion_rate"], &numbers["new_users_today"]), (&json!(0.5), &json!(1)));
    let path = format!("/api/orders/{}", ids[0]);
    let changed = app.request(reqwest::Method::PATCH, &path).body(r#"{"status":"CANCELLED"}"#).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    business(1, 20.5, 1).await;
    let page = app.get_json("/api/orders?limit=1").await;
    assert_eq!((page["orders"].as_array().unwrap().len(), &page["next"]), (1, &json!(ids[1])));
    let page = app.get_json(&format!("/api/orders?status=CANCELLED&after={}", ids[1])).await;
    assert_eq!((&page["orders"][0]["orderId"], &page["next"]), (&json!(ids[0]), &Value::Null));
}

#[tokio::test]
async fn bad_orders_are_refused_by_field() {
    let app = spawn_app();
    for (body, status, part) in [
        ("{", 400, "EOF"),
        (r#"{"items":1}"#, 400, "total"),
        (r#"{"items":0,"total":1,"customerName":"x"}"#, 422, "items"),
        (r#"{"items":1,"total":1.005,"customerName":"x"}"#, 400, "total: an amount has at most 2 decimals"),
        (r#"{"items":1,"total":-1,"customerName":"x"}"#, 400, "total"),
        (r#"{"items":1,"total":1,"customerName":" "}"#, 422, "customerName"),
        (r#"{"items":1,"total":1,"customerName":"x","colour":1}"#, 400, "colour"),
        (r#"{"items":1,"total":1,"customerName":"x","status":"LOST"}"#, 400, "status"),
    ] {
        let refused = app.post("/api/orders", body).await;
        assert_eq!(refused.status(), status, "{body}");
        let detail = refused.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert_eq!(app.get("/api/orders/ord-00000009").await.status(), 404);
    assert_eq!(app.get("/api/orders/x").await.status(), 404);
}
