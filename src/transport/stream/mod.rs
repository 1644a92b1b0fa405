//! The stream engine: the life-cycle that the streaming transports share.
//!
//! A [`Stream`] is one client's stream out of the log: it attaches a reader, delivers what is due, reduces the pace of a slow
//! client, warns of the expiry of its token, and ends when the token expires, when the connection has reached its age or when
//! the server drains. A transport adds an [`Output`] (its encoding, and what it sends at the end) and, where a connection
//! carries one stream, a [`Protocol`] (its input, its heartbeat). [`Session`] joins the two.
//!
//! | file | content |
//! |---|---|
//! | `auth_state` | the client's identity, and the expiry of its token |
//! | `resume` | resume verdict: how a cursor fits the log |
//! | `subscriptions` | subscribe, unsubscribe, pause, resume |
//! | `commands`, `rpc` | the client's commands, and the requests that need an answer |
//! | `cutover` | backfill, and the point where live values follow it |
//! | `write_batch` | everything that is due as one write |
//! | `session` | a connection that carries one stream |
//! | `slow_client` | backpressure levels |
//! | `rate_limit` | messages per connection |
//!
//! Only [`Session`] has a connection: a [`Stream`] returns the next bytes and writes none, because several of them can
//! share one connection or a poll.

use std::{net::IpAddr, rc::Rc, task::Context, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

pub(super) mod auth_state;
pub(super) mod commands;
pub(super) mod cutover;
pub(super) mod rate_limit;
pub(super) mod resume;
pub(super) mod rpc;
mod session;
pub(super) mod slow_client;
pub(super) mod subscriptions;
pub(super) mod token_expiry;
mod write_batch;

pub(super) use session::Session;

use auth_state::{AuthEvent, AuthState};
use slow_client::{LevelChange, SlowClient};
use write_batch::Batch;

use crate::{
    shutdown::{reconnect_after, reconnect_soon},
    web::{
        caller::Caller,
        problem::Problem,
        state::{State, StreamSlot},
        upgrade::{Delivery, Wire},
    },
};
use tricast_auth::Identity;
use tricast_core::{
    channel::Selector,
    clock::rfc3339,
    counters::{BackpressureLevel, Limit, Transport},
    hub::Pass,
    pause,
    position::Position,
    publication::Publication,
    reader::{CatchUp, Reader},
};

/// Message to a client whose key was revoked.
pub(super) const REVOKED: &str = "the key was revoked";

/// Settings of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamConfig {
    /// Transport that its counters belong to.
    pub(super) transport: Transport,
    /// Order in which a resumed stream receives missed events and newest states.
    pub(super) order: CatchUp,
    /// Bytes of events per write; more follow in the next write.
    pub(super) budget: usize,
}

/// One client's stream out of the log.
///
/// The fields are in this order in memory: a delivery waits for few cache lines, and the last fields are not needed for it.
#[repr(C)]
pub(super) struct Stream {
    pub(super) state: Rc<State>,
    /// Due data is left for the next write.
    more: bool,
    slow_client: SlowClient,
    config: StreamConfig,
    pub(super) reader: Reader,
    /// The end has come, and all due data is written.
    is_last_written: bool,
    /// When the connection reaches its age.
    retire_at: Option<Instant>,
    pub(super) auth: AuthState,
    /// The connection's permit, where the connection is this one stream.
    slot: Option<StreamSlot>,
}

/// Encoding of publications on a transport.
pub(super) trait Encoder {
    /// Bytes between two messages of one write.
    const SEPARATOR: &'static [u8] = b"";

    /// Returns a state or event; `cursor` is `None` when the shared bytes fit. Empty bytes are not sent.
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes;

    /// Returns the notice of a gap.
    fn gap(&self, channels: &[Selector], cursor: &Position) -> Bytes;
}

/// Output of a transport besides publications.
pub(super) trait Output: Encoder {
    /// Bytes that wait to be written before the next publication.
    fn pending(&mut self) -> &mut Vec<u8>;

    /// Sends a notice to the client.
    fn notify(&mut self, notice: Notice);

    /// Sends the reason for the end to the client; the output is not open afterwards.
    fn end(&mut self, end: End);

