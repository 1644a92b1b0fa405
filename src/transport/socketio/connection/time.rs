//! Deadlines of a session: heartbeat, the time to join a namespace, and the end of the server.

use tokio::time::Instant;

use super::{
    super::{output::Outgoing, socket::Socket},
    Connection,
};
use tricast_core::{counters::Limit, pause, protocol::close::CloseReason, settings::Limits};

/// Returns the time by which a client without a namespace has to join one.
pub(super) fn connect_until(limits: &Limits, now: Instant) -> Option<Instant> {
    let timeout = limits.auth_timeout.0;
    (!timeout.is_zero()).then(|| now + timeout)
}

/// The packet of a ping.
const PING: &str = "2";

impl Connection {
    /// Returns whether a ping still waits for a request that takes it.
    pub(super) fn has_unsent_ping(&self) -> bool {
        self.packets.iter().any(|packet| matches!(packet, Outgoing::Text(text) if text == PING))
    }

    /// Sets the timers to the next time at which [`Connection::keep_time`] has something to do, or
    /// [`Connection::next_write`] while the client `takes_data`, and to `also`.
    pub(in super::super) fn arm(&mut self, takes_data: bool, also: Option<Instant>) {
        // Streams handle their deadlines when they write. Until then those that have passed would wake the session again
        // and again.
        self.sockets.iter().filter(|_| takes_data).for_each(Socket::arm);
        // A session that is about to end has no deadlines of its own any more: they may have passed.
        let ping = self.pong_until.unwrap_or(self.next_ping);
        let own = [Some(ping), self.connect_deadline()].into_iter().flatten().filter(|_| self.closing.is_none());
        let deadline = own.chain(also).min();
        if let Some(deadline) = deadline {
            self.timer.set_deadline(deadline);
        }
    }

    /// Handles heartbeat, timeouts, and the end of the server.
    pub(in super::super) fn keep_time(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        let pauses = pause::count();
        if self.pauses != pauses {
            // Data that the client sent during the pause may not have arrived yet.
            self.pauses = pauses;
            self.pong_until = self.pong_until.map(|_| now + self.config.ping_timeout());
            self.connect_until = self.connect_until.and_then(|_| connect_until(&self.state.shared.limits, now));
        }
        if self.pong_until.is_some_and(|until| now >= until) {
            return self.close(CloseReason::HeartbeatLost);
        }
        if self.connect_deadline().is_some_and(|until| now >= until) {
            self.state.shared.counters.limit(Limit::AuthTimeout).inc();
            return self.close(CloseReason::TokenExpired);
        }
        if self.pong_until.is_none() && now >= self.next_ping {
            self.packets.push(Outgoing::Text(PING.into()));
            // From the time at which the ping was due, unless this server was late by more than the client can make up for.
            let timeout = self.config.ping_timeout();
            self.pong_until = Some((self.next_ping + timeout).max(now + timeout / 2));
        }
        if self.sockets.is_empty() && self.timer.hub().is_draining() {
            self.close(CloseReason::GoingAway);
        }
    }

    /// Gives a client without a namespace the time to join one.
    pub(super) fn await_connect(&mut self) {
        if !self.has_joined() && self.connect_until.is_none() {
            self.connect_until = connect_until(&self.state.shared.limits, Instant::now());
        }
    }

    /// Returns the time by which the client has to join a namespace, unless it has joined one or its `CONNECT` is in flight.
    fn connect_deadline(&self) -> Option<Instant> {
        self.connect_until.filter(|_| !self.has_joined() && self.pending.is_empty())
    }
}
