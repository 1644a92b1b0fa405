//! Why a question about the past can't be answered.

/// Each is something that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A parameter is out of bounds, or they don't go together.
    #[error("{0}")]
    Invalid(String),
    /// Nothing of that name was ever recorded, and there is no such channel.
    #[error("there is no channel {0:?}, and no history of one")]
    NotFound(String),
    /// History is switched off.
    #[error("this server keeps no history: history.enabled is false")]
    Disabled,
    /// The store has no more room.
    #[error("the store is full")]
    Full,
    /// Something in it is what the store does not take, however often it is tried.
    #[error("the store does not take it")]
    Refused,
    /// The store does not answer in time, or too much waits for it.
    #[error("the store is not available at the moment")]
    Unavailable,
}
