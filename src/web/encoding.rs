//! Content codings (RFC 9110, section 8.4.1): negotiation, compression and inflation. Streams are never compressed.

use std::io::{self, Read, Write};

use actix_web::http::header::HeaderValue;
use bytes::Bytes;

/// Smallest body that is compressed, in bytes.
const MIN_BYTES: usize = 256;

/// Offered codings, the preferred one first.
const OFFERED: [&str; 2] = ["br", "gzip"];

/// Codings of request bodies, as in `Accept-Encoding` (RFC 7694).
pub const INFLATABLE: &str = "gzip, deflate, br";

/// Error of inflating a body.
#[derive(Debug)]
pub enum Inflating {
    /// The inflated body would be larger than allowed.
    TooLarge,
    /// The body does not have this coding, or is incomplete.
    Broken(io::Error),
}

/// Returns the coding of this name, if request bodies may have it.
pub fn inflatable(name: &[u8]) -> Option<&'static str> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match () {
        // RFC 9110, section 8.4.1.3: both names mean the same.
        () if is("gzip") || is("x-gzip") => Some("gzip"),
        () if is("deflate") => Some("deflate"),
        () if is("br") => Some("br"),
        () => None,
    }
}

/// Inflates `body`, compressed by `coding`, to at most `most` bytes. Never produces more.
///
/// # Errors
/// [`Inflating`].
pub fn inflate(coding: &str, body: &[u8], most: usize) -> Result<Bytes, Inflating> {
    let reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::MultiGzDecoder::new(body)),
        "deflate" if has_zlib_header(body) => Box::new(flate2::read::ZlibDecoder::new(body)),
        // Many clients send the data without the header, contrary to RFC 9110, section 8.4.1.2.
        "deflate" => Box::new(flate2::read::DeflateDecoder::new(body)),
        _ => Box::new(brotli::Decompressor::new(body, 4_096)),
    };
    let mut plain = Vec::new();
    let bound = (most as u64).saturating_add(1);
    reader.take(bound).read_to_end(&mut plain).map_err(Inflating::Broken)?;
    if plain.len() > most { Err(Inflating::TooLarge) } else { Ok(plain.into()) }
}

/// Returns whether `body` begins with a header of zlib (RFC 1950, section 2.2). Deflate data without one begins like that
/// only with padding bits that no encoder sets.
fn has_zlib_header(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

/// Returns the coding for a body of `length` bytes: the one with the highest weight, and of equal ones the server's
/// preferred one; `None` for no coding.
pub fn choose(accept_encoding: Option<&HeaderValue>, length: usize) -> Option<&'static str> {
    let accepted = accept_encoding?.to_str().ok()?;
    if length < MIN_BYTES {
        return None;
    }
    let weight = |coding: &str| -> f32 {
        let mut any = 0.0;
        for entry in accepted.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if name.eq_ignore_ascii_case(coding) {
                return weight;
            }
            if name == "*" {
                any = weight;
            }
        }
        any
    };
    let mut best = None;
    for coding in OFFERED {
        let weight = weight(coding);
        if weight > best.map_or(0.0, |(_, best)| best) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Compresses `body`; `None` if that does not make it smaller.
pub fn compress(coding: &str, body: &[u8]) -> Option<Bytes> {
    let mut out = Vec::new();
    match coding {
        "br" => {
            // Quality 4 takes about as long as gzip, with a smaller result.
            let mut encoder = brotli::CompressorWriter::new(&mut out, 16 * 1024, 4, 20);
            encoder.write_all(body).ok()?;
            encoder.flush().ok()?;
            drop(encoder);
        }
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::new(5));
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?;
        }
        _ => return None,
    }
    (out.len() < body.len()).then(|| out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deflate_is_inflated_with_and_without_the_header_of_zlib() {
        for level in 0..=9 {
            for text in ["", "x", "{\"channel\":\"metrics.a\",\"data\":{\"x\":1}}", &"abc".repeat(10_000)] {
                let level = flate2::Compression::new(level);
                let mut with = flate2::write::ZlibEncoder::new(Vec::new(), level);
                let mut without = flate2::write::DeflateEncoder::new(Vec::new(), level);
                with.write_all(text.as_bytes()).unwrap();
                without.write_all(text.as_bytes()).unwrap();
                for body in [with.finish().unwrap(), without.finish().unwrap()] {
                    assert_eq!(inflate("deflate", &body, 100_000).unwrap(), text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn the_heaviest_coding_wins_and_zero_forbids() {
        for (accept, expected) in [
            ("gzip", Some("gzip")),
            ("gzip, br", Some("br")),
            ("br;q=0.2, gzip;q=0.3", Some("gzip")),
            ("*", Some("br")),
            ("*;q=0", None),
            ("br;q=1.0, gzip;q=0.1, *;q=0", Some("br")),
            ("br;q=0, *", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("deflate, zstd", None),
            ("gzip;q=x", None),
            ("", None),
        ] {
            assert_eq!(choose(Some(&HeaderValue::from_static(accept)), 1_000), expected, "{accept}");
        }
        assert_eq!(choose(Some(&HeaderValue::from_static("gzip")), 10), None);
    }
}
