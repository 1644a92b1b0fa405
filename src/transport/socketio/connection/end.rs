//! The end of a session, and of its clients in the namespaces.

use serde_json::json;

use super::{
    super::{
        namespace::Namespace,
        output::{self, push},
    },
    Connection,
};
use crate::transport::stream::{End, REVOKED};
use tricast_core::protocol::close::CloseReason;

/// State of the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The last packets are still to be written.
    Flush(CloseReason),
    /// No packets are left to write.
    Done,
}

impl Connection {
    /// Ends the session of a client that disconnected or has left.
    pub(in super::super) fn end(&mut self) {
        self.sockets.clear();
        self.closing = Some(Closing::Done);
    }

    /// Ends the session of a client that broke the protocol.
    pub(in super::super) fn fail(&mut self, reason: &str) {
        tracing::debug!(reason, "a Socket.IO client broke the protocol");
        self.close(CloseReason::ProtocolError);
    }

    /// Closes the connection; the client reconnects by itself.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            self.sockets.clear();
            self.closing = Some(Closing::Flush(reason));
        }
    }

    /// Returns whether nothing more will be written.
    pub(in super::super) fn is_done(&self) -> bool {
        self.closing == Some(Closing::Done)
    }

    /// Returns whether the client has closed the session by a packet.
    pub(in super::super) fn has_left(&self) -> bool {
        self.has_left
    }

    /// Returns whether the session is about to end.
    pub(in super::super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Returns whether a closed session has a last message for its client, in case it polls once more.
    pub(in super::super) fn has_last_message(&self) -> bool {
        match self.closing {
            Some(Closing::Flush(reason)) => !matches!(reason, CloseReason::HeartbeatLost | CloseReason::ProtocolError),
            _ => false,
        }
    }

    /// Processes events of the sockets' streams: ends, and bad messages.
    pub(super) fn settle(&mut self) {
        let mut reason = None;
        let packets = &mut self.packets;
        let mut bad = 0;
        self.sockets.retain_mut(|socket| {
            bad += std::mem::take(&mut socket.bad_messages);
            let Some(end) = socket.end else { return true };
            let namespace = socket.namespace;
            match end {
                End::Draining(after) | End::Retired(after) | End::TooSlow(after) => {
                    let why = match end {
                        End::Draining(_) => "SERVER_MAINTENANCE",
                        End::Retired(_) => "CONNECTION_AGE",
                        _ => "TOO_SLOW",
                    };
                    let after = (after.as_secs_f64() * 1e3).round() / 1e3;
                    let notice = json!({"reason": why, "reconnectAfter": after});
                    output::push_event(packets, namespace, output::GOING_AWAY, &notice);
                    reason = Some(if why == "TOO_SLOW" { CloseReason::TooSlow } else { CloseReason::GoingAway });
                }
                End::TokenExpired | End::AuthTimeout | End::Revoked => {
                    let why = if end == End::Revoked { REVOKED } else { "the token has expired" };
                    let code = if namespace == Namespace::Tricast { "UNAUTHORIZED" } else { "ANALYTICS_1101" };
                    let error = json!({"code": code, "message": why});
                    output::push_event(packets, namespace, "error", &error);
                    push(packets, '1', namespace.as_str(), None, "");
                    socket.forget();
                }
            }
            false
        });
        self.note_bad_messages(bad);
        if let Some(reason) = reason {
            self.close(reason);
        }
        self.await_connect();
    }
}
