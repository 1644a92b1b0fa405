//! Contract of [`OrderStore`](tricast_domain::orders::OrderStore): the behaviour that all stores share.

use jiff::ToSpan;

use super::{SHOP, Stores, draft, keyed, now, open, to};
use tricast_core::version::{IfMatch, Version};
use tricast_domain::orders::{
    Change, Changes, Draft, Minute, Money, NewCustomer, OrderError, OrderId, Priority, Query, RowCounts, RowLimits,
    Status, Tally, minute_of,
};

pub(crate) async fn orders_are_numbered_and_read_back(stores: Stores) {
    let store = stores.orders;
    for number in 1..=3 {
        let mut draft = draft(1_999, Status::Processing);
        draft.new.customer_id = Some(format!("c{number}"));
        let created = store.create(SHOP, draft).await.unwrap();
        assert_eq!(created.order.order_id, OrderId::new(number));
        assert_eq!(created.order.version().to_string(), Version { number: 1, made: now() }.to_string());
        assert_eq!(created.tally, Some(Tally::order(now(), Status::Processing, Money { cents: 1_999 }).and_customer()));
        assert_eq!(store.order(SHOP, created.order.order_id).await.unwrap(), created.order);
    }
    assert_eq!(store.order(SHOP, OrderId::new(4)).await, Err(OrderError::NotFound));
}

pub(crate) async fn a_page_is_newest_first_and_by_status(stores: Stores) {
    let store = stores.orders;
    for number in 0..10 {
        store.create(SHOP, draft(100, Status::ALL[number % 2])).await.unwrap();
    }
    let page = |status, before: Option<u64>, limit| {
        let orders = store.orders(SHOP, Query { status, before: before.map(OrderId::new), limit });
        async { orders.await.unwrap().iter().map(|order| order.order_id.number()).collect::<Vec<_>>() }
    };
    assert_eq!(page(None, None, 3).await, [10, 9, 8]);
    assert_eq!(page(None, Some(8), 3).await, [7, 6, 5]);
    assert_eq!(page(None, Some(2), 3).await, [1]);
    assert_eq!(page(None, Some(1), 3).await, [] as [u64; 0]);
    assert_eq!(page(Some(Status::Processing), None, 3).await, [10, 8, 6]);
    assert_eq!(page(Some(Status::Processing), Some(6), 9).await, [4, 2]);
    assert_eq!(page(Some(Status::Cancelled), None, 9).await, [] as [u64; 0]);
    store.change(SHOP, to(OrderId::new(3), Status::Cancelled)).await.unwrap();
    assert_eq!(page(Some(Status::Cancelled), None, 9).await, [3]);
    assert_eq!(page(Some(Status::Pending), None, 9).await, [9, 7, 5, 1]);
    assert_eq!(page(None, Some(u64::MAX >> 1), 1).await, [10]);
}

pub(crate) async fn a_change_makes_one_version_and_none_when_it_changes_nothing(stores: Stores) {
    let store = stores.orders;
    let order = store.create(SHOP, draft(500, Status::Pending)).await.unwrap().order;
    let changes = Changes { status: Some(Status::Shipped), priority: Some(Priority::High) };
    let changed = store.change(SHOP, Change { changes, ..to(order.order_id, Status::Shipped) }).await.unwrap();
    assert_eq!(
        changed.changes,
        Changes { status: Some(Status::Shipped), priority: None },
        "only the field that differs"
    );
    assert_eq!((changed.order.version, changed.order.updated_at), (2, now() + 1.minute()));
    assert_eq!(store.order(SHOP, order.order_id).await.unwrap(), changed.order);
    let again = store.change(SHOP, to(order.order_id, Status::Shipped)).await.unwrap();
    assert!(again.changes.is_empty() && again.tally.is_none());
    assert_eq!(again.order, changed.order);
    assert_eq!(store.change(SHOP, to(OrderId::new(99), Status::Shipped)).await.unwrap_err(), OrderError::NotFound);
}

pub(crate) async fn a_change_of_an_older_version_is_refused(stores: Stores) {
    let store = stores.orders;
    let order = store.create(SHOP, draft(500, Status::Pending)).await.unwrap().order;
    let seen = IfMatch::OneOf(vec![order.version().to_string()]);
    let conditional = |status, if_match: &IfMatch| {
        store.change(SHOP, Change { if_match: Some(if_match.clone()), ..to(order.order_id, status) })
    };
    // Both saw the same version; one of them is late.
    let (first, second) = tokio::join!(conditional(Status::Shipped, &seen), conditional(Status::Cancelled, &seen));
    assert_eq!(first.unwrap().order.status, Status::Shipped);
    assert_eq!(second.unwrap_err(), OrderError::Moved);
    assert_eq!(store.order(SHOP, order.order_id).await.unwrap().status, Status::Shipped);
    assert_eq!(conditional(Status::Completed, &IfMatch::Any).await.unwrap().order.version, 3);
    assert_eq!(conditional(Status::Completed, &seen).await.unwrap_err(), OrderError::Moved, "also without a change");
}

