//! One client in one namespace: its events on the stream engine.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    config::SocketIoConfig,
    encode,
    link::Framing,
    namespace::Namespace,
    output::{self, CommandReplies, NamespaceOutput, Packets, ack_request, push_ack, push_event},
    recovery::{Hold, Recovery, Saved, SavedSubscription},
    rooms::{Entity, Rooms},
};
use crate::{
    transport::stream::{
        End, Stream, StreamConfig,
        commands::{Commands, Replies},
        resume::Verdict,
        rpc::InFlight,
    },
    web::{caller::Caller, state::State},
};
use tricast_auth::Permission;
use tricast_core::{
    channel::{Channel, Selector},
    counters::{Limit, Transport},
    interval::{format_interval, parse_interval},
    position::Position,
    protocol::{command, error::Code, message::ServerMessage},
    reader::CatchUp,
    snapshot::SNAPSHOT,
};
use tricast_domain::alerts;

/// Bytes of events per write.
const BUDGET: usize = 64 * 1024;

/// Interval of `metrics-update` where the client asks for none.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of `dashboard:update`.
const DASHBOARD_INTERVAL: Duration = Duration::from_secs(1);

/// Events of a client that wait while one before them is carried out.
const MAX_WAITING: usize = 64;

/// Open alerts that a client receives when it joins.
const MAX_ALERTS: usize = 100;

/// Noted subscriptions from which on those that have ended are forgotten.
const MAX_BEGUN: usize = 2_048;

/// Longest id of a dashboard or an entity, in bytes.
const MAX_ID: usize = 100;

/// Error codes of the documented namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    InvalidEntity,
    PermissionDenied,
    BadEvent,
    LimitReached,
}

impl Refusal {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidEntity => "ANALYTICS_1100",
            Self::PermissionDenied => "ANALYTICS_1101",
            Self::BadEvent => "ANALYTICS_1102",
            Self::LimitReached => "ANALYTICS_1103",
        }
    }
}

/// One client in one namespace.
pub(super) struct Socket {
    pub(super) namespace: Namespace,
    /// Id of the client in this namespace.
    sid: String,
    /// The session that is kept for recovery.
    hold: Option<Hold>,
    /// Interval of each subscription, and the position at which it began.
    begun: HashMap<Selector, (Duration, Position)>,
    /// Subscriptions may have changed since the session was kept.
    is_changed: bool,
    /// Whether events carry their cursor, for connection state recovery.
    with_offset: bool,
    stream: Stream,
    /// A second pace for the same channel: `metrics-update` beside `dashboard:update`.
    metrics: Option<Box<Stream>>,
    config: SocketIoConfig,
    rooms: Rooms,
    commands: Commands,
    /// Events that wait for a command in flight.
    waiting: VecDeque<ClientEvent>,
    /// Events whose data has to be read from the store.
    later: InFlight<Vec<(&'static str, Value)>>,
    pub(super) end: Option<End>,
    /// Bad messages since the connection counted them last.
    pub(super) bad_messages: usize,
}

/// An event that a client emitted.
pub(super) struct ClientEvent {
    pub(super) name: String,
    pub(super) arguments: Vec<Value>,
    pub(super) ack: Option<u64>,
}

fn stream_config(config: &SocketIoConfig) -> StreamConfig {
    StreamConfig {
        transport: Transport::SocketIo,
        order: CatchUp::StatesFirst,
        budget: BUDGET,
        max_subscriptions: config.max_subscriptions,
        slow_client: config.slow_client,
    }
}

impl Socket {
    /// Opens a client's side of a namespace.
    pub(super) fn open(
        namespace: Namespace,
        state: Rc<State>,
        config: &SocketIoConfig,
        caller: Caller,
        sid: String,
        with_offset: bool,
    ) -> Self {
        let stream = Stream::open(state, stream_config(config), Some(caller), Duration::ZERO, None);
        Self {
            namespace,
            sid,
            hold: None,
            begun: HashMap::new(),
            is_changed: false,
            with_offset,
            stream,
            metrics: None,
            config: *config,
            rooms: Rooms::default(),
            commands: Commands::new(config.max_requests),
            waiting: VecDeque::new(),
            later: InFlight::new(),
            end: None,
            bad_messages: 0,
        }
    }

    /// Keeps the client's session for connection state recovery.
    pub(super) fn keep(&mut self, recovery: &Arc<Recovery>) {
        let saved = self.saved();
        self.hold = recovery.begin(self.stream.state.tenants.cluster(), saved);
    }

