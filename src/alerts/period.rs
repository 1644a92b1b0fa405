//! Spans of time in rules: `"30s"`, `"5m"`, `"1h"`, `"7d"`, or a number of milliseconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A span of time, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// Units, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// So many seconds.
    pub const fn of_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads `30s`, `5m`, `1h`, `7d`, `500ms` or a bare number of milliseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..split].parse().ok()?;
        let unit = match &text[split..] {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        number.checked_mul(unit).map(Duration::from_millis).map(Self)
    }

    /// In milliseconds, which is what clocks here count in.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether it is none at all.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl fmt::Display for Period {
    /// In the largest unit that keeps it whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis() as u64;
        let whole = UNITS.iter().find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / unit)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let wrong = || D::Error::custom("write a span of time as \"30s\", \"5m\", \"1h\" or \"7d\"");
        match Raw::deserialize(deserializer).map_err(|_| wrong())? {
            Raw::Number(ms) => Ok(Self(Duration::from_millis(ms))),
            Raw::Text(text) => Self::parse(&text).ok_or_else(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
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
            ("0s", "0ms", 0),
        ] {
            let period = Period::parse(text).unwrap();
            assert_eq!((period.as_millis(), period.to_string().as_str()), (ms, written), "{text}");
            assert_eq!(Period::parse(written), Some(period));
        }
        for bad in ["", "s", "-1s", "1.5s", "5 s", "1w", "1H", "99999999999999999999", "9999999999999999d", "１s"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
            assert!(serde_json::from_value::<Period>(bad.into()).is_err());
        }
        assert_eq!(serde_json::from_str::<Period>("1500").unwrap().0, Duration::from_millis(1_500));
        assert!(serde_json::from_str::<Period>("-5").is_err());
    }
}
