//! Cache of verified tokens, so that a poll does not cost the check of a signature.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use ring::digest;

use super::{claims::Verified, error::TokenError, identity::Identity};

/// Number of locks, so that workers rarely contend.
const SHARDS: usize = 16;

/// Tokens that one half of one shard holds: 8,192 in all, about 3 MB.
const HALF: usize = 256;

/// SHA-256 of a token. The token itself is not kept.
pub(super) type Fingerprint = [u8; 32];

/// Bounded number of verified tokens by fingerprint. A cache belongs to one set of keys and is dropped with it, so the tokens of a
/// removed key are forgotten.
#[derive(Debug, Default)]
pub(super) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

/// Two generations: when the young one is full it becomes the old one, and tokens not used since are forgotten.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Fingerprint, Verified>,
    old: HashMap<Fingerprint, Verified>,
}

/// Returns the SHA-256 of the whole token, including its signature.
pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    fingerprint
}

impl Cache {
    /// Returns the result of a verified token at `now`; `None` if it is not in the cache.
    pub(super) fn get(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Result<Identity, TokenError>> {
        let mut shard = self.shard(fingerprint).lock();
        if let Some(verified) = shard.young.get(fingerprint) {
            return Some(verified.at(now));
        }
        let verified = shard.old.remove(fingerprint)?;
        let result = verified.at(now);
        shard.keep(*fingerprint, verified);
        Some(result)
    }

    /// Adds a verified token.
    pub(super) fn keep(&self, fingerprint: Fingerprint, verified: Verified) {
        self.shard(&fingerprint).lock().keep(fingerprint, verified);
    }

    fn shard(&self, fingerprint: &Fingerprint) -> &Mutex<Shard> {
        &self.shards[usize::from(fingerprint[0]) % SHARDS]
    }
}

impl Shard {
    fn keep(&mut self, fingerprint: Fingerprint, verified: Verified) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, verified);
    }
}
