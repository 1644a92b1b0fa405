//! Keys that change while the server runs: in a file, and behind a URL.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Longer than any test runs: waits end when their condition is met.
const LONG: Duration = Duration::from_secs(600);

/// Returns a pace without any fetch or read at intervals.
fn still() -> Pace {
    Pace { files: LONG, refresh: LONG, between: LONG, patience: LONG, backoff: (LONG, LONG) }
}

fn quick() -> Pace {
    Pace { files: 2 * MS, refresh: LONG, between: Duration::ZERO, patience: LONG, backoff: (2 * MS, 5 * MS) }
}

/// Runs `verifier` until the returned sender is dropped.
fn run(verifier: &Verifier) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(verifier.clone().run(stopped));
    stop
}

/// Key server with configurable responses.
#[derive(Clone)]
struct Issuer {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// Responses wait while it is false.
    open: watch::Sender<bool>,
}

impl Issuer {
    async fn start(keys: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
        let issuer = Self { url, answer: Arc::default(), asked: Arc::default(), open: watch::Sender::new(true) };
        issuer.serve(&jwks(keys));
        let server = issuer.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await?);
                    }
                    server.asked.fetch_add(1, Ordering::SeqCst);
                    let _ = server.open.subscribe().wait_for(|open| *open).await;
                    let answer = server.answer.lock().unwrap().clone();
                    stream.write_all(answer.as_bytes()).await?;
                    stream.shutdown().await
                });
            }
        });
        issuer
    }

    /// Responds with this set from now on.
    fn serve(&self, set: &str) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        *self.answer.lock().unwrap() = format!("{head}content-length: {}\r\n\r\n{set}", set.len());
    }

    /// Responds with this text from now on.
    fn fail(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.into();
    }

    fn fetches(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn config(&self) -> AuthConfig {
        AuthConfig { jwks_url: Some(self.url.as_str().into()), ..AuthConfig::default() }
    }

    fn verifier(&self, pace: Pace) -> Verifier {
        Verifier::open_at(pace, self.config(), clock().0).unwrap()
    }
}

#[tokio::test]
async fn a_changed_file_replaces_its_keys() {
    let (old, new) = (Pair::p256().named("old"), Pair::p256().named("new"));
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "keys.json", &jwks(&[&old]));
    let pem = write(directory.path(), "key.pem", &Pair::ed25519().public_pem);
    let config = AuthConfig { jwks_file: Some(file), public_key_file: Some(pem), ..AuthConfig::default() };
    let verifier = Verifier::open_at(quick(), config, clock().0).unwrap();
    let _running = run(&verifier);
    let (first, old, new) = (verifier.generation(), old.token(), (new.token(), new));
    assert!(verifier.verify(&old).is_ok());
    assert_eq!(verifier.verify(&new.0), Err(TokenError::UnknownKey));

    write(directory.path(), "keys.json", &jwks(&[&new.1]));
    until(|| verifier.verify(&new.0).is_ok()).await;
    assert_eq!(verifier.generation(), first + 1);
    assert_eq!(verifier.verify(&old), Err(TokenError::UnknownKey), "cached tokens are dropped with their key");

    write(directory.path(), "keys.json", "half a fi");
    read_again(&verifier, directory.path()).await;
    assert!(verifier.verify(&new.0).is_ok(), "the last keys of a broken file stay in force");
    std::fs::remove_file(directory.path().join("keys.json")).unwrap();
    read_again(&verifier, directory.path()).await;
    assert!(verifier.verify(&new.0).is_ok(), "and so do those of a missing file");
}

/// Waits until all files were read after this call. Files are read in rounds, so two observed changes of `key.pem` have a
/// whole round between them.
async fn read_again(verifier: &Verifier, directory: &Path) {
    for _ in 0..2 {
        let pair = Pair::ed25519();
        write(directory, "key.pem", &pair.public_pem);
        until(|| verifier.verify(&pair.token()).is_ok()).await;
    }
}

