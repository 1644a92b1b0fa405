//! Stable error codes, shared by all transports (docs/protocol.md, section 8.1).

/// Kind of an error for programs. The text beside it is for people and may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ErrorCode))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The message is not valid: syntax, a missing or wrong field, an unknown type or action.
    InvalidMessage,
    /// A token is required, or the token of the request is not valid.
    Unauthorized,
    /// The identity is known, but lacks a permission.
    Forbidden,
    /// The resource does not exist.
    ResourceNotFound,
    /// A limit was exceeded; `retryAfter` is the time after which to retry.
    RateLimited,
    /// The connection has reached its limit of subscriptions.
    SubscriptionLimit,
    /// This node has not read up to the cursor: reconnect with the same one, preferably to another node.
    Behind,
    /// Internal or temporary error. The log has details under the request's ID.
    ServerError,
}

impl Code {
    /// Returns the code on the wire.
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
