//! What reading takes: the permission of each channel.

use super::{Identity, Permission};
use crate::core::channel::{Channel, Selector};

/// The permissions that some channel needs to be read.
const READING: [Permission; 3] = [Permission::ReadMetrics, Permission::ReadOrders, Permission::ReadAlerts];

/// What reading a channel takes; `None` if anybody may.
pub fn reading(channel: &Channel) -> Option<Permission> {
    match channel.as_str() {
        "system" => None,
        "orders" | "metrics.orders" | "metrics.revenue" => Some(Permission::ReadOrders),
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
