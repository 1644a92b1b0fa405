//! The upgrade of a connection: data that a client sends before it has the response to its handshake, refused handshakes,
//! a Unix socket.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{
    FIN, TEXT, close, frame,
    peer::{Peer, handshake, spawn_echo},
    text,
};
use crate::helpers::{soon, spawn_app, spawn_app_with, until};

/// Returns everything that the server sends.
async fn whole(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon("the end of TCP", stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn data_behind_the_handshake_belongs_to_the_websocket() {
    let echo = spawn_echo();
    // More than any buffer of HTTP, and what fits into the first read with the handshake.
    for length in [0, 5, 5_000, 300_000] {
        let payload = "x".repeat(length);
        let frames = [frame(FIN | TEXT, payload.as_bytes()), frame(FIN | TEXT, b"after"), close(1000, "")].concat();
        let peer = Peer::connect_with_data(echo.address, "/echo", &frames).await;
        let frames = peer.exchange(&[], 1).await;
        assert_eq!(frames[..2], [text(&payload), text("after")], "{length} bytes");
        assert_eq!(frames[2].code(), Some(1000));
    }
}

#[tokio::test]
async fn a_handshake_behind_another_request_is_answered_in_turn_with_the_data_behind_it() {
    let echo = spawn_echo();
    let mut stream = TcpStream::connect(echo.address).await.unwrap();
    let payload = "y".repeat(100_000);
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst".to_vec();
    let frames = [frame(FIN | TEXT, payload.as_bytes()), close(1000, "")].concat();
    let (reader, mut writer) = stream.split();
    let sent = [request, handshake(echo.address, "/echo", "").into_bytes(), frames].concat();
    let (answer, written) = tokio::join!(whole(reader), writer.write_all(&sent));
    written.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (first, second) = answer.split_once("HTTP/1.1 101").unwrap();
    assert!(first.starts_with("HTTP/1.1 200") && first.ends_with("\r\n\r\nfirst"), "{first}");
    assert!(second.contains(&payload), "{} bytes", second.len());
}

#[tokio::test]
async fn nothing_is_lost_behind_a_handshake_that_waits_for_a_long_poll() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let tag = app.get("/api/metrics/metrics.a").await.headers()["etag"].to_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let poll = format!("GET /api/metrics/metrics.a?wait=25 HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n");
    let pings = (0..8_000).map(|n| frame(FIN | TEXT, format!(r#"{{"type":"ping","requestId":{n}}}"#).as_bytes()));
    let frames = [pings.collect::<Vec<_>>().concat(), close(1000, "")].concat();
    let (reader, mut writer) = stream.split();
    let sent = async {
        writer.write_all(&[poll.into_bytes(), handshake(app.address, "/ws", "").into_bytes()].concat()).await.unwrap();
        until("a held poll", || async {
            (app.counter("tricast_connections{transport=\"long_poll\"}").await == 1.0).then_some(())
        })
        .await;
        // More than the buffers of HTTP hold.
        let pushed = async {
            app.push_value("metrics.a", json!({"n": 2})).await;
        };
        tokio::join!(async { writer.write_all(&frames).await.unwrap() }, pushed);
    };
    let (answer, ()) = tokio::join!(whole(reader), sent);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..200]);
    assert_eq!(answer.matches(r#""type":"pong""#).count(), 8_000);
}

#[tokio::test]
async fn a_refused_handshake_is_answered_like_any_request_and_ends_the_connection() {
    let app = spawn_app();
    for (path, status) in [("/ws?channel=a", "400"), ("/nowhere", "404")] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(handshake(app.address, path, "").as_bytes()).await.unwrap();
        let answer = String::from_utf8(whole(stream).await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("x-request-id"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // Not a handshake, although it asks for a WebSocket.
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let request = handshake(app.address, "/events?channels=deploys", "Accept: text/event-stream\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let open = || async { app.counter("tricast_connections{transport=\"sse\"}").await };
    until("the event stream", || async { (open().await == 1.0).then_some(()) }).await;
    drop(stream);
    let dropped = Instant::now();
    until("its end to be noticed", || async { (open().await == 0.0).then_some(()) }).await;
    // A write would find it, too: the first comment comes after 15 s.
    assert!(dropped.elapsed() < Duration::from_secs(12), "noticed after {:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_websocket_over_a_unix_socket_is_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tricast.sock");
    let app = spawn_app_with(|config| config.listen.push(format!("unix:{}", path.display())));
    app.push_value("metrics.a", json!({"n": 7})).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let subscribe = frame(FIN | TEXT, br#"{"type":"subscribe","channels":["metrics.a"]}"#);
    stream.write_all(handshake(app.address, "/ws", "").as_bytes()).await.unwrap();
    stream.write_all(&subscribe).await.unwrap();
    let mut read = Vec::new();
    let mut has = async |stream: &mut UnixStream, wanted: &str| {
        soon(wanted, async {
            while !String::from_utf8_lossy(&read).contains(wanted) {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0, "closed before {wanted}");
            }
        })
        .await;
    };
    has(&mut stream, r#""data":{"n":7}"#).await;
    // A value for an idle connection, which the hub writes.
    app.push_value("metrics.a", json!({"n": 8})).await;
    has(&mut stream, r#""data":{"n":8}"#).await;
    stream.write_all(&close(1000, "")).await.unwrap();
    whole(stream).await;
}
