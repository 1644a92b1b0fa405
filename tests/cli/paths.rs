//! Ways to a server: sub-paths, TLS, forward proxies, logins of proxies in front of it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::command::{Running, Server, command, run};

/// Folder of the certificates.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

/// Server that speaks TLS and forwards one request of each connection; returns its port.
fn tls(upstream: SocketAddr, certificate: &str) -> u16 {
    let file = |name: &str| Path::new(KEYS).join(name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = CertificateDer::pem_file_iter(file(certificate)).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            // A client that refuses the certificate ends the connection.
            thread::spawn(move || drop(forward(client, config, upstream)));
        }
    });
    port
}

fn forward(client: TcpStream, config: Arc<ServerConfig>, upstream: SocketAddr) -> std::io::Result<()> {
    let mut client = StreamOwned::new(ServerConnection::new(config).unwrap(), client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(head.as_bytes())?;
    std::io::copy(&mut server, &mut client)?;
    client.conn.send_close_notify();
    client.flush()
}

#[test]
fn a_sub_path_works_on_every_transport() {
    let server = Server::start_with(&[("TRICAST_BASE_PATH", "/tricast")]);
    let root = format!("http://{}/", server.program.url.split('/').nth(2).unwrap());
    let home = server.directory.path();
    for url in [format!("{root}tricast/"), format!("{root}tricast")] {
        for name in ["websocket", "sse", "long-poll"] {
            let pushed = run(&mut command(home, &url, &["push", "metrics.shop", "n=1"]));
            assert_eq!((pushed.code, pushed.err.as_str()), (0, ""));
            let arguments = ["watch", "metrics.shop", "-c", "1", "--transport", name];
            let mut watch = Running::start(&mut command(home, &url, &arguments));
            assert!(watch.line().ends_with("n=1"), "{url} {name}");
        }
    }
    for arguments in [&["ls"][..], &["push", "shop", "n=1"], &["watch", "shop"]] {
        let ended = run(&mut command(home, &root, arguments));
        let hint = format!("Use that URL: --url {root}tricast/\n");
        assert!(ended.code == 3 && ended.err.ends_with(&hint), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn certificates_are_those_of_the_system_and_of_the_flag() {
    let server = Server::start();
    let port = tls(server.program.address(), "server.pem");
    let url = format!("https://localhost:{port}/");
    let ls = |more: &[&str]| run(&mut command(server.directory.path(), &url, &[&["ls"], more].concat()));
    let refused = ls(&[]);
    assert!(
        refused.code == 3 && refused.err.contains("certificate") && refused.err.contains("--ca FILE"),
        "{refused:?}"
    );
    let ca = format!("{KEYS}/ca.pem");
    let accepted = ls(&["--ca", &ca]);
    assert!(accepted.code == 0 && accepted.out.contains("\nsystem "), "{accepted:?}");
}

/// Forward proxy that refuses every request with a status, and its URL.
fn refusing_proxy(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = client.read(&mut head);
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = client.write_all(response.as_bytes());
        }
    });
    proxy
}

#[test]
fn a_forward_proxy_that_does_not_connect_to_the_server_is_named() {
    let proxy = refusing_proxy("403 Forbidden");
    let home = tempfile::tempdir().unwrap();
    let ended = run(command(home.path(), "https://live.example/", &["ls"]).env("HTTPS_PROXY", &proxy));
    assert_eq!(ended.code, 3, "{ended:?}");
    for part in ["the proxy does not connect to live.example:443", "HTTPS_PROXY", "NO_PROXY"] {
        assert!(ended.err.contains(part), "{ended:?}");
    }
}

#[test]
fn a_forward_proxy_that_wants_a_login_is_named() {
    let proxy = refusing_proxy("407 Proxy Authentication Required");
    let home = tempfile::tempdir().unwrap();
    for url in ["http://live.example/", "https://live.example/"] {
        let mut command = command(home.path(), url, &["ls"]);
        let ended = run(command.env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy).env("http_proxy", &proxy));
        assert_eq!(ended.code, 3, "{url}: {ended:?}");
        for part in ["the proxy requires a user and a password", "HTTPS_PROXY=http://user:password@proxy", "NO_PROXY"] {
            assert!(ended.err.contains(part), "{url}: {ended:?}");
        }
    }
}

#[test]
fn a_login_in_the_url_is_for_a_proxy_and_leaves_the_token_its_place() {
    let environment =
        [("TRICAST_AUTH__MODE", "jwt"), ("TRICAST_AUTH__SECRET", "a secret of at least thirty-two bytes")];
    let server = Server::start_with(&environment);
    let token = run(server.command(&["token", "--user", "ada"]).envs(environment)).out;
    let url = server.program.url.replace("http://", "http://ada:p%40ss@");
    // A new server has no values in its first second.
    for arguments in [&["wait", "metrics.api"][..], &["get", "metrics.api"], &["watch", "metrics.api", "-c", "1"]] {
        let ended = run(command(server.directory.path(), &url, arguments).env("TRICAST_TOKEN", token.trim()));
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_renewed_token_in_a_file_is_used() {
    let environment = [
        ("TRICAST_AUTH__MODE", "jwt"),
        ("TRICAST_AUTH__SECRET", "a secret of at least thirty-two bytes"),
        ("TRICAST_AUTH__LEEWAY", "0s"),
    ];
    let server = Server::start_with(&environment);
    let token = |expires: &str| {
        let arguments = ["token", "--user", "ada", "--permissions", "read:metrics,write:metrics", "--expires", expires];
        run(server.command(&arguments).envs(environment)).out
    };
    let file = server.directory.path().join("token");
    std::fs::write(&file, token("2s")).unwrap();
    let path = file.to_str().unwrap();
    let mut watch = Running::start(&mut server.command(&["watch", "metrics.shop", "--token-file", path]));
    let push = |n: u32| {
        run(server.command(&["push", "metrics.shop", &format!("n={n}")]).env("TRICAST_TOKEN", token("1h").trim()))
    };
    assert_eq!(push(1).code, 0);
    assert!(watch.line().ends_with("n=1"));
    // Before the first one expires.
    let renewed = file.with_extension("new");
    std::fs::write(&renewed, token("1h")).unwrap();
    std::fs::rename(&renewed, &file).unwrap();
    assert_eq!(push(2).code, 0);
    assert!(watch.line().ends_with("n=2"));
    let old = run(server.command(&["ls", "--token-file", path]).env_remove("TRICAST_TOKEN"));
    assert_eq!(old.code, 0);
    thread::park_timeout(std::time::Duration::from_secs(3));
    assert_eq!(push(3).code, 0);
    assert!(watch.line().ends_with("n=3"));
}