pub(crate) async fn a_key_makes_one_order(stores: Stores) {
    let store = stores.orders;
    let first = store.create(SHOP, keyed("k", 500, now())).await.unwrap();
    store.change(SHOP, to(first.order.order_id, Status::Cancelled)).await.unwrap();
    let again = store.create(SHOP, keyed("k", 500, now() + 1.hour())).await.unwrap();
    assert_eq!(again.order, first.order, "the first response, despite later changes");
    assert!(again.tally.is_none());
    assert_eq!(store.create(SHOP, keyed("k", 501, now())).await.unwrap_err(), OrderError::KeyReused);
    assert_eq!(store.create(SHOP, keyed("l", 500, now())).await.unwrap().order.order_id, OrderId::new(2));
    assert_eq!(open(&store.rollup(SHOP, 0).await.unwrap()).1.orders, 1, "the other one was cancelled");
}

pub(crate) async fn concurrent_requests_with_one_key_make_one_order(stores: Stores) {
    let store = stores.orders;
    let asked: Vec<_> = (0..50).map(|_| store.create(SHOP, keyed("k", 500, now()))).collect();
    let mut made = 0;
    for answer in asked {
        let created = answer.await.unwrap();
        assert_eq!(created.order.order_id, OrderId::new(1));
        made += usize::from(created.tally.is_some());
    }
    assert_eq!(made, 1);
    assert_eq!(store.orders(SHOP, Query { limit: 9, ..Query::default() }).await.unwrap().len(), 1);
}

pub(crate) async fn a_key_expires_after_a_day(stores: Stores) {
    let store = stores.orders;
    store.create(SHOP, keyed("k", 500, now())).await.unwrap();
    let almost = now() + 23.hours() + 59.minutes();
    assert_eq!(store.create(SHOP, keyed("k", 500, almost)).await.unwrap().order.order_id, OrderId::new(1));
    let after = now() + 24.hours();
    assert_eq!(store.create(SHOP, keyed("k", 777, after)).await.unwrap().order.order_id, OrderId::new(2));
    assert_eq!(store.create(SHOP, keyed("k", 777, after)).await.unwrap().order.order_id, OrderId::new(2));
}

pub(crate) async fn customers_are_new_once(stores: Stores) {
    let store = stores.orders;
    let customer = |id: Option<&str>, at| {
        let new = NewCustomer { customer_id: id.map(str::to_owned), name: None };
        let noted = store.customer(SHOP, new, at, RowLimits::default());
        async { noted.await.map(|customer| (customer.id, customer.first_seen, customer.tally.is_some())).unwrap() }
    };
    let later = now() + 1.hour();
    assert_eq!(customer(Some("a"), now()).await, ("a".into(), now(), true));
    assert_eq!(customer(Some("a"), later).await, ("a".into(), now(), false));
    assert!(customer(Some("cus-00000001"), now()).await.2);
    assert_eq!(
        customer(None, now()).await,
        ("cus-00000002".into(), now(), true),
        "an id that the shop uses is left out"
    );
    assert_eq!(customer(None, now()).await.0, "cus-00000003");
    let order = |id: &str| {
        let mut draft = draft(100, Status::Pending);
        draft.new.customer_id = Some(id.into());
        let created = store.create(SHOP, draft);
        async { created.await.unwrap().tally.unwrap().counts.customers }
    };
    assert_eq!((order("a").await, order("b").await, order("b").await), (0, 1, 0));
    assert_eq!(open(&store.rollup(SHOP, 0).await.unwrap()).1.customers, 5);
}

