//! Machine keys: credentials that are stored, bound to channels, and can be revoked.
//!
//! `key` has the rules, `store` what is needed of a store, `service` what a tenant's administrator does. The secret of a key is
//! made and compared elsewhere: this module knows its hash only.

mod error;
mod key;
mod service;
mod store;

pub use error::KeyError;
pub use key::{KEY_HASH, Key, KeyHash, NewKey, StoredKey};
pub use service::KeyService;
pub use store::{KeyStore, StoreFuture};
