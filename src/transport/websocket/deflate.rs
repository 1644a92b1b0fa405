//! permessage-deflate (RFC 7692): negotiation, and compression without context, so that one frame serves all clients.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame_error::FrameError;

/// Smallest message that is compressed, in bytes.
const MIN_BYTES: usize = 512;

/// End of a flushed block, which is omitted on the wire (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// End of a message: [`TAIL`], and an empty last block (fixed codes), which is valid only where a block may start.
const END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];

/// Result of the negotiation with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// No frame is compressed.
    None,
    /// The client's frames may be compressed. It requires a smaller window than that of the shared frames, so those of
    /// the server are not.
    Incoming,
    /// Frames of both sides may be compressed.
    Both,
}

/// Returns the answer to a client's `Sec-WebSocket-Extensions` and its meaning, if one of its offers is acceptable.
///
/// An offer with an unknown, repeated or invalid parameter is declined (section 7.1). An offer that allows the server to
/// compress takes precedence over one that does not, otherwise the first counts.
pub(super) fn agree<'a>(headers: impl Iterator<Item = &'a str>) -> Option<(Compression, String)> {
    let mut offers = headers.flat_map(|header| header.split(',')).filter_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next() == Some("permessage-deflate") { Offer::parse(parts) } else { None }
    });
    let first = offers.next()?;
    let offer = if first.wants_full_window() { first } else { offers.find(Offer::wants_full_window).unwrap_or(first) };
    let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    if let Some(bits) = offer.server_window_bits {
        // If it is requested, it has to be in the answer (section 7.1.2.1).
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    let compression = if offer.wants_full_window() { Compression::Both } else { Compression::Incoming };
    Some((compression, answer))
}

/// An offer of permessage-deflate that the server can accept.
struct Offer {
    /// Largest window of the client, in bits.
    server_window_bits: Option<u8>,
}

impl Offer {
    fn parse<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut seen = Vec::new();
        let mut offer = Self { server_window_bits: None };
        for parameter in parameters {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (parameter, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            let bits = value
                .filter(|value| !value.starts_with(['0', '+']))
                .and_then(|value| value.parse::<u8>().ok())
                .filter(|bits| (8..=15).contains(bits));
            match name {
                "server_no_context_takeover" | "client_no_context_takeover" if value.is_none() => {}
                "client_max_window_bits" if value.is_none() || bits.is_some() => {}
                "server_max_window_bits" if bits.is_some() => offer.server_window_bits = bits,
                _ => return None,
            }
        }
        Some(offer)
    }

    fn wants_full_window(&self) -> bool {
        self.server_window_bits.is_none_or(|bits| bits == 15)
    }
}

/// Compresses `data` by itself; `None` if that is not worthwhile.
pub(super) fn deflate(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() < MIN_BYTES {
        return None;
    }
    let mut compress = Compress::new(flate2::Compression::fast(), false);
    let mut out = Vec::with_capacity(data.len() + 64);
    let status = compress.compress_vec(data, &mut out, FlushCompress::Sync).ok()?;
    let whole = matches!(status, Status::Ok) && compress.total_in() == data.len() as u64 && out.ends_with(&TAIL);
    out.truncate(out.len().saturating_sub(TAIL.len()));
    (whole && out.len() < data.len()).then_some(out)
}

