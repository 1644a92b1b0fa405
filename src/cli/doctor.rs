//! `tricast doctor`: examines the path to a server.

use std::{io, process::ExitCode, time::Duration};

use clap::Args;

use super::{USAGE, complain, print};
use crate::{
    config::Secret,
    doctor::{self, MAX_IDLE, Options},
};

/// Flags of `tricast doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes: 0 no problem, 1 a problem or warning, 2 wrong use.")]
pub(super) struct DoctorFlags {
    /// The server's address as its users write it, sub-path included
    url: String,
    /// Token to send; "-" reads it from standard input, where no list of processes shows it
    #[arg(long)]
    token: Option<Secret>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Time to keep connections idle, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 65,
        value_parser = clap::value_parser!(u64).range(1..=MAX_IDLE.as_secs()))]
    idle: u64,
    /// Skip the idle connections: a few seconds instead of a minute
    #[arg(long, conflicts_with = "idle")]
    quick: bool,
    /// Accept any certificate of the server, for tests with a self-signed one
    #[arg(long)]
    insecure: bool,
}

/// Runs the checks and prints the report.
pub(super) fn run(flags: &DoctorFlags) -> ExitCode {
    let url = match doctor::parse_url(&flags.url) {
        Ok(url) => url,
        Err(problem) => {
            complain(&problem);
            return ExitCode::from(USAGE);
        }
    };
    let token = match token(flags) {
        Ok(token) => token,
        Err(error) => {
            complain(&format!("--token: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    let idle = if flags.quick { Duration::ZERO } else { Duration::from_secs(flags.idle) };
    let options = Options { url, token, idle, insecure: flags.insecure };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    if !flags.quick {
        complain(&format!("testing idle connections for {} s; --quick skips that", flags.idle));
    }
    let report = match runtime.block_on(doctor::examine(&options)) {
        Ok(report) => report,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    let text = if flags.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => json + "\n",
            Err(_) => return ExitCode::FAILURE,
        }
    } else {
        report.to_text()
    };
    let printed = print(&text);
    if report.has_findings() { ExitCode::FAILURE } else { printed }
}

fn token(flags: &DoctorFlags) -> io::Result<Option<Secret>> {
    let token = match &flags.token {
        Some(token) if token.expose() == "-" => {
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            Some(line.trim().into())
        }
        text => text.clone(),
    };
    match token {
        Some(token) if token.is_empty() => Err(io::Error::other("it is empty")),
        token => Ok(token),
    }
}
