//! Rights of a key as JSON in a column.

use serde::{Deserialize, Serialize};

use tricast_core::channel::{NameError, Selector};
use tricast_domain::keys::Key;

/// Selectors and permissions of a key as texts.
#[derive(Deserialize, Serialize)]
pub(super) struct KeyRights {
    read: Vec<String>,
    push: Vec<String>,
    permissions: Vec<String>,
}

impl KeyRights {
    /// Returns the rights of `key`.
    pub(super) fn of(key: &Key) -> Self {
        let texts = |list: &[Selector]| list.iter().map(Selector::to_string).collect();
        Self { read: texts(&key.read), push: texts(&key.push), permissions: key.permissions.clone() }
    }

    /// Returns `key` with these rights.
    ///
    /// # Errors
    /// [`NameError`] for a text that no key was stored with.
    pub(super) fn give(self, key: Key) -> Result<Key, NameError> {
        let parse = |list: &[String]| list.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>();
        Ok(Key { read: parse(&self.read)?, push: parse(&self.push)?, permissions: self.permissions, ..key })
    }
}
