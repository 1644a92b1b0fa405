//! One event stream: the response body.

use std::{
    convert::Infallible,
    fmt::Display,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{config::SseConfig, event};
use crate::{
    core::{channel::Channel, clock::rfc3339, position::Position, publication::Publication, reader::Reader},
    counters::Transport,
    http::state::{State, StreamSlot},
    shutdown::reconnect_after,
    transport::outbox::{Format, Told, tell},
};

/// Events written at a time; more follow in the next write.
const BUDGET: usize = 256 * 1024;

/// One event stream.
pub(super) struct Session {
    state: Rc<State>,
    config: SseConfig,
    reader: Reader,
    /// Blocks that wait: the greeting, pings.
    out: String,
    next_comment: Instant,
    next_ping: Instant,
    retire_at: Option<Instant>,
    /// Events are left for the next write.
    more: bool,
    /// The end has come, and what was due is told.
    told_last: bool,
    ended: bool,
    _slot: StreamSlot,
}

impl Session {
    /// A stream that begins with `greeting` and goes on with what `reader` is due.
    pub(super) fn open(
        state: Rc<State>,
        config: SseConfig,
        reader: Reader,
        greeting: String,
        slot: StreamSlot,
    ) -> Self {
        let now = Instant::now();
        Self {
            reader,
            out: greeting,
            next_comment: now + config.comment_interval,
            next_ping: now + config.ping_interval,
            retire_at: state.retire_after().map(|age| now + age),
            more: false,
            told_last: false,
            ended: false,
            config,
            state,
            _slot: slot,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.reader.set_waker(cx.waker());
        let now = Instant::now();
        self.keep_alive(now);
        let draining = self.state.hub.is_draining();
        let last = draining || self.retire_at.is_some_and(|at| now >= at);
        // What was accepted before the end is still told, for nobody could ask for it later: one last time.
        let told = if self.told_last || !self.reader.has_due() { None } else { self.tell() };
        self.told_last = last && !self.more;
        if let Some(bytes) = told {
            return Poll::Ready(Some(bytes));
        }
        if draining {
            self.say_bye("SERVER_MAINTENANCE");
        } else if self.retire_at.is_some_and(|at| now >= at) {
            self.say_bye("CONNECTION_AGE");
        }
        if !self.out.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.out).into()));
        }
        let next = self.next_comment.min(self.next_ping);
        self.reader.set_deadline(self.retire_at.map_or(next, |at| at.min(next)));
        Poll::Pending
    }

    fn keep_alive(&mut self, now: Instant) {
        if now >= self.next_comment {
            self.next_comment = now + self.config.comment_interval;
            self.out.push_str(event::COMMENT);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.config.ping_interval;
            let timestamp = rfc3339(self.state.clock.now());
            let ping = json!({"timestamp": timestamp, "serverLoad": self.state.counters.load()});
            event::write_json(&mut self.out, None, "ping", &ping);
        }
    }

    fn say_bye(&mut self, reason: &str) {
        let after = reconnect_after();
        event::write_retry(&mut self.out, after);
        let bye = json!({"reason": reason, "reconnectAfter": (after.as_secs_f64() * 1e3).round() / 1e3});
        event::write_json(&mut self.out, None, "bye", &bye);
        self.ended = true;
    }

    fn tell(&mut self) -> Option<Bytes> {
        let counters = self.state.counters.of(Transport::Sse);
        let waiting = std::mem::take(&mut self.out).into_bytes();
        let Told { bytes, more } = tell(&mut self.reader, BUDGET, waiting, counters, &Blocks);
        self.more = more;
        bytes
    }
}

/// Blocks of the stream.
struct Blocks;

impl Format for Blocks {
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        event::block(publication, cursor.as_ref().map(|cursor| cursor as &dyn Display))
    }

    fn gap(&self, channels: &[Channel], cursor: &Position) -> Bytes {
        let gap = json!({"channels": channels, "cursor": cursor.to_string(), "reason": "too_old"});
        let mut out = String::new();
        event::write_json(&mut out, Some(cursor), "gap", &gap);
        out.into()
    }
}

impl MessageBody for Session {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.poll(cx).map(|bytes| bytes.map(Ok))
    }
}
