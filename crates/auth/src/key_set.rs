//! The keys in force: one set, made of what each source gave last.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::AlgorithmFamily;
use parking_lot::Mutex;

use super::{cache::Cache, error::TokenError, key::Key, token::Token};

/// Signatures that are checked for one token that names no key: what one bad token can cost.
const MAX_TRIES: usize = 8;

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `auth.secret`.
    Secret,
    /// `auth.public_key_file`.
    Pem,
    /// `auth.jwks_file`.
    File,
    /// `auth.jwks_url`.
    Url,
}

/// What a set knows of keys behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Url {
    /// There is none.
    None,
    /// It has not answered yet.
    Awaited,
    /// Its keys are in the set; it may have others by now.
    Fetched,
}

/// The sources and the set made of them. Readers never wait for a writer.
#[derive(Debug)]
pub(super) struct Keyring {
    sources: Mutex<Vec<(Source, Vec<Arc<Key>>)>>,
    /// Whether there is a URL.
    has_url: bool,
    current: ArcSwap<KeySet>,
}

impl Keyring {
    /// No keys yet, generation 0.
    pub(super) fn new(has_url: bool) -> Self {
        let url = if has_url { Url::Awaited } else { Url::None };
        let empty = KeySet { generation: 0, cache: Cache::default(), keys: Vec::new(), url };
        Self { sources: Mutex::default(), has_url, current: ArcSwap::from_pointee(empty) }
    }

    /// The set in force.
    pub(super) fn current(&self) -> Guard<Arc<KeySet>> {
        self.current.load()
    }

    /// Puts `keys` in the place of what `source` gave before; the generation if that changed anything. The order of keys
    /// means nothing.
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
        // Still under the lock, so that sets follow each other in order.
        self.current.store(Arc::new(KeySet { generation, cache: Cache::default(), keys, url }));
        Some(generation)
    }
}

/// The keys in force, with the tokens that were verified by them.
#[derive(Debug)]
pub(super) struct KeySet {
    /// Grows with each set.
    pub(super) generation: u64,
    /// Tokens that were verified with these keys.
    pub(super) cache: Cache,
    keys: Vec<Arc<Key>>,
    url: Url,
}

impl KeySet {
    /// Checks a token's signature with the key it names, or with those that may be meant.
    ///
    /// # Errors
    /// `BadAlgorithm`, `UnknownKey`, `KeysUnavailable`, `BadSignature`.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), TokenError> {
        let named = |key: &Key| token.key_id.is_some() && key.id == token.key_id;
        let accepts = |key: &Key| key.algorithms.contains(&token.algorithm);
        let keys = || self.keys.iter().map(Arc::as_ref);
        let by_name = keys().any(named);
        // Where no key has the name, one without a name may be meant; and a token that names none may mean any.
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
            // The key that is named is for something else: confusion, or an attack.
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
