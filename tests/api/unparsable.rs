//! Requests that cannot be parsed are refused like others: a problem with a code and an ID, and a log line with the same
//! ID and the reason.

use std::{fs, path::Path};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    helpers::{soon, spawn_app, spawn_app_with, until},
    program::Program,
};

/// Sends bytes and reads until the server closes.
async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse before it has read all of it.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    soon("the end", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Returns the last of several responses, in its parts: status, headers, problem.
fn problem_of(answer: &str) -> (u16, &str, Value) {
    let last = &answer[answer.rfind("HTTP/1.1 4").unwrap()..];
    let (head, body) = last.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head, serde_json::from_str(body).unwrap_or_else(|_| panic!("no problem: {answer}")))
}

async fn line_of(log: &Path, id: &str) -> String {
    until("a line in the log", || async {
        let text = fs::read_to_string(log).unwrap();
        text.lines().find(|line| line.contains(id)).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn an_unparsable_request_gets_a_problem_and_a_log_line() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let program = Program::start_logging(directory.path(), &[], fs::File::create(&log).unwrap().into());
    let address = program.address();
    let many = "A: b\r\n".repeat(120);
    let long = format!("A: {}\r\n", "b".repeat(140_000));
    let get = |first: &str, headers: &str| format!("{first}\r\nHost: {address}\r\n{headers}\r\n").into_bytes();
    for (request, status, detail) in [
        (get("GET / HTTP/1.1", &many), 431, "more than 96 headers"),
        (get("GET / HTTP/1.1", &long), 431, "too large"),
        (get("GET /api/history?from=2026-01-01 10:00 HTTP/1.1", ""), 400, "write %20"),
        (get("GET /api/metrics?channels=metrics.\u{e4} HTTP/1.1", ""), 400, "percent-encoded"),
        (get("G@T / HTTP/1.1", ""), 400, "method"),
        (get("GET / HTTP/2.1", ""), 400, "version"),
        (get("GET /", ""), 400, "METHOD URL HTTP/1.1"),
        (get("GET / HTTP/1.1", "no colon\r\n"), 400, "no colon"),
        (get("GET / HTTP/1.1", "X: a\0b\r\n"), 400, "control character"),
        (get("GET / HTTP/1.1", "Host: other\r\n"), 400, "Host occurs twice"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, "Host is missing"),
        (get("POST / HTTP/1.1", "Content-Length: 1\r\nContent-Length: 1\r\n"), 400, "Content-Length occurs twice"),
        (get("POST / HTTP/1.1", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, "both present"),
        (get("POST / HTTP/1.1", "Transfer-Encoding: gzip\r\n"), 400, "has to be chunked"),
        (get(&format!("GET /?{} HTTP/1.1", "a".repeat(70_000)), ""), 414, "longer than 65,534"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "method"),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(90)]).into_owned();
        let answer = exchange(address, &request).await;
        let (given, head, problem) = problem_of(&answer);
        assert_eq!((given, problem["status"].as_u64()), (status, Some(u64::from(status))), "{shown}: {answer}");
        assert!(head.contains("\r\ncontent-type: application/problem+json"), "{answer}");
        assert_eq!(problem["code"], "INVALID_MESSAGE");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{shown}: {problem}");
        let id = problem["instance"].as_str().unwrap();
        assert!(head.contains(&format!("\r\nx-request-id: {id}\r\n")), "{answer}");
        let line = line_of(&log, id).await;
        assert!(line.contains(detail) && line.contains("INVALID_MESSAGE"), "{line}");
    }
}

#[tokio::test]
async fn the_request_id_of_a_proxy_is_kept() {
    let app = spawn_app();
    let answer = exchange(app.address, b"GET /a b HTTP/1.1\r\nHost: x\r\nX-Request-Id: of-the-proxy\r\n\r\n").await;
    assert_eq!(problem_of(&answer).2["instance"], "of-the-proxy");
}

#[tokio::test]
async fn a_late_head_gets_a_problem() {
    let app = spawn_app_with(|config| config.limits.header_timeout.0 = std::time::Duration::from_secs(1));
    let answer = exchange(app.address, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
    let (status, _, problem) = problem_of(&answer);
    assert_eq!((status, problem["code"].as_str()), (408, Some("INVALID_MESSAGE")), "{answer}");
    assert!(problem["detail"].as_str().unwrap().contains("within 1 s"), "{problem}");
}

#[tokio::test]
async fn later_heads_have_the_same_time_limit() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let settings = [("TRICAST_LIMITS__HEADER_TIMEOUT", "1s")];
    let program = Program::start_logging(directory.path(), &settings, fs::File::create(&log).unwrap().into());
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", program.address());
    let answer = exchange(program.address(), format!("{good}{good}GET / HTTP/1.1\r\n").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    let (status, head, problem) = problem_of(&answer);
    assert_eq!((status, problem["code"].as_str()), (408, Some("INVALID_MESSAGE")), "{answer}");
    let id = problem["instance"].as_str().unwrap();
    assert!(head.contains(&format!("\r\nx-request-id: {id}\r\n")), "{answer}");
    assert!(line_of(&log, id).await.contains("within 1 s"));
}

#[tokio::test]
async fn requests_before_an_unparsable_one_are_answered() {
    let app = spawn_app();
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let answer = exchange(app.address, format!("{good}{good}GET /a b HTTP/1.1\r\n\r\n").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    let (status, _, problem) = problem_of(&answer);
    assert_eq!((status, problem["code"].as_str()), (400, Some("INVALID_MESSAGE")), "{answer}");
}

#[tokio::test]
async fn an_unparsable_body_gets_one_response() {
    let app = spawn_app();
    for path in ["/api/metrics", "/nothing"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", app.address);
        let answer = exchange(app.address, format!("{head}5\r\n[1,2,\r\nzz\r\n").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        let (status, head, problem) = problem_of(&answer);
        assert!((400..500).contains(&status) && head.contains("connection: close"), "{answer}");
        assert!(problem["instance"].is_string() && problem["code"].is_string(), "{answer}");
        assert!(status == 404 || problem["detail"].as_str().unwrap().contains("chunks"), "{answer}");
    }
}
