//! WebSocket: low latency, both directions (docs/protocol.md, section 2; RFC 6455, RFC 7692).
//!
//! ```text
//! > GET /ws   Upgrade: websocket   Sec-WebSocket-Protocol: tricast.v1
//! < 101
//! < {"type":"connected","connectionId":"...","cursor":"k3f9x2ab:12",...}
//! > {"type":"subscribe","requestId":"1","channels":["metrics.*",{"name":"orders"}],"since":"k3f9x2ab:10"}
//! < {"type":"subscribed","requestId":"1",...}
//! < {"type":"metric","channel":"metrics.api",...,"cursor":"k3f9x2ab:12"}
//! ```
//!
//! actix-ws checks and answers the opening handshake; the frames are handled here ([`frame`]), because a published frame
//! is written once and shared, and because an announced length has to be checked before data are kept. A client that does
//! not read gets the newest values when it reads again; a silent one is closed (4408).

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, http::header, web};

mod config;
mod deflate;
pub mod frame;
mod frame_error;
mod heartbeat;
mod output;
mod session;

pub use config::WebSocketConfig;
pub use deflate::Compression;
pub use frame_error::FrameError;
pub(super) use output::{CLOSE_WAIT, FAILED_WAIT};

use crate::{
    transport::stream::Stream,
    web::{
        access, origin,
        problem::Problem,
        query::Params,
        route,
        state::{PROBE_HEADER, WorkerState},
        upgrade::upgrade,
    },
};
use tricast_core::{counters::Transport, protocol::SUBPROTOCOL};

/// Paths of the endpoint and its alias.
pub const PATHS: [&str; 2] = ["/ws", "/v1/dashboard/ws"];

/// Adds `/ws` and `/v1/dashboard/ws` with these settings.
pub fn configure(services: &mut web::ServiceConfig, config: WebSocketConfig) {
    for path in PATHS {
        route::add(services, path, "GET, HEAD", |resource| {
            resource.app_data(web::Data::new(config)).route(web::get().to(open)).route(web::head().to(peek))
        });
    }
}

/// Headers of the opening handshake (RFC 6455, section 4.1).
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive macro alone")]
struct HandshakeHeaders {
    /// `websocket`; `Connection` has to be `Upgrade`.
    #[param(nullable = false, rename = "Upgrade", example = "websocket")]
    upgrade: String,
    /// Version of the protocol: `13`.
    #[param(nullable = false, rename = "Sec-WebSocket-Version", example = "13")]
    version: String,
    /// 16 random bytes as Base64.
    #[param(nullable = false, rename = "Sec-WebSocket-Key", example = "dHJpY2FzdCByZWFkeXogPw==")]
    key: String,
    /// Subprotocol: `tricast.v1` is accepted if offered.
    #[param(nullable = false, rename = "Sec-WebSocket-Protocol", example = "tricast.v1")]
    protocol: Option<String>,
}

/// Handles `GET /ws`: a handshake, after which the connection is a WebSocket.
#[utoipa::path(
    get,
    path = "/ws",
    tag = "Streams",
    operation_id = "openWebSocket",
    summary = "WebSocket",
    description = "WebSocket (RFC 6455) with one JSON object per text message. The server sends `connected` first. Messages of \
        the client: `subscribe`, `unsubscribe`, `pause`, `resume`, `request`, `ping`, `configure`, `authenticate`, \
        `refresh_token`, `disconnect`. If the server requires a token and the handshake has none, the connection waits for \
        `authenticate`. `GET /api/protocol` returns the close codes.",
    params(HandshakeHeaders),
    responses(
        (status = 101, description = "The WebSocket is open",
            headers(("Sec-WebSocket-Accept" = String, description = "Proof that the server accepts the handshake (RFC 6455, section 4.2.2)"))),
        (status = 426, description = "The request is not a handshake. `Upgrade` names the required protocol"),
        (status = 503, description = "The server has reached its connection limit or is shutting down. `Retry-After` is the time to wait"),
    )
)]
pub(crate) async fn open(
    request: HttpRequest,
    payload: web::Payload,
    config: web::Data<WebSocketConfig>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    origin::check(&state, &request)?;
    Params::read(&request, &[])?;
    let mut response = handshake(&request).await?;
    let compression = match config.compression {
        true => accept_deflate(&request, &mut response),
        false => Compression::None,
    };
    let probe =
        request.headers().get(PROBE_HEADER).is_some_and(|probe| probe.as_bytes() == state.shared.probe.as_bytes());
    let (slot, caller) = if probe {
        (state.open_probe(Transport::WebSocket), None)
    } else {
        let mut slot = state.open_stream(Transport::WebSocket, state.address(&request))?;
        let caller = access::visitor(&state, &request).await?;
        if let Some(caller) = &caller {
            state.attribute_stream(&mut slot, caller)?;
        }
        (slot, caller)
    };
    let auth_timeout = state.shared.limits.auth_timeout.0;
    let stream = Stream::open(state, session::STREAM, caller, auth_timeout, Some(slot));
    upgrade(&request, response, payload, move |wire| session::open(stream, &config, wire, compression))
}

/// Handles `HEAD /ws`: the response to a GET that is not a handshake.
async fn peek() -> Result<HttpResponse, Problem> {
    Err(Problem::upgrade_required("ask with a handshake", false))
}

/// Accepts permessage-deflate in `response` if one of the client's offers fits (RFC 7692, section 7).
pub fn accept_deflate(request: &HttpRequest, response: &mut HttpResponse) -> Compression {
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    let Some((compression, answer)) = deflate::agree(offers.filter_map(|offers| offers.to_str().ok())) else {
        return Compression::None;
    };
    match header::HeaderValue::try_from(answer) {
        Ok(answer) => {
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
            compression
        }
        Err(_) => Compression::None,
    }
}

/// Returns the response to an opening handshake (RFC 6455, section 4.2). The caller replaces its body by the stream of frames.
///
/// # Errors
/// A [`Problem`] with 400 or 426 that names the supported version.
pub async fn handshake(request: &HttpRequest) -> Result<HttpResponse, Problem> {
    if request.version() < actix_web::http::Version::HTTP_11 {
        return Err(Problem::bad_request("a WebSocket needs HTTP/1.1"));
    }
    let nothing = web::Payload::from_request(request, &mut dev::Payload::None).await;
    let nothing = nothing.map_err(|_| Problem::internal("an empty payload could not be made"))?;
    match actix_ws::handle_with_protocols(request, nothing, &[SUBPROTOCOL]) {
        Ok((response, _, _)) => Ok(response),
        Err(error) => {
            // 426 names the protocol to upgrade to; 400 is for a handshake with a fault.
            let tried = request.headers().contains_key(header::SEC_WEBSOCKET_KEY);
            let upgrade = error.as_response_error().status_code();
            tracing::debug!(%error, "a WebSocket handshake was refused");
            Err(Problem::upgrade_required(&error.to_string(), tried && upgrade.as_u16() != 426))
        }
    }
}
