//! Socket.IO: for pages and services that use its client already (Engine.IO protocol 4, Socket.IO protocol 5).
//!
//! ```text
//! > GET /socket.io/?EIO=4&transport=polling            GET …&transport=websocket   Upgrade: websocket
//! < 0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":35000,"maxPayload":65536}
//! > 40/tricast,{"token":"…"}
//! < 40/tricast,{"sid":"…"}
//! > 42/tricast,0["subscribe",{"channels":["metrics.orders"]}]
//! < 43/tricast,0[{"status":"ok","channels":[…]}]
//! < 42/tricast,["metric",{"channel":"metrics.orders",…,"cursor":"k3f9x2ab:12"},"k3f9x2ab:12"]
//! ```
//!
//! | file | content |
//! |---|---|
//! | `codec/` | the packets of both protocols (pure) |
//! | `connection/` | a session: packets, namespaces, heartbeat, limits, its end |
//! | `polling`, `websocket`, `link/` | carriers of a session: requests, a WebSocket, and the upgrade between them |
//! | `registry` | sessions by ID, for the requests that carry them |
//! | `socket/`, `rooms` | a client in a namespace: its events on the stream engine (one file per namespace), and the rooms it has joined |
//! | `recovery/` | subscriptions of clients that lost their connection |
//! | `conformance` | the echo for the official protocol suites |
//! | `encode`, `output` | publications as events, and everything else that is sent |
//!
//! A client is a reader of the same log as on the other transports; nothing is queued for it but replies.

use std::{rc::Rc, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use serde_json::json;

pub mod codec;
mod config;
pub mod conformance;
mod connection;
mod encode;
mod frames;
mod link;
mod namespace;
mod output;
mod polling;
mod recovery;
mod registry;
mod rooms;
mod socket;
mod websocket;

pub use config::SocketIoConfig;
pub use registry::Registry;

use connection::{Connection, Handshake};
use link::Framing;

use crate::{
    transport::websocket::handshake,
    web::{
        access,
        middleware::Reason,
        origin,
        problem::Problem,
        query::Params,
        route,
        state::{State, WorkerState},
        upgrade::upgrade,
    },
};
use tricast_core::counters::Transport;

/// Paths of the endpoint, with and without the slash.
pub const PATHS: [&str; 2] = ["/socket.io/", "/socket.io"];

/// Supported protocol version of Engine.IO.
const PROTOCOL: &str = "4";

/// Adds `/socket.io/` with these settings; `registry` has the sessions of all workers.
pub fn configure(services: &mut web::ServiceConfig, config: SocketIoConfig, registry: &web::Data<Registry>) {
    for path in PATHS {
        route::add(services, path, "GET, HEAD, POST", |resource| {
            resource
                .app_data(web::Data::new(config))
                .app_data(registry.clone())
                .route(web::get().to(get))
                .route(web::head().to(head))
                .route(web::post().to(post))
        });
    }
}

/// Refusal of a request by the protocol, with the codes of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EngineFailure {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest(&'static str),
    Forbidden,
    UnsupportedVersion,
}

impl From<EngineFailure> for HttpResponse {
    fn from(failure: EngineFailure) -> Self {
        let (code, message) = match failure {
            EngineFailure::UnknownTransport => (0, "Transport unknown: use polling or websocket"),
            EngineFailure::UnknownSession => (1, "Session ID unknown"),
            EngineFailure::BadMethod => (2, "Bad handshake method: a session begins with GET"),
            EngineFailure::BadRequest(message) => (3, message),
            EngineFailure::Forbidden => (4, "Forbidden: this origin is not in allowed_origins"),
            EngineFailure::UnsupportedVersion => {
                (5, "Unsupported protocol version: use EIO=4 (socket.io-client 3 or later)")
            }
        };
        let status = if code == 4 { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let mut response = Self::build(status)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({"code": code, "message": message}));
        response.extensions_mut().insert(Reason(message.into()));
        response
    }
}

/// Query of a request.
struct Query {
    is_websocket: bool,
    sid: Option<String>,
}

impl Query {
    /// Reads the query. Clients may add parameters of their own, which are not read.
    fn read(request: &HttpRequest) -> Result<Self, EngineFailure> {
        let params = Params::read_any(request).map_err(|_| EngineFailure::BadRequest("the query cannot be read"))?;
        let one = |name| params.one(name).map_err(|_| EngineFailure::BadRequest("a parameter occurs more than once"));
        if one("EIO")? != Some(PROTOCOL) {
            return Err(EngineFailure::UnsupportedVersion);
        }
        let is_websocket = match one("transport")? {
            Some("polling") => false,
            Some("websocket") => true,
            _ => return Err(EngineFailure::UnknownTransport),
        };
        if one("j")?.is_some() {
            return Err(EngineFailure::BadRequest("JSONP is not supported: use polling or websocket"));
        }
        Ok(Self { is_websocket, sid: one("sid")?.map(str::to_owned) })
    }
}

/// Query of the endpoint in the OpenAPI document; clients may add parameters of their own.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the derive macro alone")]
struct EngineIo {
    /// Version of the Engine.IO protocol: `4`.
    #[param(rename = "EIO", example = "4")]
    protocol: String,
    /// Transport of the request: `polling` or `websocket`.
    #[param(example = "polling")]
    transport: String,
    /// ID of the session, once it is open.
    sid: Option<String>,
}

