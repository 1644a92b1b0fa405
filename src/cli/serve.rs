//! Runs the server: the command `tricast serve`, and the default.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use actix_web::rt::System;
use tokio::signal::unix::{SignalKind, signal};

use super::ServeFlags;
use crate::{
    app::{Application, Reload, Supervisor},
    config::{AuthMode, Config},
    telemetry,
};
use tricast_core::{clock::Clock, protocol::SERVER_VERSION};

/// Longest time that the greeting waits for earlier log lines.
const BEFORE_THE_GREETING: Duration = Duration::from_millis(200);

/// Serves until SIGTERM or SIGINT. SIGHUP reads the settings of `flags` again.
pub(super) fn run(flags: &ServeFlags, config: &Config) -> ExitCode {
    let log = telemetry::start(&config.log_filter, config.log_format);
    // Each client takes a descriptor; many systems give a program 1,024 unless it asks for more.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => tracing::info!("file descriptor limit: {descriptors}"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of file descriptors"),
    }
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    if config.allow_anonymous && config.auth.mode == AuthMode::None {
        tracing::warn!("allow_anonymous: every client that can reach this server may read and write");
    }
    let ended = System::new().block_on(async {
        survive_file_size_limit();
        let application = Application::build(config, Clock::system()).map_err(|error| error.to_string())?;
        let application = application.with_demo(flags.demo).with_supervisor(Supervisor::from_environment());
        // Before any client can connect.
        let stop = stop_signal();
        actix_web::rt::spawn(handle_reload(flags.clone(), config.clone(), application.reload()));
        let greeting = greeting(config, &application);
        let application = application.with_greeting(move || greet(greeting));
        application.run_until(stop).await.map_err(|error| error.to_string())
    });
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            telemetry::print(&format!("tricast: {problem}"));
            ExitCode::FAILURE
        }
    };
    drop(log);
    code
}

/// Greeting with the URL of the dashboard.
fn greeting(config: &Config, application: &Application) -> String {
    let mut out = format!("tricast {SERVER_VERSION}\n");
    let base = config.base_path();
    for address in application.addresses() {
        out.push_str(&format!("  dashboard   http://{address}{base}/\n"));
        out.push_str(&format!("  websocket   ws://{address}{base}/ws\n"));
        out.push_str(&format!("  events      http://{address}{base}/events\n"));
        out.push_str(&format!("  polling     http://{address}{base}/api/metrics\n"));
    }
    for place in config.listen.iter().filter(|place| place.starts_with("unix:")) {
        out.push_str(&format!("  listening   {place}\n"));
    }
    out
}

/// Prints the greeting after the pending log lines, on a thread of its own, since standard output can block, too.
fn greet(greeting: String) {
    let print = move || {
        telemetry::flush(BEFORE_THE_GREETING);
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(greeting.as_bytes()).and_then(|()| out.flush()) {
            tracing::debug!(%error, "cannot write the greeting to standard output");
        }
    };
    if let Err(error) = thread::Builder::new().name("greeting".into()).spawn(print) {
        tracing::debug!(%error, "cannot start the thread for the greeting");
    }
}

/// Signal of the kernel to a process whose file would exceed its limit, the same on the platforms that have it.
const SIGXFSZ: i32 = 25;

/// Lets a write beyond the limit of a file's size fail, as on a full disk, instead of killing the process. A handler stays
/// installed when its receiver is dropped.
fn survive_file_size_limit() {
    if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
        tracing::warn!(%error, "cannot handle SIGXFSZ: a file that reaches its size limit ends the server");
    }
}

/// Installs the handlers of SIGTERM and SIGINT and returns a future that completes at the first of them.
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
                tracing::error!(%error, "cannot handle signals: the server runs until it is killed");
                std::future::pending().await
            }
        }
    }
}

/// Reads the settings again at each SIGHUP and applies those that a running server can change.
async fn handle_reload(flags: ServeFlags, mut before: Config, reload: Reload) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "cannot handle SIGHUP"),
    };
    while hangup.recv().await.is_some() {
        match flags.load() {
            Ok(config) => {
                if let Err(error) = telemetry::reload(&config.log_filter) {
                    tracing::error!(%error, "the new log_filter is not valid; the previous one stays in force");
                }
                reload.keys();
                before.log_filter.clone_from(&config.log_filter);
                let restart = before.differences(&config).join(", ");
                if restart.is_empty() {
                    tracing::info!("reloaded: log_filter and the keys of tokens");
                } else {
                    tracing::warn!(
                        restart,
                        "reloaded: log_filter and the keys of tokens; other changes need a restart"
                    );
                }
            }
            Err((faults, _)) => {
                tracing::error!(%faults, "not reloaded: the settings have faults; the previous ones stay in force")
            }
        }
    }
}
