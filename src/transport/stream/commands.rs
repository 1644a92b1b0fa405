//! The commands of a client: subscriptions, requests and tokens, on every transport whose clients can send.

use std::{collections::HashMap, rc::Rc, sync::Arc, task::Context, time::Duration};

use super::{
    Stream,
    cutover::{Backfill, Cutover},
    rpc::{self, InFlight, RpcError},
    subscriptions,
};
use crate::{
    shutdown::reconnect_soon,
    web::{access, caller::Caller, problem::Problem},
};
use tricast_auth::{Identity, TokenError};
use tricast_cluster::Behind;
use tricast_core::{
    clock::rfc3339,
    counters::Limit,
    position::Position,
    protocol::{
        close::CloseReason,
        command::{Command, Rejection, Token, Wanted},
        error::Code,
        message::{self, RequestId, ServerMessage},
    },
};
use tricast_domain::history::parse_backfill;

/// Receiver of the replies to commands.
pub(in crate::transport) trait Replies {
    /// Sends a message, which is serialized first.
    fn reply(&mut self, message: &ServerMessage<'_>);

    /// Sends a message that is JSON already.
    fn reply_json(&mut self, json: &str);

    /// Sends the rejection of a command as an `error` message.
    fn reject(&mut self, rejection: Rejection);

    /// Ends the connection with this close code, after the pending messages.
    fn close(&mut self, reason: CloseReason);

    /// Returns `true` once nothing is sent any more.
    fn has_ended(&self) -> bool;
}

/// Carries out commands, and keeps those that wait for a result.
pub(in crate::transport) struct Commands {
    in_flight: InFlight<Done>,
    /// Later commands wait for one in flight: a token is verified, or the log catches up with a cursor.
    is_holding: bool,
    /// Most requests in flight; 0 means no limit.
    max_requests: usize,
}

/// Result of a command that had to wait.
enum Done {
    /// The result of a request.
    Called(Option<RequestId>, Result<serde_json::Value, RpcError>),
    /// The log has caught up, or not, with the cursor of subscriptions.
    CaughtUp(Option<RequestId>, Vec<Wanted>, Option<String>, Result<(), Behind>),
    /// Subscriptions that begin with their history.
    Backfilled(Option<RequestId>, Vec<Wanted>, Option<String>, Backfill),
    /// A token was verified.
    Verified(Option<RequestId>, Purpose, Result<Identity, TokenError>),
}

/// Purpose of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// First token of a connection, in `authenticate`.
    Authenticate,
    /// Newer token of the same user, in `refresh_token`.
    Refresh,
}

impl Commands {
    /// Allows `max_requests` in flight; 0 means no limit.
    pub(in crate::transport) fn new(max_requests: usize) -> Self {
        Self { in_flight: InFlight::new(), is_holding: false, max_requests }
    }

