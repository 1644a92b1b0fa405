//! Claims of a token with a verified signature.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, error::Category};

use super::{
    binding::{Binding, BindingLists},
    error::TokenError,
    identity::Identity,
    permission::Permissions,
    tenant::TenantName,
    token::{is_object, present},
};

/// Longest `sub`, in bytes.
const MAX_USER: usize = 128;

/// Requirements on the claims of tokens.
#[derive(Debug)]
pub(super) struct Expected {
    /// Required `iss`; `None` accepts any and none.
    pub(super) issuer: Option<String>,
    /// Required member of `aud`; `None` ignores it.
    pub(super) audience: Option<String>,
    /// Allowed difference between the clocks of issuer and server, for `exp`, `nbf` and `iat`.
    pub(super) leeway: Duration,
}

/// A verified token: its identity and its validity.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    identity: Identity,
    /// `nbf` less the leeway.
    not_before: Option<Timestamp>,
}

/// Claims that are read. `null` differs from a missing claim; a repeated name is an error.
#[derive(Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "present", rename = "tenantId")]
    tenant: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    permissions: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    channels: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
}

impl Verified {
    /// Parses the payload of a token with a verified signature.
    ///
    /// # Errors
    /// `Malformed`, `BadClaims`, `WrongIssuer`, `WrongAudience`; time is checked by [`Self::at`].
    pub(super) fn read(payload: &[u8], expected: &Expected) -> Result<Self, TokenError> {
        if !is_object(payload) {
            return Err(TokenError::BadClaims("claims"));
        }
        let claims: Claims = serde_json::from_slice(payload).map_err(|error| match error.classify() {
            Category::Data => TokenError::BadClaims("claims"),
            _ => TokenError::Malformed,
        })?;
        if let Some(issuer) = &expected.issuer
            && claims.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::WrongIssuer);
        }
        if let Some(audience) = &expected.audience
            && !names(claims.aud.as_ref(), audience)
        {
            return Err(TokenError::WrongAudience);
        }
        let user = match &claims.sub {
            Some(Value::String(user)) if is_user(user) => Arc::from(user.as_str()),
            _ => return Err(TokenError::BadClaims("sub")),
        };
        let tenant = match &claims.tenant {
            None => TenantName::default_name(),
            Some(Value::String(name)) => TenantName::parse(name).map_err(|_| TokenError::BadClaims("tenantId"))?,
            Some(_) => return Err(TokenError::BadClaims("tenantId")),
        };
        let permissions = permissions(&claims)?;
        let binding = claims.channels.map(binding).transpose()?;
        let expires = claims.exp.as_ref().and_then(time).ok_or(TokenError::BadClaims("exp"))?;
        let expires = expires.checked_add(expected.leeway).unwrap_or(Timestamp::MAX);
        let not_before = match &claims.nbf {
            None => None,
            Some(value) => {
                let time = time(value).ok_or(TokenError::BadClaims("nbf"))?;
                Some(time.checked_sub(expected.leeway).unwrap_or(Timestamp::MIN))
            }
        };
        Ok(Self { identity: Identity::of_token(tenant, user, permissions, binding, expires), not_before })
    }

    /// Returns the identity of the token, if it is valid at `now`.
    ///
    /// # Errors
    /// `Expired` from `exp` on, `NotYetValid` before `nbf`; both with the leeway.
    pub(super) fn at(&self, now: Timestamp) -> Result<Identity, TokenError> {
        if self.identity.expires_at.is_some_and(|end| now >= end) {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|begin| now < begin) {
            return Err(TokenError::NotYetValid);
        }
        Ok(self.identity.clone())
    }
}

/// Returns whether a text is a valid name of a user.
pub(super) fn is_user(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_USER && !text.chars().any(char::is_control)
}

/// Returns whether `aud`, a text or a list, contains `audience`.
fn names(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// Returns the permissions of a list, or of OAuth's text separated by spaces (RFC 6749, section 3.3). A list takes precedence.
fn permissions(claims: &Claims) -> Result<Permissions, TokenError> {
    match (&claims.permissions, &claims.scope) {
        (Some(Value::Array(list)), _) if list.iter().all(Value::is_string) => {
            Ok(Permissions::parse(list.iter().filter_map(Value::as_str)))
        }
        (Some(_), _) => Err(TokenError::BadClaims("permissions")),
        (None, Some(Value::String(scope))) => Ok(Permissions::parse(scope.split(' '))),
        (None, Some(_)) => Err(TokenError::BadClaims("scope")),
        (None, None) => Ok(Permissions::NONE),
    }
}

/// Returns the binding of the claim `channels`.
fn binding(channels: Value) -> Result<Binding, TokenError> {
    // serde would also accept a list of the two lists.
    let lists = Some(channels).filter(Value::is_object).and_then(|value| BindingLists::deserialize(value).ok());
    lists.and_then(|lists| lists.parse().ok()).ok_or(TokenError::BadClaims("channels"))
}

/// Parses a NumericDate (RFC 7519, section 2): seconds since 1970, fractions allowed and cut off, up to the year 9999.
fn time(value: &Value) -> Option<Timestamp> {
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        // Above 2^53 a float is no longer exact, and a year of that size no date.
        None => value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds))?.trunc() as i64,
    };
    Timestamp::from_second(seconds).ok().filter(|_| seconds >= 0)
}
