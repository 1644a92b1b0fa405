//! Rules that every store of orders applies inside its transaction: pure functions.

use jiff::Timestamp;

use super::{Change, Changed, Changes, Created, Customer, Draft, NewOrder, Order, OrderError, OrderId, Tally};
use crate::relay::NewEvent;

/// Consequences of a change that makes a new version of an order.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Fields that have another value now.
    pub changes: Changes,
    /// Change of the figures, if there is one.
    pub tally: Option<Tally>,
    /// Event to store with the change.
    pub event: NewEvent,
}

impl Draft {
    /// Creates the order with the given number, and the change of the figures; a new customer is not counted in it.
    pub fn accept(self, number: OrderId) -> (Order, Tally) {
        let order = Order::begin(number, self.new, self.at);
        let tally = Tally::order(order.created_at, order.status, order.total);
        (order, tally)
    }
}

impl Created {
    /// Repeats the result of the first request with an idempotency key, whatever happened to the order since: all fields that a
    /// client can set are in the request.
    ///
    /// # Errors
    /// [`OrderError::KeyReused`] if the first request, with the digest `first`, had another body.
    pub fn repeated(new: NewOrder, first: &[u8], id: OrderId, created_at: Timestamp) -> Result<Self, OrderError> {
        if new.digest() != first {
            return Err(OrderError::KeyReused);
        }
        Ok(Self { order: Order::begin(id, new, created_at), tally: None, event: None })
    }
}

impl Change {
    /// Applies the change to `order`. Returns `None` if the order already has the requested values: it stays at its version
    /// and there is no event.
    ///
    /// # Errors
    /// [`OrderError::Moved`] when `If-Match` does not match; the order is unchanged then.
    pub fn apply(&self, order: &mut Order) -> Result<Option<Effect>, OrderError> {
        if self.if_match.as_ref().is_some_and(|if_match| !if_match.holds(order.version())) {
            return Err(OrderError::Moved);
        }
        let before = order.status;
        let changes = order.apply(self.changes, self.at);
        if changes.is_empty() {
            return Ok(None);
        }
        let tally = Tally::change(order.created_at, before, order.status, order.total);
        let tally = (order.status != before).then_some(tally);
        Ok(Some(Effect { changes, tally, event: changes.event(order, &self.by) }))
    }
}

impl Changed {
    /// Creates the result of a change that changed nothing.
    pub fn nothing(order: Order) -> Self {
        Self { order, changes: Changes::default(), tally: None, event: None }
    }
}

impl Customer {
    /// Returns the id for a new customer without one; `number` counts them for each tenant.
    pub fn generated_id(number: i64) -> String {
        format!("cus-{number:08}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Money, Priority, RowLimits, Status};
    use tricast_core::version::IfMatch;

    fn at() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn new() -> NewOrder {
        NewOrder {
            items: 1,
            total: Money { cents: 100 },
            customer_name: "Ada".into(),
            customer_id: None,
            status: Status::Pending,
            priority: Priority::Normal,
        }
    }

    fn change(status: Option<Status>, priority: Option<Priority>, if_match: Option<IfMatch>) -> Change {
        let changes = Changes { status, priority };
        Change { id: OrderId::new(1), changes, if_match, by: "ada".into(), at: at() }
    }

    #[test]
    fn customers_without_an_id_are_numbered() {
        assert_eq!([7, 123_456_789].map(Customer::generated_id), ["cus-00000007", "cus-123456789"]);
    }

    #[test]
    fn a_change_of_the_priority_does_not_move_the_figures() {
        let (mut order, _) =
            Draft { new: new(), key: None, at: at(), limits: RowLimits::default() }.accept(OrderId::new(1));
        let effect = change(None, Some(Priority::High), None).apply(&mut order).unwrap().unwrap();
        assert_eq!((effect.tally, order.version), (None, 2));
        let effect = change(Some(Status::Shipped), None, None).apply(&mut order).unwrap().unwrap();
        assert!(effect.tally.is_some());
    }

    #[test]
    fn a_change_of_another_version_is_refused_even_if_it_changes_nothing() {
        let (mut order, _) =
            Draft { new: new(), key: None, at: at(), limits: RowLimits::default() }.accept(OrderId::new(1));
        let other = Some(IfMatch::OneOf(vec!["other".into()]));
        let refused = change(Some(Status::Pending), None, other).apply(&mut order);
        assert!(matches!(refused, Err(OrderError::Moved)));
        assert!(change(Some(Status::Pending), None, None).apply(&mut order).unwrap().is_none());
        assert_eq!(order.version, 1);
    }

    #[test]
    fn a_key_repeats_the_first_result_for_the_same_body_only() {
        let first = new().digest();
        let repeated = Created::repeated(new(), &first, OrderId::new(7), at()).unwrap();
        assert_eq!((repeated.order.order_id, repeated.tally, repeated.event), (OrderId::new(7), None, None));
        let other = NewOrder { items: 2, ..new() };
        assert!(matches!(Created::repeated(other, &first, OrderId::new(7), at()), Err(OrderError::KeyReused)));
    }
}
