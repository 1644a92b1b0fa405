//! Simulated reading client: keeps its cursor, loses its connection at any moment, and resumes at any node.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tricast_core::{
    channel::{Gone, Selector},
    position::{Epoch, Position},
    publication::Publication,
    reader::{CatchUp, Reader, Sink},
    resume::{ResetReason, Resume, judge},
};

use super::{client::BRIEF, node::SimulatedNode};

/// Bytes of one write.
const WRITE: usize = 8 << 10;

/// Message to a client.
#[derive(Clone, Debug)]
pub(super) enum Received {
    /// An event, by its ID.
    Event { id: u64, epoch: Epoch, offset: u64 },
    /// A version of a state.
    State { epoch: Epoch, offset: u64 },
    /// A version of the channel that is written with a time to live, or its end.
    Brief { epoch: Epoch, offset: u64, at: Timestamp, gone: Option<Gone> },
    /// Notice that events were lost.
    Gap {
        /// Whether the stream continues at the end of the log, because the node does not know the log of the cursor.
        at_end: bool,
    },
}

/// One message with the cursor that its receiver holds afterwards.
type Message = (Option<Received>, Position);

/// Messages on their way to a client.
#[derive(Default)]
pub(super) struct Wire {
    messages: RefCell<VecDeque<Message>>,
    /// Whether the node has closed the connection.
    closed: Cell<bool>,
    /// Whether the client has closed it.
    left: Cell<bool>,
}

/// Model of a client that reads a log by cursor.
#[derive(Default)]
pub(super) struct Client {
    pub(super) cursor: Option<Position>,
    pub(super) received: Vec<Received>,
    wire: Rc<Wire>,
    last_reply: Option<Instant>,
}

impl Client {
    /// Opens a stream at `node`, from the end of the last one.
    pub(super) fn connect(&mut self, node: &SimulatedNode) {
        self.leave(0);
        let wire = Rc::new(Wire::default());
        self.wire = Rc::clone(&wire);
        self.last_reply = Some(Instant::now());
        let (process, cursor) = (node.clone(), self.cursor.clone());
        node.spawn(async move { serve(process, cursor, wire).await });
    }

    /// Reads up to `most` messages and loses the rest with the connection.
    pub(super) fn leave(&mut self, most: usize) {
        self.take(most);
        self.wire.left.set(true);
        self.wire = Rc::new(Wire { closed: Cell::new(true), ..Wire::default() });
    }

    /// Reads up to `most` messages.
    pub(super) fn take(&mut self, most: usize) {
        for _ in 0..most {
            let Some((received, cursor)) = self.wire.messages.borrow_mut().pop_front() else { break };
            self.received.extend(received);
            self.cursor = Some(cursor);
            self.last_reply = Some(Instant::now());
        }
    }

    /// Returns whether the node has closed the connection and all messages were read.
    pub(super) fn is_closed(&self) -> bool {
        self.wire.closed.get() && self.wire.messages.borrow().is_empty()
    }
}

/// Serves one stream as a transport does.
async fn serve(node: SimulatedNode, cursor: Option<Position>, wire: Rc<Wire>) {
    let selectors: Vec<Selector> =
        ["deploys", "orders", "metrics.load", BRIEF].iter().filter_map(|name| Selector::parse(name).ok()).collect();
    if let Some(position) = cursor.as_ref().filter(|position| !node.log.covers(position))
        && node.cluster.catch_up(&node.log, position).await.is_err()
    {
        wire.closed.set(true);
        return;
    }
    let resumed = cursor.map(|cursor| judge(&node.log, &cursor, &selectors));
    let mut reader = Reader::open(&node.hub, CatchUp::EventsFirst);
    let mut sink = Messages { wire: &wire };
    match &resumed {
        Some((Resume::Reset(reason), position)) => {
            let at_end = *reason == ResetReason::UnknownCursor && *position == node.log.position();
            let received = (*reason != ResetReason::TooOld).then_some(Received::Gap { at_end });
            sink.send(received, Position { state: 0, ..position.clone() });
        }
        Some((Resume::Replay(_), _)) => {}
        None => sink.send(None, Position { state: 0, ..node.log.position() }),
    }
    for selector in selectors {
        match &resumed {
            Some((Resume::Replay(_), position)) => reader.resume_from(selector, Duration::ZERO, position),
            Some((_, position)) => reader.subscribe(selector, Duration::ZERO, Some(position)),
            None => reader.subscribe(selector, Duration::ZERO, None),
        }
    }
    while !wire.left.get() {
        let collected = reader.collect(WRITE, &mut sink);
        if !collected.more {
            reader.changed(Instant::now() + Duration::from_millis(500)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Output that writes to the wire.
struct Messages<'a> {
    wire: &'a Wire,
}

impl Messages<'_> {
    fn send(&self, received: Option<Received>, cursor: Position) {
        self.wire.messages.borrow_mut().push_back((received, cursor));
    }
}

impl Sink for Messages<'_> {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        let (epoch, offset) = (publication.epoch.clone(), publication.offset);
        let data: Value = serde_json::from_slice(&publication.data).unwrap_or_default();
        let received = match &publication.event {
            Some(_) => Received::Event { id: data["id"].as_u64().unwrap_or(0), epoch: epoch.clone(), offset },
            None if publication.channel.as_str() == BRIEF => {
                Received::Brief { epoch: epoch.clone(), offset, at: publication.timestamp, gone: publication.gone }
            }
            None => Received::State { epoch: epoch.clone(), offset },
        };
        self.send(Some(received), cursor.unwrap_or_else(|| Position::new(epoch, offset)));
    }

    fn gap(&mut self, _channels: &[Selector], cursor: Position) {
        self.send(Some(Received::Gap { at_end: false }), cursor);
    }
}
