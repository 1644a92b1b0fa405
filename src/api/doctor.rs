//! Endpoints for the path doctor: a description of the request as it arrived, and a count of the bytes of a body. A user who
//! investigates a fault may have no token. So both need none, return only data of the request itself, and are rate limited.
//!
//! ```json
//! {"version": "0.1.0", "http": "1.1", "host": "live.example", "forwarded": "believed", "range": "public",
//!  "address": "203.0.113.7", "maxBody": 1048576, "remedies": {"buffering": {"nginx": "proxy_buffering off;", ...}}}
//! ```
//!
//! `transport::sse::probe` sends the timed events by which buffering and cuts are measured, on the path of the event stream.
//! The doctor itself is [`crate::doctor`], and the page at `/doctor`.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::openapi::shapes;
use crate::web::{body::Body, diagnostics::seen, problem::Problem, state::State};
use tricast_core::protocol::{SERVER_VERSION, remedy::Remedy};

/// Handles `GET` and `HEAD /api/doctor`: returns the request as it arrived, and the table of fixes.
#[utoipa::path(
    get,
    path = "/api/doctor",
    tag = "Operation",
    operation_id = "getDoctor",
    summary = "Inspect this request",
    description = "For a path doctor: the request as proxies passed it on, and the table of fixes. The response is never compressed, \
        so a compressed one was compressed on its way.",
    responses((status = 200, description = "The request as it arrived", body = shapes::Doctor)),
    security(())
)]
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    state.check_rate(&request)?;
    let remedies: serde_json::Map<_, _> =
        Remedy::ALL.iter().map(|remedy| (remedy.entry().id.to_owned(), json!(remedy))).collect();
    let mut answer = json!({"version": SERVER_VERSION, "maxBody": state.shared.body.max_bytes, "remedies": remedies});
    if let (Some(answer), serde_json::Value::Object(seen)) = (answer.as_object_mut(), json!(seen(&state, &request))) {
        answer.extend(seen);
    }
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Handles `POST /api/doctor/echo`: counts the bytes of the body and discards them.
#[utoipa::path(
    post,
    path = "/api/doctor/echo",
    tag = "Operation",
    operation_id = "countBody",
    summary = "Count the bytes of a body",
    description = "Counts the bytes and discards them, to show whether a proxy passes bodies that the server would accept.",
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, description = "The number of bytes", body = shapes::Counted)),
    security(())
)]
pub async fn echo(request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    state.check_rate(&request).map_err(Problem::and_close)?;
    let bytes = body.count().await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({"bytes": bytes})))
}
