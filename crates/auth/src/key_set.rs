//! Keys in force: one set, merged from the last keys of each source.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::AlgorithmFamily;
use parking_lot::Mutex;

use super::{cache::Cache, error::TokenError, key::Key, token::Token};

/// Most signature checks for a token without a `kid`: the limit of the work that one bad token can cause.
const MAX_TRIES: usize = 8;

/// Setting that a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Secret of HMAC keys in `auth.secret`.
    Secret,
    /// Public key in the PEM file `auth.public_key_file`.
    Pem,
    /// JSON Web Key Set (RFC 7517) in the file `auth.jwks_file`.
    File,
    /// JSON Web Key Set (RFC 7517) at `auth.jwks_url`.
    Url,
}

/// State of the keys of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Url {
    /// No URL is configured.
    None,
    /// The first fetch is not finished.
    Awaited,
    /// The set contains the fetched keys; the URL may have newer ones.
    Fetched,
}

/// Keys by source, and the merged set. Readers never wait for a writer.
#[derive(Debug)]
pub(super) struct Keyring {
    sources: Mutex<Vec<(Source, Vec<Arc<Key>>)>>,
    /// Set if a URL is configured.
    has_url: bool,
    current: ArcSwap<KeySet>,
}

impl Keyring {
    /// Creates an empty ring of generation 0.
    pub(super) fn new(has_url: bool) -> Self {
        let url = if has_url { Url::Awaited } else { Url::None };
        let empty = KeySet { generation: 0, cache: Cache::default(), keys: Vec::new(), url };
        Self { sources: Mutex::default(), has_url, current: ArcSwap::from_pointee(empty) }
    }

    /// Returns the set in force.
    pub(super) fn current(&self) -> Guard<Arc<KeySet>> {
        self.current.load()
    }

    /// Replaces the keys of `source`. Returns the new generation if that changed anything; the order of keys is not
    /// significant.
    pub(super) fn replace(&self, source: Source, keys: Vec<Key>) -> Option<u64> {
        let keys: Vec<Arc<Key>> = keys.into_iter().map(Arc::new).collect();
        let mut sources = self.sources.lock();
        match sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, old)) if old.len() == keys.len() && keys.iter().all(|key| old.contains(key)) => return None,
            Some((_, old)) => *old = keys,
            None => sources.push((source, keys)),
        }
        let url = match sources.iter().any(|(source, _)| *source == Source::Url) {
            true => Url::Fetched,
            false if self.has_url => Url::Awaited,
            false => Url::None,
        };
        let keys = sources.iter().flat_map(|(_, keys)| keys.iter().cloned()).collect();
        let generation = self.current.load().generation + 1;
        // Stored while the lock is held, so that sets are published in the order of their generations.
        self.current.store(Arc::new(KeySet { generation, cache: Cache::default(), keys, url }));
        Some(generation)
    }
}

/// Keys in force, with the cache of tokens that they verified.
#[derive(Debug)]
pub(super) struct KeySet {
    /// Number that grows with each set.
    pub(super) generation: u64,
    /// Tokens that were verified with these keys.
    pub(super) cache: Cache,
    keys: Vec<Arc<Key>>,
    url: Url,
}

impl KeySet {
    /// Checks the signature of a token with the key that it names. A token without a `kid` is checked with all possible keys.
    ///
    /// # Errors
    /// `BadAlgorithm`, `UnknownKey`, `KeysUnavailable`, `BadSignature`.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), TokenError> {
        let named = |key: &Key| token.key_id.is_some() && key.id == token.key_id;
        let accepts = |key: &Key| key.algorithms.contains(&token.algorithm);
        let keys = || self.keys.iter().map(Arc::as_ref);
        let by_name = keys().any(named);
        // If no key has the name, keys without a name are candidates; a token without a `kid` may use any key.
        let meant = |key: &Key| if by_name { named(key) } else { key.id.is_none() || token.key_id.is_none() };
        let candidates: Vec<&Key> = keys().filter(|key| meant(key) && accepts(key)).take(MAX_TRIES + 1).collect();
        if candidates.len() > MAX_TRIES {
            return Err(TokenError::UnknownKey);
        }
        if candidates.iter().any(|key| key.verifies(token)) {
            return Ok(());
        }
        let can_be_fetched = self.url != Url::None && token.algorithm.family() != AlgorithmFamily::Hmac;
        Err(match () {
            // The named key is for other algorithms: a confusion, or an attack.
            () if by_name && candidates.is_empty() => TokenError::BadAlgorithm,
            () if by_name => TokenError::BadSignature,
            () if can_be_fetched && self.url == Url::Awaited => TokenError::KeysUnavailable,
            () if can_be_fetched && (token.key_id.is_some() || candidates.is_empty()) => TokenError::UnknownKey,
            () if !candidates.is_empty() => TokenError::BadSignature,
            () if keys().any(accepts) => TokenError::UnknownKey,
            () => TokenError::BadAlgorithm,
        })
    }
}
