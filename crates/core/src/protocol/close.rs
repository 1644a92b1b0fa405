//! Reasons for the end of a stream, with the WebSocket close codes (RFC 6455, section 7.4).

/// Reason why the server ends a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client asked for it.
    Normal,
    /// The server is shutting down.
    GoingAway,
    /// The frames broke the protocol.
    ProtocolError,
    /// Binary data, which this endpoint does not accept.
    Unsupported,
    /// Text that is not UTF-8.
    BadData,
    /// A message larger than `limits.max_message`.
    TooBig,
    /// No token in time, or it expired.
    TokenExpired,
    /// No frame within the timeout of the heartbeat.
    HeartbeatLost,
    /// The client reads too slowly.
    TooSlow,
    /// This node has not read as far as the client's cursor.
    Behind,
    /// The client sends more messages than `limits.messages_per_second` allows.
    RateLimited,
    /// The server is overloaded.
    Overloaded,
    /// Too many invalid messages.
    TooManyBadMessages,
    /// A token that will never be valid.
    TokenInvalid,
    /// A valid token, but not allowed here.
    Forbidden,
}

/// Close code of a WebSocket.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CloseCode {
    /// Status code of the close frame.
    #[cfg_attr(feature = "openapi", schema(minimum = 1000, maximum = 4999))]
    pub code: u16,
    /// Reason in the close frame, in words.
    pub reason: &'static str,
    /// Whether the client should reconnect.
    #[serde(rename = "comeBack")]
    pub reconnect: bool,
}

impl CloseReason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 15] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Unsupported,
        Self::BadData,
        Self::TooBig,
        Self::TokenExpired,
        Self::HeartbeatLost,
        Self::TooSlow,
        Self::Behind,
        Self::RateLimited,
        Self::Overloaded,
        Self::TooManyBadMessages,
        Self::TokenInvalid,
        Self::Forbidden,
    ];

    /// Returns its entry of the table. 4000 to 4499 ask the client to reconnect, 4500 to 4999 ask it not to.
    pub const fn entry(self) -> CloseCode {
        let (code, reason, reconnect) = match self {
            Self::Normal => (1000, "asked for", false),
            Self::GoingAway => (1001, "going away", true),
            Self::ProtocolError => (1002, "protocol error", false),
            Self::Unsupported => (1003, "text messages only", false),
            Self::BadData => (1007, "not UTF-8", false),
            Self::TooBig => (1009, "message too big", false),
            Self::TokenExpired => (4401, "token missing or expired", true),
            Self::HeartbeatLost => (4408, "heartbeat lost", true),
            Self::TooSlow => (4413, "too slow", true),
            Self::Behind => (4421, "this node is behind", true),
            Self::RateLimited => (4429, "rate limit", true),
            Self::Overloaded => (4453, "overloaded", true),
            Self::TooManyBadMessages => (4500, "too many bad messages", false),
            Self::TokenInvalid => (4501, "token not valid", false),
            Self::Forbidden => (4503, "forbidden", false),
        };
        CloseCode { code, reason, reconnect }
    }

    /// Returns the code on the wire.
    pub const fn code(self) -> u16 {
        self.entry().code
    }

    /// Returns the reason on the wire; under 123 bytes.
    pub const fn text(self) -> &'static str {
        self.entry().reason
    }
}

/// Returns whether a close code may be sent (RFC 6455, sections 7.4.1 and 7.4.2).
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_may_be_sent_and_its_range_tells_whether_to_reconnect() {
        for reason in CloseReason::ALL {
            let line = reason.entry();
            assert!(may_be_sent(line.code) && line.reason.len() <= 123, "{line:?}");
            match line.code {
                4000..4500 => assert!(line.reconnect, "{line:?}"),
                4500..5000 => assert!(!line.reconnect, "{line:?}"),
                _ => {}
            }
        }
        for reserved in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_be_sent(reserved), "{reserved}");
        }
    }
}
