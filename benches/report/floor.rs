//! Baseline: a process that writes the same bytes to as many sockets at the same rate, and nothing else.
//!
//! It is this program in another mode. It prints its address, accepts the given number of clients, and then executes
//! lines from standard input: `run BYTES TICKS MICROSECONDS` writes `BYTES` to each client at each tick, and is answered
//! by `done WRITTEN`. Writes do not block, and data that a socket does not accept at once are dropped. The sockets have
//! `TCP_NODELAY` and otherwise the system's defaults.

use std::{
    io::{self, Write},
    net::{TcpListener, TcpStream},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, clients::Clients, process::Process, settings::Settings};

/// Argument that selects this mode.
pub(crate) const MODE: &str = "--floor";

/// Starts the baseline on the core under test; it expects `clients`.
pub(crate) fn start(settings: &Settings, clients: usize) -> Outcome<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([MODE, &clients.to_string()]);
    Process::start(settings, &command, tempfile::tempdir()?, None)
}

/// Runs the baseline with `bytes` every `period` for `long`, while `clients` read. Returns the number of complete writes.
pub(crate) fn fan_out(
    floor: &mut Process,
    clients: &mut Clients,
    bytes: usize,
    period: Duration,
    long: Duration,
) -> Outcome<u64> {
    let ticks = long.as_micros() / period.as_micros();
    floor.write_line(&format!("run {bytes} {ticks} {}", period.as_micros()))?;
    loop {
        clients.read()?;
        match floor.next_line()? {
            Some(line) => return Ok(line.trim_start_matches("done ").parse()?),
            None => thread::sleep(Clients::NAP),
        }
    }
}

/// Runs the baseline's process.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    // The parent process has ended, or will notice the missing line.
    match arguments.first().map(|count| count.parse()) {
        Some(Ok(clients)) if serve(clients).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn serve(clients: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut sockets = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    for line in io::stdin().lines() {
        let line = line?;
        let mut words = line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
        if let (Some(bytes), Some(ticks), Some(period)) = (words.next(), words.next(), words.next()) {
            let written = sweep(&sockets, &vec![b'x'; bytes as usize], ticks, Duration::from_micros(period));
            println!("done {written}");
        }
    }
    Ok(())
}

fn sweep(sockets: &[TcpStream], bytes: &[u8], ticks: u64, period: Duration) -> u64 {
    let mut written = 0;
    let mut next = Instant::now();
    for _ in 0..ticks {
        for mut socket in sockets {
            if socket.write(bytes).is_ok_and(|count| count == bytes.len()) {
                written += 1;
            }
        }
        next += period;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    written
}
