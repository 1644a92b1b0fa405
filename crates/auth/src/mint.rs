//! Minting of tokens, for development and tests. The server itself never mints one.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{
    binding::{Binding, BindingLists},
    claims::is_user,
    crypto,
    error::KeyError,
    key::{MIN_SECRET, read_file},
    permission::Permissions,
    tenant::TenantName,
};

/// Claims of a new token.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Name of the user, in the claim `sub`.
    pub user: String,
    /// Claim `tenantId`; left out for `default`.
    pub tenant: TenantName,
    /// Granted permissions, in the claim `permissions`.
    pub permissions: Permissions,
    /// Channels that the token is bound to, in the claim `channels` and in place of `permissions`.
    pub binding: Option<Binding>,
    /// Claim `iat`, and the start of the durations below.
    pub now: Timestamp,
    /// Time from `now` to `exp`.
    pub expires: Duration,
    /// Time from `now` to `nbf`.
    pub not_before: Option<Duration>,
    /// Issuer of the token, in the claim `iss`; `None` leaves it out.
    pub issuer: Option<String>,
    /// Audience of the token, in the claim `aud`; `None` leaves it out.
    pub audience: Option<String>,
}

/// Key that signs tokens. Its `Debug` output hides it.
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    id: Option<String>,
}

/// Reason why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The name of the user is not a valid `sub`.
    #[error("a user has 1 to 128 bytes without control characters")]
    BadUser,
    /// A time is beyond the calendar.
    #[error("this time is too far in the future")]
    BadTime,
    /// The key cannot sign.
    #[error("the key can't sign: it has to be RSA of at least 2048 bits, EC P-256 or P-384, or Ed25519, in PKCS#8")]
    Unsigned,
}

impl SigningKey {
    /// Creates the HS256 key of a shared secret.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`].
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret), id: None })
    }

    /// Reads a private key in PEM (PKCS#8): RS256, ES256, ES384 or EdDSA, depending on the type of the key.
    ///
    /// # Errors
    /// [`KeyError`], with `setting` as the name of the setting or flag.
    pub fn of_file(setting: &'static str, file: &Path) -> Result<Self, KeyError> {
        let text = read_file(setting, file)?;
        Self::of_pem(&text).ok_or_else(|| KeyError::Unusable {
            setting,
            file: file.into(),
            problem: "is not an RSA, EC or Ed25519 private key in PEM (PKCS#8); to convert one: openssl pkcs8 -topk8 -nocrypt",
        })
    }

    /// Parses a private key in PEM (PKCS#8); `None` for any other text.
    pub fn of_pem(pem: &str) -> Option<Self> {
        crypto::install();
        if !pem.contains("PRIVATE KEY-----") {
            return None;
        }
        let pem = pem.as_bytes();
        let keys = [
            (Algorithm::RS256, EncodingKey::from_rsa_pem(pem)),
            (Algorithm::ES256, EncodingKey::from_ec_pem(pem)),
            (Algorithm::ES384, EncodingKey::from_ec_pem(pem)),
            (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
        ];
        // The curve of an EC key is only known once it signs.
        let works = |algorithm, key: &EncodingKey| jsonwebtoken::crypto::sign(b"", key, algorithm).is_ok();
        keys.into_iter()
            .filter_map(|(algorithm, key)| Some((algorithm, key.ok()?)))
            .find(|(algorithm, key)| works(*algorithm, key))
            .map(|(algorithm, key)| Self { algorithm, key, id: None })
    }

    /// Returns the same key with a `kid`, for keys of a JWK Set.
    #[must_use]
    pub fn named(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm)
    }
}

/// Mints a token.
///
/// # Errors
/// [`MintError`].
pub fn mint(claims: &Claims, key: &SigningKey) -> Result<String, MintError> {
    if !is_user(&claims.user) {
        return Err(MintError::BadUser);
    }
    let at = |after: Duration| claims.now.checked_add(after).map(Timestamp::as_second).map_err(|_| MintError::BadTime);
    let mut payload = Map::new();
    payload.insert("sub".into(), claims.user.as_str().into());
    if claims.tenant != TenantName::default_name() {
        payload.insert("tenantId".into(), claims.tenant.as_str().into());
    }
    match &claims.binding {
        None => payload.insert("permissions".into(), claims.permissions.names().collect()),
        Some(binding) => payload.insert("channels".into(), json!(BindingLists::from(binding))),
    };
    payload.insert("iat".into(), claims.now.as_second().into());
    payload.insert("exp".into(), at(claims.expires)?.into());
    if let Some(after) = claims.not_before {
        payload.insert("nbf".into(), at(after)?.into());
    }
    for (name, value) in [("iss", &claims.issuer), ("aud", &claims.audience)] {
        if let Some(value) = value {
            payload.insert(name.into(), value.as_str().into());
        }
    }
    sign(json!({}), &Value::Object(payload), key)
}

/// Signs any payload; members of `header` replace those of the key. Also makes tokens that must be refused.
pub(super) fn sign(header: Value, payload: &Value, key: &SigningKey) -> Result<String, MintError> {
    crypto::install();
    let plain = Header { kid: key.id.clone(), ..Header::new(key.algorithm) };
    let mut whole = serde_json::to_value(plain).map_err(|_| MintError::Unsigned)?;
    if let (Some(whole), Value::Object(header)) = (whole.as_object_mut(), header) {
        whole.extend(header);
    }
    let message =
        format!("{}.{}", super::token::encode(&whole.to_string()), super::token::encode(&payload.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.key, key.algorithm);
    Ok(format!("{message}.{}", signature.map_err(|_| MintError::Unsigned)?))
}
