//! Middleware around all requests: guards, request IDs, CORS, errors as problems, metrics.

use std::{
    borrow::Cow,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};

use super::{
    base_path::Location,
    body_drain::Chunked,
    caller::LocalTenant,
    config::AccessConfig,
    connection::{self, Answering},
    connection_limit,
    origin::{self, Origin},
    problem::{PROBLEM_JSON, Problem},
    request_id::{RequestId, is_valid_id},
    request_span,
    state::State,
};
use tricast_core::protocol::error::Code;

/// Time for which a request was held on purpose, which does not count as response time.
#[derive(Clone, Copy, Debug)]
pub struct Held(pub Duration);

/// Reason of a refusal whose body is not a problem, in the extensions of the response, for the log.
#[derive(Clone, Debug)]
pub struct Reason(pub Cow<'static, str>);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Methods that reach the routes: those that some path has, and TRACE, which is known and refused with the methods of the
/// path (RFC 9110, section 15.5.6). Others are refused before: some would hang (CONNECT), none has a meaning.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// A known method (a GET with a body) that no path has, like TRACE.
const QUERY: &str = "QUERY";

/// Handles a request: guards, routes, and completion of the response.
///
/// # Errors
/// The error of an inner middleware; errors of handlers become responses here.
pub async fn around(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<connection::Body>, Error> {
    let started = Instant::now();
    let state = State::of(request.request())?;
    let answering = Answering::begin(request.request());
    let admitted = connection_limit::asked(request.request());
    let id = request_id(&state, request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let origin = origin::of(&state.shared.access, request.request());
    let place = state.shared.base_path.enter(&mut request);

    let chunked = Chunked::hold(&mut request);
    let mut response = match admitted.and_then(|()| guard(&state.shared.access, &request, origin)) {
        Err(problem) => refused(request, problem),
        Ok(()) if place == Location::Outside => {
            refused(request, Problem::not_found(format!("this server is below {}/", state.shared.base_path)))
        }
        Ok(()) if place == Location::Root => to_the_slash(request),
        Ok(()) if is_preflight(&request) => {
            let (request, _) = request.into_parts();
            ServiceResponse::new(request, HttpResponse::NoContent().finish())
        }
        // Errors of handlers come as responses; only an inner middleware can fail.
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
    };

    let mut problem = None;
    if response.status().as_u16() >= 400 {
        (response, problem) = into_problem(response, &id);
        if let Some(limit) = problem.as_ref().and_then(|problem| problem.limit) {
            state.shared.counters.limit(limit).inc();
        }
    }
    if let Some(chunked) = chunked {
        response = chunked.release(response);
    }
    let held = response.request().extensions().get::<Held>().map_or(Duration::ZERO, |held| held.0);
    let status = response.status();
    count(&state, response.request(), started.elapsed().saturating_sub(held), status);
    state.request_counts.count(response.request(), status);
    if status.as_u16() >= 400 {
        let reason = response.response().extensions().get::<Reason>().cloned();
        log_refusal(&id, response.request(), status, problem.as_ref(), reason, origin);
    }
    let headers = response.headers_mut();
    state.shared.base_path.leave(headers);
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    allow_origin(&state, origin, &mut response);
    if !state.shared.store.is_available() {
        warn_about_store(&mut response);
    }
    if response.request().extensions().contains::<Rc<LocalTenant>>() {
        make_personal(response.headers_mut());
    }
    // The offer of another protocol is ignored; without this the response would say "Connection: upgrade" without one.
    let passed_over = response.request().head().upgrade() && status != StatusCode::SWITCHING_PROTOCOLS;
    if passed_over || state.shared.shutdown.is_draining() || state.has_fd_pressure() {
        response.response_mut().head_mut().set_connection_type(actix_http::ConnectionType::Close);
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    connection_limit::answered(response.request(), status, content_type);
    let closes = response.response().head().connection_type() == actix_http::ConnectionType::Close;
    Ok(connection::answered(response, answering, closes))
}

/// Value of `Warning` while the store accepts no changes (RFC 7234, section 5.5.7, which its successor does not define any
/// more; clients that know it show it, others ignore it).
const STORE_FAILED: &str = "199 tricast \"The store accepts no changes\"";

/// Marks successful reads of data while the store is unavailable.
fn warn_about_store(response: &mut ServiceResponse<BoxBody>) {
    let request = response.request();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD) && request.path().starts_with("/api/");
    if is_read && response.status().as_u16() < 400 {
        response.headers_mut().append(header::WARNING, HeaderValue::from_static(STORE_FAILED));
    }
}

/// Marks responses to clients with a token as private, so that no shared cache stores them.
fn make_personal(headers: &mut HeaderMap) {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or("no-cache");
    if !said.contains("private")
        && !said.contains("no-store")
        && let Ok(private) = HeaderValue::try_from(format!("private, {said}"))
    {
        headers.insert(header::CACHE_CONTROL, private);
    }
    let varies = headers.get_all(header::VARY).any(|value| value.to_str().is_ok_and(|v| v.contains("Authorization")));
    if !varies {
        headers.append(header::VARY, HeaderValue::from_static("Authorization, Cookie, X-API-Key"));
    }
}

/// Counts a response for its tenant, if that is known.
fn count(state: &State, request: &HttpRequest, elapsed: Duration, status: StatusCode) {
    if let Some(home) = state.single_tenant() {
        home.tenant.own_http.count(elapsed, status.is_server_error());
    } else if let Some(tenant) = request.extensions().get::<Rc<LocalTenant>>() {
        tenant.tenant.own_http.count(elapsed, status.is_server_error());
    }
}

/// Returns the ID of a proxy in front, if it is valid, or a new one.
fn request_id(state: &State, headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_valid_id(id));
    given.map_or_else(|| state.new_id(), str::to_owned)
}

/// Refuses requests that no handler should receive.
fn guard(access: &AccessConfig, request: &ServiceRequest, origin: Origin) -> Result<(), Problem> {
    if !METHODS.contains(request.method()) && request.method().as_str() != QUERY {
        let detail = "the method is not supported";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, Code::InvalidMessage, detail).and_close());
    }
    check_host(request.headers(), request.version() == actix_web::http::Version::HTTP_11)?;
    origin::check_known_host(access, request.headers())?;
    if request.uri().path_and_query().is_some_and(|address| address.as_str().contains("%00")) {
        return Err(Problem::bad_request("the URL contains %00: U+0000 is not allowed in names and values").and_close());
    }
    // A server need not change to any other protocol (RFC 9110, section 7.8): the request is handled normally.
    let upgrades = connection::asks_for_websocket(request.headers());
    let body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if upgrades && (body || request.method() != Method::GET) {
        // Its body would never end.
        return Err(Problem::bad_request("only a GET without a body can be upgraded").and_close());
    }
    if origin == Origin::Foreign && !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Err(origin::foreign(request.request()).and_close());
    }
    Ok(())
}

