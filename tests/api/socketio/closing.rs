//! The end of a session's WebSocket: the closing handshake, and clients that do not take part in it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Client,
    client::{WEBSOCKET, websocket},
};
use crate::{
    helpers::{soon, spawn_app, spawn_app_with, until},
    program::Program,
    rfc6455::peer::{FIN, Frame, Peer, TEXT, announced, frame},
};

/// Upgrades a polling session to `socket`.
async fn upgrade(peer: &mut Peer) {
    peer.send(&frame(FIN | TEXT, b"2probe")).await;
    assert_eq!(peer.next().await, Some(Frame::whole(TEXT, "3probe")));
    peer.send(&frame(FIN | TEXT, b"5")).await;
}

#[tokio::test]
async fn the_close_of_a_failed_websocket_arrives_before_a_reset() {
    let app = spawn_app();
    let too_large = (announced(FIN | TEXT, 1 << 30), 1009);
    let no_packet = (frame(FIN | TEXT, b"x"), 1002);
    for (bad, code) in [too_large, no_packet] {
        let begun = Peer::connect(app.address, WEBSOCKET).await;
        let session = Client::polling(&app).await;
        let path = format!("{WEBSOCKET}&sid={}", session.open["sid"].as_str().unwrap());
        let probed = Peer::connect(app.address, &path).await;
        let session = Client::polling(&app).await;
        let path = format!("{WEBSOCKET}&sid={}", session.open["sid"].as_str().unwrap());
        let mut upgraded = Peer::connect(app.address, &path).await;
        upgrade(&mut upgraded).await;
        // The session has one already.
        let second = Peer::connect(app.address, &path).await;
        let peers = [(begun, code), (probed, code), (upgraded, code), (second, 1002)];
        let ends = peers.map(async |(mut peer, code)| {
            // If the socket were closed with this unread, the client's system would drop what it has not read yet.
            peer.send(&[bad.clone(), vec![b' '; 3 << 20]].concat()).await;
            let frames = peer.rest().await;
            assert_eq!(frames.last().and_then(Frame::code), Some(code), "{frames:?}");
        });
        join_all(ends).await;
    }
}

#[tokio::test]
async fn packets_before_the_close_of_an_upgraded_websocket_are_processed() {
    // No limit: only its close ends the session of a client that has left its namespace.
    let app = spawn_app_with(|config| config.limits.auth_timeout.0 = Duration::ZERO);
    for end in [Message::Close(None), Message::text("1")] {
        let mut client = Client::polling(&app).await;
        let first = client.join("/tricast", json!({"recovery": true})).await;
        let mut socket = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
        socket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(soon("the probe", socket.next()).await.unwrap().unwrap(), Message::text("3probe"));
        socket.send(Message::text("5")).await.unwrap();
        // As socket.io-client sends them: in one piece.
        for message in [Message::text("41/tricast,"), end] {
            socket.feed(message).await.unwrap();
        }
        socket.flush().await.unwrap();
        soon("the end", async { while let Some(Ok(_)) = socket.next().await {} }).await;
        until("the end of the session", || async {
            (app.counter("tricast_connections{transport=\"socketio\"}").await == 0.0).then_some(())
        })
        .await;
        let mut next = Client::polling(&app).await;
        let connected = next.join("/tricast", json!({"recovery": true, "pid": first["pid"]})).await;
        assert_ne!(connected["pid"], first["pid"], "a client that has left by itself is not recovered");
        assert_eq!(next.post("1").await, 200);
    }
}

#[tokio::test]
async fn the_session_of_an_upgraded_client_that_does_not_read_ends() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_millis(200);
        config.heartbeat.timeout.0 = Duration::from_millis(400);
    });
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["big"]}])).await;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(&app.address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    let head = format!(
        "GET {WEBSOCKET}&sid={} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        client.open["sid"].as_str().unwrap(),
        app.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&frame(FIN | TEXT, b"2probe")).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"3probe") {
        soon("the probe", stream.read_buf(&mut seen)).await.unwrap();
    }
    stream.write_all(&frame(FIN | TEXT, b"5")).await.unwrap();
    // More than fits into the buffers of the connection.
    for n in 0..8 {
        app.push_value("big", json!({"n": n, "padding": "x".repeat(60_000)})).await;
    }
    until("the end of the session", || async {
        (app.counter("tricast_connections{transport=\"socketio\"}").await == 0.0).then_some(())
    })
    .await;
}

/// Returns the CPU time of a process so far, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu_time(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_session_that_waits_to_report_its_end_takes_no_cpu_time() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start_with(directory.path(), &[("TRICAST_LIMITS__AUTH_TIMEOUT", "1s")]);
    let app = spawn_app().at(program.address());
    let client = Client::polling(&app).await;
    let has = |counter: &'static str, value: f64| {
        let app = &app;
        until(counter, move || async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (app.counter(counter).await == value).then_some(())
        })
    };
    has("tricast_limit_reached_total{limit=\"auth_timeout\"}", 1.0).await;
    let before = cpu_time(&program);
    // It waits for seconds for a poll that does not come.
    has("tricast_connections{transport=\"socketio\"}", 0.0).await;
    let taken = cpu_time(&program) - before;
    assert!(taken < 50, "{taken} hundredths of a second");
    assert_eq!(client.poll().await, Err(400));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_session_past_its_age_takes_no_cpu_time_until_its_client_polls() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("TRICAST_MAX_CONNECTION_AGE", "1s"),
        ("TRICAST_HEARTBEAT__INTERVAL", "3s"),
        ("TRICAST_HEARTBEAT__TIMEOUT", "4s"),
    ];
    let program = Program::start_with(directory.path(), &settings);
    let app = spawn_app().at(program.address());
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let before = cpu_time(&program);
    // Its client does not poll any more; the heartbeat ends it.
    until("the end of the session", || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (app.counter("tricast_connections{transport=\"socketio\"}").await == 0.0).then_some(())
    })
    .await;
    let taken = cpu_time(&program) - before;
    assert!(taken < 80, "{taken} hundredths of a second");
}