    /// Sends what the namespace sends on its own.
    pub(super) fn join(&mut self, packets: &mut Packets) {
        if self.namespace == Namespace::Root {
            self.join_root(packets);
            self.save();
        }
    }

    /// Restores a client's side of a namespace from its session and the cursor of what it received; `None` if the log does
    /// not reach back to it.
    pub(super) fn restore(
        namespace: Namespace,
        state: Rc<State>,
        config: &SocketIoConfig,
        caller: &Caller,
        mut hold: Hold,
        offset: Option<&str>,
    ) -> Option<Self> {
        let saved = hold.saved().clone();
        let offset = match offset.map(str::parse::<Position>) {
            Some(Ok(offset)) => Some(offset),
            Some(Err(_)) => return None,
            None => None,
        };
        let mut begun = Vec::new();
        for SavedSubscription { selector, interval_ms, since } in &saved.subscriptions {
            let selector =
                Selector::parse(selector).ok().filter(|selector| tricast_auth::may_read(&caller.identity, selector))?;
            let since: Position = since.parse().ok()?;
            let received = offset.clone().filter(|offset| offset.epoch == since.epoch && offset.offset >= since.offset);
            // A client that received nothing since gets the states, too.
            let from = received.unwrap_or_else(|| Position { state: 0, ..since.clone() });
            let verdict = Verdict::of(&caller.tenant.log, &from.to_string(), std::slice::from_ref(&selector));
            if !verdict.is_whole() {
                hold.forget();
                return None;
            }
            begun.push((selector, Duration::from_millis(*interval_ms), since, from));
        }
        let mut socket = Self::open(namespace, state, config, caller.clone(), saved.sid, true);
        for (selector, interval, since, from) in begun {
            socket.stream.reader.go_on(selector.clone(), interval, &from);
            socket.begun.insert(selector, (interval, since));
        }
        let interval = |ms: u64| Duration::from_millis(ms);
        socket.rooms.dashboards = saved.dashboards.into_iter().map(|(id, ms)| (id, interval(ms))).collect();
        socket.rooms.boards = saved.boards;
        for (id, kind) in saved.entities {
            let channel = Channel::parse(&format!("entity.{kind}.{id}")).ok()?;
            socket.rooms.entities.insert(channel, Entity { id, kind });
        }
        socket.follow_dashboards();
        socket.hold = Some(hold);
        Some(socket)
    }

    /// Returns the server's answer to `CONNECT`.
    pub(super) fn connected(&self) -> Value {
        match &self.hold {
            Some(hold) => json!({"sid": self.sid, "pid": *hold.pid}),
            None => json!({"sid": self.sid}),
        }
    }

    /// Forgets the client's session: it has left by itself, or may not return.
    pub(super) fn forget(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.forget();
        }
    }

