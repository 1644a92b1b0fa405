//! The slow-client ladder, over real sockets: a client that reads too slowly is told each step and in the end sent away.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::helpers::{PATIENCE, TestApp, spawn_app_with};

fn app() -> TestApp {
    spawn_app_with(|config| {
        config.limits.slow_after.0 = Duration::from_millis(100);
        config.limits.slow_step.0 = Duration::from_millis(100);
    })
}

/// A connection with a small receive buffer that has sent `head`.
fn connect(app: &TestApp, head: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(&app.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Reads in small pieces with pauses until `ended` or the end of the stream.
fn read_slowly(mut stream: TcpStream, ended: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while !ended(&seen) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
        }
        #[expect(clippy::disallowed_methods, reason = "the slow client is what is tested")]
        std::thread::sleep(Duration::from_millis(60));
    }
    seen
}

/// Pushes large values until the reader is through.
async fn push_until<T: Send + 'static>(app: &TestApp, reader: std::thread::JoinHandle<T>) -> T {
    let mut n = 0;
    while !reader.is_finished() {
        n += 1;
        app.push_value("big", json!({"n": n, "padding": "x".repeat(60_000)})).await;
        if n % 10 == 0 {
            app.push_event("deploys", n).await;
        }
    }
    reader.join().unwrap()
}

fn steps(text: &str) -> Vec<String> {
    let events = text.split("\"step\":\"").skip(1);
    events.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

const LADDER: [&str; 4] = ["conflated", "interval_stretched", "snapshot_only", "closed"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_websocket_climbs_step_by_step_and_is_closed_with_4413() {
    let app = app();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    );
    let mut stream = connect(&app, &head);
    let message = json!({"type": "subscribe", "channels": ["big", "deploys"]}).to_string();
    // Masked with zeros, which changes nothing.
    let mut frame = vec![0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(message.as_bytes());
    stream.write_all(&frame).unwrap();
    let reader = std::thread::spawn(move || read_slowly(stream, |_| false));
    let seen = push_until(&app, reader).await;
    let text = String::from_utf8_lossy(&seen);
    assert_eq!(steps(&text), LADDER, "told step by step");
    let close = [0x11, 0x3d]; // 4413
    assert!(seen.windows(2).rev().take(64).any(|pair| pair == close), "closed with 4413");
    assert!(text.contains(r#""type":"event","channel":"system","event":"degraded""#));
    for step in LADDER {
        assert!(app.counter(&format!("tricast_slow_clients_total{{step=\"{step}\"}}")).await >= 1.0, "{step}");
    }
    assert_eq!(app.limit("slow_after").await, 1.0);
    let mut other = app.websocket().await;
    other.subscribe(&["big"]).await;
    assert_eq!(other.next_of("metric").await["channel"], "big", "others are served as ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_event_stream_is_told_and_sent_away_with_a_cursor_that_loses_nothing() {
    let app = app();
    let head = format!("GET /events?channels=big,deploys HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let stream = connect(&app, &head);
    // The connection could carry another request after the last chunk.
    let reader = std::thread::spawn(move || read_slowly(stream, |seen| seen.ends_with(b"\r\n0\r\n\r\n")));
    let seen = push_until(&app, reader).await;
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert_eq!(steps(&text), LADDER);
    assert!(text.contains("event: bye") && text.contains("TOO_SLOW"));
    // What it was not given while it was slow is given when it comes back with its cursor.
    let numbers = |text: &str| -> Vec<u64> {
        let events = text.split("event: happened\ndata: ").skip(1);
        let data = events.filter_map(|rest| serde_json::from_str::<Value>(rest.lines().next()?).ok());
        data.filter_map(|data| data["data"]["n"].as_u64()).collect()
    };
    let mut given = numbers(&text);
    let last_id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    app.push_event("deploys", 999_999).await;
    let mut again = app.events_from("?channels=deploys", Some(last_id)).await;
    loop {
        let n = again.next_of("happened").await.data()["data"]["n"].as_u64().unwrap();
        if n == 999_999 {
            break;
        }
        given.push(n);
    }
    let all: Vec<u64> = (1..=given.len() as u64).map(|n| n * 10).collect();
    assert_eq!(given, all, "each event once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_recovers_is_told_and_given_everything_again() {
    let app = app();
    let head = format!("GET /events?channels=big,deploys HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let stream = connect(&app, &head);
    let mut fast = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        // Slow until the first step is told, then as fast as it can.
        let mut seen = read_slowly(stream, |seen| String::from_utf8_lossy(seen).contains("conflated"));
        let mut piece = vec![0; 1 << 20];
        while !String::from_utf8_lossy(&seen[seen.len().saturating_sub(2 << 20)..]).contains("\"recovered\"") {
            match fast.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(n) => seen.extend_from_slice(&piece[..n]),
            }
        }
        seen
    });
    let seen = push_until(&app, reader).await;
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("\"event\":\"recovered\""), "{:?}", steps(&text));
    assert!(!text.contains("TOO_SLOW"));
}
