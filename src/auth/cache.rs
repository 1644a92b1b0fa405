//! Tokens that were verified already, so that a poll doesn't cost a signature.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use ring::digest;

use super::{claims::Verified, error::TokenError, identity::Identity};

/// Locks, so that workers rarely meet.
const SHARDS: usize = 16;

/// Tokens that one half of one shard holds: 8,192 in all, about 3 MB.
const HALF: usize = 256;

/// Stands for a token; the token itself is not kept.
pub(super) type Fingerprint = [u8; 32];

/// Verified tokens by fingerprint, a bounded number. Belongs to one set of keys and goes with it, so a key that was
/// taken away takes its tokens along.
#[derive(Debug, Default)]
pub(super) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

/// Two halves: when the young one is full it becomes the old one, and what nobody asked for since is forgotten.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Fingerprint, Verified>,
    old: HashMap<Fingerprint, Verified>,
}

/// SHA-256 of all of the token, signature included.
pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    fingerprint
}

impl Cache {
    /// What the token is worth at `now`; `None` if it was not seen yet.
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

    /// Remembers a token that was verified.
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
