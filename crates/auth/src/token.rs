//! Parsing of tokens: three parts, and a header that names algorithm and key.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::TokenError;

/// Longest token, in bytes: as long as a header line may be in proxies. Longer ones are refused before any computation.
const MAX_LENGTH: usize = 8 << 10;

/// Longest `kid`, in bytes. It is only compared with the names of keys.
const MAX_KEY_ID: usize = 256;

/// Parsed token; its signature is not checked.
pub(super) struct Token<'a> {
    /// Algorithm in the header.
    pub(super) algorithm: Algorithm,
    /// `kid` of the header, if present.
    pub(super) key_id: Option<String>,
    /// Signed text: header and payload as they were sent.
    pub(super) message: &'a [u8],
    /// Signature as it is written in the token, in base64url.
    pub(super) signature: &'a str,
    payload: &'a str,
}

/// Header (RFC 7515, section 4). Members that offer keys of the sender's own choice (`jku`, `jwk`, `x5u`, `x5c`) are not
/// read. A repeated name is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
}

/// Distinguishes `null` from a missing value.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'a> Token<'a> {
    /// Refuses tokens that are too long, before any computation.
    pub(super) fn check_length(token: &str) -> Result<(), TokenError> {
        if token.len() > MAX_LENGTH { Err(TokenError::Malformed) } else { Ok(()) }
    }

    /// Parses a token.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::BadAlgorithm`] and, for an impossible `kid`, `UnknownKey`.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        Self::check_length(token)?;
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // A token of five parts is encrypted (JWE).
        if payload.contains('.') || header.is_empty() || payload.is_empty() {
            return Err(TokenError::Malformed);
        }
        let header = decode(header)?;
        if !is_object(&header) {
            return Err(TokenError::Malformed);
        }
        let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        // RFC 7515, section 4.1.11: an extension that is critical and not supported has to be refused. None is supported.
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
        // `alg: none` was refused above; here the signature was cut off.
        if signature.is_empty() {
            return Err(TokenError::BadSignature);
        }
        Ok(Self { algorithm, key_id, message: message.as_bytes(), signature, payload })
    }

    /// Returns the payload as JSON. Do not use it before the signature was checked.
    pub(super) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }
}

/// Returns whether a JSON text is an object: serde would also accept a list of the fields.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// Decodes strict base64url: no padding, no line breaks, no unused bits, so that a token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Malformed)
}

/// Encodes a part of a token.
pub(super) fn encode(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}
