//! Reads responses. A response that is not of a tricast server shows that the URL, or a proxy on the way, is wrong.

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

use crate::error::{Error, Problem};

/// Largest response that is read, in bytes. A history of all fields is the largest one that the server sends.
const MAX_ANSWER: usize = 256 << 20;

/// Media type of the server's error responses.
const PROBLEM_JSON: &str = "application/problem+json";

/// Clocks that differ by less are not worth mentioning, in seconds.
const TOLERATED_SKEW: i64 = 30;

/// Host, port and path of a request, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Host and port.
    pub(crate) host: String,
    /// URL without user, password and query.
    pub(crate) url: String,
    /// Whether the connection uses TLS.
    pub(crate) is_https: bool,
}

/// Reads the JSON body of a successful response.
///
/// # Errors
/// The reason why there is none.
pub(crate) async fn json(asked: &Asked, response: Response) -> Result<Value, Error> {
    let response = accepted(asked, response).await?;
    let (status, found) = (response.status(), describe(&response));
    let body = body(asked, response).await?;
    serde_json::from_slice(&body).map_err(|_| not_tricast(asked, status, found))
}

/// Returns a response with a status below 300 (or 304), or the error that it describes.
///
/// # Errors
/// The server's problem, or the reason why the response is not one of a tricast server.
pub(crate) async fn accepted(asked: &Asked, response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    Err(refusal(asked, response).await)
}

/// Converts a response with an error status.
pub(crate) async fn refusal(asked: &Asked, response: Response) -> Error {
    let status = response.status();
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let (true, Some(to)) = (status.is_redirection(), text(header::LOCATION)) {
        return Error::Redirected { from: asked.url.clone(), to: to.to_owned() };
    }
    let retry_after = text(header::RETRY_AFTER).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let clock_ahead = text(header::DATE).and_then(|date| clock_ahead(date, Timestamp::now()));
    let is_problem = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM_JSON));
    let by = text(header::VIA).or(text(header::SERVER)).unwrap_or("a proxy").to_owned();
    let found = describe(&response);
    let body = body(asked, response).await.unwrap_or_default();
    if is_problem && let Ok(problem) = serde_json::from_slice::<Wire>(&body) {
        if let Some(to) = url_below(asked, &problem) {
            return Error::WrongPath { from: asked.url.clone(), to };
        }
        return Error::Problem(Box::new(Problem { retry_after, clock_ahead, ..problem.into() }));
    }
    match status.as_u16() {
        // As nginx and Apache report it.
        400 if !asked.is_https && has(&body, "HTTPS port") => Error::TlsExpected(asked.host.clone()),
        400 if !asked.is_https && has(&body, "SSL-enabled server port") => Error::TlsExpected(asked.host.clone()),
        407 => Error::ProxyLogin,
        status @ 502..=504 => Error::Gateway { status, by },
        _ => not_tricast(asked, status, found),
    }
}

/// Returns the URL of a server that says which sub-path it has.
fn url_below(asked: &Asked, problem: &Wire) -> Option<String> {
    let path = problem.detail.as_deref()?.strip_prefix("this server is below ")?;
    let is_path = problem.status == 404 && path.starts_with('/');
    is_path.then(|| Url::parse(&asked.url).ok()?.join(path).ok()).flatten().map(String::from)
}

/// Fields of an error response, and of an `error` event of a stream.
#[derive(Deserialize)]
pub(crate) struct Wire {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    code: String,
    #[serde(default)]
    title: String,
    detail: Option<String>,
}

impl From<Wire> for Problem {
    fn from(Wire { status, code, title, detail }: Wire) -> Self {
        Self { status, code, detail: detail.unwrap_or(title), retry_after: None, clock_ahead: None }
    }
}

fn not_tricast(asked: &Asked, status: StatusCode, found: String) -> Error {
    Error::NotTricast { url: asked.url.clone(), found, status: status.as_u16() }
}

/// Describes a response that is not the expected one: `404, an HTML page by nginx`.
fn describe(response: &Response) -> String {
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = match text(header::CONTENT_TYPE).map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some("text/html") => "an HTML page".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "no content type".to_owned(),
    };
    let by = text(header::SERVER).map(|by| format!(" by {by}")).unwrap_or_default();
    format!("it returns {}, {kind}{by}", response.status().as_u16())
}

/// Reads a body, up to the limit.
async fn body(asked: &Asked, mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| Error::of_http(&error, &asked.host, asked.is_https))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(Error::Unreadable(format!("it is larger than {} MiB", MAX_ANSWER >> 20)));
        }
    }
    Ok(body)
}

fn has(body: &[u8], part: &str) -> bool {
    body.windows(part.len()).any(|bytes| bytes == part.as_bytes())
}

/// Returns how far `now` is ahead of a header `Date`, in seconds, unless the difference is small.
fn clock_ahead(date: &str, now: Timestamp) -> Option<i64> {
    let server = rfc2822::parse(date).ok()?.timestamp();
    let ahead = now.as_second() - server.as_second();
    (ahead.abs() >= TOLERATED_SKEW).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sub_path_of_a_server_is_part_of_its_url() {
        let url = |detail: &str| {
            let asked = Asked { host: String::new(), url: "https://live.example/ws".into(), is_https: true };
            let problem = Wire { status: 404, code: String::new(), title: String::new(), detail: Some(detail.into()) };
            url_below(&asked, &problem)
        };
        assert_eq!(url("this server is below /tricast/").as_deref(), Some("https://live.example/tricast/"));
        assert_eq!(url("there is no channel \"x\""), None);
    }

    #[test]
    fn a_clock_that_differs_by_much_is_noticed() {
        let now: Timestamp = "2026-12-01T16:00:00Z".parse().unwrap();
        assert_eq!(clock_ahead("Tue, 01 Dec 2026 15:50:00 GMT", now), Some(600));
        assert_eq!(clock_ahead("Tue, 01 Dec 2026 16:10:00 GMT", now), Some(-600));
        assert_eq!(clock_ahead("Tue, 01 Dec 2026 15:59:58 GMT", now), None);
        assert_eq!(clock_ahead("yesterday", now), None);
    }
}
