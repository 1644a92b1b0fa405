//! Slow clients, over real sockets: a client that reads too slowly is notified of each backpressure level and closed at
//! the end.
//!
//! The client and the pushes take turns in one task: with each piece that the client reads there is a newer value. So the
//! delay of its data depends on its reading, not on how busy the machine is.

use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::helpers::{TestApp, soon, spawn_app_with};

fn app() -> TestApp {
    spawn_app_with(|config| {
        config.limits.slow_after.0 = Duration::from_millis(100);
        config.limits.slow_step.0 = Duration::from_millis(100);
    })
}

/// A client with a small receive buffer.
struct SlowClient {
    stream: TcpStream,
    seen: Vec<u8>,
    pushes: u64,
}

impl SlowClient {
    /// Connects and sends `head`.
    async fn connect(app: &TestApp, head: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.connect(&app.address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into()).unwrap();
        let mut client = Self { stream, seen: Vec::new(), pushes: 0 };
        client.stream.write_all(head.as_bytes()).await.unwrap();
        client
    }

    /// Pushes a large value, reads a small piece, waits a little; repeats until `ended` or the end of the stream.
    async fn read_slowly(&mut self, app: &TestApp, ended: impl Fn(&[u8]) -> bool) {
        while !ended(&self.seen) {
            self.pushes += 1;
            let n = self.pushes;
            app.push_value("big", json!({"n": n, "padding": "x".repeat(60_000)})).await;
            if n.is_multiple_of(10) {
                app.push_event("deploys", n).await;
            }
            // A value takes longer than the interval of the third level.
            if !self.read(2 * 1024).await {
                return;
            }
            sleep(Duration::from_millis(60)).await;
        }
    }

    /// Reads a piece of at most `most` bytes; returns false at the end of the stream.
    async fn read(&mut self, most: usize) -> bool {
        let mut piece = vec![0; most];
        match soon("a piece of the stream", self.stream.read(&mut piece)).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.seen.extend_from_slice(&piece[..n]);
                true
            }
        }
    }

    /// Reads at full speed until `text` has arrived.
    async fn read_until(&mut self, text: &str) {
        while !self.has(text) {
            assert!(self.read(64 * 1024).await, "the stream ended before {text}: {:?}", steps(&self.text()));
        }
    }

    fn has(&self, text: &str) -> bool {
        contains(&self.seen, text)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

/// Returns whether the end of the received data, which is more than one value, contains `text`.
fn contains(seen: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(&seen[seen.len().saturating_sub(100_000)..]).contains(text)
}

fn steps(text: &str) -> Vec<String> {
    let events = text.split("\"step\":\"").skip(1);
    events.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

const LEVELS: [&str; 4] = ["conflated", "interval_stretched", "snapshot_only", "closed"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_websocket_passes_all_backpressure_levels_and_is_closed_with_4413() {
    let app = app();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    );
    let mut client = SlowClient::connect(&app, &head).await;
    let message = json!({"type": "subscribe", "channels": ["big", "deploys"]}).to_string();
    // Masked with zeros, which changes nothing.
    let mut frame = vec![0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(message.as_bytes());
    client.stream.write_all(&frame).await.unwrap();
    client.read_slowly(&app, |_| false).await;
    let text = client.text();
    assert_eq!(steps(&text), LEVELS, "notified of each level");
    let close = [0x11, 0x3d]; // 4413
    assert!(client.seen.windows(2).rev().take(64).any(|pair| pair == close), "closed with 4413");
    assert!(text.contains(r#""type":"event","channel":"system","event":"degraded""#));
    for step in LEVELS {
        assert!(app.counter(&format!("tricast_slow_clients_total{{step=\"{step}\"}}")).await >= 1.0, "{step}");
    }
    assert_eq!(app.limit("slow_after").await, 1.0);
    let mut other = app.websocket().await;
    other.subscribe(&["big"]).await;
    assert_eq!(other.next_of("metric").await["channel"], "big", "others are served as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_socketio_client_climbs_step_by_step_and_is_sent_away() {
    let app = app();
    let head = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    );
    let mut client = SlowClient::connect(&app, &head).await;
    let send = async |client: &mut SlowClient, message: &str| {
        // Masked with zeros, which changes nothing.
        let mut frame = vec![0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(message.as_bytes());
        client.stream.write_all(&frame).await.unwrap();
    };
    send(&mut client, "40/tricast").await;
    client.read_until("40/tricast,").await;
    send(&mut client, r#"42/tricast,["subscribe",{"channels":["big","deploys"]}]"#).await;
    client.read_slowly(&app, |_| false).await;
    let text = client.text();
    assert_eq!(steps(&text), LEVELS, "each level is sent");
    assert!(text.contains(r#"42/tricast,["going_away",{"#) && text.contains(r#""reason":"TOO_SLOW""#));
    let close = [0x11, 0x3d]; // 4413
    assert!(client.seen.windows(2).rev().take(64).any(|pair| pair == close), "closed with 4413");
    assert_eq!(app.limit("slow_after").await, 1.0);
    let mut other = app.websocket().await;
    other.subscribe(&["big"]).await;
    assert_eq!(other.next_of("metric").await["channel"], "big", "others are served as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_event_stream_is_notified_and_closed_with_a_cursor_that_loses_nothing() {
    let app = app();
    let head = format!("GET /events?channels=big,deploys HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let mut client = SlowClient::connect(&app, &head).await;
    // The connection could carry another request after the last chunk.
    client.read_slowly(&app, |seen| seen.ends_with(b"\r\n0\r\n\r\n")).await;
    let text = client.text();
    assert_eq!(steps(&text), LEVELS);
    assert!(text.contains("event: bye") && text.contains("TOO_SLOW"));
    // Data that were withheld while it was slow are sent when it resumes with its cursor.
    let numbers = |text: &str| -> Vec<u64> {
        let events = text.split("event: happened\ndata: ").skip(1);
        let data = events.filter_map(|rest| serde_json::from_str::<Value>(rest.lines().next()?).ok());
        data.filter_map(|data| data["data"]["n"].as_u64()).collect()
    };
    let mut delivered = numbers(&text);
    let last_id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    app.push_event("deploys", 999_999).await;
    let mut again = app.events_from("?channels=deploys", Some(last_id)).await;
    loop {
        let n = again.next_of("happened").await.data()["data"]["n"].as_u64().unwrap();
        if n == 999_999 {
            break;
        }
        delivered.push(n);
    }
    let all: Vec<u64> = (1..=delivered.len() as u64).map(|n| n * 10).collect();
    assert_eq!(delivered, all, "each event once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_recovers_is_notified_and_gets_all_updates_again() {
    let app = app();
    let head = format!("GET /events?channels=big,deploys HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let mut client = SlowClient::connect(&app, &head).await;
    client.read_slowly(&app, |seen| contains(seen, "conflated")).await;
    client.read_until("\"event\":\"recovered\"").await;
    app.push_event("deploys", 999_999).await;
    client.read_until("999999").await;
    app.push_value("big", json!({"n": "the last"})).await;
    client.read_until("the last").await;
    assert!(!client.text().contains("TOO_SLOW"));
}
