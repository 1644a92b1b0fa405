//! Faults of a run, chosen by its seed.

use std::time::Duration;

use super::{network::Path, redis::Refusal};

/// Fault of a process, of a path, or of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is killed, and restarted after some time.
    Kill { node: usize },
    /// The process is paused.
    Stop { node: usize },
    /// Only the leader's process is killed.
    KillLeader,
    /// The leader's process is paused.
    StopLeader,
    /// The path between a node and Redis is bad.
    Path { node: usize, path: Path },
    /// The path between the leader and Redis is bad.
    LeaderPath { path: Path },
    /// Redis is down and comes back with its data.
    Down,
    /// Redis replies to reads, but refuses writes.
    Refuses { why: Refusal },
    /// Redis restarts without its newest data.
    LosesTail { age: Duration },
    /// All processes are killed, and start again after Redis restarted without its newest data.
    RestartsAll { age: Duration },
    /// Redis loses all its data, as after `FLUSHALL`.
    Flush,
}

impl Fault {
    /// Returns whether Redis loses acknowledged data.
    pub(super) fn loses_data(self) -> bool {
        matches!(self, Self::LosesTail { .. } | Self::RestartsAll { .. } | Self::Flush)
    }

    /// Returns whether a process loses its memory.
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::Kill { .. } | Self::KillLeader | Self::RestartsAll { .. })
    }

    /// Returns whether only the path of one node is affected.
    pub(super) fn is_of_one_path(self) -> bool {
        matches!(self, Self::Path { .. } | Self::LeaderPath { .. })
    }

    fn random(random: &mut fastrand::Rng, nodes: usize, loses_data: bool) -> Self {
        let node = random.usize(..nodes);
        let path = match random.u8(..4) {
            0 => Path::Slow(Duration::from_millis(random.u64(50..1_500))),
            1 => Path::Dead,
            2 => Path::Refused,
            _ => Path::SmallOnly,
        };
        match random.u8(..if loses_data { 18 } else { 12 }) {
            0 | 1 => Self::Kill { node },
            2 => Self::Stop { node },
            3 | 4 => Self::KillLeader,
            5 => Self::StopLeader,
            6 | 7 => Self::Path { node, path },
            8 | 9 => Self::LeaderPath { path },
            10 => Self::Down,
            11 => Self::Refuses { why: if random.bool() { Refusal::Full } else { Refusal::ReadOnly } },
            12 | 13 => Self::LosesTail { age: Duration::from_millis(random.u64(1..2_000)) },
            14 => Self::LosesTail { age: Duration::from_secs(random.u64(2..40)) },
            15 | 16 => Self::RestartsAll { age: Duration::from_millis(random.u64(1..4_000)) },
            _ => Self::Flush,
        }
    }
}

/// Fault with its start and its duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
}

/// Returns the faults of a run, in order.
pub(super) fn plan(random: &mut fastrand::Rng, nodes: usize) -> Vec<Planned> {
    let loses_data = random.bool();
    let mut at = Duration::from_secs(8);
    let mut planned = Vec::new();
    for _ in 0..random.usize(1..=4) {
        at += Duration::from_millis(random.u64(0..6_000));
        let fault = Fault::random(random, nodes, loses_data);
        // A bad path may last; other faults end by themselves or by an operator.
        let longest = if fault.is_of_one_path() { 25_000 } else { 9_000 };
        let lasts = Duration::from_millis(random.u64(100..longest));
        planned.push(Planned { at, lasts, fault });
    }
    planned
}