    /// Renews the session's copy on the bus if it is time.
    pub(super) fn renew(&mut self, now: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.renew(now);
        }
    }

    /// Returns what is needed to restore the client.
    fn saved(&self) -> Saved {
        let subscriptions = self.stream.reader.selectors().filter_map(|selector| {
            let (interval, since) = self.begun.get(selector)?;
            let interval_ms = interval.as_millis() as u64;
            Some(SavedSubscription { selector: selector.to_string(), interval_ms, since: since.to_string() })
        });
        let owner = self.stream.caller().map(|caller| Saved::owner(&caller.identity));
        let dashboards = self.rooms.dashboards.iter();
        Saved {
            namespace: self.namespace.as_str().into(),
            sid: self.sid.clone(),
            owner: owner.unwrap_or_default(),
            subscriptions: subscriptions.collect(),
            dashboards: dashboards.map(|(id, interval)| (id.clone(), interval.as_millis() as u64)).collect(),
            entities: self.rooms.entities.values().map(|entity| (entity.id.clone(), entity.kind.clone())).collect(),
            boards: self.rooms.boards.clone(),
        }
    }

    /// Keeps the session as it is now.
    fn save(&mut self) {
        let saved = self.hold.is_some().then(|| self.saved());
        if let (Some(hold), Some(saved)) = (&mut self.hold, saved) {
            hold.save(saved);
        }
    }

    /// Notes that a subscription begins now, or at the cursor that the client gave.
    fn note_begun(&mut self, selector: Selector, interval: Duration, since: Option<&str>) {
        let reader = &self.stream.reader;
        if self.begun.len() >= MAX_BEGUN {
            self.begun.retain(|selector, _| reader.is_subscribed(selector));
        }
        // Subscribing again changes the interval; what was not delivered stays due.
        let before =
            self.begun.get(&selector).filter(|_| reader.is_subscribed(&selector)).map(|(_, since)| since.clone());
        let now = || Position { state: 0, ..reader.hub().log().position() };
        let since = since.and_then(|since| since.parse().ok()).or(before).unwrap_or_else(now);
        self.begun.insert(selector, (interval, since));
    }

    /// Subscribes to a channel from now on.
    fn subscribe(&mut self, selector: Selector, interval: Duration) {
        self.note_begun(selector.clone(), interval, None);
        self.stream.reader.subscribe(selector, interval, None);
    }

    /// Completes one command that waited for a result. Returns whether there was one.
    fn take_result(&mut self, cx: &mut Context<'_>, packets: &mut Packets) -> bool {
        let Self { commands, stream, end, bad_messages, .. } = self;
        let mut replies = CommandReplies { packets, end, bad_messages };
        if !commands.poll(stream, cx, &mut replies) {
            return false;
        }
        self.is_changed = true;
        while !self.commands.is_holding()
            && let Some(event) = self.waiting.pop_front()
        {
            self.handle(event, packets);
        }
        true
    }

    /// Registers the waker and completes what waited for a result.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, takes_results: bool, packets: &mut Packets) {
        // Results wait where the client does not take them.
        while takes_results && self.take_result(cx, packets) {}
        if std::mem::take(&mut self.is_changed) {
            self.save();
        }
        while let Some(events) = self.later.poll_next(cx) {
            for (name, argument) in events {
                push_event(packets, self.namespace, name, &argument);
            }
        }
        self.stream.reader.set_waker(cx.waker());
        if let Some(metrics) = &self.metrics {
            metrics.reader.set_waker(cx.waker());
        }
    }

    /// Advances to `now` and returns the next write, behind the bytes in `out`.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        framing: Framing,
        out: &mut Vec<u8>,
        packets: &mut Packets,
    ) -> Option<Bytes> {
        match framing {
            Framing::Payload => self.advance_as::<true>(now, out, packets),
            Framing::Frames => self.advance_as::<false>(now, out, packets),
        }
    }

    fn advance_as<const PAYLOAD: bool>(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        packets: &mut Packets,
    ) -> Option<Bytes> {
        let Self { namespace, with_offset, stream, metrics, rooms, end, .. } = self;
        let mut output = NamespaceOutput::<PAYLOAD> {
            namespace: *namespace,
            rooms,
            is_second: false,
            with_offset: *with_offset,
            out: std::mem::take(out),
            packets,
            end,
        };
        let mut written = stream.advance(now, &mut output);
        if written.is_none()
            && let Some(metrics) = metrics
        {
            output.is_second = true;
            written = metrics.advance(now, &mut output);
        }
        *out = output.out;
        written
    }

    /// Sets the reader's timer to the next time at which [`Socket::advance`] has something to do.
    pub(super) fn arm(&mut self) {
        for stream in std::iter::once(&mut self.stream).chain(self.metrics.as_deref_mut()) {
            if let Some(deadline) = stream.deadline() {
                stream.reader.set_deadline(deadline);
            }
        }
    }

    /// Carries out an event of the client.
    pub(super) fn handle(&mut self, event: ClientEvent, packets: &mut Packets) {
        if self.commands.is_holding() {
            if self.waiting.len() < MAX_WAITING {
                return self.waiting.push_back(event);
            }
            self.stream.state.counters.limit(Limit::Requests).inc();
            return self.refuse(event.ack, Refusal::LimitReached, "too many events wait", packets);
        }
        self.is_changed = true;
        match self.namespace {
            Namespace::Tricast => self.command(event, packets),
            Namespace::Root => self.root_event(&event, packets),
            Namespace::Dashboard => self.entity_event(&event, packets),
            Namespace::Analytics => self.board_event(&event, packets),
        }
    }

    /// Carries out a command of the namespace `/tricast`: the same as the WebSocket message of that type.
    fn command(&mut self, ClientEvent { name, mut arguments, ack }: ClientEvent, packets: &mut Packets) {
        let mut fields = match arguments.drain(..).next() {
            Some(Value::Object(fields)) => fields,
            None => Map::new(),
            Some(_) => return self.reject(ack, "the argument has to be one object", packets),
        };
        if !matches!(
            name.as_str(),
            "subscribe" | "unsubscribe" | "pause" | "resume" | "request" | "refresh_token" | "ping"
        ) {
            let shown: String = name.chars().take(40).collect();
            let known = "subscribe, unsubscribe, pause, resume, request, refresh_token and ping";
            return self.reject(ack, format!("there is no event {shown:?}; there are {known}"), packets);
        }
        fields.insert("type".into(), name.into());
        if ack.is_some() {
            // Replaced below by the acknowledgement; a request needs one of the two.
            fields.insert("requestId".into(), "ack".into());
        }
        let parsed = command::parse(&Value::Object(fields).to_string());
        if let Ok(command::Message { command: command::Command::Subscribe { channels, since }, .. }) = &parsed {
            for (selector, interval) in channels.iter().filter_map(|wanted| wanted.parsed.as_ref().ok()) {
                self.note_begun(selector.clone(), *interval, since.as_deref());
            }
        }
        let Self { commands, stream, end, bad_messages, .. } = self;
        let mut replies = CommandReplies { packets, end, bad_messages };
        let ack_request = ack.map(ack_request);
        match parsed {
            Err(rejection) => {
                let request_id = ack_request.or(rejection.request_id.clone());
                replies.reject(command::Rejection { request_id, ..rejection });
            }
            Ok(command::Message { request_id, command }) => {
                let request_id = ack_request.or(request_id);
                match command {
                    command::Command::Ping => {
                        let timestamp = stream.timestamp();
                        replies.reply(&ServerMessage::Pong { request_id, latency: None, timestamp });
                    }
                    command => commands.execute(stream, request_id, command, &mut replies),
                }
            }
        }
    }

    fn reject(&mut self, ack: Option<u64>, message: impl Into<String>, packets: &mut Packets) {
        let Self { end, bad_messages, .. } = self;
        let rejection = command::Rejection::new(ack.map(ack_request), Code::InvalidMessage, message);
        CommandReplies { packets, end, bad_messages }.reject(rejection);
    }

    /// Refuses an event of a documented namespace.
    fn refuse(&mut self, ack: Option<u64>, refusal: Refusal, message: impl Into<String>, packets: &mut Packets) {
        if refusal == Refusal::BadEvent {
            self.bad_messages += 1;
        }
        let mut error = json!({"code": refusal.code(), "message": message.into()});
        match ack {
            None => push_event(packets, self.namespace, "error", &error),
            Some(ack) => {
                error["status"] = "error".into();
                push_ack(packets, self.namespace, ack, &error);
            }
        }
    }

    /// Acknowledges an event, if the client asked for it.
    fn accept(&self, ack: Option<u64>, mut fields: Value, packets: &mut Packets) {
        if let Some(ack) = ack {
            fields["status"] = "ok".into();
            push_ack(packets, self.namespace, ack, &fields);
        }
    }

    fn unknown(&mut self, event: &ClientEvent, known: &str, packets: &mut Packets) {
        let shown: String = event.name.chars().take(40).collect();
        let message = format!("there is no event {shown:?} in {}; there are {known}", self.namespace.as_str());
        self.refuse(event.ack, Refusal::BadEvent, message, packets);
    }

    fn may(&self, permission: Permission) -> bool {
        self.stream.caller().is_some_and(|caller| caller.identity.may(permission))
    }

    fn is_full(&self) -> bool {
        self.config.max_subscriptions > 0 && self.rooms.len() >= self.config.max_subscriptions
    }

    fn refuse_full(&mut self, ack: Option<u64>, packets: &mut Packets) {
        self.stream.state.counters.limit(Limit::Subscriptions).inc();
        let message = format!("a client has at most {} subscriptions", self.config.max_subscriptions);
        self.refuse(ack, Refusal::LimitReached, message, packets);
    }

    // Namespace `/`.

    fn join_root(&mut self, packets: &mut Packets) {
        let Some(caller) = self.stream.caller().cloned() else { return };
        if caller.identity.may(Permission::ReadMetrics) {
            push_figures(packets, "dashboard:data", &caller);
            if let Ok(selector) = Selector::parse(SNAPSHOT) {
                self.note_begun(selector, DASHBOARD_INTERVAL, None);
            }
            follow_snapshot(&mut self.stream, DASHBOARD_INTERVAL);
        }
        for name in ["alerts", "system"] {
            if let Ok(selector) = Selector::parse(name)
                && tricast_auth::may_read(&caller.identity, &selector)
            {
                self.subscribe(selector, Duration::ZERO);
            }
        }
        if caller.identity.may(Permission::ReadAlerts) {
            self.later.push(async move {
                let open = alerts::Filter { open: Some(true), ..alerts::Filter::default() };
                let Ok(page) = caller.tenant.alerts.list(open, MAX_ALERTS, None).await else { return Vec::new() };
                let may_read = |alert: &&alerts::Alert| tricast_auth::may_read_alert(&caller.identity, &alert.metric);
                let alerts: Vec<_> = page.alerts.iter().filter(may_read).collect();
                vec![("alerts", json!(alerts))]
            });
        }
    }

    fn root_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        match event.name.as_str() {
            "subscribe-metrics" => {
                if !self.may(Permission::ReadMetrics) {
                    return self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
                }
                let Some(id) = id_of(event.arguments.first()) else {
                    return self.refuse(ack, Refusal::InvalidEntity, ID_RULE, packets);
                };
                let interval = match interval_of(event.arguments.get(1)) {
                    Ok(interval) => interval.unwrap_or(METRICS_INTERVAL),
                    Err(message) => return self.refuse(ack, Refusal::BadEvent, message, packets),
                };
                if !self.rooms.dashboards.contains_key(&id) && self.is_full() {
                    return self.refuse_full(ack, packets);
                }
                self.rooms.dashboards.insert(id.clone(), interval);
                self.accept(ack, json!({"dashboardId": id, "interval": format_interval(interval)}), packets);
                if let Some(caller) = self.stream.caller() {
                    push_figures(packets, "initial-data", caller);
                }
                self.follow_dashboards();
            }
            "unsubscribe-metrics" => {
                let id = id_of(event.arguments.first());
                match id.filter(|id| self.rooms.dashboards.remove(id).is_some()) {
                    Some(id) => {
                        self.accept(ack, json!({"dashboardId": id}), packets);
                        self.follow_dashboards();
                    }
                    None => self.refuse(ack, Refusal::InvalidEntity, "this dashboard is not subscribed", packets),
                }
            }
            _ => self.unknown(event, "subscribe-metrics and unsubscribe-metrics", packets),
        }
    }

    /// Follows the snapshot at the shortest interval of the dashboards.
    fn follow_dashboards(&mut self) {
        let Some(interval) = self.rooms.interval() else { return self.metrics = None };
        if self.metrics.is_none() {
            let (state, caller) = (Rc::clone(&self.stream.state), self.stream.caller().cloned());
            let stream = Stream::open(state, stream_config(&self.config), caller, Duration::ZERO, None);
            self.metrics = Some(Box::new(stream));
        }
        if let Some(metrics) = &mut self.metrics {
            follow_snapshot(metrics, interval);
        }
    }

    // Namespace `/dashboard`.

    fn entity_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        let argument = event.arguments.first();
        let text = |name: &str| id_of(argument.and_then(|argument| argument.get(name)));
        match event.name.as_str() {
            "subscribe" => {
                if !self.may(Permission::ReadMetrics) {
                    return self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
                }
                let (Some(id), Some(kind)) = (text("entityId"), text("entityType")) else {
                    let message = format!("write {{entityId, entityType}}: {ID_RULE}");
                    return self.refuse(ack, Refusal::InvalidEntity, message, packets);
                };
                let interval = match interval_of(argument) {
                    Ok(interval) => interval.unwrap_or(Duration::ZERO),
                    Err(message) => return self.refuse(ack, Refusal::BadEvent, message, packets),
                };
                let Ok(channel) = Channel::parse(&format!("entity.{kind}.{id}")) else {
                    return self.refuse(ack, Refusal::InvalidEntity, ID_RULE, packets);
                };
                if !self.rooms.entities.contains_key(&channel) && self.is_full() {
                    return self.refuse_full(ack, packets);
                }
                let entity = Entity { id: id.clone(), kind: kind.clone() };
                self.rooms.leave_entity(&channel);
                self.rooms.entities.insert(channel.clone(), entity.clone());
                self.accept(ack, json!({"entityId": id, "entityType": kind}), packets);
                self.send_entity(entity, &channel);
                self.subscribe(Selector::Exact(channel), interval);
            }
            "unsubscribe" => {
                let id = text("entityId");
                let matches = |entity: &Entity| Some(&entity.id) == id.as_ref();
                let left: Vec<Channel> =
                    self.rooms.entities.iter().filter(|(_, e)| matches(e)).map(|(c, _)| c.clone()).collect();
                if left.is_empty() {
                    return self.refuse(ack, Refusal::InvalidEntity, "this entity is not subscribed", packets);
                }
                for channel in left {
                    self.rooms.leave_entity(&channel);
                    self.stream.reader.unsubscribe(&Selector::Exact(channel));
                }
                self.accept(ack, json!({"entityId": id}), packets);
            }
            _ => self.unknown(event, "subscribe and unsubscribe", packets),
        }
    }

    /// Sends `dashboard:initial`: the current metrics of an entity, and the tiles of the dashboard that has its id.
    fn send_entity(&mut self, entity: Entity, channel: &Channel) {
        let Some(caller) = self.stream.caller().cloned() else { return };
        let channel = channel.clone();
        self.later.push(async move {
            let board = caller.tenant.dashboards.get(&entity.id).await;
            // Read now, so that they are not older than the updates that were sent meanwhile.
            let state = caller.tenant.log.state(&channel, tricast_auth::view(&caller.identity));
            let metrics = state.map(|state| encode::metrics_of(&state)).unwrap_or_default();
            let tiles = board.map(|board| json!(board.tiles)).unwrap_or_else(|_| json!([]));
            let initial = json!({
                "entityId": entity.id,
                "entityType": entity.kind,
                "metrics": metrics,
                "tiles": tiles,
            });
            vec![("dashboard:initial", initial)]
        });
    }

    // Namespace `/analytics/dashboard`.

    fn board_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        let id = id_of(event.arguments.first().and_then(|argument| argument.get("dashboardId")));
        match (event.name.as_str(), id) {
            ("subscribe", _) if !self.may(Permission::ReadMetrics) => {
                self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
            }
            ("subscribe" | "unsubscribe", None) => {
                self.refuse(ack, Refusal::InvalidEntity, format!("write {{dashboardId}}: {ID_RULE}"), packets);
            }
            ("subscribe", Some(id)) if !self.rooms.boards.contains(&id) && self.is_full() => {
                self.refuse_full(ack, packets);
            }
            ("subscribe", Some(id)) => {
                if let Ok(selector) = Selector::parse("dashboards")
                    && !self.stream.reader.is_subscribed(&selector)
                {
                    self.subscribe(selector, Duration::ZERO);
                }
                self.rooms.boards.insert(id.clone());
                self.accept(ack, json!({"dashboardId": id}), packets);
            }
            ("unsubscribe", Some(id)) if self.rooms.boards.remove(&id) => {
                self.accept(ack, json!({"dashboardId": id}), packets);
            }
            ("unsubscribe", Some(_)) => {
                self.refuse(ack, Refusal::InvalidEntity, "this dashboard is not subscribed", packets);
            }
            _ => self.unknown(event, "subscribe and unsubscribe", packets),
        }
    }
}