    /// Returns `true` while the stream delivers.
    fn is_open(&self) -> bool;
}

/// Notice about the stream itself.
#[derive(Debug)]
pub(super) enum Notice {
    /// The token expires in so many seconds.
    TokenExpiring(u64),
    /// The client's backpressure level changed: an event of the channel `system`.
    SlowClient {
        /// Name of the event.
        event: &'static str,
        /// Details of the event, a JSON object.
        data: serde_json::Value,
        /// Time of the change in RFC 3339.
        timestamp: String,
    },
}

/// Reason why the engine ends a stream, with the time after which the client should reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server drains its connections before it stops.
    Draining(Duration),
    /// The connection has reached its age.
    Retired(Duration),
    /// The client did not show a token in time.
    AuthTimeout,
    /// The token has expired.
    TokenExpired,
    /// The key was revoked.
    Revoked,
    /// The client takes data too slowly.
    TooSlow(Duration),
}

/// Input and heartbeat of a session, on a connection that carries one stream.
pub(super) trait Protocol {
    /// Output of the protocol.
    type Output: Output;

    /// Returns the connection.
    fn wire(&mut self) -> &mut Wire;

    /// Returns the output, for the messages of the engine.
    fn output(&mut self) -> &mut Self::Output;

    /// Reads and executes the client's messages.
    fn receive(&mut self, stream: &mut Stream, cx: &mut Context<'_>);

    /// Sends heartbeats, and ends a connection that is silent.
    fn keep_alive(&mut self, stream: &mut Stream, now: Instant);

    /// Returns the time at which [`Protocol::keep_alive`] has something to do next.
    fn deadline(&self) -> Option<Instant>;

    /// Returns whether the connection ends once the pending bytes are written.
    fn is_finished(&self) -> bool;
}

impl Stream {
    /// Opens a stream at the present, unauthenticated if there is no `caller`; then a token has to come within
    /// `auth_timeout`.
    pub(super) fn open(
        state: Rc<State>,
        config: StreamConfig,
        caller: Option<Caller>,
        auth_timeout: Duration,
        slot: Option<StreamSlot>,
    ) -> Self {
        let hub = caller.as_ref().map_or(state.unauthenticated_hub(), |caller| &caller.local.hub);
        let mut reader = Reader::open(hub, config.order);
        reader.set_filter(caller.as_ref().and_then(|caller| subscriptions::filter(&caller.identity)));
        Self {
            reader,
            auth: AuthState::new(caller, auth_timeout, state.shared.clock.now()),
            slow_client: SlowClient::default(),
            retire_at: state.retire_after().map(|age| Instant::now() + age),
            more: false,
            is_last_written: false,
            config,
            state,
            slot,
        }
    }

    /// Returns the client's identity and tenant, if it is authenticated.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.auth.caller()
    }

