//! Header `Idempotency-Key`: repeating a request without creating a second order
//! (draft-ietf-httpapi-idempotency-key-header).

use std::time::Duration;

use jiff::Timestamp;

use super::OrderError;

/// Largest length of a key in bytes.
const MAX_BYTES: usize = 255;

/// Key that a client gives a request so that it can repeat it: visible ASCII, 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Time for which a key is remembered.
    pub const RETENTION: Duration = Duration::from_secs(24 * 3600);

    /// Largest number of expired keys that are deleted with each new one: more than one, so that they become fewer.
    pub const DELETED_WITH_EACH: i64 = 4;

    /// Returns the time, in milliseconds since 1970, of the newest key that has expired at `now`.
    pub fn expired_at(now: Timestamp) -> i64 {
        now.as_millisecond() - Self::RETENTION.as_millis() as i64
    }

    /// Reads a key from the header.
    ///
    /// # Errors
    /// [`OrderError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OrderError::Invalid("Idempotency-Key: 1 to 255 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the key as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_visible_ascii() {
        for good in ["a", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &"x".repeat(255)] {
            assert_eq!(IdempotencyKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_expires_after_a_day() {
        let day = Timestamp::from_second(2 * 86_400).unwrap();
        assert_eq!(IdempotencyKey::expired_at(day), 86_400_000);
    }
}
