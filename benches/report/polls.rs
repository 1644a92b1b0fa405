//! 304 responses: CPU time and rate on one core, compared with nginx that serves a file with an `ETag`.
//!
//! 64 kept connections with one request each, from a loop of our own (not `wrk`: it checks each status, and never
//! sleeps). There are two kinds: one channel with its tag, and the snapshot with `*`,
//! because its tag changes every second. Other processes on the core reduce the rate, but not the CPU time: if the two
//! disagree, the latter is right.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};

use crate::{
    Outcome,
    clients::{CHANNEL, Pusher},
    closed_loop::{self, CONNECTIONS, Load},
    http::{self, Connection},
    process::{Process, installed},
    settings::Settings,
    table::{Ratio, Table},
};

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

fn load(process: &Process, wire: &str, long: Duration) -> Outcome<Load> {
    // A response without content.
    let is_304 = |read: &[u8]| read.starts_with(b"HTTP/1.1 304") && read.ends_with(b"\r\n\r\n");
    closed_loop::run(process, wire.as_bytes(), is_304, long)
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
    nginx.wait_until_it_listens()?;
    Ok(nginx)
}
