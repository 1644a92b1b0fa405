//! Reasons for the end of a term.

use redis::RedisError;

/// Reason for the end of a term.
#[derive(Debug, thiserror::Error)]
pub(super) enum TermError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis did not reply in time")]
    Stuck,
    #[error("the stored data cannot be parsed: {0}")]
    Stored(#[from] serde_json::Error),
    /// Another node leads, another log is current, or another node wrote to it.
    #[error("this node no longer leads ({0})")]
    Lost(String),
    #[error("the entries of the previous leader could not be read in time")]
    Behind,
}
