//! From SIGTERM until the last client sees the end.
//!
//! A WebSocket client answers the close frame, as each decent one does, and has seen the end when the connection is
//! closed; a reader of events when the last chunk or the end of the connection came. Sending the signal takes a
//! millisecond or two, which count.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Way, frame},
    floor,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Later than this nobody is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Figure 7.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let mut floor = floor::start(settings, settings.clients)?;
    let clients = Clients::connect(floor.address, Way::Bare, settings.clients)?;
    let bare = end(&mut floor, clients, Way::Bare)?;
    for way in [Way::WebSocket, Way::Sse] {
        let mut server = Process::tricast(settings)?;
        let mut pusher = Pusher::open(&server, 200)?;
        let mut clients = Clients::connect(server.address, way, settings.clients)?;
        pusher.fan_out(&mut clients, settings.period, Duration::from_millis(500))?;
        let ours = end(&mut server, clients, way)?;
        let mut ratio = Ratio::default();
        ratio.add(ours.last, bare.last);
        let note = format!(
            "{} clients, {} told good-bye; first after {:.0} ms, process gone after {:.0} ms; beside: killed",
            settings.clients, ours.told, ours.first, ours.exit
        );
        table.line(&format!("{} drain", way.name()), "ms", &ratio, "<= 500 ms", &note);
    }
    Ok(())
}

/// Milliseconds since the signal.
struct Ends {
    first: f64,
    last: f64,
    exit: f64,
    told: usize,
}

fn end(process: &mut Process, clients: Clients, way: Way) -> Outcome<Ends> {
    let mut open: Vec<TcpStream> = clients.into_sockets();
    let start = Instant::now();
    let since = || start.elapsed().as_secs_f64() * 1e3;
    process.terminate()?;
    let mut ends = Ends { first: 0.0, last: 0.0, exit: 0.0, told: 0 };
    while !open.is_empty() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} clients of {} were never told", open.len(), way.name()).into());
        }
        let before = open.len();
        open.retain_mut(|socket| !has_ended(socket, way, &mut ends.told));
        if open.len() < before {
            ends.last = since();
            if ends.first == 0.0 {
                ends.first = ends.last;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    while !process.has_ended()? && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    ends.exit = since();
    Ok(ends)
}

fn has_ended(socket: &mut TcpStream, way: Way, told: &mut usize) -> bool {
    let mut buffer = [0; 16 << 10];
    let contains = |read: &[u8], word: &[u8]| read.windows(word.len()).any(|part| part == word);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => {
                let read = &buffer[..count];
                if way == Way::WebSocket && contains(read, b"\"disconnecting\"") {
                    *told += 1;
                    // It may be closed by now.
                    drop(socket.write_all(&frame(0x8, &1_001_u16.to_be_bytes())));
                }
                if way == Way::Sse {
                    *told += usize::from(contains(read, b"event: bye"));
                    if read.ends_with(b"\r\n0\r\n\r\n") || read == b"0\r\n\r\n" {
                        return true;
                    }
                }
            }
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
