use proptest::prelude::*;

use super::*;

fn frame(fin: bool, rsv: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, opcode, false, payload);
    out[0] = if fin { 0x80 } else { 0 } | rsv << 4 | opcode;
    out[1] |= 0x80;
    let at = out.len() - payload.len();
    let mask = [7, 99, 3, 200];
    let mut masked = payload.to_vec();
    unmask(&mut masked, mask, 0);
    out.truncate(at);
    out.extend_from_slice(&mask);
    out.extend_from_slice(&masked);
    out
}

fn all(bytes: &[u8], step: usize, deflate: bool) -> Result<Vec<Incoming>, FrameError> {
    let mut decoder = Decoder::new(1_000, deflate);
    let mut found = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.feed(piece);
        while let Some(incoming) = decoder.next_message()? {
            found.push(incoming);
        }
    }
    Ok(found)
}

#[test]
fn a_fragmented_message_with_a_ping_inside_is_put_together() {
    let bytes = [frame(false, 0, TEXT, "zü".as_bytes()), frame(true, 0, PING, b"p"), frame(true, 0, 0, b"ri")].concat();
    for step in [1, 2, 3, 100] {
        let expected = vec![Incoming::Ping(Bytes::from_static(b"p")), Incoming::Text("züri".into())];
        assert_eq!(all(&bytes, step, false), Ok(expected));
    }
}

#[test]
fn text_may_be_cut_inside_a_character_but_not_end_there() {
    let [first, rest] = [&"€".as_bytes()[..1], &"€".as_bytes()[1..]];
    let whole = [frame(false, 0, TEXT, first), frame(true, 0, 0, rest)].concat();
    assert_eq!(all(&whole, 100, false), Ok(vec![Incoming::Text("€".into())]));
    assert_eq!(all(&frame(true, 0, TEXT, first), 100, false), Err(FrameError::NotUtf8));
}

#[test]
fn bad_text_is_refused_before_the_message_ends() {
    let bytes = frame(false, 0, TEXT, b"ok \xff");
    assert_eq!(all(&bytes, 1, false), Err(FrameError::NotUtf8));
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let unmasked = vec![0x81, 2, b'{', b'}'];
    let cases: [(&str, Vec<u8>); 12] = [
        ("unmasked", unmasked),
        ("rsv1 without deflate", frame(true, 4, TEXT, b"{}")),
        ("rsv2", frame(true, 2, TEXT, b"{}")),
        ("opcode 3", frame(true, 0, 3, b"")),
        ("opcode 11", frame(true, 0, 11, b"")),
        ("fragmented ping", frame(false, 0, PING, b"")),
        ("ping of 126", frame(true, 0, PING, &[0; 126])),
        ("continuation of nothing", frame(true, 0, 0, b"x")),
        ("message in a message", [frame(false, 0, TEXT, b"x"), frame(true, 0, TEXT, b"y")].concat()),
        ("close with one byte", frame(true, 0, CLOSE, b"x")),
        ("close with a reserved code", frame(true, 0, CLOSE, &1006u16.to_be_bytes())),
        ("length of 64 bits", [&[0x81, 0xff], &(1u64 << 63).to_be_bytes()[..], &[0; 4]].concat()),
    ];
    for (name, bytes) in cases {
        assert!(matches!(all(&bytes, 1, false), Err(FrameError::Protocol(_))), "{name}");
    }
    assert!(matches!(all(&frame(true, 4, PING, b""), 9, true), Err(FrameError::Protocol(_))), "compressed ping");
}

#[test]
fn a_length_is_judged_before_a_byte_of_it_is_kept() {
    let mut decoder = Decoder::new(65_536, false);
    decoder.feed(&[0x81, 0xff]);
    decoder.feed(&(1u64 << 30).to_be_bytes());
    assert_eq!(decoder.next_message(), Err(FrameError::TooBig(65_536)));
    decoder.feed(&[0; 100_000]);
    assert_eq!(decoder.input.capacity(), 0, "nothing is kept after a failure");
    // Across fragments as well.
    let many = [frame(false, 0, BINARY, &[0; 600]), frame(true, 0, 0, &[0; 600])].concat();
    assert_eq!(all(&many, 50, false), Err(FrameError::TooBig(1_000)));
}

#[test]
fn a_compressed_message_is_read_when_it_was_negotiated() {
    let text = "abc ".repeat(200);
    let small = deflate::deflate(text.as_bytes()).unwrap();
    assert_eq!(all(&frame(true, 4, TEXT, &small), 7, true), Ok(vec![Incoming::Text(text)]));
}

#[test]
fn a_close_is_read_with_its_text() {
    let payload = [&1000u16.to_be_bytes()[..], "done".as_bytes()].concat();
    assert_eq!(all(&frame(true, 0, CLOSE, &payload), 1, false), Ok(vec![Incoming::Close(Some((1000, "done".into())))]));
    assert_eq!(all(&frame(true, 0, CLOSE, b""), 1, false), Ok(vec![Incoming::Close(None)]));
    let mut out = Vec::new();
    write_close(&mut out, 1001, &"é".repeat(100));
    assert_eq!(out[1], 2 + 122, "cut at a character");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, step in 1usize..50) {
        let _ = all(&bytes, step, true);
    }

    #[test]
    fn any_text_in_any_pieces_arrives(texts in prop::collection::vec(".{0,200}", 1..5), cut in 1usize..30, step in 1usize..60) {
        let mut bytes = Vec::new();
        for text in &texts {
            let pieces: Vec<_> = text.as_bytes().chunks(cut).collect();
            let last = pieces.len().saturating_sub(1);
            if pieces.is_empty() {
                bytes.extend(frame(true, 0, TEXT, b""));
            }
            for (i, piece) in pieces.iter().enumerate() {
                bytes.extend(frame(i == last, 0, if i == 0 { TEXT } else { 0 }, piece));
            }
        }
        let expected: Vec<_> = texts.into_iter().map(Incoming::Text).collect();
        prop_assert_eq!(all(&bytes, step, false), Ok(expected));
    }
}
