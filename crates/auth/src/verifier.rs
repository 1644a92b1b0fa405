//! Verification of tokens: signature, claims, and a cache of the results.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::{
    cache::fingerprint,
    claims::{Expected, Verified},
    config::AuthConfig,
    crypto,
    error::{KeyError, TokenError},
    fetch::{Fetcher, Pace},
    files::{self, KeyFile},
    identity::Identity,
    key::Key,
    key_set::{Keyring, Source},
    token::Token,
};
use tricast_core::clock::Clock;

/// Verifies tokens. Cheap to clone; all clones share keys and cache.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    keyring: Arc<Keyring>,
    files: Vec<KeyFile>,
    fetcher: Option<Fetcher>,
    pace: Pace,
    expected: Expected,
    clock: Clock,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(generation {})", self.generation())
    }
}

impl Verifier {
    /// Reads the keys of the secret and the files; at least one source of keys is required, and all that are set apply. The
    /// URL is first fetched by [`Self::run`].
    ///
    /// # Errors
    /// [`KeyError`]: names the setting and the file, never their contents.
    pub fn open(config: AuthConfig, clock: Clock) -> Result<Self, KeyError> {
        Self::open_at(Pace::default(), config, clock)
    }

    /// Does the same as [`Self::open`] with other intervals, for tests.
    pub(super) fn open_at(pace: Pace, config: AuthConfig, clock: Clock) -> Result<Self, KeyError> {
        crypto::install();
        let AuthConfig { secret, public_key_file, jwks_file, jwks_url, issuer, audience, leeway, .. } = config;
        if secret.is_empty() && public_key_file.is_none() && jwks_file.is_none() && jwks_url.is_none() {
            return Err(KeyError::NoKeys);
        }
        if jwks_url.is_some() && audience.is_none() {
            tracing::warn!("auth.audience is not set: tokens that the issuer made for other programs are accepted");
        }
        let fetcher = jwks_url.map(|url| Fetcher::new(&url, pace)).transpose()?;
        let keyring = Arc::new(Keyring::new(fetcher.is_some()));
        if !secret.is_empty() {
            let key = Key::of_secret(secret.expose().as_bytes()).ok_or(KeyError::ShortSecret)?;
            keyring.replace(Source::Secret, vec![key]);
        }
        let files: Vec<KeyFile> = [(Source::Pem, public_key_file), (Source::File, jwks_file)]
            .into_iter()
            .filter_map(|(source, path)| Some(KeyFile { source, path: path? }))
            .collect();
        for file in &files {
            keyring.replace(file.source, file.read()?);
        }
        let expected = Expected { issuer, audience, leeway: leeway.0 };
        Ok(Self { inner: Arc::new(Inner { keyring, files, fetcher, pace, expected, clock }) })
    }

    /// Keeps the keys in line with files and URL, until `shutdown` turns true or its sender is dropped. If a source cannot be
    /// read, its last keys stay in force; the failure is logged once, and reading is retried.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Inner { keyring, files, fetcher, pace, .. } = &*self.inner;
        let fetching = async {
            match fetcher {
                Some(fetcher) => fetcher.run(keyring).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A dropped sender means shutdown too.
            _ = shutdown.wait_for(|over| *over) => {}
            () = files::watch(files, pace.files, keyring) => {}
            () = fetching => {}
        }
    }

    /// Verifies a token with the current keys; no I/O. A token that was verified before costs a hash and a look-up; its
    /// expiry is checked each time.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let Inner { keyring, expected, clock, .. } = &*self.inner;
        Token::check_length(token)?;
        let keys = keyring.current();
        let fingerprint = fingerprint(token);
        if let Some(known) = keys.cache.get(&fingerprint, clock.now()) {
            return known;
        }
        let token = Token::parse(token)?;
        keys.verify(&token)?;
        let verified = Verified::read(&token.payload()?, expected)?;
        let identity = verified.at(clock.now())?;
        // The entry goes into the cache of the keys that verified it: if they were replaced meanwhile, it is dropped with
        // them.
        keys.cache.keep(fingerprint, verified);
        Ok(identity)
    }

    /// Verifies a token like [`Self::verify`]. If it names an unknown key, or no keys were fetched yet, waits up to 2 s for
    /// another fetch and retries. All callers together cause at most one fetch in 10 s. [`Self::run`] has to be running.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify_fetching(&self, token: &str) -> Result<Identity, TokenError> {
        match (self.verify(token), &self.inner.fetcher) {
            (Err(TokenError::UnknownKey | TokenError::KeysUnavailable), Some(fetcher)) => {
                fetcher.refetched().await;
                self.verify(token)
            }
            (result, _) => result,
        }
    }

    /// Fetches the URL now. Files are read every two seconds anyway.
    pub fn refresh(&self) {
        if let Some(fetcher) = &self.inner.fetcher {
            fetcher.refresh_now();
        }
    }

    /// Returns a number that grows when the keys change. A stream that remembers it knows when to verify its token again.
    pub fn generation(&self) -> u64 {
        self.inner.keyring.current().generation
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use jiff::Timestamp;

    use super::*;
    use crate::{
        Permissions, TenantName,
        mint::{Claims, SigningKey, mint},
    };

    /// Removes the keys between the verification and the cache entry.
    #[test]
    fn a_token_is_remembered_with_the_keys_that_verified_it_only() {
        const SECRET: &str = "a secret of more than 32 bytes, for tests only";
        let keyring = Arc::new(OnceLock::<Arc<Keyring>>::new());
        let armed = Arc::new(AtomicBool::new(false));
        let clock = {
            let (keyring, armed) = (Arc::clone(&keyring), Arc::clone(&armed));
            let reads = std::sync::atomic::AtomicU32::new(0);
            Clock::from_fn(move || {
                // The second read of the clock is after the signature and before the cache entry.
                if armed.load(Ordering::SeqCst) && reads.fetch_add(1, Ordering::SeqCst) == 1 {
                    let other = Key::of_secret(b"another secret of more than 32 bytes, for tests").unwrap();
                    keyring.get().unwrap().replace(Source::Secret, vec![other]).unwrap();
                }
                Timestamp::from_second(1_800_000_000).unwrap()
            })
        };
        let config = AuthConfig { secret: SECRET.into(), ..AuthConfig::default() };
        let verifier = Verifier::open(config, clock).unwrap();
        assert!(keyring.set(Arc::clone(&verifier.inner.keyring)).is_ok());
        let claims = Claims {
            user: "ada".into(),
            tenant: TenantName::default_name(),
            permissions: Permissions::ALL,
            binding: None,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            expires: Duration::from_secs(100),
            not_before: None,
            issuer: None,
            audience: None,
        };
        let token = mint(&claims, &SigningKey::of_secret(SECRET.as_bytes()).unwrap()).unwrap();
        armed.store(true, Ordering::SeqCst);
        assert!(verifier.verify(&token).is_ok(), "the keys were in force at the call");
        assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::BadSignature);
    }
}