    /// Returns whether the client's next command has to wait.
    pub(in crate::transport) fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// Completes one command that waited for its result; false if none is ready.
    pub(in crate::transport) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        replies: &mut impl Replies,
    ) -> bool {
        match self.in_flight.poll_next(cx) {
            Some(done) => {
                self.finish(stream, done, replies);
                true
            }
            None => false,
        }
    }

    /// Carries out a command about the stream. Those about the connection itself (`ping`, `configure`, `disconnect`) belong
    /// to the transport and are ignored.
    pub(in crate::transport) fn execute(
        &mut self,
        stream: &mut Stream,
        request_id: Option<RequestId>,
        command: Command,
        replies: &mut impl Replies,
    ) {
        if let Command::Authenticate(token) = command {
            return self.verify(stream, request_id, token, Purpose::Authenticate, replies);
        }
        let Some(caller) = stream.caller().cloned() else {
            return replies.reject(Rejection::new(request_id, Code::Unauthorized, "send authenticate first"));
        };
        let reader = &mut stream.reader;
        let reply = match command {
            Command::Subscribe { channels, since } => {
                let log = &caller.tenant.log;
                let ahead = since.as_ref().and_then(|cursor| stream.state.shared.tenants.ahead(log, cursor));
                return match ahead {
                    Some(ahead) => self.catch_up(stream, &caller, request_id, channels, ahead),
                    None => self.subscribe(stream, &caller, request_id, channels, since, replies),
                };
            }
            Command::Unsubscribe(names) => subscriptions::unsubscribe(reader, request_id, names),
            Command::Pause(names) => subscriptions::pause(reader, request_id, names),
            Command::Resume(names) => subscriptions::resume_paused(reader, request_id, names),
            Command::Request { action, params } => {
                return self.request(stream, caller, request_id, action, params, replies);
            }
            Command::RefreshToken(token) => return self.verify(stream, request_id, token, Purpose::Refresh, replies),
            Command::Authenticate(_)
            | Command::Ping
            | Command::Pong(_)
            | Command::Configure { .. }
            | Command::Disconnect => return,
        };
        match reply {
            Ok(message) => replies.reply(&message),
            Err(rejection) => replies.reject(rejection),
        }
    }

    fn subscribe(
        &mut self,
        stream: &mut Stream,
        caller: &Caller,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        since: Option<String>,
        replies: &mut impl Replies,
    ) {
        if channels.iter().any(|wanted| wanted.backfill.is_some()) {
            return self.backfill(stream, caller, request_id, channels, since, replies);
        }
        let subscribed = stream.subscribe(&caller.identity, request_id, channels, since, HashMap::new());
        replies.reply(&subscribed);
    }

    /// Waits until this node has read up to `ahead`, a cursor of another node: otherwise the client would receive older
    /// values than it has. Later commands wait, because they may concern these subscriptions.
    fn catch_up(
        &mut self,
        stream: &Stream,
        caller: &Caller,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        ahead: Position,
    ) {
        let (state, log) = (Rc::clone(&stream.state), Arc::clone(&caller.tenant.log));
        self.is_holding = true;
        self.in_flight.push(async move {
            let caught_up = state.shared.tenants.catch_up(&log, &ahead).await;
            Done::CaughtUp(request_id, channels, Some(ahead.to_string()), caught_up)
        });
    }

    fn verify(
        &mut self,
        stream: &Stream,
        request_id: Option<RequestId>,
        Token(token): Token,
        purpose: Purpose,
        replies: &mut impl Replies,
    ) {
        if !stream.state.shared.access.requires_tokens() {
            let message = "this server runs without authentication: continue without a token";
            return replies.reject(Rejection::new(request_id, Code::InvalidMessage, message));
        }
        let (state, address) = (Rc::clone(&stream.state), stream.address());
        // Later commands are meant for the identity that the token gives.
        self.is_holding = true;
        self.in_flight
            .push(async move { Done::Verified(request_id, purpose, access::verify(&state, &token, address).await) });
    }

    fn request(
        &mut self,
        stream: &Stream,
        caller: Caller,
        request_id: Option<RequestId>,
        action: String,
        params: serde_json::Map<String, serde_json::Value>,
        replies: &mut impl Replies,
    ) {
        if let Some(rejection) = self.over_limit(stream, &request_id) {
            return replies.reject(rejection);
        }
        let state = Rc::clone(&stream.state);
        self.in_flight.push(async move { Done::Called(request_id, rpc::call(&state, caller, action, params).await) });
    }

    /// Returns the rejection of a command that would have to wait, if too many wait already.
    fn over_limit(&self, stream: &Stream, request_id: &Option<RequestId>) -> Option<Rejection> {
        let most = self.max_requests;
        if most == 0 || self.in_flight.len() < most {
            return None;
        }
        stream.state.shared.counters.limit(Limit::Requests).inc();
        let message = format!("{most} requests are pending: wait for one of them");
        let rejection = Rejection::new(request_id.clone(), Code::RateLimited, message);
        Some(Rejection { retry_after: Some(Duration::from_millis(100)), ..rejection })
    }

    /// Queries the history that the subscriptions begin with.
    fn backfill(
        &mut self,
        stream: &Stream,
        caller: &Caller,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        since: Option<String>,
        replies: &mut impl Replies,
    ) {
        let mut wanted = Vec::new();
        for Wanted { parsed, backfill, .. } in &channels {
            match (parsed, backfill.as_deref().map(parse_backfill).transpose()) {
                (_, Err(error)) => {
                    return replies.reject(Rejection::new(request_id, Code::InvalidMessage, error.to_string()));
                }
                (Ok((selector, _)), Ok(Some(span))) if tricast_auth::may_read(&caller.identity, selector) => {
                    wanted.push((selector.clone(), span));
                }
                _ => {}
            }
        }
        if let Some(rejection) = self.over_limit(stream, &request_id) {
            return replies.reject(rejection);
        }
        let backfill = Cutover::set(caller, &wanted, stream.state.shared.clock.now()).query(caller);
        self.in_flight.push(async move { Done::Backfilled(request_id, channels, since, backfill.await) });
    }

    fn finish(&mut self, stream: &mut Stream, done: Done, replies: &mut impl Replies) {
        if matches!(done, Done::Verified(..) | Done::CaughtUp(..)) {
            self.is_holding = false;
        }
        if replies.has_ended() {
            // Nothing may follow the end of the stream (RFC 6455, section 5.5.1).
            return;
        }
        match done {
            Done::Verified(request_id, purpose, verified) => accept(stream, request_id, purpose, verified, replies),
            Done::CaughtUp(request_id, channels, since, caught_up) => match (caught_up, stream.caller().cloned()) {
                (Ok(()), Some(caller)) => self.subscribe(stream, &caller, request_id, channels, since, replies),
                (Ok(()), None) => {}
                (Err(behind), _) => {
                    let (reason, message) = (Code::Behind.as_str(), behind.to_string());
                    replies.reply(&ServerMessage::disconnecting(reason, &message, Some(reconnect_soon())));
                    replies.close(CloseReason::Behind);
                }
            },
            Done::Backfilled(request_id, channels, since, backfill) => {
                follow(stream, request_id, channels, since, backfill, replies);
            }
            Done::Called(request_id, Ok(data)) => {
                let request_id = request_id.unwrap_or_default();
                replies.reply(&ServerMessage::Response { request_id, status: "success", data });
            }
            Done::Called(request_id, Err((code, message))) => {
                replies.reject(Rejection::new(request_id, code, message));
            }
        }
    }
}

