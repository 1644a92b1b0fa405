//! The shortest time between two updates of one state channel to one subscriber.

use std::time::Duration;

use super::span::Span;

/// Longest interval that a client can ask for.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// A text or number that is not an interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interval: write \"500ms\", \"5s\", \"1m\" or a number of milliseconds, at most 1 h")]
pub struct IntervalError(String);

/// Reads an interval: a [`Span`] of at most [`MAX_INTERVAL`].
///
/// # Errors
/// [`IntervalError`] for any other text.
pub fn parse_interval(text: &str) -> Result<Duration, IntervalError> {
    match Span::parse(text) {
        Ok(Span(interval)) if interval <= MAX_INTERVAL => Ok(interval),
        _ => Err(IntervalError(text.chars().take(40).collect())),
    }
}

/// Returns an interval as clients read it, in the largest unit that keeps it whole: `500ms`, `5s`.
pub fn format_interval(interval: Duration) -> String {
    Span(interval).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_up_to_an_hour() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m", 60_000), ("250", 250), ("0", 0), ("1h", 3_600_000)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1", "2h", "1d", "3600001", "99999999999999999999", "5x", "１s"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_formatted_interval_reads_back() {
        for ms in [0, 1, 500, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            let interval = Duration::from_millis(ms);
            assert_eq!(parse_interval(&format_interval(interval)), Ok(interval));
        }
    }
}
