//! Mistakes of newcomers: each leads to a sentence that says what to do, and to its exit code.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    os::unix::fs::PermissionsExt,
    thread,
    time::Duration,
};

use crate::command::{Ended, Server, command, run, run_with_input};

/// Server that sends the same response to every request, and its URL.
fn canned(response: &'static str) -> String {
    answering(move |_| response.to_owned())
}

/// Server that sends the response to the head of each request, and its URL.
fn answering(response: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let n = client.read(&mut head).unwrap_or_default();
            let _ = client.write_all(response(&String::from_utf8_lossy(&head[..n])).as_bytes());
            // Closing with unread bytes would take the response away.
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
            while client.read(&mut head).is_ok_and(|n| n > 0) {}
        }
    });
    url
}

/// Runs each kind of command at a URL; all have to fail with the code and the parts.
fn all_fail(url: &str, code: i32, parts: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["push", "shop", "n=1"][..],
        &["get", "metrics.shop"],
        &["ls"],
        &["watch", "metrics.shop"],
        &["tail", "orders"],
        &["wait", "metrics.shop", "--timeout", "20s"],
    ] {
        if arguments[0] == "wait"
            && parts.iter().any(|part| ["refused", "502", "is not known"].iter().any(|word| part.contains(word)))
        {
            // It waits for the server.
            continue;
        }
        let ended = run(&mut command(home.path(), url, arguments));
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{arguments:?} at {url}: {}", ended.err);
        for part in parts {
            assert!(ended.err.contains(part), "{arguments:?}: no {part:?} in {}", ended.err);
        }
        assert!(ended.err.lines().count() <= 2, "{}", ended.err);
    }
}

#[test]
fn no_server() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    all_fail(
        &format!("http://{address}"),
        3,
        &[&format!("{address} refused the connection"), "Start one with: tricast"],
    );
    all_fail("http://no-such-host.invalid:8080", 3, &["the host no-such-host.invalid is not known", "spelling"]);
}

#[test]
fn a_wrong_url() {
    let page = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    all_fail(
        &canned(page),
        3,
        &["is not a tricast server: it returns 404, an HTML page by nginx", "sub-path included"],
    );
    let page = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    all_fail(&canned(page), 3, &["is not a tricast server", "200"]);
}

#[test]
fn a_channel_that_is_listed_and_has_no_value_yet() {
    let url = answering(|head| {
        let (status, body) = match head.starts_with("GET /api/channels ") {
            true => ("200 OK\r\nContent-Type: application/json", r#"{"channels":[{"channel":"metrics.shop"}]}"#),
            false => {
                let body =
                    r#"{"status":404,"code":"RESOURCE_NOT_FOUND","detail":"there is no channel \"metrics.shop\""}"#;
                ("404 Not Found\r\nContent-Type: application/problem+json", body)
            }
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    });
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut command(home.path(), &url, &["get", "metrics.shop"]));
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    let expected = "tricast: metrics.shop has no value yet\n  Wait for the first one: tricast wait metrics.shop\n";
    assert_eq!(ended.err, expected);
}

#[test]
fn http_and_https_confused() {
    let server = Server::start();
    all_fail(&server.program.url.replace("http:", "https:"), 3, &["does not use TLS", "Write http://"]);
    let alert = "\u{15}\u{3}\u{1}\0\u{2}\u{2}F";
    all_fail(&canned(alert), 3, &["expects TLS", "Write https://"]);
    let nginx = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
        The plain HTTP request was sent to HTTPS port, said nginx";
    all_fail(&canned(nginx), 3, &["expects TLS", "Write https://"]);
    let redirect =
        "HTTP/1.1 301 Moved\r\nLocation: https://live.example/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    all_fail(&canned(redirect), 3, &["redirects to https://live.example/"]);
}

#[test]
fn a_proxy_without_a_server_and_one_with_a_login() {
    let gateway = "HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    all_fail(&canned(gateway), 3, &["502 from nginx", "Is the server running"]);
    let login = "HTTP/1.1 401 Unauthorized\r\nServer: nginx\r\nContent-Type: text/html\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    all_fail(&canned(login), 3, &["401", "https://user:password@host/"]);
}

#[test]
fn a_token_that_is_missing_wrong_expired_or_without_permission() {
    let secret = "a secret of at least thirty-two bytes";
    let environment = [("TRICAST_AUTH__MODE", "jwt"), ("TRICAST_AUTH__SECRET", secret)];
    let server = Server::start_with(&environment);
    all_fail(&server.program.url, 4, &["TRICAST_TOKEN"]);
    let with = |token: &str, arguments: &[&str]| run(server.command(arguments).env("TRICAST_TOKEN", token));
    for arguments in [&["get", "metrics.api"][..], &["watch", "metrics.api"], &["push", "shop", "n=1"]] {
        let ended = with("e30.e30.e30", arguments);
        assert!(ended.code == 4 && ended.err.contains("--token-file") && !ended.err.contains("e30"), "{ended:?}");
    }
    let token = run(server.command(&["token", "--user", "ada"]).envs(environment)).out;
    let ended = with(&token, &["push", "shop", "n=1"]);
    assert!(ended.code == 4 && ended.err.contains("write:metrics"), "{ended:?}");
    let ended = with("two words", &["ls"]);
    assert!(
        ended.code == 2 && ended.err.contains("characters that no token has") && !ended.err.contains("two"),
        "{ended:?}"
    );
}

#[test]
fn a_clock_that_is_wrong() {
    let refusal = "HTTP/1.1 401 Unauthorized\r\nDate: Tue, 01 Dec 2020 15:50:00 GMT\r\nContent-Type: application/problem+json\r\n\
        Connection: close\r\n\r\n\
        {\"status\": 401, \"code\": \"UNAUTHORIZED\", \"detail\": \"the token has expired\"}";
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut command(home.path(), &canned(refusal), &["ls"]));
    assert!(ended.code == 4 && ended.err.contains("This computer's clock is"), "{ended:?}");
    assert!(ended.err.contains(" days ahead of the server's"), "{ended:?}");
}

