//! Spans of requests for tracing-actix-web, with the path but without the query, which can contain a token.

use actix_web::{
    Error, HttpMessage,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
};
use tracing::{Level, Span, field::Empty};
use tracing_actix_web::RootSpanBuilder;

use super::request_id::RequestId;
use tricast_domain::sources::demo;

/// Makes one span per request of the plain routes. Polls and streams have none: it would cost a poll a third of its
/// throughput, and live as long as a stream.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let (method, path) = (request.method(), request.path());
        let is_demo = || request.headers().get(header::USER_AGENT).is_some_and(|agent| agent == demo::USER_AGENT);
        if is_routine(path) || is_demo() {
            // Health checks, scrapes, files of a page and the simulated shop would fill the log.
            return tracing::debug_span!("request", %id, %method, path, status = Empty);
        }
        tracing::info_span!("request", %id, %method, path, status = Empty)
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("status", status.as_u16());
        // A refusal has a log line of its own with the reason.
        if status.as_u16() < 400 && !span.is_disabled() {
            match span.metadata().map(|metadata| *metadata.level()) {
                Some(Level::DEBUG) => tracing::debug!(parent: &span, "answered"),
                _ => tracing::info!(parent: &span, "answered"),
            }
        }
    }
}

/// Returns whether requests of `path` are so frequent that a log line for each is useless.
pub(super) fn is_routine(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics" | "/ping" | "/health") || path.starts_with("/static/")
}
