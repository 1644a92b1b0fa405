//! Contract across capabilities: no tenant reads or changes the data of another.

use super::{SHOP, Stores, board, board_event, keyed, now, open, to};
use tricast_domain::{
    dashboards::DashboardError,
    orders::{Minute, NewCustomer, OrderError, OrderId, Query, Rollup, RowLimits, Status},
};

pub(crate) async fn tenants_see_nothing_of_each_other(stores: Stores) {
    let (store, boards) = (stores.orders, stores.dashboards);
    let order = store.create(SHOP, keyed("k", 500, now())).await.unwrap().order;
    store.visits(SHOP, 3, now()).await.unwrap();
    boards.insert(SHOP, board("mine"), 9, board_event("x")).await.unwrap();
    for other in ["other", "", "SHOP", "shop ", "shop' OR '1'='1", "%"] {
        assert_eq!(store.order(other, order.order_id).await, Err(OrderError::NotFound), "{other}");
        assert_eq!(store.change(other, to(order.order_id, Status::Shipped)).await.unwrap_err(), OrderError::NotFound);
        assert_eq!(store.orders(other, Query { limit: 9, ..Query::default() }).await.unwrap(), []);
        assert_eq!(store.rollup(other, 0).await.unwrap(), Rollup::default());
        assert_eq!(boards.board(other, "mine").await, Err(DashboardError::NotFound));
        assert_eq!(boards.boards(other).await.unwrap(), []);
        let seen = board("mine").version();
        assert_eq!(boards.delete(other, "mine", seen, board_event("x")).await, Err(DashboardError::Moved));
        assert_eq!(boards.replace(other, board("mine"), seen, board_event("x")).await, Err(DashboardError::Moved));
    }
    let theirs = store.create("other", keyed("k", 999, now())).await.unwrap();
    assert_eq!(theirs.order.order_id, OrderId::new(1), "each tenant has its own numbers and keys");
    let customer = NewCustomer { customer_id: Some("a".into()), name: None };
    assert!(store.customer(SHOP, customer.clone(), now(), RowLimits::default()).await.unwrap().tally.is_some());
    assert!(store.customer("other", customer, now(), RowLimits::default()).await.unwrap().tally.is_some());
    boards.insert("other", board("mine"), 1, board_event("x")).await.unwrap();
    assert_eq!(store.order(SHOP, order.order_id).await.unwrap(), order);
    assert_eq!(
        open(&store.rollup(SHOP, 0).await.unwrap()).1,
        Minute { orders: 1, cents: 500, processing: 0, customers: 1, visits: 3 }
    );
}
