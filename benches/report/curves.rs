//! CPU time of a publish against one quantity at a time: what it should grow with, and what it should not.
//!
//! A publish should cost in proportion to the clients that receive it and to the size of the value, and the same however many
//! other channels and subscriptions exist and however often it happens. The time of the server's own measurements is
//! contained, so that a publish that happens seldom looks dearer.

use std::time::Duration;

use crate::{
    Outcome,
    clients::{Clients, Pusher, Transport},
    http::Connection,
    process::Process,
    settings::Settings,
    table::{Curve, Table, micros},
};

/// What is measured at a point.
#[derive(Clone, Copy)]
struct Point {
    clients: usize,
    /// Other channels that exist.
    channels: usize,
    /// Subscriptions of each client beside the one that delivers.
    subscriptions: usize,
    /// Bytes of the value.
    bytes: usize,
    pushes_per_second: u32,
}

/// The point from which one quantity at a time is varied.
const USUAL: Point = Point { clients: 100, channels: 0, subscriptions: 0, bytes: 200, pushes_per_second: 20 };

/// Measures all curves.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let mut curve = |name, of, values: &[usize], point: fn(usize) -> Point| -> Outcome<()> {
        let points = values.iter().map(|value| Ok((*value as f64, publish(settings, point(*value))?)));
        table.curve(Curve { name, of, unit: "us", points: points.collect::<Outcome<_>>()? });
        Ok(())
    };
    curve("publish by clients", "clients", &[10, 100, 1_000, 4_000], |clients| Point { clients, ..USUAL })?;
    curve("publish by channels", "other channels", &[1, 100, 1_000, 9_000], |channels| Point { channels, ..USUAL })?;
    curve("publish by subscriptions", "more subscriptions", &[1, 10, 99], |subscriptions| Point {
        subscriptions,
        ..USUAL
    })?;
    curve("publish by size", "bytes", &[200, 2_000, 20_000], |bytes| Point { bytes, ..USUAL })?;
    curve("publish by rate", "pushes a second", &[2, 20, 200], |rate| Point { pushes_per_second: rate as u32, ..USUAL })
}

/// Returns the CPU time of a publish in microseconds.
fn publish(settings: &Settings, point: Point) -> Outcome<f64> {
    let server = Process::tricast(settings)?;
    create_channels(&server, point.channels)?;
    let mut pusher = Pusher::open(&server, point.bytes)?;
    let mut clients = Clients::connect(server.address, Transport::WebSocket, point.clients)?;
    clients.read_for(Duration::from_millis(300))?;
    if point.subscriptions > 0 {
        clients.subscribe_to_more(point.subscriptions)?;
    }
    let period = Duration::from_secs(1) / point.pushes_per_second;
    pusher.fan_out(&mut clients, period, Duration::from_millis(500))?;
    let (cpu, pushed, deliveries) = (server.cpu()?, pusher.pushed, clients.deliveries);
    pusher.fan_out(&mut clients, period, settings.seconds(1, 3))?;
    let (cpu, pushed) = (server.cpu()? - cpu, pusher.pushed - pushed);
    // A conflated value costs less than a delivered one.
    let due = pushed * point.clients as u64;
    let delivered = clients.deliveries - deliveries;
    if delivered * 10 < due * 9 {
        return Err(format!("{delivered} of {due} deliveries: the server is too slow to be compared").into());
    }
    Ok(micros(cpu) / pushed as f64)
}

fn create_channels(server: &Process, count: usize) -> Outcome<()> {
    let mut connection = Connection::open(server.address)?;
    let lines: Vec<_> =
        (0..count).map(|number| format!(r#"{{"channel":"metrics.other.{number}","data":{{"n":1}}}}"#)).collect();
    for part in lines.chunks(1_000) {
        let answer = connection.post("/api/metrics", &format!("[{}]", part.join(",")))?;
        if answer.status != 202 {
            return Err(format!("a push was answered {}", answer.status).into());
        }
    }
    Ok(())
}