/// Handles `GET /socket.io/`: opens a session, returns its packets, or upgrades to a WebSocket.
#[utoipa::path(
    get,
    path = "/socket.io/",
    tag = "Streams",
    operation_id = "openSocketIo",
    summary = "Socket.IO",
    description = "Endpoint of the client libraries of Socket.IO (socket.io-client 3 or later, python-socketio 5 or later), which \
        make these requests themselves. Namespaces: `/`, `/dashboard`, `/analytics/dashboard` and `/tricast`; the token is \
        `auth.token`. See `docs/socketio.md`.",
    params(EngineIo),
    security(()),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 200, description = "Packets of the server", body = String, content_type = "text/plain"),
        (status = 400, description = "The request breaks the Engine.IO protocol", body = BTreeMap<String, Value>, content_type = "application/json"),
        (status = 503, description = "The server has reached its connection limit or is shutting down. `Retry-After` is the time to wait"),
    )
)]
pub(crate) async fn get(
    request: HttpRequest,
    payload: web::Payload,
    config: web::Data<SocketIoConfig>,
    registry: web::Data<Registry>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    if origin::check(&state, &request).is_err() {
        return Ok(EngineFailure::Forbidden.into());
    }
    match Query::read(&request) {
        Err(failure) => Ok(failure.into()),
        Ok(Query { is_websocket, sid: None }) => open(&state, &request, payload, &config, registry, is_websocket).await,
        Ok(Query { is_websocket, sid: Some(sid) }) => {
            let Some(link) = registry.get(&sid) else { return Ok(EngineFailure::UnknownSession.into()) };
            if !is_websocket {
                return Ok(polling::get(&request, &link).await.unwrap_or_else(HttpResponse::from));
            }
            let response = handshake(&request).await?;
            let (place, counters) = (websocket::Place::take(link), Arc::clone(&state.shared.counters));
            let max_payload = state.shared.limits.max_message.0;
            upgrade(&request, response, payload, move |wire| {
                websocket::Upgrade::new(place, wire, max_payload, counters)
            })
        }
    }
}

/// Opens a session, by polling or on a WebSocket.
async fn open(
    state: &Rc<State>,
    request: &HttpRequest,
    payload: web::Payload,
    config: &SocketIoConfig,
    registry: web::Data<Registry>,
    is_websocket: bool,
) -> Result<HttpResponse, Problem> {
    let response = if is_websocket { Some(handshake(request).await?) } else { None };
    let slot = state.open_stream(Transport::SocketIo, state.address(request))?;
    // A token may still come with each namespace: the credentials of the handshake are optional, and may be outdated.
    let caller = access::visitor(state, request).await.ok().flatten();
    let sid = tricast_auth::unguessable();
    let sid: Arc<str> = sid.ok_or_else(|| Problem::internal("there are no random bytes"))?.into();
    let framing = if is_websocket { Framing::Frames } else { Framing::Payload };
    let handshake = Handshake { sid, caller, slot, takes_offsets: takes_offsets(request, is_websocket) };
    let recovery = Arc::clone(&registry.recovery);
    let connection = Connection::open(Rc::clone(state), config, handshake, recovery, framing);
    match response {
        None => Ok(polling::start(connection, registry)),
        Some(response) => {
            let counters = Arc::clone(&state.shared.counters);
            let max_payload = state.shared.limits.max_message.0;
            upgrade(request, response, payload, move |wire| {
                websocket::Direct::new(connection, wire, max_payload, counters)
            })
        }
    }
}

/// Returns whether a client's handlers accept an offset after the data of an event. JavaScript ignores arguments that a
/// function does not name, Python does not.
fn takes_offsets(request: &HttpRequest, is_websocket: bool) -> bool {
    let agent = request.headers().get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    match agent {
        Some(agent) => !agent.to_ascii_lowercase().contains("python"),
        // A WebSocket without a name: that of Node.js offers compression, that of Python does not.
        None => !is_websocket || request.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS),
    }
}

/// Handles `HEAD /socket.io/`, which never opens a session.
async fn head() -> HttpResponse {
    EngineFailure::BadMethod.into()
}

/// Handles `POST /socket.io/`: packets of the client.
#[utoipa::path(
    post,
    path = "/socket.io/",
    tag = "Streams",
    operation_id = "postSocketIo",
    summary = "Send packets of a Socket.IO client",
    description = "Packets of a polling session, separated by U+001E; binary packets are `b` and base64.",
    params(EngineIo),
    request_body(content = String, content_type = "text/plain"),
    security(()),
    responses(
        (status = 200, description = "The packets were accepted: `ok`", body = String, content_type = "text/html"),
        (status = 400, description = "The request breaks the Engine.IO protocol", body = BTreeMap<String, Value>, content_type = "application/json"),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    payload: web::Payload,
    registry: web::Data<Registry>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    let link = match Query::read(&request) {
        Err(failure) => return Ok(failure.into()),
        Ok(Query { sid: None, .. }) => return Ok(EngineFailure::BadMethod.into()),
        Ok(Query { is_websocket: true, .. }) => {
            return Ok(EngineFailure::BadRequest("a WebSocket takes frames, not a POST").into());
        }
        Ok(Query { sid: Some(sid), .. }) => registry.get(&sid),
    };
    let Some(link) = link else { return Ok(EngineFailure::UnknownSession.into()) };
    match polling::post(&state, &request, payload, &link).await {
        Ok(response) => Ok(response),
        Err(polling::PostFailure::Engine(failure)) => Ok(failure.into()),
        Err(polling::PostFailure::Body(problem)) => Err(problem),
        Err(polling::PostFailure::TooLarge(most)) => {
            let detail = format!("a payload has at most {most} bytes");
            let code = tricast_core::protocol::error::Code::InvalidMessage;
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail))
        }
    }
}
