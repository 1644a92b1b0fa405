//! Differential tests of the codecs against [socketioxide](https://github.com/Totodore/socketioxide), an independent
//! implementation of both protocols, on valid, almost valid and mutated packets with fixed seeds.
//!
//! Where the two differ, the [specification](https://github.com/socketio/socket.io-protocol) and its reference implementation
//! (`socket.io-parser` 4.2.7) decide. The other parser is known to be wrong in these cases:
//!
//! | packet | other parser | here and in the reference |
//! |---|---|---|
//! | `27 ["a"]`: white space before the JSON | loses the ID of the acknowledgement, or refuses `37 []` | ID 7 |
//! | `50-["a"]`: binary, without attachments | an event | refused |
//! | `299999999999999999999["a"]`: an ID beyond 2^53 | an event without ID, or with one that no client can represent | refused (the reference rounds it) |
//! | `2{}`, `2[]`, `2["connect"]`, `0[]`, `1[]`, JSON that is cut off | accepted: it does not parse the JSON | refused |
//! | `4{"message":"no"}` | refused: a client sends none | an error |
//! | `0/n…`: a namespace beyond 128 bytes | accepted | refused (the reference accepts it) |

use engineioxide_core::{Packet as TheirEnginePacket, ProtocolVersion};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Value;
use socketioxide_core::{
    Str, Value as TheirValue,
    packet::{Packet as TheirPacket, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;

use super::{
    engine::{self, EnginePacket},
    packet::{self, Content, Packet, PacketError},
};

/// Attachments that a packet may have here.
const MAX_ATTACHMENTS: usize = 10;

/// Result of the other parser: type, namespace, ID of the acknowledgement, number of attachments, text of the payload.
#[derive(Debug)]
struct Theirs {
    kind: char,
    namespace: String,
    ack: Option<u64>,
    attachments: usize,
    payload: String,
}

fn theirs(text: &str) -> Option<Theirs> {
    let state = ParserState::default();
    let config = ParseConfig { max_incoming_binaries: MAX_ATTACHMENTS, ..ParseConfig::default() };
    let read = CommonParser.decode_str(&config, &state, Str::copy_from_slice(text));
    let attachments = match read {
        Err(ParseError::NeedsMoreBinaryData) => state.incoming_binary_cnt.load(std::sync::atomic::Ordering::Relaxed),
        _ => 0,
    };
    let partial = || state.partial_bin_packet.lock().unwrap().take().map(|partial| partial.packet);
    let TheirPacket { inner, ns } = read.ok().or_else(partial)?;
    let text_of = |value: &TheirValue| value.as_str().map_or_else(String::new, |text| text.as_str().to_owned());
    let (kind, payload, ack) = match &inner {
        PacketData::Connect(auth) => ('0', auth.as_ref().map_or_else(String::new, text_of), None),
        PacketData::Disconnect => ('1', String::new(), None),
        PacketData::Event(event, ack) => ('2', text_of(event), *ack),
        PacketData::EventAck(arguments, ack) => ('3', text_of(arguments), Some(*ack)),
        PacketData::ConnectError(_) => return None,
        PacketData::BinaryEvent(event, ack) => ('5', text_of(event), *ack),
        PacketData::BinaryAck(arguments, ack) => ('6', text_of(arguments), Some(*ack)),
    };
    let ack = ack.and_then(|ack| u64::try_from(ack).ok());
    Some(Theirs { kind, namespace: ns.as_str().to_owned(), ack, attachments, payload })
}

/// Returns the JSON of a packet's content; `None` without one.
fn json_of(content: &Content) -> Option<Value> {
    match content {
        Content::Connect(auth) => auth.clone().map(Value::Object),
        Content::Disconnect => None,
        Content::Event(items) | Content::Ack(items) => Some(Value::Array(items.clone())),
        Content::ConnectError(error) => Some(error.clone()),
    }
}

/// Returns whether white space follows the ID of an acknowledgement.
fn has_space_after_ack(text: &str) -> bool {
    let rest = match text.starts_with(['5', '6']) {
        true => text.split_once('-').map_or("", |(_, rest)| rest),
        false => text.get(1..).unwrap_or_default(),
    };
    let rest = if rest.starts_with('/') { rest.split_once(',').map_or("", |(_, rest)| rest) } else { rest };
    let json = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    json.len() < rest.len() && json.starts_with([' ', '\t', '\r', '\n'])
}

/// Checks that both parsers agree on `text`, apart from the known faults of the other one: a packet that this one accepts has
/// the same content in the other one, and a packet that only the other one accepts has the reported fault.
fn compare(text: &str) -> Result<(), TestCaseError> {
    match (packet::parse(text, MAX_ATTACHMENTS), theirs(text)) {
        // The other parser refuses errors, because a client sends none.
        (Ok(Packet { content: Content::ConnectError(_), .. }), None) | (Err(_), None) => {}
        (Ok(Packet { content: Content::Ack(_), .. }), None) if has_space_after_ack(text) => {}
        (Ok(ours), None) => prop_assert!(false, "only we read {text:?}: {ours:?}"),
        (Ok(ours), Some(theirs)) => {
            let kind = match &ours.content {
                Content::Connect(_) => "0",
                Content::Disconnect => "1",
                Content::Event(_) => "25",
                Content::Ack(_) => "36",
                Content::ConnectError(_) => "4",
            };
            let kind = kind.contains(theirs.kind);
            prop_assert!(kind, "{text:?}: {ours:?} {theirs:?}");
            prop_assert_eq!(&ours.namespace, &theirs.namespace, "{:?}", text);
            prop_assert_eq!(ours.attachments, theirs.attachments, "{:?}", text);
            if let Content::Event(_) | Content::Ack(_) = ours.content
                && !has_space_after_ack(text)
            {
                prop_assert_eq!(ours.ack, theirs.ack, "{:?}", text);
            }
            let payload = (!theirs.payload.is_empty()).then(|| serde_json::from_str::<Value>(&theirs.payload).unwrap());
            prop_assert_eq!(json_of(&ours.content), payload, "{:?}", text);
        }
        (Err(error), Some(theirs)) => {
            let json = serde_json::from_str::<Value>(&theirs.payload).ok();
            let is_explained = match error {
                PacketError::Namespace => theirs.namespace.len() > 128,
                PacketError::Attachments => theirs.attachments == 0,
                PacketError::AckId => theirs.ack.is_none_or(|ack| ack >= 1 << 53),
                PacketError::Payload => match (theirs.kind, json) {
                    ('0', json) => !matches!(json, Some(Value::Object(_))),
                    ('1', _) => true,
                    ('2' | '5', Some(Value::Array(event))) => match event.first() {
                        Some(Value::String(name)) => packet::RESERVED.contains(&name.as_str()),
                        Some(Value::Number(_)) => false,
                        _ => true,
                    },
                    ('3' | '6', Some(Value::Array(_))) => false,
                    (_, _) => true,
                },
                PacketError::UnknownType => false,
            };
            prop_assert!(is_explained, "only they read {text:?}: {theirs:?}, {error}");
        }
    }
    Ok(())
}

/// Generates packets of all types, valid and almost valid ones.
fn packets() -> impl Strategy<Value = String> {
    let attachments = prop_oneof![3 => Just(String::new()), 2 => "[0-9]{1,2}-", 1 => Just("-".into())];
    let namespace = prop_oneof![
        3 => Just(String::new()),
        2 => "/[a-z]{0,6},",
        1 => "/[a-zé?=\"\\[]{0,4}",
        1 => "/n{126,130},",
    ];
    let ack = prop_oneof![3 => Just(String::new()), 2 => "[0-9]{1,4}", 1 => "[0-9]{15,20}"];
    let payload = prop_oneof![
        2 => Just(String::new()),
        4 => r#"\["[a-zA-Z_]{1,4}"(,([0-9]{1,3}|null|"é"|\{"a":1\}|\[\]|1e9|-0\.5)){0,3}\]"#,
        1 => r#"\["(connect|disconnect|connect_error|newListener)"\]"#,
        1 => r#"\[[0-9]{1,3}\]"#,
        1 => r#"\{("token":"[a-z]{0,3}")?\}"#,
        1 => r#"[\[\]{}",:a0-9]{0,8}"#,
    ];
    ("[0-7]", attachments, namespace, ack, payload).prop_map(|(kind, attachments, namespace, ack, payload)| {
        let attachments = if matches!(kind.as_str(), "5" | "6") { attachments } else { String::new() };
        format!("{kind}{attachments}{namespace}{ack}{payload}")
    })
}

/// Returns `text` with changes: characters are removed, replaced, added or repeated, or the end is cut off.
fn mutated(text: &str, changes: &[(Index, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, kind, char) in changes {
        if chars.is_empty() {
            chars.push(*char);
        }
        let at = at.index(chars.len());
        match kind % 5 {
            0 => drop(chars.remove(at)),
            1 => chars[at] = *char,
            2 => chars.insert(at, *char),
            3 => chars.insert(at, chars[at]),
            _ => chars.truncate(at),
        }
    }
    chars.into_iter().collect()
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8, char)>> {
    let char = prop_oneof![
        proptest::sample::select("0123456789-/,[]{}\"\\:\u{1e} aé".chars().collect::<Vec<_>>()),
        any::<char>()
    ];
    proptest::collection::vec((any::<Index>(), any::<u8>(), char), 0..5)
}

/// Checks that an accepted packet is parsed again from its own text, and then has the same text.
fn is_stable(text: &str) -> Result<(), TestCaseError> {
    if let Ok(read) = packet::parse(text, MAX_ATTACHMENTS) {
        let written = read.to_text();
        let again = packet::parse(&written, MAX_ATTACHMENTS);
        prop_assert_eq!(again.as_ref(), Ok(&read), "{:?} as {:?}", text, written);
        prop_assert_eq!(read.to_text(), written);
    }
    Ok(())
}

/// Runs a test with the same cases in every run: a difference that the list above does not have yet should be found where a parser
/// changes.
fn check<S: Strategy>(cases: u32, inputs: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(inputs, test).unwrap();
}

#[test]
fn packets_are_parsed_as_by_another_implementation() {
    check(4_000, &packets(), |text| compare(&text));
}

#[test]
fn mutated_packets_are_parsed_as_by_another_implementation() {
    check(20_000, &(packets(), changes()), |(text, changes)| compare(&mutated(&text, &changes)));
}

#[test]
fn a_packet_parsed_from_mutated_text_is_stable_when_it_is_written_again() {
    check(4_000, &(packets(), changes()), |(text, changes)| {
        is_stable(&text)?;
        is_stable(&mutated(&text, &changes))
    });
}

#[test]
fn arbitrary_bytes_of_a_payload_are_parsed_or_refused() {
    let start = prop_oneof![Just("42"), Just("4"), Just("40/"), Just("b"), Just("")];
    check(4_000, &(start, any::<Vec<u8>>()), |(start, bytes)| {
        let payload = [start.as_bytes(), &bytes].concat();
        let text = String::from_utf8_lossy(&payload);
        for packet in engine::parse_payload(&text, 100).unwrap_or_default() {
            if let EnginePacket::Message(text) = packet {
                is_stable(&text)?;
            }
        }
        Ok(())
    });
}

#[test]
fn engine_packets_are_parsed_as_by_another_implementation() {
    let texts = prop_oneof!["[0-8b][a-zA-Z0-9+/=]{0,9}", Just("2probe".into()), any::<String>()];
    let same = |text: String| {
        let theirs = TheirEnginePacket::parse(ProtocolVersion::V4, Str::copy_from_slice(&text));
        let alike = match (engine::parse(&text), theirs) {
            (Ok(EnginePacket::Close), Ok(TheirEnginePacket::Close))
            | (Ok(EnginePacket::Pong), Ok(TheirEnginePacket::Pong | TheirEnginePacket::PongUpgrade))
            | (Ok(EnginePacket::Upgrade), Ok(TheirEnginePacket::Upgrade))
            | (Ok(EnginePacket::Noop), Ok(TheirEnginePacket::Noop))
            | (Err(_), Err(_)) => true,
            (Ok(EnginePacket::Ping(text)), Ok(TheirEnginePacket::PingUpgrade)) => text == "probe",
            (Ok(EnginePacket::Ping(text)), Ok(TheirEnginePacket::Ping)) => text != "probe",
            (Ok(EnginePacket::Message(ours)), Ok(TheirEnginePacket::Message(theirs))) => ours == theirs.as_str(),
            (Ok(EnginePacket::Binary(ours)), Ok(TheirEnginePacket::Binary(theirs))) => ours == theirs,
            _ => false,
        };
        prop_assert!(alike, "{:?}", text);
        Ok(())
    };
    check(4_000, &texts, same);
}

#[test]
fn an_event_of_the_server_is_parsed_by_another_implementation() {
    let event = Content::Event(vec!["metric".into(), serde_json::json!({"x": "é"})]);
    let packet = Packet { namespace: "/tricast".into(), ack: Some(7), attachments: 2, content: event };
    let theirs = theirs(&packet.to_text()).unwrap();
    assert_eq!((theirs.kind, theirs.namespace.as_str(), theirs.ack, theirs.attachments), ('5', "/tricast", Some(7), 2));
    assert_eq!(theirs.payload, r#"["metric",{"x":"é"}]"#);
}
