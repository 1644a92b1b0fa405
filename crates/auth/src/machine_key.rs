//! Machine keys: the text that its holder has, and the state of a key that is in use.
//!
//! ```text
//! tck_1f0c9a5be2d87643_5b1d…e07c        tck_ID_SECRET
//!     │                └ 256 random bits; only their SHA-256 is stored
//!     └ 64 random bits, by which the key is found
//! ```
//!
//! The beginning lets scanners of repositories recognize a key that was published by mistake.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use data_encoding::HEXLOWER;
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};

/// Beginning of every key.
pub const KEY_PREFIX: &str = "tck_";

/// Length of an ID in characters.
const ID: usize = 16;

/// Length of a secret in characters.
const SECRET: usize = 64;

/// SHA-256 of the secret of a key.
type SecretHash = [u8; 32];

/// A new key, the text of which is shown once.
pub struct NewMachineKey {
    /// ID of the key: 16 hexadecimal digits.
    pub id: String,
    /// SHA-256 of its secret, which is stored.
    pub hash: SecretHash,
    /// Text that its holder sends.
    pub text: String,
}

impl fmt::Debug for NewMachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewMachineKey({})", self.id)
    }
}

impl NewMachineKey {
    /// Makes a key; `None` if the system has no random bytes.
    pub fn generate() -> Option<Self> {
        let mut bytes = [0; (ID + SECRET) / 2];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let (id, secret) = bytes.split_at(ID / 2);
        let (id, secret) = (HEXLOWER.encode(id), HEXLOWER.encode(secret));
        Some(Self { hash: hash(&secret), text: format!("{KEY_PREFIX}{id}_{secret}"), id })
    }
}

/// A key that a client sent. Its secret is not kept, only the hash.
pub struct SentKey<'a> {
    /// ID of the key.
    pub id: &'a str,
    hash: SecretHash,
}

impl<'a> SentKey<'a> {
    /// Parses a key; `None` for any other text. A key has one spelling.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let good = id.len() == ID && secret.len() == SECRET && is_hex(id) && is_hex(secret);
        good.then(|| Self { id, hash: hash(secret) })
    }

    /// Returns whether the secret has this hash, in a time that does not depend on how many bytes match.
    pub fn has_hash(&self, stored: &SecretHash) -> bool {
        let difference = self.hash.iter().zip(stored).fold(0, |difference, (own, other)| difference | (own ^ other));
        std::hint::black_box(difference) == 0
    }
}

fn hash(secret: &str) -> SecretHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// A machine key in use. All identities of the key in this process share it, so that all of its streams end together.
#[derive(Clone)]
pub struct KeyInUse {
    id: Arc<str>,
    revoked: Arc<AtomicBool>,
}

impl KeyInUse {
    /// Creates the state of a key that was not revoked.
    pub fn new(id: &str) -> Self {
        Self { id: id.into(), revoked: Arc::default() }
    }

    /// Returns the ID of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Marks the key as revoked, for good.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// Returns whether the key was revoked.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Returns the number of identities that hold the key besides the caller.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.revoked) - 1
    }
}

/// The ID only: a revoked key never becomes valid again.
impl PartialEq for KeyInUse {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for KeyInUse {}

impl Hash for KeyInUse {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Debug for KeyInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyInUse({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_parsed_and_has_its_hash() {
        let (key, other) = (NewMachineKey::generate().unwrap(), NewMachineKey::generate().unwrap());
        let sent = SentKey::parse(&key.text).unwrap();
        assert!(sent.id == key.id && sent.has_hash(&key.hash) && !sent.has_hash(&other.hash));
        for at in 0..32 {
            let mut wrong = key.hash;
            wrong[at] ^= 1;
            assert!(!sent.has_hash(&wrong), "{at}");
        }
        assert!(!format!("{key:?}").contains(key.text.rsplit('_').next().unwrap()));
    }

    #[test]
    fn a_key_has_one_spelling() {
        let text = NewMachineKey::generate().unwrap().text;
        let cut = &text[..text.len() - 1];
        for bad in [
            "",
            "tck_",
            cut,
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!(" {text}"),
            &text.replace("tck", "tcx"),
        ] {
            assert!(SentKey::parse(bad).is_none(), "{bad}");
        }
        let mut other = text.clone();
        other.replace_range(text.len() - 1.., "g");
        assert!(SentKey::parse(&other).is_none());
    }

    #[test]
    fn all_holders_see_the_end() {
        let key = KeyInUse::new("1");
        assert_eq!(key.holders(), 0);
        let holder = key.clone();
        assert!(key.holders() == 1 && !holder.is_revoked());
        key.revoke();
        assert!(holder.is_revoked() && holder == KeyInUse::new("1") && holder != KeyInUse::new("2"));
    }
}
