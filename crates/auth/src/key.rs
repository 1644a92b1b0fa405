//! Keys with their permitted algorithms, read from a secret or from a PEM file.

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

/// Shortest secret, in bytes: the length of the hash (RFC 7518, section 3.2).
pub const MIN_SECRET: usize = 32;

/// Shortest RSA modulus, in bytes: 2,048 bits (RFC 7518, section 3.3).
pub(super) const MIN_MODULUS: usize = 256;

/// Largest key file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Key that verifies tokens.
#[derive(Debug)]
pub(super) struct Key {
    /// `kid` of the key. `None` for keys of files without names: they match any `kid`.
    pub(super) id: Option<String>,
    /// Permitted algorithms. They are taken from the key, never from a token.
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
    /// Creates the key of a shared secret, which is for HS256 only. `None` if it is too short.
    pub(super) fn of_secret(secret: &[u8]) -> Option<Self> {
        (secret.len() >= MIN_SECRET).then(|| Self::new(None, &[HS256], DecodingKey::from_secret(secret)))
    }

    pub(super) fn new(id: Option<String>, algorithms: &'static [Algorithm], material: DecodingKey) -> Self {
        Self { id, algorithms, material }
    }

    /// Returns whether the signature was made with this key and the algorithm of the token, which has to be one of
    /// [`Self::algorithms`].
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        jsonwebtoken::crypto::verify(token.signature, token.message, &self.material, token.algorithm).unwrap_or(false)
    }
}

/// Reads a key file of at most [`MAX_FILE`] bytes.
pub(super) fn read_file(setting: &'static str, file: &Path) -> Result<String, KeyError> {
    let read = || {
        let mut text = String::new();
        // No key file is that large: the setting names a wrong file or a device.
        if File::open(file)?.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 1 MiB"));
        }
        Ok(text)
    };
    read().map_err(|source| KeyError::Unreadable { setting, file: file.into(), source })
}

/// Parses the public keys of a PEM file, one per block.
///
/// # Errors
/// Description of the fault for the operator.
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
                return Err("is a certificate; extract its public key: openssl x509 -pubkey -noout -in FILE");
            }
            _ if label.ends_with("PRIVATE KEY") => {
                return Err(
                    "is a private key, which does not belong on this server; extract the public key: openssl pkey -pubout -in FILE",
                );
            }
            _ => return Err("is not a public key"),
        }
    }
    if keys.is_empty() { Err("contains no public key in PEM") } else { Ok(keys) }
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
            _ => Err("is an EC key on a curve other than P-256 and P-384"),
        };
    }
    match DecodingKey::from_ed_pem(block) {
        Ok(material) if material.try_get_as_bytes().is_ok_and(|key| key.len() == 32) => {
            Ok(Key::new(None, &[EdDSA], material))
        }
        _ => Err("is not an RSA, EC or Ed25519 public key"),
    }
}
