//! The program as a process: its log, its signals, and pauses.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
};

use crate::{
    helpers::{ApiClient, soon, spawn_app, until},
    program::Program,
};

/// Number of refused requests, each with a log line: more than the queue of log lines holds.
const REFUSED: usize = 12_000;

/// Sends requests that are refused, each with a log line.
async fn refuse(visitor: &ApiClient, requests: usize) {
    const TOGETHER: usize = 100;
    let request = format!("GET /nowhere HTTP/1.1\r\nHost: {}\r\n\r\n", visitor.address).repeat(TOGETHER);
    for _ in 0..requests / TOGETHER {
        let refused = |answers: &[u8]| answers.windows(13).filter(|bytes| bytes == b"HTTP/1.1 404 ").count();
        let answers = visitor.raw(request.as_bytes(), |answers| refused(answers) == TOGETHER).await;
        assert_eq!(refused(&answers), TOGETHER);
    }
}

/// Returns a client of the program.
fn visitor(program: &Program) -> ApiClient {
    spawn_app().at(program.address())
}

/// Returns the first line of a log that contains all of `parts`.
async fn line(mut log: impl Iterator<Item = String> + Send + 'static, parts: &'static [&'static str]) -> String {
    let find = move || log.find(|line| parts.iter().all(|part| line.contains(part)));
    soon(&format!("a line with {parts:?}"), spawn_blocking(find)).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_unread_log_delays_nothing_and_counts_dropped_lines() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start_logging(directory.path(), &[], Stdio::piped());
    let visitor = visitor(&program);
    refuse(&visitor, REFUSED).await;
    assert_eq!(visitor.get("/healthz").await.status(), 200);
    assert!(visitor.counter("tricast_log_lines_dropped_total").await > 0.0);

    line(program.log_lines(), &["log lines were dropped", "total="]).await;
    program.signal("TERM");
    assert!(spawn_blocking(move || program.ended()).await.unwrap().success());
}

#[tokio::test]
async fn a_stuck_log_does_not_delay_the_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start_logging(directory.path(), &[], Stdio::piped());
    let visitor = visitor(&program);
    refuse(&visitor, 2_000).await;
    program.signal("TERM");
    let ended = spawn_blocking(move || program.ended());
    assert!(soon("the end", ended).await.unwrap().success());
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_reason_and_routine_requests_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start_logging(directory.path(), &[], Stdio::piped());
    let visitor = visitor(&program);
    assert_eq!(visitor.get("/healthz").await.status(), 200);
    assert_eq!(visitor.get("/api/orders/ord-1").await.status(), 404);
    let upgrade = visitor.request(Method::GET, "/ws").header("origin", "https://evil.example");
    let upgrade = upgrade.header("connection", "upgrade").header("upgrade", "websocket");
    let upgrade = upgrade.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.send().await.unwrap().status(), 403);
    let old = visitor.get("/socket.io/?EIO=3&transport=polling").await;
    assert_eq!(
        (old.status().as_u16(), old.json::<serde_json::Value>().await.unwrap()["code"].as_u64()),
        (400, Some(5))
    );
    program.signal("TERM");
    let log = program.log_lines();
    let lines: Vec<String> = soon("the end of the log", spawn_blocking(move || log.collect())).await.unwrap();
    let of = |part: &str| lines.iter().filter(|line| line.contains(part)).collect::<Vec<_>>();
    assert!(of("/healthz").is_empty(), "{lines:#?}");
    let refused = of("/api/orders/ord-1");
    assert_eq!(refused.len(), 1, "{lines:#?}");
    assert!(refused[0].contains("RESOURCE_NOT_FOUND") && refused[0].contains("detail="), "{}", refused[0]);
    let foreign = of("https://evil.example");
    assert_eq!(foreign.len(), 1, "{lines:#?}");
    assert!(foreign[0].contains("FORBIDDEN") && foreign[0].contains("allowed_origins"), "{}", foreign[0]);
    let old = of("/socket.io/");
    assert!(old.len() == 1 && old[0].contains("use EIO=4"), "{lines:#?}");
}

