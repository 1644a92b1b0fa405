//! Memory that is held for a client that stopped reading.
//!
//! 50 of 100 clients stop; values of 8 kB continue at 20 per second. The figures are the growth of the process and, for
//! the sockets of the stopped clients, the bytes that the peer has not acknowledged (`tx_queue` in `/proc/net/tcp`) and
//! the kernel's memory for them (`w` of `ss -tm`, if `ss` is installed). The receive buffers of the peers are not
//! included. The baseline is the bare loop, whose sockets have the system's default buffers.

use std::{collections::HashMap, fs, process::Command, time::Duration};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Transport},
    floor,
    process::{Process, installed},
    settings::Settings,
    table::{Ratio, Table},
};

const CLIENTS: usize = 100;
const STALLED: usize = 50;
const VALUE: usize = 8_000;
const PERIOD: Duration = Duration::from_millis(50);

/// Measures figure 4: memory held for a client that stopped reading.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let long = settings.seconds(3, 10);
    let mut floor = floor::start(settings, CLIENTS)?;
    let mut bare = Clients::connect(floor.address, Transport::Bare, CLIENTS)?;
    bare.reading = CLIENTS - STALLED;
    let grown = floor.resident()?;
    floor::fan_out(&mut floor, &mut bare, VALUE, PERIOD, long)?;
    let bare = Held::of(&floor, &bare, grown)?;
    for transport in [Transport::WebSocket, Transport::Sse] {
        let server = Process::tricast(settings)?;
        let mut pusher = Pusher::open(&server, VALUE)?;
        let mut clients = Clients::connect(server.address, transport, CLIENTS)?;
        pusher.fan_out(&mut clients, PERIOD, Duration::from_secs(1))?;
        clients.reading = CLIENTS - STALLED;
        let (grown, pushed, delivered) = (server.resident()?, pusher.pushed, clients.deliveries);
        pusher.fan_out(&mut clients, PERIOD, long)?;
        let ours = Held::of(&server, &clients, grown)?;
        let due = (pusher.pushed - pushed) * (CLIENTS - STALLED) as u64;
        let note =
            format!("{STALLED} of {CLIENTS} stalled; the others got {} of {due}", clients.deliveries - delivered);
        let name = transport.name();
        let row = |table: &mut Table, what: &str, ours, bare, target, note: &str| {
            let mut ratio = Ratio::default();
            ratio.add(ours, bare);
            table.line(&format!("{name} stalled: {what}"), "kB", &ratio, target, note);
        };
        row(table, "unacknowledged", ours.queued, bare.queued, "", &note);
        match (ours.kernel, bare.kernel) {
            (Some(ours), Some(bare)) => row(table, "kernel memory", ours, bare, "<= 64 kB", "with that below"),
            _ => table.left_out(&format!("{name} stalled: kernel memory"), "ss is not installed"),
        }
        let note = format!("growth of resident memory; baseline {:.1} kB", bare.process);
        table.single(&format!("{name} stalled: process"), "kB", ours.process, "", &note);
    }
    Ok(())
}

/// Memory in kB for each stalled client.
struct Held {
    queued: f64,
    kernel: Option<f64>,
    process: f64,
}

impl Held {
    fn of(process: &Process, clients: &Clients, before: u64) -> Outcome<Self> {
        let ports = clients.silent_ports();
        let mine = |queues: HashMap<u16, u64>| {
            ports.iter().filter_map(|port| queues.get(port)).sum::<u64>() as f64 / 1_024.0 / STALLED as f64
        };
        Ok(Self {
            queued: mine(queued(process.address.port())?),
            kernel: kernel(process.address.port())?.map(mine),
            process: process.resident()?.saturating_sub(before) as f64 / 1_024.0 / STALLED as f64,
        })
    }
}

/// Returns the bytes that the peer has not acknowledged, by the peer's port.
fn queued(port: u16) -> Outcome<HashMap<u16, u64>> {
    let hex_port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or_default(), 16).ok();
    let mut queues = HashMap::new();
    for line in fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        let (Some(local), Some(peer), _, Some(queue)) = (words.next(), words.next(), words.next(), words.next()) else {
            continue;
        };
        let sent = queue.split(':').next().and_then(|sent| u64::from_str_radix(sent, 16).ok());
        if let (Some(local), Some(peer), Some(sent)) = (hex_port(local), hex_port(peer), sent)
            && local == port
        {
            queues.insert(peer, sent);
        }
    }
    Ok(queues)
}

/// Returns the memory of the send queue, by the peer's port; `None` without `ss`.
fn kernel(port: u16) -> Outcome<Option<HashMap<u16, u64>>> {
    let Some(ss) = installed("ss") else { return Ok(None) };
    let out = Command::new(ss).args(["-tmnHO", "sport", "=", &format!(":{port}")]).output()?.stdout;
    let out = String::from_utf8_lossy(&out).into_owned();
    let lines = out.lines().filter_map(|line| {
        let peer = line.split_whitespace().nth(4)?.rsplit(':').next()?.parse().ok()?;
        let (_, books) = line.split_once("skmem:(")?;
        let queued = books.split([',', ')']).find_map(|entry| entry.strip_prefix('w'))?.parse().ok()?;
        Some((peer, queued))
    });
    Ok(Some(lines.collect()))
}
