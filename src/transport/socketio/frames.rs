//! Reads the frames of a WebSocket that the server has written (RFC 6455, section 5.2): they are not masked.

use bytes::Bytes;

/// Returns the text of a frame that the server wrote: what follows its header.
pub(super) fn text_of(frame: &Bytes) -> Bytes {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.slice(header.min(frame.len())..)
}

/// Returns the end of the first frame; `None` without a whole frame.
pub(super) fn end_of(frames: &[u8]) -> Option<usize> {
    let (header, length): (usize, usize) = match *frames.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(frames.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(frames.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    header.checked_add(length).filter(|end| *end <= frames.len())
}
