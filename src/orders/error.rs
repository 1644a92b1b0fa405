//! Why something about an order can't be done.

/// Each is something that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// No order of that id.
    #[error("there is no such order")]
    NotFound,
    /// It is not the version that the caller saw.
    #[error("the order has changed since: read it again")]
    Moved,
    /// The idempotency key was used for something else.
    #[error("this Idempotency-Key came with another body within the last 24 h: use a new key for a new order")]
    KeyReused,
    /// The store has no more room.
    #[error("the store is full")]
    Full,
    /// The store can be read and not written. Nothing was changed.
    #[error("the store is read-only at the moment: nothing was changed")]
    ReadOnly,
    /// The store does not answer, or too much waits for it. Nothing was changed.
    #[error("the store is not available at the moment")]
    Unavailable,
    /// The store took the change and did not say what became of it.
    #[error(
        "the store did not confirm the change, which may have been made: repeat it with the same Idempotency-Key, or \
         read it back"
    )]
    Unknown,
    /// The server is going away.
    #[error("the server is going away")]
    Stopped,
}
