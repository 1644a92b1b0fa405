//! The command line.
//!
//! | modules | commands |
//! |---|---|
//! | `serve`, `openapi`, `token`, `key`, `doctor` | those of operators |
//! | `push`, `watch` (and tail), `top`, `get`, `ls`, `wait`, `context` | those that speak to a server, with `tricast_client` |
//! | `completions` | scripts for shells, and manual pages |
//! | `server`, `contexts` | the server that a command speaks to |
//! | `input`, `condition`, `fields`, `polled`, `changes` | what is pushed, waited for and printed; pure |
//! | `board`, `chart` | tables and charts as text; pure |
//! | `follow`, `output`, `failure` | notes about the connection, standard output, exit codes |
//!
//! Exit codes: 0 success, 2 wrong usage or configuration, 1 any other failure; the commands that speak to a server have more
//! (`failure`).

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

use crate::config::{self, AuthMode, Config, Faults, Flags, LogFormat, MOST_WORKERS, SETTINGS, Setting};
use tricast_auth::Verifier;
use tricast_core::clock::Clock;

mod board;
mod changes;
mod chart;
mod completions;
mod condition;
mod context;
mod contexts;
mod doctor;
mod failure;
mod fields;
mod follow;
mod get;
mod input;
mod key;
mod ls;
mod openapi;
mod output;
mod polled;
mod push;
mod serve;
mod server;
mod token;
mod top;
mod wait;
mod watch;

/// Version that `--version` prints. The packages name commit, target and features in it.
const VERSION: &str = match option_env!("TRICAST_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Exit code for wrong usage or configuration.
const USAGE: u8 = 2;

/// Live metrics from one aggregator, over WebSocket, Server-Sent Events and polling.
#[derive(Debug, Parser)]
#[command(name = "tricast", version = VERSION, args_conflicts_with_subcommands = true, max_term_width = 100)]
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
    /// Start the server (the default command)
    #[command(aliases = ["start", "run"])]
    Serve(ServeFlags),
    /// Start the server with a simulated shop, as serve --demo does
    #[command(hide = true)]
    Demo(ServeFlags),
    /// Check the configuration and report every fault, without starting the server
    CheckConfig(ServeFlags),
    /// Print the configuration in force as TOML, without secrets
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
    /// Create, list and revoke machine keys
    Key(key::KeyFlags),
    /// Push values, events or samples to a server
    Push(push::PushFlags),
    /// Print the values of channels as they change
    Watch(watch::WatchFlags),
    /// Show a live board in the terminal
    Top(top::TopFlags),
    /// Print the last events of channels, and those that follow
    Tail(watch::TailFlags),
    /// Print the current value of a channel
    Get(get::GetFlags),
    /// List the channels of a server
    Ls(ls::LsFlags),
    /// Wait until a channel meets a condition
    Wait(wait::WaitFlags),
    /// Manage servers and their tokens by name
    Context(context::ContextFlags),
    /// Examine the path to a server: what proxies delay, drop or cut, and how to fix it
    Doctor(doctor::DoctorFlags),
    /// Print the script of completions for a shell
    Completions(completions::CompletionFlags),
    /// Print the manual page, or write those of all commands
    Man(completions::ManFlags),
}

/// Flags of the server. All but `--config`, `--demo` and `--port` are settings.
#[derive(Args, Clone, Debug, Default)]
struct ServeFlags {
    #[arg(long, value_name = "ADDR", help = help_of("listen"))]
    listen: Vec<String>,
    /// Short for --listen 127.0.0.1:PORT
    #[arg(long, value_name = "PORT", conflicts_with = "listen", allow_negative_numbers = true)]
    port: Option<u16>,
    #[arg(long, value_name = "DIR", help = help_of("data_dir"))]
    data_dir: Option<String>,
    /// File with settings [default: tricast.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start a simulated shop that produces data
    #[arg(long)]
    demo: bool,
    #[arg(long, help = help_of("allow_anonymous"))]
    allow_anonymous: bool,
    #[arg(long, value_enum, value_name = "FORMAT", help = help_of("log_format"))]
    log_format: Option<LogFormat>,
    #[arg(
        long,
        value_name = "N",
        help = help_of("workers"),
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u16).range(0..=i64::from(MOST_WORKERS)),
    )]
    workers: Option<u16>,
}

/// Returns the help of a flag: the first sentence of the setting's documentation.
fn help_of(key: &str) -> String {
    config::find(key).map(Setting::summary).unwrap_or_default()
}

impl ServeFlags {
    /// Returns the flags as settings.
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

/// Reads the configuration from the file, the environment and `flags`.
fn load(flags: &Flags) -> Result<Config, (Faults, Box<Config>)> {
    // No setting has a name that is not UTF-8.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::load(flags, environment)
}

/// Checks the files of keys, without which a server would not start.
fn check_keys(config: &Config) -> ExitCode {
    match config.auth.accepts_tokens().then(|| Verifier::open(config.auth.clone(), Clock::system())).transpose() {
        Ok(_) => {
            config.notices.iter().for_each(|notice| complain(notice));
            print("the configuration is valid\n")
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// Adds a hint to the error of an unknown flag that is a setting, since only some settings have a flag.
fn with_hint(mut error: clap::Error) -> clap::Error {
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let name = flag.trim_start_matches('-').replace(['-', '.'], "_");
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key.replace('.', "_") == name) {
            let hint = format!("{} is a setting: write it in tricast.toml, or as {}", setting.key, setting.variable());
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
            Ok(config) if flags.demo && config.auth.mode != AuthMode::None => {
                complain("--demo: the simulated shop has no token; leave auth.mode at \"none\" for it");
                ExitCode::from(USAGE)
            }
            Ok(config) => serve::run(&flags, &config),
            Err((faults, _)) => refuse(&faults),
        },
        // Replaced by `Serve` above.
        Command::Demo(_) => ExitCode::from(USAGE),
        Command::CheckConfig(flags) => match flags.load() {
            Ok(config) => check_keys(&config),
            Err((faults, _)) => refuse(&faults),
        },
        Command::PrintConfig { reference: true, .. } => print(&config::markdown()),
        Command::Openapi(flags) => openapi::run(&flags),
        Command::Token(flags) => token::run(&flags),
        Command::Key(flags) => key::run(&flags),
        Command::Push(flags) => push::run(&flags),
        Command::Watch(flags) => watch::run(&flags),
        Command::Top(flags) => top::run(&flags),
        Command::Tail(flags) => watch::tail(&flags),
        Command::Get(flags) => get::run(&flags),
        Command::Ls(flags) => ls::run(&flags),
        Command::Wait(flags) => wait::run(&flags),
        Command::Context(flags) => context::run(&flags),
        Command::Doctor(flags) => doctor::run(&flags),
        Command::Completions(flags) => completions::completions(&flags),
        Command::Man(flags) => completions::man(&flags),
        Command::PrintConfig { flags, .. } => match flags.load() {
            Ok(config) => print(&config::to_toml(&config)),
            Err((faults, config)) => {
                print(&config::to_toml(&config));
                refuse(&faults)
            }
        },
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // There is nowhere else to report a failure of standard error.
    drop(writeln!(io::stderr(), "tricast: {text}"));
}

fn refuse(faults: &Faults) -> ExitCode {
    complain(&faults.to_string());
    ExitCode::from(USAGE)
}
