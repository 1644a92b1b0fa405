//! Errors of tokens and of keys.

use std::{io, path::PathBuf};

/// Reason for refusing a token. It never contains parts of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JSON Web Token: three parts of base64url, the first two of JSON, at most 8 KiB, without an unsupported critical header.
    #[error("is not a valid JSON Web Token")]
    Malformed,
    /// There is no key of this `kid`, or for this algorithm.
    #[error("was signed with a key that is not known here")]
    UnknownKey,
    /// The signature does not match.
    #[error("has a signature that does not match")]
    BadSignature,
    /// `none`, an unsupported algorithm, or one that no key is for.
    #[error("names an algorithm that is not accepted here")]
    BadAlgorithm,
    /// The time of expiry, `exp`, has passed by more than the leeway.
    #[error("has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured one.
    #[error("is from another issuer")]
    WrongIssuer,
    /// `aud` does not contain the configured one.
    #[error("is meant for another audience")]
    WrongAudience,
    /// The claim of this name is missing or invalid; `claims` for the whole payload.
    #[error("has no usable claim {0:?}")]
    BadClaims(&'static str),
    /// There is no such machine key: it was revoked or has expired, or its secret is wrong. The reasons are not distinguished.
    #[error("is not a key that is known here: it may have been revoked")]
    NoSuchKey,
    /// The store of machine keys can't be read.
    #[error("can't be checked: the store of keys is not available at the moment")]
    StoreUnavailable,
    /// The address has sent many unknown keys in a short time.
    #[error("can't be checked: too many unknown keys came from this address")]
    TooManyUnknown,
    /// The keys have not been fetched yet.
    #[error("can't be checked: the keys are not there yet")]
    KeysUnavailable,
}

impl TokenError {
    /// Returns whether a retry can succeed, with a new token or later. Other tokens never become valid.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Expired | Self::NotYetValid | Self::KeysUnavailable | Self::StoreUnavailable | Self::TooManyUnknown
        )
    }
}

/// Error of the configured keys. It names the setting and the file, never the contents.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no key to verify tokens with.
    #[error("no key: set auth.secret, auth.public_key_file, auth.jwks_file or auth.jwks_url")]
    NoKeys,
    /// The secret can be guessed (RFC 7518, section 3.2).
    #[error("auth.secret has to be at least 32 bytes long")]
    ShortSecret,
    /// The file does not exist, cannot be read, or is too large.
    #[error("{setting}: {} can't be read: {source}", file.display())]
    Unreadable {
        /// Key of the setting.
        setting: &'static str,
        /// Path of the file.
        file: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file does not contain a key.
    #[error("{setting}: {}: {problem}", file.display())]
    Unusable {
        /// Key of the setting.
        setting: &'static str,
        /// Path of the file.
        file: PathBuf,
        /// Description of the fault.
        problem: &'static str,
    },
    /// The URL can't be used, or nothing can be fetched over TLS on this machine.
    #[error("auth.jwks_url: {0}")]
    Url(String),
}
