//! 304 responses: CPU time and rate on one core, compared with nginx that serves a file with an `ETag`.
//!
//! 64 kept connections with one request each, from a loop of our own (not `wrk`: it checks each status, and never sleeps,
//! so that no response pays for waking it). There are two kinds: one channel with its tag, and the snapshot with `*`,
//! because its tag changes every second. Other processes on the core reduce the rate, but not the CPU time: if the two
//! disagree, the latter is right.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    clients::{CHANNEL, Pusher},
    http::{self, Connection},
    process::{Process, installed},
    settings::Settings,
    table::{Ratio, Table, micros},
};

const CONNECTIONS: usize = 64;

/// Measures figure 5: CPU per 304.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let nginx = installed("nginx").ok_or("nginx is not installed")?;
    let server = Process::tricast(settings)?;
    drop(Pusher::open(&server, 200)?);
    let path = format!("/api/metrics/{CHANNEL}");
    let answer = Connection::open(server.address)?.get(&path, "")?;
    let tag = answer.header("etag").ok_or("no ETag")?;
    let nginx = start_nginx(settings, Command::new(nginx), &answer.body)?;
    let file = Connection::open(nginx.address)?.get("/file", "")?;
    let nginx_tag = file.header("etag").ok_or("nginx: no ETag")?;

    let snapshot = Connection::open(server.address)?.get("/api/metrics", "")?;
    if snapshot.status != 200 {
        return Err(format!("/api/metrics answered {}", snapshot.status).into());
    }
    let asks = [("one channel", path.as_str(), tag), ("snapshot, If-None-Match: *", "/api/metrics", "*")];
    for (what, path, tag) in asks {
        let ours_wire = http::get(server.address, path, &format!("If-None-Match: {tag}\r\n"));
        let nginx_wire = http::get(nginx.address, "/file", &format!("If-None-Match: {nginx_tag}\r\n"));
        let (mut cpu, mut rate) = (Ratio::default(), Ratio::default());
        let mut count = 0;
        let turn = settings.turn.min(Duration::from_secs(2));
        load(&server, &ours_wire, turn / 4)?;
        load(&nginx, &nginx_wire, turn / 4)?;
        for _ in 0..settings.repetitions {
            let ours = load(&server, &ours_wire, turn)?;
            let theirs = load(&nginx, &nginx_wire, turn)?;
            cpu.add(ours.cpu, theirs.cpu);
            rate.add(ours.rate, theirs.rate);
            count += ours.count;
        }
        let note = format!("{count} answers, {CONNECTIONS} connections; beside: nginx");
        table.line(&format!("304 CPU, {what}"), "us", &cpu, "<= 1.00", &note);
        table.line("304s a second", "k/s", &rate, ">= 1.00", "the same requests");
    }
    Ok(())
}

struct Load {
    /// CPU time of a response in microseconds.
    cpu: f64,
    /// Thousands of responses per second.
    rate: f64,
    count: u64,
}

fn load(process: &Process, wire: &str, long: Duration) -> Outcome<Load> {
    let connect = |_| {
        let mut stream = TcpStream::connect(process.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        stream.write_all(wire.as_bytes())?;
        Ok(stream)
    };
    let mut streams = (0..CONNECTIONS).map(connect).collect::<io::Result<Vec<_>>>()?;
    let mut buffer = [0; 4_096];
    let (start, cpu) = (Instant::now(), process.cpu()?);
    let mut count = 0;
    while start.elapsed() < long {
        for stream in &mut streams {
            match stream.read(&mut buffer) {
                // A response without content fits into one segment.
                Ok(read) if buffer[..read].starts_with(b"HTTP/1.1 304") && buffer[..read].ends_with(b"\r\n\r\n") => {
                    count += 1;
                    stream.write_all(wire.as_bytes())?;
                }
                Ok(read) => {
                    let line = String::from_utf8_lossy(&buffer[..read]).lines().next().unwrap_or_default().to_owned();
                    return Err(format!("expected a 304, got \"{line}\"").into());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let (cpu, long) = (process.cpu()? - cpu, start.elapsed());
    Ok(Load { cpu: micros(cpu) / count.max(1) as f64, rate: count as f64 / long.as_secs_f64() / 1e3, count })
}

/// Starts nginx with one process that does all the work and logs nothing.
fn start_nginx(settings: &Settings, mut command: Command, body: &[u8]) -> Outcome<Process> {
    // Free a moment ago, so most likely still free.
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let files = tempfile::tempdir()?;
    let place = files.path().display();
    fs::write(files.path().join("file"), body)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {place}/{name};\n"))
        .collect();
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log /dev/null;\n\
        events {{ worker_connections 1024; }}\n\
        http {{ {temporary} access_log off; sendfile on; tcp_nopush on; open_file_cache max=10;\n\
        keepalive_requests 1000000000; default_type application/json;\n\
        server {{ listen {address}; root {place}; }} }}\n"
    );
    let file = files.path().join("nginx.conf");
    fs::write(&file, configuration)?;
    command.arg("-c").arg(file);
    let nginx = Process::start(settings, &command, files, Some(address))?;
    for _ in 0..100 {
        if TcpStream::connect(address).is_ok() {
            return Ok(nginx);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err("nginx does not start".into())
}
