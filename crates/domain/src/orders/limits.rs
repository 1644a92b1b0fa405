//! Numbers of rows that a tenant has in a store of orders, and their limits. Pure.

use super::OrderError;
use tricast_core::settings::Limits;

/// Numbers of rows of a tenant, or changes of these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Number of stored orders of the tenant.
    pub orders: i64,
    /// Number of stored customers of the tenant.
    pub customers: i64,
}

impl RowCounts {
    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            orders: self.orders.saturating_add(other.orders),
            customers: self.customers.saturating_add(other.customers),
        }
    }
}

/// Largest numbers of rows of one tenant; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowLimits {
    /// Largest number of orders.
    pub orders: usize,
    /// Largest number of customers.
    pub customers: usize,
}

impl From<&Limits> for RowLimits {
    fn from(limits: &Limits) -> Self {
        Self { orders: limits.max_orders, customers: limits.max_customers }
    }
}

impl RowLimits {
    /// Returns whether `added` rows fit beside those that a tenant has, `present`. A tenant that has more than a limit
    /// allows, because the limit was lowered, keeps them all and gets no new ones.
    ///
    /// # Errors
    /// [`OrderError::TooManyOrders`], [`OrderError::TooManyCustomers`].
    pub fn check(self, present: RowCounts, added: RowCounts) -> Result<(), OrderError> {
        let fits = |limit: usize, present: i64, added: i64| {
            limit == 0 || added <= 0 || present.saturating_add(added) <= i64::try_from(limit).unwrap_or(i64::MAX)
        };
        if !fits(self.orders, present.orders, added.orders) {
            return Err(OrderError::TooManyOrders(self.orders));
        }
        if !fits(self.customers, present.customers, added.customers) {
            return Err(OrderError::TooManyCustomers(self.customers));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(orders: i64, customers: i64) -> RowCounts {
        RowCounts { orders, customers }
    }

    #[test]
    fn what_is_added_has_to_fit_and_what_is_present_stays() {
        let limits = RowLimits { orders: 3, customers: 2 };
        assert_eq!(limits.check(counts(2, 1), counts(1, 1)), Ok(()));
        assert_eq!(limits.check(counts(3, 1), counts(1, 0)), Err(OrderError::TooManyOrders(3)));
        assert_eq!(limits.check(counts(2, 2), counts(1, 1)), Err(OrderError::TooManyCustomers(2)));
        assert_eq!(limits.check(counts(2, 9), counts(1, 0)), Ok(()), "an order of a known customer");
        assert_eq!(limits.check(counts(9, 1), counts(0, 1)), Ok(()), "a customer without an order");
        assert_eq!(RowLimits::default().check(counts(i64::MAX, i64::MAX), counts(1, 1)), Ok(()), "no limit");
    }
}
