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

use std::{collections::BTreeMap, net::IpAddr};

use actix_web::HttpRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::{
    body::Body,
    client::Forwarded,
    diagnostics::{Range, Seen, seen},
    json_response::JsonResponse,
    problem::Problem,
    state::WorkerState,
    typed_query::NoParameters,
};
use tricast_core::protocol::{
    SERVER_VERSION,
    remedy::{Remedy, RemedyEntry},
};

/// The request as it arrived, and fixes for faults of the path.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRequest {
    /// Version of the server.
    version: &'static str,
    /// Version of HTTP that the nearest proxy uses: `1.0` or `1.1`.
    http: &'static str,
    /// `Host` as it arrived.
    #[schema(required = true)]
    host: Option<String>,
    /// Use of the forwarding headers.
    forwarded: Forwarded,
    /// Range of the address by which the client is counted.
    #[schema(required = true)]
    range: Option<Range>,
    /// That address, unless it may belong to the internal network.
    #[schema(required = true, value_type = Option<String>)]
    address: Option<IpAddr>,
    /// Largest body that the server accepts, in bytes.
    #[schema(minimum = 0)]
    max_body: usize,
    /// Fixes by their stable names.
    remedies: BTreeMap<&'static str, RemedyEntry>,
}

/// Handles `GET` and `HEAD /api/doctor`: returns the request as it arrived, and the table of fixes.
#[utoipa::path(
    get,
    path = "/api/doctor",
    tag = "Operation",
    operation_id = "getDoctor",
    summary = "Inspect this request",
    description = "For the path doctor: the request as it arrived after all proxies, and the table of fixes. The server never \
        compresses this response, so a compressed one was compressed by a proxy.",
    responses((status = 200, description = "The request as it arrived", body = ReceivedRequest)),
    security(())
)]
pub async fn get(
    request: HttpRequest,
    WorkerState(state): WorkerState,
    _: NoParameters,
) -> Result<JsonResponse<ReceivedRequest>, Problem> {
    state.check_rate(&request)?;
    let Seen { http, host, forwarded, range, address } = seen(&state, &request);
    let entries = Remedy::ALL.iter().map(|remedy| remedy.entry());
    Ok(JsonResponse::no_store(ReceivedRequest {
        version: SERVER_VERSION,
        http,
        host,
        forwarded,
        range,
        address,
        max_body: state.shared.limits.max_body.0,
        remedies: entries.map(|entry| (entry.id, entry)).collect(),
    }))
}

/// Size of a body on arrival.
#[derive(Serialize, ToSchema)]
pub struct BodySize {
    /// Number of bytes that arrived.
    #[schema(minimum = 0)]
    bytes: usize,
}

/// Handles `POST /api/doctor/echo`: counts the bytes of the body and discards them.
#[utoipa::path(
    post,
    path = "/api/doctor/echo",
    tag = "Operation",
    operation_id = "countBody",
    summary = "Count the bytes of a body",
    description = "Counts the bytes and discards them, which shows whether a proxy forwards bodies that the server accepts. \
        Without a body the number is 0.",
    request_body(content = Option<String>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The number of bytes", body = BodySize)),
    security(())
)]
pub async fn echo(
    request: HttpRequest,
    WorkerState(state): WorkerState,
    _: NoParameters,
    body: Body,
) -> Result<JsonResponse<BodySize>, Problem> {
    state.check_rate(&request).map_err(Problem::and_close)?;
    let bytes = body.count().await?;
    Ok(JsonResponse::no_store(BodySize { bytes }))
}
