//! IDs of requests.

/// Longest ID accepted from a client or proxy.
const MAX_ID: usize = 64;

/// ID of a request: in `X-Request-Id`, in the log, and as `instance` of a problem.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Returns whether an ID may be logged as it is.
pub(super) fn is_valid_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
