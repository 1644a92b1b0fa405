//! The closing handshake (RFC 6455, section 7), at the server's endpoint and at the echo.

use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::peer::{CLOSE, FIN, Frame, PING, PONG, Peer, TEXT, announced, close, frame, spawn_echo};
use crate::helpers::{TestApp, soon, spawn_app, spawn_app_with, until};

/// Returns the frames of the server after `bytes` and its greeting, until it ends the connection.
async fn said(app: &TestApp, bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Peer::connect(app.address, "/ws").await.exchange(bytes, usize::MAX).await;
    assert_eq!(kind(&frames.remove(0)), "connected");
    frames
}

fn kind(frame: &Frame) -> Value {
    serde_json::from_slice::<Value>(&frame.payload).unwrap()["type"].take()
}

fn message(value: &Value) -> Vec<u8> {
    frame(FIN | TEXT, value.to_string().as_bytes())
}

fn disconnect() -> Vec<u8> {
    message(&json!({"type": "disconnect"}))
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_the_server_ends_tcp_first() {
    let (echo, app) = (spawn_echo(), spawn_app());
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4000, 4999];
    for code in codes {
        for reason in ["", "bye, κόσμε", &"x".repeat(123)] {
            let frames = Peer::connect(echo.address, "/echo").await.exchange(&close(code, reason), usize::MAX).await;
            assert_eq!(frames.iter().map(Frame::code).collect::<Vec<_>>(), [Some(code)]);
        }
        assert_eq!(said(&app, &close(code, "bye")).await.iter().map(Frame::code).collect::<Vec<_>>(), [Some(code)]);
    }
    let frames = said(&app, &frame(FIN | CLOSE, b"")).await;
    assert_eq!(frames.iter().map(Frame::code).collect::<Vec<_>>(), [Some(1000)], "a close without a code");
}

