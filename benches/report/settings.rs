//! Settings of the measurements.

use std::{env, path::PathBuf, thread, time::Duration};

use crate::process;

/// Settings of the measurements.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Path of the program under test.
    pub(crate) program: PathBuf,
    /// Number of streams in most measurements.
    pub(crate) clients: usize,
    /// Whether the run is short.
    pub(crate) quick: bool,
    /// Number of alternating runs of tricast and the baseline.
    pub(crate) repetitions: usize,
    /// Duration of each run.
    pub(crate) turn: Duration,
    /// Time between two pushes: 20 per second, fewer if one core could not write that often to all clients.
    pub(crate) period: Duration,
    /// Whether the program under test has a core to itself.
    pub(crate) pinned: bool,
    /// Number of cores available to this process.
    pub(crate) cores: usize,
}

/// Core of the program under test.
pub(crate) const CORE: &str = "0";

impl Settings {
    /// Reads the environment and moves this process away from the core of the program under test.
    pub(crate) fn read() -> Self {
        let clients: usize = env::var("CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000).max(1);
        let quick = env::var("QUICK").is_ok_and(|text| !text.is_empty() && text != "0");
        let per_second = (40_000 / clients).clamp(1, 20) as u32;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // Each client uses two descriptors here: one for tricast, one for the baseline. A lower limit will show.
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

    /// Returns one of two durations.
    pub(crate) fn seconds(&self, quick: u64, full: u64) -> Duration {
        Duration::from_secs(if self.quick { quick } else { full })
    }
}
