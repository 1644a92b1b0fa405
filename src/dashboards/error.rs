//! Why something about a dashboard can't be done.

/// Each is something that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DashboardError {
    /// A field is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No board of that id.
    #[error("there is no such dashboard")]
    NotFound,
    /// The board has no tile of that id.
    #[error("the dashboard has no such tile")]
    NoTile,
    /// There is a board or a tile of that id already.
    #[error("{0:?} exists already")]
    Taken(String),
    /// As many boards as a tenant may have.
    #[error("there are {0} dashboards, which is the limit")]
    TooMany(usize),
    /// It is not the version that the caller saw.
    #[error("the dashboard has changed since: read it again")]
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
    #[error("the store did not confirm the change, which may have been made: read the dashboard before trying again")]
    Unknown,
    /// The server is going away.
    #[error("the server is going away")]
    Stopped,
}

impl DashboardError {
    /// A field is out of bounds.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }
}
