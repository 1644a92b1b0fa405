//! Cost of tricast as ratios to the minimum: `cargo bench --bench report [-- FIGURE...]`.
//!
//! | figure | measures | baseline in the same run |
//! |---|---|---|
//! | `websocket`, `sse` | CPU time per delivery | a bare loop that writes the same bytes to as many sockets |
//! | `socketio` | CPU time per delivery to a Socket.IO client; memory of a silent one, by WebSocket and by polling; polls beside them | a bare loop; the Socket.IO server on Node.js; the same polls without them |
//! | `idle` | resident memory of a silent connection | growth of the bare loop's process |
//! | `stalled` | memory held for a client that stopped reading | the bare loop with the system's default socket |
//! | `polls` | CPU time and rate of 304 answers | nginx, serving a file with an `ETag` |
//! | `latency` | time of a poll on a worker that is delivering | the same poll while nothing is published |
//! | `drain` | time from SIGTERM until the last client sees the end | the bare loop, killed |
//! | `start` | time from the start to the first response; size of the program | the bare loop's start |
//! | `orders` | CPU time of an order, and the start, with 1,000,000 orders in the store | the same with none |
//! | `history` | points per second into the store, bytes of a point; a month of 200 fields by hour | one field |
//! | `ingest` | CPU time per push and per sample | `XADD` of as many bytes to Redis |
//! | `curves` | CPU time of a publish against clients, channels, subscriptions, size of the value and rate | |
//!
//! The table is printed; `target/report/` has it as JSON, with charts.
//!
//! `CLIENTS=5000` sets the number of clients (default 1,000), `QUICK=1` shortens the run, `PROGRAM=/path/to/tricast`
//! measures another build than the one that cargo has just made.
//!
//! # How to read the results
//!
//! Compare the ratios. The microseconds are those of this machine, and on a loopback interface the sender also pays for
//! the receiver's half of TCP, so that the kernel's share is larger than with a network card. The baseline runs
//! interleaved with tricast; a ratio is taken within one repetition. The median is printed, followed by the smallest and
//! the largest. If these differ by more than a fifth, the machine was busy: measure again.
//!
//! # Method
//!
//! The program under test, with one worker, and the baseline have core 0 to themselves; everything else (clients, pushes)
//! runs on the other cores, if `taskset` is installed and there are two. CPU time is the scheduler's precise run time of
//! all threads (`/proc/PID/task/*/schedstat`), so another process on the core costs time, but no CPU time, except for its
//! effect on caches. The clients read in rounds with pauses and never wait in epoll, so no sender pays for waking a
//! receiver. The server runs with its defaults. Linux only.

#![expect(clippy::print_stdout, reason = "the report is what it is for")]
#![expect(clippy::disallowed_methods, reason = "no runtime here: naps are a thread's own")]

use std::{env, error::Error, path::Path, process::ExitCode};

mod chart;
mod clients;
mod closed_loop;
mod curves;
mod drain;
mod fanout;
mod floor;
mod history;
mod http;
mod idle;
mod ingest;
mod latency;
mod orders;
mod polls;
mod process;
mod settings;
mod socketio;
mod stalled;
mod start;
mod table;

use settings::Settings;
use table::Table;

/// Result of a measurement. After a failure the figure is left out, with the reason in its row.
type Outcome<T> = Result<T, Box<dyn Error>>;

type Figure = fn(&Settings, &mut Table) -> Outcome<()>;

const FIGURES: [(&str, Figure); 13] = [
    ("websocket", fanout::websocket),
    ("sse", fanout::sse),
    ("socketio", socketio::measure),
    ("idle", idle::measure),
    ("stalled", stalled::measure),
    ("polls", polls::measure),
    ("latency", latency::measure),
    ("drain", drain::measure),
    ("start", start::measure),
    ("orders", orders::measure),
    ("history", history::measure),
    ("ingest", ingest::measure),
    ("curves", curves::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == floor::MODE) {
        return floor::run(&arguments[1..]);
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench: run `cargo bench --bench report`");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| FIGURES.iter().all(|(figure, _)| figure != *name)) {
        println!("there is no figure \"{unknown}\", but: {}", FIGURES.map(|(name, _)| name).join(", "));
        return ExitCode::from(2);
    }
    let settings = Settings::read();
    let mut table = Table::begin(&settings);
    for (name, measure) in FIGURES {
        if (wanted.is_empty() || wanted.contains(&name))
            && let Err(error) = measure(&settings, &mut table)
        {
            table.left_out(name, &error.to_string());
        }
    }
    match table.end(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("report")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the report could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}
