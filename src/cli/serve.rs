//! `tricast serve`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use actix_web::rt::System;
use tokio::signal::unix::{SignalKind, signal};

use super::complain;
use crate::{
    app::{Application, Supervisor},
    config::{AuthMode, Config},
    core::clock::Clock,
    protocol::SERVER_VERSION,
    telemetry,
};

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: &Config, demo: bool) -> ExitCode {
    telemetry::start(config);
    // Each client takes a descriptor; many systems give a program 1,024 unless it asks for more.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => tracing::info!(descriptors, "may open"),
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it is"),
    }
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    if config.allow_anonymous && config.auth.mode == AuthMode::None {
        tracing::warn!("allow_anonymous: whoever can reach this server may read and write");
    }
    System::new().block_on(async {
        let application = match Application::build(config, Clock::system()) {
            Ok(application) => application.with_demo(demo).with_supervisor(Supervisor::from_environment()),
            Err(error) => {
                complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        // Before anybody can know that the server is there.
        let stop = stop_signal();
        if let Err(error) = greet(config, &application) {
            tracing::debug!(%error, "nobody to greet");
        }
        match application.run_until(stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        }
    })
}

/// Says where to look.
fn greet(config: &Config, application: &Application) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "tricast {SERVER_VERSION}")?;
    let base = config.base_path();
    for address in application.addresses() {
        writeln!(out, "  dashboard   http://{address}{base}/")?;
        writeln!(out, "  websocket   ws://{address}{base}/ws")?;
        writeln!(out, "  events      http://{address}{base}/events")?;
        writeln!(out, "  polling     http://{address}{base}/api/metrics")?;
    }
    for place in config.listen.iter().filter(|place| place.starts_with("unix:")) {
        writeln!(out, "  listening   {place}")?;
    }
    out.flush()
}

/// Listens for SIGTERM and SIGINT from now on; completes at the first of them.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals can't be heard: the server runs until it is killed");
                std::future::pending().await
            }
        }
    }
}
