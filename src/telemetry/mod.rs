//! Log lines: to standard error, through a queue, so that no worker ever waits for the reader of the log.

use std::{backtrace::Backtrace, panic, sync::OnceLock, time::Duration};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

mod lines;

pub use lines::dropped;

/// Longest time that the end of the program waits for the last lines to be written.
const AT_THE_END: Duration = Duration::from_secs(1);

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines of text for people, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Filter in force, which a reload replaces.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Guard that writes the pending lines when it is dropped, unless standard error takes none.
#[derive(Debug)]
#[must_use = "pending lines are lost without it"]
pub struct Started(());

impl Drop for Started {
    fn drop(&mut self) {
        flush(AT_THE_END);
    }
}

/// Starts logging: lines that pass `filter` (a level, or `target=level` pairs), in `format`. A second call has no effect. Panics are
/// logged, too, since writing them to standard error directly could block.
pub fn start(filter: &str, format: LogFormat) -> Started {
    let (filter, handle) = reload::Layer::new(parse(filter));
    let registry = tracing_subscriber::registry().with(filter);
    lines::start();
    let started = match format {
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(lines::Lines)).try_init(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(fmt::layer().with_ansi(colours).with_writer(lines::Lines)).try_init()
        }
    };
    // Already started: by a test that runs the command line in its own process.
    if started.is_ok() {
        drop(FILTER.set(handle));
        panic::set_hook(Box::new(log_panic));
    }
    Started(())
}

/// Replaces the filter in force.
///
/// # Errors
/// An error if this program did not start logging.
pub fn reload(filter: &str) -> Result<(), reload::Error> {
    FILTER.get().map_or(Ok(()), |handle| handle.reload(parse(filter)))
}

/// Queues a line of plain text for standard error, after the pending log lines.
pub fn print(text: &str) {
    lines::push(format!("{text}\n").into_bytes());
}

/// Waits until the pending lines are written, for at most `patience`.
pub fn flush(patience: Duration) {
    lines::flush(patience);
}

/// Returns the filter of the text, or that of `info` for a text that is none.
fn parse(filter: &str) -> Targets {
    filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = panic.payload_as_str().unwrap_or("no message");
    // As `RUST_BACKTRACE` says.
    let backtrace = Backtrace::capture();
    tracing::error!(thread, place, message, %backtrace, "panicked");
}
