//! Probes: `/healthz` shows that the process is alive, `/readyz` that it can serve.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use actix_web::http::StatusCode;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use utoipa::ToSchema;

use crate::web::{
    json_response::JsonResponse,
    state::{PROBE_HEADER, State, WorkerState},
};
use tricast_cluster::Cluster;
use tricast_core::protocol::SERVER_VERSION;

/// Time after which a check counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Response of a process that is alive.
#[derive(Serialize, ToSchema)]
pub struct Liveness {
    /// `ok`: a process that responds is alive.
    #[schema(example = "ok")]
    status: &'static str,
    /// Version of the server.
    version: &'static str,
}

/// Handles `GET` and `HEAD /healthz`.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Operation",
    operation_id = "getHealth",
    summary = "Liveness check",
    responses((status = 200, description = "The process is alive", body = Liveness)),
    security(())
)]
pub async fn live() -> JsonResponse<Liveness> {
    JsonResponse::no_store(Liveness { status: "ok", version: SERVER_VERSION })
}

/// Readiness of the server, with the results of its checks.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "ready", "checks": {"aggregator": "ok", "store": "ok", "orders": "ok", "websocket": "ok"}}))]
pub struct Readiness {
    /// `ready`, `not ready` or `draining`.
    status: &'static str,
    /// `ok`, `failed` or `not tried`, by the name of the check.
    checks: BTreeMap<&'static str, &'static str>,
    /// Explanations of failed checks for people, if known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<&'static str, String>,
}

/// Handles `GET` and `HEAD /readyz`: the aggregator and the store respond, the bus can be read and written, and a
/// WebSocket connection from this server to itself can be opened.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Operation",
    operation_id = "getReadiness",
    summary = "Readiness check",
    description = "Checks that the aggregator and the store respond, that the figures of orders are loaded, that the bus, if \
        there is one, can be read and written, and that this server can open a WebSocket to itself. `clock` reports whether \
        the clock of this node agrees with those of the bus and the database; it does not affect the status.",
    responses(
        (status = 200, description = "Ready to serve", body = Readiness),
        (status = 503, description = "Not ready, or shutting down", body = Readiness),
    ),
    security(())
)]
pub async fn ready(WorkerState(state): WorkerState) -> JsonResponse<Readiness> {
    let draining = state.shared.shutdown.is_draining();
    let (aggregator, store, websocket) =
        tokio::join!(in_time(state.shared.tenants.respond()), in_time(state.shared.store.responds()), async {
            !draining && upgrades(&state).await
        });
    let bus = state.shared.tenants.cluster().map(Cluster::is_ready);
    let orders = state.shared.tenants.orders_loaded();
    let ready = !draining && aggregator && store && orders && websocket && bus != Some(false);
    let word = |fine: bool| if fine { "ok" } else { "failed" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut checks = BTreeMap::from([
        ("aggregator", word(aggregator)),
        ("store", word(store)),
        ("orders", word(orders)),
        ("websocket", if draining { "not tried" } else { word(websocket) }),
    ]);
    let mut reasons = BTreeMap::new();
    if let Some(cluster) = state.shared.tenants.cluster() {
        checks.insert("bus", word(bus != Some(false)));
        if let Some(fault) = *cluster.fault().borrow() {
            reasons.insert("bus", fault.to_string());
        }
    }
    if let Some(is_right) = state.shared.clocks.is_right() {
        // Reported only: a clock that is off is no reason to take the node out of service, because it uses the clock of
        // the bus or the database.
        checks.insert("clock", word(is_right));
    }
    let status_text = match (ready, draining) {
        (true, _) => "ready",
        (_, true) => "draining",
        _ => "not ready",
    };
    JsonResponse::no_store(Readiness { status: status_text, checks, reasons }).with_status(status)
}

async fn in_time(check: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(PATIENCE, check).await.unwrap_or(false)
}

/// Returns whether a WebSocket handshake with this server itself succeeds with 101. Always true without a TCP address
/// (only Unix sockets), because the handshake needs one.
async fn upgrades(state: &State) -> bool {
    let Some(mut address) = state.shared.addresses.get().and_then(|all| all.first().copied()) else { return true };
    let (probe, base) = (&state.shared.probe, &state.shared.base_path);
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {base}/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             {PROBE_HEADER}: {probe}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dHJpY2FzdCByZWFkeXogPw==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(&status == b"HTTP/1.1 101")
    };
    matches!(tokio::time::timeout(PATIENCE, attempt).await, Ok(Ok(true)))
}
