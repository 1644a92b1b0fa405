//! Socket.IO over real sockets: both transports, the upgrade, namespaces, the documented events, errors and limits.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::helpers::{ApiClient, soon, spawn_app, spawn_app_with, spawn_app_with_tokens, token, token_for, until};

/// Minimal client of Socket.IO.
struct Client {
    visitor: ApiClient,
    open: Value,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    packets: VecDeque<String>,
    acks: u64,
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

async fn websocket(visitor: &ApiClient, query: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let address = format!("ws://{}{WEBSOCKET}{query}", visitor.address);
    soon("the upgrade", tokio_tungstenite::connect_async(address)).await.unwrap().0
}

impl Client {
    async fn polling(visitor: &ApiClient) -> Self {
        let response = visitor.get(POLLING).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=UTF-8");
        let open: Value = serde_json::from_str(response.text().await.unwrap().strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!(["websocket"]));
        Self { visitor: visitor.clone(), open, socket: None, packets: VecDeque::new(), acks: 0 }
    }

    async fn websocket(visitor: &ApiClient) -> Self {
        let mut socket = websocket(visitor, "").await;
        let first = soon("the open packet", socket.next()).await.unwrap().unwrap().into_text().unwrap();
        let open: Value = serde_json::from_str(first.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!([]));
        Self { visitor: visitor.clone(), open, socket: Some(socket), packets: VecDeque::new(), acks: 0 }
    }

    /// Returns a client of each transport.
    async fn of_both(visitor: &ApiClient) -> [Self; 2] {
        [Self::polling(visitor).await, Self::websocket(visitor).await]
    }

    fn path(&self) -> String {
        format!("{POLLING}&sid={}", self.open["sid"].as_str().unwrap())
    }

    /// Posts a payload and returns the status.
    async fn post(&self, payload: &str) -> u16 {
        let request = self.visitor.request(Method::POST, &self.path()).header("content-type", "text/plain");
        soon("the post", request.body(payload.to_owned()).send()).await.unwrap().status().as_u16()
    }

    /// Polls once and returns the payload, or the status if it is not 200.
    async fn poll(&self) -> Result<String, u16> {
        let response = self.visitor.get(&self.path()).await;
        match response.status().as_u16() {
            200 => Ok(response.text().await.unwrap()),
            status => Err(status),
        }
    }

    async fn send(&mut self, packet: &str) {
        match &mut self.socket {
            Some(socket) => socket.send(Message::text(packet.to_owned())).await.unwrap(),
            None => assert_eq!(self.post(packet).await, 200, "{packet}"),
        }
    }

    /// Returns the next packet; `None` at the end. Replies to pings.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                match packet.as_str() {
                    "2" => self.send("3").await,
                    "6" => {}
                    "1" => return None,
                    _ => return Some(packet),
                }
                continue;
            }
            match &mut self.socket {
                Some(socket) => match soon("a packet", socket.next()).await {
                    Some(Ok(Message::Text(text))) => self.packets.push_back(text.to_string()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                },
                None => match self.poll().await {
                    Ok(payload) => self.packets.extend(payload.split('\u{1e}').map(str::to_owned)),
                    Err(_) => return None,
                },
            }
        }
    }

    /// Returns the rest of the next packet with this beginning; skips others.
    async fn next_of(&mut self, beginning: &str) -> String {
        soon(beginning, async {
            loop {
                let packet = self.next().await.unwrap_or_else(|| panic!("the session ended before {beginning}"));
                if let Some(rest) = packet.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
        })
        .await
    }

    /// Joins a namespace and returns the server's answer.
    async fn join(&mut self, namespace: &str, auth: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{name}{auth}")).await;
        serde_json::from_str(&self.next_of(&format!("40{name}")).await).unwrap()
    }

    /// Leaves a namespace and joins it again.
    async fn join_again(&mut self, namespace: &str, auth: Value) -> Value {
        self.send(&format!("41{namespace},")).await;
        self.join(namespace, auth).await
    }

    /// Joins a namespace that refuses, and returns the error.
    async fn refused(&mut self, namespace: &str, auth: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{name}{auth}")).await;
        serde_json::from_str(&self.next_of(&format!("44{name}")).await).unwrap()
    }

    /// Emits an event with an acknowledgement and returns it.
    async fn ask(&mut self, namespace: &str, event: Value) -> Value {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.acks += 1;
        let id = self.acks;
        self.send(&format!("42{name}{id}{event}")).await;
        let ack: Value = serde_json::from_str(&self.next_of(&format!("43{name}{id}")).await).unwrap();
        ack[0].clone()
    }

    /// Returns the next event of this name, with all its arguments; skips others.
    async fn event(&mut self, namespace: &str, name: &str) -> Value {
        let prefix = if namespace == "/" { "42".to_owned() } else { format!("42{namespace},") };
        let start = format!("{prefix}[\"{name}\"");
        let rest = self.next_of(&start).await;
        serde_json::from_str(&format!("[\"{name}\"{rest}")).unwrap()
    }
}