/// Rule for IDs, as error messages state it.
const ID_RULE: &str = "an id is 1 to 100 letters, digits, '_', '-', ':' or '.'";

/// Returns an id that can be part of a channel's name.
fn id_of(value: Option<&Value>) -> Option<String> {
    let id = match value? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte);
    (!id.is_empty() && id.len() <= MAX_ID && id.bytes().all(fits)).then_some(id)
}

/// Returns the `interval` of an argument, if it has one.
fn interval_of(argument: Option<&Value>) -> Result<Option<Duration>, String> {
    let interval = match argument.and_then(|argument| argument.get("interval")) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => parse_interval(text),
        Some(other) => parse_interval(&other.to_string()),
    };
    interval.map(Some).map_err(|error| format!("interval: {error}"))
}

/// Appends an event with the present figures.
fn push_figures(packets: &mut Packets, name: &str, caller: &Caller) {
    let snapshot = caller.tenant.log.snapshot(tricast_auth::view(&caller.identity));
    let argument = format!(r#"["{name}",{}]"#, encode::figures(&snapshot));
    output::push(packets, '2', Namespace::Root.as_str(), None, &argument);
}

/// Follows the snapshot from now on: the client has the present one.
fn follow_snapshot(stream: &mut Stream, interval: Duration) {
    let position = stream.reader.hub().log().position();
    if let Ok(selector) = Selector::parse(SNAPSHOT) {
        stream.reader.go_on(selector, interval, &position);
    }
}