/// Checks that there is exactly one valid `Host` (RFC 9112, section 3.2).
fn check_host(headers: &HeaderMap, required: bool) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST);
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
            if host.as_bytes().iter().all(fine) {
                Ok(())
            } else {
                Err(Problem::bad_request("Host is not a valid host").and_close())
            }
        }
        (None, _) if required => Err(Problem::bad_request("Host is missing").and_close()),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(Problem::bad_request("Host occurs twice").and_close()),
    }
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn refused(request: ServiceRequest, problem: Problem) -> ServiceResponse<BoxBody> {
    // Drops the payload with the service request.
    let (request, _) = request.into_parts();
    ServiceResponse::new(request, HttpResponse::from_error(problem))
}

/// Longest text of a client in the log, in bytes.
const MAX_REPEATED: usize = 300;

/// Writes the log line of a refusal. Texts are quoted, so that none can start a line of its own.
fn log_refusal(
    id: &str,
    request: &HttpRequest,
    status: StatusCode,
    problem: Option<&Problem>,
    reason: Option<Reason>,
    origin: Origin,
) {
    let (method, path, status) = (request.method(), beginning(request.path()), status.as_u16());
    let code = problem.map(|problem| problem.code.as_str());
    let detail = problem.map(|problem| problem.detail.as_str()).or(reason.as_ref().map(|Reason(text)| &**text));
    let origin = (origin == Origin::Foreign)
        .then(|| request.headers().get(header::ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes())))
        .flatten();
    let origin = origin.as_deref().map(beginning);
    if problem.is_none() && request_span::is_routine(request.path()) {
        tracing::debug!(id, %method, path, status, "refused");
    } else {
        tracing::info!(id, %method, path, status, code, detail, origin, "refused");
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REPEATED)]
}

/// Redirects to the path with a slash at its end, to which the links of pages are relative.
fn to_the_slash(request: ServiceRequest) -> ServiceResponse<BoxBody> {
    let location = match request.query_string() {
        "" => "/".to_owned(),
        query => format!("/?{query}"),
    };
    let (request, _) = request.into_parts();
    let response = HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).finish();
    ServiceResponse::new(request, response)
}

/// Converts errors of any origin to problems with the request ID. Also returns the problem, unless a handler made an
/// error page on purpose.
fn into_problem(response: ServiceResponse<BoxBody>, id: &str) -> (ServiceResponse<BoxBody>, Option<Problem>) {
    let (request, response) = response.into_parts();
    let known = response.error().and_then(|error| error.as_error::<Problem>()).cloned();
    let problem = known.or_else(|| from_response(&response));
    let response = match &problem {
        Some(problem) => problem.clone().to_response(Some(id)),
        None => response,
    };
    (ServiceResponse::new(request, response), problem)
}

/// Creates a problem for a refusal by actix itself; `None` for an error page that a handler made on purpose.
fn from_response(response: &HttpResponse) -> Option<Problem> {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let status = response.status();
    if [PROBLEM_JSON, "application/json", "text/html"].iter().any(|made| content_type.starts_with(made)) {
        return None;
    }
    Some(match status {
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing at this path"),
        status if status.is_server_error() => Problem::internal("an error without a problem"),
        status => Problem::new(status, Code::InvalidMessage, status.canonical_reason().unwrap_or("refused")),
    })
}

fn allow_origin(state: &State, origin: Origin, response: &mut ServiceResponse<BoxBody>) {
    let preflight = response.request().method() == Method::OPTIONS;
    let given = response.request().headers().get(header::ORIGIN).cloned();
    let headers = response.headers_mut();
    if !state.shared.access.allowed_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let (Origin::Allowed, Some(given)) = (origin, given) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, given);
    let exposed = "ETag, Last-Modified, Retry-After, X-Request-Id, Preference-Applied";
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if preflight {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE";
        let allowed = "Authorization, Content-Type, Content-Encoding, If-None-Match, If-Match, Prefer, Last-Event-ID, Idempotency-Key, X-API-Key";
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}
