//! Attacks on the server; the name of each test is the attack.

use std::time::Duration;

use futures_util::SinkExt;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::helpers::{soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token};

#[tokio::test]
async fn cross_site_websocket_hijacking() {
    let app = spawn_app_with(|config| config.allowed_origins = vec!["https://shop.example".into()]);
    let handshake = |origin: String| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            app.address
        )
    };
    for (origin, status) in [
        ("http://evil.example".to_owned(), 403),
        ("https://shop.example.evil.example".into(), 403),
        ("null".into(), 403),
        ("https://shop.example".into(), 101),
        (format!("http://{}", app.address), 101),
    ] {
        let answer =
            app.raw(handshake(origin.clone()).as_bytes(), |answer| answer.windows(4).any(|w| w == b"\r\n\r\n")).await;
        assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{origin}");
    }
}

#[tokio::test]
async fn cross_site_request_forgery() {
    let app = spawn_app_with(|config| config.allowed_origins = vec!["https://shop.example".into()]);
    let push = |origin: &'static str| {
        let body = json!({"channel": "a", "data": {"from": origin}}).to_string();
        app.request(Method::POST, "/api/metrics")
            .header("origin", origin)
            .header("content-type", "text/plain")
            .body(body)
    };
    assert_eq!(push("http://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(app.get("/api/metrics/a").await.status(), 404, "nothing was written");
    let allowed = push("https://shop.example").send().await.unwrap();
    assert_eq!(allowed.status(), 202);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://shop.example");
    let foreign =
        app.request(Method::GET, "/api/metrics/a").header("origin", "http://evil.example").send().await.unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    let preflight = app
        .request(Method::OPTIONS, "/api/metrics")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn a_header_name_of_64_kib() {
    let app = spawn_app();
    let name = "a".repeat(66_000);
    let bad = format!("GET / HTTP/1.1\r\nHost: {}\r\n{name}: 1\r\n\r\n", app.address);
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    for (before, request) in [(0, bad.clone()), (1, format!("{good}{bad}"))] {
        let answer = app.raw(request.as_bytes(), |_| false).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("HTTP/1.1 431") && text.contains("the name of a header"), "{before}: {text}");
    }
    assert_eq!(app.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn header_trickling() {
    let app = spawn_app_with(|config| config.limits.header_timeout.0 = Duration::from_secs(1));
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            let mut buffer = [0; 256];
            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut buffer)).await
            {
                break;
            }
        }
    };
    soon("the slow client to be cut", trickle).await;
    assert_eq!(app.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn body_trickling() {
    let app = spawn_app_with(|config| config.limits.body_timeout.0 = Duration::from_secs(1));
    // Announced and never sent: the response comes nevertheless, and the connection ends.
    let request = "POST /api/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    let answer = app.raw(request.as_bytes(), |_| false).await;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn upgrade_with_a_body() {
    let app = spawn_app();
    let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        format!("POST /api/metrics HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 2\r\n\r\n{{}}"),
        "POST /api/metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".to_owned(),
        format!("GET /ws HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 5\r\n\r\nhello"),
        "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n".to_owned(),
    ] {
        let answer = app.raw(request.as_bytes(), |answer| answer.windows(4).any(|w| w == b"\r\n\r\n")).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"), "{request}: {text}");
    }
}

