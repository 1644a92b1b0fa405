//! What a path doctor asks the server for: how a request looks when it has come through, and a body that is only
//! counted. Whoever looks for a fault may have no token, so these answer to anybody, with nothing but what the asker
//! sent, and not too often.
//!
//! ```json
//! {"version": "0.1.0", "http": "1.1", "host": "live.example", "forwarded": "believed", "range": "public",
//!  "address": "203.0.113.7", "maxBody": 1048576, "remedies": {"buffering": {"nginx": "proxy_buffering off;", ...}}}
//! ```
//!
//! The rhythm by which buffering and cuts are measured comes from the event stream's own path; see
//! `transport::sse::probe`. The doctor itself is [`crate::doctor`], and the page at `/doctor`.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::openapi::shapes;
use crate::web::{body::Body, diagnostics::seen, problem::Problem, state::State};
use tricast_core::protocol::{SERVER_VERSION, remedy::Remedy};

/// `GET` and `HEAD /api/doctor`: the request as it arrived, and the table of fixes.
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
        Remedy::ALL.iter().map(|remedy| (remedy.line().id.to_owned(), json!(remedy))).collect();
    let mut answer = json!({"version": SERVER_VERSION, "maxBody": state.shared.body.max_bytes, "remedies": remedies});
    if let (Some(answer), serde_json::Value::Object(seen)) = (answer.as_object_mut(), json!(seen(&state, &request))) {
        answer.extend(seen);
    }
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// `POST /api/doctor/echo`: counts the bytes of the body and keeps none of them.
#[utoipa::path(
    post,
    path = "/api/doctor/echo",
    tag = "Operation",
    operation_id = "countBody",
    summary = "Count the bytes of a body",
    description = "Counts the bytes and keeps none of them, to show whether a proxy passes bodies that the server would accept.",
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
