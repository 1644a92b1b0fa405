//! RFC 6455 and RFC 7692 over a raw socket, group by group as in the Autobahn suite, against the echo server of the
//! conformance example: the server's own handshake and frames, without its messages and limits. Requirements that also
//! hold at the server's endpoint are tested at both.

use futures_util::future::join_all;

use crate::helpers::spawn_app;

mod closing;
mod deflate;
mod early;
pub(crate) mod peer;

use peer::{
    BINARY, CLOSE, CONTINUATION, EchoServer, FIN, Frame, PING, PONG, Peer, RSV1, TEXT, announced, close, fragments,
    frame, spawn_echo,
};

/// Returns the frames of the echo for `bytes` and a closing handshake. The close is checked and left out.
async fn echoed(server: &EchoServer, bytes: &[u8], step: usize) -> Vec<Frame> {
    let peer = Peer::connect(server.address, "/echo").await;
    let mut frames = peer.exchange(&[bytes, &close(1000, "")].concat(), step).await;
    assert_eq!(frames.pop().and_then(|last| last.code()), Some(1000), "after {frames:?}");
    frames
}

/// Frames that end a connection: their name, the frames that are answered before, and the code of the close.
struct Ending {
    name: String,
    bytes: Vec<u8>,
    before: Vec<Frame>,
    code: u16,
}

fn ending(name: impl Into<String>, bytes: Vec<u8>, before: Vec<Frame>, code: u16) -> Ending {
    Ending { name: name.into(), bytes, before, code }
}

/// Tests all at once, each in one piece and byte by byte: a failed connection lingers for a moment.
async fn all_end(server: &EchoServer, endings: &[Ending]) {
    let tries = endings.iter().flat_map(|ending| [(ending, 1), (ending, usize::MAX)]);
    join_all(tries.map(async |(ending, step)| {
        // Sending byte by byte is sufficient for short ones.
        let step = if ending.bytes.len() > 2_000 { usize::MAX } else { step };
        let mut frames = Peer::connect(server.address, "/echo").await.exchange(&ending.bytes, step).await;
        let code = frames.pop().and_then(|last| last.code());
        assert_eq!((&frames, code), (&ending.before, Some(ending.code)), "{}, step {step}", ending.name);
    }))
    .await;
}

fn text(payload: &str) -> Frame {
    Frame::whole(TEXT, payload)
}

#[tokio::test]
async fn messages_of_every_length_come_back_group_1_1_and_1_2() {
    let echo = spawn_echo();
    for opcode in [TEXT, BINARY] {
        for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 70_000] {
            let payload = match opcode {
                TEXT => vec![b'*'; length],
                _ => vec![0xfe; length],
            };
            let whole = echoed(&echo, &frame(FIN | opcode, &payload), usize::MAX).await;
            assert_eq!(whole, [Frame::whole(opcode, &payload[..])], "{opcode}, {length}");
            if length <= 65_536 {
                let chopped = echoed(&echo, &frame(FIN | opcode, &payload), 997).await;
                assert_eq!(chopped, whole, "{opcode}, {length} in pieces");
            }
        }
    }
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_pongs_with_nothing_group_2() {
    let echo = spawn_echo();
    let bytes: Vec<u8> = (0..125).map(|n| 255 - n).collect();
    for payload in [&b""[..], b"Hello, world!", &[0, 255, 254, 253, 252, 251, 0, 255], &bytes] {
        for step in [1, usize::MAX] {
            let answer = echoed(&echo, &frame(FIN | PING, payload), step).await;
            assert_eq!(answer, [Frame::whole(PONG, payload)]);
        }
    }
    all_end(&echo, &[ending("126 bytes", frame(FIN | PING, &[b'x'; 126]), vec![], 1002)]).await;
    for payload in [&b""[..], b"unsolicited"] {
        let bytes = [frame(FIN | PONG, payload), frame(FIN | PING, b"ping")].concat();
        assert_eq!(echoed(&echo, &bytes, usize::MAX).await, [Frame::whole(PONG, "ping")]);
    }
    let ten: Vec<String> = (0..10).map(|n| format!("payload-{n}")).collect();
    let bytes: Vec<u8> = ten.iter().flat_map(|payload| frame(FIN | PING, payload.as_bytes())).collect();
    for step in [1, usize::MAX] {
        let pongs: Vec<_> = ten.iter().map(|payload| Frame::whole(PONG, payload.as_bytes())).collect();
        assert_eq!(echoed(&echo, &bytes, step).await, pongs, "in order");
    }
}

