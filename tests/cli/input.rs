//! `tricast push -`: the forms of standard input.

use std::{io::Write, process::Stdio};

use serde_json::{Value, json};

use crate::command::{Running, Server, run, run_with_input};

#[test]
fn each_form_of_lines_is_pushed() {
    let server = Server::start();
    for (input, expected) in [
        ("1\n2.5\n", json!({"value": 2.5})),
        ("a=1 b=x\nname=\"a b\" n=2\n", json!({"n": 2, "name": "a b"})),
        ("{\"a\": {\"b\": 1}}\n", json!({"a": {"b": 1}})),
        ("temperature,room\n20.5,kitchen\n21,\"living, room\"\n", json!({"room": "living, room", "temperature": 21})),
        ("3", json!({"value": 3})),
    ] {
        let ended = run_with_input(&mut server.command(&["push", "metrics.sensor", "-"]), input);
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""), "{input}");
        let body: Value = serde_json::from_str(&server.ok(&["get", "metrics.sensor", "--json"])).unwrap();
        assert_eq!(body["data"], expected);
    }
}

#[test]
fn lines_are_pushed_as_they_come() {
    let server = Server::start();
    let mut push =
        Running::start(server.command(&["push", "metrics.sensor", "-", "--field", "celsius"]).stdin(Stdio::piped()));
    let mut watch = Running::start(&mut server.command(&["watch", "metrics.sensor", "-f", "celsius", "--values"]));
    for line in ["20", "21.5"] {
        writeln!(push.input(), "{line}").unwrap();
        assert_eq!(watch.line(), line);
    }
    drop(push.child.stdin.take());
    assert_eq!(push.ended().code, 0);
}

#[test]
fn every_line_is_an_event_or_a_sample() {
    let server = Server::start();
    let lines: String = (1..=2_500).map(|n| format!("{n}\n")).collect();
    let ended =
        run_with_input(&mut server.command(&["push", "visits", "--event", "seen", "-", "--field", "n"]), &lines);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let out = server.ok(&["tail", "visits", "-n", "2500", "-c", "2500", "--json"]);
    let numbers: Vec<u64> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=2_500).collect::<Vec<_>>());
    let ended = run_with_input(&mut server.command(&["push", "shop", "--counter", "-", "--field", "visits"]), &lines);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(server.ok(&["get", "metrics.shop", "-f", "visits.today.total"]), "3126250\n");
}

#[test]
fn a_wrong_line_is_named_and_the_others_are_pushed() {
    let server = Server::start();
    let ended = run_with_input(&mut server.command(&["push", "metrics.sensor", "-"]), "1\nwarm\n2,5\n3\n");
    assert_eq!(ended.code, 1);
    for part in [
        "line 2: warm is not a number",
        "line 3: 2,5 is not a number; decimals have a point",
        "2 lines were not pushed",
    ] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    assert_eq!(server.ok(&["get", "metrics.sensor", "-f", "value"]), "3\n");
    // Of the first line depends how the others are read.
    let ended = run_with_input(&mut server.command(&["push", "metrics.sensor", "-"]), "warm\n1\n");
    assert!(ended.code == 2 && ended.err.contains("line 1: "), "{ended:?}");
    // The server refuses a line.
    let ended = run_with_input(&mut server.command(&["push", "sensor", "-", "--event", "metric"]), "1\n2\n");
    assert!(ended.code == 1 && ended.err.contains("line 1: ") && ended.err.contains("line 2: "), "{ended:?}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let server = Server::start();
    for (arguments, part) in [
        (&["push", "shop"][..], "FIELD=VALUE"),
        (&["push", "shop", "latency"], "latency is not FIELD=VALUE"),
        (&["push", "shop", "=1"], "missing before ="),
        (&["push", "shop", "n=NaN"], "n: NaN is not a number"),
        (&["push", "shop", "n=fast", "--timing"], "a timing takes a number"),
        (&["push", "shop", "n=1", "--label", "a=b"], "--label is for samples"),
        (&["push", "shop", "n=1", "--ttl", "30"], "30s"),
        (&["push", "shop", "n=1", "--ttl", "500ms"], "1s to 366d"),
        (&["push", "shop", "n=1", "--ttl", "1y"], "30s"),
        (&["push", "shop", "n=1", "--merge", "--event", "x"], "--event"),
        (&["push", "shop/x", "n=1"], "letters"),
        (&["push", "metrics.*", "n=1"], "not a pattern"),
        (&["push", "shop", "-", "n=1"], "leave the others out"),
    ] {
        let ended = run(&mut server.command(arguments));
        assert!(ended.code == 2 && ended.out.is_empty() && ended.err.contains(part), "{arguments:?}: {ended:?}");
    }
    assert_eq!(server.ok(&["push", "metrics.sensor", "-5"]), "");
    assert_eq!(server.ok(&["get", "metrics.sensor"]), "value  -5\n");
}