#[tokio::test]
async fn a_client_subscribes_and_receives_on_both_transports() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let keys: Vec<_> = client.open.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
        let connected = client.join("/tricast", json!({"recovery": true})).await;
        assert_ne!(connected["sid"], client.open["sid"], "the session's id is secret");
        let ack = client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.a", "deploys", "no good"]}])).await;
        assert_eq!(ack["status"], "ok");
        let status: Vec<_> = (0..3).map(|n| ack["channels"][n]["status"].clone()).collect();
        assert_eq!(status, ["active", "active", "denied"]);
        app.push_value("metrics.a", json!({"x": client.open["sid"]})).await;
        let metric = soon("the value", async {
            loop {
                let metric = client.event("/tricast", "metric").await;
                if metric[1]["data"]["x"] == client.open["sid"] {
                    return metric;
                }
            }
        })
        .await;
        assert_eq!(metric[1]["channel"], "metrics.a");
        assert_eq!(metric[2], metric[1]["cursor"], "the offset of connection state recovery");
        app.push_event("deploys", 7).await;
        let event = client.event("/tricast", "event").await;
        assert_eq!((&event[1]["event"], &event[1]["data"]["n"]), (&json!("happened"), &json!(7)));
        let ack = client.ask("/tricast", json!(["request", {"action": "list_channels"}])).await;
        assert!(ack["data"]["channels"].as_array().is_some_and(|all| !all.is_empty()), "{ack}");
        let ack = client.ask("/tricast", json!(["request", {"action": "dance"}])).await;
        assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!("INVALID_MESSAGE")));
        let ack = client.ask("/tricast", json!(["unsubscribe", {"channels": ["deploys"]}])).await;
        assert_eq!(ack["activeSubscriptions"], 1);
    }
}

