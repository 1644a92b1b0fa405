//! Contract of [`EventStore`]: events are stored with the changes that cause them.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{SHOP, Stores, board, board_event, draft, keyed, now, to};
use tricast_core::version::IfMatch;
use tricast_domain::{
    dashboards::DashboardError,
    orders::{Change, OrderError, OrderId, Status},
    relay::EventStore,
};

async fn pending(store: &Arc<dyn EventStore>, tenant: &str, after: u64) -> Vec<(u64, String, Value)> {
    let pending = store.pending(tenant, after, 1_000).await.unwrap();
    assert!(pending.events.is_empty() || !pending.source.is_empty());
    let read = |event: tricast_domain::relay::PendingEvent| {
        (event.seq, event.event, serde_json::from_str::<Value>(&event.data).unwrap())
    };
    pending.events.into_iter().map(read).collect()
}

fn names(events: &[(u64, String, Value)]) -> Vec<&str> {
    events.iter().map(|(_, name, _)| &**name).collect()
}

pub(crate) async fn a_change_is_stored_with_its_event(stores: Stores) {
    let (store, boards, events) = (stores.orders, stores.dashboards, stores.events);
    let made = store.create(SHOP, keyed("k", 500, now())).await.unwrap();
    assert_eq!(store.create(SHOP, keyed("k", 500, now())).await.unwrap().event, None, "the order existed before");
    assert_eq!(store.create(SHOP, keyed("k", 501, now())).await.unwrap_err(), OrderError::KeyReused);
    let id = made.order.order_id;
    let changed = store.change(SHOP, to(id, Status::Shipped)).await.unwrap();
    assert_eq!(store.change(SHOP, to(id, Status::Shipped)).await.unwrap().event, None, "the status is the same");
    let stale = IfMatch::OneOf(vec!["0".into()]);
    let refused = Change { if_match: Some(stale), ..to(id, Status::Completed) };
    assert_eq!(store.change(SHOP, refused).await.unwrap_err(), OrderError::Moved);
    let priority =
        Change { changes: serde_json::from_str(r#"{"priority": "low"}"#).unwrap(), ..to(id, Status::Shipped) };
    let urgent = store.change(SHOP, priority).await.unwrap();
    store.visits(SHOP, 3, now()).await.unwrap();
    let inserted = boards.insert(SHOP, board("a"), 1, board_event("a")).await.unwrap();
    assert_eq!(boards.insert(SHOP, board("b"), 1, board_event("b")).await.unwrap_err(), DashboardError::TooMany(1));
    let deleted = boards.delete(SHOP, "a", board("a").version(), board_event("a")).await.unwrap();

    let all = pending(&events, SHOP, 0).await;
    assert_eq!(
        names(&all),
        ["order_created", "order_updated", "order_updated", "dashboard_updated", "dashboard_updated"]
    );
    let numbers: Vec<_> = all.iter().map(|(seq, ..)| Some(*seq)).collect();
    assert_eq!(numbers, [made.event, changed.event, urgent.event, Some(inserted), Some(deleted)]);
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert_eq!(all[0].2, json!(made.order));
    assert_eq!(all[1].2, json!({"orderId": id, "version": 2, "changes": {"status": "SHIPPED"}, "updatedBy": "ada"}));
    assert_eq!(all[2].2["version"], 3);
    assert_eq!(all[2].2["changes"], json!({"priority": "low"}));
    assert_eq!(all[3].2, json!({"dashboardId": "a"}));
}

pub(crate) async fn events_are_pending_in_order_until_they_are_removed(stores: Stores) {
    let (store, events) = (stores.orders, stores.events);
    assert_eq!(events.pending(SHOP, 0, 9).await.unwrap().events, []);
    let asked: Vec<_> = (0..30).map(|cents| store.create(SHOP, draft(cents, Status::Pending))).collect();
    let mut numbers = Vec::new();
    for answer in asked {
        numbers.push(answer.await.unwrap().event.unwrap());
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "in the order of the calls");
    assert_eq!((events.count(SHOP, 0).await, events.count(SHOP, numbers[9]).await), (Ok(30), Ok(20)));
    assert_eq!(events.count("other", 0).await, Ok(0));
    let some = events.pending(SHOP, numbers[9], 5).await.unwrap();
    assert_eq!(some.events.iter().map(|event| event.seq).collect::<Vec<_>>(), numbers[10..15]);
    events.remove(SHOP, numbers[19]).await.unwrap();
    assert_eq!(pending(&events, SHOP, 0).await.iter().map(|event| event.0).collect::<Vec<_>>(), numbers[20..]);
    events.remove(SHOP, u64::MAX >> 1).await.unwrap();
    let next = store.create(SHOP, draft(5, Status::Pending)).await.unwrap().event.unwrap();
    assert!(next > numbers[29], "sequence numbers are not assigned again");
    assert_eq!(events.pending(SHOP, 0, 9).await.unwrap().source, some.source);
}

pub(crate) async fn events_of_tenants_are_their_own(stores: Stores) {
    let (store, events) = (stores.orders, stores.events);
    let event = store.create(SHOP, draft(5, Status::Pending)).await.unwrap().event.unwrap();
    store.change("other", to(OrderId::new(1), Status::Shipped)).await.unwrap_err();
    assert_eq!(pending(&events, "other", 0).await, []);
    assert_eq!(events.overdue(Duration::ZERO).await.unwrap(), [SHOP]);
    assert_eq!(events.overdue(Duration::from_secs(3_600)).await.unwrap(), [] as [&str; 0]);
    events.remove("other", event).await.unwrap();
    assert_eq!(names(&pending(&events, SHOP, 0).await), ["order_created"]);
    events.remove(SHOP, event).await.unwrap();
    assert_eq!(events.overdue(Duration::ZERO).await.unwrap(), [] as [&str; 0]);
}