pub(crate) async fn the_rollup_is_that_of_the_orders(stores: Stores) {
    let store = stores.orders;
    let mut sum: (i64, Minute) = Default::default();
    let mut add = |tally: Option<Tally>| {
        let Some(Tally { counts, open, .. }) = tally else { return };
        sum.0 += open;
        sum.1.orders += counts.orders;
        sum.1.cents += counts.cents;
        sum.1.processing += counts.processing;
        sum.1.customers += counts.customers;
        sum.1.visits += counts.visits;
    };
    for step in 0..60_u32 {
        let at = now() + (i64::from(step) * 20).seconds();
        let status = Status::ALL[step as usize % 5];
        let created = store.create(SHOP, Draft { at, ..draft(i64::from(step) * 7, status) }).await.unwrap();
        add(created.tally);
        let next = Status::ALL[step as usize * 3 % 5];
        let id = OrderId::new(u64::from(step) / 2 + 1);
        add(store.change(SHOP, Change { at, ..to(id, next) }).await.unwrap().tally);
        add(Some(store.visits(SHOP, step + 1, at).await.unwrap()));
    }
    let rollup = store.rollup(SHOP, 0).await.unwrap();
    assert_eq!(open(&rollup), sum);
    assert_eq!(rollup.minutes.len(), 20 + 1, "a row a minute");
    let orders = store.orders(SHOP, Query { limit: 100, ..Query::default() }).await.unwrap();
    let valid = || orders.iter().filter(|order| order.status != Status::Cancelled);
    assert_eq!(sum.1.orders, valid().count() as i64);
    assert_eq!(sum.1.cents, valid().map(|order| order.total.cents).sum::<i64>());
    assert_eq!(sum.1.processing, orders.iter().filter(|order| order.status == Status::Processing).count() as i64);
    let since = minute_of(now()) + 10;
    let late = store.rollup(SHOP, since).await.unwrap();
    assert!(late.minutes.iter().all(|(minute, _)| *minute >= since) && late.minutes.len() == 11);
    assert_eq!(late.open, rollup.open, "open orders count at any age");
}

pub(crate) async fn money_is_exact(stores: Stores) {
    let store = stores.orders;
    let largest = 10_i64.pow(13) - 1;
    let mut sum = 0;
    for cents in [0, 1, 10, 29, 1_999, 123_456_789, largest] {
        let order = store.create(SHOP, draft(cents, Status::Completed)).await.unwrap().order;
        assert_eq!(store.order(SHOP, order.order_id).await.unwrap().total, Money { cents });
        sum += cents;
    }
    assert_eq!(open(&store.rollup(SHOP, 0).await.unwrap()).1.cents, sum);
}

pub(crate) async fn a_failed_change_changes_nothing(stores: Stores) {
    let store = stores.orders;
    store.create(SHOP, keyed("k", 500, now())).await.unwrap();
    let before = store.rollup(SHOP, 0).await.unwrap();
    // In one group with a change that succeeds.
    let (bad, missing, good) = tokio::join!(
        store.create(SHOP, keyed("k", 501, now())),
        store.change(SHOP, to(OrderId::new(7), Status::Shipped)),
        store.create(SHOP, draft(1, Status::Completed)),
    );
    assert_eq!((bad.unwrap_err(), missing.unwrap_err()), (OrderError::KeyReused, OrderError::NotFound));
    assert_eq!(good.unwrap().order.order_id, OrderId::new(2), "no number was lost");
    let after = store.rollup(SHOP, 0).await.unwrap();
    assert_eq!(open(&after).1.orders, open(&before).1.orders + 1);
}

pub(crate) async fn changes_are_made_in_the_order_of_the_calls(stores: Stores) {
    let store = stores.orders;
    let asked: Vec<_> = (0..200).map(|cents| store.create(SHOP, draft(cents, Status::Pending))).collect();
    // Polled from the last to the first.
    for (number, answer) in asked.into_iter().enumerate().rev() {
        let order = answer.await.unwrap().order;
        assert_eq!((order.order_id.number(), order.total.cents), (number as u64 + 1, number as i64));
    }
}

pub(crate) async fn a_caller_that_stops_waiting_does_not_undo_the_change(stores: Stores) {
    let store = stores.orders;
    drop(store.create(SHOP, draft(5, Status::Pending)));
    let next = store.create(SHOP, draft(6, Status::Pending)).await.unwrap().order;
    assert_eq!(next.order_id, OrderId::new(2));
    assert_eq!(store.order(SHOP, OrderId::new(1)).await.unwrap().total.cents, 5);
}

