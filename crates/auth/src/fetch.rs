//! Keys of a URL: fetched at start, at intervals, and when a token names an unknown key.

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
use tricast_core::settings::is_loopback;

/// Largest response body, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Timeouts of connecting and of a whole request.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Intervals and timeouts; shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Interval between two reads of the key files.
    pub(super) files: Duration,
    /// Interval between two fetches of the URL.
    pub(super) refresh: Duration,
    /// Minimum time between two fetches that tokens with unknown keys cause, so that invented key names cannot flood the
    /// issuer.
    pub(super) between: Duration,
    /// Longest time that a token waits for a fetch.
    pub(super) patience: Duration,
    /// Pauses after failed fetches: the first one, and the limit up to which it doubles.
    pub(super) backoff: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { files: s(2), refresh: s(300), between: s(10), patience: s(2), backoff: (s(1), s(60)) }
    }
}

/// Fetches the keys of one URL. One task runs it; any number of callers can wait for a fetch.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    url: Url,
    pace: Pace,
    state: Mutex<State>,
    /// Requests a fetch without waiting for the next interval.
    wanted: Notify,
    /// Number of finished fetches, successful or not.
    fetches: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// A fetch is running or requested.
    under_way: bool,
    /// Start of the last fetch.
    started_at: Option<Instant>,
}

/// Parses `auth.jwks_url`: https, or http on this machine, without user information.
///
/// # Errors
/// Description of the fault. It does not repeat the URL, which may contain a password.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains user information, which is not needed for public keys and would appear in logs".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        "http" => Err("has to be https: over http an attacker could replace the keys and sign tokens".into()),
        _ => Err("has to be an https URL".into()),
    }
}

impl Fetcher {
    pub(super) fn new(url: &str, pace: Pace) -> Result<Self, KeyError> {
        let url = check_url(url).map_err(KeyError::Url)?;
        let client = Client::builder()
            .user_agent(concat!("tricast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(TIMEOUTS.0)
            .timeout(TIMEOUTS.1);
        let client = match url.scheme() {
            "https" => client.https_only(true).redirect(Policy::limited(3)),
            // Connects to this machine only and needs no certificates, which a small container may not have.
            _ => client.no_proxy().redirect(Policy::none()).tls_certs_only([]),
        };
        let client = client.build().map_err(|error| KeyError::Url(causes(&error)))?;
        let state = Mutex::new(State { under_way: true, started_at: None });
        let (wanted, fetches) = (Notify::new(), watch::Sender::new(0));
        Ok(Self { client, url, pace, state, wanted, fetches })
    }

    /// Keeps `keyring` up to date until it is cancelled. After a failed fetch the last keys stay in force.
    pub(super) async fn run(&self, keyring: &Keyring) {
        let mut failures = 0;
        loop {
            *self.state.lock() = State { under_way: true, started_at: Some(Instant::now()) };
            match self.fetch().await {
                Ok(keys) => {
                    if failures > 0 {
                        tracing::info!(failures, "fetching the keys of auth.jwks_url works again");
                    }
                    failures = 0;
                    if let Some(generation) = keyring.replace(Source::Url, keys) {
                        tracing::info!(generation, "keys of auth.jwks_url changed");
                    }
                }
                Err(problem) => {
                    // Logged for the first failure only.
                    if failures == 0 {
                        tracing::warn!(%problem, "cannot fetch the keys of auth.jwks_url; the last keys stay in force");
                    }
                    failures += 1;
                }
            }
            self.state.lock().under_way = false;
            self.fetches.send_modify(|fetches| *fetches += 1);
            let pause = if failures == 0 { self.pace.refresh } else { self.backoff(failures) };
            // A timeout and a request have the same result: the next fetch.
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        let (first, longest) = self.pace.backoff;
        first.saturating_mul(1 << (failures - 1).min(16)).min(longest).min(self.pace.refresh)
    }

    /// Waits for the end of a fetch that started at most [`Pace::between`] ago, or starts one. Waits no longer than
    /// [`Pace::patience`].
    pub(super) async fn refetched(&self) {
        let mut fetches = self.fetches.subscribe();
        if self.request_fetch() {
            // A timeout is handled like a failed fetch.
            let _ = timeout(self.pace.patience, fetches.changed()).await;
        }
    }

    /// Fetches now, or again as soon as the running fetch is over.
    pub(super) fn refresh_now(&self) {
        self.wanted.notify_one();
    }

    /// Requests a fetch if the last one is old enough. Returns whether there is a fetch to wait for.
    fn request_fetch(&self) -> bool {
        let mut state = self.state.lock();
        if !state.under_way {
            if state.started_at.is_some_and(|started_at| started_at.elapsed() < self.pace.between) {
                return false;
            }
            *state = State { under_way: true, started_at: Some(Instant::now()) };
            self.wanted.notify_one();
        }
        true
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let failed = |error: reqwest::Error| causes(&error.without_url());
        let request =
            self.client.get(self.url.clone()).header(header::ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("the response is larger than 1 MiB".into());
            }
            body.extend_from_slice(&chunk);
        }
        jwks::parse(&body, Secrets::Refused).map_err(|problem| format!("the response {problem}"))
    }
}

/// Returns the texts of an error and of its causes; reqwest's own text ends at "error sending request".
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
