//! Probes: `/healthz` shows that the process is alive, `/readyz` that it can serve.

use std::{net::SocketAddr, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::openapi::shapes;
use crate::web::{
    problem::Problem,
    state::{PROBE_HEADER, State},
};
use tricast_cluster::Cluster;
use tricast_core::protocol::SERVER_VERSION;

/// Deadline of one check.
const PATIENCE: Duration = Duration::from_secs(2);

/// Handles `GET` and `HEAD /healthz`.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Operation",
    operation_id = "getHealth",
    summary = "Liveness check",
    responses((status = 200, description = "The process is alive", body = shapes::Live)),
    security(())
)]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"status": "ok", "version": SERVER_VERSION}))
}

/// Handles `GET` and `HEAD /readyz`: the aggregator and the store respond, the bus can be read and written, and a
/// WebSocket connection from this server to itself can be opened.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Operation",
    operation_id = "getReadiness",
    summary = "Readiness check",
    description = "The writer and the store answer, orders can be taken, the bus, where there is one, can be read and written, and a WebSocket can be opened from this server to itself. `clock` says whether this node's clock agrees with those of the bus and of the database; it does not count.",
    responses(
        (status = 200, description = "Ready to serve", body = shapes::Ready),
        (status = 503, description = "Not ready, or shutting down", body = shapes::Ready),
    ),
    security(())
)]
pub async fn ready(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let draining = state.shared.shutdown.is_draining();
    let (aggregator, store, websocket) =
        tokio::join!(in_time(state.shared.tenants.respond()), in_time(state.shared.store.responds()), async {
            !draining && upgrades(&state).await
        },);
    let bus = state.shared.tenants.cluster().map(Cluster::is_ready);
    let orders = state.shared.tenants.orders_loaded();
    let ready = !draining && aggregator && store && orders && websocket && bus != Some(false);
    let word = |fine: bool| if fine { "ok" } else { "failed" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({
        "status": match (ready, draining) { (true, _) => "ready", (_, true) => "draining", _ => "not ready" },
        "checks": {
            "aggregator": word(aggregator),
            "store": word(store),
            "orders": word(orders),
            "websocket": if draining { "not tried" } else { word(websocket) },
        },
    });
    if let Some(cluster) = state.shared.tenants.cluster() {
        body["checks"]["bus"] = json!(word(bus != Some(false)));
        if let Some(fault) = *cluster.fault().borrow() {
            body["reasons"] = json!({"bus": fault.to_string()});
        }
    }
    if let Some(is_right) = state.shared.clocks.is_right() {
        // Reported only: a clock that is off is no reason to take the node out of service, because it uses the clock of
        // the bus or the database.
        body["checks"]["clock"] = json!(word(is_right));
    }
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(body))
}

async fn in_time(check: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(PATIENCE, check).await.unwrap_or(false)
}

/// Returns whether a WebSocket handshake with this server itself is answered with 101. Always true without a TCP address
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
