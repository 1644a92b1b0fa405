//! Server for conformance suites: the frames of the real server, without its messages and limits.
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

use std::{io::Write, net::TcpListener};

use clap::Parser;

mod echo;
mod socketio;

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

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    actix_web::rt::System::new().block_on(async {
        let listener = TcpListener::bind(&arguments.listen)?;
        writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
        if let Some(address) = arguments.socketio {
            actix_web::rt::spawn(socketio::serve(address)?);
        }
        let server = echo::serve(listener, 2)?;
        let handle = server.handle();
        actix_web::rt::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                handle.stop(false).await;
            }
        });
        server.await
    })
}
