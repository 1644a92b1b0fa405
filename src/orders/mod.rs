//! The business side: orders, customers, visits, and the numbers made of them.
//!
//! This version keeps them in memory, bounded; they end with the process.

mod money;
mod numbers;
mod order;
mod service;

pub use money::Money;
pub use numbers::Numbers;
pub use order::{Changes, NewOrder, Order, OrderError, Priority, Status};
pub use service::{OrderService, Page};
