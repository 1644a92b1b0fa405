//! Expiry of the token of a stream: the warning, and the end.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use tricast_auth::Identity;

/// Time before the expiry at which the client is warned (docs/protocol.md, section 2.1).
const WARNING: Duration = Duration::from_secs(300);

/// Action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Expiring {
    /// Warn the client, once: the token expires in so many seconds.
    Soon(u64),
    /// End the stream: the token has expired.
    Over,
}

/// Expiry of one token.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct Expiry {
    at: Option<Instant>,
    warned: bool,
}

impl Expiry {
    /// Returns the expiry of the token of `identity`, computed at `now`.
    pub(in crate::transport) fn of(identity: &Identity, now: Timestamp) -> Self {
        let left = identity.expires_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        // A time beyond the range of the clock is never reached.
        Self { at: left.and_then(|left| Instant::now().checked_add(left)), warned: false }
    }

    /// Returns the action that is due at `now`.
    pub(in crate::transport) fn due(&mut self, now: Instant) -> Option<Expiring> {
        let left = self.at?.saturating_duration_since(now);
        if left.is_zero() {
            return Some(Expiring::Over);
        }
        if self.warned || left > WARNING {
            return None;
        }
        self.warned = true;
        Some(Expiring::Soon(left.as_secs()))
    }

    /// Returns the time of the next action.
    pub(in crate::transport) fn deadline(&self) -> Option<Instant> {
        let at = self.at?;
        if self.warned { Some(at) } else { Some(at.checked_sub(WARNING).unwrap_or(at)) }
    }

    /// Returns the time at which the token expires.
    pub(in crate::transport) fn at(&self) -> Option<Instant> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_announced_once_and_then_ends() {
        let now = Instant::now();
        let mut expiry = Expiry { at: Some(now + Duration::from_secs(1_000)), warned: false };
        assert_eq!(expiry.due(now), None);
        assert_eq!(expiry.deadline(), Some(now + Duration::from_secs(700)));
        assert_eq!(expiry.due(now + Duration::from_secs(700)), Some(Expiring::Soon(300)));
        assert_eq!(expiry.due(now + Duration::from_secs(800)), None);
        assert_eq!(expiry.deadline(), expiry.at);
        assert_eq!(expiry.due(now + Duration::from_secs(1_000)), Some(Expiring::Over));
        assert_eq!(Expiry::default().due(now), None);
    }
}
