//! Each event once, whatever happens to the connection: restarts, cuts, proxies with faults.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    bad_proxy::{BadProxy, Mode},
    command::{Running, Server, command, run},
};

/// Starts `tail deploys` through a proxy.
fn tail(server: &Server, proxy: &BadProxy, more: &[&str]) -> Running {
    let arguments = [&["tail", "deploys", "--json", "-n", "1"], more].concat();
    Running::start(&mut command(server.directory.path(), &proxy.url, &arguments))
}

/// Returns the numbers of the next events, up to `last`.
fn numbers(tail: &mut Running, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let line = tail.json();
        if line["type"] == "event" {
            numbers.push(line["data"]["n"].as_u64().unwrap());
        }
    }
    numbers
}

#[test]
fn every_event_arrives_once_over_a_killed_and_restarted_server() {
    let mut server = Server::start();
    let proxy = BadProxy::to(server.program.address());
    server.push_event(0);
    let mut tail = tail(&server, &proxy, &[]);
    assert_eq!(tail.json()["data"]["n"], 0);
    let mut pushed = 0;
    for _ in 0..2 {
        let first = pushed + 1;
        for _ in 0..5 {
            pushed += 1;
            server.push_event(pushed);
        }
        assert_eq!(numbers(&mut tail, pushed), (first..=pushed).collect::<Vec<_>>());
        server.restart();
        // Of the new log, before anybody reads it.
        pushed += 1;
        server.push_event(pushed);
        proxy.set_upstream(server.program.address());
        tail.note("reconnecting");
        tail.note("connected again");
        assert_eq!(numbers(&mut tail, pushed), [pushed]);
    }
}

#[test]
fn every_event_arrives_once_over_cuts_and_changes_of_the_transport() {
    let server = Server::start();
    let proxy = BadProxy::to(server.program.address());
    server.push_event(0);
    let mut tail = tail(&server, &proxy, &["-q"]);
    assert_eq!(tail.json()["data"]["n"], 0);
    use Mode::{Pass, Refuse};
    let mut seen = Vec::new();
    for (round, modes) in
        [(Pass, Pass, Pass), (Refuse, Pass, Pass), (Refuse, Refuse, Pass), (Refuse, Pass, Pass), (Pass, Pass, Pass)]
            .into_iter()
            .enumerate()
    {
        let first = round as u64 * 10 + 1;
        proxy.set(modes.0, modes.1, modes.2);
        for n in first..first + 10 {
            if n == first + 3 {
                proxy.cut();
            }
            server.push_event(n);
        }
        seen.extend(numbers(&mut tail, first + 9));
    }
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    let [websocket, sse, poll] = proxy.seen();
    assert!(websocket > 1 && sse > 0 && poll > 0, "{websocket} {sse} {poll}");
}

#[test]
fn it_falls_back_to_the_transport_that_gets_through() {
    let server = Server::start();
    server.push_event(0);
    use Mode::{Pass, Refuse, Swallow};
    for (websocket, sse, note) in [
        (Refuse, Pass, "receiving by Server-Sent Events"),
        (Swallow, Pass, "receiving by Server-Sent Events"),
        (Refuse, Swallow, "receiving by long polling"),
        (Refuse, Refuse, "receiving by long polling"),
    ] {
        let proxy = BadProxy::to(server.program.address());
        proxy.set(websocket, sse, Pass);
        let mut tail = tail(&server, &proxy, &[]);
        assert_eq!(tail.json()["data"]["n"], 0);
        let line = tail.note("does not get through");
        assert!(line.contains(note) && line.contains("WebSocket"), "{line}");
        server.ok(&["push", "deploys", "--event", "released", "n=0"]);
        assert_eq!(tail.json()["data"]["n"], 0);
    }
}

#[test]
fn a_transport_whose_connections_are_short_again_and_again_is_replaced() {
    let server = Server::start();
    server.push_event(0);
    let proxy = BadProxy::to(server.program.address());
    let mut tail = tail(&server, &proxy, &[]);
    assert_eq!(tail.json()["data"]["n"], 0);
    // It has a connection once it prints a new one.
    server.push_event(1);
    assert_eq!(numbers(&mut tail, 1), [1]);
    for _ in 0..2 {
        proxy.cut();
        tail.note("reconnecting");
        tail.note("connected again by WebSocket");
    }
    proxy.cut();
    let line = tail.note("does not get through");
    assert!(line.contains("receiving by Server-Sent Events"), "{line}");
    server.push_event(2);
    assert_eq!(numbers(&mut tail, 2), [2]);
}

#[test]
fn one_transport_can_be_chosen() {
    let server = Server::start();
    server.ok(&["push", "metrics.shop", "n=1"]);
    for (name, index) in [("websocket", 0), ("sse", 1), ("long-poll", 2), ("poll", 2)] {
        let proxy = BadProxy::to(server.program.address());
        let arguments = ["watch", "metrics.shop", "--transport", name, "-c", "2"];
        let mut watch = Running::start(&mut command(server.directory.path(), &proxy.url, &arguments));
        let first = watch.line();
        let n = first.rsplit('=').next().unwrap().parse::<u64>().unwrap() + 1;
        server.ok(&["push", "metrics.shop", &format!("n={n}")]);
        assert!(watch.line().ends_with(&format!("n={n}")), "{name}");
        assert_eq!(watch.ended().code, 0);
        let seen = proxy.seen();
        let used: Vec<_> = (0..3).filter(|kind| seen[*kind] > 0).collect();
        assert_eq!(used, [index], "{name}");
    }
}

