//! Interface between keys and a store. The implementations are in `tricast_store`.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Key, KeyError, KeyHash, StoredKey};

/// Result of a call to a store; dropping it does not undo a change.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, KeyError>>;

/// Keeps the keys of many tenants. [`KeyStore::find`], [`KeyStore::existing`] and [`KeyStore::note_uses`] cross tenants: IDs are
/// unique, and a key names its tenant.
///
/// An acknowledged change survives the end of the process. The caller has checked the keys.
///
/// # Errors
/// Every method: [`KeyError::Store`]. A change that failed has changed nothing, unless the error is
/// [`StoreError::Unknown`](crate::service::StoreError::Unknown).
pub trait KeyStore: Send + Sync {
    /// Adds a key, if the tenant has less than `max`; 0 means no limit. Keys of the tenant that expired before `key.made` are
    /// deleted first, so that their names and their room are free.
    ///
    /// # Errors
    /// [`KeyError::Taken`], [`KeyError::TooMany`].
    fn insert(&self, tenant: &str, key: Key, hash: KeyHash, max: usize) -> StoreFuture<()>;

    /// Returns the keys of a tenant, in the order of their names.
    fn keys(&self, tenant: &str) -> StoreFuture<Vec<Key>>;

    /// Deletes the key of a tenant that has this ID or name, and returns its ID.
    ///
    /// # Errors
    /// [`KeyError::NotFound`].
    fn delete(&self, tenant: &str, id_or_name: &str) -> StoreFuture<String>;

    /// Returns the key with this ID, of any tenant; `None` if there is none.
    fn find(&self, id: &str) -> StoreFuture<Option<StoredKey>>;

    /// Returns those of these IDs that keys have.
    fn existing(&self, ids: Vec<String>) -> StoreFuture<Vec<String>>;

    /// Stores the times of uses by ID, unless a later one is stored. Leaves out keys that were deleted, and may leave out those
    /// that another node changes at that moment.
    fn note_uses(&self, uses: Vec<(String, Timestamp)>) -> StoreFuture<()>;
}