/// Inflates a compressed message of a client to at most `max` bytes.
///
/// # Errors
/// [`FrameError::TooBig`] as soon as it exceeds `max`; [`FrameError::Protocol`] if it is not a complete deflate stream.
pub(super) fn inflate(data: &[u8], max: usize) -> Result<Vec<u8>, FrameError> {
    let broken = FrameError::Protocol("a message that does not inflate");
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let most = max.saturating_add(1);
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(data.len().saturating_mul(2).clamp(1024, 64 * 1024).min(most));
    loop {
        let (read, written) = (inflate.total_in() as usize, out.len());
        let rest = if read < data.len() { &data[read..] } else { &END[read - data.len()..] };
        let status = inflate.decompress_vec(rest, &mut out, FlushDecompress::None).map_err(|_| broken)?;
        if out.len() > max {
            return Err(FrameError::TooBig(max));
        }
        let read_now = inflate.total_in() as usize;
        if status == Status::StreamEnd {
            // Or the client ended its last block itself, and an empty one may follow (section 7.2.3.4).
            let all_read = read_now == data.len() + END.len();
            return if all_read || matches!(data.get(read_now..), Some([] | [0])) { Ok(out) } else { Err(broken) };
        }
        if out.len() == out.capacity() {
            out.reserve_exact(out.len().max(1024).min(most - out.len()));
        } else if out.len() == written && read_now == read {
            return Err(broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(header: &str) -> Option<(Compression, String)> {
        agree(std::iter::once(header))
    }

    #[test]
    fn only_offers_that_fit_are_accepted() {
        for good in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
            "x-other, permessage-deflate; client_no_context_takeover",
            r#"permessage-deflate; client_max_window_bits="15""#,
            "permessage-deflate; nonsense, permessage-deflate",
        ] {
            let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
            assert_eq!(answer(good), Some((Compression::Both, plain)), "{good}");
        }
        for bad in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=016",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; nonsense",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
        ] {
            assert_eq!(answer(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_requested_window_is_granted_and_a_small_one_disables_compression_by_the_server() {
        for (offers, compression, window) in [
            ("permessage-deflate; server_max_window_bits=15", Compression::Both, Some("15")),
            ("permessage-deflate; server_max_window_bits=9", Compression::Incoming, Some("9")),
            ("permessage-deflate; server_max_window_bits=9, permessage-deflate", Compression::Both, None),
            (
                "permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=10",
                Compression::Incoming,
                Some("9"),
            ),
        ] {
            let (agreed, answer) = answer(offers).unwrap();
            assert_eq!(agreed, compression, "{offers}");
            assert_eq!(answer.split_once("server_max_window_bits=").map(|(_, bits)| bits), window, "{offers}");
        }
    }

    #[test]
    fn the_examples_of_the_standard_inflate() {
        for (name, data) in [
            ("one fixed block, section 7.2.3.1", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..]),
            (
                "a block without compression, 7.2.3.3",
                &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            ),
            ("a last block, 7.2.3.4", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
            ("a last block with nothing after it", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
            ("two blocks, 7.2.3.5", &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        ] {
            assert_eq!(inflate(data, 5).as_deref(), Ok(&b"Hello"[..]), "{name}");
            assert_eq!(inflate(data, 4), Err(FrameError::TooBig(4)), "{name}");
        }
        for empty in [&[0][..], &[]] {
            assert_eq!(inflate(empty, 0), Ok(Vec::new()));
        }
    }

    #[test]
    fn incomplete_messages_and_data_after_the_last_block_are_refused() {
        let whole = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for end in 1..whole.len() - 1 {
            assert!(inflate(&whole[..end], 100).is_err(), "{end} of {}", whole.len());
        }
        let long = deflate(b"a longer text, ".repeat(50).as_slice()).unwrap();
        for end in 1..long.len() - 1 {
            assert!(inflate(&long[..end], 10_000).is_err(), "{end} of {}", long.len());
        }
        let more = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert!(inflate(&more, 100).is_err());
    }

    proptest! {
        #[test]
        fn deflated_data_inflate(data: Vec<u8>, times in 1usize..40) {
            let data = data.repeat(times);
            if let Some(small) = deflate(&data) {
                prop_assert!(small.len() < data.len());
                prop_assert_eq!(inflate(&small, data.len()).unwrap(), data);
            }
        }

        #[test]
        fn any_bytes_inflate_or_are_refused(data: Vec<u8>) {
            if let Ok(out) = inflate(&data, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = deflate(&vec![b'x'; 50 << 20]).unwrap();
        assert!(bomb.len() < 300_000);
        assert_eq!(inflate(&bomb, 65_536), Err(FrameError::TooBig(65_536)));
    }

    #[test]
    fn small_messages_are_left_alone() {
        // It would be a tenth of the size.
        let small = vec![b'x'; MIN_BYTES];
        assert_eq!(deflate(&small[1..]), None);
        assert!(deflate(&small).is_some());
    }
}
