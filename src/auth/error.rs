//! Why a token is refused, and why keys can't be used.

use std::{io, path::PathBuf};

/// Why a token is refused. Never repeats anything of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JSON Web Token: three parts of base64url, the first two of JSON, at most 8 KiB, nothing critical that is not
    /// understood.
    #[error("is not a valid JSON Web Token")]
    Malformed,
    /// No key is known by this `kid`, or for this algorithm.
    #[error("was signed with a key that is not known here")]
    UnknownKey,
    /// The signature does not match.
    #[error("has a signature that does not match")]
    BadSignature,
    /// `none`, an algorithm that is not supported, or one that no key here is for.
    #[error("names an algorithm that is not accepted here")]
    BadAlgorithm,
    /// `exp` has passed.
    #[error("has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured one.
    #[error("comes from another issuer")]
    WrongIssuer,
    /// `aud` does not name the configured one.
    #[error("is meant for another audience")]
    WrongAudience,
    /// The claim of this name is missing or makes no sense; `claims` for the whole.
    #[error("has no usable claim {0:?}")]
    BadClaims(&'static str),
    /// The keys have not arrived yet.
    #[error("can't be checked: the keys are not there yet")]
    KeysUnavailable,
}

impl TokenError {
    /// Whether trying again can help: with a new token, or later. The others never become valid.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid | Self::KeysUnavailable)
    }
}

/// Why keys can't be used. Names the setting and the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing to verify tokens with.
    #[error("no key: set auth.secret, auth.public_key_file, auth.jwks_file or auth.jwks_url")]
    NoKeys,
    /// The secret can be guessed (RFC 7518, section 3.2).
    #[error("auth.secret has to be at least 32 bytes long")]
    ShortSecret,
    /// The file is not there, not ours, or too large.
    #[error("{setting}: {} can't be read: {source}", file.display())]
    Unreadable {
        /// Key of the setting.
        setting: &'static str,
        /// The file it names.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the file is no key.
    #[error("{setting}: {}: {problem}", file.display())]
    Unusable {
        /// Key of the setting.
        setting: &'static str,
        /// The file it names.
        file: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL can't be used, or nothing can be fetched over TLS on this machine.
    #[error("auth.jwks_url: {0}")]
    Url(String),
}
