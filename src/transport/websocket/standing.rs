//! Whose a connection is: nobody's until a token is shown, then a user's until the token runs out.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::session::Session;
use crate::{
    auth::{self, Identity, TokenError},
    core::{
        clock::rfc3339,
        reader::{CatchUp, Reader},
    },
    counters::Limit,
    http::access::Caller,
    protocol::{
        close::CloseReason,
        command::Rejection,
        error::Code,
        message::{RequestId, ServerMessage},
    },
    transport::{
        expiry::{Expiring, Expiry},
        subscriptions,
    },
};

/// Whose a connection is.
pub(super) enum Standing {
    /// Nobody's, and it is closed at this time.
    Unknown(Option<Instant>),
    /// A user's.
    Known(Box<Known>),
}

/// A user, and the end of the token.
pub(super) struct Known {
    caller: Caller,
    expiry: Expiry,
}

impl Standing {
    /// Of a connection that begins at `now`. Whoever is nobody has `timeout` to say who it is; zero means for ever.
    pub(super) fn of(caller: Option<Caller>, timeout: Duration, now: Timestamp) -> Self {
        match caller {
            Some(caller) => {
                let expiry = Expiry::of(&caller.identity, now);
                Self::Known(Box::new(Known { caller, expiry }))
            }
            None => Self::Unknown((!timeout.is_zero()).then(|| Instant::now() + timeout)),
        }
    }

    /// Gives whoever has not said who they are the whole `timeout` again.
    pub(super) fn renew(&mut self, now: Instant, timeout: Duration) {
        if let Self::Unknown(Some(until)) = self {
            *until = now + timeout;
        }
    }

    /// Who it is.
    pub(super) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Known(known) => Some(&known.caller),
            Self::Unknown(_) => None,
        }
    }

    /// When there is something to look at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Known(known) => known.expiry.deadline(),
            Self::Unknown(until) => *until,
        }
    }
}

/// What a token was shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `authenticate`.
    Authenticate,
    /// `refresh_token`.
    Refresh,
}

impl Session {
    /// Warns of a token that runs out, and ends a connection that has none.
    pub(super) fn watch_token(&mut self, now: Instant) {
        match &mut self.standing {
            Standing::Unknown(until) => {
                if until.is_some_and(|until| now >= until) {
                    self.state.counters.limit(Limit::AuthTimeout).inc();
                    self.end_without_token("no token came in time");
                }
            }
            Standing::Known(known) => match known.expiry.due(now) {
                Some(Expiring::Soon(expires_in)) => {
                    let message = "your token runs out: send refresh_token with a new one";
                    self.say(&ServerMessage::AuthExpiring { expires_in, message });
                }
                Some(Expiring::Over) => self.end_without_token("the token has run out"),
                None => {}
            },
        }
    }

    fn end_without_token(&mut self, message: &str) {
        self.reject(Rejection::new(None, Code::Unauthorized, message));
        self.close(CloseReason::TokenExpired);
    }

    /// A token was looked at.
    pub(super) fn admit(
        &mut self,
        request_id: Option<RequestId>,
        purpose: Purpose,
        verified: Result<Identity, TokenError>,
    ) {
        let identity = match verified {
            Ok(identity) => identity,
            Err(error) => {
                self.reject(Rejection::new(request_id, Code::Unauthorized, format!("the token {error}")));
                if purpose == Purpose::Authenticate {
                    let passes = error.may_pass();
                    self.close(if passes { CloseReason::TokenExpired } else { CloseReason::TokenInvalid });
                }
                // A refresh that fails leaves the token that is still good.
                return;
            }
        };
        if let Standing::Known(known) = &mut self.standing {
            if !known.caller.identity.is_same_user(&identity) {
                let message = "this token is of another user: open a connection of its own";
                return self.reject(Rejection::new(request_id, Code::Forbidden, message));
            }
            let identity = identity.with_address(known.caller.identity.address());
            known.expiry = Expiry::of(&identity, self.state.clock.now());
            known.caller.identity = identity;
            self.welcome(request_id, purpose);
            self.recheck();
            return;
        }
        let address = self.slot.client();
        let caller = self.state.caller(identity.with_address(address));
        let admitted = caller.and_then(|caller| self.state.belongs(&mut self.slot, &caller).map(|()| caller));
        match admitted {
            Err(problem) => {
                let rejection = Rejection::new(request_id, problem.code, problem.detail);
                self.reject(Rejection { retry_after: problem.retry_after, ..rejection });
                self.close(CloseReason::RateLimited);
            }
            Ok(caller) => {
                self.reader = Reader::open(&caller.tenant.hub, CatchUp::StatesFirst);
                self.reader.set_filter(subscriptions::filter(&caller.identity));
                self.standing = Standing::of(Some(caller), Duration::ZERO, self.state.clock.now());
                self.welcome(request_id, purpose);
            }
        }
    }

    fn welcome(&mut self, request_id: Option<RequestId>, purpose: Purpose) {
        let Some(Caller { identity, tenant }) = self.standing.caller().cloned() else { return };
        let expires_at = identity.expires_at.map(rfc3339);
        match purpose {
            Purpose::Refresh => {
                self.say(&ServerMessage::TokenRefreshed { request_id, expires_at, unsubscribed: Vec::new() })
            }
            Purpose::Authenticate => self.say(&ServerMessage::Authenticated {
                request_id,
                user_id: &identity.user,
                permissions: identity.permissions.names().collect(),
                expires_at,
                capabilities: &auth::capabilities(&identity),
                cursor: tenant.log.position().to_string(),
            }),
        }
    }

    /// Ends the subscriptions that the new token does not allow.
    fn recheck(&mut self) {
        let Some(identity) = self.standing.caller().map(|caller| caller.identity.clone()) else { return };
        let channels = subscriptions::recheck(&mut self.reader, &identity);
        if !channels.is_empty() {
            let active_subscriptions = self.reader.active();
            self.say(&ServerMessage::Unsubscribed { request_id: None, channels, active_subscriptions });
        }
    }
}
