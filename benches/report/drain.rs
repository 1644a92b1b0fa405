//! Time from SIGTERM until the last client sees the end.
//!
//! A WebSocket client answers the close frame and has seen the end when the connection is closed; a client of an event
//! stream, when the last chunk or the end of the connection arrives. Sending the signal takes a millisecond or two, which
//! are included.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    clients::{Clients, Pusher, Transport, frame},
    floor,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Longest wait for a client.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures figure 7: SIGTERM until the last client is disconnected.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let mut floor = floor::start(settings, settings.clients)?;
    let clients = Clients::connect(floor.address, Transport::Bare, settings.clients)?;
    let bare = end(&mut floor, clients, Transport::Bare)?;
    for transport in [Transport::WebSocket, Transport::Sse] {
        let mut server = Process::tricast(settings)?;
        let mut pusher = Pusher::open(&server, 200)?;
        let mut clients = Clients::connect(server.address, transport, settings.clients)?;
        pusher.fan_out(&mut clients, settings.period, Duration::from_millis(500))?;
        let ours = end(&mut server, clients, transport)?;
        let mut ratio = Ratio::default();
        ratio.add(ours.last, bare.last);
        let note = format!(
            "{} clients, {} notified; first after {:.0} ms, process ended after {:.0} ms; baseline: killed",
            settings.clients, ours.notified, ours.first, ours.exit
        );
        table.line(&format!("{} drain", transport.name()), "ms", &ratio, "<= 500 ms", &note);
    }
    Ok(())
}

/// Times in milliseconds since the signal.
struct Ends {
    first: f64,
    last: f64,
    exit: f64,
    notified: usize,
}

fn end(process: &mut Process, clients: Clients, transport: Transport) -> Outcome<Ends> {
    let mut open: Vec<TcpStream> = clients.into_sockets();
    let start = Instant::now();
    let since = || start.elapsed().as_secs_f64() * 1e3;
    process.terminate()?;
    let mut ends = Ends { first: 0.0, last: 0.0, exit: 0.0, notified: 0 };
    while !open.is_empty() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} clients of {} were not notified", open.len(), transport.name()).into());
        }
        let before = open.len();
        open.retain_mut(|socket| !has_ended(socket, transport, &mut ends.notified));
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

fn has_ended(socket: &mut TcpStream, transport: Transport, notified: &mut usize) -> bool {
    let mut buffer = [0; 16 << 10];
    let contains = |read: &[u8], word: &[u8]| read.windows(word.len()).any(|part| part == word);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => {
                let read = &buffer[..count];
                if transport == Transport::WebSocket && contains(read, b"\"disconnecting\"") {
                    *notified += 1;
                    // It may be closed by now.
                    drop(socket.write_all(&frame(0x8, &1_001_u16.to_be_bytes())));
                }
                if transport == Transport::Sse {
                    *notified += usize::from(contains(read, b"event: bye"));
                    if read.ends_with(b"\r\n0\r\n\r\n") || read == b"0\r\n\r\n" {
                        return true;
                    }
                }
            }
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