#[tokio::test]
async fn a_reserved_bit_fails_the_connection_after_earlier_frames_are_answered_group_3() {
    let echo = spawn_echo();
    let mut endings = Vec::new();
    for rsv in 1..=7u8 {
        for (opcode, payload) in [(TEXT, "*"), (BINARY, "*"), (PING, "p"), (PONG, ""), (CLOSE, "")] {
            let bad = frame(FIN | rsv << 4 | opcode, payload.as_bytes());
            let bytes = [frame(FIN | TEXT, b"good"), bad, frame(FIN | PING, b"late")].concat();
            endings.push(ending(format!("{rsv:03b} on {opcode}"), bytes, vec![text("good")], 1002));
        }
    }
    all_end(&echo, &endings).await;
}

#[tokio::test]
async fn reserved_opcodes_fail_the_connection_after_earlier_frames_are_answered_group_4_1_and_4_2() {
    let echo = spawn_echo();
    let mut endings = Vec::new();
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"reserved opcode"] {
            let bytes = [frame(FIN | TEXT, b"good"), frame(FIN | opcode, payload), frame(FIN | PING, b"late")].concat();
            endings.push(ending(format!("opcode {opcode}"), bytes, vec![text("good")], 1002));
        }
    }
    all_end(&echo, &endings).await;
}

#[tokio::test]
async fn fragments_are_put_together_with_control_frames_in_between_group_5() {
    let echo = spawn_echo();
    let [first, second] = [frame(TEXT, b"fragment1"), frame(FIN | CONTINUATION, b"fragment2")];
    let [middle, ping] = [frame(CONTINUATION, b"-"), frame(FIN | PING, b"ping")];
    let pong = Frame::whole(PONG, "ping");
    for (name, bytes, answer) in [
        ("two", [first.clone(), second.clone()].concat(), vec![text("fragment1fragment2")]),
        (
            "a ping between",
            [first.clone(), ping.clone(), second.clone()].concat(),
            vec![pong.clone(), text("fragment1fragment2")],
        ),
        (
            "pings between many",
            [first.clone(), ping.clone(), middle.clone(), middle.clone(), ping.clone(), second.clone()].concat(),
            vec![pong.clone(), pong.clone(), text("fragment1--fragment2")],
        ),
        (
            "a pong between, and a message after",
            [first.clone(), frame(FIN | PONG, b"x"), second.clone(), frame(FIN | TEXT, b"next")].concat(),
            vec![text("fragment1fragment2"), text("next")],
        ),
    ] {
        for step in [1, usize::MAX] {
            assert_eq!(echoed(&echo, &bytes, step).await, answer, "{name}");
        }
    }
    let whole = frame(FIN | TEXT, b"whole");
    let endings = [
        ("a ping in fragments", [frame(PING, b"a"), frame(FIN | CONTINUATION, b"b")].concat(), vec![]),
        ("a pong in fragments", [frame(PONG, b"a"), frame(FIN | CONTINUATION, b"b")].concat(), vec![]),
        ("a continuation of nothing", [second.clone(), whole.clone()].concat(), vec![]),
        ("an open continuation of nothing", [middle.clone(), whole.clone()].concat(), vec![]),
        (
            "a continuation after a message",
            [whole.clone(), second.clone(), whole.clone()].concat(),
            vec![text("whole")],
        ),
        ("a message inside another", [first.clone(), whole].concat(), vec![]),
        ("a start inside a message", [first.clone(), ping, first, second].concat(), vec![pong]),
    ];
    let endings = endings.map(|(name, bytes, before)| ending(name, bytes, before, 1002));
    all_end(&echo, &endings).await;
}

