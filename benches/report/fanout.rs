//! CPU time per delivery of one value, pushed by HTTP, to all clients.
//!
//! The figure of tricast includes everything that the process does meanwhile: accepting the push, measuring the host,
//! heartbeats. A conflated value is not a delivery, so a server that falls behind does not look cheaper. The baseline
//! writes as many bytes per client as tricast writes per delivery, framing included.

use std::time::Duration;

use crate::{
    Outcome, clients,
    clients::{Clients, Pusher, Transport},
    floor,
    process::Process,
    settings::Settings,
    table::{Ratio, Table, micros},
};

/// Size of the value in bytes, without the envelope.
const VALUE: usize = 200;

/// Measures figure 1: CPU per WebSocket delivery.
pub(crate) fn websocket(settings: &Settings, table: &mut Table) -> Outcome<()> {
    measure(settings, table, Transport::WebSocket, "<= 1.10")
}

/// Measures figure 2: CPU per event-stream delivery.
pub(crate) fn sse(settings: &Settings, table: &mut Table) -> Outcome<()> {
    measure(settings, table, Transport::Sse, "<= 1.25")
}

pub(crate) fn measure(settings: &Settings, table: &mut Table, transport: Transport, target: &str) -> Outcome<()> {
    let Settings { period, turn, .. } = *settings;
    let server = Process::tricast(settings)?;
    let mut pusher = Pusher::open(&server, VALUE)?;
    let mut clients = Clients::connect(server.address, transport, settings.clients)?;
    let mut floor = floor::start(settings, settings.clients)?;
    let mut bare = Clients::connect(floor.address, Transport::Bare, settings.clients)?;

    // Warm-up, which also measures the bytes of a delivery.
    clients.read_for(Duration::from_millis(300))?;
    let (bytes, deliveries) = (clients.bytes, clients.deliveries);
    pusher.fan_out(&mut clients, period, Duration::from_secs(1))?;
    let bytes = ((clients.bytes - bytes) as f64 / (clients.deliveries - deliveries).max(1) as f64).round() as usize;
    floor::fan_out(&mut floor, &mut bare, bytes, period, Duration::from_secs(1))?;

    let mut ratio = Ratio::default();
    let mut total = 0;
    let pushed = pusher.pushed;
    let ticks = server.ticks()?;
    for _ in 0..settings.repetitions {
        let (before, deliveries) = (server.cpu()?, clients.deliveries);
        pusher.fan_out(&mut clients, period, turn)?;
        let delivered = clients.deliveries - deliveries;
        let ours = micros(server.cpu()? - before) / delivered.max(1) as f64;
        total += delivered;

        let before = floor.cpu()?;
        let written = floor::fan_out(&mut floor, &mut bare, bytes, period, turn)?;
        ratio.add(ours, micros(floor.cpu()? - before) / written.max(1) as f64);
    }
    let (user, system) = server.ticks()?;
    let (user, system) = (user - ticks.0, system - ticks.1);
    let user = 100.0 * user as f64 / (user + system).max(1) as f64;
    let due = (pusher.pushed - pushed) * settings.clients as u64;
    let conflated = 100.0 * due.saturating_sub(total) as f64 / due.max(1) as f64;
    let note = format!(
        "{total} deliveries of {bytes} B to \"{}\", {conflated:.1} % conflated, {user:.0} % in user space",
        clients::CHANNEL
    );
    table.line(&format!("{} CPU per delivery", transport.name()), "us", &ratio, target, &note);
    Ok(())
}
