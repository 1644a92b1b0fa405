//! Keys behind a URL: asked at start, every now and then, and when a token names a key that is not known.

use std::{error::Error, time::Duration};

use parking_lot::Mutex;
use reqwest::{Client, Url, header, redirect::Policy};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::{
    error::KeyError,
    jwks::{self, Secrets},
    key::Key,
    key_set::{Keyring, Source},
};

/// Largest answer, bytes.
const MAX_BODY: usize = 1 << 20;

/// Longest time for a connection, and for a whole answer.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// How often things happen; shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Files are read again this often.
    pub(super) files: Duration,
    /// Between two fetches that unknown keys ask for: what a sender of invented names can cause.
    pub(super) between: Duration,
    /// How long one token waits for a fetch.
    pub(super) patience: Duration,
    /// After a fetch that failed; doubles with each, up to the second.
    pub(super) backoff: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { files: s(2), between: s(10), patience: s(2), backoff: (s(1), s(60)) }
    }
}

/// Fetches the keys of one URL. One task runs it; any number of callers wait for it.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    url: Url,
    refresh: Duration,
    pace: Pace,
    state: Mutex<State>,
    /// Fetch at once.
    wanted: Notify,
    /// Fetches that are over, whatever came of them.
    fetches: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// A fetch is going on, or asked for.
    under_way: bool,
    /// When the last began.
    began: Option<Instant>,
}

/// Reads `auth.jwks_url`: https, or http on this machine, without a user in it.
///
/// # Errors
/// What is wrong with it. Does not repeat it: it may hold a password.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("names a user: keys are public, and addresses end up in logs".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("has to be https: who can change the keys on their way can sign tokens".into()),
        _ => Err("has to be an https URL".into()),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Fetcher {
    pub(super) fn new(url: &str, refresh: Duration, pace: Pace) -> Result<Self, KeyError> {
        let url = check_url(url).map_err(KeyError::Url)?;
        let client = Client::builder()
            .user_agent(concat!("tricast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(TIMEOUTS.0)
            .timeout(TIMEOUTS.1);
        let client = match url.scheme() {
            "https" => client.https_only(true).redirect(Policy::limited(3)),
            // Nowhere but to this machine, and without its certificates, which a small container may not have.
            _ => client.no_proxy().redirect(Policy::none()).tls_certs_only([]),
        };
        let client = client.build().map_err(|error| KeyError::Url(causes(&error)))?;
        let state = Mutex::new(State { under_way: true, began: None });
        let (wanted, fetches) = (Notify::new(), watch::Sender::new(0));
        Ok(Self { client, url, refresh, pace, state, wanted, fetches })
    }

    /// Keeps `keyring` fresh for ever. A fetch that fails leaves the last keys where they are.
    pub(super) async fn run(&self, keyring: &Keyring) {
        let mut failures = 0;
        loop {
            *self.state.lock() = State { under_way: true, began: Some(Instant::now()) };
            match self.fetch().await {
                Ok(keys) => {
                    if failures > 0 {
                        tracing::info!(failures, "keys can be fetched again");
                    }
                    failures = 0;
                    if let Some(generation) = keyring.replace(Source::Url, keys) {
                        tracing::info!(generation, "keys of auth.jwks_url changed");
                    }
                }
                Err(problem) => {
                    // Once, not at each attempt.
                    if failures == 0 {
                        tracing::warn!(%problem, "keys of auth.jwks_url can't be fetched; the last ones stay in force");
                    }
                    failures += 1;
                }
            }
            self.state.lock().under_way = false;
            self.fetches.send_modify(|fetches| *fetches += 1);
            let pause = if failures == 0 { self.refresh } else { self.backoff(failures) };
            // Either way it is time.
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        let (first, longest) = self.pace.backoff;
        first.saturating_mul(1 << (failures - 1).min(16)).min(longest).min(self.refresh)
    }

    /// Waits until a fetch is over that began at most [`Pace::between`] ago, or that begins now; not longer than
    /// [`Pace::patience`].
    pub(super) async fn refetched(&self) {
        let mut fetches = self.fetches.subscribe();
        if self.ask() {
            // Too slow is as good as failed.
            let _ = timeout(self.pace.patience, fetches.changed()).await;
        }
    }

    /// Fetches at once, or again as soon as the fetch that is under way is over.
    pub(super) fn refresh_now(&self) {
        self.wanted.notify_one();
    }

    /// Whether there is a fetch to wait for.
    fn ask(&self) -> bool {
        let mut state = self.state.lock();
        if !state.under_way {
            if state.began.is_some_and(|began| began.elapsed() < self.pace.between) {
                return false;
            }
            *state = State { under_way: true, began: Some(Instant::now()) };
            self.wanted.notify_one();
        }
        true
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let failed = |error: reqwest::Error| causes(&error.without_url());
        let request =
            self.client.get(self.url.clone()).header(header::ACCEPT, "application/jwk-set+json, application/json");
        let mut answer = request.send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("answered more than 1 MiB".into());
            }
            body.extend_from_slice(&chunk);
        }
        jwks::parse(&body, Secrets::Refused).map_err(|problem| format!("what it answered {problem}"))
    }
}

/// An error and what caused it; reqwest's own text stops at "error sending request".
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