#[tokio::test]
async fn a_changed_pem_file_replaces_its_key() {
    let (old, new) = (Pair::ed25519(), Pair::p256());
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "key.pem", &old.public_pem);
    let config = AuthConfig { public_key_file: Some(file), ..AuthConfig::default() };
    let verifier = Verifier::open_at(quick(), config, clock().0).unwrap();
    let _running = run(&verifier);
    write(directory.path(), "key.pem", &new.public_pem);
    until(|| verifier.verify(&new.token()).is_ok()).await;
    assert_eq!(verifier.verify(&old.token()), Err(TokenError::BadAlgorithm));
}

#[tokio::test]
async fn the_url_is_fetched_at_start() {
    let pair = Pair::p256().named("2026");
    let issuer = Issuer::start(&[&pair]).await;
    let verifier = issuer.verifier(still());
    let error = verifier.verify(&pair.token()).unwrap_err();
    assert!(error == TokenError::KeysUnavailable && error.may_pass());
    let _running = run(&verifier);
    assert!(verifier.verify_fetching(&pair.token()).await.is_ok(), "waits for the first response");
    assert_eq!((issuer.fetches(), verifier.generation()), (1, 1));
}

#[tokio::test]
async fn an_unknown_key_causes_one_fetch_for_all_callers() {
    let (old, new) = (Pair::p256().named("old"), Pair::rsa().named("new"));
    let issuer = Issuer::start(&[&old]).await;
    let verifier = issuer.verifier(Pace { between: Duration::ZERO, ..still() });
    let _running = run(&verifier);
    assert!(verifier.verify_fetching(&old.token()).await.is_ok());

    issuer.serve(&jwks(&[&old, &new]));
    issuer.open.send_replace(false);
    let token = new.token();
    assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify_fetching(&token).await.map(drop) })
        })
        .collect();
    until(|| issuer.fetches() == 2).await;
    issuer.open.send_replace(true);
    for caller in waiting {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    assert_eq!((issuer.fetches(), verifier.generation()), (2, 2));
    assert!(verifier.verify(&old.token()).is_ok());
}

#[tokio::test]
async fn invented_keys_cause_no_repeated_fetches() {
    let pair = Pair::p256().named("2026");
    let issuer = Issuer::start(&[&pair]).await;
    let verifier = issuer.verifier(still());
    let _running = run(&verifier);
    assert!(verifier.verify_fetching(&pair.token()).await.is_ok());
    for i in 0..20 {
        let token = sign(json!({"kid": format!("invented-{i}")}), &ada(), &pair.private).unwrap();
        assert_eq!(verifier.verify_fetching(&token).await, Err(TokenError::UnknownKey));
    }
    let secret = sign(json!({"kid": "x"}), &ada(), &secret()).unwrap();
    assert_eq!(verifier.verify_fetching(&secret).await, Err(TokenError::BadAlgorithm), "no URL brings secrets");
    assert_eq!(issuer.fetches(), 1, "the first response is not old enough");
}

#[tokio::test]
async fn a_key_without_a_name_does_not_prevent_the_fetch_of_a_new_one() {
    let (fixed, new) = (Pair::p256(), Pair::p256().named("new"));
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[&Pair::p256().named("old")]).await;
    let file = write(directory.path(), "key.pem", &fixed.public_pem);
    let config = AuthConfig { public_key_file: Some(file), ..issuer.config() };
    let verifier = Verifier::open_at(Pace { between: Duration::ZERO, ..still() }, config, clock().0).unwrap();
    let _running = run(&verifier);
    until(|| issuer.fetches() == 1 && verifier.generation() == 2).await;
    issuer.serve(&jwks(&[&new]));
    assert!(verifier.verify(&fixed.token()).is_ok());
    assert!(verifier.verify_fetching(&new.token()).await.is_ok());
}