    /// Returns the address of the client, if it is known.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.slot.as_ref().and_then(StreamSlot::client)
    }

    /// Authenticates the stream of a client that had no identity yet: it restarts on the log of its tenant.
    ///
    /// # Errors
    /// 429 for a connection or tenant too many.
    pub(super) fn authenticate(&mut self, identity: Identity) -> Result<(), Problem> {
        let caller = self.state.caller(identity.with_address(self.address()))?;
        if let Some(slot) = &mut self.slot {
            self.state.attribute_stream(slot, &caller)?;
        }
        self.reader = Reader::open(&caller.local.hub, self.config.order);
        self.reader.set_filter(subscriptions::filter(&caller.identity));
        self.auth = AuthState::new(Some(caller), Duration::ZERO, self.state.shared.clock.now());
        Ok(())
    }

    /// Replaces the token of the same user; returns the names of the subscriptions that the new one does not allow.
    pub(super) fn refresh(&mut self, identity: Identity) -> Vec<String> {
        match self.auth.refresh(identity, self.state.shared.clock.now()) {
            Some(caller) => subscriptions::recheck(&mut self.reader, &caller.identity),
            None => Vec::new(),
        }
    }

    /// Returns the time as messages carry it.
    pub(super) fn timestamp(&self) -> String {
        rfc3339(self.state.shared.clock.now())
    }

    /// Advances the life-cycle to the time of `pass` and returns the next write of publications, if any is due.
    pub(super) fn advance(&mut self, pass: &Pass, output: &mut impl Output) -> Option<Bytes> {
        let now = pass.now;
        self.check_token(now, output);
        // While data wait for the client, they show how slow it is.
        if self.slow_client.deadline(&self.state.shared.limits).is_some_and(|at| now >= at) && !self.reader.has_due() {
            self.record_pace(Duration::ZERO, now, output);
        }
        if !output.is_open() {
            return None;
        }
        let is_draining = self.reader.hub().is_draining();
        let is_last = is_draining || self.retire_at.is_some_and(|at| now >= at);
        // Data that was due before the end is delivered one last time: the client may not be able to ask for it later.
        let written =
            if self.is_last_written || !self.reader.has_due() { None } else { self.write(pass, output).bytes };
        self.is_last_written = is_last && !self.more;
        if written.is_none() && is_last && output.is_open() {
            output.end(match is_draining {
                true => End::Draining(reconnect_after()),
                false => End::Retired(reconnect_soon()),
            });
        }
        written
    }

    /// Returns the time at which [`Stream::advance`] has something to do although no data is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.retire_at, self.auth.deadline(), self.slow_client.deadline(&self.state.shared.limits)];
        deadlines.into_iter().flatten().min()
    }

    fn check_token(&mut self, now: Instant, output: &mut impl Output) {
        if !output.is_open() {
            return;
        }
        match self.auth.due(now) {
            None => {}
            Some(AuthEvent::Expiring(seconds)) => output.notify(Notice::TokenExpiring(seconds)),
            Some(AuthEvent::Expired) => output.end(End::TokenExpired),
            Some(AuthEvent::Revoked) => output.end(End::Revoked),
            Some(AuthEvent::TimedOut) => {
                self.state.shared.counters.limit(Limit::AuthTimeout).inc();
                output.end(End::AuthTimeout);
            }
        }
    }

    /// Returns whether [`Stream::advance`] has data to return.
    pub(super) fn has_due(&self) -> bool {
        self.more || self.reader.has_due()
    }

    /// Returns the due data, without the rest of [`Stream::advance`].
    pub(super) fn deliver(&mut self, pass: &Pass, output: &mut impl Output) -> Delivery {
        if !output.is_open() || self.auth.is_revoked() {
            return Delivery::by_the_task();
        }
        self.write(pass, output)
    }

    /// Writes the due data in one piece, behind the pending bytes.
    fn write(&mut self, pass: &Pass, output: &mut impl Output) -> Delivery {
        let counters = &self.state.shared.counters;
        let Batch { bytes, more, since } = write_batch::drain(&mut self.reader, &self.config, pass, counters, output);
        self.more = more;
        let is_unaffected = self.slow_client.is_unaffected(&self.state.shared.limits, since, pass.now);
        if !is_unaffected {
            // While this process was paused no client could take anything.
            let since = since.map(|since| pause::awake_since(since.into_std()));
            let waited = since.map(|since| pass.now.into_std().saturating_duration_since(since));
            self.record_pace(waited.unwrap_or_default(), pass.now, output);
        }
        // A change of the level has to be sent, and has a deadline.
        Delivery { bytes, needs_task: more || !is_unaffected }
    }

    /// Records that the client took data that was due for `waited`, and changes its backpressure level if that follows.
    fn record_pace(&mut self, waited: Duration, now: Instant, output: &mut impl Output) {
        if !output.is_open() {
            return;
        }
        let limits = &self.state.shared.limits;
        if self.state.is_late(limits.slow_after.0) {
            // This server itself is slow.
            return self.slow_client.postpone(now);
        }
        let Some(change) = self.slow_client.record(limits, waited, now) else { return };
        let pace = self.slow_client.pace(limits);
        self.reader.set_pace(pace);
        let (event, data) = slow_client::event(change, pace);
        output.notify(Notice::SlowClient { event, data, timestamp: self.timestamp() });
        if let LevelChange::Raised(level) = change {
            self.state.shared.counters.backpressure(level).inc();
            if level == BackpressureLevel::Closed {
                self.state.shared.counters.limit(Limit::SlowClients).inc();
                output.end(End::TooSlow(reconnect_after()));
            }
        }
    }
}
