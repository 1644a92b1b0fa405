//! Requests of real clients, proxies and libraries, as they send them.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::helpers::{TestApp, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token};

const VALUE: &[u8] = br#"{"channel":"metrics.a","data":{"n":1}}"#;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Pushes a body with headers and returns the status and the body.
async fn push(app: &TestApp, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> (u16, Value) {
    let mut request = app.request(Method::POST, "/api/metrics").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = soon("the answer", request.send()).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn the_last_event_id_may_be_a_parameter() {
    let app = spawn_app();
    let cursor = app.push_event("ticks", 0).await;
    for n in 1..=3 {
        app.push_event("ticks", n).await;
    }
    for name in ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID", "last_event_id"] {
        let mut stream = app.events(&format!("?channels=ticks&{name}={cursor}")).await;
        assert_eq!(stream.next_of("connected").await.data()["resume"], "replayed", "{name}");
        for n in 1..=3 {
            assert_eq!(stream.next_of("happened").await.data()["data"]["n"], n, "{name}");
        }
    }
    // The header belongs to this attempt and takes precedence; a library that repeats its parameter means the last one.
    let head = app.push_event("ticks", 4).await;
    app.push_event("ticks", 5).await;
    let mut stream = app.events_from(&format!("?channels=ticks&lastEventId={cursor}"), Some(&head)).await;
    assert_eq!(stream.next_of("happened").await.data()["data"]["n"], 5);
    let mut stream = app.events(&format!("?channels=ticks&lastEventId={cursor}&lastEventId={head}")).await;
    assert_eq!(stream.next_of("happened").await.data()["data"]["n"], 5);
    let mut stream = app.events("?channels=ticks&lastEventId=").await;
    assert_eq!(stream.next_of("connected").await.data()["resume"], Value::Null);
}

#[tokio::test]
async fn an_offer_of_http_2_is_answered_in_http_1_1_with_a_body_or_without() {
    let app = spawn_app();
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n";
    let value = String::from_utf8(VALUE.to_vec()).unwrap();
    for (method, path, body, status) in [
        ("POST", "/api/metrics", value.as_str(), 202),
        ("POST", "/api/orders", r#"{"items":1,"total":5,"customerName":"Ada"}"#, 201),
        ("PATCH", "/api/orders/ord-00000001", r#"{"priority":"high"}"#, 200),
        ("DELETE", "/api/dashboards/none", "", 404),
        ("GET", "/api/metrics", "", 200),
    ] {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{offer}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = app.raw(request.as_bytes(), |_| false).await;
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(text.starts_with(&format!("http/1.1 {status}")), "{method} {path}: {text}");
        // No other protocol follows, and the connection ends as announced.
        assert!(text.contains("connection: close") && !text.contains("connection: upgrade"), "{text}");
    }
    let chunked = format!(
        "POST /api/metrics HTTP/1.1\r\nHost: x\r\n{offer}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{value}\r\n0\r\n\r\n",
        value.len()
    );
    assert!(app.raw(chunked.as_bytes(), |_| false).await.starts_with(b"HTTP/1.1 202"));
    // A handshake still has to be valid.
    for (method, upgrade) in [("POST", "websocket"), ("PATCH", "WebSocket")] {
        let request = format!(
            "{method} /api/metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        assert!(app.raw(request.as_bytes(), |_| false).await.starts_with(b"HTTP/1.1 400"), "{upgrade}");
    }
}

#[tokio::test]
async fn head_on_a_stream_returns_the_headers_of_get_at_once() {
    let app = spawn_app_with_tokens(|_| {});
    let reader = app.with(token("ada", "acme", &["read:metrics"]));
    let head = |visitor: &crate::helpers::ApiClient, path: &'static str| {
        let request = visitor.request(Method::HEAD, path);
        async move { soon(path, request.send()).await.unwrap() }
    };
    for path in ["/events", "/api/events?channels=metrics.*", "/events?probe=3"] {
        let answer = head(&reader, path).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        assert!(soon("the end", answer.bytes()).await.unwrap().is_empty());
    }
    for (visitor, path, status) in [
        (&*app, "/events", 401),
        (&reader, "/events?channels=orders", 403),
        (&reader, "/events?channels=a%20b", 400),
        (&reader, "/ws", 426),
        (&reader, "/v1/dashboard/ws", 426),
    ] {
        assert_eq!(head(visitor, path).await.status(), status, "{path}");
    }
    let admin = app.with(token("ada", "default", &["admin"]));
    assert_eq!(admin.counter("tricast_connections{transport=\"sse\"}").await, 0.0, "no stream is left behind");
}

#[tokio::test]
async fn a_byte_order_mark_before_json_is_skipped() {
    let app = spawn_app();
    let marked = |body: &[u8]| [BYTE_ORDER_MARK, body].concat();
    assert_eq!(push(&app, &[], marked(VALUE)).await.0, 202);
    let lines = [marked(VALUE), b"\r\n".to_vec(), marked(VALUE), b"\r\n".to_vec()].concat();
    let (status, answer) = push(&app, &[], lines).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2)), "{answer}");
    for (path, body) in [
        ("/api/orders", r#"{"items":1,"total":5,"customerName":"Ada"}"#),
        ("/api/dashboards", r#"{"name":"b","tiles":[]}"#),
        ("/api/visits", ""),
    ] {
        let request = app.request(Method::POST, path).body(marked(body.as_bytes()));
        let answer = soon(path, request.send()).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
    let mut socket = app.websocket().await;
    futures_util::SinkExt::send(&mut socket.stream, Message::text("\u{feff}{\"type\":\"ping\"}")).await.unwrap();
    socket.next_of("pong").await;
    // The error names PowerShell's own encoding.
    let utf_16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (status, problem) = push(&app, &[], utf_16).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("UTF-16"), "{problem}");
}

#[tokio::test]
async fn compressed_bodies_are_inflated_on_every_route() {
    let app = spawn_app();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(VALUE).unwrap();
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    raw.write_all(VALUE).unwrap();
    let mut brotli = Vec::new();
    brotli::CompressorWriter::new(&mut brotli, 4_096, 5, 20).write_all(VALUE).unwrap();
    for (coding, body) in [
        ("gzip", gzip(VALUE)),
        ("x-GZip", gzip(VALUE)),
        ("identity, gzip", gzip(VALUE)),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", raw.finish().unwrap()),
        ("br", brotli),
        ("identity", VALUE.to_vec()),
    ] {
        let (status, answer) = push(&app, &[("content-encoding", coding)], body).await;
        assert_eq!(status, 202, "{coding}: {answer}");
    }
    let line = [VALUE, b"\n"].concat().repeat(2_000);
    let (status, answer) = push(&app, &[("content-encoding", "gzip")], gzip(&line)).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2_000)));
    let order = app.request(Method::POST, "/api/orders").header("content-encoding", "gzip");
    let order = order.body(gzip(br#"{"items":1,"total":5,"customerName":"Ada"}"#)).send().await.unwrap();
    assert_eq!(order.status(), 201);
}

#[tokio::test]
async fn invalid_compressed_bodies_and_bombs_are_refused() {
    let app = spawn_app_with(|config| config.limits.max_body.0 = 100_000);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    assert_eq!(push(&app, &[("content-encoding", "gzip")], bomb).await.0, 413);
    assert_eq!(app.limit("max_body").await, 1.0);
    let half = gzip(VALUE);
    let half = half[..half.len() / 2].to_vec();
    for (coding, body) in [("gzip", VALUE.to_vec()), ("gzip", half), ("br", b"\xff\xff".to_vec())] {
        let (status, problem) = push(&app, &[("content-encoding", coding)], body).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(coding), "{problem}");
    }
    for coding in ["zstd", "gzip, gzip", "gzip, br", "aes128gcm"] {
        let request = app.request(Method::POST, "/api/metrics").header("content-encoding", coding).body(VALUE);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 415, "{coding}");
        assert_eq!(answer.headers()["accept-encoding"], "gzip, deflate, br");
    }
}