#[tokio::test]
async fn sighup_reloads_keys_and_keeps_connections() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("tricast.toml");
    fs::write(&settings, "log_filter = \"info\"\n").unwrap();
    let mut program = Program::start_logging(directory.path(), &[], Stdio::piped());
    let visitor = visitor(&program);
    let mut socket = visitor.websocket().await;
    fs::write(&settings, "log_filter = \"debug\"\n[limits]\nmax_subscriptions = 7\n").unwrap();
    program.signal("HUP");
    let mut log = program.log_lines();
    let (reloaded, log) =
        spawn_blocking(move || (log.find(|line| line.contains("reloaded")).unwrap(), log)).await.unwrap();
    assert!(reloaded.contains("limits.max_subscriptions") && !reloaded.contains("restart=\"log_filter"), "{reloaded}");
    assert_eq!(visitor.get("/healthz").await.status(), 200);
    line(log, &["DEBUG", "/healthz"]).await;
    socket.ask(json!({"type": "ping"}), "pong").await;
}

#[tokio::test]
async fn after_a_pause_of_the_server_no_client_times_out() {
    let directory = tempfile::tempdir().unwrap();
    let beat = [("TRICAST_HEARTBEAT__INTERVAL", "1s"), ("TRICAST_HEARTBEAT__TIMEOUT", "2s")];
    let program = Program::start_with(directory.path(), &beat);
    let visitor = visitor(&program);
    let mut socket = visitor.websocket().await;
    socket.ask(json!({"type": "ping"}), "pong").await;
    program.signal("STOP");
    // Longer than the timeout: this is the pause.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    program.signal("CONT");
    until("the pause to be noticed", || async { (visitor.counter("tricast_pauses_total").await >= 1.0).then_some(()) })
        .await;
    socket.ask(json!({"type": "ping"}), "pong").await;
}

/// Connection on which requests are sent in pieces.
struct Pieces(TcpStream);

impl Pieces {
    async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, piece: &str) {
        self.0.write_all(piece.as_bytes()).await.unwrap();
    }

    /// Returns the first line of the next response, which has a body of a few bytes.
    async fn status(&mut self) -> String {
        let mut answer = Vec::new();
        let mut buffer = [0; 4_096];
        while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            match soon("an answer", self.0.read(&mut buffer)).await {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
        String::from_utf8_lossy(&answer).lines().next().unwrap_or("closed").to_owned()
    }
}

