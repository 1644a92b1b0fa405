//! Secrets and tokens appear in no log line, error or `Debug` output.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use tokio::sync::watch;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use super::*;

/// Writer that collects the log lines of a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_part_of_a_token_or_secret_is_logged_or_displayed() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_writer(lines.clone()));
    let _logging = tracing::subscriber::set_default(subscriber);
    // With a single dispatcher tracing asks only the thread that reaches a call site first, and another test could disable
    // the call site for good. With two it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::p256().named("2026");
    let file = write(directory.path(), "keys.json", &jwks(&[&pair]));
    let config = AuthConfig {
        jwks_file: Some(file),
        // Refuses connections.
        jwks_url: Some("http://127.0.0.1:9/?token=hunter2-address".into()),
        ..config()
    };
    let mut shown = format!("{config:?}");
    let pace = Pace {
        files: std::time::Duration::from_millis(1),
        patience: std::time::Duration::from_secs(60),
        ..Pace::default()
    };
    let verifier = Verifier::open_at(pace, config, clock().0).unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(verifier.clone().run(stopped));
    let good = sign(json!({}), &ada(), &secret()).unwrap();
    let broken = [good.clone() + "x", good.replace('.', "!"), pair.token() + "AAAA"];
    let tokens = [
        good,
        sign(json!({}), &but(json!({"exp": 1})), &secret()).unwrap(),
        sign(json!({}), &but(json!({"sub": "hunter2-user\n"})), &secret()).unwrap(),
        sign(json!({"kid": "hunter2-kid"}), &ada(), &pair.private).unwrap(),
    ];
    for token in tokens.iter().chain(&broken) {
        let result = verifier.verify_fetching(token).await;
        let error = result.as_ref().map_or_else(ToString::to_string, |_| String::new());
        shown += &format!("{result:?} {error} {verifier:?}");
    }
    write(directory.path(), "keys.json", "{\"keys\": [\"hunter2-file\"");
    let logged = || String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    until(|| logged().contains("auth.jwks_file") && logged().contains("cannot fetch")).await;
    shown += &format!("{:?} {:?}", secret(), KeyError::ShortSecret);
    let all = shown + &logged();
    let parts = tokens.iter().chain(&broken).flat_map(|token| token.split(['.', '!'])).filter(|part| part.len() > 8);
    for secret in parts.chain(["hunter2", std::str::from_utf8(SECRET).unwrap()]) {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}
