//! The echo of the official Engine.IO and Socket.IO suites, on the server's own sessions.

use std::{io, sync::Arc, time::Duration};

use actix_web::web;
use tricast::{
    app::Application,
    config::Config,
    transport::socketio::{
        Registry,
        conformance::{self, Echo},
    },
};
use tricast_core::clock::Clock;

/// Starts the server at `address` and returns the future that runs it. The suites are pages of another origin, too.
///
/// # Errors
/// The server cannot be built, for example because the address is in use.
pub(crate) fn serve(address: String) -> io::Result<impl Future<Output = ()>> {
    let mut config = Config { listen: vec![address], allowed_origins: vec!["*".into()], ..Config::default() };
    config.limits.handshakes_per_second_per_address = 0;
    let registry = web::Data::new(Registry::new(Duration::from_secs(120)));
    let extra = move |services: &mut web::ServiceConfig| {
        conformance::configure(services, "/engine.io/", Echo::Messages, &registry);
        conformance::configure(services, "/socket.io/", Echo::Events, &registry);
    };
    let app = Application::build_with(&config, Clock::system(), Arc::new(extra)).map_err(io::Error::other)?;
    Ok(async move {
        // It ends with the process.
        drop(app.run_until(std::future::pending()).await);
    })
}
