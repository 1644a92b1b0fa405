//! Durations as clients and settings write them: `500ms`, `25s`, `1m`, `7d`, or a number of milliseconds.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Duration of whole milliseconds, zero or more.
///
/// It is parsed from a bare number, which means milliseconds, and from the formats of jiff: `500ms`, `1h 30m`, `7d`,
/// `PT8M30S`. A day has 24 hours. It is formatted in the largest unit without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Error: a text or number is not a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a duration as \"500ms\", \"25s\", \"1m\", \"2h\" or \"7d\"")]
pub struct SpanError;

/// Units in milliseconds, the largest first.
const UNITS: [(&str, u128); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// Span of no time.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Creates a span of milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Creates a span of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Creates a span of days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self::from_secs(days * 86_400)
    }

    /// Parses a span.
    ///
    /// # Errors
    /// [`SpanError`] if the text is not a span, is negative, has months or years, or has a fraction of a millisecond.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::from_millis).map_err(|_| SpanError);
        }
        let span: jiff::Span = text.parse().map_err(|_| SpanError)?;
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| SpanError)?;
        let duration = Duration::try_from(signed).map_err(|_| SpanError)?;
        if duration.subsec_nanos() % 1_000_000 == 0 { Ok(Self(duration)) } else { Err(SpanError) }
    }

    /// Returns the span in milliseconds, at most `i64::MAX`.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Returns whether the span is zero.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

/// Formats a number of seconds as ISO 8601: `PT8M30S`.
pub fn iso_8601(seconds: u64) -> String {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)).to_string()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let largest = UNITS.iter().find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
        let (name, unit) = largest.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / unit)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer).map_err(|_| D::Error::custom(SpanError))? {
            Raw::Number(ms) => Ok(Self::from_millis(ms)),
            Raw::Text(text) => Self::parse(&text).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_in_every_unit_and_written_in_the_largest() {
        for (text, written, ms) in [
            ("500ms", "500ms", 500),
            ("90", "90ms", 90),
            ("60s", "1m", 60_000),
            ("90m", "90m", 5_400_000),
            ("24h", "1d", 86_400_000),
            ("7d", "7d", 604_800_000),
            ("730d", "730d", 63_072_000_000),
            ("0s", "0ms", 0),
            ("1.5s", "1500ms", 1_500),
            (" 5 s ", "5s", 5_000),
            ("1h 30m", "90m", 5_400_000),
            ("PT8M30S", "510s", 510_000),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.as_millis(), span.to_string().as_str()), (ms, written), "{text}");
            assert_eq!(Span::parse(written), Ok(span));
        }
        assert_eq!(serde_json::from_str::<Span>("1500").unwrap(), Span::from_millis(1_500));
        assert_eq!(serde_json::from_str::<Span>("\"2h\"").unwrap(), Span::from_secs(7_200));
    }

    #[test]
    fn other_texts_and_values_are_refused() {
        for bad in ["", "s", "-1", "-1s", "5s ago", "1us", "5x", "soon", "1mo", "P1Y", "１s"] {
            assert_eq!(Span::parse(bad), Err(SpanError), "{bad}");
            assert!(serde_json::from_value::<Span>(bad.into()).is_err());
        }
        for bad in ["99999999999999999999", "9999999999999999d"] {
            assert_eq!(Span::parse(bad), Err(SpanError), "{bad}");
        }
        for bad in ["-5", "1.5", "true", "null", "[]"] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn iso_8601_durations_have_hours_minutes_and_seconds() {
        for (seconds, text) in [(0, "PT0S"), (5, "PT5S"), (510, "PT8M30S"), (3600, "PT1H"), (90_061, "PT25H1M1S")] {
            assert_eq!(iso_8601(seconds), text);
        }
    }

    proptest! {
        #[test]
        fn a_written_span_reads_back(ms in 0u64..100_000_000_000_000, text: String) {
            let span = Span::from_millis(ms);
            prop_assert_eq!(Span::parse(&span.to_string()), Ok(span));
            // Whatever a client sends, reading it does not panic.
            let _ = Span::parse(&text);
        }
    }
}