#[tokio::test]
async fn resources_read_through_a_compressing_proxy_can_be_changed() {
    let app = spawn_app();
    let tag = app.get("/api/dashboards/default").await.headers()["etag"].to_str().unwrap().to_owned();
    let add = |tag: String| {
        let tile = json!({"type": "text", "title": "t", "options": {"text": "x"}});
        app.request(Method::POST, "/api/dashboards/default/tiles").header("if-match", tag).body(tile.to_string()).send()
    };
    // As nginx and Cloudflare write the tag.
    assert_eq!(add(format!("W/{tag}")).await.unwrap().status(), 201);
    // Another change is still detected.
    assert_eq!(add(format!("W/{tag}")).await.unwrap().status(), 412);
    // As Apache writes the tag.
    let tag = app.get("/api/dashboards/default").await.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(add(format!("{}-gzip\"", tag.trim_end_matches('"'))).await.unwrap().status(), 201);
}

#[tokio::test]
async fn an_app_with_its_own_origin_is_accepted_if_it_is_configured() {
    let origins = ["capacitor://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "null"];
    let app = spawn_app_with(|config| config.allowed_origins = origins.map(str::to_owned).to_vec());
    for origin in origins {
        let answer = app.request(Method::GET, "/api/metrics").header("origin", origin).send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], origin);
    }
    let other = app.request(Method::POST, "/api/visits").header("origin", "ionic://localhost").send().await.unwrap();
    assert_eq!(other.status(), 403);
    let detail = other.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("ionic://localhost") && detail.contains("allowed_origins"), "{detail}");
}

