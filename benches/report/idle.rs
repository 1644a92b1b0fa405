//! Memory of connections that are open and silent, and what a server full of them does all day.
//!
//! Resident memory of the process, so what the kernel holds for a socket (about the same for any server) is not in it.
//! A few connections come first and stay, so that code and caches that the first one touches don't count.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Way},
    floor,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Connections that come first and are not counted.
const WARM: usize = 20;

/// Figure 3.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let floor = floor::start(settings, WARM + settings.clients)?;
    let bare = grown(&floor, Way::Bare, settings)?;
    for (way, target) in [(Way::WebSocket, "<= 4 kB"), (Way::Sse, "<= 13 kB")] {
        let server = Process::tricast(settings)?;
        drop(Pusher::open(&server, 200)?);
        let ours = grown(&server, way, settings)?;
        let mut ratio = Ratio::default();
        ratio.add(ours.per_client, bare.per_client);
        let note = format!("{} clients, {:.1} ms CPU a second for all of them", settings.clients, ours.busy);
        table.line(&format!("{} memory, idle", way.name()), "kB", &ratio, target, &note);
    }
    Ok(())
}

struct Grown {
    /// kB.
    per_client: f64,
    /// Milliseconds of CPU time in a second in which nothing happens.
    busy: f64,
}

fn grown(process: &Process, way: Way, settings: &Settings) -> Outcome<Grown> {
    let mut warm = Clients::connect(process.address, way, WARM)?;
    warm.read_for(Duration::from_millis(500))?;
    let before = process.resident()?;
    let mut clients = Clients::connect(process.address, way, settings.clients)?;
    clients.read_for(Duration::from_millis(1_000))?;
    let after = process.resident()?;
    let (cpu, since) = (process.cpu()?, Instant::now());
    clients.read_for(settings.seconds(1, 4))?;
    let busy = (process.cpu()? - cpu).as_secs_f64() * 1e3 / since.elapsed().as_secs_f64();
    Ok(Grown { per_client: after.saturating_sub(before) as f64 / 1_024.0 / settings.clients as f64, busy })
}
