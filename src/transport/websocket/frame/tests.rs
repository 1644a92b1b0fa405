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
fn empty_fragments_of_one_message_are_bounded() {
    let of = |empty: usize, times: usize| {
        let message = [frame(false, 0, TEXT, b"x"), frame(false, 0, 0, b"").repeat(empty), frame(true, 0, 0, b"y")];
        all(&message.concat().repeat(times), 1_000, false)
    };
    let most = MAX_EMPTY as usize;
    assert_eq!(of(most - 1, 3), Ok(vec![Incoming::Text("xy".into()); 3]), "counted for each message");
    assert_eq!(of(most + 1, 1), Err(FrameError::Protocol("too many empty fragments")));
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
fn violations_of_the_protocol_are_refused() {
    let unmasked = vec![0x81, 2, b'{', b'}'];
    let cases: [(&str, Vec<u8>); 15] = [
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
        ("125 in 16 bits", [&[0x81, 0xfe, 0, 125, 0, 0, 0, 0], &[b' '; 125][..]].concat()),
        ("65,535 in 64 bits", [&[0x82, 0xff], &65_535u64.to_be_bytes()[..], &[0; 4]].concat()),
        ("rsv1 on a continuation", [frame(false, 0, TEXT, b"x"), frame(true, 4, 0, b"y")].concat()),
        ("length of 64 bits", [&[0x81, 0xff], &(1u64 << 63).to_be_bytes()[..], &[0; 4]].concat()),
    ];
    for (name, bytes) in cases {
        assert!(matches!(all(&bytes, 1, false), Err(FrameError::Protocol(_))), "{name}");
    }
    assert!(matches!(all(&frame(true, 4, PING, b""), 9, true), Err(FrameError::Protocol(_))), "compressed ping");
    let continued = [frame(false, 4, TEXT, b"x"), frame(true, 4, 0, b"y")].concat();
    assert!(matches!(all(&continued, 9, true), Err(FrameError::Protocol(_))), "compressed continuation");
}

#[test]
fn a_length_is_checked_before_any_payload_is_kept() {
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

/// Returns the size of the decoder's buffers, in bytes.
fn held(decoder: &Decoder) -> usize {
    let message = decoder.message.as_ref().map_or(0, |message| message.data.capacity());
    decoder.input.capacity() + message + decoder.control.capacity()
}

/// Message with its fragments, whether it is compressed, and a ping in between.
#[derive(Clone, Debug)]
struct Sent {
    incoming: Incoming,
    cut: usize,
    compressed: bool,
    ping: Option<Vec<u8>>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let incoming = prop_oneof![
        ".{0,300}".prop_map(Incoming::Text),
        "(hello ){0,160}".prop_map(Incoming::Text),
        prop::collection::vec(any::<u8>(), 0..900).prop_map(Incoming::Binary),
    ];
    let ping = prop::option::of(prop::collection::vec(any::<u8>(), 0..=125));
    (incoming, 1usize..400, any::<bool>(), ping).prop_map(|(incoming, cut, compressed, ping)| Sent {
        incoming,
        cut,
        compressed,
        ping,
    })
}

/// Returns the frames of messages, and the decoded messages.
fn stream(messages: &[Sent]) -> (Vec<u8>, Vec<Incoming>) {
    let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
    for Sent { incoming, cut, compressed, ping } in messages {
        let (opcode, data) = match incoming {
            Incoming::Text(text) => (TEXT, text.as_bytes()),
            Incoming::Binary(data) => (BINARY, &data[..]),
            _ => unreachable!(),
        };
        let small = if *compressed { deflate::deflate(data) } else { None };
        let rsv = if small.is_some() { 4 } else { 0 };
        let data = small.as_deref().unwrap_or(data);
        let mut pieces: Vec<&[u8]> = data.chunks(*cut).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for (i, piece) in pieces.iter().enumerate() {
            let (first, last) = (i == 0, i + 1 == pieces.len());
            bytes.extend(frame(last, if first { rsv } else { 0 }, if first { opcode } else { 0 }, piece));
            if let Some(ping) = ping.as_ref().filter(|_| first) {
                bytes.extend(frame(true, 0, PING, ping));
            }
        }
        let ping = ping.clone().map(|ping| Incoming::Ping(ping.into()));
        match pieces.len() {
            1 => meaning.extend([Some(incoming.clone()), ping].into_iter().flatten()),
            _ => meaning.extend([ping, Some(incoming.clone())].into_iter().flatten()),
        }
    }
    (bytes, meaning)
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

    #[test]
    fn any_split_of_a_stream_of_frames_reads_the_same(
        messages in prop::collection::vec(sent(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let (bytes, meaning) = stream(&messages);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut decoder = Decoder::new(1_000, true);
        let mut found = Vec::new();
        for ends in cuts.windows(2) {
            decoder.feed(&bytes[ends[0]..ends[1]]);
            while let Some(incoming) = decoder.next_message().unwrap() {
                found.push(incoming);
            }
        }
        prop_assert_eq!(found, meaning);
        prop_assert_eq!(held(&decoder), 0, "nothing is kept between messages");
    }

    #[test]
    fn the_memory_is_bounded_by_a_message_and_the_last_piece(
        messages in prop::collection::vec(sent(), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        max in 1usize..1_200,
        step in 1usize..2_000,
    ) {
        let bytes = [stream(&messages).0, noise].concat();
        let mut decoder = Decoder::new(max, true);
        // A header is kept until it is complete, and a control frame beside the message that it interrupts.
        let (header, control) = (14, 256);
        for piece in bytes.chunks(step) {
            decoder.feed(piece);
            prop_assert!(held(&decoder) <= max + header + control + piece.len(), "{} with a piece", held(&decoder));
            while let Ok(Some(incoming)) = decoder.next_message() {
                if let Incoming::Text(text) = &incoming {
                    prop_assert!(text.len() <= max);
                }
                prop_assert!(held(&decoder) <= max + header + control + piece.len(), "{} within", held(&decoder));
            }
            prop_assert!(held(&decoder) <= max + header + control, "{} between", held(&decoder));
        }
    }
}
