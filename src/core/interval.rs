//! The shortest time between two updates of one channel to one subscriber.

use std::time::Duration;

/// Longest interval that can be asked for.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// Why a text or number is no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no interval: write \"500ms\", \"5s\", \"1m\" or a number of milliseconds, at most 1 h")]
pub struct IntervalError(String);

/// Reads `500ms`, `5s`, `1m`, `1h` or a bare number of milliseconds.
///
/// # Errors
/// [`IntervalError`] when it is none of these, negative, or above [`MAX_INTERVAL`].
pub fn parse_interval(text: &str) -> Result<Duration, IntervalError> {
    let interval = parse_duration(text).filter(|interval| *interval <= MAX_INTERVAL);
    interval.ok_or_else(|| IntervalError(text.chars().take(40).collect()))
}

/// Reads a duration in any of these forms, or in days (`7d`).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let unit_ms = match &text[split..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// An interval as clients read it: in the largest unit that keeps it whole (`"500ms"`, `"5s"`).
pub fn format_interval(interval: Duration) -> String {
    let ms = interval.as_millis();
    match ms {
        0 => "0ms".into(),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_in_every_form() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m", 60_000), ("250", 250), ("0", 0), ("1h", 3_600_000)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1", "1.5s", "5 s", "2h", "1d", "99999999999999999999", "5x", "１s"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for ms in [0, 1, 500, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            let interval = Duration::from_millis(ms);
            assert_eq!(parse_interval(&format_interval(interval)), Ok(interval));
        }
    }
}
