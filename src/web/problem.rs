//! Problems: the error responses of the server (RFC 9457), and the only place that chooses their status.
//!
//! ```json
//! {"type":"about:blank","title":"Not Found","status":404,"detail":"there is no channel \"x\"",
//!  "code":"RESOURCE_NOT_FOUND","instance":"<request id>"}
//! ```

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::admission::Reached;
use crate::shutdown::reconnect_soon;
use tricast_cluster::Behind;
use tricast_core::{
    counters::Limit,
    protocol::{
        command::Rejection,
        error::{Code, shortened},
    },
    publication::Publication,
    reading::Refusal,
};
use tricast_domain::service::{ServiceError, StoreError};

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Error for a client: a stable code, a status, and a sentence about the fault and its remedy.
///
/// It contains nothing internal: details of internal errors are in the log, under the request's ID.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Status of the response.
    pub status: StatusCode,
    /// Stable code for programs.
    pub code: Code,
    /// Explanation of the fault and its remedy, for people.
    pub detail: String,
    /// Time after which to retry.
    pub retry_after: Option<Duration>,
    /// Methods of the path, for a 405.
    pub allow: Option<&'static str>,
    /// Content codings of bodies, for a 415 (RFC 7694).
    pub accept_encoding: Option<&'static str>,
    /// Value of `WWW-Authenticate` for a 401 (RFC 6750, section 3).
    pub authenticate: Option<&'static str>,
    /// Whether the same request may succeed later, with no other change than a newer token.
    pub may_pass: bool,
    /// Whether the response names the protocol to upgrade to.
    pub upgrade: bool,
    /// Whether the connection has to be closed, because the body was not read to its end.
    pub close: bool,
    /// Limit that refused the request and that no one has counted yet.
    pub limit: Option<Limit>,
}

/// An error (RFC 9457). `code` is stable; `title` and `detail` are for people.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({"type": "about:blank", "title": "Not Found", "status": 404,
    "detail": "there is no channel \"metrics.nothing\"", "code": "RESOURCE_NOT_FOUND", "instance": "72babca893-1"}))]
pub struct ProblemBody<'a> {
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// Name of the status.
    title: &'a str,
    /// Status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Explanation of the fault.
    detail: &'a str,
    code: Code,
    /// ID of the request, which is also in the log and in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<&'a str>,
    /// Value of `Retry-After` in seconds.
    #[serde(rename = "retryAfter", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    retry_after: Option<u64>,
}

impl Problem {
    /// Creates a problem without headers of its own. A long `detail` is shortened.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: shortened(detail.into()),
            retry_after: None,
            allow: None,
            accept_encoding: None,
            authenticate: None,
            may_pass: false,
            upgrade: false,
            close: false,
            limit: None,
        }
    }

    /// Creates a 400: the request is not valid.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidMessage, detail)
    }

    /// Creates a 401. `error` is that of RFC 6750, section 3.1; `None` for a request without a token.
    pub fn unauthorized(error: Option<&str>, detail: impl Into<String>) -> Self {
        let authenticate = match error {
            None => r#"Bearer realm="tricast""#,
            Some("invalid_request") => r#"Bearer realm="tricast", error="invalid_request""#,
            Some(_) => r#"Bearer realm="tricast", error="invalid_token""#,
        };
        let problem = Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail);
        Self { authenticate: Some(authenticate), ..problem }
    }

    /// Creates a 403: the caller lacks a permission, or its origin is not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
    }

    /// Creates a 404: the resource does not exist, or the caller may not see it.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::ResourceNotFound, detail)
    }

    /// Creates a 410: the channel has ended.
    pub fn gone(end: &Publication) -> Self {
        let reason = end.gone.map_or("ended", |gone| gone.as_str());
        let detail = format!("the channel \"{}\" ended at {}: {reason}", end.channel, end.time_text);
        Self::new(StatusCode::GONE, Code::ResourceNotFound, detail)
    }

    /// Creates a 405 with the methods of the path.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path supports {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidMessage, detail) }
    }

    /// Creates a 429: a limit was exceeded. The same request may succeed after `retry_after`.
    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail);
        Self { retry_after: Some(retry_after), may_pass: true, ..problem }
    }

    /// Creates a 429 for a tenant that has reached `limit`, which the middleware counts.
    pub fn at_limit(limit: Limit, detail: impl Into<String>) -> Self {
        Self { limit: Some(limit), ..Self::too_many(detail, Duration::from_secs(60)) }
    }

    /// Creates a 503: the server can't serve the request until `retry_after`.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::ServerError, detail);
        Self { retry_after: Some(retry_after), may_pass: true, ..problem }
    }

    /// Creates a 504: the result of the request is unknown.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, Code::ServerError, detail)
    }

    /// Creates a 500. `reason` goes to the log only.
    pub fn internal(reason: &str) -> Self {
        tracing::error!(reason, "internal error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::ServerError,
            "internal error; the server log has details under this ID",
        )
    }

    /// Creates the problem of a bad handshake on the WebSocket path: 400 for a handshake with a fault, 426 for none.
    pub fn upgrade_required(fault: &str, tried: bool) -> Self {
        let status = if tried { StatusCode::BAD_REQUEST } else { StatusCode::UPGRADE_REQUIRED };
        let detail = format!("this is a WebSocket endpoint (RFC 6455, version 13): {fault}");
        Self { upgrade: true, ..Self::new(status, Code::InvalidMessage, detail) }
    }

    /// Returns the same problem for a response that closes the connection.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Returns the problem as JSON, with the request's ID.
    pub fn to_json(&self, instance: Option<&str>) -> String {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            instance,
            retry_after: self.retry_after.map(|after| after.as_secs().max(1)),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// Returns the response, with the request's ID.
    pub fn to_response(&self, instance: Option<&str>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON)).insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(after) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, after.as_secs().max(1)));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if let Some(codings) = self.accept_encoding {
            response.insert_header((header::ACCEPT_ENCODING, codings));
        }
        if let Some(authenticate) = self.authenticate {
            response.insert_header((header::WWW_AUTHENTICATE, authenticate));
        }
        if self.upgrade {
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
            if self.status == StatusCode::UPGRADE_REQUIRED {
                response.insert_header((header::UPGRADE, "websocket"));
            }
        }
        if self.close {
            response.force_close();
        }
        response.body(self.to_json(instance))
    }
}

