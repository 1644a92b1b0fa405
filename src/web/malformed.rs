//! Problems for requests that cannot be parsed, in place of actix-http's own responses.

use std::time::Duration;

use actix_web::http::{
    Method, StatusCode, Uri,
    header::{self, HeaderName},
};
use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use super::{
    problem::{PROBLEM_JSON, Problem},
    request_id::is_valid_id,
};
use tricast_core::protocol::error::Code;

/// Most headers of a request in actix-http.
const MAX_HEADERS: usize = 96;

/// Bytes of a head that are kept to find its fault.
pub(super) const MOST_KEPT: usize = 16 * 1024;

/// Longest response of actix-http itself.
const LONGEST: usize = 160;

/// Finds a response of actix-http itself at the end of `written`: returns its start and its status. Responses of handlers
/// have more headers, at least `X-Request-Id`.
pub(super) fn own_answer(written: &[u8]) -> Option<(usize, StatusCode)> {
    let head = written.strip_suffix(b"\r\n\r\n")?;
    let from = head.len().saturating_sub(LONGEST);
    let tail = &head[from..];
    let is_begin = |at: &usize| [b"HTTP/1.1 ", b"HTTP/1.0 "].iter().any(|text| tail[*at..].starts_with(*text));
    let begin = memchr::memrchr_iter(b'H', tail).find(is_begin)?;
    let mut lines = std::str::from_utf8(&tail[begin..]).ok()?.split("\r\n");
    let status: u16 = lines.next()?.get(9..12)?.parse().ok()?;
    let mut empty = false;
    for line in lines {
        match line.split_once(": ") {
            Some(("content-length", "0")) => empty = true,
            Some(("connection" | "date", _)) => {}
            _ => return None,
        }
    }
    let status = StatusCode::from_u16(status).ok().filter(|status| empty && status.as_u16() >= 400)?;
    Some((from + begin, status))
}

/// Returns the problem of a request that was refused with `status`. `head` is the known part of it: empty if it arrived
/// in pieces, or after another request.
pub(super) fn problem(status: StatusCode, head: &[u8], header_timeout: Duration) -> Problem {
    let detail = match status {
        StatusCode::REQUEST_TIMEOUT => {
            format!("the head of the request did not arrive within {} s", header_timeout.as_secs_f64())
        }
        status if status.is_server_error() => return Problem::internal("actix-http sent its own response"),
        StatusCode::BAD_REQUEST if head.len() == MOST_KEPT && !head.contains(&b'\n') => {
            let detail = "the URL is longer than 65,534 characters";
            return Problem::new(StatusCode::URI_TOO_LONG, Code::InvalidMessage, detail);
        }
        status => fault(head).unwrap_or_else(|| {
            if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
                format!("the head of the request is too large: it may have {MAX_HEADERS} headers and 128 KiB")
            } else {
                "the request is not well-formed HTTP/1.1 (RFC 9112)".to_owned()
            }
        }),
    };
    Problem::new(status, Code::InvalidMessage, detail)
}

/// Returns the ID that a proxy in front gave the request, so that both logs have the same one.
pub(super) fn given_id(head: &[u8]) -> Option<&str> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let (_, id) =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"))?;
    Some(id.trim()).filter(|id| is_valid_id(id))
}

/// Returns the whole response, after which the connection is closed.
pub(super) fn answer(problem: &Problem, id: &str) -> String {
    let body = problem.to_json(Some(id));
    let (status, length) = (problem.status, body.len());
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Returns the fault in the head of a request, as actix-http sees it.
fn fault(head: &[u8]) -> Option<String> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let outcome = request.parse(head);
    let named =
        |header: Option<&Header<'_>>| header.map_or_else(String::new, |header| format!(" after {}", header.name));
    Some(match outcome {
        Ok(Status::Partial) => return None,
        Ok(Status::Complete(_)) => return fault_of_meaning(&request).map(str::to_owned),
        Err(Error::TooManyHeaders) => format!("the request has more than {MAX_HEADERS} headers"),
        Err(Error::Token) if request.method.is_none() => "the first line does not begin with a method".into(),
        Err(Error::Version) | Err(Error::Token) | Err(Error::NewLine) if request.version.is_none() => {
            fault_of_first_line(head).into()
        }
        Err(Error::HeaderName | Error::Token) => {
            format!(
                "the header{} has no colon, or a name with a character that names can't have",
                named(last(&request))
            )
        }
        Err(Error::HeaderValue) => {
            format!("the header{} has a control character in its value", named(last(&request)))
        }
        Err(Error::NewLine) => "a line does not end with CRLF".into(),
        Err(_) => return None,
    })
}

/// Returns the last header that was parsed.
fn last<'a>(request: &'a Request<'_, '_>) -> Option<&'a Header<'a>> {
    request.headers.iter().take_while(|header| !header.name.is_empty()).last()
}

