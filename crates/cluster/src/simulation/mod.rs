//! A deterministic simulation of a cluster.
//!
//! Three nodes run the production code of this crate and of the core, and clients push, order and read at them. Redis, the
//! network, the database and the clocks are state machines under one scheduler: a single thread whose time moves only when
//! every task waits. Everything that is random comes from the seed of the run, so that a run that fails can be repeated
//! exactly:
//!
//! ```text
//! TRICAST_SIMULATION_SEED=1234 cargo test -p tricast-cluster simulation -- --nocapture
//! TRICAST_SIMULATION_RUNS=5000 cargo test -p tricast-cluster simulation
//! ```
//!
//! `rules` defines the invariants of every run, `fault` the faults.

mod client;
mod fault;
mod lost_log;
mod lost_tail;
mod network;
mod node;
mod outbox;
mod reader;
mod redis;
mod restart;
mod rules;
mod run;
mod sessions;
mod slow_leader;
mod takeover;

pub(crate) use network::{Connection, NodeNetwork as Network};
use run::run;
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Number of runs in a test by default.
const RUNS: u64 = 40;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_rule_holds_in_every_run() {
    let seeds = match setting("TRICAST_SIMULATION_SEED") {
        Some(seed) => {
            // Log lines of the nodes, as far as RUST_LOG selects them.
            let filter: Targets = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".into()).parse().unwrap();
            let lines = tracing_subscriber::fmt::layer().without_time().with_test_writer();
            tracing_subscriber::registry().with(lines.with_filter(filter)).init();
            seed..seed + 1
        }
        None => 0..setting("TRICAST_SIMULATION_RUNS").unwrap_or(RUNS),
    };
    let failures: Vec<String> = seeds
        .filter_map(|seed| {
            let outcome = run(seed);
            outcome.violation.map(|violation| format!("seed {seed}: {violation}\n  {:?}", outcome.faults))
        })
        .collect();
    assert!(failures.is_empty(), "{} runs failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_run_can_be_repeated() {
    let (first, second) = (run(7), run(7));
    assert_eq!(first.digest, second.digest);
    assert_ne!(first.digest, run(8).digest);
}