#[tokio::test]
async fn a_session_is_upgraded_without_losing_an_event() {
    let app = spawn_app();
    for round in 0..6 {
        let mut client = Client::polling(&app).await;
        client.join("/tricast", json!({})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
        let first = app.push_event("deploys", 1).await;
        // A poll is held while the WebSocket is probed.
        let mut socket = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
        let sid_path = client.path();
        let visitor = client.visitor.clone();
        let polls = tokio::spawn(async move {
            let mut payloads = Vec::new();
            loop {
                let payload = visitor.get(&sid_path).await.text().await.unwrap();
                payloads.extend(payload.split('\u{1e}').map(str::to_owned));
                if payloads.last().is_some_and(|last| last == "6") {
                    return payloads;
                }
            }
        });
        socket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(soon("the probe", socket.next()).await.unwrap().unwrap(), Message::text("3probe"));
        app.push_event("deploys", 2).await;
        let seen = soon("the last poll", polls).await.unwrap();
        socket.send(Message::text("5")).await.unwrap();
        app.push_event("deploys", 3).await;
        client.socket = Some(socket);
        client.packets.extend(seen);
        let mut numbers = Vec::new();
        while numbers.last() != Some(&3) {
            numbers.push(client.event("/tricast", "event").await[1]["data"]["n"].as_u64().unwrap());
        }
        assert_eq!(numbers, [1, 2, 3], "round {round} from {first}");
        let path = client.path();
        assert_eq!(app.get(&path).await.status(), 400, "polls are over");
        let mut second = websocket(&app, &format!("&sid={}", client.open["sid"].as_str().unwrap())).await;
        assert!(matches!(soon("the close", second.next()).await, Some(Ok(Message::Close(_)))));
        assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
    }
}

#[tokio::test]
async fn a_failed_upgrade_leaves_the_session_on_polling() {
    let app = spawn_app();
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let query = format!("&sid={}", client.open["sid"].as_str().unwrap());
    for wrong in ["2other", "40", "x"] {
        let mut socket = websocket(&app, &query).await;
        socket.send(Message::text(wrong)).await.unwrap();
        assert!(matches!(soon("the close", socket.next()).await, Some(Ok(Message::Close(_)))), "{wrong}");
    }
    let mut socket = websocket(&app, &query).await;
    socket.send(Message::text("2probe")).await.unwrap();
    soon("the probe", socket.next()).await.unwrap().unwrap();
    drop(socket);
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
    assert_eq!(app.get(&format!("{WEBSOCKET}&sid=unknown")).await.status(), 400);
    for payload in ["", "x", "0", "2", "4", "4abc", "42{}", "42[\"a\"]", "b%", "40\u{1e}", "5", "451-[\"a\"]\u{1e}40"] {
        let client = Client::polling(&app).await;
        let status = client.post(payload).await;
        let ended = client.poll().await;
        assert!(status == 400 || ended == Ok("1".into()) || ended == Err(400), "{payload:?}: {status} {ended:?}");
        until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
    }
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let app = spawn_app();
    let client = Client::polling(&app).await;
    let (first, second) = tokio::join!(client.poll(), client.poll());
    // The earlier poll ends with the session, the other one is refused.
    assert!(
        [&first, &second].contains(&&Ok("1".to_owned())) && [&first, &second].contains(&&Err(400)),
        "{first:?} {second:?}"
    );
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
}

#[tokio::test]
async fn a_client_that_leaves_has_its_poll_released() {
    let app = spawn_app();
    let client = Client::polling(&app).await;
    let (visitor, path) = (client.visitor.clone(), client.path());
    let poll = tokio::spawn(async move { visitor.get(&path).await.text().await.unwrap() });
    assert_eq!(client.post("1").await, 200);
    // In either order of the two requests.
    assert_eq!(soon("the poll", poll).await.unwrap(), "6");
    assert_eq!(client.poll().await, Err(400));
}

#[tokio::test]
async fn the_session_of_a_silent_client_ends() {
    let app = spawn_app_with(|config| {
        config.heartbeat.interval.0 = Duration::from_millis(200);
        config.heartbeat.timeout.0 = Duration::from_millis(400);
    });
    let silent = Client::polling(&app).await;
    let mut lively = Client::websocket(&app).await;
    lively.join("/tricast", json!({})).await;
    // The active client replies to pings while it waits for this many replies of its own.
    let count = "tricast_connections{transport=\"socketio\"}";
    soon("the end of the silent one", async {
        while app.counter(count).await > 1.0 {
            assert_eq!(lively.ask("/tricast", json!(["ping"])).await["status"], "ok");
        }
    })
    .await;
    assert_eq!(silent.poll().await, Err(400));
    assert_eq!(lively.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn a_namespace_needs_a_token_and_shows_only_its_tenant() {
    let app = spawn_app_with_tokens(|_| {});
    for mut client in Client::of_both(&app).await {
        let error = client.refused("/tricast", json!({})).await;
        assert_eq!(error["data"]["code"], "UNAUTHORIZED");
        assert_eq!(client.refused("/tricast", json!({"token": "x.y.z"})).await["data"]["code"], "UNAUTHORIZED");
        assert_eq!(client.refused("/nowhere", json!({})).await, json!({"message": "Invalid namespace"}));
        let ada = token("ada", "acme", &["read:metrics", "write:metrics"]);
        client.join("/tricast", json!({"token": ada})).await;
        let bob = token("bob", "acme", &["read:metrics"]);
        assert_eq!(client.refused("/", json!({"token": bob})).await["data"]["code"], "FORBIDDEN");
        client.join("/dashboard", json!({"token": ada})).await;
        let ack = client.ask("/tricast", json!(["subscribe", {"channels": ["metrics.a", "orders"]}])).await;
        assert_eq!(
            (&ack["channels"][0]["status"], &ack["channels"][1]["code"]),
            (&json!("active"), &json!("FORBIDDEN"))
        );
        let other = app.with(token("eve", "globex", &["write:metrics"]));
        other.push_value("metrics.a", json!({"of": "globex"})).await;
        app.with(ada).push_value("metrics.a", json!({"of": "acme"})).await;
        assert_eq!(client.event("/tricast", "metric").await[1]["data"]["of"], "acme");
    }
}

#[tokio::test]
async fn the_root_namespace_has_the_documented_events() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        client.join("/", json!({})).await;
        let data = client.event("/", "dashboard:data").await;
        assert!(data[1]["snapshot"].is_object() && data[1]["timestamp"].is_u64(), "{data}");
        let ack = client.ask("/", json!(["subscribe-metrics", "main", {"interval": "100ms"}])).await;
        assert_eq!(ack, json!({"status": "ok", "dashboardId": "main", "interval": "100ms"}));
        app.post("/api/orders", json!({"items": 1, "total": 12.5, "customerName": "Ada"}).to_string()).await;
        soon("the order", async {
            loop {
                let update = client.event("/", "metrics-update").await;
                let [revenue, orders] = ["revenue", "orders"].map(|name| update[1][name].as_f64().unwrap_or(0.0));
                assert!(update[1]["snapshot"].is_object(), "{update}");
                // The server's own traffic has no value before it is measured for the first time.
                if orders >= 1.0 && revenue >= 12.5 && update[1]["activeUsers"].is_u64() {
                    break;
                }
            }
        })
        .await;
        client.event("/", "dashboard:update").await;
        let ack = client.ask("/", json!(["unsubscribe-metrics", "main"])).await;
        assert_eq!(ack["status"], "ok");
    }
}

#[tokio::test]
async fn initial_data_comes_with_the_subscription() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    client.send(r#"42["subscribe-metrics","main"]"#).await;
    let initial = client.event("/", "initial-data").await;
    let keys: Vec<_> = initial[1].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["activeUsers", "orders", "revenue", "snapshot", "timestamp"]);
}

