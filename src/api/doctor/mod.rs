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

use std::net::IpAddr;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Version, header},
};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod remedy;

pub use remedy::{Line, Remedy};

use super::openapi::shapes;
use crate::{
    protocol::SERVER_VERSION,
    shutdown::reconnect_after,
    web::{
        body::Body,
        client::{self, Forwarded},
        problem::Problem,
        state::State,
    },
};

/// Streams that keep a doctor's rhythm at the same time, on the whole server: they hold a connection for up to five
/// minutes and need no token.
const MAX_PROBES: usize = 64;

/// A request as it looks when it has come through.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// Version of HTTP that the nearest proxy speaks.
    pub http: &'static str,
    /// `Host`, as it came.
    pub host: Option<String>,
    /// Whether a proxy told the client's address, and whether it was believed.
    pub forwarded: Forwarded,
    /// Where the address lies that the client is counted by.
    pub range: Option<Range>,
    /// That address, unless it may be one of the network inside.
    pub address: Option<IpAddr>,
}

/// Kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// This machine.
    Loopback,
    /// A network that is not reached from outside.
    Private,
    /// Any other.
    Public,
}

impl Range {
    /// Where `address` lies.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let private = match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        match (address.is_loopback(), private) {
            (true, _) => Self::Loopback,
            (_, true) => Self::Private,
            _ => Self::Public,
        }
    }
}

/// How `request` looks from here.
pub fn seen(state: &State, request: &HttpRequest) -> Seen {
    let (forwarded, address) = client::forwarded(&state.access.proxies, request);
    let range = address.map(Range::of);
    Seen {
        http: if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" },
        host: request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        forwarded,
        range,
        // Of a proxy that says nothing the address would be shown, and that is nobody's business.
        address: address.filter(|_| forwarded == Forwarded::Believed || range == Some(Range::Public)),
    }
}

/// Places for streams that keep a doctor's rhythm.
pub fn places() -> std::sync::Arc<Semaphore> {
    std::sync::Arc::new(Semaphore::new(MAX_PROBES))
}

/// Takes one of the places.
///
/// # Errors
/// 503 when they are all taken.
pub fn place(state: &State) -> Result<OwnedSemaphorePermit, Problem> {
    let place = std::sync::Arc::clone(&state.doctors).try_acquire_owned();
    place.map_err(|_| Problem::unavailable("other doctors are at work here: try again later", reconnect_after()))
}

/// `GET` and `HEAD /api/doctor`: the request as it came through, and what mends a path.
#[utoipa::path(
    get,
    path = "/api/doctor",
    tag = "Operation",
    operation_id = "getDoctor",
    summary = "How this very request came through",
    description = "For a path doctor: what proxies in between did to the request, and the table of what mends a path. \
        The answer is never compressed, so one that is was compressed on its way.",
    responses((status = 200, description = "What came through", body = shapes::Doctor)),
    security(())
)]
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    state.knock(&request)?;
    let remedies: serde_json::Map<_, _> =
        Remedy::ALL.iter().map(|remedy| (remedy.line().id.to_owned(), json!(remedy))).collect();
    let mut answer = json!({"version": SERVER_VERSION, "maxBody": state.body.max_bytes, "remedies": remedies});
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
    summary = "How much of a body comes through",
    description = "Counts the bytes and keeps none of them: whether a proxy lets bodies pass that the server would take.",
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, description = "The number of bytes", body = shapes::Counted)),
    security(())
)]
pub async fn echo(request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    state.knock(&request).map_err(Problem::and_close)?;
    let bytes = body.count().await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({"bytes": bytes})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_here_inside_or_outside() {
        for (address, expected) in [
            ("127.0.0.1", Range::Loopback),
            ("::1", Range::Loopback),
            ("::ffff:127.0.0.1", Range::Loopback),
            ("10.1.2.3", Range::Private),
            ("169.254.1.1", Range::Private),
            ("fd00::1", Range::Private),
            ("203.0.113.7", Range::Public),
            ("2001:db8::1", Range::Public),
        ] {
            assert_eq!(Range::of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
