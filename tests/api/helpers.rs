//! A server for one test, and a client for each transport.

use std::{
    net::SocketAddr,
    pin::Pin,
    thread,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};
use tricast::{
    app::Application,
    config::{AuthMode, Config},
};
use tricast_auth::{
    BindingLists, Permissions, TenantName,
    mint::{Claims, SigningKey, mint},
};
use tricast_core::clock::Clock;

/// Timeout for everything that should happen at once. Only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `what`, or fails the test with its name.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out waiting for {what}"),
    }
}

/// Total time for which one client is read. A test that waits for a message which never comes would otherwise run for
/// ever, because other messages arrive every second.
const IN_ALL: Duration = Duration::from_secs(180);

/// Waits for the next `what` of a client that was opened at `opened`.
async fn next_within<T>(what: &str, opened: Instant, future: impl Future<Output = T>) -> T {
    assert!(opened.elapsed() < IN_ALL, "timed out: read for {IN_ALL:?}, and only other messages arrived");
    soon(what, future).await
}

/// Repeats `check` until it returns a value.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// HTTP client of a server, with or without a token.
#[derive(Clone)]
pub(crate) struct ApiClient {
    pub address: SocketAddr,
    client: reqwest::Client,
    pub token: Option<String>,
}

/// Running server, with a client without a token.
pub(crate) struct TestApp {
    visitor: ApiClient,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
}

/// Starts a server with the defaults.
pub(crate) fn spawn_app() -> TestApp {
    spawn_app_with(|_| {})
}

/// Starts a server with changed settings.
pub(crate) fn spawn_app_with(change: impl FnOnce(&mut Config)) -> TestApp {
    spawn_app_at(Clock::system(), change)
}

/// Starts a server with changed settings that uses `clock`.
pub(crate) fn spawn_app_at(clock: Clock, change: impl FnOnce(&mut Config)) -> TestApp {
    let mut config = Config { listen: vec!["127.0.0.1:0".into()], workers: 2, ..Config::default() };
    // The HTTP client of the tests needs a provider; later calls find it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    // Tests are faster than clients may be; tests of the limits set their own.
    config.limits.handshakes_per_second_per_address = 0;
    config.limits.messages_per_second = 0;
    change(&mut config);
    let (stop, stopped) = oneshot::channel::<()>();
    let (bound, address) = std::sync::mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let app = Application::build(&config, clock).unwrap();
            bound.send(app.addresses()[0]).unwrap();
            app.run_until(async {
                // Stopped, or dropped by a test that is over.
                let _ = stopped.await;
            })
            .await
        })
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    TestApp {
        visitor: ApiClient { address: address.recv().unwrap(), client, token: None },
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl std::ops::Deref for TestApp {
    type Target = ApiClient;

    fn deref(&self) -> &ApiClient {
        &self.visitor
    }
}

/// Secret of the tokens below.
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

/// Starts a server that requires tokens.
pub(crate) fn spawn_app_with_tokens(change: impl FnOnce(&mut Config)) -> TestApp {
    spawn_app_with(|config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.secret = SECRET.into();
        config.auth.leeway.0 = Duration::ZERO;
        change(config);
    })
}

/// Returns a token of `user` of `tenant` with `permissions` for `lifetime`.
pub(crate) fn token_for(user: &str, tenant: &str, permissions: &[&str], lifetime: Duration) -> String {
    mint_token(&Claims {
        permissions: Permissions::parse(permissions.iter().copied()),
        ..claims(user, tenant, lifetime)
    })
}

/// Returns a token of `user` of the tenant `acme` that is bound to channels and valid for an hour.
pub(crate) fn bound_token(user: &str, read: &[&str], push: &[&str]) -> String {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let lists = BindingLists { read: texts(read), push: texts(push) };
    mint_token(&Claims { binding: Some(lists.parse().unwrap()), ..claims(user, "acme", Duration::from_secs(3_600)) })
}

fn claims(user: &str, tenant: &str, lifetime: Duration) -> Claims {
    Claims {
        user: user.into(),
        tenant: TenantName::parse(tenant).unwrap(),
        permissions: Permissions::NONE,
        binding: None,
        now: jiff::Timestamp::now(),
        expires: lifetime,
        not_before: None,
        issuer: None,
        audience: None,
    }
}

fn mint_token(claims: &Claims) -> String {
    mint(claims, &SigningKey::of_secret(SECRET.as_bytes()).unwrap()).unwrap()
}

/// Returns a token that is valid for an hour.
pub(crate) fn token(user: &str, tenant: &str, permissions: &[&str]) -> String {
    token_for(user, tenant, permissions, Duration::from_secs(3_600))
}

