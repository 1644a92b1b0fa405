//! Stable error codes, shared by all transports (docs/protocol.md, section 8.1).

/// Most refusals of one request that are listed; further ones are only counted.
pub const MAX_LISTED: usize = 100;

/// Most bytes of an error's text at its beginning and at its end. A text of the client is in between: what it should have
/// been often follows.
const KEPT: (usize, usize) = (400, 300);

/// Returns the text of an error without its middle if it is long, so that no response and no line of the log repeats a long
/// text of a client.
pub fn shortened(text: String) -> String {
    let (first, last) = KEPT;
    if text.len() <= first + last {
        return text;
    }
    let (first, last) = (text.floor_char_boundary(first), text.ceil_char_boundary(text.len() - last));
    format!("{}…{}", &text[..first], &text[last..])
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_between_characters() {
        let short = "é".repeat(350);
        assert_eq!(shortened(short.clone()), short);
        for text in ["<", "é", "€", "😀"] {
            for pad in ["", "x", "xy", "xyz"] {
                let long = format!("status: {pad}{}, expected a word", text.repeat(10_000));
                let short = shortened(long);
                assert!(short.len() <= 703 && short.len() > 690, "{} bytes of {text}", short.len());
                assert!(short.starts_with("status: ") && short.ends_with(", expected a word"), "{short}");
                assert!(short.contains('…'));
            }
        }
    }
}
