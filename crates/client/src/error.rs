//! Reasons why a request or a connection failed.

use std::{error::Error as _, time::Duration};

/// Reason for a failure, which says what is wrong. What to do about it depends on the program, so hints are added there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL, the token or the certificate file can't be used. Nothing was sent.
    #[error("{0}")]
    Setup(String),
    /// The name of the host is not known.
    #[error("the host {0} is not known")]
    UnknownHost(String),
    /// Nothing listens at this address.
    #[error("{0} refused the connection")]
    ConnectionRefused(String),
    /// No connection, or no response, within the time that it may take.
    #[error("no response from {host} within {}", seconds(*.after))]
    TimedOut {
        /// Host and port.
        host: String,
        /// The time that it was waited for.
        after: Duration,
    },
    /// No connection for another reason.
    #[error("can't connect to {host}: {cause}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Reason of the system.
        cause: String,
    },
    /// The URL says `https`, and the server responds in plain HTTP.
    #[error("{0} does not use TLS")]
    NoTls(String),
    /// The URL says `http`, and the server expects TLS.
    #[error("{0} expects TLS")]
    TlsExpected(String),
    /// The server's certificate is not accepted.
    #[error("the certificate of {host} is not accepted: {cause}")]
    Certificate {
        /// Host and port.
        host: String,
        /// Reason of the TLS library.
        cause: String,
    },
    /// The server redirects, which is not followed, because the token is for this server only.
    #[error("{from} redirects to {to}")]
    Redirected {
        /// The requested URL, without a query.
        from: String,
        /// Target of the redirect.
        to: String,
    },
    /// A forward proxy requires its own user and password.
    #[error("the proxy requires a user and a password, and received none or wrong ones (407)")]
    ProxyLogin,
    /// A forward proxy does not connect to the server.
    #[error("the proxy does not connect to {host}: {cause}")]
    ProxyTunnel {
        /// Host and port.
        host: String,
        /// What the proxy did instead.
        cause: String,
    },
    /// The URL is not below the sub-path of the server.
    #[error("this server is not at {from} but at {to}")]
    WrongPath {
        /// The requested URL, without a query.
        from: String,
        /// URL of the server.
        to: String,
    },
    /// A proxy in front of the server has no response of the server.
    #[error("{status} from {by}: it does not reach the tricast server behind it")]
    Gateway {
        /// 502, 503 or 504.
        status: u16,
        /// The proxy's name for itself.
        by: String,
    },
    /// The response is not one of a tricast server.
    #[error("{url} is not a tricast server: {found}")]
    NotTricast {
        /// The requested URL, without a query.
        url: String,
        /// What the response was instead, such as `404, an HTML page by nginx`.
        found: String,
        /// The status.
        status: u16,
    },
    /// The server refused the request.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The connection ended before the response was complete.
    #[error("the connection to {host} ended: {cause}")]
    Lost {
        /// Host and port.
        host: String,
        /// What ended it.
        cause: String,
    },
    /// The server closed the connection with a message, and accepts a new one.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The server closed the connection with a message, and asked not to connect again.
    #[error("the server closed the connection for good: {0}")]
    Ended(String),
    /// The server sent something that this version of the client can't read.
    #[error("can't read the response of the server: {0}")]
    Unreadable(String),
}

/// Error response of the server (RFC 9457; `docs/protocol.md`, section 8.1), or an `error` message with the same fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// HTTP status; 0 if it came in a message without one.
    pub status: u16,
    /// Stable code, such as `FORBIDDEN`.
    pub code: String,
    /// Explanation for people.
    pub detail: String,
    /// Time after which the request may be repeated.
    pub retry_after: Option<Duration>,
    /// How far this computer's clock is ahead of the server's, in seconds; known to about a second.
    pub clock_ahead: Option<i64>,
}

impl Error {
    /// Returns the problem if the server refused the request.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Returns whether the token is missing or was refused.
    pub fn is_unauthorized(&self) -> bool {
        self.problem().is_some_and(|problem| problem.status == 401 || problem.code == "UNAUTHORIZED")
    }

    /// Returns whether the token does not permit the request.
    pub fn is_forbidden(&self) -> bool {
        self.problem().is_some_and(|problem| problem.code == "FORBIDDEN")
    }

    /// Returns whether no connection was possible, so that the server received nothing.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::UnknownHost(_) | Self::ConnectionRefused(_) | Self::Unreachable { .. } | Self::ProxyTunnel { .. }
        )
    }

    /// Returns whether the same request may succeed later: the server was not reached, is busy, or is starting.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 429 | 503 | 504 | 0),
            Self::TimedOut { .. } | Self::Gateway { .. } | Self::Lost { .. } | Self::Closed(_) => true,
            other => other.is_unreachable(),
        }
    }

    /// Returns whether the error has nothing to do with the transport, so that trying another one makes no sense.
    pub(crate) fn is_of_every_transport(&self) -> bool {
        self.is_unauthorized()
            || matches!(
                self,
                Self::Setup(_)
                    | Self::UnknownHost(_)
                    | Self::ConnectionRefused(_)
                    | Self::Unreachable { .. }
                    | Self::NoTls(_)
                    | Self::TlsExpected(_)
                    | Self::Certificate { .. }
                    | Self::Redirected { .. }
                    | Self::ProxyLogin
                    | Self::ProxyTunnel { .. }
                    | Self::WrongPath { .. }
                    | Self::Ended(_)
            )
    }

    /// Converts an error of the HTTP library. `host` is named in place of the URL, which may have a ticket in its query.
    pub(crate) fn of_http(error: &reqwest::Error, host: &str, is_https: bool) -> Self {
        let (causes, last) = causes(error);
        let has = |part: &str| causes.contains(part);
        let host = host.to_owned();
        if has("proxy authorization required") || has("proxy authentication required") {
            Self::ProxyLogin
        } else if has("tunnel error: unsuccessful") {
            Self::ProxyTunnel { host, cause: "it refused the tunnel".into() }
        } else if has("tunnel error: unexpected end of file") {
            Self::ProxyTunnel { host, cause: "it closed the connection".into() }
        } else if has("dns error") || has("failed to lookup address") {
            let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
            Self::UnknownHost(name.to_owned())
        } else if has("onnection refused") {
            Self::ConnectionRefused(host)
        } else if has("InvalidContentType") || has("corrupt message") {
            Self::NoTls(host)
        } else if has("certificate") || has("UnknownIssuer") {
            Self::Certificate { host, cause: last }
        } else if !is_https && (has("invalid HTTP version") || has("invalid HTTP status")) {
            Self::TlsExpected(host)
        } else if error.is_connect() {
            Self::Unreachable { host, cause: last }
        } else {
            Self::Lost { host, cause: last }
        }
    }
}

/// Returns all causes of an error in one text, and the first of them, the actual one.
fn causes(error: &reqwest::Error) -> (String, String) {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let last = causes.last().cloned().unwrap_or_else(|| "no reason known".into());
    (causes.join(": "), last)
}

/// Writes a time in seconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_millis() as f64 / 100.0).round() / 10.0)
}