#[tokio::test]
async fn revenue_requires_the_permission_to_read_orders() {
    let app = spawn_app_with_tokens(|_| {});
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({"token": token("ada", "acme", &["read:metrics"])})).await;
    let data = client.event("/", "dashboard:data").await;
    assert_eq!((&data[1]["revenue"], &data[1]["snapshot"]["business"]), (&Value::Null, &Value::Null));
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({"token": token("bob", "acme", &["read:metrics", "read:orders"])})).await;
    // The tenant's orders may still be loading.
    soon("the revenue", async { while !client.event("/", "dashboard:update").await[1]["revenue"].is_number() {} })
        .await;
}

#[tokio::test]
async fn alerts_come_as_lists() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    assert_eq!(client.event("/", "alerts").await[1], json!([]), "none is open");
    let rule = json!({"name": "hot", "channel": "metrics.oven", "field": "celsius", "condition": {"above": 200}, "severity": "warning"});
    assert_eq!(app.post("/api/alerts/rules", rule.to_string()).await.status(), 201);
    app.push_value("metrics.oven", json!({"celsius": 250})).await;
    let alert = client.event("/", "alerts").await;
    assert_eq!((&alert[1][0]["action"], &alert[1][0]["metric"]), (&json!("raised"), &json!("metrics.oven.celsius")));
    let mut late = Client::websocket(&app).await;
    late.join("/", json!({})).await;
    assert_eq!(late.event("/", "alerts").await[1][0]["id"], alert[1][0]["id"]);
}