/// Starts subscriptions whose history is there, or could not be read.
fn follow(
    stream: &mut Stream,
    request_id: Option<RequestId>,
    channels: Vec<Wanted>,
    since: Option<String>,
    backfill: Backfill,
    replies: &mut impl Replies,
) {
    // The identity may have changed in the meantime; it was authenticated then, too.
    let Some(caller) = stream.caller().cloned() else { return };
    let mut states = backfill.states;
    if backfill.view != tricast_auth::view(&caller.identity) {
        // Another token was accepted in the meantime: the snapshot of the cutover is not for its holder.
        states.retain(|selector, _| !selector.is_snapshot());
    }
    let subscribed = stream.subscribe(&caller.identity, request_id.clone(), channels, since, states);
    replies.reply(&subscribed);
    match backfill.chapters {
        Ok(chapters) => {
            let cursor = stream.reader.out_of_band_cursor();
            let may = |channel| tricast_auth::may_read_channel(&caller.identity, channel);
            for chapter in chapters.iter().filter(|chapter| may(&chapter.channel)) {
                let channel = chapter.channel.as_str();
                replies.reply_json(&message::history(request_id.as_ref(), channel, &chapter.data(), &cursor));
            }
        }
        Err(error) => {
            let Problem { code, detail, .. } = error.into();
            replies.reject(Rejection::new(request_id, code, format!("backfill: {detail}")));
        }
    }
}

/// Authenticates the stream, or replaces its token, with a token that was verified.
fn accept(
    stream: &mut Stream,
    request_id: Option<RequestId>,
    purpose: Purpose,
    verified: Result<Identity, TokenError>,
    replies: &mut impl Replies,
) {
    let identity = match verified {
        Ok(identity) => identity,
        Err(error) => {
            replies.reject(Rejection::new(request_id, Code::Unauthorized, format!("the token {error}")));
            if purpose == Purpose::Authenticate {
                let retry = error.may_pass();
                replies.close(if retry { CloseReason::TokenExpired } else { CloseReason::TokenInvalid });
            }
            // After a failed refresh the earlier token is still good.
            return;
        }
    };
    let Some(known) = stream.caller() else {
        return match stream.authenticate(identity) {
            Ok(()) => welcome(stream, request_id, purpose, replies),
            Err(problem) => {
                let rejection = Rejection::new(request_id, problem.code, problem.detail);
                replies.reject(Rejection { retry_after: problem.retry_after, ..rejection });
                replies.close(CloseReason::RateLimited);
            }
        };
    };
    if !known.identity.is_same_user(&identity) {
        let message = "this token is of another user: open a connection of its own";
        return replies.reject(Rejection::new(request_id, Code::Forbidden, message));
    }
    let unsubscribed = stream.refresh(identity);
    welcome(stream, request_id, purpose, replies);
    if !unsubscribed.is_empty() {
        let active_subscriptions = stream.reader.active();
        let channels = unsubscribed;
        replies.reply(&ServerMessage::Unsubscribed { request_id: None, channels, active_subscriptions });
    }
}

fn welcome(stream: &Stream, request_id: Option<RequestId>, purpose: Purpose, replies: &mut impl Replies) {
    let Some(Caller { identity, tenant, .. }) = stream.caller() else { return };
    let expires_at = identity.expires_at.map(rfc3339);
    match purpose {
        Purpose::Refresh => {
            replies.reply(&ServerMessage::TokenRefreshed { request_id, expires_at, unsubscribed: Vec::new() });
        }
        Purpose::Authenticate => replies.reply(&ServerMessage::Authenticated {
            request_id,
            user_id: &identity.user,
            permissions: identity.permissions.names().collect(),
            expires_at,
            capabilities: &tricast_auth::capabilities(identity),
            cursor: tenant.log.position().to_string(),
        }),
    }
}
