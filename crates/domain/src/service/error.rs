//! Errors that every service and every store can return. The errors of a domain embed both.

/// Reason why a store did not carry out a read or a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store has no more room. Nothing was changed.
    #[error("the store is full")]
    Full,
    /// The store can be read and not written. Nothing was changed.
    #[error("the store is read-only at the moment: nothing was changed")]
    ReadOnly,
    /// The store does not work at the moment, or too much waits for it. Nothing was changed.
    #[error("the store is not available at the moment")]
    Unavailable,
    /// The store accepted the change and did not confirm it: it may have been stored.
    #[error("the store did not confirm the change, which may have been made: read it back before trying again")]
    Unknown,
    /// The store rejects the data itself: repeating the call does not help. Nothing was changed.
    #[error("the store does not accept this data")]
    Refused,
}

/// Reason why a service did not pass on a call, or did not wait for its result any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Too many changes wait already, or the same item is changed all the time. Nothing was changed.
    #[error("too many changes wait at the moment: nothing was changed")]
    Busy,
    /// As many events of the tenant wait to be published as may wait. Nothing was changed.
    #[error(
        "{0} events wait to be published, which is the limit: changes are accepted again once the log can be written"
    )]
    EventsPending(u64),
    /// The store did not answer a read within the deadline.
    #[error("the store did not respond in time")]
    TimedOut,
    /// The result of a change did not arrive within the deadline: it may have been made.
    #[error("the change was not confirmed in time and may have been made: read it back before trying again")]
    Unknown,
    /// The server is shutting down. Nothing was changed.
    #[error("the server is shutting down")]
    Stopped,
}