/// Returns the fault in the first line.
fn fault_of_first_line(head: &[u8]) -> &'static str {
    let line = head.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let words = line.trim_ascii().split(|byte| *byte == b' ').count();
    let version = line.trim_ascii().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if line.iter().any(|byte| !byte.is_ascii()) {
        "the URL has characters that are not ASCII: write them percent-encoded, as UTF-8"
    } else if words > 3 {
        "the URL has a space: write %20"
    } else if words < 3 {
        "the first line has to be METHOD URL HTTP/1.1"
    } else if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        "the version has to be HTTP/1.1 or HTTP/1.0"
    } else {
        "the URL has a character that has to be percent-encoded"
    }
}

/// Returns the fault in a head that can be parsed.
fn fault_of_meaning(request: &Request<'_, '_>) -> Option<&'static str> {
    let all = |name: HeaderName| {
        request
            .headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name.as_str()))
            .map(|header| header.value)
    };
    let path = request.path.unwrap_or_default();
    let old = request.version == Some(0);
    let lengths = all(header::CONTENT_LENGTH).count();
    let codings: Vec<_> = all(header::TRANSFER_ENCODING).collect();
    let digits = |length: &[u8]| {
        std::str::from_utf8(length).is_ok_and(|text| !text.starts_with('+') && text.trim().parse::<u64>().is_ok())
    };
    Some(if !path.is_ascii() {
        "the URL has characters that are not ASCII: write them percent-encoded, as UTF-8"
    } else if Uri::try_from(path).is_err() {
        "the URL is not valid, or longer than 65,534 characters"
    } else if lengths > 1 {
        "Content-Length occurs twice"
    } else if !all(header::CONTENT_LENGTH).all(digits) {
        "Content-Length is not a number"
    } else if codings.len() > 1 {
        "Transfer-Encoding occurs twice"
    } else if !codings.is_empty() && old {
        "HTTP/1.0 has no Transfer-Encoding"
    } else if codings.iter().any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        "Transfer-Encoding has to be chunked"
    } else if !codings.is_empty() && lengths > 0 {
        "Content-Length and Transfer-Encoding are both present"
    } else if all(header::HOST).count() > 1 {
        "Host occurs twice"
    } else if !old && all(header::HOST).next().is_none() {
        "Host is missing"
    } else if old && lengths == 0 && request.method == Some(Method::POST.as_str()) {
        "a POST of HTTP/1.0 needs a Content-Length"
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_a_request_id_is_recognised_at_any_position() {
        let own = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Mon, 30 Nov 2026 19:58:18 GMT\r\n\r\n";
        assert_eq!(own_answer(own.as_bytes()), Some((0, StatusCode::BAD_REQUEST)));
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n{}";
        let own_431 =
            own.replace("400 Bad Request", "431 Request Header Fields Too Large").replace("connection: close\r\n", "");
        let behind = own_answer(format!("{before}{own_431}").as_bytes());
        assert_eq!(behind, Some((before.len(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
        for other in [
            before,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: a\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ndate: x\r\n\r\n",
            ": comment\n\n",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(own_answer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_detail_names_the_fault() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(100));
        for (head, expected) in [
            (many.as_str(), "more than 96 headers"),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "%20"),
            ("GET /?a=\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded"),
            ("GET / HTTP/2.1\r\nHost: a\r\n\r\n", "version"),
            ("GET /\r\n\r\n", "METHOD URL HTTP/1.1"),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "method"),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "after Host has no colon"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control character"),
            ("GET / HTTP/1.1\r\n\r\n", "Host is missing"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "Host occurs twice"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                "Content-Length occurs twice",
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "not a number"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "both present"),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "has to be chunked"),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
            ("POST / HTTP/1.0\r\n\r\n", "needs a Content-Length"),
        ] {
            let found = fault(head.as_bytes()).unwrap_or_default();
            assert!(found.contains(expected), "{head:?}: {found:?} has no {expected:?}");
        }
        assert_eq!(fault(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
    }

    #[test]
    fn the_request_id_of_a_proxy_is_kept() {
        assert_eq!(given_id(b"GET /a b HTTP/1.1\r\nX-Request-ID: a-1\r\n\r\n"), Some("a-1"));
        assert_eq!(given_id(b"GET /a b HTTP/1.1\r\nX-Request-ID: a\"b\r\n\r\n"), None);
        assert_eq!(given_id(b"\xff\r\n\r\n"), None);
    }

    #[test]
    fn a_url_that_is_too_long_is_414() {
        let head = vec![b'x'; MOST_KEPT];
        assert_eq!(problem(StatusCode::BAD_REQUEST, &head, Duration::ZERO).status, StatusCode::URI_TOO_LONG);
    }

    #[test]
    fn a_response_is_a_problem_with_the_id() {
        let problem = problem(StatusCode::BAD_REQUEST, b"GET / HTTP/1.1\r\n\r\n", Duration::from_secs(5));
        let text = answer(&problem, "the-id");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains("\r\nx-request-id: the-id\r\n"),
            "{head}"
        );
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["code"], &body["instance"]), (&"INVALID_MESSAGE".into(), &"the-id".into()));
        assert_eq!(body["detail"], "Host is missing");
    }
}
