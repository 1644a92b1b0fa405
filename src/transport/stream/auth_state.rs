//! Authentication state of a stream: unauthenticated until a token is accepted, then authenticated until it expires.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::token_expiry::{Expiring, Expiry};
use crate::web::caller::Caller;
use tricast_auth::Identity;

/// Authentication state of a stream.
pub(in crate::transport) enum AuthState {
    /// No token was accepted yet.
    Unauthenticated {
        /// Time at which the stream is ended; `None` for no limit.
        until: Option<Instant>,
        /// Time that the client has; zero for no limit.
        timeout: Duration,
    },
    /// A token was accepted, or none is needed.
    Authenticated(Box<Authenticated>),
}

/// The client's identity, and the expiry of its token.
pub(in crate::transport) struct Authenticated {
    caller: Caller,
    expiry: Expiry,
}

/// Event that follows from the passing of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthEvent {
    /// The token expires in so many seconds.
    Expiring(u64),
    /// The token has expired.
    Expired,
    /// The key was revoked.
    Revoked,
    /// No token was accepted in time.
    TimedOut,
}

impl AuthState {
    /// Returns the state of a stream that starts at `now`. Without a caller it has `timeout` to show a token; zero means no
    /// limit.
    pub(super) fn new(caller: Option<Caller>, timeout: Duration, now: Timestamp) -> Self {
        match caller {
            Some(caller) => {
                let expiry = Expiry::of(&caller.identity, now);
                Self::Authenticated(Box::new(Authenticated { caller, expiry }))
            }
            None => {
                let until = (!timeout.is_zero()).then(|| Instant::now() + timeout);
                Self::Unauthenticated { until, timeout }
            }
        }
    }

    /// Restarts the time that an unauthenticated client has, because this process was paused.
    pub(in crate::transport) fn renew(&mut self, now: Instant) {
        if let Self::Unauthenticated { until: Some(until), timeout } = self {
            *until = now + *timeout;
        }
    }

    /// Returns the client's identity and tenant.
    pub(in crate::transport) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Authenticated(authenticated) => Some(&authenticated.caller),
            Self::Unauthenticated { .. } => None,
        }
    }

    /// Returns whether the client's key was revoked.
    pub(super) fn is_revoked(&self) -> bool {
        self.caller().is_some_and(|caller| caller.identity.is_revoked())
    }

    /// Replaces the identity of the same user, with its expiry, and returns it; `None` if there is none to replace.
    pub(super) fn refresh(&mut self, identity: Identity, now: Timestamp) -> Option<&Caller> {
        let Self::Authenticated(authenticated) = self else { return None };
        let identity = identity.with_address(authenticated.caller.identity.address());
        authenticated.expiry = Expiry::of(&identity, now);
        authenticated.caller.identity = identity;
        Some(&authenticated.caller)
    }

    /// Returns the event that is due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<AuthEvent> {
        match self {
            Self::Unauthenticated { until, .. } => until.filter(|until| now >= *until).map(|_| AuthEvent::TimedOut),
            Self::Authenticated(authenticated) if authenticated.caller.identity.is_revoked() => {
                Some(AuthEvent::Revoked)
            }
            Self::Authenticated(authenticated) => match authenticated.expiry.due(now)? {
                Expiring::Soon(seconds) => Some(AuthEvent::Expiring(seconds)),
                Expiring::Over => Some(AuthEvent::Expired),
            },
        }
    }

    /// Returns the time of the next event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Authenticated(authenticated) => authenticated.expiry.deadline(),
            Self::Unauthenticated { until, .. } => *until,
        }
    }
}
