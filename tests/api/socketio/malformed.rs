//! Malformed packets and broken requests: each costs its sender the session, or nothing, and others are unharmed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Client,
    client::{POLLING, WEBSOCKET, websocket},
};
use crate::helpers::{soon, spawn_app, until};

/// Packets that a client must not send: of Engine.IO, of Socket.IO, and good ones at the wrong time.
const MALFORMED: [&str; 30] = [
    "",
    "x",
    "0",
    "7",
    "2",
    "2probe",
    "5",
    "4",
    "4x",
    "47",
    "4abc",
    "42",
    "42{}",
    "42[]",
    "42[{}]",
    "42[\"a\"",
    "42[\"connect\"]",
    "42/nowhere,[\"a\"]",
    "42/tricast,99999999999999999999[\"a\"]",
    "43[]",
    "43/tricast,[]",
    "40[]",
    "40null",
    "41{}",
    "44/tricast,{\"message\":\"no\"}",
    "45[\"a\"]",
    "45x-[\"a\"]",
    "4511-[\"a\"]",
    "46-[]",
    "\u{e9}\u{1f600}",
];

/// Waits until the session has ended.
async fn ends(client: &mut Client) {
    match &mut client.socket {
        Some(socket) => soon("the end", async { while let Some(Ok(_)) = socket.next().await {} }).await,
        None => until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await,
    }
}

#[tokio::test]
async fn each_malformed_packet_ends_the_session_of_its_sender_only() {
    let app = spawn_app();
    let mut others = Client::of_both(&app).await;
    for other in &mut others {
        other.join("/tricast", json!({})).await;
    }
    for packet in MALFORMED {
        for mut client in Client::of_both(&app).await {
            client.join("/tricast", json!({})).await;
            match &mut client.socket {
                Some(socket) => socket.send(Message::text(packet)).await.unwrap(),
                None => drop(client.post(packet).await),
            }
            soon(packet, ends(&mut client)).await;
        }
    }
    // Text where an attachment is due, an attachment that nothing announced, and one that is not base64.
    for payload in ["451-[\"a\"]\u{1e}40", "bAQID", "451-[\"a\"]\u{1e}b%"] {
        let mut client = Client::polling(&app).await;
        client.join("/", json!({})).await;
        client.post(payload).await;
        ends(&mut client).await;
    }
    let mut client = Client::websocket(&app).await;
    client.socket.as_mut().unwrap().send(Message::binary(vec![1, 2])).await.unwrap();
    ends(&mut client).await;
    for other in &mut others {
        assert_eq!(other.ask("/tricast", json!(["ping"])).await["status"], "ok");
    }
}

#[tokio::test]
async fn payloads_of_any_bytes_are_taken_or_refused() {
    let app = spawn_app();
    let parts = prop_oneof![
        "[0-7b]{0,2}(/tricast,)?[0-9]{0,2}[\\[\\]{}\",:a0-9]{0,12}".prop_map(String::into_bytes),
        Just(b"42/tricast,1[\"ping\"]".to_vec()),
        any::<Vec<u8>>(),
    ];
    let payload = proptest::collection::vec(parts, 1..4).prop_map(|parts| parts.join(&0x1e));
    let mut runner = TestRunner::deterministic();
    for _ in 0..150 {
        let payload = payload.new_tree(&mut runner).unwrap().current();
        let mut client = Client::polling(&app).await;
        client.join("/tricast", json!({})).await;
        let request = app.request(Method::POST, &client.path()).body(payload.clone());
        let status = soon("the response", request.send()).await.unwrap().status();
        assert!([200, 400].contains(&status.as_u16()), "{status} {payload:?}");
        client.post("1").await;
    }
    let mut client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn requests_that_break_the_protocol_are_refused_by_its_codes() {
    let app = spawn_app();
    let client = Client::polling(&app).await;
    let sid = client.open["sid"].as_str().unwrap();
    for (path, code) in [
        ("?EIO=4".to_owned(), 0),
        ("?EIO=4&transport=flash".into(), 0),
        ("?EIO=4&transport=polling&sid=unknown".into(), 1),
        ("?EIO=4&transport=polling&j=0".into(), 3),
        ("?EIO=3&transport=polling".into(), 5),
        ("?transport=polling".into(), 5),
        (format!("?EIO=3&transport=polling&sid={sid}"), 5),
    ] {
        let response = app.get(&format!("/socket.io/{path}")).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{path}");
    }
    let response = app.post(POLLING, "4").await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], 2);
    assert_eq!(soon("the response", app.request(Method::HEAD, POLLING).send()).await.unwrap().status(), 400);
    assert_eq!(app.get(&format!("{WEBSOCKET}&sid=unknown")).await.status(), 400);
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let (first, second) = tokio::join!(client.poll(), client.poll());
    // The earlier one receives the end, the other one is refused.
    assert!(
        [&first, &second].contains(&&Ok("1".to_owned())) && [&first, &second].contains(&&Err(400)),
        "{first:?} {second:?}"
    );
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
}

