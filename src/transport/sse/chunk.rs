//! Chunks of the body of a response (RFC 9112, section 7.1). Pure.

use bytes::Bytes;

/// Last chunk, which ends the body.
pub(super) const LAST: &[u8] = b"0\r\n\r\n";

/// Appends `data`, which is not empty, as one chunk.
pub(super) fn write(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Returns `data`, which is not empty, as one chunk.
pub(super) fn of(data: &str) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 12);
    write(&mut out, data.as_bytes());
    out.into()
}

/// Returns the data of one chunk, without a copy.
pub(super) fn data_of(chunk: &Bytes) -> Bytes {
    let start = memchr::memchr(b'\n', chunk).map_or(0, |end| end + 1);
    let end = chunk.len().saturating_sub(2).max(start);
    chunk.slice(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_its_length_in_hexadecimal_and_holds_its_data() {
        let data = "data: \r\n".repeat(20);
        let chunk = of(&data);
        assert_eq!(chunk, format!("A0\r\n{data}\r\n").as_bytes());
        assert_eq!(data_of(&chunk), data.as_bytes());
    }
}
