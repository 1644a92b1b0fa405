//! Keys, each of which knows what it may be used for, and where they are read from: a secret, or a file in PEM.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use jsonwebtoken::{
    Algorithm,
    Algorithm::{ES256, ES384, EdDSA, HS256, PS256, PS384, PS512, RS256, RS384, RS512},
    DecodingKey, DecodingKeyKind,
};

use super::{error::KeyError, token::Token};

/// Shortest secret, bytes: as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET: usize = 32;

/// Shortest RSA modulus, bytes: 2,048 bits (RFC 7518, section 3.3).
pub(super) const MIN_MODULUS: usize = 256;

/// Largest file of keys, bytes.
const MAX_FILE: u64 = 1 << 20;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its `kid`. A key of a file without names answers for any `kid`.
    pub(super) id: Option<String>,
    /// What it may be used for; taken from the key, never from a token.
    pub(super) algorithms: &'static [Algorithm],
    material: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let material = |key: &Self| match key.material.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes.clone(), Vec::new()),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        self.id == other.id && self.algorithms == other.algorithms && material(self) == material(other)
    }
}

impl Key {
    /// A shared secret; for HS256 and nothing else.
    pub(super) fn of_secret(secret: &[u8]) -> Option<Self> {
        (secret.len() >= MIN_SECRET).then(|| Self::new(None, &[HS256], DecodingKey::from_secret(secret)))
    }

    pub(super) fn new(id: Option<String>, algorithms: &'static [Algorithm], material: DecodingKey) -> Self {
        Self { id, algorithms, material }
    }

    /// Whether the signature is this key's, by the algorithm the token names. Ask only for one of [`Self::algorithms`].
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        jsonwebtoken::crypto::verify(token.signature, token.message, &self.material, token.algorithm).unwrap_or(false)
    }
}

/// Reads a file of keys, [`MAX_FILE`] at most.
pub(super) fn read_file(setting: &'static str, file: &Path) -> Result<String, KeyError> {
    let read = || {
        let mut text = String::new();
        // More than a file of keys can have: somebody named the wrong one, or a device.
        if File::open(file)?.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 1 MiB"));
        }
        Ok(text)
    };
    read().map_err(|source| KeyError::Unreadable { setting, file: file.into(), source })
}

/// The public keys of a PEM file, one per block.
///
/// # Errors
/// What is wrong with it, in words for an operator.
pub(super) fn of_pem(text: &str) -> Result<Vec<Key>, &'static str> {
    const BEGIN: &str = "-----BEGIN ";
    let mut keys = Vec::new();
    for (start, _) in text.match_indices(BEGIN) {
        let block = &text[start..];
        let block = block[BEGIN.len()..].find(BEGIN).map_or(block, |next| &block[..BEGIN.len() + next]);
        let label = block[BEGIN.len()..].split("-----").next().unwrap_or_default();
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => keys.push(public_key(block.as_bytes())?),
            "CERTIFICATE" => {
                return Err("is a certificate; take its public key out: openssl x509 -pubkey -noout -in FILE");
            }
            _ if label.ends_with("PRIVATE KEY") => {
                return Err(
                    "is a private key, which has no place on this server; openssl pkey -pubout makes a public one",
                );
            }
            _ => return Err("is no public key"),
        }
    }
    if keys.is_empty() { Err("holds no public key in PEM") } else { Ok(keys) }
}

fn public_key(block: &[u8]) -> Result<Key, &'static str> {
    if let Ok(material) = DecodingKey::from_rsa_pem(block) {
        if material.try_get_as_bytes().is_ok_and(|der| der.len() < MIN_MODULUS) {
            return Err("is an RSA key of less than 2048 bits");
        }
        return Ok(Key::new(None, &[RS256, RS384, RS512, PS256, PS384, PS512], material));
    }
    if let Ok(material) = DecodingKey::from_ec_pem(block) {
        return match material.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => Ok(Key::new(None, &[ES256], material)),
            Ok(97) => Ok(Key::new(None, &[ES384], material)),
            _ => Err("is an EC key of another curve than P-256 and P-384"),
        };
    }
    match DecodingKey::from_ed_pem(block) {
        Ok(material) if material.try_get_as_bytes().is_ok_and(|key| key.len() == 32) => {
            Ok(Key::new(None, &[EdDSA], material))
        }
        _ => Err("is no RSA, EC or Ed25519 public key"),
    }
}
