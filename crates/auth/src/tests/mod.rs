//! Tests of the crate from the outside: accepted tokens, attacks, rotation of keys, leaks.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};

use super::{
    fetch::Pace,
    mint::{SigningKey, sign},
    *,
};
use tricast_core::clock::Clock;

mod acceptance;
mod attacks;
mod leaks;
mod rotation;

/// Current time of all these tests.
const NOW: i64 = 1_800_000_000;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests only";

const RSA_PRIVATE: &str = include_str!("../../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../../tests/keys/rsa.pub.pem");

/// Key pair, in all the forms that tests need.
struct Pair {
    private: SigningKey,
    private_pem: String,
    public_pem: String,
    jwk: Value,
}

impl Pair {
    fn p256() -> Self {
        let random = SystemRandom::new();
        let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        // SubjectPublicKeyInfo (RFC 5480) up to the point of the curve.
        const HEAD: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])});
        Self::new(private.as_ref(), &[&HEAD, point].concat(), jwk)
    }

    fn ed25519() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        // SubjectPublicKeyInfo (RFC 8410) up to the point of the curve.
        const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(point)});
        Self::new(private.as_ref(), &[&HEAD, point].concat(), jwk)
    }

    fn rsa() -> Self {
        let der: String = RSA_PRIVATE.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = RsaKeyPair::from_pkcs8(&BASE64.decode(der.as_bytes()).unwrap()).unwrap();
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
        Self {
            private: SigningKey::of_pem(RSA_PRIVATE).unwrap(),
            private_pem: RSA_PRIVATE.into(),
            public_pem: RSA_PUBLIC.into(),
            jwk: json!({"kty": "RSA", "n": b64(&n), "e": b64(&e)}),
        }
    }

    fn new(private: &[u8], public: &[u8], jwk: Value) -> Self {
        let private_pem = pem("PRIVATE KEY", private);
        let private = SigningKey::of_pem(&private_pem).unwrap();
        Self { private, private_pem, public_pem: pem("PUBLIC KEY", public), jwk }
    }

    /// Returns the pair with a `kid`.
    fn named(self, id: &str) -> Self {
        let Self { private, private_pem, public_pem, jwk } = self.with(json!({"kid": id}));
        Self { private: private.named(Some(id.into())), private_pem, public_pem, jwk }
    }

    /// Returns the pair with more members in its JWK.
    fn with(mut self, more: Value) -> Self {
        self.jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self
    }

    /// Mints a valid token.
    fn token(&self) -> String {
        sign(json!({}), &ada(), &self.private).unwrap()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Returns the claims of a valid token of the user Ada.
fn ada() -> Value {
    json!({"sub": "ada", "tenantId": "acme", "permissions": ["read:metrics"], "exp": NOW + 3_600})
}

/// Returns [`ada`] with some claims replaced.
fn but(more: Value) -> Value {
    let mut claims = ada();
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

fn secret() -> SigningKey {
    SigningKey::of_secret(SECRET).unwrap()
}

fn config() -> AuthConfig {
    AuthConfig { secret: std::str::from_utf8(SECRET).unwrap().into(), ..AuthConfig::default() }
}

fn jwks(keys: &[&Pair]) -> String {
    json!({"keys": keys.iter().map(|pair| pair.jwk.clone()).collect::<Vec<_>>()}).to_string()
}

/// Returns a clock that stands at [`NOW`] until it is moved.
fn clock() -> (Clock, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(NOW));
    let hand = Arc::clone(&now);
    (Clock::from_fn(move || Timestamp::from_second(hand.load(Ordering::Relaxed)).unwrap()), now)
}

fn open(config: AuthConfig) -> Verifier {
    Verifier::open(config, clock().0).unwrap()
}

/// Opens a verifier that has only the public keys of `pem`.
fn open_pem(pem: &str) -> Result<Verifier, KeyError> {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "keys.pem", pem);
    Verifier::open(AuthConfig { public_key_file: Some(file), ..AuthConfig::default() }, clock().0)
}

/// Opens a verifier that has only the keys of a JWK Set in a file.
fn open_jwks(text: &str) -> Result<Verifier, KeyError> {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "keys.json", text);
    Verifier::open(AuthConfig { jwks_file: Some(file), ..AuthConfig::default() }, clock().0)
}

fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let (new, file) = (directory.join(format!("{name}.new")), directory.join(name));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, &file).unwrap();
    file
}

/// Returns the result of the verifier of [`config`] for correctly signed claims.
fn claimed(claims: &Value) -> Result<Identity, TokenError> {
    open(config()).verify(&sign(json!({}), claims, &secret()).unwrap())
}

/// Waits until a condition is met. The limit only ends a test that would hang.
async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), met).await.unwrap();
}
