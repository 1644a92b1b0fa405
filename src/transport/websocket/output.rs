//! Frames to the client, and the closing handshake (RFC 6455, section 7).

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::frame;
use crate::{
    transport::stream::{Encoder, End, Notice, Output, REVOKED, commands::Replies, rate_limit::FixedWindow},
    web::state::State,
};
use tricast_core::{
    channel::Selector,
    counters::Limit,
    position::Position,
    protocol::{
        close::CloseReason,
        command::Rejection,
        error::Code,
        message::{self, ServerMessage},
        slot,
    },
    publication::Publication,
};

/// Time that the client has to answer our close frame.
pub(in crate::transport) const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Time that a failed connection stays open, so that a reset does not overtake our close frame.
pub(in crate::transport) const FAILED_WAIT: Duration = Duration::from_millis(250);

/// Frames to the client.
pub(super) struct Frames {
    state: Rc<State>,
    pending: Vec<u8>,
    compress: bool,
    closing: Option<Closing>,
    bad_messages: FixedWindow,
    /// Bad messages within a minute that close the connection; 0 means no limit.
    max_bad_messages: usize,
}

/// State of the closing handshake.
enum Closing {
    /// Our close frame is out; the client has until then to answer.
    Sent { until: Instant },
    /// Nothing is left but the pending frames.
    Done,
}

impl Frames {
    pub(super) fn new(state: Rc<State>, compress: bool, max_bad_messages: usize, now: Instant) -> Self {
        let bad_messages = FixedWindow::new(now);
        Self { state, pending: Vec::new(), compress, closing: None, bad_messages, max_bad_messages }
    }

    /// Fails the connection: the client's frames cannot be read any more, nor its answer to our close frame.
    pub(super) fn fail(&mut self, reason: CloseReason) {
        self.close(reason);
        if let Some(Closing::Sent { until }) = &mut self.closing {
            *until = Instant::now() + FAILED_WAIT;
        }
    }

    /// Drops the connection of a client that is gone.
    pub(super) fn abandon(&mut self) {
        self.pending.clear();
        self.closing = Some(Closing::Done);
    }

    /// Answers the client's close frame.
    pub(super) fn answer_close(&mut self, code: Option<u16>) {
        frame::write_close(&mut self.pending, code.unwrap_or(CloseReason::Normal.code()), "");
        self.closing = Some(Closing::Done);
    }

    /// Ends the closing handshake: the client has answered.
    pub(super) fn closed_by_client(&mut self) {
        self.closing = Some(Closing::Done);
    }

    /// Ends a closing handshake that the client did not answer in time.
    pub(super) fn check_close(&mut self, now: Instant) {
        if self.close_deadline().is_some_and(|until| now >= until) {
            self.closing = Some(Closing::Done);
        }
    }

    /// Returns the time at which the closing handshake ends without an answer.
    pub(super) fn close_deadline(&self) -> Option<Instant> {
        match self.closing {
            Some(Closing::Sent { until }) => Some(until),
            _ => None,
        }
    }

    /// Whether nothing is left but the pending frames.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.closing, Some(Closing::Done))
    }

    fn send_away(&mut self, reason: &str, message: &str, after: Duration) {
        self.reply(&ServerMessage::disconnecting(reason, message, Some(after)));
        self.close(CloseReason::GoingAway);
    }

    fn end_without_token(&mut self, message: &str) {
        self.reject(Rejection::new(None, Code::Unauthorized, message));
        self.close(CloseReason::TokenExpired);
    }
}

impl Encoder for Frames {
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes {
        let compress = self.compress;
        match cursor {
            Some(cursor) => frame::text(&message::publication(publication, cursor), compress),
            None => {
                let slot = if compress { slot::WEBSOCKET_DEFLATED } else { slot::WEBSOCKET };
                publication.encoded(slot, |p| frame::text(&message::publication(p, p.own_cursor()), compress)).clone()
            }
        }
    }

    fn gap(&self, channels: &[Selector], cursor: &Position) -> Bytes {
        let channels = channels.iter().map(Selector::to_string).collect();
        frame::text(&ServerMessage::Gap { channels, cursor: cursor.to_string() }.to_json(), self.compress)
    }
}

impl Output for Frames {
    fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    fn notify(&mut self, notice: Notice) {
        match notice {
            Notice::TokenExpiring(expires_in) => {
                let message = "your token runs out: send refresh_token with a new one";
                self.reply(&ServerMessage::AuthExpiring { expires_in, message });
            }
            Notice::SlowClient { event, data, timestamp } => {
                self.reply(&ServerMessage::Event { channel: "system", event, data, timestamp });
            }
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::Draining(after) => {
                self.send_away("SERVER_MAINTENANCE", "the server is shutting down, come back", after);
            }
            End::Retired(after) => {
                self.send_away("CONNECTION_AGE", "this connection is old enough, open a new one", after);
            }
            End::AuthTimeout => self.end_without_token("no token came in time"),
            End::TokenExpired => self.end_without_token("the token has run out"),
            End::Revoked => self.end_without_token(REVOKED),
            End::TooSlow(_) => self.close(CloseReason::TooSlow),
        }
    }

    fn is_open(&self) -> bool {
        self.closing.is_none()
    }
}

impl Replies for Frames {
    fn reply(&mut self, message: &ServerMessage<'_>) {
        self.reply_json(&message.to_json());
    }

    fn reply_json(&mut self, json: &str) {
        frame::write_text(&mut self.pending, json, self.compress);
    }

    fn reject(&mut self, rejection: Rejection) {
        let Rejection { request_id, code, message, retry_after } = rejection;
        let details = retry_after.map(|after| serde_json::json!({"retryAfter": after.as_millis() as u64 + 1}));
        self.reply(&ServerMessage::Error { request_id, code, message: &message, details });
        if code != Code::InvalidMessage {
            // Understood and refused: not a bad message.
            return;
        }
        self.state.shared.counters.bad_messages.inc();
        if self.bad_messages.count() >= self.max_bad_messages && self.max_bad_messages > 0 {
            self.state.shared.counters.limit(Limit::BadMessages).inc();
            self.close(CloseReason::TooManyBadMessages);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            frame::write_close(&mut self.pending, reason.code(), reason.text());
            self.closing = Some(Closing::Sent { until: Instant::now() + CLOSE_WAIT });
        }
    }
    fn has_ended(&self) -> bool {
        self.closing.is_some()
    }
}