#[tokio::test]
async fn an_entity_sends_its_metrics_once_and_then_those_that_change() {
    let app = spawn_app();
    let metrics = |visitors: u64| json!({"metrics": {"sales": 1, "visitors": visitors}});
    let subscribe = json!(["subscribe", {"entityId": "s1", "entityType": "shop"}]);
    for mut client in Client::of_both(&app).await {
        app.push_value("entity.shop.s1", metrics(0)).await;
        client.join("/dashboard", json!({})).await;
        for round in 1..3 {
            assert_eq!(client.ask("/dashboard", subscribe.clone()).await["status"], "ok");
            let events = async |client: &mut Client| -> Value {
                let event = soon("an event", client.next()).await.unwrap();
                serde_json::from_str(event.strip_prefix("42/dashboard,").unwrap()).unwrap()
            };
            let initial = events(&mut client).await;
            assert_eq!((&initial[0], &initial[1]["entityType"]), (&json!("dashboard:initial"), &json!("shop")));
            assert_eq!((&initial[1]["metrics"]["sales"], &initial[1]["tiles"]), (&json!(1), &json!([])));
            app.push_value("entity.shop.s1", metrics(round)).await;
            let update = events(&mut client).await;
            assert_eq!((&update[0], &update[1]["entityId"]), (&json!("metric:update"), &json!("s1")));
            assert_eq!((&update[1]["metricName"], &update[1]["value"]), (&json!("visitors"), &json!(round)));
            assert!(update[1]["timestamp"].is_u64());
        }
        let ack = client.ask("/dashboard", json!(["unsubscribe", {"entityId": "s1"}])).await;
        assert_eq!(ack, json!({"status": "ok", "entityId": "s1"}));
    }
}

