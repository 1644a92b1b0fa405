//! Boundaries of request heads in the bytes of a connection (RFC 9112). Pure.
//!
//! actix-http panics at a field name of 65,536 bytes or more, for which the `http` crate has no room. So names are
//! measured before it parses them. This parser agrees with actix-http's on everything that it accepts; input that it
//! refuses ends the connection, so it does not matter here.

/// Longest field name, in bytes: far more than any in use, and half of the size that breaks the parser.
pub(super) const MAX_NAME: usize = 32 * 1024;

/// Longest line that is parsed: `Content-Length` and `Transfer-Encoding` with their values, and the size of a chunk.
const MAX_LINE: usize = 128;

/// Error: a field name is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameTooLong;

/// State of the parser of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    phase: Phase,
    /// Length of the current line in bytes.
    length: usize,
    /// Start of the line, up to the length that matters.
    line: Vec<u8>,
    /// The line has a colon, so its name is complete.
    named: bool,
    /// The first line of the head is complete.
    begun: bool,
    /// Body that the head announces.
    body: Body,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Head,
    /// Number of remaining bytes of a body.
    Body(u64),
    ChunkSize,
    /// Number of remaining bytes of a chunk and its line end.
    Chunk(u64),
    Trailer,
    /// Everything that follows belongs to another protocol, if the server agrees.
    Upgrade,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    None,
    Length(u64),
    /// No body, but a WebSocket, which takes precedence over a length.
    Upgrade,
    Chunked,
}

impl Framing {
    /// Returns whether the head of a request has started and is not complete.
    pub(super) fn is_within_head(&self) -> bool {
        self.phase == Phase::Head && (self.begun || self.length > 0)
    }

    /// Returns whether the last complete head asks for a WebSocket.
    pub(super) fn is_upgrade(&self) -> bool {
        self.phase == Phase::Upgrade
    }

