//! Time from the start of the process to its first response, and the size of the program.
//!
//! The start includes that of `taskset`, a millisecond. The bare loop's start is the minimum of a process.

use std::{fs, net::TcpStream, time::Instant};

use crate::{
    Outcome, floor,
    http::Connection,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Measures figure 8: start to first response.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let mut ratio = Ratio::default();
    for _ in 0..settings.repetitions {
        let server = Process::tricast(settings)?;
        let answer = Connection::open(server.address)?.get("/healthz", "")?;
        let ours = since(server.started);
        if answer.status != 200 {
            return Err(format!("/healthz answered {}", answer.status).into());
        }
        let floor = floor::start(settings, 1)?;
        TcpStream::connect(floor.address)?;
        ratio.add(ours, since(floor.started));
    }
    table.line("start to first answer", "ms", &ratio, "<= 300 ms", "200 of /healthz; beside: a bare process");
    let size = fs::metadata(&settings.program)?.len() as f64 / 1e6;
    table.single("size of the program", "MB", size, "<= 25 MB", "this profile, symbols kept; `dist` is smaller");
    Ok(())
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
