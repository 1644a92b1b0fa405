//! A client that stops reading uses bounded memory, delays no other client, and gets the newest value when it reads again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::helpers::{TestApp, soon, spawn_app, until};

/// Number of versions that are published to the stalled client.
const VERSIONS: u64 = 400;
/// Size of one version in bytes.
const WEIGHT: usize = 20_000;

/// Connects a client with a small receive buffer that subscribes and then does not read.
async fn stalled(app: &TestApp, request: String, then: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stream = socket.connect(app.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(then).await.unwrap();
    stream
}

/// Reads all data of the stalled client until `last`, and returns the number of bytes.
async fn drained(mut stream: TcpStream, last: &str) -> usize {
    let mut received = Vec::new();
    soon("the newest value", async {
        let mut buffer = vec![0; 256 * 1024];
        while !received.windows(last.len()).any(|window| window == last.as_bytes()) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "the stalled client was disconnected");
            let tail = received.len().saturating_sub(last.len());
            received.extend_from_slice(&buffer[..n]);
            if received.len() > 4 << 20 {
                received.drain(..tail);
            }
        }
    })
    .await;
    received.len()
}

async fn publish(app: &TestApp) {
    for n in 1..=VERSIONS {
        app.push_value("metrics.wide", json!({"n": n, "text": "x".repeat(WEIGHT)})).await;
    }
}

#[tokio::test]
async fn a_stalled_websocket() {
    let app = spawn_app();
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.address
    );
    let subscribe = br#"{"type":"subscribe","channel":"metrics.wide"}"#;
    let mut frame = vec![0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(subscribe);
    let stream = stalled(&app, handshake, &frame).await;
    until("the subscription", || async {
        (app.counter("tricast_connections{transport=\"websocket\"}").await == 1.0).then_some(())
    })
    .await;

    // A client that reads is not delayed: it sees each version that the server could send, up to the last.
    let mut quick = app.websocket().await;
    quick.subscribe(&["metrics.wide"]).await;
    let reading = async {
        let mut last = 0;
        while last < VERSIONS {
            last = quick.next().await["data"]["n"].as_u64().unwrap();
        }
    };
    tokio::join!(publish(&app), reading);

    let bytes = drained(stream, &format!("\"n\":{VERSIONS},")).await;
    // The buffers of the kernel on both sides, one write, and the newest value; not 8 MB of old ones.
    let total = VERSIONS as usize * WEIGHT;
    assert!(bytes < total / 4, "{bytes} of {total} bytes were queued for a client that did not read");
    assert!(app.counter("tricast_conflations_total{transport=\"websocket\"}").await > 0.0);
}

#[tokio::test]
async fn a_stalled_event_stream() {
    let app = spawn_app();
    let request = format!("GET /events?channels=metrics.wide HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
    let stream = stalled(&app, request, b"").await;
    until("the stream", || async {
        (app.counter("tricast_connections{transport=\"sse\"}").await == 1.0).then_some(())
    })
    .await;
    publish(&app).await;
    let bytes = drained(stream, &format!("\"n\":{VERSIONS},")).await;
    let total = VERSIONS as usize * WEIGHT;
    assert!(bytes < total / 4, "{bytes} of {total} bytes were queued for a client that did not read");
}

#[tokio::test]
async fn a_stalled_client_delays_neither_streams_nor_polls() {
    let app = spawn_app();
    let mut stalled_streams = Vec::new();
    for _ in 0..20 {
        let request = format!("GET /events?channels=metrics.wide HTTP/1.1\r\nHost: {}\r\n\r\n", app.address);
        stalled_streams.push(stalled(&app, request, b"").await);
    }
    let mut reader = app.events("?channels=metrics.wide").await;
    let reading = async {
        loop {
            let event = reader.next_of("metric").await;
            if event.data()["data"]["n"] == VERSIONS {
                break;
            }
        }
    };
    let polling = async {
        for _ in 0..50 {
            let answer: Value = app.get_json("/api/metrics").await;
            assert!(answer["cursor"].is_string());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(publish(&app), reading, polling);
}