#[tokio::test]
async fn a_page_of_the_same_host_and_another_scheme_is_foreign() {
    let app = spawn_app_with(|config| config.trusted_proxies = vec!["127.0.0.1".into()]);
    let host = app.address.to_string();
    for (scheme, forwarded, status) in [
        ("http", None, 202),
        ("https", None, 403),
        ("https", Some("https"), 202),
        ("http", Some("https"), 403),
        ("ws", None, 403),
    ] {
        let mut request = app.request(Method::POST, "/api/visits").header("origin", format!("{scheme}://{host}"));
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-proto", forwarded);
        }
        assert_eq!(request.send().await.unwrap().status(), status, "{scheme} {forwarded:?}");
    }
}

#[tokio::test]
async fn unknown_parameters_are_refused_by_name() {
    let app = spawn_app();
    for (path, parts) in [
        ("/events?channel=metrics", ["\"channel\"", "did you mean channels?"]),
        ("/api/metrics?chanels=metrics", ["\"chanels\"", "did you mean channels?"]),
        ("/api/metrics/metrics.api?channels=a", ["\"channels\"", "there are since"]),
        ("/api/history?channel=metrics.api&fields=x", ["\"fields\"", "did you mean field?"]),
        ("/api/orders?state=PENDING", ["\"state\"", "status, limit, after"]),
        ("/api/alerts?open=1", ["\"open\"", "severity"]),
        ("/api/channels?prefix=metrics", ["\"prefix\"", "there are channels"]),
        ("/api/orders?limit=abc", ["limit", "write a whole number"]),
        ("/api/orders?status=OPEN", ["status", "`PENDING`"]),
        ("/api/orders?limit=1&limit=2", ["limit", "more than once"]),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        let detail = answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(parts.iter().all(|part| detail.contains(part)), "{path}: {detail}");
    }
    assert_eq!(app.try_websocket_at("/ws?channels=metrics").await.err(), Some(400));
    for path in ["/api/metrics?_=1720000000", "/api/stats?utm_source=mail", "/api/orders?t=5"] {
        assert_eq!(app.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn lists_of_channels_have_the_forms_of_common_libraries() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    app.push_value("metrics.b", json!({"n": 2})).await;
    let expected = json!({"metrics.a": {"n": 1}, "metrics.b": {"n": 2}});
    for query in [
        "channels=metrics.a,metrics.b",
        "channels=metrics.a&channels=metrics.b",
        "channels[]=metrics.a&channels[]=metrics.b",
        "channels%5B0%5D=metrics.a&channels%5B1%5D=metrics.b",
    ] {
        assert_eq!(app.get_json(&format!("/api/metrics?{query}")).await["channels"], expected, "{query}");
        let mut stream = app.events(&format!("?{query}")).await;
        let first = stream.next_of("metric").await.data();
        let second = stream.next_of("metric").await.data();
        assert_eq!((&first["channel"], &second["channel"]), (&json!("metrics.a"), &json!("metrics.b")), "{query}");
    }
}

#[tokio::test]
async fn a_poll_may_name_a_channel_that_does_not_exist_yet() {
    let app = spawn_app();
    let first = app.get_json("/api/metrics?channels=metrics.later,deploys").await;
    assert_eq!((&first["channels"], &first["events"]), (&json!({}), &json!([])));
    let cursor = first["cursor"].as_str().unwrap();
    let path = format!("/api/metrics?channels=metrics.later,deploys&since={cursor}&wait=20");
    let (held, _) = tokio::join!(app.get(&path), app.push_value("metrics.later", json!({"n": 1})));
    assert_eq!(held.json::<Value>().await.unwrap()["channels"]["metrics.later"], json!({"n": 1}));
    assert_eq!(app.get("/api/metrics/metrics.never").await.status(), 404);
    let text = String::from_utf8_lossy(
        &app.raw(b"GET /events?channels=metrics.never HTTP/1.1\r\nHost: x\r\n\r\n", |answer| {
            answer.windows(9).any(|w| w == b"connected")
        })
        .await,
    )
    .into_owned();
    assert!(text.contains(": there is no channel metrics.never yet\n"), "{text}");
}

#[tokio::test]
async fn a_hundred_channels_with_long_names_fit_into_a_url() {
    let app = spawn_app();
    let names: Vec<_> = (0..100).map(|n| format!("entity.device.{n:04}.{}", "x".repeat(109))).collect();
    assert!(names.iter().all(|name| name.len() == 128));
    let names = names.join(",");
    assert_eq!(app.get(&format!("/api/metrics?channels={names}")).await.status(), 200);
    app.events(&format!("?channels={names}")).await.next_of("connected").await;
}
