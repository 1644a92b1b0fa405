//! Representation of a poll: the body with its tag, made once per version and shared.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use actix_web::http::header::{HeaderValue, TryIntoHeaderValue};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::web::{
    encoding, etag,
    problem::Problem,
    segments::{Builder, Segments},
};
use tricast_core::publication::Publication;

/// Larger bodies are compressed on another thread, because that would occupy the worker for more than a millisecond.
const COMPRESS_ELSEWHERE: usize = 64 * 1024;

/// Largest body that is compressed, or converted to text, for one client alone: the result is held until it is sent.
const MAX_OWN: usize = 1 << 20;

/// Response before the request's preconditions are evaluated.
#[derive(Debug)]
pub(super) struct Representation {
    /// Body of the response as JSON.
    pub body: Segments,
    /// Weak tag of the value without cursor and time.
    pub tag: HeaderValue,
    /// Value of `modified` as a header.
    pub(super) last_modified: Option<HeaderValue>,
    /// Time of the last change of the value; `None` for a response that depends on the client's cursor.
    pub modified: Option<Timestamp>,
    /// Whether it has no data newer than the client's cursor.
    pub empty: bool,
    /// Whether it belongs to a publication, so that all clients share one.
    is_shared: bool,
    gzip: OnceLock<Option<Bytes>>,
    brotli: OnceLock<Option<Bytes>>,
}

impl Representation {
    /// Creates a response of `body`, whose tag is that of `value`, for one client.
    pub(super) fn new(body: Segments, value: &[u8], modified: Option<Timestamp>) -> Self {
        let tag = etag::tag(value);
        let last_modified = modified.and_then(|modified| etag::http_date(modified).try_into_value().ok());
        Self {
            body,
            tag,
            last_modified,
            modified,
            empty: false,
            is_shared: false,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
        }
    }

    /// Creates the snapshot: its sections, with cursor and time.
    pub(super) fn of_snapshot(snapshot: &Publication) -> Self {
        let sections = String::from_utf8_lossy(&snapshot.data);
        let sections = sections.strip_suffix('}').unwrap_or("{");
        let cursor = snapshot.own_cursor();
        let body = format!(r#"{sections},"cursor":"{cursor}","timestamp":"{}"}}"#, snapshot.time_text);
        Self::new(body.into(), &snapshot.data, Some(snapshot.timestamp)).shared()
    }

    /// Creates the response for one state channel.
    pub(super) fn of_state(state: &Publication) -> Self {
        let mut body = Builder::default();
        body.text(&format!(r#"{{"channel":"{}","kind":"state","data":"#, state.channel));
        body.shared(&state.data);
        body.text(&format!(r#","cursor":"{}","timestamp":"{}"}}"#, state.own_cursor(), state.time_text));
        Self::new(body.build(), &state.data, Some(state.timestamp)).shared()
    }

    fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// Returns the same response with one more member, a JSON text. Its tag covers all of it, and it has no date.
    pub(super) fn with(&self, name: &str, json: &str) -> Self {
        let mut body = Builder::after(self.body.without_last());
        body.text(&format!(r#","{name}":{json}}}"#));
        let value = [self.tag.as_bytes(), json.as_bytes()].concat();
        Self::new(body.build(), &value, None)
    }

    /// Returns the body in the client's preferred coding, with the name of the coding. A large body is compressed on
    /// another thread.
    pub(super) async fn coded_for(
        self: &Arc<Self>,
        accept_encoding: Option<&HeaderValue>,
    ) -> (Segments, Option<&'static str>) {
        if self.body.len() <= COMPRESS_ELSEWHERE {
            return self.coded(accept_encoding);
        }
        if self.is_too_large_to_convert() {
            return (self.body.clone(), None);
        }
        let (this, accepted) = (Arc::clone(self), accept_encoding.cloned());
        let coded = actix_web::web::block(move || this.coded(accepted.as_ref())).await;
        coded.unwrap_or_else(|_| (self.body.clone(), None))
    }

    fn is_too_large_to_convert(&self) -> bool {
        !self.is_shared && self.body.len() > MAX_OWN
    }

    fn coded(&self, accept_encoding: Option<&HeaderValue>) -> (Segments, Option<&'static str>) {
        let coding = encoding::choose(accept_encoding, self.body.len());
        let coded = match coding {
            Some("br") => self.brotli.get_or_init(|| encoding::compress("br", &self.body.to_bytes())),
            Some("gzip") => self.gzip.get_or_init(|| encoding::compress("gzip", &self.body.to_bytes())),
            _ => &None,
        };
        match coded {
            Some(bytes) => (bytes.clone().into(), coding),
            None => (self.body.clone(), None),
        }
    }

    /// Returns the body as aligned `name value` lines, for people with curl.
    ///
    /// # Errors
    /// 400 if it is too large to be read by people.
    pub(super) fn to_text(&self) -> Result<String, Problem> {
        if self.is_too_large_to_convert() {
            let detail = "the values have more than 1 MiB: name fewer channels, or request JSON";
            return Err(Problem::bad_request(detail));
        }
        let value: Value = serde_json::from_slice(&self.body.to_bytes()).unwrap_or(Value::Null);
        let mut lines = Vec::new();
        flatten(String::new(), &value, &mut lines);
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:width$}  {value}");
        }
        Ok(text)
    }
}

fn flatten(name: String, value: &Value, lines: &mut Vec<(String, String)>) {
    let join = |key: &dyn std::fmt::Display| {
        let key = key.to_string().replace(char::is_control, "?");
        if name.is_empty() { key } else { format!("{name}.{key}") }
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(join(key), value, lines)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| flatten(join(&index), value, lines)),
        Value::Null => lines.push((name, "-".into())),
        // Line ends would break the lines, and control characters could affect a terminal.
        Value::String(text) => lines.push((name, text.escape_default().to_string())),
        other => lines.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_and_one_line_per_value() {
        let body = r#"{"a":{"b":1.5,"long_name":null},"list":[1],"text":"two\nlines"}"#;
        let text = Representation::new(body.to_owned().into(), b"", None).to_text().unwrap();
        assert_eq!(text, "a.b          1.5\na.long_name  -\nlist.0       1\ntext         two\\nlines\n");
    }

    #[test]
    fn a_body_has_the_preferred_coding_and_decodes() {
        use std::io::Read;
        let representation = Representation::new(format!("{{\"x\":\"{}\"}}", "y".repeat(900)).into(), b"", None);
        let coded = |accept: &'static str| representation.coded(Some(&HeaderValue::from_static(accept)));
        let (gzip, coding) = coded("gzip");
        assert_eq!(coding, Some("gzip"));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&gzip.to_bytes()[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, representation.body.to_bytes());
        let (br, coding) = coded("gzip;q=0.5, br");
        assert_eq!(coding, Some("br"));
        let mut plain = Vec::new();
        brotli::Decompressor::new(&br.to_bytes()[..], 4096).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, representation.body.to_bytes());
        assert_eq!(coded("gzip;q=0, identity").1, None);
        assert_eq!(representation.coded(None).1, None);
    }
}
