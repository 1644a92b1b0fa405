//! What reading takes: the permission of each channel.

use serde::Deserialize;

use super::{Identity, Permission};
use crate::core::{
    channel::{Channel, Selector},
    publication::Publication,
    snapshot::View,
};

/// The states whose readers need `read:orders`: counts and sums of orders.
const OF_ORDERS: [&str; 3] = ["metrics.business", "metrics.orders", "metrics.revenue"];

/// The permissions that some channel needs to be read.
const READING: [Permission; 3] = [Permission::ReadMetrics, Permission::ReadOrders, Permission::ReadAlerts];

/// What reading a channel takes; `None` if anybody may.
pub fn reading(channel: &Channel) -> Option<Permission> {
    match channel.as_str() {
        "system" => None,
        "orders" => Some(Permission::ReadOrders),
        name if OF_ORDERS.contains(&name) => Some(Permission::ReadOrders),
        "alerts" => Some(Permission::ReadAlerts),
        _ => Some(Permission::ReadMetrics),
    }
}

/// Whether `identity` may ask for this. Of many channels (`metrics.*`) whoever may read some may ask; the others are
/// left out as they come, see [`sees_all`].
pub fn may_read(identity: &Identity, selector: &Selector) -> bool {
    match selector {
        Selector::Exact(channel) => may_read_channel(identity, channel),
        Selector::Below(prefix) => {
            let orders = &**prefix == "metrics." && identity.may(Permission::ReadOrders);
            orders || identity.may(Permission::ReadMetrics)
        }
    }
}

/// Whether `identity` may be given this channel.
pub fn may_read_channel(identity: &Identity, channel: &Channel) -> bool {
    reading(channel).is_none_or(|permission| identity.may(permission))
}

/// How much of the snapshot `identity` may be given.
pub fn view(identity: &Identity) -> View {
    if sees_all(identity) { View::Full } else { View::of(|channel| may_read_channel(identity, channel)) }
}

/// Whether `identity` may be told of an alert about `metric` (channel and field, as an alert has it): it holds the value
/// that was measured. Sections of the snapshot are named as their channels are.
pub fn may_read_alert(identity: &Identity, metric: &str) -> bool {
    let of_orders = OF_ORDERS
        .iter()
        .any(|channel| metric.strip_prefix(channel).is_some_and(|field| field.is_empty() || field.starts_with('.')));
    !of_orders || identity.may(Permission::ReadOrders)
}

/// Whether `identity` may be given this event of a channel that it may read.
pub fn may_read_event(identity: &Identity, event: &Publication) -> bool {
    #[derive(Deserialize)]
    struct Alert {
        metric: String,
    }
    if event.channel.as_str() != "alerts" || identity.may(Permission::ReadOrders) {
        return true;
    }
    // What can't be read is not shown.
    serde_json::from_slice::<Alert>(&event.data).is_ok_and(|alert| may_read_alert(identity, &alert.metric))
}

/// Whether nothing has to be left out for `identity`, whatever it asks for.
pub fn sees_all(identity: &Identity) -> bool {
    READING.iter().all(|permission| identity.may(*permission))
}

/// The channel families that `identity` may read, for `connected`.
pub fn capabilities(identity: &Identity) -> Vec<&'static str> {
    let families = [
        ("metrics", Some(Permission::ReadMetrics)),
        ("alerts", Some(Permission::ReadAlerts)),
        ("orders", Some(Permission::ReadOrders)),
        ("system", None),
    ];
    families
        .into_iter()
        .filter(|(_, permission)| permission.is_none_or(|permission| identity.may(permission)))
        .map(|(family, _)| family)
        .collect()
}
