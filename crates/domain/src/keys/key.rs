//! A key: its name, its channels and its validity.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::KeyError;
use tricast_core::{channel::Selector, clock::rfc3339};

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Most selectors of one list; as in the claim `channels` of a token.
const MAX_SELECTORS: usize = 64;

/// Length of a hash, in bytes.
pub const KEY_HASH: usize = 32;

/// SHA-256 of the secret of a key.
pub type KeyHash = [u8; KEY_HASH];

/// A key without its secret, which is not stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// ID, which is part of the key's text.
    pub id: String,
    /// Name, unique in the tenant.
    pub name: String,
    /// Channels that it may read.
    #[serde(serialize_with = "texts")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub read: Vec<Selector>,
    /// Channels that it may push to and delete.
    #[serde(serialize_with = "texts")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub push: Vec<Selector>,
    /// Names of its permissions, which a key has in place of channels.
    pub permissions: Vec<String>,
    /// Time at which it was created.
    #[serde(serialize_with = "time", rename = "createdAt")]
    #[cfg_attr(feature = "openapi", schema(value_type = tricast_core::openapi::Time))]
    pub made: Timestamp,
    /// Time from which it is refused; `None`: never.
    #[serde(serialize_with = "maybe_time", rename = "expiresAt")]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Option<tricast_core::openapi::Time>))]
    pub expires: Option<Timestamp>,
    /// Time of a recent use, to the hour; `None` before the first.
    #[serde(serialize_with = "maybe_time", rename = "lastUsedAt")]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Option<tricast_core::openapi::Time>))]
    pub used: Option<Timestamp>,
}

/// A key as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    /// Tenant of the key.
    pub tenant: String,
    /// The key.
    pub key: Key,
    /// Hash of its secret.
    pub hash: KeyHash,
}

/// A key that is to be created.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    /// Name: `[A-Za-z0-9_.:-]{1,64}`.
    pub name: String,
    /// Selectors of the channels that it may read.
    #[serde(default)]
    pub read: Vec<String>,
    /// Selectors of the channels that it may push to and delete.
    #[serde(default)]
    pub push: Vec<String>,
    /// Names of permissions in place of channels; the caller has checked them.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Time from which it is refused, in the future; `None`: never.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<tricast_core::openapi::Time>))]
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// Checks the fields and returns the key with this ID.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] with the fault.
    pub fn build(self, id: String, now: Timestamp) -> Result<Key, KeyError> {
        let Self { name, read, push, permissions, expires_at: expires } = self;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(KeyError::Invalid("name: 1 to 64 of the characters A-Z a-z 0-9 _ . : -".into()));
        }
        let has_channels = !read.is_empty() || !push.is_empty();
        if has_channels != permissions.is_empty() {
            let detail = "name at least one channel in read or push, or else permissions";
            return Err(KeyError::Invalid(detail.into()));
        }
        if expires.is_some_and(|at| at <= now) {
            return Err(KeyError::Invalid("expiresAt: is in the past".into()));
        }
        let (read, push) = (selectors("read", &read)?, selectors("push", &push)?);
        Ok(Key { id, name, read, push, permissions, made: now, expires, used: None })
    }
}

fn selectors(field: &str, texts: &[String]) -> Result<Vec<Selector>, KeyError> {
    if texts.len() > MAX_SELECTORS {
        return Err(KeyError::Invalid(format!("{field}: has more than {MAX_SELECTORS} channels")));
    }
    let parse = |text: &String| {
        let shown = || text.chars().take(60).collect::<String>();
        Selector::parse(text).map_err(|error| KeyError::Invalid(format!("{field}: {:?}: {error}", shown())))
    };
    texts.iter().map(parse).collect()
}

impl Key {
    /// Returns whether it is refused at `now` because it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Checks that a tenant with `keys` keys, of at most `max`, has room for this one; 0 means no limit. `same`: another key
    /// has its name.
    ///
    /// # Errors
    /// [`KeyError::Taken`], [`KeyError::TooMany`].
    pub fn check_room(&self, same: bool, keys: i64, max: usize) -> Result<(), KeyError> {
        if same {
            return Err(KeyError::Taken(self.name.clone()));
        }
        if max > 0 && usize::try_from(keys).unwrap_or_default() >= max {
            return Err(KeyError::TooMany(max));
        }
        Ok(())
    }
}

fn texts<S: Serializer>(list: &[Selector], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(Selector::to_string))
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

fn maybe_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&rfc3339(*time)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn ci() -> NewKey {
        NewKey {
            name: "ci".into(),
            read: vec![],
            push: vec!["metrics.ci.*".into()],
            permissions: vec![],
            expires_at: None,
        }
    }

    #[test]
    fn a_key_has_the_given_fields() {
        let key = NewKey { expires_at: Some(now() + 1.hour()), ..ci() }.build("a1".into(), now()).unwrap();
        assert_eq!((key.id.as_str(), key.name.as_str(), key.made, key.used), ("a1", "ci", now(), None));
        assert!(!key.is_expired(now()) && key.is_expired(now() + 1.hour()));
        let json = serde_json::to_value(&key).unwrap();
        assert_eq!(json["push"], serde_json::json!(["metrics.ci.*"]));
        assert_eq!((&json["read"], &json["lastUsedAt"]), (&serde_json::json!([]), &serde_json::Value::Null));
        assert!(!ci().build("a1".into(), now()).unwrap().is_expired(Timestamp::MAX));
    }

    #[test]
    fn faults_are_named() {
        for (new, part) in [
            (NewKey { name: String::new(), ..ci() }, "name"),
            (NewKey { name: "x".repeat(65), ..ci() }, "name"),
            (NewKey { name: "a b".into(), ..ci() }, "name"),
            (NewKey { push: vec![], ..ci() }, "at least one"),
            (NewKey { permissions: vec!["admin".into()], ..ci() }, "or else"),
            (NewKey { push: vec!["metrics*".into()], ..ci() }, "push: \"metrics*\""),
            (NewKey { read: vec!["*".into()], ..ci() }, "read: \"*\""),
            (NewKey { read: vec!["a".into(); 65], ..ci() }, "more than 64"),
            (NewKey { expires_at: Some(now()), ..ci() }, "in the past"),
        ] {
            let error = new.clone().build("a1".into(), now()).unwrap_err();
            assert!(matches!(&error, KeyError::Invalid(detail) if detail.contains(part)), "{new:?}: {error}");
        }
    }

    #[test]
    fn keys_are_bounded() {
        let key = ci().build("a1".into(), now()).unwrap();
        assert_eq!(key.check_room(true, 0, 9), Err(KeyError::Taken("ci".into())));
        assert_eq!(key.check_room(false, 9, 9), Err(KeyError::TooMany(9)));
        assert_eq!((key.check_room(false, 8, 9), key.check_room(false, 99, 0)), (Ok(()), Ok(())));
    }
}
