//! When the token of a stream runs out: the warning, and the end.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::auth::Identity;

/// Time before a token's expiry at which its client is warned (docs/protocol.md, section 2.1).
const WARNING: Duration = Duration::from_secs(300);

/// What follows from the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiring {
    /// The token is good for so many seconds more; told once.
    Soon(u64),
    /// It ran out.
    Over,
}

/// The end of one token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry {
    at: Option<Instant>,
    warned: bool,
}

impl Expiry {
    /// The end of the token of `identity`, seen at `now`.
    pub(super) fn of(identity: &Identity, now: Timestamp) -> Self {
        let left = identity.expires_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        // A token that outlives the clock does not end.
        Self { at: left.and_then(|left| Instant::now().checked_add(left)), warned: false }
    }

    /// What is to be told at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<Expiring> {
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

    /// When there is something to tell next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at = self.at?;
        if self.warned { Some(at) } else { Some(at.checked_sub(WARNING).unwrap_or(at)) }
    }

    /// When the token runs out.
    pub(super) fn at(&self) -> Option<Instant> {
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
