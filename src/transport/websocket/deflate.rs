//! permessage-deflate (RFC 7692): negotiation, and compression without context, so that one frame serves all.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::FrameError;

/// Below this, compression makes a message larger or not worth the work.
const MIN_BYTES: usize = 512;

/// What ends a flushed block, and is left out on the wire (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The answer to a client's `Sec-WebSocket-Extensions`, if one of its offers fits.
pub(super) const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Whether one of the offers can be accepted with [`ACCEPTED`].
///
/// An offer with an unknown, doubled or wrong parameter is declined (section 7.1), and so is a smaller window for us:
/// the shared frames are made with the full one.
pub(super) fn is_offered(header: &str) -> bool {
    header.split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        parts.next() == Some("permessage-deflate") && fits(parts)
    })
}

fn fits<'a>(parameters: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return false;
        }
        seen.push(name);
        let bits =
            |value: &str| value.parse::<u8>().is_ok_and(|bits| (8..=15).contains(&bits) && !value.starts_with('0'));
        let fine = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(value)) => bits(value),
            ("server_max_window_bits", Some(value)) => value == "15",
            _ => false,
        };
        if !fine {
            return false;
        }
    }
    true
}

/// `data` compressed by itself, or `None` when that does not pay.
pub(super) fn deflate(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() < MIN_BYTES {
        return None;
    }
    let mut compress = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(data.len() + 64);
    let status = compress.compress_vec(data, &mut out, FlushCompress::Sync).ok()?;
    let whole = matches!(status, Status::Ok) && compress.total_in() == data.len() as u64 && out.ends_with(&TAIL);
    out.truncate(out.len().saturating_sub(TAIL.len()));
    (whole && out.len() < data.len()).then_some(out)
}

/// A compressed message of a client, at most `max` bytes of it.
///
/// # Errors
/// [`FrameError::TooBig`] as soon as it grows over `max`, whatever it would become; [`FrameError::Protocol`] when it is
/// no deflate stream.
pub(super) fn inflate(data: &[u8], max: usize) -> Result<Vec<u8>, FrameError> {
    let broken = FrameError::Protocol("a message that does not inflate");
    let mut inflate = Decompress::new(false);
    let mut out = Vec::new();
    let mut input: Vec<u8> = Vec::with_capacity(data.len() + TAIL.len());
    input.extend_from_slice(data);
    input.extend_from_slice(&TAIL);
    loop {
        let read = inflate.total_in() as usize;
        out.reserve(out.len().clamp(1024, 64 * 1024));
        let before = out.len();
        let status = inflate.decompress_vec(&input[read..], &mut out, FlushDecompress::Sync).map_err(|_| broken)?;
        if out.len() > max {
            return Err(FrameError::TooBig(max));
        }
        let finished = inflate.total_in() as usize == input.len() && out.len() < out.capacity();
        if finished || status == Status::StreamEnd {
            return Ok(out);
        }
        if out.len() == before && inflate.total_in() as usize == read {
            return Err(broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_offers_that_fit_are_accepted() {
        for good in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
            "x-other, permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            r#"permessage-deflate; client_max_window_bits="15""#,
        ] {
            assert!(is_offered(good), "{good}");
        }
        for bad in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=016",
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; nonsense",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
        ] {
            assert!(!is_offered(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_deflated_inflates(data: Vec<u8>, times in 1usize..40) {
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
        assert_eq!(deflate(b"hello"), None);
    }
}
