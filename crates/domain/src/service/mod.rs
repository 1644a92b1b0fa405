//! Parts shared by the services of a tenant: orders, dashboards, alerts, history and the relay.
//!
//! A service is a pair. The handle is cheap to clone and may be used from any thread; the task owns the mutable state and
//! runs until the last handle is dropped. [`Commands`] is the bounded queue between the two.

mod commands;
mod error;
mod retry;

pub use commands::{Commands, Reply, confirmed, in_time};
pub use error::{ServiceError, StoreError};
pub use retry::Retry;
