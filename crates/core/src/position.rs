//! Cursor of all transports: SSE `id:`, WebSocket `cursor`, the poll body's `cursor`, `?since=` and `Last-Event-ID`.

use std::{fmt, str::FromStr, sync::Arc};

use crate::ids::random_u64;

/// Short random name of one lifetime of a log. Offsets of different epochs are unrelated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch(Arc<str>);

/// Longest epoch that is accepted from a client, in bytes; those of this server have 8.
const MAX_EPOCH_BYTES: usize = 32;

impl Epoch {
    /// Creates a random epoch of 8 base-36 digits (41 bits: two successive logs practically never have the same).
    pub fn random() -> Self {
        Self::of_bits(random_u64())
    }

    /// Returns the epoch of 8 base-36 digits for these bits.
    pub fn of_bits(mut bits: u64) -> Self {
        let digits: String = (0..8)
            .map(|_| {
                let digit = (bits % 36) as u32;
                bits /= 36;
                char::from_digit(digit, 36).unwrap_or('0')
            })
            .collect();
        Self(digits.into())
    }

    /// Checks a name from outside (a client, a bus).
    ///
    /// # Errors
    /// [`CursorError`] unless it is `[A-Za-z0-9_-]{1,32}`.
    pub fn parse(name: &str) -> Result<Self, CursorError> {
        let fine = !name.is_empty()
            && name.len() <= MAX_EPOCH_BYTES
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if fine { Ok(Self(name.into())) } else { Err(CursorError) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Position in a log: its holder has received everything up to `offset`.
///
/// The text is `EPOCH:OFFSET`, or `EPOCH:OFFSET.STATE` in the one case where a subscription's interval delays a state
/// while a later event was sent: then events were delivered up to `OFFSET`, states only up to `STATE`. It is opaque to
/// clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Epoch of the log.
    pub epoch: Epoch,
    /// Offset up to which events were delivered.
    pub offset: u64,
    /// Offset up to which states were delivered; at most `offset`.
    pub state: u64,
}

impl Position {
    /// Creates the position of a reader that has everything up to `offset`.
    pub fn new(epoch: Epoch, offset: u64) -> Self {
        Self { epoch, offset, state: offset }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)?;
        if self.state < self.offset { write!(f, ".{}", self.state) } else { Ok(()) }
    }
}

/// Error: the text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: write it back exactly as it was received (EPOCH:OFFSET)")]
pub struct CursorError;

impl FromStr for Position {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let number = |digits: &str| -> Result<u64, CursorError> {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(CursorError);
            }
            digits.parse().map_err(|_| CursorError)
        };
        let (epoch, rest) = text.split_once(':').ok_or(CursorError)?;
        let epoch = Epoch::parse(epoch)?;
        let (offset, state) = match rest.split_once('.') {
            None => (number(rest)?, number(rest)?),
            Some((offset, state)) => (number(offset)?, number(state)?),
        };
        // A state beyond the offset means the same as the offset.
        Ok(Self { epoch, offset, state: state.min(offset) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_cursor_is_read_back_unchanged(offset: u64, behind: u64) {
            let position = Position { epoch: Epoch::random(), offset, state: offset.saturating_sub(behind) };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert!(position.state <= position.offset);
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            ":",
            "a:",
            ":1",
            "a",
            "a:-1",
            "a:+1",
            "a: 1",
            "a:1.",
            "a:18446744073709551616",
            "a b:1",
            "a:1:2",
            "a:0x1",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(CursorError), "{bad}");
        }
        assert!("no-such-epoch:999999999".parse::<Position>().is_ok());
        assert!(Epoch::parse(&"x".repeat(32)).is_ok() && Epoch::parse(&"x".repeat(33)).is_err());
        assert_eq!("a:1.2".parse::<Position>(), "a:1".parse());
    }

    #[test]
    fn epochs_differ() {
        assert_ne!(Epoch::random(), Epoch::random());
    }
}
