//! How much is measured, and on which cores.

use std::{env, path::PathBuf, thread, time::Duration};

use crate::process;

/// How much is measured, and on which cores.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The program under test.
    pub(crate) program: PathBuf,
    /// Streams that are fanned out to.
    pub(crate) clients: usize,
    /// A short run.
    pub(crate) quick: bool,
    /// Times that tricast and what is beside it take turns.
    pub(crate) repetitions: usize,
    /// How long each turn lasts.
    pub(crate) turn: Duration,
    /// Time from one push to the next: 20 a second, fewer where one core could not write that often to all clients.
    pub(crate) period: Duration,
    /// Whether the program under test has a core to itself.
    pub(crate) pinned: bool,
    /// Cores that this process was given.
    pub(crate) cores: usize,
}

/// The core of the program under test.
pub(crate) const CORE: &str = "0";

impl Settings {
    /// Reads the environment and moves this process away from the core of the program under test.
    pub(crate) fn read() -> Self {
        let clients: usize = env::var("CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000).max(1);
        let quick = env::var("QUICK").is_ok_and(|text| !text.is_empty() && text != "0");
        let per_second = (40_000 / clients).clamp(1, 20) as u32;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // Each client is a descriptor here, twice: one to tricast, one to the floor. Fewer than asked for will show.
        drop(rlimit::increase_nofile_limit(u64::MAX));
        let program = env::var_os("PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_tricast").into());
        Self {
            program: program.into(),
            clients,
            quick,
            repetitions: if quick { 3 } else { 5 },
            turn: Duration::from_secs(if quick { 1 } else { 3 }),
            period: Duration::from_secs(1) / per_second,
            pinned: cores > 1 && process::stay_on(&format!("1-{}", cores - 1)),
            cores,
        }
    }

    /// One of two lengths.
    pub(crate) fn seconds(&self, quick: u64, full: u64) -> Duration {
        Duration::from_secs(if self.quick { quick } else { full })
    }
}
