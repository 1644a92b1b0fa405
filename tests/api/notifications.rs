//! Notifications of alerts: mails to a mail server, requests to a receiver, and failures of both.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tricast::config::Config;
use tricast_domain::alerts::MailTls;

use crate::{
    alerts::{ManualClock, load, make, open, rule},
    helpers::{soon, spawn_app_at, spawn_app_with, until},
};

const SECRET: &str = "webhook secret";

/// Behaviour of a receiver.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Status(u16),
    Hangs,
    Redirects(SocketAddr),
    NeverEnds,
    Closes,
}

/// Request that a receiver got.
#[derive(Debug)]
struct Received {
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}: {self:?}")).1
    }

    /// Returns the body after a check of the signature.
    fn verified(&self) -> Value {
        let signature = self.header("x-tricast-signature").strip_prefix("v1=").unwrap();
        let bytes = |at: usize| u8::from_str_radix(&signature[at..at + 2], 16).unwrap();
        let signature: Vec<u8> = (0..signature.len()).step_by(2).map(bytes).collect();
        let signed = format!("{}.{}", self.header("x-tricast-timestamp"), self.body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["id"], self.header("x-tricast-delivery"));
        body
    }
}

/// Starts a receiver of webhooks with the given behaviours for its first requests; later ones get 204.
async fn receiver(behaviours: &[Behaviour]) -> (SocketAddr, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel(64);
    let behaviours = Arc::new(Mutex::new(behaviours.iter().copied().collect::<VecDeque<_>>()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, behaviours) = (sender.clone(), Arc::clone(&behaviours));
            tokio::spawn(async move { drop(answer(stream, &sender, &behaviours).await) });
        }
    });
    (address, received)
}

async fn answer(
    stream: TcpStream,
    sender: &mpsc::Sender<Received>,
    behaviours: &Mutex<VecDeque<Behaviour>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut headers, mut length) = (Vec::new(), 0);
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        drop(sender.send(Received { headers, body: String::from_utf8(body).unwrap() }).await);
        let manner = behaviours.lock().pop_front().unwrap_or(Behaviour::Status(204));
        match manner {
            Behaviour::Status(status) => {
                stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
            }
            Behaviour::Redirects(to) => {
                let head = format!("HTTP/1.1 307 X\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
            }
            Behaviour::NeverEnds => {
                stream.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(b"400\r\n").await?;
                    stream.write_all(&[b'x'; 1_024]).await?;
                    stream.write_all(b"\r\n").await?;
                }
            }
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Closes => return Ok(()),
        }
    }
}

fn to_webhook(config: &mut Config, address: SocketAddr) {
    config.webhook.url = format!("http://{address}/hooks?from=tricast").as_str().into();
    config.webhook.secret = SECRET.into();
    config.webhook.timeout.0 = Duration::from_secs(1);
}

/// Mail that a mail server got.
#[derive(Debug)]
struct Mail {
    from: String,
    to: Vec<String>,
    data: String,
}

/// Starts a mail server (RFC 5321) that accepts every mail, with a password if there is one.
async fn mail_server(password: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<Mail>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mails) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move { drop(receive_mail(stream, &sender, password).await) });
        }
    });
    (address, mails)
}

