//! Cryptography of tokens: `jsonwebtoken` with `ring` as its provider.
//!
//! `ring` is already linked for TLS. So there is one implementation to trust, and no C code to build.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{Error, Signer, Verifier},
};
use ring::{hmac, rand::SystemRandom, rsa, signature};

/// Installs `ring` as the cryptography provider of tokens and of TLS. Call it before either is used. It can be called any
/// number of times, from any thread: every call returns after the installation.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| Ok(Box::new(RingSigner::new(*algorithm, key)?)),
        verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
        // Only needed to derive JWKs from keys, which this crate does not do.
        key_utils: KeyUtils::new_unimplemented(),
    };
    INSTALLED.call_once(|| {
        // A program that embeds this crate may have installed its own provider; that one stays.
        let _ = PROVIDER.install_default();
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// Signing key of one algorithm.
enum SigningKey {
    Hmac(hmac::Key),
    Rsa(signature::RsaKeyPair, &'static dyn signature::RsaEncoding),
    Ec(signature::EcdsaKeyPair),
    Ed(signature::Ed25519KeyPair),
}

struct RingSigner {
    algorithm: Algorithm,
    key: SigningKey,
}

impl RingSigner {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let bytes = key.as_bytes();
        let ec = |curve| {
            let pair = signature::EcdsaKeyPair::from_pkcs8(curve, bytes, &SystemRandom::new());
            pair.map(SigningKey::Ec).map_err(|_| ErrorKind::InvalidEcdsaKey)
        };
        let rsa = |encoding| {
            let pair = signature::RsaKeyPair::from_der(bytes);
            pair.map(|pair| SigningKey::Rsa(pair, encoding)).map_err(|why| ErrorKind::InvalidRsaKey(why.to_string()))
        };
        let key = match algorithm {
            Algorithm::HS256 => SigningKey::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_SHA256)?,
            Algorithm::ES256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::ES384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Algorithm::EdDSA => {
                // OpenSSL leaves the public key out of the document.
                let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
                SigningKey::Ed(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)
            }
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        };
        Ok(Self { algorithm, key })
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        match &self.key {
            SigningKey::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            SigningKey::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            SigningKey::Ec(pair) => match pair.sign(&SystemRandom::new(), message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(Error::new()),
            },
            SigningKey::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| Error::new())?;
                Ok(signature)
            }
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl RingVerifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Self { algorithm, key: key.clone() })
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature_bytes: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match self.key.kind() {
            DecodingKeyKind::SecretOrDer(secret) if self.algorithm.family() == AlgorithmFamily::Hmac => {
                match self.algorithm {
                    // The comparison takes constant time.
                    Algorithm::HS256 => {
                        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature_bytes)
                    }
                    _ => return Err(Error::new()),
                }
            }
            DecodingKeyKind::SecretOrDer(public) => {
                let algorithm = asymmetric(self.algorithm).ok_or_else(Error::new)?;
                signature::UnparsedPublicKey::new(algorithm, public).verify(message, signature_bytes)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let algorithm = rsa(self.algorithm).ok_or_else(Error::new)?;
                rsa::PublicKeyComponents { n, e }.verify(algorithm, message, signature_bytes)
            }
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn asymmetric(algorithm: Algorithm) -> Option<&'static dyn signature::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
        other => rsa(other)?,
    })
}

/// Returns parameters that refuse RSA keys below 2,048 bits.
fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
