//! Asking twice for one order: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use std::time::Duration;

use super::OrderError;

/// Longest key, in bytes.
const MAX_BYTES: usize = 255;

/// What a client names a request by, so that it may repeat it: visible ASCII, 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// How long a key is known.
    pub const KEPT: Duration = Duration::from_secs(24 * 3600);

    /// Reads a key as it was sent.
    ///
    /// # Errors
    /// [`OrderError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OrderError::Invalid("Idempotency-Key: 1 to 255 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_visible() {
        for good in ["a", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &"x".repeat(255)] {
            assert!(IdempotencyKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
