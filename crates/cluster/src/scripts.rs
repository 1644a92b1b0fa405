//! What has to happen in Redis all at once. Each script says in its first lines what it takes and answers.

use std::sync::LazyLock;

use redis::Script;

/// A sign of life, and the election.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/beat.lua")));

/// Puts a group into the inbox.
pub(super) static ENQUEUE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/enqueue.lua")));

/// Writes what was decided.
pub(super) static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/append.lua")));

/// Begins a log.
pub(super) static FOUND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/found.lua")));

/// Reads a tenant's log but its events.
pub(super) static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/load.lua")));

/// What a node measured.
pub(super) static REPORT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/report.lua")));

/// What all nodes measured.
pub(super) static GATHER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/gather.lua")));

/// The source of every script.
#[cfg(test)]
pub(super) const ALL: [&str; 7] = [
    include_str!("scripts/beat.lua"),
    include_str!("scripts/enqueue.lua"),
    include_str!("scripts/append.lua"),
    include_str!("scripts/found.lua"),
    include_str!("scripts/load.lua"),
    include_str!("scripts/report.lua"),
    include_str!("scripts/gather.lua"),
];
