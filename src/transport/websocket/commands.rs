//! Carrying out what a client says.

use super::{
    actions::{self, Failure},
    session::Session,
    standing::Purpose,
};
use crate::{
    auth::{Identity, TokenError},
    counters::Limit,
    http::access::{self, Caller},
    protocol::{
        close::CloseReason,
        command::{Command, Message, Rejection, Token},
        error::Code,
        message::{RequestId, ServerMessage},
    },
    transport::subscriptions::{self, Rules},
};

/// Something that a connection waited for.
pub(super) enum Done {
    /// The answer to a request.
    Answered(Option<RequestId>, Result<serde_json::Value, Failure>),
    /// A token was looked at.
    Verified(Option<RequestId>, Purpose, Result<Identity, TokenError>),
}

impl Session {
    /// Does what a message says.
    pub(super) fn carry_out(&mut self, Message { request_id, command }: Message) {
        match command {
            Command::Ping => {
                let latency = self.heartbeat.latency_ms();
                let timestamp = self.now();
                self.say(&ServerMessage::Pong { request_id, latency, timestamp });
            }
            Command::Pong(timestamp) => self.heartbeat.pong_message(timestamp.as_ref()),
            Command::Disconnect => {
                self.say(&ServerMessage::Disconnecting {
                    reason: "CLIENT_REQUEST",
                    message: "good-bye",
                    reconnect_after: None,
                });
                self.close(CloseReason::Normal);
            }
            Command::Authenticate(token) => self.present(request_id, token, Purpose::Authenticate),
            command => match self.standing.caller().cloned() {
                Some(caller) => self.carry_out_for(&caller, request_id, command),
                None => self.reject(Rejection::new(request_id, Code::Unauthorized, "send authenticate first")),
            },
        }
    }

    /// What only somebody may ask for.
    fn carry_out_for(&mut self, caller: &Caller, request_id: Option<RequestId>, command: Command) {
        let answer = match command {
            Command::Subscribe { channels, since } => {
                let counters = &self.state.counters;
                let rules = Rules { identity: &caller.identity, max: self.config.max_subscriptions, counters };
                Ok(subscriptions::subscribe(&mut self.reader, &rules, request_id, channels, since))
            }
            Command::Unsubscribe(names) => subscriptions::unsubscribe(&mut self.reader, request_id, names),
            Command::Pause(names) => subscriptions::pause(&mut self.reader, request_id, names),
            Command::Resume(names) => subscriptions::resume_paused(&mut self.reader, request_id, names),
            Command::Configure { interval, timeout } => {
                let settings = self.heartbeat.configure(interval, timeout);
                Ok(ServerMessage::Configured { request_id, settings })
            }
            Command::Request { action, params } => return self.request(caller.clone(), request_id, action, params),
            Command::RefreshToken(token) => return self.present(request_id, token, Purpose::Refresh),
            // Carried out for anybody.
            Command::Ping | Command::Pong(_) | Command::Disconnect | Command::Authenticate(_) => return,
        };
        match answer {
            Ok(message) => self.say(&message),
            Err(rejection) => self.reject(rejection),
        }
    }

    /// A token is shown.
    fn present(&mut self, request_id: Option<RequestId>, Token(token): Token, purpose: Purpose) {
        if self.state.access.verifier.is_none() {
            let message = "this server runs without authentication: go on without a token";
            return self.reject(Rejection::new(request_id, Code::InvalidMessage, message));
        }
        let state = std::rc::Rc::clone(&self.state);
        // What the client sends next is meant for whoever it will be then.
        self.verifying = true;
        self.in_flight.push(async move { Done::Verified(request_id, purpose, access::verify(&state, &token).await) });
    }

    fn request(
        &mut self,
        caller: Caller,
        request_id: Option<RequestId>,
        action: String,
        params: serde_json::Map<String, serde_json::Value>,
    ) {
        let most = self.config.max_requests;
        if most > 0 && self.in_flight.len() >= most {
            self.state.counters.limit(Limit::Requests).inc();
            let message = format!("{most} requests wait for their answers: wait for one of them");
            let rejection = Rejection::new(request_id, Code::RateLimited, message);
            let retry_after = Some(std::time::Duration::from_millis(100));
            return self.reject(Rejection { retry_after, ..rejection });
        }
        let state = std::rc::Rc::clone(&self.state);
        self.in_flight
            .push(async move { Done::Answered(request_id, actions::carry_out(&state, caller, action, params).await) });
    }

    /// Tells what came of it.
    pub(super) fn finish(&mut self, done: Done) {
        if self.is_closing() {
            // Nothing may follow our close frame (RFC 6455, section 5.5.1).
            return;
        }
        match done {
            Done::Verified(request_id, purpose, verified) => {
                self.verifying = false;
                self.admit(request_id, purpose, verified);
            }
            Done::Answered(request_id, Ok(data)) => {
                let request_id = request_id.unwrap_or_default();
                self.say(&ServerMessage::Response { request_id, status: "success", data });
            }
            Done::Answered(request_id, Err((code, message))) => {
                self.reject(Rejection::new(request_id, code, message));
            }
        }
    }
}
