//! Faults of the frames of a client.

use tricast_core::protocol::close::CloseReason;

/// Reason why the connection has to be failed (RFC 6455, section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frames break the protocol, as described. Close code 1002.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message is not UTF-8. Close code 1007.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The message is larger than this number of bytes, as announced or inflated. Close code 1009.
    #[error("the message is larger than {0} bytes")]
    TooBig(usize),
}

impl FrameError {
    /// Returns the close reason of the error.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::Protocol(_) => CloseReason::ProtocolError,
            Self::NotUtf8 => CloseReason::BadData,
            Self::TooBig(_) => CloseReason::TooBig,
        }
    }
}