pub(crate) async fn orders_and_customers_are_bounded(stores: Stores) {
    let store = stores.orders;
    let limits = RowLimits { orders: 3, customers: 2 };
    let create = |tenant: &str, key: &str, customer: Option<&str>| {
        let mut draft = Draft { limits, ..keyed(key, 500, now()) };
        draft.new.customer_id = customer.map(str::to_owned);
        store.create(tenant, draft)
    };
    let customer = |id: Option<&str>| {
        let new = NewCustomer { customer_id: id.map(str::to_owned), name: None };
        let customer = store.customer(SHOP, new, now(), limits);
        async { customer.await.map(|customer| customer.tally.is_some()) }
    };
    let rows = async || store.rollup(SHOP, 0).await.unwrap().rows;
    create(SHOP, "1", Some("a")).await.unwrap();
    assert_eq!((customer(None).await, customer(Some("a")).await), (Ok(true), Ok(false)));
    assert_eq!(rows().await, RowCounts { orders: 1, customers: 2 });
    assert_eq!(create(SHOP, "2", Some("b")).await.unwrap_err(), OrderError::TooManyCustomers(2), "before it is stored");
    assert_eq!((customer(None).await, customer(Some("b")).await), {
        let refused = Err(OrderError::TooManyCustomers(2));
        (refused.clone(), refused)
    });
    assert_eq!(rows().await, RowCounts { orders: 1, customers: 2 });
    // In one group.
    let (second, third, fourth) =
        tokio::join!(create(SHOP, "2", Some("a")), create(SHOP, "3", None), create(SHOP, "4", None));
    assert_eq!(fourth.unwrap_err(), OrderError::TooManyOrders(3));
    assert_eq!((second.unwrap().order.order_id, third.unwrap().order.order_id), (OrderId::new(2), OrderId::new(3)));
    assert_eq!(create(SHOP, "3", None).await.unwrap().tally, None, "a repeated request creates nothing");
    assert_eq!(rows().await, RowCounts { orders: 3, customers: 2 });
    let shipped = store.change(SHOP, to(OrderId::new(3), Status::Shipped)).await.unwrap();
    assert_eq!(shipped.tally.unwrap().rows, RowCounts::default(), "a change needs no room");
    create("other", "1", Some("b")).await.unwrap();
    let lower = RowLimits { orders: 1, customers: 1 };
    let refused = store.create(SHOP, Draft { limits: lower, ..draft(1, Status::Pending) }).await;
    assert_eq!(refused.unwrap_err(), OrderError::TooManyOrders(1));
    assert_eq!(rows().await, RowCounts { orders: 3, customers: 2 }, "nothing is deleted");
    let raised = RowLimits { orders: 4, customers: 2 };
    let created = store.create(SHOP, Draft { limits: raised, ..draft(1, Status::Pending) }).await.unwrap();
    assert_eq!(created.order.order_id, OrderId::new(4), "no number was lost");
}

pub(crate) async fn old_orders_and_customers_are_deleted(stores: Stores) {
    let store = stores.orders;
    let day = |number: i64| now() + (number * 24).hours();
    for number in 0..10 {
        let mut draft = Draft { at: day(number), ..draft(100, Status::ALL[number as usize % 5]) };
        draft.new.customer_id = Some(format!("c{number}"));
        store.create(SHOP, draft).await.unwrap();
        let mut other = Draft { at: day(number), ..self::draft(100, Status::Completed) };
        other.new.customer_id = Some(format!("c{number}"));
        store.create("other", other).await.unwrap();
    }
    let figures = open(&store.rollup(SHOP, 0).await.unwrap());
    let left = async || {
        let orders = store.orders(SHOP, Query { limit: 99, ..Query::default() }).await.unwrap();
        orders.iter().map(|order| order.created_at).rev().collect::<Vec<_>>()
    };
    let closed = |days: &[i64]| days.iter().map(|number| day(*number)).collect::<Vec<_>>();
    assert_eq!(store.delete_orders(SHOP, day(0), 99).await.unwrap().number, 0);
    assert_eq!(store.delete_orders(SHOP, day(8), 2).await.unwrap().number, 2);
    assert_eq!(left().await.len(), 8);
    assert_eq!(store.delete_orders(SHOP, day(8), 99).await.unwrap().number, 2);
    let open_or_new: Vec<i64> =
        (0..10).filter(|number| *number >= 8 || Status::ALL[*number as usize % 5].is_open()).collect();
    assert_eq!(left().await, closed(&open_or_new), "open orders stay, whatever their age");
    assert_eq!(store.delete_customers(SHOP, day(8), 3).await.unwrap().number, 3);
    assert_eq!(store.delete_customers(SHOP, day(8), 99).await.unwrap().number, 5);
    let rollup = store.rollup(SHOP, 0).await.unwrap();
    assert_eq!(rollup.rows, RowCounts { orders: 6, customers: 2 });
    assert_eq!(open(&rollup), figures, "the figures stay");
    assert_eq!(store.rollup("other", 0).await.unwrap().rows, RowCounts { orders: 10, customers: 10 });
    assert_eq!(store.delete_orders("nobody", day(8), 99).await.unwrap().number, 0);
    let created = store.create(SHOP, draft(1, Status::Pending)).await.unwrap();
    assert_eq!(created.order.order_id, OrderId::new(11), "numbers are not given out again");
}
