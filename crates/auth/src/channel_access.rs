//! Channel access: the permission or the binding that reading and pushing a channel needs.

use serde::Deserialize;

use super::{Identity, Permission};
use tricast_core::{
    built_in::{self, CHANNELS, Kind, Readers},
    channel::{Channel, Selector},
    publication::Publication,
    snapshot::View,
};

/// Permissions that some channel requires of its readers.
const REQUIRED: [Permission; 3] = [Permission::ReadMetrics, Permission::ReadOrders, Permission::ReadAlerts];

/// Returns the permission that readers of a channel need; `None` if all clients may read it.
pub fn required_permission(channel: &Channel) -> Option<Permission> {
    match built_in::find(channel).map(|built_in| built_in.readers) {
        Some(Readers::All) => None,
        Some(Readers::Orders) => Some(Permission::ReadOrders),
        Some(Readers::Alerts) => Some(Permission::ReadAlerts),
        Some(Readers::Metrics) | None => Some(Permission::ReadMetrics),
    }
}

/// Returns whether `identity` may subscribe to `selector`. A prefix (`metrics.*`) is allowed if some of its channels are; updates of
/// the others are left out, see [`sees_all`].
pub fn may_read(identity: &Identity, selector: &Selector) -> bool {
    if let Some(binding) = identity.binding() {
        return binding.reads_some_of(selector);
    }
    match selector {
        Selector::Exact(channel) => may_read_channel(identity, channel),
        Selector::Below(prefix) => {
            let orders = &**prefix == "metrics." && identity.may(Permission::ReadOrders);
            orders || identity.may(Permission::ReadMetrics)
        }
    }
}

/// Returns whether `identity` may read this channel.
pub fn may_read_channel(identity: &Identity, channel: &Channel) -> bool {
    if let Some(binding) = identity.binding() {
        return binding.reads(channel);
    }
    required_permission(channel).is_none_or(|permission| identity.may(permission))
}

/// Returns whether `identity` may push to this channel, and end it.
pub fn may_push(identity: &Identity, channel: &Channel) -> bool {
    match identity.binding() {
        Some(binding) => binding.pushes(channel),
        None => identity.may(Permission::WriteMetrics),
    }
}

/// Returns the view of the snapshot that `identity` may read.
pub fn view(identity: &Identity) -> View {
    if sees_all(identity) { View::Full } else { View::of(|channel| may_read_channel(identity, channel)) }
}

/// Returns whether `identity` may see an alert about `metric` (channel and field, as an alert has them): an alert contains the
/// measured value. Sections of the snapshot are named like their channels.
pub fn may_read_alert(identity: &Identity, metric: &str) -> bool {
    if let Some(binding) = identity.binding() {
        return binding.reads_alert_about(metric);
    }
    let about_orders = CHANNELS.iter().any(|built_in| {
        (built_in.readers, built_in.kind) == (Readers::Orders, Kind::State)
            && metric.strip_prefix(built_in.name).is_some_and(|field| field.is_empty() || field.starts_with('.'))
    });
    !about_orders || identity.may(Permission::ReadOrders)
}

/// Returns whether `identity` may see this event of a channel that it may read.
pub fn may_read_event(identity: &Identity, event: &Publication) -> bool {
    #[derive(Deserialize)]
    struct Alert {
        metric: String,
    }
    if event.channel.as_str() != "alerts" || identity.may(Permission::ReadOrders) {
        return true;
    }
    // An alert that cannot be parsed is not shown.
    serde_json::from_slice::<Alert>(&event.data).is_ok_and(|alert| may_read_alert(identity, &alert.metric))
}

/// Returns whether `identity` may read every channel, so that nothing has to be left out.
pub fn sees_all(identity: &Identity) -> bool {
    // A bound identity has no permission.
    REQUIRED.iter().all(|permission| identity.may(*permission))
}

/// Returns the channel families that `identity` may read, for the message `connected`.
pub fn capabilities(identity: &Identity) -> Vec<&'static str> {
    if let Some(binding) = identity.binding() {
        return ["metrics", "alerts", "orders", "system"]
            .into_iter()
            .filter(|family| binding.reads_family(family))
            .collect();
    }
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
