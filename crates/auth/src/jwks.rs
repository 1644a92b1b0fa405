//! JWK Sets (RFC 7517): the keys in one that can verify tokens.
//!
//! Sets are written by others and hold keys for other uses too; those are passed over, and a set is refused only when
//! nothing is left of it.

use jsonwebtoken::{
    Algorithm,
    Algorithm::{ES256, ES384, EdDSA, HS256, PS256, PS384, PS512, RS256, RS384, RS512},
    DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::key::{Key, MIN_MODULUS, MIN_SECRET};

/// Keys of one set.
const MAX_KEYS: usize = 100;

/// Whether a set may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// In a file of this machine.
    Accepted,
    /// Behind a URL: who can read a secret there can sign tokens.
    Refused,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a set that can verify tokens.
///
/// # Errors
/// What is wrong with the set, in words for an operator.
pub(super) fn parse(text: &[u8], secrets: Secrets) -> Result<Vec<Key>, &'static str> {
    let Set { keys } = serde_json::from_slice(text).map_err(|_| "is no JWK Set (RFC 7517): {\"keys\": [...]}")?;
    if keys.len() > MAX_KEYS {
        return Err("holds more than 100 keys");
    }
    let keys: Vec<Key> = keys.into_iter().filter_map(|key| usable(key, secrets)).collect();
    if keys.is_empty() { Err("holds no key that can verify tokens") } else { Ok(keys) }
}

/// One key, if it is for signatures and of a kind that is known here.
fn usable(key: Value, secrets: Secrets) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    if common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return None;
    }
    // What the type of the key allows; `alg` can only narrow it.
    let possible: &[&'static [Algorithm]] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => {
            &[&[RS256, RS384, RS512], &[RS256], &[RS384], &[RS512], &[PS256], &[PS384], &[PS512]]
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => &[&[ES256]],
            EllipticCurve::P384 => &[&[ES384]],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[&[EdDSA]],
        AlgorithmParameters::OctetKey(_) if secrets == Secrets::Accepted => &[&[HS256]],
        _ => return None,
    };
    let algorithms = match common.key_algorithm {
        None => possible.first()?,
        Some(named) => {
            let named: Algorithm = named.to_string().parse().ok()?;
            possible.iter().find(|algorithms| **algorithms == [named])?
        }
    };
    let material = DecodingKey::from_jwk(&jwk).ok()?;
    let long_enough = match (material.kind(), algorithms.first()?) {
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => n.len() >= MIN_MODULUS,
        (DecodingKeyKind::SecretOrDer(secret), HS256) => secret.len() >= MIN_SECRET,
        (DecodingKeyKind::SecretOrDer(point), ES256) => point.len() == 65,
        (DecodingKeyKind::SecretOrDer(point), ES384) => point.len() == 97,
        (DecodingKeyKind::SecretOrDer(point), _) => point.len() == 32,
    };
    long_enough.then(|| Key::new(jwk.common.key_id, algorithms, material))
}
