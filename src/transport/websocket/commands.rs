//! Carrying out what a client says.

use std::collections::HashMap;

use super::{
    actions::{self, Failure},
    session::Session,
    standing::Purpose,
};
use crate::{
    auth::{self, Identity, TokenError},
    cluster::Behind,
    core::position::Position,
    counters::Limit,
    history::parse_backfill,
    http::{
        access::{self, Caller},
        problem::Problem,
    },
    protocol::{
        close::CloseReason,
        command::{Command, Message, Rejection, Token, Wanted},
        error::Code,
        message::{self, RequestId, ServerMessage},
    },
    shutdown::reconnect_soon,
    transport::{
        backfill::{Past, Seam},
        subscriptions::{self, Rules},
    },
};

/// Something that a connection waited for.
pub(super) enum Done {
    /// The answer to a request.
    Answered(Option<RequestId>, Result<serde_json::Value, Failure>),
    /// The log was caught up with, or not, for subscriptions that go on from a cursor.
    CaughtUp(Option<RequestId>, Vec<Wanted>, Option<String>, Result<(), Behind>),
    /// Subscriptions that begin with their past.
    LookedBack(Option<RequestId>, Vec<Wanted>, Option<String>, Past),
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
                let log = &caller.tenant.log;
                let ahead = since.as_ref().and_then(|cursor| self.state.tenants.ahead(log, cursor));
                return match ahead {
                    Some(ahead) => self.catch_up(caller, request_id, channels, ahead),
                    None => self.subscribe(caller, request_id, channels, since),
                };
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

    fn subscribe(
        &mut self,
        caller: &Caller,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        since: Option<String>,
    ) {
        if channels.iter().any(|wanted| wanted.backfill.is_some()) {
            return self.look_back(caller, request_id, channels, since);
        }
        let counters = &self.state.counters;
        let rules = Rules { identity: &caller.identity, max: self.config.max_subscriptions, counters };
        let first = HashMap::new();
        let subscribed = subscriptions::subscribe(&mut self.reader, &rules, request_id, channels, since, first);
        self.say(&subscribed);
    }

    /// Another node had read more of the log than this one: first this one has to, or the client would be given older values
    /// than it has. What it sends next waits, for that may be about these subscriptions.
    fn catch_up(&mut self, caller: &Caller, request_id: Option<RequestId>, channels: Vec<Wanted>, ahead: Position) {
        let (state, log) = (std::rc::Rc::clone(&self.state), std::sync::Arc::clone(&caller.tenant.log));
        self.holding = true;
        self.in_flight.push(async move {
            let caught_up = state.tenants.catch_up(&log, &ahead).await;
            Done::CaughtUp(request_id, channels, Some(ahead.to_string()), caught_up)
        });
    }

    /// A token is shown.
    fn present(&mut self, request_id: Option<RequestId>, Token(token): Token, purpose: Purpose) {
        if self.state.access.verifier.is_none() {
            let message = "this server runs without authentication: go on without a token";
            return self.reject(Rejection::new(request_id, Code::InvalidMessage, message));
        }
        let state = std::rc::Rc::clone(&self.state);
        // What the client sends next is meant for whoever it will be then.
        self.holding = true;
        self.in_flight.push(async move { Done::Verified(request_id, purpose, access::verify(&state, &token).await) });
    }

    fn request(
        &mut self,
        caller: Caller,
        request_id: Option<RequestId>,
        action: String,
        params: serde_json::Map<String, serde_json::Value>,
    ) {
        if let Some(rejection) = self.one_too_many(&request_id) {
            return self.reject(rejection);
        }
        let state = std::rc::Rc::clone(&self.state);
        self.in_flight
            .push(async move { Done::Answered(request_id, actions::carry_out(&state, caller, action, params).await) });
    }

    /// Why nothing more may be begun that has to be waited for, if that is so.
    fn one_too_many(&self, request_id: &Option<RequestId>) -> Option<Rejection> {
        let most = self.config.max_requests;
        if most == 0 || self.in_flight.len() < most {
            return None;
        }
        self.state.counters.limit(Limit::Requests).inc();
        let message = format!("{most} requests wait for their answers: wait for one of them");
        let rejection = Rejection::new(request_id.clone(), Code::RateLimited, message);
        Some(Rejection { retry_after: Some(std::time::Duration::from_millis(100)), ..rejection })
    }

    /// Subscriptions that begin with their past begin when it is there.
    fn look_back(
        &mut self,
        caller: &Caller,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        since: Option<String>,
    ) {
        let mut wanted = Vec::new();
        for Wanted { parsed, backfill, .. } in &channels {
            match (parsed, backfill.as_deref().map(parse_backfill).transpose()) {
                (_, Err(error)) => {
                    return self.reject(Rejection::new(request_id, Code::InvalidMessage, error.to_string()));
                }
                (Ok((selector, _)), Ok(Some(span))) if auth::may_read(&caller.identity, selector) => {
                    wanted.push((selector.clone(), span));
                }
                _ => {}
            }
        }
        if let Some(rejection) = self.one_too_many(&request_id) {
            return self.reject(rejection);
        }
        let past = Seam::set(caller, &wanted, self.state.clock.now()).look_back(caller);
        self.in_flight.push(async move { Done::LookedBack(request_id, channels, since, past.await) });
    }

    /// The past is there, or it can't be had: the subscriptions begin.
    fn follow(&mut self, request_id: Option<RequestId>, channels: Vec<Wanted>, since: Option<String>, past: Past) {
        // Whoever it was meanwhile, it is somebody.
        let Some(caller) = self.standing.caller().cloned() else { return };
        let counters = &self.state.counters;
        let rules = Rules { identity: &caller.identity, max: self.config.max_subscriptions, counters };
        let id = request_id.clone();
        let mut states = past.states;
        if past.view != auth::view(&caller.identity) {
            // Another token was shown meanwhile: the snapshot at the seam is not for its holder.
            states.retain(|selector, _| !selector.is_snapshot());
        }
        let subscribed = subscriptions::subscribe(&mut self.reader, &rules, id, channels, since, states);
        self.say(&subscribed);
        match past.chapters {
            Ok(chapters) => {
                let cursor = self.reader.cursor_aside();
                let may = |channel| auth::may_read_channel(&caller.identity, channel);
                for chapter in chapters.iter().filter(|chapter| may(&chapter.channel)) {
                    let channel = chapter.channel.as_str();
                    self.say_json(&message::history(request_id.as_ref(), channel, &chapter.data(), &cursor));
                }
            }
            Err(error) => {
                let Problem { code, detail, .. } = error.into();
                self.reject(Rejection::new(request_id, code, format!("backfill: {detail}")));
            }
        }
    }

    /// Tells what came of it.
    pub(super) fn finish(&mut self, done: Done) {
        if self.is_closing() {
            // Nothing may follow our close frame (RFC 6455, section 5.5.1).
            return;
        }
        match done {
            Done::Verified(request_id, purpose, verified) => {
                self.holding = false;
                self.admit(request_id, purpose, verified);
            }
            Done::CaughtUp(request_id, channels, since, caught_up) => {
                self.holding = false;
                match (caught_up, self.standing.caller().cloned()) {
                    (Ok(()), Some(caller)) => self.subscribe(&caller, request_id, channels, since),
                    (Ok(()), None) => {}
                    (Err(behind), _) => {
                        self.say_good_bye("BEHIND", &behind.to_string(), reconnect_soon());
                        self.close(CloseReason::Behind);
                    }
                }
            }
            Done::LookedBack(request_id, channels, since, past) => self.follow(request_id, channels, since, past),
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
