//! Where data is kept: implementations of what the domain asks for ([`OrderStore`](crate::orders::OrderStore),
//! [`DashboardStore`](crate::dashboards::DashboardStore)). SQL is in here and nowhere else.
//!
//! | implementation | keeps |
//! |---|---|
//! | [`sqlite`] | all tenants in one file, or in memory |
//!
//! `suite` holds the behaviour that every implementation has to show; each runs it.

pub mod sqlite;
#[cfg(test)]
mod suite;
