//! Name of a tenant.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Longest name, in bytes.
const MAX_LENGTH: usize = 64;

/// Owner of data: `[A-Za-z0-9_.:-]{1,64}`. Always valid; clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

/// A text that is not a valid name of a tenant. It does not contain the text, which came from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant's name has 1 to 64 of the characters A-Z a-z 0-9 _ . : -")]
pub struct BadTenant;

impl TenantName {
    /// Returns `default`: the only tenant while authentication is off, and the tenant of tokens without a `tenantId`.
    pub fn default_name() -> Self {
        static DEFAULT: OnceLock<TenantName> = OnceLock::new();
        DEFAULT.get_or_init(|| Self("default".into())).clone()
    }

    /// Parses a name.
    ///
    /// # Errors
    /// [`BadTenant`]: empty, too long, or another character.
    pub fn parse(text: &str) -> Result<Self, BadTenant> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(allowed) {
            return Err(BadTenant);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["default", "a", "Acme-1.eu:shop_2", &"x".repeat(64)] {
            assert_eq!(TenantName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", &"x".repeat(65), "a b", "../etc", "a/b", "ä", "a\0", "a\n", "a*", "'--"] {
            assert_eq!(TenantName::parse(bad), Err(BadTenant), "{bad:?}");
        }
        assert_eq!(TenantName::parse("default").unwrap(), TenantName::default_name());
    }

    proptest! {
        #[test]
        fn a_written_name_is_read_back_unchanged(text in "[A-Za-z0-9_.:-]{1,64}") {
            prop_assert_eq!(TenantName::parse(&text).unwrap().to_string(), text);
        }
    }
}