#[tokio::test]
async fn an_invalid_close_is_answered_with_the_fault_and_never_echoed() {
    let (echo, app) = (spawn_echo(), spawn_app());
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let mut cases: Vec<(Vec<u8>, u16)> = codes.iter().map(|code| (close(*code, "x"), 1002)).collect();
    cases.push((frame(FIN | CLOSE, b"x"), 1002));
    cases.push((close(1000, &"x".repeat(124)), 1002));
    cases.push((frame(CLOSE, b""), 1002));
    cases.push((frame(FIN | CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80"), 1007));
    join_all(cases.iter().map(async |(bytes, code)| {
        let frames = Peer::connect(echo.address, "/echo").await.exchange(bytes, usize::MAX).await;
        assert_eq!(frames.iter().map(Frame::code).collect::<Vec<_>>(), [Some(*code)], "{bytes:?}");
        let frames = said(&app, bytes).await;
        assert_eq!(frames.iter().map(Frame::code).collect::<Vec<_>>(), [Some(*code)], "{bytes:?}");
    }))
    .await;
}

#[tokio::test]
async fn messages_after_a_close_are_ignored() {
    let app = spawn_app();
    let late = [message(&json!({"type": "ping"})), frame(FIN | PING, b"late"), close(3000, "")].concat();
    let frames = said(&app, &[message(&json!({"type": "ping"})), close(1000, ""), late].concat()).await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert_eq!((kind(&frames[0]), frames[1].code()), (json!("pong"), Some(1000)));
}

#[tokio::test]
async fn after_the_servers_close_nothing_more_is_sent_and_the_answer_ends_tcp() {
    let app = spawn_app();
    app.push_value("metrics.a", json!({"n": 1})).await;
    let mut peer = Peer::connect(app.address, "/ws").await;
    peer.send(&message(&json!({"type": "subscribe", "channel": "metrics.a"}))).await;
    for expected in ["connected", "subscribed", "metric"] {
        assert_eq!(kind(&peer.next().await.unwrap()), expected);
    }
    peer.send(&disconnect()).await;
    assert_eq!(kind(&peer.next().await.unwrap()), "disconnecting");
    assert_eq!(peer.next().await.unwrap().code(), Some(1000));
    // A publication, a message and a ping on a connection that is closing.
    app.push_value("metrics.a", json!({"n": 2})).await;
    peer.send(&[message(&json!({"type": "ping"})), frame(FIN | PING, b"late")].concat()).await;
    // The answer may have another code.
    peer.send(&close(3001, "as you like")).await;
    assert_eq!(peer.rest().await, []);
    until("the connection to be counted off", || async {
        (app.counter("tricast_connections{transport=\"websocket\"}").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn crossing_closes_make_one_handshake() {
    let app = spawn_app();
    let frames = said(&app, &[disconnect(), close(1000, "")].concat()).await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert_eq!((kind(&frames[0]), frames[1].code()), (json!("disconnecting"), Some(1000)));
    // It also interrupts a message of the client.
    let frames = said(&app, &[disconnect(), frame(TEXT, b"half"), close(1000, "")].concat()).await;
    assert_eq!(frames[1..].iter().map(Frame::code).collect::<Vec<_>>(), [Some(1000)]);
}

#[tokio::test]
async fn a_client_that_never_answers_a_close_is_disconnected() {
    let app = spawn_app();
    let frames = said(&app, &disconnect()).await;
    assert_eq!(frames[1..].iter().map(Frame::code).collect::<Vec<_>>(), [Some(1000)]);
    // Or that keeps answering with something else.
    let mut peer = Peer::connect(app.address, "/ws").await;
    peer.send(&disconnect()).await;
    soon("the end of TCP", async { while peer.stream.write_all(&frame(FIN | PING, b"still here")).await.is_ok() {} })
        .await;
}

#[tokio::test]
async fn bad_frames_in_place_of_a_close_end_tcp_without_a_second_close() {
    let app = spawn_app();
    let frames = said(&app, &[disconnect(), frame(FIN | 3, b""), frame(FIN | PING, b"")].concat()).await;
    assert_eq!(frames[1..].iter().map(Frame::code).collect::<Vec<_>>(), [Some(1000)]);
}

#[tokio::test]
async fn the_close_of_a_failed_connection_arrives_before_a_reset() {
    let app = spawn_app();
    let mut peer = Peer::connect(app.address, "/ws").await;
    // If the socket were closed with this unread, the client's system would drop what it has not read yet.
    peer.send(&[announced(FIN | TEXT, 1 << 30), vec![b' '; 3 << 20]].concat()).await;
    let frames = peer.rest().await;
    assert_eq!(frames.last().and_then(Frame::code), Some(1009), "{frames:?}");
}

#[tokio::test]
async fn a_close_followed_by_the_end_of_the_clients_side_is_still_answered() {
    let (echo, app) = (spawn_echo(), spawn_app());
    for (address, path, greetings) in [(echo.address, "/echo", 0), (app.address, "/ws", 1)] {
        let mut peer = Peer::connect(address, path).await;
        peer.send(&close(1001, "the tab is closed")).await;
        peer.stream.shutdown().await.unwrap();
        let frames = peer.rest().await;
        let codes: Vec<_> = frames[greetings..].iter().map(Frame::code).collect();
        assert_eq!(codes, [Some(1001)], "{path}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_without_a_close_is_not_counted_any_more() {
    let app = spawn_app();
    let open = || async { app.counter("tricast_connections{transport=\"websocket\"}").await };
    let peers = [Peer::connect(app.address, "/ws").await, Peer::connect(app.address, "/ws").await];
    assert_eq!(open().await, 2.0);
    let [mut polite, rude] = peers;
    polite.stream.shutdown().await.unwrap();
    assert!(polite.rest().await.iter().all(|frame| frame.code().is_none()), "the client is not notified any more");
    // A reset: the data sent to it are unread.
    drop(rude);
    until("both to be counted off", || async { (open().await == 0.0).then_some(()) }).await;
}

#[tokio::test]
async fn requests_before_a_close_are_answered_before_it() {
    let app = spawn_app_with(|config| config.limits.max_message.0 = 1 << 20);
    // More answers than fit into the socket at a time.
    let questions: Vec<u8> = (0..2_000).flat_map(|n| message(&json!({"type": "ping", "requestId": n}))).collect();
    let frames = said(&app, &[questions, frame(FIN | PING, b"end"), close(4000, "")].concat()).await;
    assert_eq!(frames.len(), 2_002);
    assert!(frames[..2_000].iter().all(|frame| kind(frame) == "pong"));
    assert_eq!((&frames[2_000], frames[2_001].code()), (&Frame::whole(PONG, "end"), Some(4000)));
}

/// Child process that is killed at the end of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the largest memory use of a process so far, in KiB.
#[cfg(target_os = "linux")]
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_announced_gigabyte_is_refused_before_it_arrives_without_using_memory() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
    command.env_clear().env("TRICAST_WORKERS", "1").args(["--listen", "127.0.0.1:0"]);
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("dashboard")).unwrap();
    let url = line.split_whitespace().last().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    Peer::connect(address, "/ws").await.exchange(&close(1000, ""), usize::MAX).await;
    let before = peak(&running.0);
    for first in [FIN | TEXT, TEXT] {
        let mut peer = Peer::connect(address, "/ws").await;
        assert_eq!(kind(&peer.next().await.unwrap()), "connected");
        peer.send(&announced(first, 1 << 30)).await;
        // No byte of it was sent.
        assert_eq!(peer.next().await.unwrap().code(), Some(1009));
        // Its data are discarded, until the server disconnects.
        let piece = vec![b' '; 1 << 20];
        soon("the end of TCP", async { while peer.stream.write_all(&piece).await.is_ok() {} }).await;
    }
    let grown = peak(&running.0) - before;
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
}
