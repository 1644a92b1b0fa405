//! Business data and derived data of a tenant, and the sources that measure the server itself.
//!
//! Each module has pure rules, the interface of its store, and a service: a handle and the task that makes the changes.
//! Stores implement the interfaces; nothing in here knows SQL, HTTP or a transport.

pub mod alerts;
pub mod dashboards;
pub mod history;
pub mod keys;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod orders;
pub mod relay;
pub mod service;
pub mod sources;
