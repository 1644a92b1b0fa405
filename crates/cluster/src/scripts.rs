//! Scripts for changes that have to be atomic. Each one documents its arguments and its reply in its first lines.

use std::sync::LazyLock;

use redis::Script;

/// Sends a heartbeat, and elects a leader if there is none.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/beat.lua")));

/// Appends a group to the inbox.
pub(super) static ENQUEUE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/enqueue.lua")));

/// Appends an entry to the log and stores its results.
pub(super) static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/append.lua")));

/// Prepares and then publishes the epoch of a new log.
pub(super) static BOOTSTRAP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/bootstrap.lua")));

/// Reads a tenant's log without its events.
pub(super) static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/load.lua")));

/// Stores the report of one node, and the users who have come and left since its last one.
pub(super) static REPORT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/report.lua")));

/// Returns the recent reports of all nodes and the number of users online; drops nodes that have become silent.
pub(super) static GATHER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/gather.lua")));

/// Stores a copy of a session.
pub(super) static STORE_SESSION: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/store_session.lua")));

/// Begins the next generation of a session for its owner, and returns the newest copy.
pub(super) static CLAIM_SESSION: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/claim_session.lua")));

/// Ends a session, unless another node has claimed it; copies that are still on their way are refused.
pub(super) static END_SESSION: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/end_session.lua")));

/// Sources of all scripts.
#[cfg(test)]
pub(super) const ALL: [&str; 10] = [
    include_str!("scripts/beat.lua"),
    include_str!("scripts/enqueue.lua"),
    include_str!("scripts/append.lua"),
    include_str!("scripts/bootstrap.lua"),
    include_str!("scripts/load.lua"),
    include_str!("scripts/report.lua"),
    include_str!("scripts/gather.lua"),
    include_str!("scripts/store_session.lua"),
    include_str!("scripts/claim_session.lua"),
    include_str!("scripts/end_session.lua"),
];
