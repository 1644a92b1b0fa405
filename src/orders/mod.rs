//! The business side: orders, customers, visits, and the numbers made of them.
//!
//! [`OrderService`] is the face of one tenant's orders. It keeps them in an [`OrderStore`], which this module only
//! describes; nothing here knows SQL. A change goes this way:
//!
//! ```text
//! caller ─▶ OrderService ─▶ ledger ─▶ OrderStore      the ledger is one task: it hands changes to the store in the order
//!    ◀──────────────────────── │ ◀──── accepted       they came, and counts them
//!                              └─▶ Relay              publishes the events that the store made with them
//! ```

mod error;
mod idempotency;
mod ledger;
mod money;
mod numbers;
mod order;
mod service;
mod store;

pub use error::OrderError;
pub use idempotency::IdempotencyKey;
pub use money::Money;
pub use numbers::{Minute, Numbers, Stats, Tally, minute_of};
pub use order::{Changes, NewCustomer, NewOrder, NewVisits, Order, OrderId, Priority, Status};
pub use service::{OrderService, Page};
pub use store::{Answer, Change, Changed, Created, Customer, Draft, OrderStore, Query, Rollup};