impl From<Reached> for Problem {
    fn from(Reached { limit, retry_after }: Reached) -> Self {
        match limit {
            Limit::Connections => Self::unavailable("the server has reached its connection limit", retry_after),
            Limit::ConnectionsPerAddress => {
                Self::too_many("this address has reached its connection limit", retry_after)
            }
            Limit::ConnectionsPerUser => Self::too_many("this user has reached their connection limit", retry_after),
            Limit::Changes => Self::too_many("this user makes changes too quickly: wait a moment", retry_after),
            _ => Self::too_many("this address opens streams too quickly", retry_after),
        }
    }
}

impl From<Behind> for Problem {
    fn from(behind: Behind) -> Self {
        Self { code: Code::Behind, ..Self::unavailable(behind.to_string(), reconnect_soon()) }
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::BuiltIn(_) => Self::forbidden(detail),
            Refusal::NoChannel(_) => Self::not_found(detail),
            Refusal::OtherKind { .. } | Refusal::OtherType { .. } => {
                Self::new(StatusCode::CONFLICT, Code::InvalidMessage, detail)
            }
            Refusal::TooManyChannels(_)
            | Refusal::TooManySeries(_)
            | Refusal::SnapshotFull(_)
            | Refusal::StatesFull(_)
            | Refusal::ServerFull(_) => Self::too_many(detail, Duration::from_secs(60)),
            // Another node may be the leader by then.
            Refusal::Unreadable => Self::unavailable(detail, Duration::from_secs(60)),
            Refusal::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Full => Self::unavailable(detail, Duration::from_secs(60)),
            StoreError::ReadOnly => Self::unavailable(detail, Duration::from_secs(10)),
            StoreError::Unavailable | StoreError::Refused => Self::unavailable(detail, Duration::from_secs(2)),
            StoreError::Unknown => Self::unknown(detail),
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::Busy | ServiceError::TimedOut => Self::unavailable(detail, Duration::from_secs(2)),
            ServiceError::EventsPending(_) => {
                Self { limit: Some(Limit::PendingEvents), ..Self::unavailable(detail, Duration::from_secs(10)) }
            }
            ServiceError::Unknown => Self::unknown(detail),
            ServiceError::Stopped => Self::unavailable(detail, Duration::from_secs(10)),
        }
    }
}

impl From<Rejection> for Problem {
    fn from(Rejection { code, message, .. }: Rejection) -> Self {
        match code {
            Code::ResourceNotFound => Self::not_found(message),
            Code::Forbidden => Self::forbidden(message),
            Code::Unauthorized => Self::unauthorized(None, message),
            Code::RateLimited | Code::SubscriptionLimit => {
                Self { code, ..Self::too_many(message, Duration::from_secs(1)) }
            }
            Code::InvalidMessage => Self::bad_request(message),
            Code::Behind => Self { code, ..Self::unavailable(message, Duration::from_secs(1)) },
            Code::ServerError => Self { code, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message) },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code.as_str(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.to_response(None)
    }
}
