//! The verifier of tokens.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    cache::fingerprint,
    claims::{Expected, Verified},
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

/// What tokens are verified with. At least one of the first four has to be there; all that are count.
#[derive(Clone)]
pub struct AuthConfig {
    /// Secret of HS256, at least 32 bytes.
    pub secret: Option<Vec<u8>>,
    /// Public keys in PEM: RSA, EC (P-256, P-384), Ed25519.
    pub public_key_file: Option<PathBuf>,
    /// A JWK Set (RFC 7517) in a file.
    pub jwks_file: Option<PathBuf>,
    /// A JWK Set behind a URL: https, or http on this machine.
    pub jwks_url: Option<String>,
    /// What `iss` has to be; `None`: not looked at.
    pub issuer: Option<String>,
    /// What `aud` has to name; `None`: not looked at.
    pub audience: Option<String>,
    /// How far the issuer's clock may differ; default 5 s, as machines that run NTP differ by far less.
    pub leeway: Duration,
    /// How often the URL is asked again; default 5 minutes.
    pub jwks_refresh: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            secret: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(5),
            jwks_refresh: Duration::from_secs(300),
        }
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthConfig")
    }
}

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
    /// Reads the keys of secret and files. A URL is first asked by [`Self::run`].
    ///
    /// # Errors
    /// [`KeyError`]: names the setting and the file, never what is in it.
    pub fn open(config: AuthConfig, clock: Clock) -> Result<Self, KeyError> {
        Self::open_at(Pace::default(), config, clock)
    }

    /// The same at another pace, for tests.
    pub(super) fn open_at(pace: Pace, config: AuthConfig, clock: Clock) -> Result<Self, KeyError> {
        crypto::install();
        let AuthConfig { secret, public_key_file, jwks_file, jwks_url, issuer, audience, leeway, jwks_refresh } =
            config;
        if secret.is_none() && public_key_file.is_none() && jwks_file.is_none() && jwks_url.is_none() {
            return Err(KeyError::NoKeys);
        }
        if jwks_url.is_some() && audience.is_none() {
            tracing::warn!("auth.audience is not set: tokens that the issuer made for any other program are accepted");
        }
        let fetcher = jwks_url.map(|url| Fetcher::new(&url, jwks_refresh, pace)).transpose()?;
        let keyring = Arc::new(Keyring::new(fetcher.is_some()));
        if let Some(secret) = secret {
            keyring.replace(Source::Secret, vec![Key::of_secret(&secret).ok_or(KeyError::ShortSecret)?]);
        }
        let files: Vec<KeyFile> = [(Source::Pem, public_key_file), (Source::File, jwks_file)]
            .into_iter()
            .filter_map(|(source, path)| Some(KeyFile { source, path: path? }))
            .collect();
        for file in &files {
            keyring.replace(file.source, file.read()?);
        }
        let expected = Expected { issuer, audience, leeway };
        Ok(Self { inner: Arc::new(Inner { keyring, files, fetcher, pace, expected, clock }) })
    }

    /// Keeps the keys as files and URL have them, until `shutdown` turns true or its sender is gone. What can't be read
    /// or fetched leaves the last keys in force; it is logged once, and tried again.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Inner { keyring, files, fetcher, pace, .. } = &*self.inner;
        let fetching = async {
            match fetcher {
                Some(fetcher) => fetcher.run(keyring).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Its sender is gone: the end as well.
            _ = shutdown.wait_for(|over| *over) => {}
            () = files::watch(files, pace.files, keyring) => {}
            () = fetching => {}
        }
    }

    /// Verifies a token with the keys that are there; no I/O. A token that was verified before costs a hash and a
    /// look-up; whether it has expired is checked each time.
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
        // Into the cache of the very keys it was verified with: if they were replaced just now, it goes with them.
        keys.cache.keep(fingerprint, verified);
        Ok(identity)
    }

    /// Like [`Self::verify`]; when the token names a key that is not known, or none have arrived yet, waits up to 2 s
    /// for the URL to be asked once more, and tries again. All callers together ask at most once in 10 s. [`Self::run`]
    /// has to run. Cancel safe.
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

    /// Has the URL asked for its keys now. Files are looked at every two seconds anyway.
    pub fn refresh(&self) {
        if let Some(fetcher) = &self.inner.fetcher {
            fetcher.refresh_now();
        }
    }

    /// Grows when the keys change: a stream that notes it can have its token verified anew.
    pub fn generation(&self) -> u64 {
        self.inner.keyring.current().generation
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    };

    use jiff::Timestamp;

    use super::*;
    use crate::{
        Permissions, TenantName,
        mint::{Claims, SigningKey, mint},
    };

    /// Keys are taken away between the look at a token and the note that it was good.
    #[test]
    fn a_token_is_remembered_with_the_keys_that_verified_it_only() {
        const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests only";
        let keyring = Arc::new(OnceLock::<Arc<Keyring>>::new());
        let armed = Arc::new(AtomicBool::new(false));
        let clock = {
            let (keyring, armed) = (Arc::clone(&keyring), Arc::clone(&armed));
            let looks = std::sync::atomic::AtomicU32::new(0);
            Clock::from_fn(move || {
                // The second look of a verification is after the signature and before the note.
                if armed.load(Ordering::SeqCst) && looks.fetch_add(1, Ordering::SeqCst) == 1 {
                    let other = Key::of_secret(b"another secret of more than 32 bytes, for tests").unwrap();
                    keyring.get().unwrap().replace(Source::Secret, vec![other]).unwrap();
                }
                Timestamp::from_second(1_800_000_000).unwrap()
            })
        };
        let config = AuthConfig { secret: Some(SECRET.to_vec()), ..AuthConfig::default() };
        let verifier = Verifier::open(config, clock).unwrap();
        assert!(keyring.set(Arc::clone(&verifier.inner.keyring)).is_ok());
        let claims = Claims {
            user: "ada".into(),
            tenant: TenantName::default_name(),
            permissions: Permissions::ALL,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            expires: Duration::from_secs(100),
            not_before: None,
            issuer: None,
            audience: None,
        };
        let token = mint(&claims, &SigningKey::of_secret(SECRET).unwrap()).unwrap();
        armed.store(true, Ordering::SeqCst);
        assert!(verifier.verify(&token).is_ok(), "when it was asked, the keys were there");
        assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::BadSignature);
    }
}
