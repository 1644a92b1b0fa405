//! The outside of a token: three parts, and a header that says which key.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::TokenError;

/// Longest token, bytes. Longer ones are refused before anything is computed; a header line of a proxy is as long.
const MAX_LENGTH: usize = 8 << 10;

/// Longest `kid`, bytes. It is only ever compared with the names of keys.
const MAX_KEY_ID: usize = 256;

/// A token that was taken apart and not yet believed.
pub(super) struct Token<'a> {
    /// What its header says it was signed with.
    pub(super) algorithm: Algorithm,
    /// The name of the key, if one is named.
    pub(super) key_id: Option<String>,
    /// What was signed: header and payload as they were sent.
    pub(super) message: &'a [u8],
    /// The signature, base64url.
    pub(super) signature: &'a str,
    payload: &'a str,
}

/// The header (RFC 7515, section 4). What else can stand there (`jku`, `jwk`, `x5u`, `x5c`) offers keys of the sender's
/// own choice and is not even read. A name that comes twice is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
}

/// Tells `null` from nothing.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'a> Token<'a> {
    /// Refuses what is too long, before anything is computed.
    pub(super) fn check_length(token: &str) -> Result<(), TokenError> {
        if token.len() > MAX_LENGTH { Err(TokenError::Malformed) } else { Ok(()) }
    }

    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::BadAlgorithm`] and, for a `kid` that can't be one, `UnknownKey`.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        Self::check_length(token)?;
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // Five parts are encrypted ones (JWE).
        if payload.contains('.') || header.is_empty() || payload.is_empty() {
            return Err(TokenError::Malformed);
        }
        let header = decode(header)?;
        if !is_object(&header) {
            return Err(TokenError::Malformed);
        }
        let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        // RFC 7515, section 4.1.11: what is critical and not understood has to be refused. Nothing is understood.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let algorithm = header.alg.parse().map_err(|_| TokenError::BadAlgorithm)?;
        let key_id = match header.kid {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_KEY_ID => Some(id),
            Some(Value::String(_)) => return Err(TokenError::UnknownKey),
            Some(_) => return Err(TokenError::Malformed),
        };
        // `alg: none` ends above; this is for a signature that was cut off.
        if signature.is_empty() {
            return Err(TokenError::BadSignature);
        }
        Ok(Self { algorithm, key_id, message: message.as_bytes(), signature, payload })
    }

    /// The payload, JSON. Only of use once the signature was checked.
    pub(super) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }
}

/// Whether a JSON text is an object: serde would take a list as well, field by field.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// Strict: no padding, no line breaks, no bits left over, so that a token can be written in one way only.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Malformed)
}

/// A part of a token as it is sent.
pub(super) fn encode(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}
