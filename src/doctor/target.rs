//! The server under test: its URL, and an HTTP client for it.

use std::{error::Error, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect::Policy};
use serde_json::Value;

use super::report::spoken;
use crate::config::Secret;

/// Longest time for a connection, and for a response that is not held on purpose.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Largest response that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Options of the test.
#[derive(Clone, Debug)]
pub struct Options {
    /// URL of the server, sub-path included.
    pub url: Url,
    /// Token for requests that need one.
    pub token: Option<Secret>,
    /// Time for which connections are kept idle. Zero skips that test, so that the others end within seconds.
    pub idle: Duration,
    /// Accept any certificate of the server, such as a self-signed one.
    pub insecure: bool,
}

/// Reason why the test cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL is not that of a server.
    #[error("{0}")]
    Url(String),
    /// The token is not valid in a header.
    #[error("the token holds characters that no token has")]
    Token,
    /// The HTTP client could not be created.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// HTTP client for the server under test.
pub(super) struct Target {
    /// URL of the server; ends in a slash.
    pub(super) url: Url,
    client: Client,
    token: Option<Secret>,
}

/// Response that was read completely.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: reqwest::header::HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

/// Parses a URL as users type it: `live.example/shop`, `http://127.0.0.1:8080`.
///
/// # Errors
/// Description of the fault.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("use a URL that begins with http:// or https://".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("use the URL of the server, without a query".into());
    }
    if !url.path().ends_with('/') {
        // The URL of the doctor's page names the server as well.
        let path = url.path().strip_suffix("/doctor").unwrap_or(url.path()).to_owned();
        url.set_path(&format!("{path}/"));
    }
    Ok(url)
}

impl Target {
    pub(super) fn new(options: &Options) -> Result<Self, SetupError> {
        let fits =
            |token: &Secret| reqwest::header::HeaderValue::try_from(format!("Bearer {}", token.expose())).is_ok();
        if options.token.as_ref().is_some_and(|token| !fits(token)) {
            return Err(SetupError::Token);
        }
        let loopback = match options.url.host_str() {
            Some("localhost" | "[::1]") => true,
            Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
            None => return Err(SetupError::Url("the address has no host".into())),
        };
        let mut client = Client::builder()
            .user_agent(concat!("tricast-doctor/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(PATIENCE)
            .redirect(Policy::none());
        if options.insecure {
            client = client.tls_danger_accept_invalid_certs(true);
        }
        if loopback {
            // The proxy of the environment is for other machines.
            client = client.no_proxy();
        }
        if options.url.scheme() == "http" {
            // Plain HTTP needs no certificates, and a small container may not have any.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| SetupError::Client(causes(&error)))?;
        Ok(Self { url: options.url.clone(), client, token: options.token.clone() })
    }

    /// Returns whether requests have a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns the `Origin` that a browser sends for a page of this server.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Returns `Host` as the client sends it.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Creates a request, with the token if there is one.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.url.path()));
        url.set_query(query);
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends a request and reads the whole response, within `patience`.
    ///
    /// # Errors
    /// Description of the failure.
    pub(super) async fn ask(&self, request: RequestBuilder, patience: Duration) -> Result<Answer, String> {
        let start = std::time::Instant::now();
        let asking = async {
            let mut response = request.send().await.map_err(|error| explain(&error))?;
            let (status, head) = (response.status().as_u16(), response.headers().clone());
            let body = read(&mut response).await?;
            Ok(Answer { status, head, body, took: start.elapsed() })
        };
        let answer = tokio::time::timeout(patience, asking).await;
        answer.unwrap_or_else(|_| Err(format!("no response within {}", spoken(patience))))
    }

    /// Sends a GET request and reads the whole response.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.ask(self.request(Method::GET, path), PATIENCE).await
    }
}

/// Reads the body, up to the limit.
///
/// # Errors
/// Description of the failure.
pub(super) async fn read(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    Ok(body)
}

impl Answer {
    /// Returns a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the body as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns the error detail of the server itself; `None` if the response is not the server's own.
    pub(super) fn problem(&self) -> Option<String> {
        let own = self.header("content-type").is_some_and(|kind| kind.starts_with(crate::web::problem::PROBLEM_JSON));
        Some(self.json().filter(|_| own)?.get("detail")?.as_str()?.to_owned())
    }

    /// Returns the status and the error detail: `404`, or `404 (there is nothing at this path)`.
    pub(super) fn described(&self) -> String {
        self.problem().map_or_else(|| self.status.to_string(), |detail| format!("{} ({detail})", self.status))
    }
}

/// Describes an error without the URL, which may contain a token, and with its cause, which reqwest leaves out.
pub(super) fn explain(error: &reqwest::Error) -> String {
    let causes = causes(error);
    let of = |part: &str| causes.contains(part);
    let cause = if of("dns error") {
        "the name is not known (DNS)"
    } else if of("onnection refused") {
        "connection refused"
    } else if of("certificate") {
        "the certificate is not trusted (TLS)"
    } else if of("tls") || of("TLS") || of("corrupt message") {
        "TLS failed"
    } else if error.is_timeout() {
        "no connection in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    };
    let last = causes.rsplit(": ").next().unwrap_or_default();
    format!("{cause}: {last}")
}

fn causes(error: &reqwest::Error) -> String {
    let mut parts = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        parts.push(cause.to_string());
        source = cause.source();
    }
    if parts.is_empty() { "without a reason".into() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_as_users_type_it() {
        for (text, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("https://live.example", "https://live.example/"),
            ("https://live.example/shop", "https://live.example/shop/"),
            ("https://live.example/shop/doctor", "https://live.example/shop/"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
        ] {
            assert_eq!(parse_url(text).unwrap().as_str(), expected);
        }
        for text in ["", "ws://a/", "http://", "http://a/?token=x", "http://a/#b"] {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }
}
