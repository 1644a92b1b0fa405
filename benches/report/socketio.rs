//! Socket.IO: CPU time per delivery and memory of silent clients, next to the bare loop and to the Socket.IO server on Node.js;
//! and the time of a poll with and without such clients.
//!
//! The server on Node.js is `benches/report/socketio.mjs` with npm's `socket.io` of `tests/e2e` (`npm ci` there). Its clients
//! are the same as tricast's, and its events have as many bytes. It does not keep clients for recovery, which tricast does.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Transport},
    fanout, floor, idle, latency,
    process::{Process, installed},
    settings::Settings,
    table::{Ratio, Table, micros},
};

/// Bytes of the value.
const VALUE: usize = 200;

/// Bytes of an event of the server on Node.js beside its padding.
const ENVELOPE: usize = 47;

/// Measures all figures of Socket.IO; those that need Node.js are left out without it.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    fanout::measure(settings, table, Transport::SocketIo, "<= 1.25")?;
    match start_node(settings) {
        Err(error) => table.left_out("Socket.IO, beside Node.js", &error.to_string()),
        Ok(node) => {
            deliveries(settings, table, node)?;
            memory(settings, table)?;
        }
    }
    polls(settings, table)
}

/// Starts the Socket.IO server on Node.js on the core under test.
fn start_node(settings: &Settings) -> Outcome<Process> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !project.join("tests/e2e/node_modules/socket.io/package.json").is_file() {
        return Err("npm's socket.io is not installed: run `npm ci` in tests/e2e".into());
    }
    let mut command = Command::new(installed("node").ok_or("node is not installed")?);
    command.arg(project.join("benches/report/socketio.mjs")).env("NODE_ENV", "production");
    Process::start(settings, &command, tempfile::tempdir()?, None)
}

fn deliveries(settings: &Settings, table: &mut Table, mut node: Process) -> Outcome<()> {
    let Settings { period, turn, .. } = *settings;
    let server = Process::tricast(settings)?;
    let mut pusher = Pusher::open(&server, VALUE)?;
    let mut clients = Clients::connect(server.address, Transport::SocketIo, settings.clients)?;
    let mut theirs = Clients::connect(node.address, Transport::SocketIo, settings.clients)?;

    // Warm-up, which also measures the bytes of a delivery.
    clients.read_for(Duration::from_millis(300))?;
    let (bytes, deliveries) = (clients.bytes, clients.deliveries);
    pusher.fan_out(&mut clients, period, Duration::from_secs(1))?;
    let bytes = ((clients.bytes - bytes) as f64 / (clients.deliveries - deliveries).max(1) as f64).round() as usize;
    let padding = bytes.saturating_sub(ENVELOPE);
    floor::fan_out(&mut node, &mut theirs, padding, period, Duration::from_secs(1))?;

    let mut ratio = Ratio::default();
    let mut total = 0;
    for _ in 0..settings.repetitions {
        let (before, deliveries) = (server.cpu()?, clients.deliveries);
        pusher.fan_out(&mut clients, period, turn)?;
        let delivered = clients.deliveries - deliveries;
        let ours = micros(server.cpu()? - before) / delivered.max(1) as f64;
        total += delivered;

        let (before, deliveries) = (node.cpu()?, theirs.deliveries);
        floor::fan_out(&mut node, &mut theirs, padding, period, turn)?;
        theirs.read_for(Duration::from_millis(250))?;
        ratio.add(ours, micros(node.cpu()? - before) / (theirs.deliveries - deliveries).max(1) as f64);
    }
    let note = format!("{total} deliveries of {bytes} B; beside: the Socket.IO server on Node.js");
    table.line("Socket.IO CPU per delivery", "us", &ratio, "", &note);
    Ok(())
}

fn memory(settings: &Settings, table: &mut Table) -> Outcome<()> {
    for transport in [Transport::SocketIo, Transport::SocketIoPolling] {
        let server = Process::tricast(settings)?;
        drop(Pusher::open(&server, VALUE)?);
        let ours = idle::grown(&server, transport, settings)?;
        let theirs = idle::grown(&start_node(settings)?, transport, settings)?;
        let mut ratio = Ratio::default();
        ratio.add(ours.per_client, theirs.per_client);
        let note = format!(
            "{} clients, {:.1} ms CPU a second for all of them; beside: the Socket.IO server on Node.js",
            settings.clients, ours.busy
        );
        table.line(&format!("{} memory, idle", transport.name()), "kB", &ratio, "", &note);
    }
    Ok(())
}

/// Polls while a value goes out to WebSockets, and to as many Socket.IO clients beside them, half of which poll.
fn polls(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let server = Process::tricast(settings)?;
    let mut pusher = Pusher::open(&server, VALUE)?;
    let mut clients = Clients::connect(server.address, Transport::WebSocket, settings.clients)?;
    let long = settings.seconds(2, 5);
    let (mut median, mut slow) = (Ratio::default(), Ratio::default());
    let mut count = 0;
    for _ in 0..settings.repetitions.min(3) {
        clients.read_for(Duration::from_millis(500))?;
        let without =
            latency::beside(server.address, "/api/metrics", || pusher.fan_out(&mut clients, settings.period, long))?;
        let half = settings.clients.div_ceil(2);
        for transport in [Transport::SocketIo, Transport::SocketIoPolling] {
            clients.extend(Clients::connect(server.address, transport, half)?);
        }
        clients.read_for(Duration::from_millis(500))?;
        let with =
            latency::beside(server.address, "/api/metrics", || pusher.fan_out(&mut clients, settings.period, long))?;
        clients.truncate(settings.clients);
        median.add(latency::at(&with, 0.5), latency::at(&without, 0.5));
        slow.add(latency::at(&with, 0.99), latency::at(&without, 0.99));
        count += with.len();
    }
    for (name, ratio) in [("p50", median), ("p99", slow)] {
        let note = format!(
            "{count} polls; {0} WebSockets and {0} Socket.IO clients; beside: the WebSockets alone",
            settings.clients
        );
        table.line(&format!("poll {name}, Socket.IO fan-out"), "ms", &ratio, "<= 1.00", &note);
    }
    Ok(())
}
