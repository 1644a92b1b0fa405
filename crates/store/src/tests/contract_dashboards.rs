//! Contract of [`DashboardStore`](tricast_domain::dashboards::DashboardStore): the behaviour that all stores share.

use jiff::ToSpan;

use super::{SHOP, Stores, board, board_event, now};
use tricast_domain::dashboards::{Board, DashboardError};

pub(crate) async fn boards_are_created_changed_and_deleted(stores: Stores) {
    let store = stores.dashboards;
    let first = board("b");
    store.insert(SHOP, first.clone(), 9, board_event("x")).await.unwrap();
    store.insert(SHOP, board("a"), 9, board_event("x")).await.unwrap();
    assert_eq!(store.board(SHOP, "b").await.unwrap(), first);
    assert_eq!(store.boards(SHOP).await.unwrap(), [board("a"), first.clone()]);
    let mut second = first.clone();
    (second.name, second.version) = ("Shops".into(), 2);
    second.tiles.pop();
    // Both saw the first version; either may come first.
    let rival = Board { version: 2, ..board("b") };
    let both = tokio::join!(
        store.replace(SHOP, second.clone(), first.version(), board_event("x")),
        store.replace(SHOP, rival.clone(), first.version(), board_event("x")),
    );
    let second = match both {
        (Ok(_), Err(DashboardError::Moved)) => second,
        (Err(DashboardError::Moved), Ok(_)) => rival,
        both => panic!("one of them is made: {both:?}"),
    };
    assert_eq!(store.board(SHOP, "b").await.unwrap(), second);
    assert_eq!(store.delete(SHOP, "b", first.version(), board_event("x")).await, Err(DashboardError::Moved));
    store.delete(SHOP, "b", second.version(), board_event("x")).await.unwrap();
    assert_eq!(store.board(SHOP, "b").await, Err(DashboardError::NotFound));
    assert_eq!(store.delete(SHOP, "b", second.version(), board_event("x")).await, Err(DashboardError::Moved));
    // A new board with the same ID is not mistaken for the old one.
    store.insert(SHOP, Board { made: now() + 1.hour(), ..second.clone() }, 9, board_event("x")).await.unwrap();
    assert_eq!(store.delete(SHOP, "b", second.version(), board_event("x")).await, Err(DashboardError::Moved));
}

pub(crate) async fn a_tenant_gets_its_first_board_once(stores: Stores) {
    let store = stores.dashboards;
    store.seed(SHOP, board("default")).await.unwrap();
    store.seed(SHOP, board("default")).await.unwrap();
    store.delete(SHOP, "default", board("default").version(), board_event("x")).await.unwrap();
    store.seed(SHOP, board("default")).await.unwrap();
    assert_eq!(store.boards(SHOP).await.unwrap(), [], "the deleted board stays deleted");
    store.seed("other", board("default")).await.unwrap();
    assert_eq!(store.boards("other").await.unwrap().len(), 1);
}

pub(crate) async fn boards_are_bounded_and_have_unique_ids(stores: Stores) {
    let store = stores.dashboards;
    store.insert(SHOP, board("a"), 2, board_event("x")).await.unwrap();
    assert_eq!(store.insert(SHOP, board("a"), 2, board_event("x")).await, Err(DashboardError::Taken("a".into())));
    let (one, other) = tokio::join!(
        store.insert(SHOP, board("b"), 2, board_event("x")),
        store.insert(SHOP, board("c"), 2, board_event("x"))
    );
    assert!(one.is_ok());
    assert_eq!(other, Err(DashboardError::TooMany(2)));
}
