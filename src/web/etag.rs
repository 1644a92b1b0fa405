//! Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13).

use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// Returns the tag of a value. It is weak: the same value has the same tag, independent of content coding, cursor, node
/// and process.
pub fn tag(value: &[u8]) -> HeaderValue {
    let strong = etag::EntityTag::from_data(value);
    let weak = etag::EntityTag::weak(strong.tag());
    HeaderValue::from_str(&weak.to_string()).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// Returns whether `If-None-Match` contains the tag; other conditions are ignored.
pub fn is_fresh(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    judge(headers, tag, None) == Verdict::NotModified
}

/// Result of evaluating the validators of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request has no validators.
    Unconditional,
    /// The client has this representation: 304.
    NotModified,
    /// The client has another representation.
    Modified,
}

/// Evaluates `If-None-Match`, or without it `If-Modified-Since` (section 13.2.2).
pub fn judge(headers: &HeaderMap, tag: &HeaderValue, modified: Option<jiff::Timestamp>) -> Verdict {
    if headers.contains_key(header::IF_NONE_MATCH) {
        let opaque = opaque(tag.as_bytes());
        let hit = headers.get_all(header::IF_NONE_MATCH).any(|field| matches(field.as_bytes(), opaque));
        return if hit { Verdict::NotModified } else { Verdict::Modified };
    }
    let since: Option<header::HttpDate> =
        headers.get(header::IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok()?.parse().ok());
    match (since, modified) {
        // An invalid date is ignored (section 13.1.3).
        (None, _) | (_, None) => Verdict::Unconditional,
        (Some(since), Some(modified)) => {
            let since = std::time::SystemTime::from(since);
            let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified.as_second().max(0) as u64);
            if modified <= since { Verdict::NotModified } else { Verdict::Modified }
        }
    }
}

/// Returns a `Last-Modified` in whole seconds.
pub fn http_date(time: jiff::Timestamp) -> header::HttpDate {
    let seconds = std::time::Duration::from_secs(time.as_second().max(0) as u64);
    header::HttpDate::from(std::time::UNIX_EPOCH + seconds)
}

/// Returns the part between the quotes.
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).unwrap_or(tag)
}

/// Returns whether `*` or a tag in the list `field` compares weakly equal to `opaque` (section 8.8.3.2).
///
/// The list is parsed by its quotes, because a tag may contain a comma; an invalid tag ends the list.
fn matches(field: &[u8], opaque: &[u8]) -> bool {
    let mut rest = field.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        let Some(quoted) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") else { return false };
        let Some(end) = quoted.iter().position(|byte| *byte == b'"') else { return false };
        if &quoted[..end] == opaque {
            return true;
        }
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: header::HeaderName, values: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        judge(&headers, &HeaderValue::from_static("W/\"abc\""), jiff::Timestamp::from_millisecond(784_111_777_500).ok())
    }

    #[test]
    fn if_none_match_follows_rfc_9110() {
        for (hit, values) in [
            (true, &["\"abc\""][..]),
            (true, &["W/\"abc\""]),
            (true, &["\"x\", W/\"abc\""]),
            (true, &["\"a,b\",\"abc\""]),
            (true, &[" , \"x\" ,,\"abc\" , "]),
            (true, &["\"x\"", "\"abc\""]),
            (true, &["*"]),
            (false, &["\"ab\""]),
            (false, &["\"xabc\""]),
            (false, &["abc"]),
            (false, &[""]),
            (false, &["\"\""]),
            (false, &["garbage, \"abc\""]),
            (false, &["\"abc"]),
            (false, &["w/\"abc\""]),
            (false, &["\"*\""]),
        ] {
            let expected = if hit { Verdict::NotModified } else { Verdict::Modified };
            assert_eq!(verdict(header::IF_NONE_MATCH, values), expected, "{values:?}");
        }
    }

    #[test]
    fn if_modified_since_counts_whole_seconds_and_ignores_invalid_dates() {
        for (expected, value) in [
            (Verdict::NotModified, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (Verdict::NotModified, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (Verdict::Modified, "Sun, 06 Nov 1994 08:49:36 GMT"),
            (Verdict::Unconditional, "yesterday"),
        ] {
            assert_eq!(verdict(header::IF_MODIFIED_SINCE, &[value]), expected, "{value}");
        }
    }

    #[test]
    fn a_tag_depends_on_the_value_alone() {
        assert_eq!(tag(b"{}"), tag(b"{}"));
        assert_ne!(tag(b"{}"), tag(b"[]"));
        assert!(tag(b"{}").as_bytes().starts_with(b"W/\""));
    }
}
