//! Preconditions of versioned resources: strong tags, `If-Match` and `If-None-Match` (RFC 9110, section 13).

use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::{etag, problem::Problem};
use tricast_core::version::{IfMatch, Version};

/// Returns the strong tag of a version.
pub fn tag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Returns whether `If-None-Match` names this version: 304.
pub fn is_fresh(headers: &HeaderMap, version: Version) -> bool {
    headers.contains_key(header::IF_NONE_MATCH) && etag::is_fresh(headers, &tag(version))
}

/// Parses `If-Match`; `None` without one. Several lines are one list.
///
/// A weak tag matches like the strong one, although RFC 9110, section 13.1.1 requires the strong comparison. That
/// prevents changes based on different bytes; these tags name a version, not bytes: a client with the tag has seen that
/// version in any encoding. nginx and Cloudflare make tags of compressed responses weak, Apache appends the coding
/// (`"3-1f-gzip"`, `"3-1f--gzip"`, `"3-1f;gzip"`), and resources read through them could not be changed otherwise.
///
/// # Errors
/// 400 for an invalid list: a condition that cannot be evaluated must not be ignored.
pub fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for line in headers.get_all(header::IF_MATCH) {
        let line = line.to_str().unwrap_or("?").trim();
        if line == "*" {
            return Ok(Some(IfMatch::Any));
        }
        if !read_list(line, &mut versions) {
            return Err(Problem::bad_request("If-Match: write * or tags as they came in ETag, with their quotes"));
        }
    }
    Ok(Some(IfMatch::OneOf(versions)))
}

/// Codings that Apache adds to the tag of a response that it compresses.
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// Removes a coding at the end of a tag, with what Apache writes between the two. No version ends like that.
fn without_coding(tag: &str) -> &str {
    let before = CODINGS.iter().find_map(|coding| tag.strip_suffix(coding));
    before.and_then(|before| ["--", "-", ";"].iter().find_map(|mark| before.strip_suffix(mark))).unwrap_or(tag)
}

/// Parses a list of tags by its quotes, because a tag may contain a comma. Returns false if it is not valid.
fn read_list(line: &str, versions: &mut Vec<String>) -> bool {
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return true;
        }
        let quoted = rest.strip_prefix("W/").unwrap_or(rest);
        let Some((tag, after)) = quoted.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) else {
            return false;
        };
        versions.push(without_coding(tag).to_owned());
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<IfMatch>, u16> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        if_match(&headers).map_err(|problem| problem.status.as_u16())
    }

    fn one_of(versions: &[&str]) -> Result<Option<IfMatch>, u16> {
        Ok(Some(IfMatch::OneOf(versions.iter().map(|&version| version.to_owned()).collect())))
    }

    #[test]
    fn if_match_follows_rfc_9110() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(IfMatch::Any)));
        assert_eq!(read(&["\"1-a\""]), one_of(&["1-a"]));
        assert_eq!(read(&["\"1-a\", \"2,b\" ,, \"3\""]), one_of(&["1-a", "2,b", "3"]));
        assert_eq!(read(&["\"1\"", "\"2\""]), one_of(&["1", "2"]));
        assert_eq!(read(&["W/\"1-a\", \"2-b-gzip\""]), one_of(&["1-a", "2-b"]), "as compressing proxies write them");
        assert_eq!(read(&["\"1-a--gzip\", \"2-b;gzip\", \"3-c-br\""]), one_of(&["1-a", "2-b", "3-c"]));
        assert_eq!(read(&[""]), one_of(&[]));
        for bad in ["1-a", "\"1", "\"1\" \"2\"", "garbage, \"1\"", "w/\"1\"", "\"1\";q=1"] {
            assert_eq!(read(&[bad]), Err(400), "{bad}");
        }
    }
}
