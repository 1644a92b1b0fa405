//! Each command by itself, and its output.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::command::{Ended, Running, Server, run};

#[test]
fn a_pushed_value_is_read_listed_and_watched() {
    let server = Server::start();
    let mut watch = Running::start(&mut server.command(&["watch", "checkout"]));
    assert_eq!(server.ok(&["push", "checkout", "latency=180", "carts=3", "state=ok"]), "");
    let line = watch.line();
    assert!(line.ends_with("Z checkout carts=3 latency=180 state=ok"), "{line}");
    assert_eq!(server.ok(&["get", "checkout"]), "carts    3\nlatency  180\nstate    ok\n");
    assert_eq!(server.ok(&["get", "checkout", "--field", "latency"]), "180\n");
    assert_eq!(server.ok(&["get", "checkout", "-f", "carts,latency", "--json"]), "{\"carts\":3,\"latency\":180}\n");
    let body: Value = serde_json::from_str(&server.ok(&["get", "checkout", "--json"])).unwrap();
    assert_eq!((&body["channel"], &body["data"]["carts"]), (&json!("checkout"), &json!(3)));
    let list = server.ok(&["ls"]);
    assert!(list.starts_with("CHANNEL ") && list.contains("\ncheckout ") && list.contains("\nsystem "), "{list}");
    let list = server.ok(&["ls", "checkout", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap()["channels"][0]["kind"], "state");

    server.ok(&["push", "checkout", "carts=4", "--merge"]);
    assert!(watch.line().ends_with("checkout carts=4 latency=180 state=ok"));
    server.ok(&["push", "checkout", "latency=0.5"]);
    assert!(watch.line().ends_with("checkout latency=0.5"));
}

#[test]
fn samples_become_percentiles() {
    let server = Server::start();
    server.ok(&["push", "checkout", "latency=12.5", "--timing", "--label", "region=eu"]);
    server.ok(&["push", "metrics.checkout", "latency=14", "--timing"]);
    assert_eq!(server.ok(&["get", "metrics.checkout", "-f", "latency.count"]), "2\n");
    server.ok(&["push", "checkout", "visitors=\"5\"", "--set"]);
    assert_eq!(server.ok(&["get", "metrics.checkout", "-f", "visitors.count"]), "1\n");
}

#[test]
fn a_channel_ends_after_its_time_to_live() {
    let server = Server::start();
    for (channel, arguments) in [
        ("metrics.shop", &["n=1"][..]),
        ("deploys", &["--event", "released", "n=1"]),
        ("metrics.checkout", &["latency=12.5", "--timing"]),
    ] {
        server.ok(&[&["push", channel], arguments, &["--ttl", "1s"]].concat());
        server.ok(&["get", channel]);
        loop {
            let Ended { code, err, .. } = run(&mut server.command(&["get", channel]));
            if code == 1 {
                assert!(err.contains("expired") || err.contains("not written"), "{channel}: {err}");
                break;
            }
            assert_eq!(code, 0, "{channel}: {err}");
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn tail_prints_the_last_events_and_those_that_follow() {
    let server = Server::start();
    for n in 1..=4 {
        server.push_event(n);
    }
    let mut tail = Running::start(&mut server.command(&["tail", "deploys", "-n", "2"]));
    assert!(tail.line().ends_with(" deploys released n=3"));
    assert!(tail.line().ends_with(" deploys released n=4"));
    server.push_event(5);
    assert!(tail.line().ends_with(" deploys released n=5"));
    let out = server.ok(&["tail", "deploys", "-n", "3", "-c", "3", "--json"]);
    let numbers: Vec<u64> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 4, 5]);
    let out = server.ok(&["get", "deploys"]);
    assert_eq!(out.lines().count(), 5, "{out}");
}

#[test]
fn a_cursor_continues_where_an_earlier_command_ended() {
    let server = Server::start();
    server.push_event(1);
    let first: Value = serde_json::from_str(&server.ok(&["tail", "deploys", "-c", "1", "--json"])).unwrap();
    server.push_event(2);
    server.push_event(3);
    let cursor = first["cursor"].as_str().unwrap();
    let out = server.ok(&["watch", "deploys", "--since", cursor, "-c", "2"]);
    let ends: Vec<_> = out.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(ends, ["n=2", "n=3"]);
}

#[test]
fn selected_fields_are_printed_as_values_and_csv() {
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "latency=1", "carts=1"]);
    let mut values = Running::start(&mut server.command(&["watch", "metrics.shop", "-f", "latency", "--values"]));
    let mut csv = Running::start(&mut server.command(&["watch", "metrics.shop", "-f", "latency,carts", "--csv"]));
    assert_eq!(values.line(), "1");
    assert_eq!(csv.line(), "time,channel,event,latency,carts");
    assert!(csv.line().ends_with(",metrics.shop,,1,1"));
    // Not of a selected field.
    server.ok(&["push", "metrics.shop", "latency=1", "carts=2"]);
    server.ok(&["push", "metrics.shop", "latency=2", "carts=2"]);
    assert_eq!(values.line(), "2");
    assert!(csv.line().ends_with(",metrics.shop,,1,2"));
    assert!(csv.line().ends_with(",metrics.shop,,2,2"));
}

