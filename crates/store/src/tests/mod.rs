//! Contract of the stores: the behaviour that every implementation must show, one file per capability.
//!
//! A test module of an implementation says `contract!(make)`, where `make().await` returns empty [`Stores`]; this makes a
//! test of each behaviour.

use std::{any::Any, sync::Arc};

use jiff::{Timestamp, ToSpan};

use tricast_domain::{
    alerts::AlertStore,
    dashboards::{Board, DashboardStore, NewBoard},
    history::HistoryStore,
    keys::KeyStore,
    orders::{
        Change, Changes, Draft, IdempotencyKey, Minute, Money, NewOrder, OrderId, OrderStore, Priority, Rollup,
        RowLimits, Status,
    },
    relay::{EventStore, NewEvent},
};

pub(super) mod contract_alerts;
pub(super) mod contract_dashboards;
pub(super) mod contract_events;
pub(super) mod contract_history;
pub(super) mod contract_isolation;
pub(super) mod contract_keys;
pub(super) mod contract_orders;

/// Interfaces of the store under test.
pub(super) struct Stores {
    pub(super) orders: Arc<dyn OrderStore>,
    pub(super) dashboards: Arc<dyn DashboardStore>,
    pub(super) history: Arc<dyn HistoryStore>,
    pub(super) alerts: Arc<dyn AlertStore>,
    pub(super) events: Arc<dyn EventStore>,
    pub(super) keys: Arc<dyn KeyStore>,
    /// Value that must live as long as the store, such as its directory.
    pub(super) _guard: Box<dyn Any + Send>,
}

/// Makes a test of each behaviour.
macro_rules! contract {
    ($make:expr) => {
        $crate::tests::contract!(
            in contract_orders;
            $make;
            orders_are_numbered_and_read_back,
            a_page_is_newest_first_and_by_status,
            a_change_makes_one_version_and_none_when_it_changes_nothing,
            a_change_of_an_older_version_is_refused,
            a_key_makes_one_order,
            concurrent_requests_with_one_key_make_one_order,
            a_key_expires_after_a_day,
            customers_are_new_once,
            orders_and_customers_are_bounded,
            old_orders_and_customers_are_deleted,
            the_rollup_is_that_of_the_orders,
            money_is_exact,
            a_failed_change_changes_nothing,
            changes_are_made_in_the_order_of_the_calls,
            a_caller_that_stops_waiting_does_not_undo_the_change,
        );
        $crate::tests::contract!(
            in contract_dashboards;
            $make;
            boards_are_created_changed_and_deleted,
            a_tenant_gets_its_first_board_once,
            boards_are_bounded_and_have_unique_ids,
        );
        $crate::tests::contract!(
            in contract_keys;
            $make;
            keys_are_created_found_and_deleted,
            keys_are_bounded_and_have_unique_names,
            expired_keys_make_room,
            only_a_later_use_is_stored,
            keys_of_tenants_are_their_own,
        );
        $crate::tests::contract!(
            in contract_isolation;
            $make;
            tenants_see_nothing_of_each_other,
        );
        $crate::tests::contract!(
            in contract_alerts;
            $make;
            rules_are_created_changed_and_deleted,
            an_alert_is_raised_once_and_resolved_once,
            an_engine_continues_where_another_ended,
            a_rule_reset_resolves_its_alert,
            alerts_are_listed_newest_first,
            only_the_first_acknowledgement_counts,
            samples_are_kept_and_deleted_by_rule,
            old_alerts_are_deleted,
            each_change_of_an_alert_is_an_event,
            deliveries_are_stored_with_their_alert,
            a_delivery_is_given_to_one_process_at_a_time,
            alerts_of_tenants_are_their_own,
        );
        $crate::tests::contract!(
            in contract_events;
            $make;
            a_change_is_stored_with_its_event,
            events_are_pending_in_order_until_they_are_removed,
            events_of_tenants_are_their_own,
        );
        $crate::tests::contract!(
            in contract_history;
            $make;
            points_are_read_back_in_order,
            a_point_may_be_written_again,
            ids_stay_and_series_are_bounded,
            a_query_returns_the_same_before_and_after_roll_ups,
            a_roll_up_continues_where_it_stopped,
            late_points_are_rolled_up_again,
            only_whole_buckets_before_the_end_are_read,
            old_rows_are_deleted_once_they_are_rolled_up,
            a_series_that_stopped_is_rolled_up_and_deleted,
            an_empty_series_is_deleted,
            a_track_is_cut_at_the_limit,
            the_newest_point_of_each_series_is_found,
            tenants_share_no_history,
        );
    };
    (in $capability:ident; $make:expr; $($test:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $test() {
            $crate::tests::$capability::$test($make().await).await;
        })*
    };
}
pub(super) use contract;

pub(super) const SHOP: &str = "shop";

pub(super) fn now() -> Timestamp {
    "2026-06-01T12:00:30.250Z".parse().unwrap()
}

pub(super) fn new_order(cents: i64, status: Status) -> NewOrder {
    NewOrder {
        items: 2,
        total: Money { cents },
        customer_name: "Ada Löwe".into(),
        customer_id: None,
        status,
        priority: Priority::High,
    }
}

pub(super) fn draft(cents: i64, status: Status) -> Draft {
    Draft { new: new_order(cents, status), key: None, at: now(), limits: RowLimits::default() }
}

pub(super) fn keyed(key: &str, cents: i64, at: Timestamp) -> Draft {
    Draft {
        new: new_order(cents, Status::Pending),
        key: Some(IdempotencyKey::parse(key).unwrap()),
        at,
        limits: RowLimits::default(),
    }
}

pub(super) fn to(id: OrderId, status: Status) -> Change {
    let changes = Changes { status: Some(status), priority: None };
    Change { id, changes, if_match: None, by: "ada".into(), at: now() + 1.minute() }
}

pub(super) fn open(rollup: &Rollup) -> (i64, Minute) {
    let sum = rollup.minutes.iter().fold(Minute::default(), |sum, (_, minute)| Minute {
        orders: sum.orders + minute.orders,
        cents: sum.cents + minute.cents,
        processing: sum.processing + minute.processing,
        customers: sum.customers + minute.customers,
        visits: sum.visits + minute.visits,
    });
    (rollup.open, sum)
}

pub(super) fn board(id: &str) -> Board {
    let new = serde_json::json!({"id": id, "name": "Läden", "tiles": [
        {"id": "a", "type": "number", "title": "A", "channel": "metrics.a", "field": "x", "width": 2},
        {"id": "b", "type": "chart", "title": "B", "fields": ["x", "y"], "options": {"unit": "%", "n": [1, null]}},
    ]});
    serde_json::from_value::<NewBoard>(new).unwrap().build(now()).unwrap()
}

pub(super) fn board_event(id: &str) -> NewEvent {
    NewEvent::new("dashboards", "dashboard_updated", &serde_json::json!({"dashboardId": id}))
}
