//! The server: its URL, the token, and single requests.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, Method, RequestBuilder, Response, Url, header::HeaderValue, redirect::Policy};
use serde_json::Value;

use crate::{
    answer::{self, Asked},
    error::Error,
};

/// Longest time for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Longest time for a response that is not held on purpose.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Cookie in which the server accepts a token, for URLs whose user and password take the header `Authorization`.
const TOKEN_COOKIE: &str = "tricast_session";

/// Token of requests. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Creates a token of its text. White space around it, such as the line end of a file, is removed.
    ///
    /// # Errors
    /// [`Error::Setup`] if it is empty or has characters that no token has.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::Setup("the token is empty".into()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"')) {
            return Err(Error::Setup("the token has characters that no token has; copy it again".into()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the text, to be sent or stored.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// Returns the present token. It is called again when the server refuses the token, because a file may have a newer one.
pub type TokenSource = Arc<dyn Fn() -> Result<Option<Token>, Error> + Send + Sync>;

/// Options of a [`Server`].
pub struct Options {
    /// URL, sub-path included; [`parse_url`] makes it end in a slash. A user and a password in it are sent as HTTP basic
    /// authentication, for a proxy in front of the server; the token is then sent as a cookie.
    pub url: Url,
    /// Source of the token.
    pub token: TokenSource,
    /// Certificates (PEM) that are accepted beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// `User-Agent` of all requests.
    pub user_agent: String,
}

/// Server with its URL and token. Clones share connections.
#[derive(Clone)]
pub struct Server {
    client: Client,
    url: Url,
    /// User and password of the URL.
    login: Option<(String, Option<String>)>,
    token: TokenSource,
}

/// Parses a URL as users type it: `live.example/shop`, `http://127.0.0.1:8080`.
///
/// # Errors
/// [`Error::Setup`] with the fault.
pub fn parse_url(text: &str) -> Result<Url, Error> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // The text may have a password.
    let mut url =
        Url::parse(&whole).map_err(|error| Error::Setup(format!("the URL of the server is not valid: {error}")))?;
    let fault = |text: &str| Err(Error::Setup(text.into()));
    match url.scheme() {
        "http" | "https" => {}
        "ws" => return fault("the URL of the server begins with http://, for every transport"),
        "wss" => return fault("the URL of the server begins with https://, for every transport"),
        _ => return fault("the URL of the server begins with http:// or https://"),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return fault("the URL of the server has no query; the path of the dashboard is enough");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

impl Server {
    /// Creates the HTTP client. It uses the system's certificates and, except for this machine, the proxies of the environment
    /// (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    /// [`Error::Setup`] if the certificates can't be read.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { mut url, token, ca, user_agent } = options;
        // An earlier call may have installed the same provider.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client =
            Client::builder().user_agent(user_agent).connect_timeout(CONNECT_PATIENCE).redirect(Policy::none());
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        if url.scheme() == "http" {
            // Plain HTTP needs no certificates, and a small container may have none.
            client = client.tls_certs_only([]);
        } else if let Some(pem) = ca {
            let fault = |_| Error::Setup("the file of certificates is not in PEM format".into());
            let certificates = Certificate::from_pem_bundle(&pem).map_err(fault)?;
            if certificates.is_empty() {
                return Err(Error::Setup("the file of certificates has none".into()));
            }
            client = client.tls_certs_merge(certificates);
        }
        let client =
            client.build().map_err(|error| Error::of_http(&error, "", false)).map_err(|error| match error {
                Error::Lost { cause, .. } | Error::Unreachable { cause, .. } => {
                    Error::Setup(format!("no HTTP client: {cause}"))
                }
                other => other,
            })?;
        let decode = |text: &str| percent_decode(text);
        let login = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decode(url.username()), url.password().map(decode)));
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Self { client, url, login, token })
    }

    /// Returns the URL, without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the present token.
    ///
    /// # Errors
    /// Those of the source.
    pub fn token(&self) -> Result<Option<Token>, Error> {
        (self.token)()
    }

    /// Creates a request of a path below the URL. `query` has names and values.
    ///
    /// # Errors
    /// Those of the source of the token.
    pub(crate) fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<RequestBuilder, Error> {
        let url = self.address(path, query);
        let mut request = self.client.request(method, url);
        let token = self.token()?;
        match (&self.login, &token) {
            (Some((user, password)), token) => {
                request = request.basic_auth(user, password.as_ref());
                if let Some(token) = token {
                    request = request.header("cookie", format!("{TOKEN_COOKIE}={}", token.expose()));
                }
            }
            (None, Some(token)) => request = request.bearer_auth(token.expose()),
            (None, None) => {}
        }
        Ok(request)
    }

    /// Returns the URL of a path below that of the server.
    fn address(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path()));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Returns the names of a request for messages.
    pub(crate) fn asked(&self, path: &str) -> Asked {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let url = self.address(path, &[]).to_string();
        Asked { host: format!("{host}:{port}"), url, is_https: self.url.scheme() == "https" }
    }

    /// Sends a request and waits for the head of the response, at most `patience`.
    pub(crate) async fn send(
        &self,
        asked: &Asked,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<Response, Error> {
        match tokio::time::timeout(patience, request.send()).await {
            Ok(sent) => sent.map_err(|error| Error::of_http(&error, &asked.host, asked.is_https)),
            Err(_) => Err(Error::TimedOut { host: asked.host.clone(), after: patience }),
        }
    }

    /// Requests a path and returns its JSON.
    ///
    /// # Errors
    /// The reason why there is none; [`Error::Problem`] if the server refused.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        self.get_within(path, query, None, PATIENCE).await
    }

    /// Does the same with a header `Prefer`, within `patience`.
    pub(crate) async fn get_within(
        &self,
        path: &str,
        query: &[(&str, &str)],
        prefer: Option<&str>,
        patience: Duration,
    ) -> Result<Value, Error> {
        let asked = self.asked(path);
        let mut request = self.request(Method::GET, path, query)?.header("accept", "application/json");
        if let Some(prefer) = prefer.and_then(|prefer| HeaderValue::from_str(prefer).ok()) {
            request = request.header("prefer", prefer);
        }
        let asking = async {
            let response = self.send(&asked, request, patience).await?;
            answer::json(&asked, response).await
        };
        let late = Error::TimedOut { host: asked.host.clone(), after: patience };
        tokio::time::timeout(patience, asking).await.unwrap_or(Err(late))
    }
}