#[tokio::test]
async fn requests_that_arrive_during_a_pause_of_the_server_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let short = [
        ("TRICAST_LIMITS__HEADER_TIMEOUT", "1s"),
        ("TRICAST_LIMITS__KEEP_ALIVE", "2s"),
        ("TRICAST_LIMITS__BODY_TIMEOUT", "1s"),
        ("TRICAST_WORKERS", "1"),
    ];
    let program = Program::start_with(directory.path(), &short);
    let (visitor, address) = (visitor(&program), program.address());
    let line = "GET /healthz HTTP/1.1\r\n";
    let rest = format!("Host: {address}\r\n\r\n");
    let get = format!("{line}{rest}");
    let body = r#"{"channel":"metrics.x","data":{"n":1}}"#;
    let post = format!(
        "POST /api/metrics HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );

    let mut expected = Vec::new();
    for _ in 0..5 {
        let mut half = Pieces::open(address).await;
        half.send(line).await;
        let silent = Pieces::open(address).await;
        let mut kept = Pieces::open(address).await;
        let mut half_of_second = Pieces::open(address).await;
        for kept in [&mut kept, &mut half_of_second] {
            kept.send(&get).await;
            assert_eq!(kept.status().await, "HTTP/1.1 200 OK");
        }
        half_of_second.send(line).await;
        let mut half_a_body = Pieces::open(address).await;
        half_a_body.send(&post).await;
        expected.extend([
            ("the rest of a head", half, rest.as_str(), "HTTP/1.1 200 OK"),
            ("a first request", silent, &get, "HTTP/1.1 200 OK"),
            ("a request on a kept connection", kept, &get, "HTTP/1.1 200 OK"),
            ("the rest of a second head", half_of_second, &rest, "HTTP/1.1 200 OK"),
            ("a body", half_a_body, body, "HTTP/1.1 202 Accepted"),
        ]);
    }
    // The only worker has read everything that was sent before this.
    assert_eq!(visitor.get("/healthz").await.status(), 200);
    program.signal("STOP");
    // Longer than each of the timeouts: this is the pause.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    for (_, connection, piece, _) in &mut expected {
        connection.send(piece).await;
    }
    for _ in 0..5 {
        let mut new = Pieces::open(address).await;
        new.send(&get).await;
        expected.push(("a new connection", new, &get, "HTTP/1.1 200 OK"));
    }
    program.signal("CONT");
    for (what, connection, _, status) in &mut expected {
        assert_eq!(&connection.status().await, status, "{what}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_at_its_size_limit_is_like_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path());
    let visitor = visitor(&program);
    let limit = |size: &str| {
        let pid = program.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:unlimited")]).status().unwrap();
        assert!(set.success());
    };
    let order = || async {
        let body = json!({"items": 1, "total": 9.5, "customerName": "Ada"}).to_string();
        visitor.post("/api/orders", body).await.status().as_u16()
    };
    until("a first order", || async { (order().await == 201).then_some(()) }).await;
    limit("4096");
    until("a refusal", || async { (order().await == 503).then_some(()) }).await;
    until("not ready", || async { (visitor.get("/readyz").await.status() == 503).then_some(()) }).await;
    assert_eq!(visitor.get("/api/metrics").await.status(), 200, "other requests are served");
    limit("unlimited");
    until("an order again", || async { (order().await == 201).then_some(()) }).await;
}

/// Returns the resident memory of a process in bytes.
#[cfg(target_os = "linux")]
fn resident(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn polls_that_are_not_read_hold_no_copies_of_the_values() {
    const CHANNELS: usize = 30;
    const CLIENTS: usize = 10;
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start_with(directory.path(), &[("TRICAST_HISTORY__ENABLED", "false")]);
    let visitor = visitor(&program);
    let text = "x".repeat(900_000);
    for channel in 0..CHANNELS {
        visitor.push_value(&format!("large.{channel}"), json!({"text": text})).await;
    }
    let names = (0..CHANNELS).map(|channel| format!("large.{channel}")).collect::<Vec<_>>().join(",");
    let before = resident(&program);
    let sent = || visitor.counter(r#"tricast_deliveries_total{transport="poll"}"#);
    let deliveries = sent().await;
    let mut unread = Vec::new();
    for accepted in ["", "Accept-Encoding: gzip\r\n"].repeat(CLIENTS / 2) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_recv_buffer_size(4 * 1_024).unwrap();
        socket.connect(&program.address().into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(socket.into()).unwrap();
        let get =
            format!("GET /api/metrics?channels={names} HTTP/1.1\r\nHost: {}\r\n{accepted}\r\n", program.address());
        stream.write_all(get.as_bytes()).await.unwrap();
        unread.push(stream);
    }
    until("all responses", || async { (sent().await >= deliveries + CLIENTS as f64).then_some(()) }).await;
    // A first byte: the response is being written.
    for stream in &mut unread {
        soon("the head", stream.read_u8()).await.unwrap();
    }
    let held = resident(&program).saturating_sub(before);
    let copy = (CHANNELS * text.len()) as u64;
    assert!(held < 2 * copy, "{held} bytes for {CLIENTS} clients; a copy of the values has {copy}");
    let whole = visitor.get_json(&format!("/api/metrics?channels={names}")).await;
    assert_eq!(whole["channels"].as_object().unwrap().len(), CHANNELS);
    let people = visitor.get(&format!("/api/metrics?channels={names}&format=text")).await;
    assert_eq!(people.status(), 400, "too large to be converted for one client");
}
