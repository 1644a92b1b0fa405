//! Load with one request at a time on each of several kept connections.
//!
//! The loop never sleeps, so that no response pays for waking it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, process::Process, table::micros};

/// Number of connections.
pub(crate) const CONNECTIONS: usize = 64;

/// Result of a load.
pub(crate) struct Load {
    /// CPU time of a response in microseconds.
    pub(crate) cpu: f64,
    /// Thousands of responses per second.
    pub(crate) rate: f64,
    /// Number of responses.
    pub(crate) count: u64,
}

/// Sends `wire` again and again for `long`. Each response fits into one segment and has to satisfy `is_expected`.
pub(crate) fn run(process: &Process, wire: &[u8], is_expected: fn(&[u8]) -> bool, long: Duration) -> Outcome<Load> {
    let connect = |_| {
        let mut stream = TcpStream::connect(process.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        send(&mut stream, wire)?;
        Ok(stream)
    };
    let mut streams = (0..CONNECTIONS).map(connect).collect::<io::Result<Vec<_>>>()?;
    let mut buffer = [0; 16 << 10];
    let (start, cpu) = (Instant::now(), process.cpu()?);
    let mut count = 0;
    while start.elapsed() < long {
        for stream in &mut streams {
            match stream.read(&mut buffer) {
                Ok(read) if is_expected(&buffer[..read]) => {
                    count += 1;
                    send(stream, wire)?;
                }
                Ok(read) => {
                    let line = String::from_utf8_lossy(&buffer[..read]).lines().next().unwrap_or_default().to_owned();
                    return Err(format!("unexpected response \"{line}\"").into());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let (cpu, long) = (process.cpu()? - cpu, start.elapsed());
    Ok(Load { cpu: micros(cpu) / count.max(1) as f64, rate: count as f64 / long.as_secs_f64() / 1e3, count })
}

/// Writes all bytes; waits while the socket is full.
fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
