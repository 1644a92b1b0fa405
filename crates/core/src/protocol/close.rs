//! Why a stream ends: one table for the WebSocket close codes (RFC 6455, section 7.4) and what a client does then.

/// Why the server ends a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client asked for it.
    Normal,
    /// The server is shutting down.
    GoingAway,
    /// The frames broke the protocol.
    ProtocolError,
    /// Binary data, which this endpoint does not take.
    Unsupported,
    /// Text that is not UTF-8.
    BadData,
    /// A message larger than `limits.max_message`.
    TooBig,
    /// No token in time, or it ran out.
    TokenExpired,
    /// No frame for the heartbeat's time-out.
    HeartbeatLost,
    /// The client does not keep up.
    TooSlow,
    /// This node has not read as far as the client's cursor.
    Behind,
    /// Too many messages.
    RateLimited,
    /// The server has more than it can do.
    Overloaded,
    /// Too many messages that made no sense.
    TooManyBadMessages,
    /// A token that will never be valid.
    TokenInvalid,
    /// Known, but not allowed here.
    Forbidden,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseCode {
    /// The number on the wire.
    pub code: u16,
    /// Short text, also on the wire.
    pub reason: &'static str,
    /// Whether the client should connect again.
    pub come_back: bool,
}

impl CloseReason {
    /// Every reason.
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

    /// Its line of the table. 4000 to 4499 mean "come back", 4500 to 4999 "do not".
    pub const fn line(self) -> CloseCode {
        let (code, reason, come_back) = match self {
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
        CloseCode { code, reason, come_back }
    }

    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self.line().code
    }

    /// The text on the wire; under 123 bytes.
    pub const fn text(self) -> &'static str {
        self.line().reason
    }
}

/// Whether a close code may stand on the wire (RFC 6455, sections 7.4.1 and 7.4.2).
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_may_be_sent_and_says_by_its_range_whether_to_come_back() {
        for reason in CloseReason::ALL {
            let line = reason.line();
            assert!(may_be_sent(line.code) && line.reason.len() <= 123, "{line:?}");
            match line.code {
                4000..4500 => assert!(line.come_back, "{line:?}"),
                4500..5000 => assert!(!line.come_back, "{line:?}"),
                _ => {}
            }
        }
        for reserved in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_be_sent(reserved), "{reserved}");
        }
    }
}
