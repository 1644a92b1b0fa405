//! Changes of a group, made in memory with the functions of the domain.

use jiff::Timestamp;

use super::{Key, Known, Memory, RowState, Tenant};
use crate::postgres::order_queue::{Work, Write};
use tricast_domain::{
    orders::{
        Change, Changed, Created, Customer, Draft, Effect, IdempotencyKey, NewCustomer, OrderError, OrderId, RowCounts,
        RowLimits, Tally,
    },
    relay::{self, NewEvent},
    service::StoreError,
};

impl Memory {
    /// Makes one change with the domain's functions, in memory.
    pub(super) fn make(&mut self, write: &mut Write) {
        let tenant = write.tenant.as_str();
        match &mut write.work {
            Work::Create(draft, slot) => slot.result = Some(self.create(tenant, draft.clone())),
            Work::Change(change, slot) => slot.result = Some(self.change(tenant, change)),
            Work::Customer(customer, at, limits, slot) => {
                slot.result = Some(self.customer(tenant, customer, *at, *limits));
            }
            Work::Visits(count, at, slot) => {
                let tally = Tally::visits(*at, *count);
                slot.result = Some(self.count(tenant, tally).map(|()| tally));
            }
            // Recounts are not part of a group.
            Work::Recount(_, slot) => slot.result = Some(Err(StoreError::Unavailable.into())),
        }
    }

    fn create(&mut self, tenant: &str, draft: Draft) -> Result<Created, OrderError> {
        let (key, at) = (draft.key.clone(), draft.at);
        let digest = draft.new.digest();
        let id = self.tenant(tenant)?.id;
        if let Some(key) = &key
            && let Some(known) = self.keys.get(&(id, key.as_str().to_owned()))
            && known.used.as_millisecond() > IdempotencyKey::expired_at(at)
        {
            let number = OrderId::new(known.number as u64);
            return Created::repeated(draft.new, &known.digest, number, known.created);
        }
        let customer = draft.new.customer_id.as_deref();
        let is_new = customer.is_some_and(|customer| !self.customers.contains_key(&(id, customer.to_owned())));
        let row = self.tenant(tenant)?;
        draft.limits.check(row.rows, RowCounts { orders: 1, customers: i64::from(is_new) })?;
        row.last_order += 1;
        let number = row.last_order;
        let (order, mut tally) = draft.accept(OrderId::new(number as u64));
        self.orders.insert((id, number), (order.clone(), RowState::Inserted));
        if let Some(key) = key {
            let known = Key { digest: digest.to_vec(), number, created: at, used: at, is_new: true };
            self.keys.insert((id, key.as_str().to_owned()), known);
        }
        if let Some(customer) = &order.customer_id
            && self.note_customer(id, customer, Some(&order.customer_name), at)
        {
            tally = tally.and_customer();
        }
        self.count(tenant, tally)?;
        let event = self.event(tenant, order.created())?;
        Ok(Created { order, tally: Some(tally), event: Some(event) })
    }

    fn change(&mut self, tenant: &str, change: &Change) -> Result<Changed, OrderError> {
        let id = self.tenants.get(tenant).ok_or(OrderError::NotFound)?.id;
        let known = self.orders.get_mut(&(id, change.id.number() as i64));
        let (order, state) = known.ok_or(OrderError::NotFound)?;
        let Some(Effect { changes, tally, event }) = change.apply(order)? else {
            return Ok(Changed::nothing(order.clone()));
        };
        if *state == RowState::Unchanged {
            *state = RowState::Updated;
        }
        let order = order.clone();
        if let Some(tally) = tally {
            self.count(tenant, tally)?;
        }
        let event = self.event(tenant, event)?;
        Ok(Changed { order, changes, tally, event: Some(event) })
    }

    fn customer(
        &mut self,
        tenant: &str,
        customer: &NewCustomer,
        at: Timestamp,
        limits: RowLimits,
    ) -> Result<Customer, OrderError> {
        let row = self.tenant(tenant)?;
        let (id, present) = (row.id, row.rows);
        let known = |customer: &String| self.customers.contains_key(&(id, customer.clone()));
        if !customer.customer_id.as_ref().is_some_and(known) {
            limits.check(present, RowCounts { orders: 0, customers: 1 })?;
        }
        let name = customer.name.as_deref();
        let (customer, is_new) = match &customer.customer_id {
            Some(customer) => (customer.clone(), self.note_customer(id, customer, name, at)),
            None => loop {
                let row = self.tenant(tenant)?;
                if row.free_ids.is_empty() {
                    return Err(StoreError::Unavailable.into());
                }
                let (number, free) = row.free_ids.remove(0);
                row.last_customer = number;
                // The group itself may have used the id.
                if self.note_customer(id, &free, name, at) {
                    break (free, true);
                }
            },
        };
        let first_seen = self.customers.get(&(id, customer.clone())).map_or(at, |known| known.first_seen);
        let tally = is_new.then(|| Tally::customer(at));
        if let Some(tally) = tally {
            self.count(tenant, tally)?;
        }
        Ok(Customer { id: customer, first_seen, tally })
    }

    /// Records a customer by the shop's id. Returns whether the customer is new. A later name replaces the earlier one.
    fn note_customer(&mut self, tenant: i64, id: &str, name: Option<&str>, at: Timestamp) -> bool {
        let name = name.map(str::to_owned);
        match self.customers.get_mut(&(tenant, id.to_owned())) {
            Some(known) => {
                if name.is_some() && known.name != name {
                    (known.name, known.changed) = (name, true);
                }
                false
            }
            None => {
                self.customers.insert((tenant, id.to_owned()), Known { first_seen: at, name, changed: true });
                true
            }
        }
    }

    fn count(&mut self, tenant: &str, tally: Tally) -> Result<(), OrderError> {
        let Tally { minute, counts, open, rows } = tally;
        let row = self.tenant(tenant)?;
        row.open += open;
        row.rows = row.rows.plus(rows);
        row.counted = true;
        let id = row.id;
        let sum = self.minutes.entry((id, minute)).or_default();
        *sum = sum.plus(counts);
        Ok(())
    }

    /// Records the event of a change. Returns its sequence number.
    fn event(&mut self, tenant: &str, event: NewEvent) -> Result<u64, OrderError> {
        let now = self.now;
        let row = self.tenant(tenant)?;
        row.last_event = relay::next_seq(row.last_event, now);
        row.has_events = true;
        let (id, seq) = (row.id, row.last_event);
        self.events.push((id, seq, event));
        Ok(seq as u64)
    }

    fn tenant(&mut self, name: &str) -> Result<&mut Tenant, OrderError> {
        // The row existed or was just created: it was deleted by hand.
        self.tenants.get_mut(name).ok_or(StoreError::Unavailable.into())
    }
}
