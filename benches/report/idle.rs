//! Memory of open, silent connections, and the CPU time of a server full of them.
//!
//! Resident memory of the process, without the kernel's memory for sockets (about the same for any server). A few
//! connections are opened first and stay, so that code and caches of the first one do not count.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Transport},
    floor,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Connections that are opened first and not counted.
const WARM: usize = 20;

/// Measures figure 3: memory of an idle stream.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let floor = floor::start(settings, WARM + settings.clients)?;
    let bare = grown(&floor, Transport::Bare, settings)?;
    for (transport, target) in [(Transport::WebSocket, "<= 4 kB"), (Transport::Sse, "<= 13 kB")] {
        let server = Process::tricast(settings)?;
        drop(Pusher::open(&server, 200)?);
        let ours = grown(&server, transport, settings)?;
        let mut ratio = Ratio::default();
        ratio.add(ours.per_client, bare.per_client);
        let note = format!("{} clients, {:.1} ms CPU a second for all of them", settings.clients, ours.busy);
        table.line(&format!("{} memory, idle", transport.name()), "kB", &ratio, target, &note);
    }
    Ok(())
}

/// Growth of a process for each client, and what it does meanwhile.
pub(crate) struct Grown {
    /// Memory per client in kB.
    pub(crate) per_client: f64,
    /// CPU time in milliseconds of a second without events.
    pub(crate) busy: f64,
}

/// Growth of a process for each silent client.
pub(crate) fn grown(process: &Process, transport: Transport, settings: &Settings) -> Outcome<Grown> {
    let mut warm = Clients::connect(process.address, transport, WARM)?;
    warm.read_for(Duration::from_millis(500))?;
    let before = process.resident()?;
    let mut clients = Clients::connect(process.address, transport, settings.clients)?;
    clients.read_for(Duration::from_millis(1_000))?;
    let after = process.resident()?;
    let (cpu, since) = (process.cpu()?, Instant::now());
    clients.read_for(settings.seconds(1, 4))?;
    let busy = (process.cpu()? - cpu).as_secs_f64() * 1e3 / since.elapsed().as_secs_f64();
    Ok(Grown { per_client: after.saturating_sub(before) as f64 / 1_024.0 / settings.clients as f64, busy })
}
