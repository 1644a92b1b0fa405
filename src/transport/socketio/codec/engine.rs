//! Engine.IO packets (protocol 4, <https://github.com/socketio/engine.io-protocol>).
//!
//! ```text
//! WebSocket, one packet per message:   2probe        4hello        <binary message: the bytes themselves>
//! polling, packets joined by U+001E:   4hello␞2␞bAQID
//! ```

use bytes::Bytes;
use data_encoding::BASE64;

/// Separates the packets of a payload.
pub const SEPARATOR: u8 = 0x1e;

/// One packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePacket {
    /// The client closes the session.
    Close,
    /// A ping; clients send it only to probe a transport.
    Ping(String),
    /// The reply to a ping.
    Pong,
    /// Message: text of a Socket.IO packet.
    Message(String),
    /// Message: an attachment of the Socket.IO packet before it.
    Binary(Bytes),
    /// The client switches to the transport that it has probed.
    Upgrade,
    /// No content: ends a GET that waits during an upgrade.
    Noop,
}

/// Why something is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The packet is empty.
    #[error("an empty packet")]
    Empty,
    /// The first character is not a type that a client may send.
    #[error("an unknown packet type")]
    UnknownType,
    /// A binary packet whose content is not base64.
    #[error("a binary packet that is not base64")]
    NotBase64,
    /// The payload has more packets than allowed.
    #[error("too many packets in one payload")]
    TooMany,
}

/// Reads one packet in its text form.
///
/// # Errors
/// [`EngineError`].
pub fn parse(text: &str) -> Result<EnginePacket, EngineError> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(EngineError::Empty)?;
    let rest = chars.as_str();
    Ok(match kind {
        '1' => EnginePacket::Close,
        '2' => EnginePacket::Ping(rest.to_owned()),
        '3' => EnginePacket::Pong,
        '4' => EnginePacket::Message(rest.to_owned()),
        '5' => EnginePacket::Upgrade,
        '6' => EnginePacket::Noop,
        // The decoder would also accept several padded texts, one after the other.
        'b' if rest.find('=').is_some_and(|padding| padding + 2 < rest.len()) => return Err(EngineError::NotBase64),
        'b' => EnginePacket::Binary(BASE64.decode(rest.as_bytes()).map_err(|_| EngineError::NotBase64)?.into()),
        _ => return Err(EngineError::UnknownType),
    })
}

/// Reads a payload of at most `max_packets` packets, the body of a POST.
///
/// # Errors
/// [`EngineError`] of the first packet that is wrong.
pub fn parse_payload(text: &str, max_packets: usize) -> Result<Vec<EnginePacket>, EngineError> {
    let mut packets = Vec::new();
    for packet in text.split(char::from(SEPARATOR)) {
        if packets.len() >= max_packets {
            return Err(EngineError::TooMany);
        }
        packets.push(parse(packet)?);
    }
    Ok(packets)
}

/// Appends a binary packet in its text form.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'b');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_read_as_the_protocol_has_them() {
        assert_eq!(parse("4hello"), Ok(EnginePacket::Message("hello".into())));
        assert_eq!(parse("2probe"), Ok(EnginePacket::Ping("probe".into())));
        assert_eq!(parse("bAQIDBA=="), Ok(EnginePacket::Binary(Bytes::from_static(&[1, 2, 3, 4]))));
        for (text, error) in [
            ("", EngineError::Empty),
            ("0{}", EngineError::UnknownType),
            ("7", EngineError::UnknownType),
            ("abc", EngineError::UnknownType),
            ("\u{e9}", EngineError::UnknownType),
            ("b%", EngineError::NotBase64),
            ("ba04=aaaa", EngineError::NotBase64),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_payload_is_split_and_bounded() {
        let packets = parse_payload("4a\u{1e}3\u{1e}bAA==", 3).unwrap();
        let expected = [EnginePacket::Message("a".into()), EnginePacket::Pong, EnginePacket::Binary(vec![0].into())];
        assert_eq!(packets, expected);
        assert_eq!(parse_payload("3\u{1e}3\u{1e}3\u{1e}3", 3), Err(EngineError::TooMany));
        assert_eq!(parse_payload("3\u{1e}", 3), Err(EngineError::Empty));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse_payload(&text, 16);
        }

        #[test]
        fn binary_survives_its_text_form(bytes: Vec<u8>) {
            let mut out = Vec::new();
            write_base64(&mut out, &bytes);
            prop_assert_eq!(parse(std::str::from_utf8(&out).unwrap()), Ok(EnginePacket::Binary(bytes.into())));
        }
    }
}
