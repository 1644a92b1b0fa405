//! JWK Sets (RFC 7517): parsing of the keys that can verify tokens.
//!
//! Sets come from other programs and contain keys of other uses too. Those are skipped; a set without a usable key is
//! refused.

use jsonwebtoken::{
    Algorithm,
    Algorithm::{ES256, ES384, EdDSA, HS256, PS256, PS384, PS512, RS256, RS384, RS512},
    DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::key::{Key, MIN_MODULUS, MIN_SECRET};

/// Most keys of a set.
const MAX_KEYS: usize = 100;

/// Policy for shared secrets in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Accepted: the set is a file of this machine.
    Accepted,
    /// Refused: the set is behind a URL, and anyone with access to a secret there could sign tokens.
    Refused,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// Returns the keys of a set that can verify tokens.
///
/// # Errors
/// Description of the fault for the operator.
pub(super) fn parse(text: &[u8], secrets: Secrets) -> Result<Vec<Key>, &'static str> {
    let Set { keys } = serde_json::from_slice(text).map_err(|_| "is not a JWK Set (RFC 7517): {\"keys\": [...]}")?;
    if keys.len() > MAX_KEYS {
        return Err("contains more than 100 keys");
    }
    let keys: Vec<Key> = keys.into_iter().filter_map(|key| usable(key, secrets)).collect();
    if keys.is_empty() { Err("contains no key that can verify tokens") } else { Ok(keys) }
}

/// Returns the key if it is for signatures and of a supported type.
fn usable(key: Value, secrets: Secrets) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    if common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return None;
    }
    // Algorithms of the key's type; `alg` can only narrow them.
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
