//! Latency of a poll on a worker that is delivering to all clients.
//!
//! One poll at a time on a kept connection, every 2.7 ms, which is in step with nothing. Time counts from the scheduled
//! start of the poll, if the one before was not answered by then: a stall delays later polls too. The poller shares its
//! cores with the clients, so the same polls are measured without pushes and then with them. Absolute times are
//! meaningful on an idle machine only: a compiler beside it adds hundreds of milliseconds. The time for which the
//! server's threads waited for their core shows that.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    clients::{CHANNEL, Clients, Pusher, Transport},
    http::Connection,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

const EVERY: Duration = Duration::from_micros(2_700);

/// Measures figure 6: latency of a poll during fan-out.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    for transport in [Transport::WebSocket, Transport::Sse] {
        let server = Process::tricast(settings)?;
        let mut pusher = Pusher::open(&server, 200)?;
        let mut clients = Clients::connect(server.address, transport, settings.clients)?;
        clients.read_for(Duration::from_millis(500))?;
        let long = settings.seconds(2, 6);
        let path = format!("/api/metrics/{CHANNEL}");
        let quiet = beside(server.address, &path, || clients.read_for(long))?;
        let (cpu, waited) = (server.cpu()?, server.waited()?);
        let busy = beside(server.address, &path, || pusher.fan_out(&mut clients, settings.period, long))?;
        let (cpu, waited) = (server.cpu()? - cpu, server.waited()? - waited);
        for (name, part, target) in [("p50", 0.5, ""), ("p99", 0.99, "<= 15 ms")] {
            let mut ratio = Ratio::default();
            ratio.add(at(&busy, part), at(&quiet, part));
            let note = format!(
                "{} polls, longest {:.0} ms; ran {:.0} ms and waited {:.0} ms for the core; beside: no pushes",
                busy.len(),
                at(&busy, 1.0),
                cpu.as_secs_f64() * 1e3,
                waited.as_secs_f64() * 1e3
            );
            table.line(&format!("poll {name}, {} fan-out", transport.name()), "ms", &ratio, target, &note);
        }
    }
    Ok(())
}

/// Polls on a thread of its own while `work` runs; returns the times in milliseconds, sorted.
pub(crate) fn beside(address: SocketAddr, path: &str, work: impl FnOnce() -> Outcome<()>) -> Outcome<Vec<f64>> {
    let stop = AtomicBool::new(false);
    let (worked, polled) = thread::scope(|scope| {
        let poller = scope.spawn(|| poll(address, path, &stop).map_err(|error| error.to_string()));
        let worked = work();
        stop.store(true, Ordering::Relaxed);
        (worked, poller.join())
    });
    worked?;
    let mut times = polled.map_err(|_| "the polling thread failed")??;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn poll(address: SocketAddr, path: &str, stop: &AtomicBool) -> Outcome<Vec<f64>> {
    let mut connection = Connection::open(address)?;
    let mut times = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        due += EVERY;
        let now = Instant::now();
        let from = if now < due {
            thread::sleep(due - now);
            Instant::now()
        } else {
            due
        };
        let answer = connection.get(path, "")?;
        if answer.status != 200 {
            return Err(format!("a poll was answered {}", answer.status).into());
        }
        times.push(from.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Returns the value below which `part` of the sorted times are.
pub(crate) fn at(times: &[f64], part: f64) -> f64 {
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}