#[tokio::test]
async fn valid_utf_8_in_any_fragments_comes_back_group_6_1_2_5_to_11_and_22() {
    let echo = spawn_echo();
    assert_eq!(echoed(&echo, &frame(FIN | TEXT, b""), usize::MAX).await, [text("")]);
    assert_eq!(echoed(&echo, &fragments(TEXT, &[b"", b"", b""]), usize::MAX).await, [text("")]);
    assert_eq!(echoed(&echo, &fragments(TEXT, &[b"", b"middle", b""]), usize::MAX).await, [text("middle")]);
    for valid in [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\0",
        // The first and the last character of each length, and those next to the surrogates.
        "\u{1}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        "\u{d7ff}\u{e000}\u{fffd}",
        // Noncharacters, which are valid nevertheless.
        "\u{fffe}\u{ffff}\u{1fffe}\u{1ffff}\u{10fffe}",
    ] {
        assert_eq!(echoed(&echo, &frame(FIN | TEXT, valid.as_bytes()), usize::MAX).await, [text(valid)]);
        let octets: Vec<&[u8]> = valid.as_bytes().chunks(1).collect();
        assert_eq!(echoed(&echo, &fragments(TEXT, &octets), usize::MAX).await, [text(valid)], "one byte per fragment");
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_fails_with_1007_group_6_3_and_6_12_to_21() {
    let echo = spawn_echo();
    let mut endings = Vec::new();
    for (name, invalid) in [
        ("a surrogate in a word", &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..]),
        ("beyond the last character", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
        ("a continuation alone", b"\x80"),
        ("the last continuation alone", b"\xbf"),
        ("starts alone", b"\xc3 \xc4 "),
        ("a start of three alone", b"\xe0 "),
        ("a start of four alone", b"\xf0 "),
        ("two of three", b"\xe2\x82"),
        ("three of four at the end", b"ok \xf0\x9f\x98"),
        ("impossible bytes", b"\xfe\xff"),
        ("a slash in two bytes", b"\xc0\xaf"),
        ("a slash in three bytes", b"\xe0\x80\xaf"),
        ("the longest too long", b"\xf0\x8f\xbf\xbf"),
        ("zero in two bytes", b"\xc0\x80"),
        ("half a pair", b"\xed\xaf\xbf"),
        ("a pair", b"\xed\xa0\x80\xed\xb0\x80"),
    ] {
        endings.push(ending(name, frame(FIN | TEXT, invalid), vec![], 1007));
        let octets: Vec<&[u8]> = invalid.chunks(1).collect();
        endings.push(ending(format!("{name}, one byte per fragment"), fragments(TEXT, &octets), vec![], 1007));
        let binary = echoed(&echo, &frame(FIN | BINARY, invalid), usize::MAX).await;
        assert_eq!(binary, [Frame::whole(BINARY, invalid)], "{name} is valid in a binary message");
    }
    all_end(&echo, &endings).await;
}

#[tokio::test]
async fn bad_text_fails_before_its_frame_or_message_is_complete_group_6_4() {
    let echo = spawn_echo();
    let bad = "κόσμε".as_bytes().iter().copied().chain(*b"\xf4\x90").collect::<Vec<u8>>();
    let in_a_frame = {
        let mut bytes = frame(FIN | TEXT, &[&bad[..], &[b'x'; 100]].concat());
        bytes.truncate(bytes.len() - 100);
        bytes
    };
    let endings = [
        ("the rest of the frame never comes", in_a_frame),
        ("the last fragment never comes", [frame(TEXT, "κόσμε".as_bytes()), frame(CONTINUATION, b"\xf4\x90")].concat()),
    ];
    all_end(&echo, &endings.map(|(name, bytes)| ending(name, bytes, vec![], 1007))).await;
}

#[tokio::test]
async fn frames_after_a_close_are_ignored_group_7_1() {
    let echo = spawn_echo();
    let bye = close(1000, "bye");
    let big = vec![b'B'; 256 * 1024];
    let endings = [
        ("a message before", [frame(FIN | TEXT, b"last"), bye.clone()].concat(), vec![text("last")]),
        ("a second close", [bye.clone(), close(3000, "")].concat(), vec![]),
        ("a ping after", [bye.clone(), frame(FIN | PING, b"late")].concat(), vec![]),
        ("a text after", [bye.clone(), frame(FIN | TEXT, b"late")].concat(), vec![]),
        ("in a message", [frame(TEXT, b"1"), bye.clone(), frame(FIN | CONTINUATION, b"2")].concat(), vec![]),
        ("a big message before", [frame(FIN | TEXT, &big), bye.clone()].concat(), vec![Frame::whole(TEXT, &big[..])]),
    ];
    all_end(&echo, &endings.map(|(name, bytes, before)| ending(name, bytes, before, 1000))).await;
}

#[tokio::test]
async fn big_messages_come_back_in_one_frame_or_many_group_9_1_to_9_6() {
    let echo = spawn_echo();
    for (opcode, length) in [(TEXT, 64 * 1024), (TEXT, 1 << 20), (BINARY, 256 * 1024), (BINARY, 4 << 20)] {
        let payload: Vec<u8> =
            (0..length).map(|n| if opcode == TEXT { b'a' + (n % 26) as u8 } else { n as u8 }).collect();
        let expected = [Frame::whole(opcode, &payload[..])];
        assert_eq!(echoed(&echo, &frame(FIN | opcode, &payload), usize::MAX).await, expected, "{length} in one");
        assert_eq!(echoed(&echo, &frame(FIN | opcode, &payload), 64 * 1024).await, expected, "{length} in chunks");
        let pieces: Vec<&[u8]> = payload.chunks(256).collect();
        assert_eq!(echoed(&echo, &fragments(opcode, &pieces), usize::MAX).await, expected, "{length} in fragments");
    }
    let small = frame(FIN | TEXT, &[b'x'; 4096]);
    assert_eq!(echoed(&echo, &small, 64).await[0].payload.len(), 4096, "in pieces of 64 bytes");
}

#[tokio::test]
async fn many_small_messages_come_back_in_order_group_9_7_and_9_8() {
    let echo = spawn_echo();
    for (opcode, length) in [(TEXT, 0), (TEXT, 64), (BINARY, 16), (BINARY, 1024)] {
        let payload = |n: usize| format!("{n:0length$}").into_bytes()[..length].to_vec();
        let bytes: Vec<u8> = (0..1_000).flat_map(|n| frame(FIN | opcode, &payload(n))).collect();
        let expected: Vec<_> = (0..1_000).map(|n| Frame::whole(opcode, payload(n))).collect();
        assert!(echoed(&echo, &bytes, usize::MAX).await == expected, "{opcode}, {length}");
    }
}

#[tokio::test]
async fn a_message_in_fragments_of_odd_size_comes_back_group_10_1() {
    let echo = spawn_echo();
    let payload = vec![b'*'; 65_536];
    let pieces: Vec<&[u8]> = payload.chunks(1_300).collect();
    assert_eq!(echoed(&echo, &fragments(TEXT, &pieces), usize::MAX).await, [Frame::whole(TEXT, payload)]);
}

#[tokio::test]
async fn framing_errors_close_both_endpoints_with_the_code_of_the_standard() {
    let (echo, app) = (spawn_echo(), spawn_app());
    let unmasked = vec![FIN | TEXT, 2, b'{', b'}'];
    let mut long_form = announced(FIN | TEXT, 126);
    long_form[3] = 5;
    let both = [
        ("an unmasked frame", unmasked, 1002),
        ("a reserved bit", frame(FIN | RSV1 | TEXT, b"{}"), 1002),
        ("opcode 3", frame(FIN | 3, b""), 1002),
        ("a ping in fragments", frame(PING, b""), 1002),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126]), 1002),
        ("a continuation of nothing", frame(FIN, b"x"), 1002),
        ("a length of 5 in two bytes", long_form, 1002),
        ("a length of 64 bits", announced(FIN | BINARY, 1 << 63), 1002),
        ("text that is not UTF-8", frame(FIN | TEXT, b"\xff\xfe"), 1007),
        ("an announced gigabyte", announced(FIN | TEXT, 1 << 30), 1009),
        ("a gigabyte after a fragment", [frame(TEXT, b" "), announced(FIN, 1 << 30)].concat(), 1009),
    ];
    let only_here = [
        ("65,537 bytes in two fragments", fragments(TEXT, &[&[b' '; 60_000], &[b' '; 5_537]]), 1009),
        ("binary", frame(FIN | BINARY, b"x"), 1003),
    ];
    let at_echo = both.clone().map(|(name, bytes, code)| ending(name, bytes, vec![], code));
    all_end(&echo, &at_echo).await;
    join_all(both.iter().chain(&only_here).map(async |(name, bytes, code)| {
        // Later frames are not read.
        let bytes = [&bytes[..], &frame(FIN | PING, b"late")].concat();
        let frames = Peer::connect(app.address, "/ws").await.exchange(&bytes, usize::MAX).await;
        let [connected, end] = &frames[..] else { panic!("{name}: {frames:?}") };
        assert_eq!((connected.first, end.code()), (FIN | TEXT, Some(*code)), "{name}");
    }))
    .await;
}
