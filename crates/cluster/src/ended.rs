//! Reasons for the end of a term.

use redis::RedisError;

/// Reason for the end of a term.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis did not answer in time")]
    Stuck,
    #[error("what is kept can't be read: {0}")]
    Kept(#[from] serde_json::Error),
    /// Another node leads, another log is current, or another node wrote to it.
    #[error("this node does not lead any more ({0})")]
    Lost(String),
    #[error("what was decided before could not be read in time")]
    Behind,
}
