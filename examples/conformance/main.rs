//! Server for conformance suites: the connections and frames of the real server, without its messages and limits.
//!
//! ```text
//! $ cargo run --release --example conformance -- --listen 127.0.0.1:9001
//! listening on 127.0.0.1:9001
//! ```
//!
//! With `--socketio ADDRESS` a second listener serves the echo of the official Engine.IO and Socket.IO suites, at `/engine.io/` and
//! `/socket.io/`.
//!
//! `/echo` is a WebSocket that echoes text and binary messages of up to 16 MiB in any number of fragments, with
//! permessage-deflate if it is offered. `/` echoes the body of every request. `docs/conformance.md` describes the suites.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use actix_web::web;
use clap::Parser;
use tricast::{
    config::Limits,
    transport::socketio::{
        Registry,
        conformance::{self, Echo},
    },
};

mod echo;

/// Echoes WebSocket messages at /echo and request bodies at /, for conformance suites.
#[derive(Parser)]
struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: String,
    /// Address and port of the Socket.IO echo.
    #[arg(long)]
    socketio: Option<String>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    actix_web::rt::System::new().block_on(async {
        let server = echo::build(arguments.listen, Limits::default(), Arc::new(echo::configure))?;
        for address in server.addresses() {
            writeln!(io::stdout(), "listening on {address}")?;
        }
        if let Some(address) = arguments.socketio {
            let server = echo::build(address, conformance::limits(), Arc::new(socketio()))?;
            // It ends with the process.
            actix_web::rt::spawn(async move { drop(server.run_until(std::future::pending()).await) });
        }
        server.run_until(async { drop(tokio::signal::ctrl_c().await) }).await
    })
}

/// Returns the paths of the echo of the official Engine.IO and Socket.IO suites, on the server's own sessions.
fn socketio() -> impl Fn(&mut web::ServiceConfig) {
    let registry = web::Data::new(Registry::new(Duration::from_secs(120)));
    move |services| {
        conformance::configure(services, "/engine.io/", Echo::Messages, &registry);
        conformance::configure(services, "/socket.io/", Echo::Events, &registry);
    }
}
