//! Tests of the command line: start, configuration, exit codes.

use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// Timeout for everything that should happen at once.
const PATIENCE: Duration = Duration::from_secs(15);

fn tricast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Child process that is killed at the end of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and returns the URL of its dashboard.
fn serve() -> (Running, String) {
    let mut command = tricast();
    let child = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let dashboard = lines.by_ref().map(Result::unwrap).find(|line| line.contains("dashboard")).unwrap();
    let url = dashboard.split_whitespace().last().unwrap();
    (running, url.to_owned())
}

#[test]
fn the_server_prints_its_url_and_exits_with_0_at_sigterm() {
    let (mut running, url) = serve();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    assert!(std::net::TcpStream::connect(address).is_ok(), "{url}");
    Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_service_manager_is_notified_of_readiness_liveness_and_stopping() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("no notification arrived");
        String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
    };
    let mut command = tricast();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000");
    let child = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    let said: Vec<_> = (0..5).map(|_| hear()).collect();
    assert_eq!(said.iter().filter(|word| *word == "READY=1").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|word| *word == "WATCHDOG=1").count(), 4, "{said:?}");
    Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    while hear() != "STOPPING=1" {}
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn all_faults_of_the_settings_are_named_by_key_at_the_start() {
    let mut command = tricast();
    command.env("TRICAST_HEARTBEAT__INTERVAL", "2m").env("TRICAST_COLOUR", "red").args(["--listen", "nowhere"]);
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!((code, stdout.as_str()), (2, ""));
    for part in ["3 faults", "heartbeat.timeout: ", "colour (TRICAST_COLOUR): ", "listen (--listen): \"nowhere\""] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn check_config_and_print_config() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.toml");
    std::fs::write(&file, "currency = \"CHF\"\n[auth]\nsecret = \"hunter2\"\n").unwrap();
    let path = file.to_str().unwrap();
    let (code, _, stderr) = run(tricast().args(["check-config", "--config", path]));
    assert!(code == 2 && stderr.contains("auth.secret") && !stderr.contains("hunter2"), "{stderr}");
    let (code, stdout, _) = run(tricast().args(["print-config", "--config", path]));
    assert!(
        code == 2
            && stdout.contains("currency = \"CHF\"")
            && stdout.contains("[redacted]")
            && !stdout.contains("hunter2"),
        "{stdout}"
    );
    let logins = "allowed_origins = [\"https://ada:hunter2@shop.example\"]\nlisten = \"ada:hunter2@:80\"\n\
                  [smtp]\nhost = \"smtp://ada:hunter2@mail.example\"\nusername = \"hunter2\"\nfrom = \"ada:hunter2@mail.example\"\n";
    std::fs::write(&file, logins).unwrap();
    for command in ["check-config", "print-config"] {
        let (code, stdout, stderr) = run(tricast().args([command, "--config", path]));
        let all = stdout + &stderr;
        assert!(code == 2 && all.contains("[redacted]@shop.example") && !all.contains("hunter2"), "{all}");
    }
    std::fs::write(&file, "currency = \"CHF\"\n").unwrap();
    assert_eq!(run(tricast().args(["check-config", "--config", path])).0, 0);
    let (code, stdout, _) = run(tricast().env("TRICAST_CURRENCY", "USD").args(["print-config", "--config", path]));
    assert!(code == 0 && stdout.contains("currency = \"USD\""), "{stdout}");
}

#[test]
fn without_tokens_only_local_clients_are_served() {
    let (code, _, stderr) = run(tricast().args(["--listen", "0.0.0.0:0"]));
    assert!(code == 2 && stderr.contains("--allow-anonymous"), "{stderr}");
}

