//! One client in one namespace: its events on the stream engine.

use std::{
    collections::{HashMap, VecDeque},
    rc::{Rc, Weak},
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    link::Framing,
    namespace::Namespace,
    output::{CommandReplies, NamespaceOutput, Packets, push_event},
    recovery::Hold,
    rooms::Rooms,
};
use crate::{
    transport::stream::{End, Stream, StreamConfig, commands::Commands, rpc::InFlight},
    web::{caller::Caller, state::State, upgrade::Delivery},
};
use tricast_core::{
    channel::{Channel, Selector},
    counters::Transport,
    hub::{Deliver, Pass},
    position::Position,
    reader::CatchUp,
};

mod arguments;
mod boards;
mod commands;
mod entities;
mod kept;
mod refusal;
mod root;

/// Bytes of events per write.
const BUDGET: usize = 64 * 1024;

/// Events of a client that wait while one before them is carried out, and results that it waits for.
const MAX_WAITING: usize = 64;

/// One client in one namespace.
pub(super) struct Socket {
    pub(super) namespace: Namespace,
    /// Id of the client in this namespace.
    sid: String,
    /// The session that is kept for recovery.
    hold: Option<Hold>,
    /// Interval of each subscription, and the position at which it began.
    started: HashMap<Selector, Position>,
    /// Whether subscriptions may have changed since the session was saved.
    is_changed: bool,
    /// Whether events carry their cursor, for connection state recovery.
    with_offset: bool,
    stream: Stream,
    /// A second pace for the same channel: `metrics-update` beside `dashboard:update`.
    metrics: Option<Box<Stream>>,
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

/// The engine's settings for a namespace.
const STREAM: StreamConfig =
    StreamConfig { transport: Transport::SocketIo, order: CatchUp::StatesFirst, budget: BUDGET };

impl Socket {
    /// Opens a client's side of a namespace.
    pub(super) fn open(namespace: Namespace, state: Rc<State>, caller: Caller, sid: String, with_offset: bool) -> Self {
        let max_requests = state.shared.limits.max_requests;
        let stream = Stream::open(state, STREAM, Some(caller), Duration::ZERO, None);
        Self {
            namespace,
            sid,
            hold: None,
            started: HashMap::new(),
            is_changed: false,
            with_offset,
            stream,
            metrics: None,
            rooms: Rooms::default(),
            commands: Commands::new(max_requests),
            waiting: VecDeque::new(),
            later: InFlight::new(),
            end: None,
            bad_messages: 0,
        }
    }

    /// Sends what the namespace sends on its own.
    pub(super) fn join(&mut self, packets: &mut Packets) {
        if self.namespace == Namespace::Root {
            self.join_root(packets);
            self.save();
        }
    }

    /// Returns the server's answer to `CONNECT`.
    pub(super) fn connected(&self) -> Value {
        match &self.hold {
            Some(hold) => json!({"sid": self.sid, "pid": *hold.pid}),
            None => json!({"sid": self.sid}),
        }
    }

    /// Subscribes to a channel from now on.
    fn subscribe(&mut self, selector: Selector, interval: Duration) {
        self.note_started(selector.clone(), None);
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
        while takes_results && let Some(result) = self.later.poll_next(cx) {
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

    /// Advances to the time of `pass` and returns the next write, behind the bytes in `out`.
    pub(super) fn advance(
        &mut self,
        pass: &Pass,
        framing: Framing,
        out: &mut Vec<u8>,
        packets: &mut Packets,
    ) -> Option<Bytes> {
        match framing {
            Framing::Payload => self.advance_as::<true>(pass, out, packets),
            Framing::Frames => self.advance_as::<false>(pass, out, packets),
        }
    }

    fn advance_as<const PAYLOAD: bool>(
        &mut self,
        pass: &Pass,
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
        let mut written = stream.advance(pass, &mut output);
        if written.is_none()
            && let Some(metrics) = metrics
        {
            output.is_second = true;
            output.with_offset = false;
            written = metrics.advance(pass, &mut output);
        }
        *out = output.out;
        written
    }

    /// Returns the due data for a WebSocket; `None` if none of its streams has any.
    pub(super) fn deliver(&mut self, pass: &Pass, packets: &mut Packets) -> Option<Delivery> {
        let Self { namespace, with_offset, stream, metrics, rooms, end, .. } = self;
        let is_second = !stream.reader.has_due();
        let mut output = NamespaceOutput::<false> {
            namespace: *namespace,
            rooms,
            is_second,
            with_offset: *with_offset,
            out: Vec::new(),
            packets,
            end,
        };
        let stream = if is_second { metrics.as_deref_mut().filter(|stream| stream.reader.has_due())? } else { stream };
        Some(stream.deliver(pass, &mut output))
    }

    /// Returns whether [`Socket::advance`] has something to write, or to end.
    pub(super) fn is_unfinished(&self) -> bool {
        self.end.is_some() || self.streams().any(Stream::has_due)
    }

    /// Sets what the hub calls when data is due.
    pub(super) fn set_deliver(&self, deliver: &Weak<dyn Deliver>) {
        self.streams().for_each(|stream| stream.reader.set_deliver(deliver));
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        std::iter::once(&self.stream).chain(self.metrics.as_deref())
    }

    /// Sets the readers' timers to the next time at which [`Socket::advance`] has something to do.
    pub(super) fn arm(&self) {
        for stream in self.streams() {
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
            return self.refuse_waiting(event.ack, packets);
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
