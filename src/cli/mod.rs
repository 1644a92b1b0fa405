//! The command line: `tricast [serve]`, `check-config`, `print-config`, `openapi`, `token`,
//! `doctor`.
//!
//! Exit codes: 0 done, 2 wrong use or configuration, 1 anything else.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::Value;

use crate::{
    auth::Verifier,
    config::{self, AuthMode, Config, Faults, Flags, LogFormat, MOST_WORKERS, SETTINGS},
    core::clock::Clock,
};

mod doctor;
mod openapi;
mod serve;
mod token;

/// Wrong use or configuration.
const USAGE: u8 = 2;

/// Live metrics from one aggregator, over WebSocket, Server-Sent Events and polling.
#[derive(Debug, Parser)]
#[command(name = "tricast", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Without a command the server starts on 127.0.0.1:8080 with its defaults.\n\
    Settings also come from tricast.toml and from TRICAST_... in the environment; see print-config --reference.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (also what happens without a command)
    #[command(aliases = ["start", "run"])]
    Serve(ServeFlags),
    /// Start the server with a simulated shop, as serve --demo does
    #[command(hide = true)]
    Demo(ServeFlags),
    /// Check the configuration and name every fault; nothing is started
    CheckConfig(ServeFlags),
    /// Print the configuration in force as TOML, secrets left out
    PrintConfig {
        #[command(flatten)]
        flags: ServeFlags,
        /// Print the reference of all settings as Markdown instead
        #[arg(long)]
        reference: bool,
    },
    /// Print the OpenAPI document of a server with these settings
    Openapi(ServeFlags),
    /// Print a token for development, signed with auth.secret or a key in a file
    Token(token::TokenFlags),
    /// Look at the path to a server: what proxies hold back, swallow or cut, and what mends it
    Doctor(doctor::DoctorFlags),
}

/// Flags that are settings, and two that are not.
#[derive(Args, Clone, Debug, Default)]
struct ServeFlags {
    /// Where to listen: ADDRESS:PORT or unix:/PATH; can be said several times [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// The same as --listen 127.0.0.1:PORT
    #[arg(long, value_name = "PORT", conflicts_with = "listen", allow_negative_numbers = true)]
    port: Option<u16>,
    /// Directory of the database [default: none, orders and dashboards end with the process]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// File with settings [default: tricast.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Open a simulated shop, so that there is something to see
    #[arg(long)]
    demo: bool,
    /// Allow listening beyond this machine without tokens: everybody may read and write
    #[arg(long)]
    allow_anonymous: bool,
    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Threads that serve connections, 0 to 1024 [default: 0, one per core]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u16).range(0..=i64::from(MOST_WORKERS)),
    )]
    workers: Option<u16>,
}

impl ServeFlags {
    fn settings(&self) -> Flags {
        let mut settings: Vec<(&'static str, Value)> = Vec::new();
        if let Some(port) = self.port {
            settings.push(("listen", Value::Array(vec![Value::String(format!("127.0.0.1:{port}"))])));
        }
        if !self.listen.is_empty() {
            settings.push(("listen", Value::Array(self.listen.iter().cloned().map(Value::String).collect())));
        }
        if let Some(directory) = &self.data_dir {
            settings.push(("data_dir", Value::String(directory.clone())));
        }
        if self.allow_anonymous {
            settings.push(("allow_anonymous", Value::Boolean(true)));
        }
        if let Some(format) = self.log_format {
            let name = if format == LogFormat::Json { "json" } else { "text" };
            settings.push(("log_format", Value::String(name.into())));
        }
        if let Some(workers) = self.workers {
            settings.push(("workers", Value::Integer(workers.into())));
        }
        Flags { file: self.config.clone(), settings }
    }

    fn load(&self) -> Result<Config, (Faults, Box<Config>)> {
        load(&self.settings())
    }
}

/// Reads the configuration: `flags` over the environment over the file.
fn load(flags: &Flags) -> Result<Config, (Faults, Box<Config>)> {
    // Names that are not UTF-8 are none of ours.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::load(flags, environment)
}

/// Reads the files of keys too: a server would not start without them.
fn check_keys(config: &Config) -> ExitCode {
    match config.auth().map(|auth| Verifier::open(auth, Clock::system())).transpose() {
        Ok(_) => {
            config.notices.iter().for_each(|notice| complain(notice));
            say("the configuration is fine\n")
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// Says where a flag that is not there can be said: not every setting has one.
fn with_hint(mut error: clap::Error) -> clap::Error {
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let name = flag.trim_start_matches('-').replace(['-', '.'], "_");
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key.replace('.', "_") == name) {
            let variable = setting.key.replace('.', "__").to_uppercase();
            let hint = format!("{} is a setting: say it in tricast.toml, or as TRICAST_{variable}", setting.key);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
    }
    error
}

/// Runs the program on the process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_hint(error).exit());
    let command = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Demo(flags) => Command::Serve(ServeFlags { demo: true, ..flags }),
        command => command,
    };
    match command {
        Command::Serve(flags) => match flags.load() {
            Ok(config) if flags.demo && config.auth.mode == AuthMode::Jwt => {
                complain("--demo: the simulated shop has no token; leave auth.mode at \"none\" for it");
                ExitCode::from(USAGE)
            }
            Ok(config) => serve::run(&flags, &config),
            Err((faults, _)) => refuse(&faults),
        },
        // Made one to serve above.
        Command::Demo(_) => ExitCode::from(USAGE),
        Command::CheckConfig(flags) => match flags.load() {
            Ok(config) => check_keys(&config),
            Err((faults, _)) => refuse(&faults),
        },
        Command::PrintConfig { reference: true, .. } => say(&config::markdown()),
        Command::Openapi(flags) => openapi::run(&flags),
        Command::Token(flags) => token::run(&flags),
        Command::Doctor(flags) => doctor::run(&flags),
        Command::PrintConfig { flags, .. } => match flags.load() {
            Ok(config) => say(&config::to_toml(&config)),
            Err((faults, config)) => {
                say(&config::to_toml(&config));
                refuse(&faults)
            }
        },
    }
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // Nowhere else to say it.
    drop(writeln!(io::stderr(), "tricast: {text}"));
}

fn refuse(faults: &Faults) -> ExitCode {
    complain(&faults.to_string());
    ExitCode::from(USAGE)
}
