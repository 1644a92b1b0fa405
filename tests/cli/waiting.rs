//! `tricast wait`: conditions, exit codes, servers that come later.

use crate::{
    bad_proxy::BadProxy,
    command::{Running, Server, command, run},
    program::Program,
};

#[test]
fn it_ends_with_0_once_the_condition_is_met() {
    let server = Server::start();
    server.ok(&["push", "metrics.deploy", "ready=1", "state=rolling"]);
    let mut wait =
        Running::start(&mut server.command(&["wait", "metrics.deploy", "ready == 3 && state == done", "--json"]));
    server.ok(&["push", "metrics.deploy", "ready=3", "state=rolling"]);
    assert!(wait.child.try_wait().unwrap().is_none());
    server.ok(&["push", "metrics.deploy", "ready=3", "state=done"]);
    assert_eq!(wait.json()["data"]["ready"], 3);
    assert_eq!(wait.ended().code, 0);
    // It is met already.
    assert_eq!(server.ok(&["wait", "metrics.deploy", "ready >= 3", "--timeout", "1m"]), "");
}

#[test]
fn it_ends_with_1_and_the_last_value_after_the_timeout() {
    let server = Server::start();
    server.ok(&["push", "metrics.deploy", "ready=2"]);
    let ended = run(&mut server.command(&["wait", "metrics.deploy", "ready == 3", "--timeout", "1s"]));
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert_eq!(ended.err, "tricast: metrics.deploy: the condition was not met within 1s; ready is 2\n");
    let ended = run(&mut server.command(&["wait", "nothing.here", "--timeout", "1s"]));
    assert_eq!((ended.code, ended.err.as_str()), (1, "tricast: nothing.here: nothing within 1s\n"));
    let ended = run(&mut server.command(&["wait", "metrics.deploy", "ready == three", "--timeout", "1s"]));
    assert!(ended.code == 1 && ended.err.contains("ready is a number (2), and the condition compares it with a text"));
}

#[test]
fn wrong_usage_ends_with_2() {
    let server = Server::start();
    for (arguments, part) in [
        (&["wait", "metrics.deploy", "ready =="][..], "a value is missing"),
        (&["wait", "metrics.deploy", "ready == 1", "--timeout", "soon"], "5s"),
        (&["wait", "a b"], "letters"),
    ] {
        let ended = run(&mut server.command(arguments));
        assert!(ended.code == 2 && ended.err.contains(part), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn an_event_is_waited_for() {
    let server = Server::start();
    server.push_event(1);
    let mut wait = Running::start(&mut server.command(&["wait", "deploys", "n >= 2", "--event", "released", "--json"]));
    let mut n = 2;
    // Whether it is connected already can't be seen from outside.
    while wait.child.try_wait().unwrap().is_none() {
        server.ok(&["push", "deploys", "--event", "other", "n=100"]);
        server.push_event(n);
        n += 1;
    }
    let event = wait.json();
    assert_eq!(event["event"], "released");
    assert_eq!(wait.ended().code, 0);
    // Events since a cursor count, earlier ones don't.
    let pushed = server.ok(&["push", "deploys", "--event", "released", "n=1000", "--json"]);
    let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    let since = event["cursor"].as_str().unwrap();
    assert_eq!(server.ok(&["wait", "deploys", "n == 1000", "--since", since, "--timeout", "1m"]), "");
    let since = pushed["cursor"].as_str().unwrap();
    let ended = run(&mut server.command(&["wait", "deploys", "n == 1000", "--since", since, "--timeout", "1s"]));
    assert_eq!(ended.code, 1, "{ended:?}");
}

#[test]
fn a_server_that_starts_later_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = BadProxy::to(nobody);
    let mut wait = Running::start(&mut command(directory.path(), &proxy.url, &["wait", "metrics.deploy", "ready"]));
    wait.note("reconnecting");
    let program = Program::start(directory.path());
    proxy.set_upstream(program.address());
    let pushed = run(&mut command(directory.path(), &program.url, &["push", "metrics.deploy", "ready=true"]));
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(wait.ended().code, 0);
}