#[test]
fn a_channel_of_another_kind_a_built_in_one_and_a_missing_one() {
    let server = Server::start();
    server.push_event(1);
    server.ok(&["push", "metrics.shop", "latency=1"]);
    for (arguments, code, part) in [
        (&["push", "deploys", "n=1"][..], 5, "event"),
        (&["push", "metrics.api", "n=1"], 4, "metrics.api"),
        (&["get", "metrics.shap"], 1, "Did you mean metrics.shop?"),
        (&["get", "shop"], 1, "Did you mean metrics.shop?"),
        (&["get", "zzz"], 1, "tricast ls"),
        (&["get", "metrics.shop", "-f", "lat"], 1, "metrics.shop has no field lat: it has latency"),
        (&["get", "metrics.*"], 2, "tricast watch"),
        (&["tail", "metrics.shop"], 2, "use tricast watch metrics.shop"),
        (&["watch", "metrics.shop", "--since", "x"], 2, "cursor"),
    ] {
        let ended = run(&mut server.command(arguments));
        assert!(ended.code == code && ended.err.contains(part), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn urls_and_files_that_can_not_be_used() {
    let home = tempfile::tempdir().unwrap();
    let at = |url: &str, more: &[&str]| run(&mut command(home.path(), url, &[&["ls"], more].concat()));
    for (url, more, part) in [
        ("ws://a/", &[][..], "http://"),
        ("http://a/?token=x", &[], "no query"),
        ("http://a/", &["--token-file", "/nonexistent"], "/nonexistent"),
        ("https://a/", &["--ca", "/nonexistent"], "/nonexistent"),
        ("https://a/", &["--ca", "/dev/null"], "has none"),
    ] {
        let Ended { code, err, .. } = at(url, more);
        assert!(code == 2 && err.contains(part), "{url} {more:?}: {err}");
    }
}

#[test]
fn a_server_can_be_started_beside_the_variables_of_the_commands() {
    let variables =
        [("TRICAST_URL", "http://a/"), ("TRICAST_TOKEN", "x"), ("TRICAST_CONTEXT", "y"), ("TRICAST_CA", "/z")];
    let server = Server::start_with(&variables);
    assert!(server.ok(&["ls"]).contains("\nsystem "));
}

#[test]
fn contexts_have_urls_and_tokens_that_nobody_else_reads() {
    let server = Server::start();
    let home = server.directory.path();
    let tricast = |arguments: &[&str]| {
        let mut command = command(home, "", arguments);
        command.env_remove("TRICAST_URL");
        command
    };
    let ok = |arguments: &[&str]| {
        let ended = run(&mut tricast(arguments));
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}");
        ended.out
    };
    assert!(ok(&["context"]).contains("tricast context set NAME --url URL"));
    ok(&["context", "set", "here", "--url", &server.program.url]);
    let set = run_with_input(
        &mut tricast(&["context", "set", "live", "--url", "https://live.example/x", "--token-stdin"]),
        "hunter2\n",
    );
    assert_eq!((set.code, set.err.as_str()), (0, ""));
    let list = ok(&["context"]);
    assert_eq!(list, format!("* here  {}/\n  live  https://live.example/x/  with a token\n", server.program.url));
    let file = home.join(".config/tricast/contexts.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("hunter2"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The current one.
    assert!(ok(&["ls"]).contains("\nsystem "));
    let ended = run(&mut tricast(&["ls", "--context", "nowhere"]));
    assert!(ended.code == 2 && ended.err.contains("there are here, live"), "{ended:?}");
    ok(&["context", "use", "live"]);
    ok(&["context", "remove", "here"]);
    assert_eq!(ok(&["context"]), "* live  https://live.example/x/  with a token\n");
    // A token that others can read is not used.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = run(&mut tricast(&["ls"]));
    assert!(ended.code == 2 && ended.err.contains("chmod 600") && !ended.err.contains("hunter2"), "{ended:?}");
    // Neither is the line of a fault printed.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, text.replace("token = ", "token ")).unwrap();
    let ended = run(&mut tricast(&["ls"]));
    assert!(ended.code == 2 && ended.err.contains(", line ") && !ended.err.contains("hunter2"), "{ended:?}");
}
