//! CPU time of a push of one value, and of a sample in a batch, next to Redis that appends as many bytes to a stream.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};

use crate::{
    Outcome,
    closed_loop::{self, CONNECTIONS, Load},
    http,
    process::{Process, installed},
    settings::Settings,
    table::{Ratio, Table},
};

/// Samples of a batch.
const BATCH: usize = 500;

/// Measures CPU per push and per sample.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let redis = start_redis(settings)?;
    let value = format!(r#"{{"channel":"metrics.bench","data":{{"n":1,"padding":"{}"}}}}"#, "x".repeat(160));
    let sample = r#"{"metric":"checkout.latency","type":"timing","value":12.5,"labels":{"route":"/cart"}}"#;
    let samples = vec![sample; BATCH].join("\n");
    for (name, body, each) in [("push of a value", &value, 1), ("sample, batches of 500", &samples, BATCH)] {
        let server = Process::tricast(settings)?;
        let push = http::post(server.address, "/api/metrics", body);
        let append = xadd(&body[..body.len() / each]).repeat(each);
        let turn = settings.turn.min(Duration::from_secs(2));
        closed_loop::run(&server, push.as_bytes(), is_accepted, turn / 4)?;
        let (mut cpu, mut count) = (Ratio::default(), 0);
        for _ in 0..settings.repetitions {
            let ours = closed_loop::run(&server, push.as_bytes(), is_accepted, turn)?;
            let theirs = closed_loop::run(&redis, append.as_bytes(), is_appended, turn)?;
            let per_item = |load: &Load| load.cpu / each as f64;
            cpu.add(per_item(&ours), per_item(&theirs));
            count += ours.count * each as u64;
        }
        let note = format!("{count} on {CONNECTIONS} connections; beside: XADD of as many bytes to Redis");
        table.line(&format!("CPU per {name}"), "us", &cpu, "", &note);
    }
    Ok(())
}

fn is_accepted(read: &[u8]) -> bool {
    read.starts_with(b"HTTP/1.1 202")
}

/// Whether these are IDs of entries.
fn is_appended(read: &[u8]) -> bool {
    read.starts_with(b"$")
}

/// Returns the command that appends `text` to a stream of 10,000 entries.
fn xadd(text: &str) -> String {
    let arguments = ["XADD", "bench", "MAXLEN", "~", "10000", "*", "d", text];
    let each = arguments.map(|argument| format!("${}\r\n{argument}\r\n", argument.len()));
    format!("*{}\r\n{}", arguments.len(), each.concat())
}

/// Starts Redis without persistence.
fn start_redis(settings: &Settings) -> Outcome<Process> {
    // Free a moment ago, so most likely still free.
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(installed("redis-server").ok_or("redis-server is not installed")?);
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
    let redis = Process::start(settings, &command, tempfile::tempdir()?, Some(address))?;
    redis.wait_until_it_listens()?;
    Ok(redis)
}