#[test]
fn the_end_of_a_channel_is_printed_on_every_transport() {
    let server = Server::start();
    for name in ["websocket", "sse", "long-poll"] {
        server.ok(&["push", "metrics.shop", "n=1"]);
        let mut watch = Running::start(&mut server.command(&["watch", "metrics.shop", "--transport", name, "--json"]));
        assert_eq!(watch.json()["type"], "value");
        let line = "{\"channel\": \"metrics.shop\", \"delete\": true}";
        let deleted = std::process::Command::new("curl")
            .args(["-s", "-d", line, &format!("{}/api/metrics", server.program.url)])
            .output()
            .unwrap();
        assert!(deleted.status.success());
        let ended = watch.json();
        assert_eq!((&ended["type"], &ended["reason"]), (&Value::from("ended"), &Value::from("deleted")), "{name}");
    }
}

#[test]
fn a_reader_that_stops_for_a_while_misses_no_event() {
    let server = Server::start();
    server.push_event(0);
    let mut tail = tail(&server, &BadProxy::to(server.program.address()), &["-q"]);
    assert_eq!(tail.json()["data"]["n"], 0);
    tail.signal("STOP");
    let lines: String = (1..=3_000).map(|n| format!("n={n} text={}\n", "x".repeat(200))).collect();
    let pushed =
        crate::command::run_with_input(&mut server.command(&["push", "deploys", "--event", "released", "-"]), &lines);
    assert_eq!((pushed.code, pushed.err.as_str()), (0, ""));
    tail.signal("CONT");
    assert_eq!(numbers(&mut tail, 3_000), (1..=3_000).collect::<Vec<_>>());
}

#[test]
fn a_pipe_survives_a_restart_of_the_server() {
    use std::io::Write;
    let mut server = Server::start();
    let proxy = BadProxy::to(server.program.address());
    let arguments = ["push", "metrics.sensor", "-", "--json"];
    let mut command = command(server.directory.path(), &proxy.url, &arguments);
    let mut push = Running::start(command.stdin(std::process::Stdio::piped()));
    writeln!(push.input(), "1").unwrap();
    assert_eq!(push.json()["accepted"], 1);
    server.program.kill();
    writeln!(push.input(), "2").unwrap();
    push.note("trying again");
    server.restart();
    proxy.set_upstream(server.program.address());
    push.note("connected again");
    drop(push.child.stdin.take());
    assert_eq!(push.ended().code, 0);
    assert_eq!(server.ok(&["get", "metrics.sensor", "-f", "value"]), "2\n");
}

#[test]
fn a_channel_without_permission_is_left_out_on_every_transport() {
    let secret = "a secret of at least thirty-two bytes";
    let environment = [("TRICAST_AUTH__MODE", "jwt"), ("TRICAST_AUTH__SECRET", secret)];
    let server = Server::start_with(&environment);
    let token = |permissions: &str| {
        let mut command = server.command(&["token", "--user", "ada", "--permissions", permissions]);
        run(command.envs(environment)).out.trim().to_owned()
    };
    let (reader, writer) = (token("read:metrics"), token("write:metrics"));
    let pushed = run(server.command(&["push", "metrics.shop", "n=1"]).env("TRICAST_TOKEN", &writer));
    assert_eq!(pushed.code, 0, "{pushed:?}");
    for name in ["websocket", "sse", "long-poll"] {
        let arguments = ["watch", "orders", "metrics.shop", "--transport", name];
        let mut watch = Running::start(server.command(&arguments).env("TRICAST_TOKEN", &reader));
        assert!(watch.line().ends_with("metrics.shop n=1"), "{name}");
        let note = watch.note("orders is left out");
        assert!(!note.contains(&reader));
        let denied = run(server.command(&["watch", "orders", "--transport", name]).env("TRICAST_TOKEN", &reader));
        assert!(denied.code == 4 && denied.err.contains("permi"), "{name}: {denied:?}");
    }
}

#[test]
fn of_many_watchers_all_see_the_same() {
    let server = Server::start();
    server.push_event(0);
    let proxy = BadProxy::to(server.program.address());
    let mut tails: Vec<_> =
        ["websocket", "sse", "long-poll"].map(|name| tail(&server, &proxy, &["--transport", name])).into();
    for n in 1..=20 {
        server.push_event(n);
    }
    let seen: BTreeSet<_> = tails
        .iter_mut()
        .map(|tail| {
            let mut events = Vec::new();
            loop {
                let mut event = tail.json();
                // The cursors of clients that received different states may differ.
                event["cursor"].take();
                events.push(event.to_string());
                if event["data"]["n"] == 20 {
                    return events;
                }
            }
        })
        .collect();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}
