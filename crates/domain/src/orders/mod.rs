//! Orders, customers and visits of a tenant, and the figures computed from them.
//!
//! [`OrderService`] is the handle, [`Ledger`] the task that applies all changes. They keep the data in an [`OrderStore`],
//! of which this module has only the interface. The path of a change:
//!
//! ```text
//! caller ─▶ OrderService ─▶ Ledger ─▶ OrderStore      the ledger passes changes on in order, and counts the results
//!    ◀──────────────────────── │ ◀──── result
//!                              └─▶ Relay              publishes the events that were stored with the changes
//! ```

mod customer;
mod error;
mod idempotency;
mod ledger;
mod limits;
mod money;
mod numbers;
mod order;
mod rules;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod store;

pub use customer::{NewCustomer, NewVisits};
pub use error::OrderError;
pub use idempotency::IdempotencyKey;
pub use ledger::Ledger;
pub use limits::{RowCounts, RowLimits};
pub use money::Money;
pub use numbers::{Minute, Numbers, Stats, Tally, minute_of};
pub use order::{Changes, NewOrder, Order, OrderId, Priority, Status};
pub use rules::Effect;
#[cfg(feature = "openapi")]
pub use schema::OrderChanges;
pub use service::{Deletion, OrderService, Page};
pub use store::{Change, Changed, Created, Customer, Deleted, Draft, OrderStore, Query, Rollup, StoreFuture};