#[test]
fn help_and_version_are_printed() {
    let (code, stdout, _) = run(tricast().arg("--help"));
    assert_eq!(code, 0);
    for part in ["serve", "check-config", "print-config", "--listen", "--demo", "127.0.0.1:8080"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert_eq!(run(tricast().arg("--version")).1.trim(), format!("tricast {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(tricast().arg("--nonsense")).0, 2);
}

#[test]
fn a_number_out_of_range_is_refused_with_the_range() {
    for (flag, number, range) in
        [("--workers", "-1", "0..=1024"), ("--workers", "1025", "0..=1024"), ("--port", "-1", "0..=65535")]
    {
        let (code, _, stderr) = run(tricast().args([flag, number]));
        assert!(
            code == 2 && stderr.contains(flag) && stderr.contains(&format!("{number} is not in {range}")),
            "{stderr}"
        );
    }
    let (code, _, stderr) = run(tricast().env("TRICAST_WORKERS", "1025").arg("check-config"));
    assert!(code == 2 && stderr.contains("has to be between 0 and 1024"), "{stderr}");
}

#[test]
fn an_address_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, _, stderr) = run(tricast().args(["--listen", &taken.local_addr().unwrap().to_string()]));
    let address = taken.local_addr().unwrap();
    assert!(code == 1 && stderr.contains(&format!("can't listen on {address}: another program listens")), "{stderr}");
}

#[test]
fn a_listen_address_has_several_forms() {
    let serve = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = tricast();
        command.envs(variables.iter().copied()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running(command.spawn().unwrap());
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find(|line| line.contains("dashboard")).unwrap_or_else(|| panic!("{arguments:?} does not start"))
    };
    let links = [("TRICAST_PORT", "tcp://10.96.0.12:8080"), ("TRICAST_PORT_8080_TCP_PROTO", "tcp")];
    for (arguments, variables) in [
        (&["--listen", "localhost:0"][..], &[][..]),
        (&["serve", "--port", "0"], &[]),
        (&["start", "--port", "0"], &[]),
        (&["demo", "--port", "0"], &[]),
        (&["--port", "0"], &links),
    ] {
        let line = serve(arguments, variables);
        assert!(line.contains("http://127.0.0.1:"), "{arguments:?}: {line}");
    }
}

#[test]
fn a_setting_given_as_an_unknown_flag_is_named() {
    for (flag, variable) in [("--bus", "TRICAST_BUS"), ("--auth-mode", "TRICAST_AUTH__MODE")] {
        let (code, _, stderr) = run(tricast().args([flag, "x"]));
        assert!(code == 2 && stderr.contains(variable), "{stderr}");
    }
}

#[test]
fn a_file_where_a_socket_should_be_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.txt");
    std::fs::write(&file, "keep me").unwrap();
    let address = format!("unix:{}", file.display());
    let (code, _, stderr) = run(tricast().args(["--listen", &address]));
    assert!(code == 1 && stderr.contains(&address) && stderr.contains("is not a socket"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "keep me");
}

#[test]
fn the_url_of_the_webhook_is_not_printed() {
    let mut command = tricast();
    command.env("TRICAST_WEBHOOK__URL", "https://hooks.example/services/hunter2?key=hunter2");
    let (code, stdout, stderr) = run(command.env("TRICAST_WEBHOOK__SECRET", "hunter2").arg("print-config"));
    assert!(code == 0 && stdout.contains("[redacted]") && !(stdout + &stderr).contains("hunter2"));
    let mut wrong = tricast();
    wrong.env("TRICAST_WEBHOOK__URL", "ftp://hooks.example/hunter2");
    let (code, _, stderr) = run(wrong.arg("check-config"));
    assert!(code == 2 && stderr.contains("webhook.url") && !stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn token_prints_only_the_token() {
    let mut command = tricast();
    command.env("TRICAST_AUTH__MODE", "jwt").env("TRICAST_AUTH__SECRET", "x".repeat(32));
    let (code, stdout, stderr) = run(command.args(["token", "--user", "ada", "--tenant", "acme", "--admin"]));
    assert_eq!((code, stderr.as_str(), stdout.trim().split('.').count()), (0, "", 3), "{stdout}");
    assert!(stdout.ends_with('\n') && stdout.lines().count() == 1);
    let mut command = tricast();
    command.env("TRICAST_AUTH__MODE", "jwt").env("TRICAST_AUTH__SECRET", "x".repeat(32));
    let (code, bound, _) =
        run(command.args(["token", "--user", "ci", "--push", "metrics.ci.*", "--push", "deploys", "--read", "orders"]));
    let claims = bound.split('.').nth(1).and_then(|part| data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    assert_eq!(code, 0);
    assert_eq!(claims["channels"], serde_json::json!({"read": ["orders"], "push": ["metrics.ci.*", "deploys"]}));
    assert!(claims.get("permissions").is_none(), "{claims}");
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/rsa.pem");
    let (code, by_key, _) = run(tricast().args(["token", "--user", "ada", "--key", key, "--kid", "2026"]));
    assert!(code == 0 && by_key.trim().split('.').count() == 3);
}

#[test]
fn token_names_the_missing_argument() {
    for (arguments, part) in [
        (&["token", "--user", "ada"][..], "auth.secret"),
        (&["token"], "--user"),
        (&["token", "--user", "ada", "--permissions", "fly"], "read:metrics"),
        (&["token", "--user", "ada", "--tenant", "a/b"], "tenant"),
        (&["token", "--user", "ada", "--push", "metrics*"], "'*'"),
        (&["token", "--user", "ada", "--push", "a", "--admin"], "--admin"),
        (&["token", "--user", "ada", "--expires", "soon"], "1m"),
        (&["token", "--user", "ada", "--key", "/nonexistent.pem"], "/nonexistent.pem"),
    ] {
        let (code, stdout, stderr) = run(tricast().args(arguments));
        assert!(code == 2 && stdout.is_empty() && stderr.contains(part), "{arguments:?}: {stderr}");
    }
}

#[test]
fn check_config_reads_key_files() {
    let check = |file: &str| {
        let mut command = tricast();
        command.env("TRICAST_AUTH__MODE", "jwt").env("TRICAST_AUTH__PUBLIC_KEY_FILE", file);
        run(command.arg("check-config"))
    };
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");
    assert_eq!(check(&format!("{keys}/rsa.pub.pem")).0, 0);
    let (code, _, stderr) = check(&format!("{keys}/rsa.pem"));
    assert!(code == 2 && stderr.contains("auth.public_key_file") && stderr.contains("private key"), "{stderr}");
}

#[test]
fn the_settings_in_deploy_are_valid_with_a_key() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/tricast.toml");
    let (code, _, stderr) = run(tricast().args(["check-config", "--config", file]));
    assert!(code == 2 && stderr.contains("1 fault:") && stderr.contains("auth.mode"), "{stderr}");
    let mut command = tricast();
    command.env("TRICAST_AUTH__SECRET", "x".repeat(32));
    let (code, _, stderr) = run(command.args(["check-config", "--config", file]));
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn doctor_exits_with_0_without_faults_and_with_1_for_a_fault() {
    let (running, url) = serve();
    let (code, stdout, stderr) = run(tricast().args(["doctor", &url, "--quick"]));
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("WebSocket: works, ") && !stdout.contains("FAILED"), "{stdout}");
    let (code, stdout, _) = run(tricast().args(["doctor", &url, "--idle", "1", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &report["verdict"], &report["checks"][1]["id"]),
        (0, &"ok".into(), &"websocket".into()),
        "{stdout}"
    );
    drop(running);
    let (code, stdout, _) = run(tricast().args(["doctor", &url, "--quick"]));
    assert!(code == 1 && stdout.contains("connection refused"), "{stdout}");
}

#[test]
fn doctor_refuses_wrong_arguments() {
    for (arguments, part) in [
        (&["doctor"][..], "<URL>"),
        (&["doctor", "ftp://a"], "http://"),
        (&["doctor", "http://a/?token=x"], "query"),
        (&["doctor", "http://a", "--idle", "0"], "--idle"),
        (&["doctor", "http://a", "--idle", "9", "--quick"], "--quick"),
        (&["doctor", "http://a", "--quick", "--token", ""], "--token"),
        (&["doctor", "http://a", "--quick", "--token", "a\nb"], "token"),
    ] {
        let (code, stdout, stderr) = run(tricast().args(arguments));
        assert!(code == 2 && stdout.is_empty() && stderr.contains(part), "{arguments:?}: {code} {stderr}");
    }
}
