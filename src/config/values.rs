//! Values of settings as people write them: durations, sizes, secrets.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::core::interval::format_interval;

/// A duration: `"500ms"`, `"25s"`, `"1m"`, `"2h"`, `"7d"`, or a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// Reads a text such as `25s`; `None` for what is no duration.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text.trim())?;
        let unit = match unit {
            "" | "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(unit).map(|ms| Self(Duration::from_millis(ms)))
    }
}

/// A number of bytes: `"64KiB"`, `"1MiB"`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

/// Something that never shows: in logs and in printed configurations it is `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Number(i64),
    Text(String),
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..split].parse().ok()?, text[split..].trim()))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("write a duration as \"500ms\", \"25s\", \"1m\", \"2h\" or \"7d\"");
        match Raw::deserialize(deserializer).map_err(|_| wrong())? {
            Raw::Number(ms) => u64::try_from(ms).map(|ms| Self(Duration::from_millis(ms))).map_err(|_| wrong()),
            Raw::Text(text) => Self::parse(&text).ok_or_else(wrong),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = self.0.as_millis();
        let days = (ms > 0 && ms.is_multiple_of(86_400_000)).then(|| format!("{}d", ms / 86_400_000));
        serializer.serialize_str(&days.unwrap_or_else(|| format_interval(self.0)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("write a size as \"64KiB\", \"1MiB\" or a number of bytes");
        let bytes = match Raw::deserialize(deserializer).map_err(|_| wrong())? {
            Raw::Number(bytes) => u64::try_from(bytes).map_err(|_| wrong())?,
            Raw::Text(text) => {
                let (number, unit) = number_and_unit(text.trim()).ok_or_else(wrong)?;
                let shift = match unit {
                    "" | "B" => 0,
                    "KiB" => 10,
                    "MiB" => 20,
                    "GiB" => 30,
                    _ => return Err(wrong()),
                };
                number.checked_mul(1 << shift).ok_or_else(wrong)?
            }
        };
        usize::try_from(bytes).map(Self).map_err(|_| wrong())
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(bytes) = *self;
        let text = match bytes {
            0 => "0".into(),
            _ if bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
            _ if bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
            _ => bytes.to_string(),
        };
        serializer.serialize_str(&text)
    }
}

impl Secret {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it is, for the one place that needs it. Never to be printed or logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { "[redacted]" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Its own message: the usual one repeats the value.
        String::deserialize(deserializer).map(Self).map_err(|_| D::Error::custom("has to be a text"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{self:?}"))
    }
}

/// Writes a URL without what may be a secret in it: the user, the password, and the query.
///
/// # Errors
/// Those of `serializer`.
pub(super) fn without_credentials<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(redact).serialize(serializer)
}

fn redact(url: &str) -> String {
    let (start, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    let (rest, query) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?[redacted]"),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{start}[redacted]@{host}{path}{query}"),
        None => format!("{start}{authority}{path}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<Duration> {
        serde_json::from_str::<Span>(text).ok().map(|span| span.0)
    }

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(span("\"25s\""), Some(Duration::from_secs(25)));
        assert_eq!(span("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(span("\"2h\""), Some(Duration::from_secs(7200)));
        for bad in ["\"soon\"", "-1", "\"1.5s\"", "\"5 days\"", "true", "\"\""] {
            assert_eq!(span(bad), None, "{bad}");
        }
        let size = |text: &str| serde_json::from_str::<Size>(text).ok().map(|size| size.0);
        assert_eq!((size("\"64KiB\""), size("10"), size("\"1 MiB\"")), (Some(65_536), Some(10), Some(1 << 20)));
        assert_eq!((size("\"64KB\""), size("-1")), (None, None));
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("https://id.example/keys", "https://id.example/keys"),
            ("https://ada:pw@id.example:8443/keys?key=k", "https://[redacted]@id.example:8443/keys?[redacted]"),
            ("ada:pw@id.example", "[redacted]@id.example"),
            ("https://id.example/a@b", "https://id.example/a@b"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn a_secret_never_shows() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "[redacted] \"[redacted]\"");
        let error = serde_json::from_str::<Secret>("12345").unwrap_err().to_string();
        assert!(!error.contains("12345"), "{error}");
    }
}