#[tokio::test]
async fn request_smuggling() {
    let app = spawn_app();
    let evil = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for request in [
        format!(
            "POST /api/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{evil}"
        ),
        format!(
            "POST /api/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{evil}",
            evil.len()
        ),
        format!("POST /api/metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{evil}"),
        format!("GET / HTTP/1.1\r\nHost: a b\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()),
        format!("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()),
    ] {
        let answer = app.raw(request.as_bytes(), |_| false).await;
        let answers = String::from_utf8_lossy(&answer).matches("HTTP/1.1 ").count();
        assert!(answers <= 1 && !answer.starts_with(b"HTTP/1.1 2"), "{request}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn compression_bomb() {
    let app = spawn_app_with(|config| config.compression = true);
    let mut encoder = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(1 << 20);
    encoder.compress_vec(&vec![b' '; 30 << 20], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    assert!(bomb.len() < 60_000, "{}", bomb.len());
    let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut bytes = format!("GET /ws HTTP/1.1\r\nHost: x\r\n{head}\r\n").into_bytes();
    bytes.extend([0xc1, 0xfe]);
    bytes.extend((bomb.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(bomb);
    let answer = app.raw(&bytes, |_| false).await;
    assert!(answer.windows(4).any(|w| w[0] == 0x88 && w[2..4] == 1009u16.to_be_bytes()), "closed with 1009");
}

#[tokio::test]
async fn a_foreign_request_id_cannot_reach_the_log_or_split_the_response() {
    let app = spawn_app();
    for id in ["a b", "a\u{e9}", "<script>", &"x".repeat(65), ""] {
        let answer = app.request(Method::GET, "/healthz").header("x-request-id", id.as_bytes()).send().await.unwrap();
        assert_ne!(answer.headers()["x-request-id"].as_bytes(), id.as_bytes());
    }
}

#[tokio::test]
async fn deep_json() {
    let app = spawn_app();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut socket = app.websocket().await;
    for (path, body, status) in [
        ("/api/metrics", format!(r#"{{"channel":"a","data":{{"x":{deep}}}}}"#), 400),
        // An array with one element, which is refused alone.
        ("/api/metrics", deep.clone(), 207),
        ("/api/orders", format!(r#"{{"items":{deep}}}"#), 400),
        ("/api/dashboards", format!(r#"{{"name":"x","tiles":[{{"type":"text","title":"x","options":{deep}}}]}}"#), 400),
    ] {
        assert_eq!(app.post(path, body).await.status(), status, "{path}");
    }
    let shorter = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let text = format!(r#"{{"type":"ping","requestId":1,"x":{shorter}}}"#);
    socket.stream.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next_of("error").await["code"], "INVALID_MESSAGE");
    socket.ask(json!({"type": "ping"}), "pong").await;
}

#[tokio::test]
async fn huge_numbers() {
    let app = spawn_app();
    let many_digits = "9".repeat(5_000);
    for number in ["1e999", "-1e999", "NaN", "Infinity", &format!("{many_digits}e{many_digits}")] {
        let body = format!(r#"{{"channel":"a","data":{{"x":{number}}}}}"#);
        assert_eq!(app.post("/api/metrics", body).await.status(), 400, "{number}");
        let order = format!(r#"{{"items":1,"total":{number},"customerName":"Ada"}}"#);
        assert_eq!(app.post("/api/orders", order).await.status(), 400, "{number}");
        let sample = format!(r#"{{"metric":"a.b","type":"timing","value":{number}}}"#);
        assert_eq!(app.post("/api/metrics", sample).await.status(), 400, "{number}");
    }
    // A number that is representable is written back unchanged.
    app.post("/api/metrics", r#"{"channel":"a","data":{"x":9007199254740993,"y":1.7976931348623157e308}}"#).await;
    let text = app.get("/api/metrics/a").await.text().await.unwrap();
    assert!(text.contains(r#""x":9007199254740993,"y":1.7976931348623157e+308"#), "{text}");
    for query in ["wait=99999999999999999999", "interval=99999999999999999999", "since=e:99999999999999999999"] {
        assert_eq!(app.get(&format!("/api/metrics?{query}")).await.status(), 400, "{query}");
    }
    assert_eq!(app.get("/api/orders?limit=99999999999999999999").await.status(), 400);
}

#[tokio::test]
async fn lone_surrogates() {
    let app = spawn_app();
    let mut socket = app.websocket().await;
    for lone in [r"\ud800", r"\udc00x", r"\ud800\ud800"] {
        let body = format!(r#"{{"channel":"a","data":{{"x":"{lone}"}}}}"#);
        assert_eq!(app.post("/api/metrics", body).await.status(), 400, "{lone}");
        let order = format!(r#"{{"items":1,"total":1,"customerName":"{lone}"}}"#);
        assert_eq!(app.post("/api/orders", order).await.status(), 400, "{lone}");
        let message = format!(r#"{{"type":"ping","requestId":"{lone}"}}"#);
        socket.stream.send(Message::text(message)).await.unwrap();
        assert_eq!(socket.next_of("error").await["code"], "INVALID_MESSAGE", "{lone}");
    }
    let pair = r#"{"channel":"a","data":{"x":"\ud83d\ude00"}}"#;
    assert_eq!(app.post("/api/metrics", pair).await.status(), 202);
    assert_eq!(app.get_json("/api/metrics/a").await["data"]["x"], "\u{1f600}");
}

#[tokio::test]
async fn dns_rebinding() {
    let app = spawn_app();
    for (host, status) in [
        ("evil.example".to_owned(), 403),
        ("evil.example:8080".into(), 403),
        ("localhost:8080".into(), 200),
        ("shop.localhost".into(), 200),
        ("[::1]:8080".into(), 200),
        (app.address.to_string(), 200),
    ] {
        let answer = app.request(Method::GET, "/api/metrics").header("host", &host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
    let named = spawn_app_with(|config| config.public_url = Some("https://live.example".into()));
    let answer = named.request(Method::GET, "/api/metrics").header("host", "live.example").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_flood_of_empty_fragments() {
    let app = spawn_app();
    let mut request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    )
    .into_bytes();
    request.extend_from_slice(&[0x01, 0x80, 0, 0, 0, 0]);
    (0..1_500).for_each(|_| request.extend_from_slice(&[0x00, 0x80, 0, 0, 0, 0]));
    let answer = app.raw(&request, |_| false).await;
    assert!(
        answer.windows(4).any(|frame| frame[0] == 0x88 && frame[2..4] == 1002u16.to_be_bytes()),
        "closed with 1002"
    );
}

#[tokio::test]
async fn a_ticket_cannot_issue_a_ticket() {
    let app = spawn_app_with_tokens(|_| {});
    let ada = app.with(token("ada", "acme", &["admin"]));
    let ticket = || async {
        let answer: serde_json::Value = ada.post("/api/tickets", "").await.json().await.unwrap();
        answer["ticket"].as_str().unwrap().to_owned()
    };
    assert_eq!(app.post(&format!("/api/tickets?ticket={}", ticket().await), "").await.status(), 401);
    assert_eq!(app.get(&format!("/api/orders?ticket={}", ticket().await)).await.status(), 401);
    // A user who redeems quickly uses up only their own tickets.
    let mut refused = 0;
    for _ in 0..40 {
        let answer = ada.post("/api/tickets", "").await;
        if answer.status() == 429 {
            refused += 1;
            continue;
        }
        let answer: serde_json::Value = answer.json().await.unwrap();
        drop(app.events(&format!("?ticket={}", answer["ticket"].as_str().unwrap())).await);
    }
    assert!(refused > 0);
    assert_eq!(app.with(token("bob", "other", &["admin"])).post("/api/tickets", "").await.status(), 201);
}

#[tokio::test]
async fn a_cookie_from_a_page_of_another_site() {
    let app = spawn_app_with_tokens(|config| config.auth.cookie = Some("session".into()));
    let cookie = format!("session={}", token("ada", "acme", &["admin"]));
    for origin in ["http://evil.example", "null"] {
        let post = app.request(Method::POST, "/api/visits").header("cookie", &cookie).header("origin", origin);
        assert_eq!(post.send().await.unwrap().status(), 403, "{origin}");
    }
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    );
    let answer = app.raw(handshake.as_bytes(), |answer| answer.windows(4).any(|w| w == b"\r\n\r\n")).await;
    assert!(answer.starts_with(b"HTTP/1.1 403"));
}
