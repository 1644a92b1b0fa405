//! One client in one namespace: its events on the stream engine.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    config::SocketIoConfig,
    link::Framing,
    namespace::Namespace,
    output::{CommandReplies, NamespaceOutput, Packets, push_event},
    recovery::{Hold, Recovery, Saved, SavedSubscription},
    rooms::Rooms,
};
use crate::{
    transport::stream::{End, Stream, StreamConfig, commands::Commands, resume::Verdict, rpc::InFlight},
    web::{caller::Caller, state::State},
};
use tricast_core::{
    channel::{Channel, Selector},
    counters::{Limit, Transport},
    position::Position,
    reader::CatchUp,
};

mod arguments;
mod boards;
mod commands;
mod entities;
mod refusal;
mod root;

use refusal::Refusal;

/// Bytes of events per write.
const BUDGET: usize = 64 * 1024;

/// Events of a client that wait while one before them is carried out.
const MAX_WAITING: usize = 64;

/// Noted subscriptions from which on those that have ended are forgotten.
const MAX_STARTED: usize = 2_048;

/// One client in one namespace.
pub(super) struct Socket {
    pub(super) namespace: Namespace,
    /// Id of the client in this namespace.
    sid: String,
    /// The session that is kept for recovery.
    hold: Option<Hold>,
    /// Interval of each subscription, and the position at which it began.
    started: HashMap<Selector, (Duration, Position)>,
    /// Whether subscriptions may have changed since the session was saved.
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
    later: InFlight<Later>,
    pub(super) end: Option<End>,
    /// Bad messages since the connection counted them last.
    pub(super) bad_messages: usize,
}

/// Data from the store for a client.
enum Later {
    Nothing,
    /// Open alerts, as the argument of `alerts`.
    Alerts(Value),
    /// Tiles of an entity that the client subscribed to.
    Entity {
        channel: Channel,
        joined: u64,
        interval: Duration,
        tiles: Value,
    },
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
            started: HashMap::new(),
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
        self.hold = recovery.begin(self.stream.state.shared.tenants.cluster(), saved);
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
        let mut started = Vec::new();
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
            started.push((selector, Duration::from_millis(*interval_ms), since, from));
        }
        let mut socket = Self::open(namespace, state, config, caller.clone(), saved.sid, true);
        for (selector, interval, since, from) in started {
            socket.stream.reader.resume_from(selector.clone(), interval, &from);
            socket.started.insert(selector, (interval, since));
        }
        let interval = |ms: u64| Duration::from_millis(ms);
        socket.rooms.dashboards = saved.dashboards.into_iter().map(|(id, ms)| (id, interval(ms))).collect();
        socket.rooms.boards = saved.boards;
        for (id, kind) in saved.entities {
            let channel = Channel::parse(&format!("entity.{kind}.{id}")).ok()?;
            let is_followed = socket.started.contains_key(&Selector::Exact(channel.clone()));
            socket.rooms.join_entity(channel.clone(), id, kind);
            if !is_followed {
                // The client was cut before its initial metrics were read.
                socket.read_entity(channel, Duration::ZERO);
            }
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
            let (interval, since) = self.started.get(selector)?;
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
    fn note_started(&mut self, selector: Selector, interval: Duration, since: Option<&str>) {
        let reader = &self.stream.reader;
        if self.started.len() >= MAX_STARTED {
            self.started.retain(|selector, _| reader.is_subscribed(selector));
        }
        // Subscribing again changes the interval; what was not delivered stays due.
        let before =
            self.started.get(&selector).filter(|_| reader.is_subscribed(&selector)).map(|(_, since)| since.clone());
        let now = || Position { state: 0, ..reader.hub().log().position() };
        let since = since.and_then(|since| since.parse().ok()).or(before).unwrap_or_else(now);
        self.started.insert(selector, (interval, since));
    }

    /// Subscribes to a channel from now on.
    fn subscribe(&mut self, selector: Selector, interval: Duration) {
        self.note_started(selector.clone(), interval, None);
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
        while let Some(result) = self.later.poll_next(cx) {
            match result {
                Later::Nothing => {}
                Later::Alerts(alerts) => push_event(packets, self.namespace, "alerts", &alerts),
                Later::Entity { channel, joined, interval, tiles } => {
                    self.follow_entity(channel, joined, interval, &tiles, packets);
                }
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
            self.stream.state.shared.counters.limit(Limit::Requests).inc();
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
}