#[test]
fn json_lines_are_read_by_another_program() {
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "name=a \"quoted\", text\u{9b}2J", "n=1"]);
    let mut watch = server.command(&["watch", "metrics.shop", "-c", "1", "--json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let script = "import json, sys\nfor line in sys.stdin:\n    v = json.loads(line)\n    print(v['type'], v['data']['n'], ascii(v['data']['name']))";
    let mut python = Command::new("python3");
    python.args(["-c", script]).stdin(watch.stdout.take().unwrap());
    let out = python.output().unwrap();
    assert!(watch.wait().unwrap().success());
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "value 1 'a \"quoted\", text\\x9b2J'\n");
}

#[test]
fn a_history_comes_before_the_present_values() {
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "n=1"]);
    // A point is recorded once its second is over.
    let history = || run(&mut server.command(&["watch", "metrics.shop", "--backfill", "1h", "-c", "1", "--json"])).out;
    server.ok(&["wait", "metrics.shop"]);
    let mut n = 2;
    let out = loop {
        server.ok(&["push", "metrics.shop", &format!("n={n}")]);
        let out = history();
        if out.contains("\"type\":\"history\"") {
            break out;
        }
        n += 1;
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    };
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["data"]["n"]["last"].is_number(), "{out}");
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["data"]["n"]), (&json!("value"), &json!(n)));
}

#[test]
fn the_output_ends_with_its_reader() {
    let server = Server::start();
    for n in 1..=3 {
        server.push_event(n);
    }
    let mut tail = server.command(&["tail", "deploys"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let head = Command::new("head").arg("-1").stdin(tail.stdout.take().unwrap()).output().unwrap();
    assert!(String::from_utf8(head.stdout).unwrap().ends_with("n=1\n"));
    // No event follows: the command notices by itself that nobody reads any more.
    let ended = tail.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn an_interrupt_ends_it_at_once_after_whole_lines() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    server.push_event(1);
    let mut tail = Running::start(&mut server.command(&["tail", "deploys"]));
    assert!(tail.line().ends_with("n=1"));
    tail.signal("INT");
    // A shell that runs it in a loop ends, too, because it ended by the signal.
    assert_eq!(tail.status().signal(), Some(2));
    let ended = tail.ended();
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
}

/// Runs a command in a terminal and returns what it prints there.
fn in_a_terminal(server: &Server, variables: &[(&str, &str)], arguments: &str) -> String {
    let mut script = Command::new("script");
    let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_tricast"));
    script
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .env_clear()
        .env("TERM", "xterm")
        .env("TRICAST_URL", &server.program.url);
    script.env("PATH", std::env::var_os("PATH").unwrap());
    script.envs(variables.iter().copied()).stdin(Stdio::null());
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

#[test]
fn a_board_without_a_terminal_is_plain_text() {
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "carts=3", "state=open"]);
    let out = server.ok(&["top", "metrics.shop"]);
    let lines: Vec<_> = out.lines().collect();
    assert!(lines.len() == 3 && !out.contains('\u{1b}'), "{out}");
    assert!(
        lines[0].starts_with("CHANNEL") && lines[1].starts_with("metrics.shop  carts ") && lines[2].contains(" open ")
    );
    let out = server.ok(&["top", "metrics.shop", "--chart", "--field", "carts"]);
    assert!(out.starts_with("metrics.shop carts  3\n") && out.contains('│'), "{out}");
    // A new table after each change.
    let mut watch = Running::start(&mut server.command(&["watch", "metrics.shop", "--table"]));
    assert!(watch.line().starts_with("CHANNEL"));
    server.ok(&["push", "metrics.shop", "carts=77"]);
    while !watch.line().contains(" 77 ") {}
}

#[test]
fn a_board_in_a_terminal_reads_keys_and_restores_it() {
    use std::io::{Read, Write};
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "carts=3"]);
    for (keys, code) in [(&["c", "/", "carts", "\r", "q"][..], 0), (&["\u{3}"], 0)] {
        let mut script = Command::new("script");
        let command = format!("stty cols 90 rows 20; {} top metrics.shop", env!("CARGO_BIN_EXE_tricast"));
        script
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env("TRICAST_URL", &server.program.url);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut screen = String::new();
        let mut until = |part: &str| {
            let mut buffer = [0; 4096];
            while !screen.contains(part) {
                let n = out.read(&mut buffer).unwrap();
                assert!(n > 0, "no {part:?} in {screen:?}");
                screen.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
            screen.clear();
        };
        until("carts");
        for key in keys {
            input.write_all(key.as_bytes()).unwrap();
            match *key {
                "c" => until("│"),
                "/" => until("Enter keeps it"),
                "carts" => until("filter: carts_"),
                _ => {}
            }
        }
        // The other screen is left, and the cursor is back.
        until("\u{1b}[?1049l");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn colours_are_for_terminals_unless_no_color_is_set() {
    let server = Server::start();
    server.push_event(1);
    let tail = "tail deploys -c 1";
    assert!(in_a_terminal(&server, &[], tail).contains("\u{1b}[36mdeploys\u{1b}[0m"));
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let plain = in_a_terminal(&server, &variables, tail);
        assert!(plain.contains(" deploys released n=1") && !plain.contains('\u{1b}'), "{plain:?}");
    }
    assert!(!server.ok(&["tail", "deploys", "-c", "1"]).contains('\u{1b}'));
}