async fn receive_mail(stream: TcpStream, sender: &mpsc::Sender<Mail>, password: Option<&str>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut known = password.is_none();
    let (mut from, mut to) = (String::new(), Vec::new());
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        let answer = match command.split_once([' ', ':']).map_or(command, |(verb, _)| verb) {
            "EHLO" => "250-sink.example\r\n250-8BITMIME\r\n250 AUTH PLAIN".into(),
            "AUTH" => {
                let text = command.rsplit(' ').next().unwrap();
                let text = data_encoding::BASE64.decode(text.as_bytes()).unwrap();
                known = String::from_utf8(text).unwrap() == format!("\0tricast\0{}", password.unwrap_or_default());
                if known { "235 welcome".into() } else { "535 who?".into() }
            }
            "MAIL" if !known => "530 who are you?".into(),
            "MAIL" => {
                from = command.to_owned();
                "250 ok".into()
            }
            "RCPT" => {
                to.push(command.to_owned());
                "250 ok".into()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut data = String::new();
                while !data.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut data).await?;
                }
                drop(sender.send(Mail { from: std::mem::take(&mut from), to: std::mem::take(&mut to), data }).await);
                "250 kept".into()
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            _ => String::from("500 what?"),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn to_mail(config: &mut Config, address: SocketAddr) {
    config.smtp.host = Some(address.ip().to_string());
    config.smtp.port = address.port();
    config.smtp.tls = MailTls::None;
    config.smtp.from = Some("Tricast <tricast@shop.example>".into());
    config.smtp.to = vec!["ops@shop.example".into(), "ada@shop.example".into()];
    config.smtp.timeout.0 = Duration::from_secs(2);
}

fn sent(target: &str, result: &str) -> String {
    format!("tricast_notifications_total{{target=\"{target}\",result=\"{result}\"}}")
}

#[tokio::test]
async fn a_critical_alert_and_its_resolution_are_sent_by_mail_and_webhook() {
    let (webhook, mut requests) = receiver(&[]).await;
    let (server, mut mails) = mail_server(Some("open sesame")).await;
    let app = spawn_app_with(|config| {
        to_webhook(config, webhook);
        to_mail(config, server);
        (config.smtp.username, config.smtp.password) = ("tricast".into(), "open sesame".into());
    });
    let mut critical = rule("load", json!({"above": 90}));
    critical["name"] = json!("Löwe");
    make(&app, critical).await;
    let mut quiet = rule("quiet", json!({"above": 90}));
    quiet["severity"] = json!("warning");
    make(&app, quiet).await;
    load(&app, 95.0).await;
    let request = soon("a request", requests.recv()).await.unwrap();
    let body = request.verified();
    let alerts = open(&app, 2).await;
    let alert = alerts.iter().find(|alert| alert["ruleId"] == "load").unwrap();
    assert_eq!((&body["event"], &body["alert"], &body["tenant"]), (&json!("alert_raised"), alert, &json!("default")));
    assert_eq!(body["rule"], json!({"id": "load", "name": "Löwe"}));
    assert!(request.header("user-agent").starts_with("tricast/"));
    let mail = soon("a mail", mails.recv()).await.unwrap();
    assert!(mail.from.starts_with("MAIL FROM:<tricast@shop.example>"), "{mail:?}");
    assert_eq!(mail.to, ["RCPT TO:<ops@shop.example>", "RCPT TO:<ada@shop.example>"]);
    assert!(mail.data.contains("Subject: [critical] =?utf-8?b?TMO2d2U=?=\r\n"), "{}", mail.data);
    load(&app, 1.0).await;
    assert_eq!(soon("a request", requests.recv()).await.unwrap().verified()["event"], "alert_resolved");
    assert!(soon("a mail", mails.recv()).await.unwrap().data.contains("Subject: [resolved] "));
    until("an empty outbox", || async {
        let done = app.counter(&sent("webhook", "delivered")).await + app.counter(&sent("email", "delivered")).await;
        (done == 4.0 && app.counter("tricast_outbox_length{target=\"webhook\"}").await == 0.0).then_some(())
    })
    .await;
    assert!(
        requests.try_recv().is_err() && mails.try_recv().is_err(),
        "nothing about the unconfigured rule, nothing twice"
    );
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_with_the_same_id() {
    let hands = ManualClock::new();
    let behaviours = [Behaviour::Status(503), Behaviour::Closes, Behaviour::Status(429)];
    let (webhook, mut requests) = receiver(&behaviours).await;
    let app = spawn_app_at(hands.clock(), |config| to_webhook(config, webhook));
    let mut system = app.websocket().await;
    system.subscribe(&["system"]).await;
    make(&app, rule("load", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    let first = soon("a request", requests.recv()).await.unwrap();
    load(&app, 1.0).await;
    open(&app, 0).await;
    let mut stamps = vec![first.header("x-tricast-timestamp").to_owned()];
    for failures in 1..=3 {
        until("a failure", || async {
            (app.counter(&sent("webhook", "failed")).await >= failures as f64).then_some(())
        })
        .await;
        assert!(requests.try_recv().is_err(), "not before the pause is over");
        hands.forward(10);
        let again = soon("a request", requests.recv()).await.unwrap();
        assert_eq!(again.verified()["id"], first.verified()["id"]);
        stamps.push(again.header("x-tricast-timestamp").to_owned());
    }
    stamps.dedup();
    assert_eq!(stamps.len(), 4, "each attempt has its own time");
    let degraded = system.next_of("event").await;
    assert_eq!((&degraded["event"], &degraded["data"]["reason"]), (&json!("degraded"), &json!("webhook")));
    assert_eq!(system.next_of("event").await["event"], "recovered");
    let end = soon("a request", requests.recv()).await.unwrap().verified();
    assert_eq!(end["event"], "alert_resolved", "the resolution waits for the alert");
}

#[tokio::test]
async fn a_permanent_refusal_is_given_up_and_no_redirect_is_followed() {
    let (elsewhere, mut stolen) = receiver(&[]).await;
    let (webhook, mut requests) = receiver(&[Behaviour::Redirects(elsewhere), Behaviour::Status(400)]).await;
    let app = spawn_app_with(|config| to_webhook(config, webhook));
    make(&app, rule("load", json!({"above": 90}))).await;
    for (times, value) in [(1.0, 95.0), (2.0, 1.0)] {
        load(&app, value).await;
        soon("a request", requests.recv()).await.unwrap();
        until("an end", || async { (app.counter(&sent("webhook", "given_up")).await == times).then_some(()) }).await;
    }
    assert!(requests.try_recv().is_err() && stolen.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_neither_alerts_nor_mails() {
    let (webhook, mut requests) = receiver(&[Behaviour::Hangs, Behaviour::NeverEnds]).await;
    let (server, mut mails) = mail_server(None).await;
    let app = spawn_app_with(|config| {
        to_webhook(config, webhook);
        to_mail(config, server);
        config.webhook.timeout.0 = Duration::from_secs(300);
    });
    make(&app, rule("one", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    soon("a request", requests.recv()).await.unwrap();
    soon("a mail", mails.recv()).await.unwrap();
    make(&app, rule("two", json!({"above": 90}))).await;
    open(&app, 2).await;
    soon("a mail", mails.recv()).await.unwrap();
    load(&app, 1.0).await;
    open(&app, 0).await;
    soon("a mail", mails.recv()).await.unwrap();
    assert_eq!(app.counter(&sent("webhook", "delivered")).await, 0.0, "the first still hangs");
}

#[tokio::test]
async fn an_endless_response_is_not_read_to_its_end() {
    let (webhook, mut requests) = receiver(&[Behaviour::NeverEnds]).await;
    let app = spawn_app_with(|config| to_webhook(config, webhook));
    make(&app, rule("load", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    soon("a request", requests.recv()).await.unwrap();
    until("a delivery", || async { (app.counter(&sent("webhook", "delivered")).await == 1.0).then_some(()) }).await;
}

#[tokio::test]
async fn an_interrupted_delivery_is_sent_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let hands = ManualClock::new();
    let (webhook, mut requests) = receiver(&[Behaviour::Hangs]).await;
    let start = || {
        spawn_app_at(hands.clock(), |config| {
            to_webhook(config, webhook);
            config.data_dir = Some(directory.path().to_owned());
            config.webhook.timeout.0 = Duration::from_secs(300);
        })
    };
    let mut app = start();
    make(&app, rule("load", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    let first = soon("a request", requests.recv()).await.unwrap().verified();
    app.begin_stop();
    app.stopped().await;
    hands.forward(400);
    let app = start();
    assert_eq!(soon("a request", requests.recv()).await.unwrap().verified(), first);
    until("a delivery", || async { (app.counter(&sent("webhook", "delivered")).await == 1.0).then_some(()) }).await;
}

#[tokio::test]
async fn a_wrong_password_is_retried() {
    let (server, mut mails) = mail_server(Some("another")).await;
    let hands = ManualClock::new();
    let app = spawn_app_at(hands.clock(), |config| {
        to_mail(config, server);
        config.alerts.give_up_after.0 = Duration::from_secs(60);
        (config.smtp.username, config.smtp.password) = ("tricast".into(), "wrong".into());
    });
    make(&app, rule("load", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    until("a failure", || async { (app.counter(&sent("email", "failed")).await == 1.0).then_some(()) }).await;
    until("the outbox", || async {
        (app.counter("tricast_outbox_length{target=\"email\"}").await == 1.0).then_some(())
    })
    .await;
    hands.forward(59);
    until("a failure", || async { (app.counter(&sent("email", "failed")).await == 2.0).then_some(()) }).await;
    assert!(app.counter("tricast_outbox_age_seconds{target=\"email\"}").await >= 59.0);
    hands.forward(300);
    until("the end", || async { (app.counter(&sent("email", "given_up")).await == 1.0).then_some(()) }).await;
    assert!(mails.try_recv().is_err());
}

#[tokio::test]
async fn alerts_beyond_the_outbox_are_raised_and_not_sent() {
    let (webhook, _requests) = receiver(&[Behaviour::Hangs]).await;
    let app = spawn_app_with(|config| {
        to_webhook(config, webhook);
        config.alerts.max_outbox = 1;
        config.webhook.timeout.0 = Duration::from_secs(300);
    });
    make(&app, rule("one", json!({"above": 90}))).await;
    make(&app, rule("two", json!({"above": 90}))).await;
    load(&app, 95.0).await;
    open(&app, 2).await;
    until("the count", || async { (app.counter(&sent("webhook", "dropped")).await == 1.0).then_some(()) }).await;
}
