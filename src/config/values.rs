//! Values of settings as people write them: sizes and secrets. Durations are [`Span`](tricast_core::span::Span).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number of bytes: `"64KiB"`, `"1MiB"`, or a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// Text that is never shown: logs and printed configurations have `[redacted]` in its place.
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

impl Size {
    /// A size of mebibytes.
    pub const fn mebibytes(count: usize) -> Self {
        Self(count << 20)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => bytes.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Secret {
    /// Returns whether the text is empty: the setting is not set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text, for the one place that needs it. It must not be printed or logged.
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
        // A message of its own, since serde's repeats the value.
        String::deserialize(deserializer).map(Self).map_err(|_| D::Error::custom("has to be a text"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // None is left out of a printed configuration, as settings that are not set.
        if self.is_empty() { serializer.serialize_none() } else { serializer.collect_str(&format_args!("{self:?}")) }
    }
}

/// Serializes a URL without the parts that may be secret: user, password and query.
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

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let size = |text: &str| serde_json::from_str::<Size>(text).ok().map(|size| size.0);
        assert_eq!((size("\"64KiB\""), size("10"), size("\"1 MiB\"")), (Some(65_536), Some(10), Some(1 << 20)));
        assert_eq!((size("\"64KB\""), size("-1")), (None, None));
    }

    #[test]
    fn a_url_is_printed_without_its_secret_parts() {
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
