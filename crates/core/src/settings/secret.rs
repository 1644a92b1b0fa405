//! Secrets, and URLs that may hold one.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Text that is never shown: logs and printed configurations have `[redacted]` in its place.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

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

/// A URL that is shown without the parts that may be secret: user, password and query.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedactedUrl(String);

impl Deref for RedactedUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for RedactedUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redact(&self.0).fmt(f)
    }
}

impl Serialize for RedactedUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact(&self.0))
    }
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

/// Returns `text` without the logins in it, such as `ada:pw@` in a URL that was written where none belongs: words are separated
/// by white space and quotes.
pub fn without_logins(text: &str) -> String {
    let is_separator = |char: char| char.is_whitespace() || char == '"';
    text.split_inclusive(is_separator)
        .map(|part| {
            let word = part.trim_end_matches(is_separator);
            match shown(word) {
                Some(word_shown) => word_shown + &part[word.len()..],
                None => part.to_owned(),
            }
        })
        .collect()
}

/// Returns `word` without its login; `None` if it has none.
fn shown(word: &str) -> Option<String> {
    // A password may contain any character, so the last `@` counts.
    let (login, host) = word.rsplit_once('@')?;
    let (scheme, login) =
        login.split_once("://").map_or(("", login), |(scheme, login)| (&word[..scheme.len() + 3], login));
    let has_password = !scheme.is_empty() || login.split_once(':').is_some_and(|(_, rest)| !rest.starts_with('/'));
    has_password.then(|| format!("{scheme}[redacted]@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_without_its_secret_parts() {
        for (url, shown) in [
            ("https://id.example/keys", "https://id.example/keys"),
            ("https://ada:pw@id.example:8443/keys?key=k", "https://[redacted]@id.example:8443/keys?[redacted]"),
            ("ada:pw@id.example", "[redacted]@id.example"),
            ("https://id.example/a@b", "https://id.example/a@b"),
        ] {
            assert_eq!(format!("{:?}", RedactedUrl::from(url)), format!("{shown:?}"));
        }
    }

    #[test]
    fn a_text_is_printed_without_the_logins_in_it() {
        for (text, shown) in [
            (
                "\"https://ada:pw@shop.example\" is not an origin",
                "\"https://[redacted]@shop.example\" is not an origin",
            ),
            ("https://ada:p@/w:'d@shop.example/x *", "https://[redacted]@shop.example/x *"),
            ("ada:pw@shop.example", "[redacted]@shop.example"),
            ("https://token@shop.example", "https://[redacted]@shop.example"),
        ] {
            assert_eq!(without_logins(text), shown);
        }
        for text in
            ["Tricast <ops@shop.example>", "/srv/a@b", "unix:/run/a@b.sock", "https://shop.example", "{ a: 'b' }\n"]
        {
            assert_eq!(without_logins(text), text);
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
