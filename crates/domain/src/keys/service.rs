//! Keys of one tenant, for its administrators.

use std::{sync::Arc, time::Duration};

use super::{Key, KeyError, KeyHash, KeyStore, NewKey};
use crate::service::{confirmed, in_time};
use tricast_core::clock::Clock;

/// Longest time that a caller waits for the store.
const DEADLINE: Duration = Duration::from_secs(10);

/// Keys of one tenant. Cheap to clone. It has no task: changes are independent of each other, and the store makes each of them
/// in one transaction.
#[derive(Clone)]
pub struct KeyService {
    tenant: Arc<str>,
    store: Arc<dyn KeyStore>,
    clock: Clock,
    max: usize,
}

impl KeyService {
    /// Creates the service for the keys that `store` has of `tenant`, at most `max`; 0 means no limit.
    pub fn new(tenant: &str, store: Arc<dyn KeyStore>, clock: Clock, max: usize) -> Self {
        Self { tenant: tenant.into(), store, clock, max }
    }

    /// Returns all keys, in the order of their names; also those that have expired and were not deleted yet.
    ///
    /// # Errors
    /// [`KeyError::Store`], [`KeyError::Service`].
    pub async fn list(&self) -> Result<Vec<Key>, KeyError> {
        in_time(DEADLINE, self.store.keys(&self.tenant)).await
    }

    /// Creates a key with this ID and this hash of its secret.
    ///
    /// # Errors
    /// [`KeyError::Invalid`], [`KeyError::Taken`], [`KeyError::TooMany`], [`KeyError::Store`], [`KeyError::Service`].
    pub async fn create(&self, new: NewKey, id: String, hash: KeyHash) -> Result<Key, KeyError> {
        let key = new.build(id, self.clock.now())?;
        confirmed(DEADLINE, self.store.insert(&self.tenant, key.clone(), hash, self.max)).await?;
        Ok(key)
    }

    /// Deletes the key that has this ID or name, and returns its ID.
    ///
    /// # Errors
    /// [`KeyError::NotFound`], [`KeyError::Store`], [`KeyError::Service`].
    pub async fn revoke(&self, id_or_name: &str) -> Result<String, KeyError> {
        confirmed(DEADLINE, self.store.delete(&self.tenant, id_or_name)).await
    }
}