/// Sends the beginning of a request of `client` and keeps its connection.
async fn half_a_request(client: &Client, method: &str, rest: &str) -> TcpStream {
    let mut stream = TcpStream::connect(client.visitor.address).await.unwrap();
    let head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n{rest}", client.path(), client.visitor.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn two_posts_at_once_end_the_session() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let first = half_a_request(&client, "POST", "Content-Length: 100\r\n\r\n40").await;
    // Until the server has read the head of the first one, another one is taken.
    until("the refusal", || async { (client.post("3").await == 400).then_some(()) }).await;
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
    drop(first);
}

#[tokio::test]
async fn a_post_that_is_aborted_half_way_leaves_the_session() {
    let app = spawn_app();
    let mut pause = Duration::from_millis(20);
    let mut client = until("a session after an aborted post", || {
        let app = &app;
        // Until the server notices the end of the first post, another one counts as a second one.
        pause *= 2;
        async move {
            let mut client = Client::polling(app).await;
            client.join("/tricast", json!({})).await;
            drop(half_a_request(&client, "GET", "Accept: */").await);
            drop(half_a_request(&client, "POST", "Content-Length: 100\r\n\r\n42/tricast,").await);
            tokio::time::sleep(pause).await;
            (client.post("6").await == 200).then_some(client)
        }
    })
    .await;
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn the_client_of_a_poll_that_was_aborted_half_way_is_recovered() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    let auth = json!({"recovery": true});
    let first = client.join("/tricast", auth).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
    // The event is written to the poll whose connection is closed, or waits for the next one.
    let poll = half_a_request(&client, "GET", "\r\n").await;
    app.push_event("deploys", 1).await;
    drop(poll);
    let mut next = Client::polling(&app).await;
    let recovered = next.join("/tricast", json!({"recovery": true, "pid": first["pid"]})).await;
    assert_eq!(recovered, first);
    assert_eq!(next.event("/tricast", "event").await[1]["data"]["n"], 1);
}

#[tokio::test]
async fn a_held_poll_that_is_aborted_ends_the_session() {
    let app = spawn_app();
    let mut pause = Duration::from_millis(20);
    until("the end", || {
        let app = &app;
        // A connection that is closed before its request is read leaves the session.
        pause *= 2;
        async move {
            let mut client = Client::polling(app).await;
            client.join("/tricast", json!({})).await;
            let poll = half_a_request(&client, "GET", "\r\n").await;
            tokio::time::sleep(pause).await;
            drop(poll);
            for _ in 0..50 {
                if client.post("6").await == 400 {
                    return Some(());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            None
        }
    })
    .await;
}

#[tokio::test]
async fn a_post_of_many_packets_is_carried_out_in_order() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let packets: Vec<String> = (0..100).map(|n| format!("42/tricast,{n}[\"ping\"]")).collect();
    assert_eq!(client.post(&packets.join("\u{1e}")).await, 200);
    for n in 0..100 {
        let ack = soon("an acknowledgement", client.next()).await.unwrap();
        assert!(ack.starts_with(&format!("43/tricast,{n}[{{")), "{n}: {ack}");
    }
    let packets = ["6"; 101].join("\u{1e}");
    assert_eq!(client.post(&packets).await, 400, "more than 100");
    ends(&mut client).await;
}

#[tokio::test]
async fn an_upgrade_that_fails_in_the_middle_loses_no_event() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
    let query = format!("&sid={}", client.open["sid"].as_str().unwrap());
    let failures: [&[Message]; 4] =
        [&[], &[Message::text("42/tricast,[\"ping\"]")], &[Message::text("2probe")], &[Message::binary(vec![1])]];
    for (n, failure) in failures.into_iter().enumerate() {
        let mut socket = websocket(&app, &query).await;
        socket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(soon("the probe", socket.next()).await.unwrap().unwrap(), Message::text("3probe"));
        // A second one is closed, and does not disturb the first.
        let mut second = websocket(&app, &query).await;
        assert!(matches!(soon("the close", second.next()).await, Some(Ok(Message::Close(_)))));
        // Waits for the upgrade, which does not come.
        app.push_event("deploys", n as u64).await;
        for message in failure {
            socket.send(message.clone()).await.unwrap();
        }
        drop(socket);
        assert_eq!(client.event("/tricast", "event").await[1]["data"]["n"], n);
    }
    // The upgrade succeeds after the failures, and a packet that breaks the protocol ends the session then.
    let mut socket = websocket(&app, &query).await;
    socket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(soon("the probe", socket.next()).await.unwrap().unwrap(), Message::text("3probe"));
    socket.send(Message::text("5")).await.unwrap();
    client.socket = Some(socket);
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
    client.send("x").await;
    ends(&mut client).await;
    client.socket = None;
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
}
