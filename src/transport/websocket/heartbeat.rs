//! Heartbeat of one WebSocket: when to ping, when it is lost, and the measured round trip.

use std::time::Duration;

use tokio::time::Instant;

use super::config::{HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT};
use tricast_core::protocol::message::Settings;

/// Payload of the server's ping frames, by which an unsolicited pong is not mistaken for an answer.
pub(super) const PING_PAYLOAD: &[u8] = b"tricast";

/// Heartbeat of one connection.
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    last_seen: Instant,
    /// Time and text of the server's unanswered ping message.
    message_sent: Option<(Instant, String)>,
    /// Time of the server's unanswered ping frame.
    frame_sent: Option<Instant>,
    latency: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            next_ping: now + interval,
            last_seen: now,
            message_sent: None,
            // The session sends one at once.
            frame_sent: Some(now),
            latency: None,
        }
    }

    /// Records data of the client. Until there is a pong, the first of it measures the round trip, because it was sent
    /// after the client received the handshake.
    pub(super) fn seen(&mut self) {
        self.last_seen = Instant::now();
        if self.latency.is_none() {
            self.latency = self.frame_sent.map(|sent| self.last_seen - sent);
        }
    }

    /// Restarts at `now`: a ping is due, and the client has the whole timeout.
    pub(super) fn renew(&mut self, now: Instant) {
        (self.last_seen, self.next_ping) = (now, now);
        // The round trip of a ping that waited for this server is no latency.
        (self.message_sent, self.frame_sent) = (None, None);
    }

    /// Changes the requested values, within bounds, and returns those in force.
    pub(super) fn configure(&mut self, interval: Option<Duration>, timeout: Option<Duration>) -> Settings {
        let interval = interval.unwrap_or(self.interval).clamp(HEARTBEAT_INTERVAL.0, HEARTBEAT_INTERVAL.1);
        let timeout = timeout.unwrap_or(self.timeout).clamp(HEARTBEAT_TIMEOUT.0, HEARTBEAT_TIMEOUT.1);
        self.interval = interval;
        self.timeout = timeout.max(interval * 2);
        self.next_ping = Instant::now() + interval;
        Settings {
            heartbeat_interval: self.interval.as_millis() as u64,
            heartbeat_timeout: self.timeout.as_millis() as u64,
        }
    }

    /// Returns whether no data arrived for too long.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        now >= self.last_seen + self.timeout
    }

    /// Returns the text of a ping if one is due, and records it as sent at `now` with `timestamp()`.
    pub(super) fn ping(&mut self, now: Instant, timestamp: impl FnOnce() -> String) -> Option<String> {
        if now < self.next_ping {
            return None;
        }
        let timestamp = timestamp();
        self.next_ping = now + self.interval;
        self.message_sent = Some((now, timestamp.clone()));
        self.frame_sent = Some(now);
        Some(timestamp)
    }

    /// Records a pong frame.
    pub(super) fn pong_frame(&mut self, payload: &[u8]) {
        if payload == PING_PAYLOAD
            && let Some(sent) = self.frame_sent.take()
        {
            self.latency = Some(sent.elapsed());
        }
    }

    /// Records a pong message.
    pub(super) fn pong_message(&mut self, timestamp: Option<&String>) {
        if let Some((sent, _)) = self.message_sent.take_if(|(_, text)| timestamp == Some(text)) {
            self.latency = Some(sent.elapsed());
        }
    }

    /// Returns the last round trip in milliseconds, with two decimals.
    pub(super) fn latency_ms(&self) -> Option<f64> {
        self.latency.map(|latency| (latency.as_secs_f64() * 1e5).round() / 100.0)
    }

    /// Returns the time of the next action.
    pub(super) fn deadline(&self) -> Instant {
        self.next_ping.min(self.last_seen + self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_of_the_server_a_client_is_pinged_and_has_the_whole_timeout() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(seconds(1), seconds(4), start);
        assert!(heartbeat.ping(start + seconds(1), || "one".into()).is_some());
        let resumed = start + seconds(60);
        assert!(heartbeat.is_lost(resumed));
        heartbeat.renew(resumed);
        assert!(!heartbeat.is_lost(resumed) && heartbeat.deadline() <= resumed);
        assert!(heartbeat.ping(resumed, || "two".into()).is_some());
        heartbeat.pong_message(Some(&"one".into()));
        assert_eq!(heartbeat.latency_ms(), None, "the server caused the delay");
        assert!(!heartbeat.is_lost(resumed + seconds(3)) && heartbeat.is_lost(resumed + seconds(4)));
    }
}