    /// Parses received bytes.
    ///
    /// # Errors
    /// [`NameTooLong`].
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), NameTooLong> {
        while !bytes.is_empty() {
            bytes = match self.phase {
                Phase::Body(left) => self.skip(bytes, left, Phase::Body, Phase::Head),
                Phase::Chunk(left) => self.skip(bytes, left, Phase::Chunk, Phase::ChunkSize),
                Phase::Head | Phase::ChunkSize | Phase::Trailer => self.take_line(bytes)?,
                Phase::Upgrade => &[],
            };
        }
        Ok(())
    }

    /// Skips bytes of a body with `left` remaining ones.
    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, on: fn(u64) -> Phase, after: Phase) -> &'a [u8] {
        let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - skipped as u64;
        self.phase = if left == 0 { after } else { on(left) };
        &bytes[skipped..]
    }

    /// Reads the rest of a line, or all of the input; returns the bytes after it.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NameTooLong> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let wanted = MAX_LINE.saturating_sub(self.length).min(part.len());
        self.line.extend_from_slice(&part[..wanted]);
        // The first line of a head has no name, and a limit of its own.
        let has_name = self.phase == Phase::Trailer || (self.phase == Phase::Head && self.begun);
        if has_name && !self.named {
            let colon = part.iter().position(|byte| *byte == b':');
            self.named = colon.is_some();
            if self.length + colon.unwrap_or(part.len()) > MAX_NAME {
                return Err(NameTooLong);
            }
        }
        self.length += part.len();
        let Some(end) = end else { return Ok(&[]) };
        let line = std::mem::take(&mut self.line);
        self.end_line(line.strip_suffix(b"\r").unwrap_or(&line));
        self.line = line;
        self.line.clear();
        (self.length, self.named) = (0, false);
        if self.phase != Phase::Head || !self.begun {
            // Connections that wait for their next request keep no buffer.
            self.line = Vec::new();
        }
        Ok(&bytes[end + 1..])
    }

    fn end_line(&mut self, line: &[u8]) {
        match self.phase {
            Phase::Head if line.is_empty() && self.begun => {
                self.begun = false;
                self.phase = match std::mem::take(&mut self.body) {
                    Body::None | Body::Length(0) => Phase::Head,
                    Body::Length(bytes) => Phase::Body(bytes),
                    Body::Upgrade => Phase::Upgrade,
                    Body::Chunked => Phase::ChunkSize,
                };
            }
            Phase::Head if self.begun => self.note(line),
            // Empty lines before a request are skipped.
            Phase::Head => self.begun = !line.is_empty(),
            Phase::ChunkSize => {
                let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                let size = std::str::from_utf8(&line[..digits]).ok();
                let size = size.and_then(|size| u64::from_str_radix(size, 16).ok()).unwrap_or(0);
                self.phase = if size == 0 { Phase::Trailer } else { Phase::Chunk(size.saturating_add(2)) };
            }
            Phase::Trailer if line.is_empty() => self.phase = Phase::Head,
            Phase::Trailer | Phase::Body(_) | Phase::Chunk(_) | Phase::Upgrade => {}
        }
    }

    /// Records the body that a header announces.
    fn note(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            self.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case(b"upgrade") && value.eq_ignore_ascii_case(b"websocket") {
            self.body = if self.body == Body::Chunked { Body::Chunked } else { Body::Upgrade };
        } else if name.eq_ignore_ascii_case(b"content-length") && !matches!(self.body, Body::Chunked | Body::Upgrade) {
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.body = length.map_or(Body::None, Body::Length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the result, which is the same for any split of the bytes.
    fn taken(bytes: &[u8]) -> Result<(), NameTooLong> {
        let in_pieces = |size: usize| {
            let mut framing = Framing::default();
            bytes.chunks(size).try_for_each(|piece| framing.take(piece))
        };
        let whole = in_pieces(bytes.len());
        assert_eq!([1, 7, 4_096].map(in_pieces), [whole; 3]);
        whole
    }

    fn request(head: &str, body: &str) -> Vec<u8> {
        format!("{head}\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn a_name_is_measured_in_the_first_request_and_in_any_that_follows() {
        let name = "a".repeat(MAX_NAME + 1);
        let bad = format!("GET / HTTP/1.1\r\nHost: x\r\n{name}: 1");
        assert_eq!(taken(&request(&bad, "")), Err(NameTooLong));
        let before = [
            request("GET / HTTP/1.1\r\nHost: x", "\r\n"),
            request("POST / HTTP/1.1\r\nHost: x\r\ncontent-length:  5 ", "abc\n\n"),
            request("POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED", "3;x=y\r\na\nb\r\n00\r\n\r\n"),
        ];
        for before in before {
            assert_eq!(taken(&[before, bad.clone().into_bytes()].concat()), Err(NameTooLong));
        }
        assert_eq!(taken(format!("GET / HTTP/1.1\r\n{}", "a".repeat(MAX_NAME + 1)).as_bytes()), Err(NameTooLong));
    }

    #[test]
    fn long_values_targets_and_bodies_are_accepted() {
        let long = "a".repeat(100_000);
        assert_eq!(taken(&request(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\nCookie: {long}"), "")), Ok(()));
        let name = "a".repeat(MAX_NAME);
        assert_eq!(taken(&request(&format!("GET / HTTP/1.1\r\n{name}: {long}"), "")), Ok(()));
        assert_eq!(taken(&request("POST / HTTP/1.1\r\nContent-Length: 100000", &long)), Ok(()));
        let chunked = format!("186a0\r\n{long}\r\n0\r\n\r\n");
        assert_eq!(taken(&request("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", &chunked)), Ok(()));
    }

    #[test]
    fn a_head_lasts_from_its_first_byte_to_its_empty_line() {
        let mut framing = Framing::default();
        let mut within = |piece: &str| {
            framing.take(piece.as_bytes()).unwrap();
            framing.is_within_head()
        };
        assert!(!within("") && within("P") && within("OST / HTTP/1.1\r\n") && within("Content-Length: 2\r\n"));
        assert!(!within("\r\n") && !within("{}"));
        assert!(within("GET / HTTP/1.1\r\n\r\nG") && !within("ET / HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn everything_behind_a_handshake_belongs_to_the_websocket() {
        let mut framing = Framing::default();
        framing.take(&request("GET /ws HTTP/1.1\r\nHost: x\r\nupgrade:  WebSocket ", "G")).unwrap();
        assert!(framing.is_upgrade() && !framing.is_within_head());
        let name = "a".repeat(MAX_NAME + 1);
        assert_eq!(framing.take(format!("\n{name}").as_bytes()), Ok(()));
        for other in ["Upgrade: h2c", "Upgrade: websocket\r\nTransfer-Encoding: chunked", "Connection: upgrade"] {
            let mut framing = Framing::default();
            framing.take(&request(&format!("GET / HTTP/1.1\r\nHost: x\r\n{other}"), "")).unwrap();
            assert!(!framing.is_upgrade(), "{other}");
        }
    }

    #[test]
    fn a_connection_that_waits_keeps_no_buffer() {
        let mut framing = Framing::default();
        framing.take(&request("GET / HTTP/1.1\r\nHost: x", "")).unwrap();
        assert_eq!(framing.line.capacity(), 0);
    }
}