#[tokio::test]
async fn a_client_that_is_cut_after_it_subscribed_to_an_entity_receives_its_metrics() {
    let app = spawn_app();
    app.push_value("entity.shop.s1", json!({"metrics": {"sales": 1}})).await;
    let mut client = Client::websocket(&app).await;
    let auth = json!({"recovery": true});
    let first = client.join("/dashboard", auth).await;
    client.ask("/dashboard", json!(["subscribe", {"entityId": "s1", "entityType": "shop"}])).await;
    drop(client);
    let mut client = Client::polling(&app).await;
    let recovered = client.join("/dashboard", json!({"recovery": true, "pid": first["pid"]})).await;
    assert_eq!(recovered, first);
    // As one initial event, or as the update that the client has not received.
    let event = client.next_of("42/dashboard,").await;
    assert!(event.contains(r#""sales":1"#) || event.contains(r#""metricName":"sales","value":1"#), "{event}");
    app.push_value("entity.shop.s1", json!({"metrics": {"sales": 2}})).await;
    let update = client.event("/dashboard", "metric:update").await;
    assert_eq!(update[1]["value"], 2);
}

#[tokio::test]
async fn changes_of_a_dashboard_go_to_its_subscribers() {
    let app = spawn_app();
    for id in ["one", "two"] {
        let board = json!({"id": id, "name": id, "tiles": []});
        assert_eq!(app.post("/api/dashboards", board.to_string()).await.status(), 201);
    }
    let mut client = Client::polling(&app).await;
    client.join("/analytics/dashboard", json!({})).await;
    let ack = client.ask("/analytics/dashboard", json!(["subscribe", {"dashboardId": "two"}])).await;
    assert_eq!(ack, json!({"status": "ok", "dashboardId": "two"}));
    for id in ["one", "two"] {
        let tile = json!({"type": "text", "title": "Hello"});
        assert_eq!(app.post(&format!("/api/dashboards/{id}/tiles"), tile.to_string()).await.status(), 201);
    }
    let update = client.event("/analytics/dashboard", "dashboard:update").await;
    assert_eq!((&update[1]["dashboardId"], &update[1]["action"]), (&json!("two"), &json!("tile_added")));
    assert_eq!(update[1]["tile"]["title"], "Hello");
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let app = spawn_app_with_tokens(|config| config.limits.max_subscriptions = 2);
    let reader = token("ada", "acme", &["read:metrics"]);
    let mut client = Client::websocket(&app).await;
    for namespace in ["/", "/dashboard", "/analytics/dashboard"] {
        client.join(namespace, json!({"token": reader})).await;
    }
    let cases = [
        ("/", json!(["subscribe-metrics", {}]), "ANALYTICS_1100"),
        ("/", json!(["subscribe-metrics", "a b"]), "ANALYTICS_1100"),
        ("/", json!(["unsubscribe-metrics", "main"]), "ANALYTICS_1100"),
        ("/", json!(["subscribe-metrics", "main", {"interval": "often"}]), "ANALYTICS_1102"),
        ("/", json!(["dance"]), "ANALYTICS_1102"),
        ("/dashboard", json!(["subscribe", {"entityId": "a"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["subscribe", {"entityId": "a b", "entityType": "shop"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["unsubscribe", {"entityId": "a"}]), "ANALYTICS_1100"),
        ("/dashboard", json!(["dance"]), "ANALYTICS_1102"),
        ("/analytics/dashboard", json!(["subscribe", {}]), "ANALYTICS_1100"),
        ("/analytics/dashboard", json!(["dance", 5]), "ANALYTICS_1102"),
    ];
    for (namespace, event, code) in cases {
        let ack = client.ask(namespace, event.clone()).await;
        assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!(code)), "{namespace} {event}");
    }
    for id in ["a", "b", "a"] {
        assert_eq!(client.ask("/", json!(["subscribe-metrics", id])).await["status"], "ok");
    }
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "c"])).await["code"], "ANALYTICS_1103");
    // Without an acknowledgement the refusal is an event.
    client.send(r#"42/dashboard,["subscribe",{}]"#).await;
    assert_eq!(client.event("/dashboard", "error").await[1]["code"], "ANALYTICS_1100");
    let mut client = Client::websocket(&app).await;
    for (namespace, event) in [
        ("/", json!(["subscribe-metrics", "main"])),
        ("/dashboard", json!(["subscribe", {"entityId": "a", "entityType": "shop"}])),
        ("/analytics/dashboard", json!(["subscribe", {"dashboardId": "a"}])),
    ] {
        client.join(namespace, json!({"token": token("bob", "acme", &[])})).await;
        assert_eq!(client.ask(namespace, event).await["code"], "ANALYTICS_1101", "{namespace}");
    }
}

#[tokio::test]
async fn binary_arguments_are_parsed_and_refused_where_none_is_expected() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/", json!({})).await;
    client.send(r#"451-7["subscribe-metrics",{"_placeholder":true,"num":0}]"#).await;
    client.socket.as_mut().unwrap().send(Message::binary(vec![1, 2, 3])).await.unwrap();
    let ack: Value = serde_json::from_str(&client.next_of("437").await).unwrap();
    assert_eq!(ack[0]["code"], "ANALYTICS_1100");
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "main"])).await["status"], "ok");
    let mut client = Client::polling(&app).await;
    client.join("/", json!({})).await;
    client.send("451-7[\"subscribe-metrics\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID").await;
    client.next_of("437").await;
}