impl ApiClient {
    /// Returns a client of the same server with this token.
    pub(crate) fn with(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Returns the same client for another server.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        soon(path, self.request(Method::GET, path).send()).await.unwrap()
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    /// Does the same on a task of its own.
    pub(crate) fn get_json_later(&self, path: String) -> tokio::task::JoinHandle<Value> {
        let visitor = self.clone();
        tokio::spawn(async move { visitor.get_json(&path).await })
    }

    /// Pushes one line, which has to be accepted, and returns the cursor.
    pub(crate) async fn push(&self, line: Value) -> String {
        let response = self.post("/api/metrics", line.to_string()).await;
        assert_eq!(response.status(), 202, "{line}");
        response.json::<Value>().await.unwrap()["cursor"].as_str().unwrap().to_owned()
    }

    /// Pushes the value of a state channel.
    pub(crate) async fn push_value(&self, channel: &str, data: Value) -> String {
        self.push(json!({"channel": channel, "data": data})).await
    }

    /// Pushes an event with a number.
    pub(crate) async fn push_event(&self, channel: &str, n: u64) -> String {
        self.push(json!({"channel": channel, "event": "happened", "data": {"n": n}})).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json").body(body.into());
        soon(path, request.send()).await.unwrap()
    }

    pub(crate) async fn websocket(&self) -> WebSocket {
        self.websocket_at("/ws").await
    }

    /// Opens a WebSocket and reads the greeting.
    pub(crate) async fn websocket_at(&self, path: &str) -> WebSocket {
        self.try_websocket_at(path).await.unwrap_or_else(|status| panic!("refused with {status}"))
    }

    /// Does the same, or returns the status of the refusal.
    pub(crate) async fn try_websocket_at(&self, path: &str) -> Result<WebSocket, u16> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        if let Some(token) = &self.token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let stream = match soon("the upgrade", tokio_tungstenite::connect_async(request)).await {
            Ok((stream, _)) => stream,
            Err(tungstenite::Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        let mut socket = WebSocket { stream, connected: Value::Null, opened: Instant::now() };
        socket.connected = socket.next().await;
        assert_eq!(socket.connected["type"], "connected");
        Ok(socket)
    }

    pub(crate) async fn events(&self, query: &str) -> EventStream {
        self.events_from(query, None).await
    }

    pub(crate) async fn events_from(&self, query: &str, last_event_id: Option<&str>) -> EventStream {
        let mut request = self.request(Method::GET, &format!("/events{query}")).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = soon("the stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()).unwrap_or_default());
        let bytes = Box::pin(bytes);
        EventStream { bytes, buffer: String::new(), id: String::new(), retry: None, opened: Instant::now() }
    }

    /// Sends bytes on a bare socket and reads until the server closes or `enough` returns true.
    pub(crate) async fn raw(&self, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        soon("an answer", async {
            let mut buffer = [0; 16 * 1024];
            while !enough(&answer) {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => answer.extend_from_slice(&buffer[..n]),
                }
            }
        })
        .await;
        answer
    }

    /// Returns the value of one line of `/metrics`.
    pub(crate) async fn counter(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await.text().await.unwrap();
        let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// Returns how often a limit refused something.
    pub(crate) async fn limit(&self, setting: &str) -> f64 {
        self.counter(&format!("tricast_limit_reached_total{{limit=\"{setting}\"}}")).await
    }
}

impl TestApp {
    /// Asks the server to stop, as SIGTERM does.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(mut self) {
        let thread = self.thread.take().unwrap();
        soon("the end", tokio::task::spawn_blocking(move || thread.join())).await.unwrap().unwrap().unwrap();
    }
}

pub(crate) struct WebSocket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub connected: Value,
    opened: Instant,
}

impl WebSocket {
    pub(crate) async fn send(&mut self, message: Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Returns the next JSON message.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            match next_within("a message", self.opened, self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    /// Returns the next message of this type; skips others.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        self.next_of_any(&[kind]).await
    }

    /// Returns the next message of one of these types; skips others.
    pub(crate) async fn next_of_any(&mut self, kinds: &[&str]) -> Value {
        soon(&format!("{kinds:?}"), async {
            loop {
                let message = self.next().await;
                if kinds.iter().any(|kind| message["type"] == *kind) {
                    return message;
                }
            }
        })
        .await
    }

    /// Sends a message and waits for its answer.
    pub(crate) async fn ask(&mut self, message: Value, kind: &str) -> Value {
        self.send(message).await;
        self.next_of(kind).await
    }

    pub(crate) async fn subscribe(&mut self, channels: &[&str]) -> Value {
        self.ask(json!({"type": "subscribe", "channels": channels}), "subscribed").await
    }

    /// Reads until the close frame; returns its code and the messages before it.
    pub(crate) async fn closed(&mut self) -> (u16, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            match next_within("the close", self.opened, self.stream.next()).await {
                Some(Ok(Message::Text(text))) => before.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return (frame.map_or(1005, |frame| frame.code.into()), before),
                Some(Ok(_)) => {}
                other => panic!("closed without a frame: {other:?} after {before:?}"),
            }
        }
    }
}

/// Event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub id: String,
    pub name: String,
    pub text: String,
}

impl Event {
    pub(crate) fn data(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Reads an event stream as the standard specifies (WHATWG HTML, section 9.2.6), for line ends of one kind.
pub(crate) struct EventStream {
    bytes: Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>,
    buffer: String,
    id: String,
    pub retry: Option<u64>,
    opened: Instant,
}

impl EventStream {
    /// Returns the next event, `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
            let chunk = next_within("an event", self.opened, self.bytes.next()).await?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    fn read(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.id = value.into(),
                "event" => name = value.into(),
                "data" => data.push(value),
                "retry" => self.retry = value.parse().ok(),
                "" => {}
                other => panic!("an unknown field {other:?}"),
            }
        }
        (!data.is_empty()).then(|| Event { id: self.id.clone(), name, text: data.join("\n") })
    }

    /// Returns the next event of this name; skips others.
    pub(crate) async fn next_of(&mut self, name: &str) -> Event {
        soon(name, async {
            loop {
                let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
                if event.name == name {
                    return event;
                }
            }
        })
        .await
    }
}
