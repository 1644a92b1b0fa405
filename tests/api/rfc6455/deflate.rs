//! permessage-deflate (RFC 7692): groups 12 and 13 of the Autobahn suite.

use futures_util::future::join_all;

use super::peer::{BINARY, FIN, Frame, PING, Peer, RSV1, TEXT, close, fragments, frame, spawn_echo};
use crate::helpers::{spawn_app, spawn_app_with};

/// Compresses a message by itself, as a client does (RFC 7692, section 7.2.1).
fn deflated(data: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut out = Vec::with_capacity(data.len() + 1_024);
    compress.compress_vec(data, &mut out, flate2::FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn inflated(frame: &Frame) -> Vec<u8> {
    if frame.first & RSV1 == 0 {
        return frame.payload.clone();
    }
    let mut out = Vec::with_capacity(1 << 21);
    let input = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
    flate2::Decompress::new(false).decompress_vec(&input, &mut out, flate2::FlushDecompress::Sync).unwrap();
    out
}

#[tokio::test]
async fn compressed_messages_come_back_group_12() {
    let echo = spawn_echo();
    for length in [0, 16, 64, 1_024, 8_192, 131_072, 1 << 20] {
        let payload: Vec<u8> = (0..length).map(|n: usize| b'a' + (n % 7 * n % 23) as u8).collect();
        let small = deflated(&payload);
        let pieces: Vec<&[u8]> = small.chunks(small.len().div_ceil(3)).collect();
        let mut cut = fragments(BINARY, &pieces);
        cut[0] |= RSV1;
        // Compressed, compressed in fragments, and plain: each message may choose (section 6).
        let bytes = [frame(FIN | RSV1 | TEXT, &small), cut, frame(FIN | TEXT, &payload), close(1000, "")].concat();
        let peer = Peer::connect_with(echo.address, "/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        let frames = peer.exchange(&bytes, usize::MAX).await;
        assert_eq!(frames.len(), 4, "{frames:?}");
        for (frame, opcode) in frames.iter().zip([TEXT, BINARY, TEXT]) {
            assert_eq!(frame.first & 0x0f, opcode);
            assert!(inflated(frame) == payload, "{length}: {frame:?}");
            assert_eq!(frame.first & RSV1 != 0, length >= 1_024, "the server compresses large messages: {frame:?}");
        }
        assert_eq!(frames[3].code(), Some(1000));
    }
}

#[tokio::test]
async fn compressed_messages_that_break_the_rules_fail_group_12() {
    let echo = spawn_echo();
    let small = deflated("text ".repeat(100).as_bytes());
    let half = &small[..small.len() / 2];
    let endings = [
        ("no deflate stream", frame(FIN | RSV1 | TEXT, b"\xff\xff\xff\xff"), 1002),
        ("half a stream", frame(FIN | RSV1 | TEXT, half), 1002),
        ("bad text inside", frame(FIN | RSV1 | TEXT, &deflated(b"ok \xff")), 1007),
        ("the bit on a ping", frame(FIN | RSV1 | PING, b""), 1002),
        ("the bit on a continuation", [frame(RSV1 | TEXT, half), frame(FIN | RSV1, half)].concat(), 1002),
        ("another bit", frame(FIN | RSV1 | 0x20 | TEXT, &small), 1002),
        ("17 MiB of nothing", frame(FIN | RSV1 | BINARY, &deflated(&vec![0; 17 << 20])), 1009),
    ];
    join_all(endings.map(async |(name, bytes, code)| {
        let peer = Peer::connect_with(echo.address, "/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        let frames = peer.exchange(&bytes, usize::MAX).await;
        assert_eq!(frames.iter().map(Frame::code).collect::<Vec<_>>(), [Some(code)], "{name}");
    }))
    .await;
}

#[tokio::test]
async fn an_offer_of_deflate_is_accepted_with_its_parameters_or_ignored_group_13() {
    let echo = spawn_echo();
    let app = spawn_app_with(|config| config.compression = true);
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offers, answer) in [
        ("permessage-deflate", Some(plain.to_owned())),
        ("permessage-deflate; client_no_context_takeover; client_max_window_bits", Some(plain.to_owned())),
        ("permessage-deflate; server_max_window_bits=9", Some(format!("{plain}; server_max_window_bits=9"))),
        ("permessage-deflate; server_max_window_bits=15", Some(format!("{plain}; server_max_window_bits=15"))),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", Some(plain.to_owned())),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; colour=red", None),
        ("permessage-bzip2", None),
    ] {
        for (address, path) in [(echo.address, "/echo"), (app.address, "/ws")] {
            let headers = format!("Sec-WebSocket-Extensions: {offers}\r\n");
            let peer = Peer::connect_with(address, path, &headers).await;
            let given = peer.head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
            assert_eq!(given, answer.as_deref(), "{offers} at {path}");
        }
    }
    // The client could not read references beyond its window, so nothing is compressed.
    let headers = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    let peer = Peer::connect_with(echo.address, "/echo", headers).await;
    let payload = b"tricast ".repeat(1_000);
    let bytes = [frame(FIN | RSV1 | TEXT, &deflated(&payload)), close(1000, "")].concat();
    assert_eq!(peer.exchange(&bytes, usize::MAX).await[0], Frame::whole(TEXT, payload));
    // Without the setting no offer is accepted.
    let app = spawn_app();
    let peer = Peer::connect_with(app.address, "/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert!(!peer.head.contains("sec-websocket-extensions"), "{}", peer.head);
}