#[tokio::test]
async fn the_last_keys_stay_when_the_url_fails_or_returns_nonsense() {
    let (old, new) = (Pair::p256().named("old"), Pair::p256().named("new"));
    let issuer = Issuer::start(&[&old]).await;
    let verifier = Verifier::open_at(Pace { refresh: 2 * MS, ..quick() }, issuer.config(), clock().0).unwrap();
    let _running = run(&verifier);
    assert!(verifier.verify_fetching(&old.token()).await.is_ok());
    let oct = json!({"keys": [{"kty": "oct", "k": b64(SECRET)}]}).to_string();
    let set = jwks(&[&new]);
    let elsewhere = Issuer::start(&[&new]).await;
    for answer in [
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".into(),
        format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n\r\n{set}", set.len()),
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{oct}", oct.len()),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len() + 100),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}{set}", (2 << 20) + set.len(), " ".repeat(2 << 20)),
        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}".into(),
        "no HTTP at all".into(),
        String::new(),
    ] {
        issuer.fail(&answer);
        // The second fetch from here on certainly gets this response.
        let asked = issuer.fetches();
        until(|| issuer.fetches() > asked + 2).await;
        assert!(verifier.verify(&old.token()).is_ok(), "{answer:.60}");
        assert_eq!(verifier.generation(), 1, "{answer:.60}");
    }
    assert_eq!(elsewhere.fetches(), 0);
    issuer.serve(&jwks(&[&new]));
    until(|| verifier.verify(&new.token()).is_ok()).await;
    assert_eq!(verifier.verify(&old.token()), Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn the_same_keys_in_another_order_change_nothing() {
    let (a, b) = (Pair::p256().named("a"), Pair::ed25519().named("b"));
    let issuer = Issuer::start(&[&a, &b]).await;
    let verifier = Verifier::open_at(Pace { refresh: 2 * MS, ..quick() }, issuer.config(), clock().0).unwrap();
    let _running = run(&verifier);
    assert!(verifier.verify_fetching(&a.token()).await.is_ok());
    issuer.serve(&jwks(&[&b, &a]));
    let asked = issuer.fetches();
    until(|| issuer.fetches() > asked + 2).await;
    assert_eq!(verifier.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_url_delays_a_token_by_2_s_at_most() {
    let pair = Pair::p256().named("2026");
    // No task runs the verifier, so no response arrives. The paused clock advances to the next timeout.
    let config = AuthConfig { jwks_url: Some("http://127.0.0.1:9/".into()), ..AuthConfig::default() };
    let verifier = Verifier::open(config, clock().0).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(verifier.verify_fetching(&pair.token()).await, Err(TokenError::KeysUnavailable));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn the_verifier_stops_at_shutdown() {
    let issuer = Issuer::start(&[&Pair::p256()]).await;
    let verifier = issuer.verifier(still());
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(verifier.clone().run(stopped.clone()));
    stop.send_replace(true);
    running.await.unwrap();
    let (gone, stopped) = watch::channel(false);
    let running = tokio::spawn(verifier.run(stopped));
    drop(gone);
    running.await.unwrap();
}

#[test]
fn tokens_are_verified_while_keys_change() {
    use super::super::{
        key::of_pem,
        key_set::{Keyring, Source},
        token::Token,
    };
    let (stable, changing) = (Pair::ed25519(), [Pair::p256(), Pair::p256()]);
    let keyring = Keyring::new(false);
    keyring.replace(Source::Pem, of_pem(&stable.public_pem).unwrap());
    let token = stable.token();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200 {
                keyring.replace(Source::File, of_pem(&changing[round % 2].public_pem).unwrap()).unwrap();
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                let (token, mut last) = (Token::parse(&token).unwrap(), 0);
                while last < 201 {
                    let keys = keyring.current();
                    assert!(keys.generation >= last);
                    last = keys.generation;
                    assert_eq!(keys.verify(&token), Ok(()));
                }
            });
        }
        writer.join().unwrap();
    });
}
