//! `--demo`: a simulated shop that uses the public API like a real one.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// User agent of its requests, which distinguishes them from those of people.
pub const USER_AGENT: &str = "tricast-demo";

const NAMES: [&str; 8] = [
    "Ada Lovelace",
    "Alan Turing",
    "Grace Hopper",
    "Linus Pauling",
    "Mary Seacole",
    "Niels Bohr",
    "Rosa Luxemburg",
    "Émilie du Châtelet",
];
/// Next statuses of an order; an order is completed twice as often as anything else.
const STATUSES: [&str; 5] = ["PROCESSING", "SHIPPED", "COMPLETED", "COMPLETED", "CANCELLED"];
const SERVICES: [&str; 3] = ["web", "checkout", "search"];

/// Target of the shop's requests: this server.
pub struct ServerAddress {
    /// Address that it listens on.
    pub address: SocketAddr,
    /// Path below which it serves.
    pub base_path: String,
}

/// Sends shop traffic to the server behind `server` until the server stops.
pub async fn run(server: ServerAddress) {
    tracing::info!("demo mode: simulated orders, visits and deploys");
    let mut open = Vec::new();
    let mut load = 50.0;
    for step in 0u64.. {
        if let Err(error) = once(&server, step, &mut open, &mut load).await {
            tracing::debug!(%error, "the demo shop stops");
            return;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(250..750))).await;
    }
}

async fn once(server: &ServerAddress, step: u64, open: &mut Vec<String>, load: &mut f64) -> io::Result<()> {
    for _ in 0..fastrand::u32(1..=4) {
        send(server, "POST", "/api/visits", &json!({})).await?;
    }
    if fastrand::u8(..4) == 0 {
        send(server, "POST", "/api/customers", &json!({})).await?;
    }
    if fastrand::bool() {
        let order = json!({
            "items": fastrand::u32(1..=5),
            "total": f64::from(fastrand::u32(500..20_500)) / 100.0,
            "customerName": fastrand::choice(NAMES),
            "priority": fastrand::choice(["normal", "normal", "normal", "high", "urgent"]),
        });
        let created = send(server, "POST", "/api/orders", &order).await?;
        if let Some(id) = created["orderId"].as_str() {
            open.push(id.to_owned());
        }
    }
    if open.len() > 12 {
        let id = open.swap_remove(fastrand::usize(..open.len()));
        let status = fastrand::choice(STATUSES).unwrap_or(STATUSES[0]);
        if status == "PROCESSING" {
            open.push(id.clone());
        }
        send(server, "PATCH", &format!("/api/orders/{id}"), &json!({"status": status})).await?;
    }
    *load = (*load + 20.0 * fastrand::f64() - 10.0).clamp(5.0, 250.0);
    let latency = (100.0 * (12.0 + *load * 0.9)).round() / 100.0;
    let checkout =
        json!({"active_carts": (*load / 4.0) as u64, "latency_p95": latency, "payment_failures": fastrand::u32(..3)});
    let present = send(server, "GET", "/api/metrics/metrics.checkout", &Value::Null).await?;
    if is_simulated(&present["data"], &checkout) {
        send(server, "POST", "/api/metrics", &json!({"channel": "metrics.checkout", "data": checkout})).await?;
    }
    if step.is_multiple_of(60) {
        let service = fastrand::choice(SERVICES);
        let data = json!({"service": service, "version": format!("1.{}.{}", step / 60, fastrand::u32(..10))});
        send(server, "POST", "/api/metrics", &json!({"channel": "deploys", "event": "released", "data": data})).await?;
    }
    Ok(())
}

/// Returns whether the current value of a channel is missing or simulated: it has the fields of `simulated` and no
/// others. Values that a user pushed are left alone, so that the user sees them.
fn is_simulated(present: &Value, simulated: &Value) -> bool {
    let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    present.is_null() || names(present) == names(simulated)
}

/// Sends one request on a connection of its own, with the minimal HTTP that this server needs.
async fn send(server: &ServerAddress, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let ServerAddress { address, base_path } = server;
    let mut stream = TcpStream::connect(address).await?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {base_path}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {USER_AGENT}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_value_is_not_replaced_by_a_simulated_one() {
        let simulated = json!({"active_carts": 1, "latency_p95": 2});
        for (present, expected) in [
            (Value::Null, true),
            (json!({"latency_p95": 3, "active_carts": 4}), true),
            (json!({"latency_p95": 180}), false),
            (json!({"latency_p95": 3, "active_carts": 4, "mine": 5}), false),
            (json!({}), false),
        ] {
            assert_eq!(is_simulated(&present, &simulated), expected, "{present}");
        }
    }
}
