//! Stable error codes, shared by all transports (docs/protocol.md, section 8.1).

/// What was wrong, as a program reads it. The text beside it is for people and may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Not understood: syntax, a missing or wrong field, an unknown type or action.
    InvalidMessage,
    /// A token is needed, or the one given is not valid.
    Unauthorized,
    /// Known, but not allowed.
    Forbidden,
    /// There is no such thing.
    ResourceNotFound,
    /// Too often or too much; `retryAfter` says when to try again.
    RateLimited,
    /// As many subscriptions as a connection may have.
    SubscriptionLimit,
    /// This node has not read as far as the cursor: come back with the same one, best to another node.
    Behind,
    /// Internal error, or something is away for a moment. The id beside it is in the log.
    ServerError,
}

impl Code {
    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Self::RateLimited => "RATE_LIMITED",
            Self::SubscriptionLimit => "SUBSCRIPTION_LIMIT",
            Self::Behind => "BEHIND",
            Self::ServerError => "SERVER_ERROR",
        }
    }
}
