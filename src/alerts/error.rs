//! Why something about an alert or a rule can't be done.

/// Each is something that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No alert of that id.
    #[error("there is no such alert")]
    NotFound,
    /// No rule of that id.
    #[error("there is no such rule")]
    NoRule,
    /// There is a rule of that id already.
    #[error("{0:?} exists already")]
    Taken(String),
    /// As many rules as a tenant may have.
    #[error("there are {0} rules, which is the limit")]
    TooMany(usize),
    /// It is not the version that the caller saw.
    #[error("the rule has changed since: read it again")]
    Moved,
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
        "the store did not confirm the change, which may have been made: read the alert or rule before trying again"
    )]
    Unknown,
    /// Another process raises and resolves alerts.
    #[error("another node decides about alerts")]
    NotDeciding,
    /// The server is going away.
    #[error("the server is going away")]
    Stopped,
}

impl AlertError {
    /// A field is out of bounds.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }
}