/// Returns whether the host is this machine, for which no proxy is meant.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// Decodes `%40` and the like in the user and the password of a URL.
fn percent_decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut rest = bytes.clone();
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| (digit as char).to_digit(16)));
        match (byte, digits) {
            (b'%', [Some(high), Some(low)]) => {
                decoded.push((high * 16 + low) as u8);
                bytes = rest;
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, token: Option<&str>) -> Server {
        let token = token.map(|token| Token::parse(token).unwrap());
        let source: TokenSource = Arc::new(move || Ok(token.clone()));
        let options = Options { url: parse_url(url).unwrap(), token: source, ca: None, user_agent: "test".into() };
        Server::new(options).unwrap()
    }

    #[test]
    fn a_url_is_parsed_as_users_type_it() {
        for (text, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("https://live.example", "https://live.example/"),
            (" https://live.example/shop\n", "https://live.example/shop/"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
        ] {
            assert_eq!(parse_url(text).unwrap().as_str(), expected);
        }
        for (text, part) in [
            ("", "not valid"),
            ("ws://a/", "http://"),
            ("wss://a/", "https://"),
            ("ftp://a/", "https://"),
            ("http://", "not valid"),
            ("http://a/?token=x", "query"),
            ("http://a/#b", "query"),
        ] {
            let error = parse_url(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_below_the_url() {
        let server = server("https://live.example/shop", None);
        let url = server.address("api/metrics", &[("channels", "metrics.*,orders"), ("since", "a:1")]);
        assert_eq!(url.as_str(), "https://live.example/shop/api/metrics?channels=metrics.*%2Corders&since=a%3A1");
        assert_eq!(server.asked("ws").host, "live.example:443");
    }

    #[test]
    fn a_token_is_sent_beside_a_login_of_the_url() {
        let headers = |server: &Server| {
            let request = server.request(Method::GET, "ws", &[]).unwrap().build().unwrap();
            let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (request.url().to_string(), text("authorization"), text("cookie"))
        };
        let (url, authorization, cookie) = headers(&server("http://a/", Some("x.y.z")));
        assert_eq!((url.as_str(), authorization.as_deref(), cookie), ("http://a/ws", Some("Bearer x.y.z"), None));
        let (url, authorization, cookie) = headers(&server("http://ada:p%40ss@a/", Some("x.y.z")));
        // ada:p@ss
        assert_eq!((url.as_str(), authorization.as_deref()), ("http://a/ws", Some("Basic YWRhOnBAc3M=")));
        assert_eq!(cookie.as_deref(), Some("tricast_session=x.y.z"));
    }

    #[test]
    fn a_token_is_not_printed_and_has_no_strange_characters() {
        assert_eq!(format!("{:?}", Token::parse(" abc\n").unwrap()), "Token([redacted])");
        for text in ["", " \n", "a b", "a\nb", "é", "a;b"] {
            assert!(Token::parse(text).is_err(), "{text:?}");
        }
    }
}
