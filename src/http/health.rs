//! `/healthz`: the process lives. `/readyz`: it can serve.

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

use super::{problem::Problem, state::State};
use crate::protocol::SERVER_VERSION;

/// Marks the server's own check of itself.
pub const PROBE_HEADER: &str = "x-tricast-probe";

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET` and `HEAD /healthz`.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"status": "ok", "version": SERVER_VERSION}))
}

/// `GET` and `HEAD /readyz`: the writer answers, and a WebSocket can be opened from this very server to itself.
pub async fn ready(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let draining = state.shutdown.is_draining();
    let aggregator = tokio::time::timeout(PATIENCE, state.tenants.respond()).await.unwrap_or(false);
    let websocket = if draining { false } else { upgrades(&state).await };
    let ready = !draining && aggregator && websocket;
    let word = |fine: bool| if fine { "ok" } else { "failed" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": match (ready, draining) { (true, _) => "ready", (_, true) => "draining", _ => "not ready" },
        "checks": {"aggregator": word(aggregator), "websocket": if draining { "not tried" } else { word(websocket) }},
    });
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(body))
}

/// Whether a WebSocket handshake with this very server is answered 101. Without a TCP address (only Unix sockets) there is
/// nothing to try.
async fn upgrades(state: &State) -> bool {
    let Some(mut address) = state.addresses.get().and_then(|all| all.first().copied()) else { return true };
    let probe = &state.probe;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             {PROBE_HEADER}: {probe}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dHJpY2FzdCByZWFkeXogPw==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(&status == b"HTTP/1.1 101")
    };
    matches!(tokio::time::timeout(PATIENCE, attempt).await, Ok(Ok(true)))
}