#[tokio::test]
async fn too_large_and_too_frequent_messages_are_refused() {
    let app = spawn_app_with(|config| {
        config.limits.max_message.0 = 1_000;
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 5;
        config.limits.max_connections_per_address = 4;
    });
    let mut client = Client::polling(&app).await;
    assert_eq!(client.open["maxPayload"], 1_000);
    assert_eq!(client.post(&format!("4{}", "x".repeat(1_000))).await, 413);
    assert_eq!(client.post(&vec!["6"; 101].join("\u{1e}")).await, 400);
    until("the end", || async { (client.poll().await == Err(400)).then_some(()) }).await;
    client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    for _ in 0..5 {
        client.send(r#"42/tricast,["ping"]"#).await;
    }
    let error = client.event("/tricast", "error").await;
    assert_eq!(error[1]["code"], "RATE_LIMITED");
    client.send(&format!("4{}", "x".repeat(1_000))).await;
    while client.next().await.is_some() {}
    let _held = [Client::polling(&app).await, Client::polling(&app).await, Client::polling(&app).await];
    let refused = until("the limit", || {
        let app = &app;
        async move {
            let status = app.get(POLLING).await.status();
            (status != 200).then_some(status)
        }
    })
    .await;
    assert_eq!(refused, 429);
}

#[tokio::test]
async fn a_draining_server_disconnects_its_clients() {
    let mut app = spawn_app();
    let mut clients = Client::of_both(&app).await;
    for client in &mut clients {
        client.join("/tricast", json!({})).await;
    }
    app.begin_stop();
    for mut client in clients {
        let notice = client.event("/tricast", "going_away").await;
        assert_eq!(notice[1]["reason"], "SERVER_MAINTENANCE");
        assert!(notice[1]["reconnectAfter"].is_number());
        assert_eq!(client.next().await, None);
    }
    app.stopped().await;
}

#[tokio::test]
async fn leaving_a_namespace_keeps_the_connection() {
    let app = spawn_app();
    let mut client = Client::websocket(&app).await;
    client.join("/tricast", json!({})).await;
    client.join("/", json!({})).await;
    client.send("41/tricast,").await;
    assert_eq!(client.ask("/", json!(["subscribe-metrics", "main"])).await["status"], "ok");
    client.join("/tricast", json!({})).await;
    assert_eq!(client.ask("/tricast", json!(["ping"])).await["status"], "ok");
}

#[tokio::test]
async fn a_disconnected_client_is_recovered_and_misses_nothing() {
    let app = spawn_app();
    for mut client in Client::of_both(&app).await {
        let first = client.join("/tricast", json!({"recovery": true})).await;
        client.ask("/tricast", json!(["subscribe", {"channels": ["deploys", "metrics.a"]}])).await;
        // Before it has received anything: its subscriptions say where they began.
        app.push_event("deploys", 1).await;
        let mut offset = Value::Null;
        for round in 1..4 {
            let mut auth = json!({"recovery": true, "pid": first["pid"]});
            if round > 1 {
                auth["offset"] = offset;
            }
            // The server may still believe that the first one is connected.
            let mut next = if round % 2 == 0 { Client::polling(&app).await } else { Client::websocket(&app).await };
            let connected = next.join("/tricast", auth).await;
            assert_eq!(connected, first, "the same ids: recovered");
            let event = next.event("/tricast", "event").await;
            assert_eq!(event[1]["data"]["n"], round);
            offset = event[2].clone();
            drop(std::mem::replace(&mut client, next));
            app.push_event("deploys", round + 1).await;
        }
        let lost = client.join_again("/tricast", json!({"recovery": true, "pid": "unknown", "offset": offset})).await;
        assert!(lost["pid"] != first["pid"] && lost["sid"] != first["sid"], "{lost}");
    }
}

#[tokio::test]
async fn a_session_is_recovered_by_its_own_user_and_while_the_log_reaches_back() {
    let app = spawn_app_with_tokens(|config| config.log.events = 3);
    let [ada, bob] = ["ada", "bob"].map(|user| token(user, "acme", &["read:metrics", "write:metrics"]));
    let mut client = Client::polling(&app).await;
    let first = client.join("/tricast", json!({"token": ada, "recovery": true})).await;
    client.ask("/tricast", json!(["subscribe", {"channels": ["deploys"]}])).await;
    let mut other = Client::polling(&app).await;
    let stolen = other.join("/tricast", json!({"token": bob, "recovery": true, "pid": first["pid"]})).await;
    assert_ne!(stolen["sid"], first["sid"]);
    let writer = app.with(ada.clone());
    for n in 0..9 {
        writer.push_event("deploys", n).await;
    }
    let mut late = Client::polling(&app).await;
    let fresh = late.join("/tricast", json!({"token": ada, "recovery": true, "pid": first["pid"]})).await;
    assert_ne!(fresh["pid"], first["pid"], "events are lost, so it is not recovered");
}

#[tokio::test]
async fn unread_replies_are_bounded() {
    let app = spawn_app_with(|config| config.limits.max_message.0 = 0);
    let mut client = Client::polling(&app).await;
    client.join("/tricast", json!({})).await;
    let names: Vec<String> = (0..500).map(|n| format!("a.{n}")).collect();
    let subscribe = format!("42/tricast,{}", json!(["subscribe", {"channels": names}]));
    // It never polls: the server stops reading, and then refuses.
    let refused = until("the refusal", || {
        let (client, subscribe) = (&client, &subscribe);
        async move { (client.post(subscribe).await == 400).then_some(()) }
    });
    refused.await;
    client.event("/tricast", "subscribed").await;
}

#[tokio::test]
async fn the_connection_limit_of_a_user_includes_socketio() {
    let app = spawn_app_with_tokens(|config| config.limits.max_connections_per_user = 1);
    let ada = token("ada", "acme", &["read:metrics"]);
    let mut first = Client::websocket(&app).await;
    first.join("/tricast", json!({"token": ada})).await;
    first.join("/", json!({"token": ada})).await;
    let mut second = Client::polling(&app).await;
    let error = second.refused("/tricast", json!({"token": ada})).await;
    assert_eq!(error["data"]["code"], "RATE_LIMITED");
    assert!(error["data"]["retryAfter"].is_u64(), "{error}");
}

#[tokio::test]
async fn a_token_is_refreshed_and_one_that_expires_ends_its_namespace() {
    let app = spawn_app_with_tokens(|_| {});
    let short = token_for("ada", "acme", &["read:metrics"], Duration::from_secs(2));
    let mut refreshed = Client::websocket(&app).await;
    let mut expires = Client::polling(&app).await;
    for client in [&mut refreshed, &mut expires] {
        client.join("/tricast", json!({"token": short})).await;
    }
    let other = token("bob", "acme", &["read:metrics"]);
    let ack = refreshed.ask("/tricast", json!(["refresh_token", {"token": other}])).await;
    assert_eq!((&ack["status"], &ack["code"]), (&json!("error"), &json!("FORBIDDEN")));
    let long = token("ada", "acme", &["read:metrics"]);
    let ack = refreshed.ask("/tricast", json!(["refresh_token", {"token": long}])).await;
    assert_eq!(ack["status"], "ok");
    assert_eq!(
        expires.event("/tricast", "auth_expiring").await[1]["expiresIn"].as_u64().map(|left| left <= 2),
        Some(true)
    );
    assert_eq!(expires.event("/tricast", "error").await[1]["code"], "UNAUTHORIZED");
    assert_eq!(expires.next_of("41/tricast,").await, "");
    // The connection stays, for another token.
    expires.join("/tricast", json!({"token": long})).await;
    assert_eq!(refreshed.ask("/tricast", json!(["ping"])).await["status"], "ok");
}
